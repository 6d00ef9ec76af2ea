//! Names, services and files that are followed: real name servers, whose answers change under load, fail and lie.

mod files;
mod rig;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, Stream};
use crate::life::server::{Server, bound, ppserver, record_of, run, wait_for, written};
use crate::support::http::assert_gauges_at_rest;
use crate::support::namespace::in_a_namespace;
use crate::support::{assert_closed, under_load};
use rig::{
    CHANGED, LOST, NAME_SERVER, NameServer, PORT, System, answers, backend, connect, connect_until,
    door, endpoints, text,
};

const WEB: &str = "'web.internal:8000'";

/// What a check says of the names in this configuration, and its exit code.
#[track_caller]
fn meanings(text: &str) -> (Option<i32>, Value) {
    let (_dir, file) = written(text);
    let ran = run(ppserver().args(["check", "--resolve", "--format", "json", "-c"]).arg(file));
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    (ran.code, answer["names"].clone())
}

#[test]
fn new_connections_follow_a_name_and_those_that_run_stay_and_none_fails() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        ["127.0.0.2", "127.0.0.3", "127.0.0.4"].into_iter().for_each(backend);
        let names = NameServer::start(system.path("").as_path(), "127.0.0.2 web.internal\n", &[]);
        let mut server = Server::start(&text(WEB));
        let door = door(&server);
        let mut first = connect(server.addr()).expect("the name is known");
        assert_eq!(first.backend, "127.0.0.2");
        let from_name = |ip: &str| (format!("{ip}:8000"), json!("web.internal:8000"));
        assert_eq!(endpoints(&door), [from_name("127.0.0.2")]);

        names.say("127.0.0.3 web.internal\n127.0.0.4 web.internal\n");
        let mut second = connect_until(server.addr(), "127.0.0.3");
        connect_until(server.addr(), "127.0.0.4");
        // Nobody goes where the name led before.
        for _ in 0..8 {
            assert_ne!(connect(server.addr()).expect("nobody is reset").backend, "127.0.0.2");
        }
        assert_eq!(endpoints(&door), ["127.0.0.3", "127.0.0.4"].map(from_name));
        first.echo();
        second.echo();

        let change = server.wait_for(CHANGED, 1);
        assert_eq!(change["name"], "web.internal");
        assert_eq!(
            (&change["added"], &change["removed"]),
            (&json!("127.0.0.3, 127.0.0.4"), &json!("127.0.0.2"))
        );
        let metrics = door.get("/metrics").body;
        let is_asked = |line: &str| {
            let asked = line
                .strip_prefix("ppserver_resolutions_total{name=\"web.internal\",result=\"ok\"} ");
            asked.and_then(|count| count.parse().ok()).is_some_and(|count: u64| count >= 2)
        };
        assert!(metrics.lines().any(is_asked), "{metrics}");
        assert!(metrics.contains("ppserver_reloads_total{result=\"ok\"} 0\n"), "{metrics}");
        drop((first, second));
        let counters = server.stop();
        assert_eq!(counters["closed"]["connect_failed"], 0, "{counters}");
    });
}

#[test]
fn names_that_flap_under_load_and_lead_to_nobody_cost_no_client() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        ["127.0.0.2", "127.0.0.3", "127.0.0.4"].into_iter().for_each(backend);
        let hosts = |lasts: &[u8]| {
            let line = |last| format!("127.0.0.{last} web.internal\n");
            lasts.iter().map(line).collect::<String>()
        };
        let names = NameServer::start(system.path("").as_path(), &hosts(&[2, 3]), &[]);
        let mut server = Server::start(&text(WEB));
        let (door, to) = (door(&server), server.addr());
        let mut first = connect(to).expect("the name is known");
        let client = || connect(to).is_some_and(|mut link| link.echoes());
        let came = under_load(client, || {
            // At the last address of some nobody listens.
            for (nth, lasts) in [&[3, 4][..], &[2, 9], &[4], &[2, 3, 9], &[3, 2]].iter().enumerate()
            {
                names.say(&hosts(lasts));
                server.wait_for(CHANGED, nth + 1);
            }
            names.say("");
            server.wait_for(LOST, 0);
            names.say(&hosts(&[4]));
            server.wait_for(CHANGED, 6);
        });
        assert_eq!(came.lost, 0, "{came:?}");
        first.echo();
        drop(first);
        assert_gauges_at_rest(&door);
        assert_closed(&server.stop(), &[("done", came.served + 1)]);
    });
}

#[test]
fn a_start_waits_for_no_name_and_is_ready_once_it_is_known() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        backend("127.0.0.2");
        let names = NameServer::start(system.path("").as_path(), "", &[]);
        assert_eq!(meanings(&text(WEB)).0, Some(1));
        let server = Server::start(&text(WEB));
        let door = door(&server);
        let answer = door.get("/readyz");
        assert_eq!((answer.status, &*answer.body), (503, "upstream web has no endpoint yet\n"));
        assert!(connect(server.addr()).is_none(), "there is nobody to connect to");
        let lost = server.wait_for(LOST, 0);
        assert_eq!((&lost["name"], &lost["why"]), (&json!("web.internal"), &json!("no such name")));

        names.say("127.0.0.2 web.internal\n");
        assert!(poll_for(PATIENCE, || (door.get("/readyz").status == 200).then_some(())).is_some());
        assert_eq!(connect(server.addr()).expect("it is known").backend, "127.0.0.2");
        assert_eq!(server.records(LOST).len(), 1, "it is said once");
        let (code, names) = meanings(&text(WEB));
        let expected = json!([{
            "upstream": "web",
            "name": "web.internal:8000",
            "addresses": ["127.0.0.2:8000"],
            "why": null,
        }]);
        assert_eq!((code, names), (Some(0), expected));
    });
}

#[test]
fn a_start_that_waits_for_names_listens_once_they_are_known() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        backend("127.0.0.2");
        let names = NameServer::start(system.path("").as_path(), "", &[]);
        let (_dir, file) = written(&text(WEB));
        let mut command = ppserver();
        let proc = Proc::spawn("ppserver", command.args(["run", "--wait-names", "-c"]).arg(file));
        wait_for(&proc, LOST, 0);
        assert!(
            !proc.lines(Stream::Stderr).iter().any(|line| record_of(line, "listening").is_some())
        );
        names.say("127.0.0.2 web.internal\n");
        assert_eq!(connect(bound(&proc, 1)[0]).expect("it is known").backend, "127.0.0.2");
    });
}

#[test]
fn what_a_name_stood_for_stays_while_nobody_knows_better() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        ["127.0.0.2", "127.0.0.3"].into_iter().for_each(backend);
        let hosts = "127.0.0.2 web.internal\n";
        let names = NameServer::start(system.path("").as_path(), hosts, &[]);
        let server = Server::start(&text(WEB));
        let is_served = || connect(server.addr()).expect("the last address stays").backend;
        // The name is gone.
        names.say("");
        assert_eq!(server.wait_for(LOST, 0)["kept"], 1);
        assert_eq!(is_served(), "127.0.0.2");
        names.say(hosts);
        server.wait_for("found out again", 0);
        // The server is.
        names.stop();
        assert_eq!(server.wait_for(LOST, 1)["kept"], 1);
        assert_eq!(is_served(), "127.0.0.2");
        // A reload keeps it too, and what is new holds nobody up.
        let more = text("'web.internal:8000', 'other.internal:8000'");
        server.reload(&more, "reloaded");
        assert_eq!(is_served(), "127.0.0.2");
        let hosts = "127.0.0.3 web.internal\n";
        let _names = NameServer::start(system.path("").as_path(), hosts, &[]);
        connect_until(server.addr(), "127.0.0.3");
    });
}

/// RFC 1035 4.1.1: an answer (QR) that says SERVFAIL.
fn server_failure(question: &[u8]) -> Option<Vec<u8>> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = 2;
    Some(answer)
}

/// The address 127.0.0.66 of another name than that which was asked for.
fn wrong_name(question: &[u8]) -> Option<Vec<u8>> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[7] = 1;
    answer
        .extend_from_slice(b"\x04evil\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x42");
    Some(answer)
}

#[test]
fn a_server_that_is_mute_fails_or_lies_is_passed_over_or_harms_nothing() {
    in_a_namespace(|| {
        let conf = "nameserver 127.0.0.9\nnameserver 127.0.0.10\nnameserver 127.0.0.1\n";
        let system = System::with(conf);
        ["127.0.0.2", "127.0.0.66"].into_iter().for_each(backend);
        answers([127, 0, 0, 9], |_| None);
        answers([127, 0, 0, 10], server_failure);
        answers([127, 0, 0, 11], wrong_name);
        answers([127, 0, 0, 12], |_| Some(vec![0xFF; 700]));
        let hosts = "127.0.0.2 web.internal\n";
        let _names = NameServer::start(system.path("").as_path(), hosts, &[]);
        let server = Server::start(&text(WEB));
        let door = door(&server);
        assert!(poll_for(PATIENCE, || (door.get("/readyz").status == 200).then_some(())).is_some());
        // It is looked at again while there are questions.
        for (nth, liar) in ["127.0.0.11", "127.0.0.12"].into_iter().enumerate() {
            system.write("resolv.conf", &format!("nameserver {liar}\n"));
            server.wait_for(LOST, nth);
            assert_eq!(connect(server.addr()).expect("it stays").backend, "127.0.0.2");
            system.write("resolv.conf", NAME_SERVER);
            server.wait_for("found out again", nth);
        }
        assert_eq!(server.records(CHANGED).len(), 1, "nothing ever changed");
    });
}

#[test]
fn what_records_say_is_understood() {
    in_a_namespace(|| {
        let system = System::with("nameserver 127.0.0.1\nsearch apps.internal\n");
        system.write("hosts", "127.0.0.30 host.internal\nfd00::30 host.internal\n");
        let mut hosts: String =
            (0..100).map(|last| format!("127.0.1.{last} many.internal\n")).collect();
        hosts += "127.0.0.2 web.internal\nfd00::2 web.internal\n127.0.0.3 far.internal\n";
        hosts += "127.0.0.4 short.apps.internal\n127.0.0.5 short.internal\n0.0.0.0 none.internal\n";
        let args = [
            "--cname=alias.internal,middle.internal",
            "--cname=middle.internal,web.internal",
            "--srv-host=_pp._tcp.web.internal,web.internal,8001,10,5",
            "--srv-host=_pp._tcp.web.internal,far.internal,8002,20,0",
        ];
        let _names = NameServer::start(system.path("").as_path(), &hosts, &args);
        let addresses = |endpoint: &str| {
            let (_, names) = meanings(&text(endpoint));
            let addresses = names[0]["addresses"].as_array().expect("a list").clone();
            addresses
                .iter()
                .map(|addr| addr.as_str().expect("a text").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(addresses("'web.internal:80'"), ["127.0.0.2:80", "[fd00::2]:80"]);
        assert_eq!(addresses("'alias.internal:80'"), ["127.0.0.2:80", "[fd00::2]:80"]);
        assert_eq!(addresses("'host.internal:80'"), ["127.0.0.30:80", "[fd00::30]:80"]);
        assert_eq!(addresses("'short:80'"), ["127.0.0.4:80"]);
        assert_eq!(addresses("'short.internal:80'"), ["127.0.0.5:80"]);
        assert_eq!(addresses("'none.internal:80'"), [""; 0], "it is no host");
        // Too long for a datagram, so it comes over TCP.
        assert_eq!(addresses("'many.internal:80'").len(), 100);
        let srv = ["127.0.0.2:8001", "127.0.0.3:8002", "[fd00::2]:8001"];
        assert_eq!(addresses("{ srv = '_pp._tcp.web.internal' }"), srv);
        let server = Server::start(&text("{ srv = '_pp._tcp.web.internal' }"));
        let change = &server.wait_for(CHANGED, 0)["added"];
        let expected = "127.0.0.2:8001 weight=5, 127.0.0.3:8002 backup, [fd00::2]:8001 weight=5";
        assert_eq!(change, expected);
    });
}

#[test]
fn weights_and_tiers_of_records_are_honoured_and_those_of_their_entry_count_on_top() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"].into_iter().for_each(backend);
        let hosts = "127.0.0.2 two.internal\n127.0.0.3 three.internal\n127.0.0.4 four.internal\n";
        let record = |host: &str, terms: &str| {
            format!("--srv-host=_pp._tcp.web.internal,{host}.internal,{PORT},{terms}")
        };
        let args = [record("two", "10,3"), record("three", "10,1"), record("four", "20,9")];
        let args = args.each_ref().map(String::as_str);
        let _names = NameServer::start(system.path("").as_path(), hosts, &args);
        let entries = "{ srv = '_pp._tcp.web.internal', weight = 2 }, \
                       { address = '127.0.0.5:8000', weight = 4 }, \
                       { address = '127.0.0.3:8000', weight = 9 }";
        // Whose turn it is each worker knows for itself.
        let server = Server::start(&text(entries).replace("workers = 2", "workers = 1"));
        let pools = door(&server).get("/api/v1/upstreams").json(200);
        let endpoints = pools["pools"][0]["endpoints"].as_array().expect("a list").clone();
        let mut shown: Vec<_> = endpoints
            .iter()
            .map(|it| {
                let addr = it["address"].as_str().expect("a text").to_owned();
                (addr, it["weight"].as_u64(), it["backup"].as_bool(), it["name"].is_string())
            })
            .collect();
        shown.sort_unstable();
        let expected = [
            ("127.0.0.2:8000", 6, false, true),
            // Of two that lead there the first counts.
            ("127.0.0.3:8000", 2, false, true),
            ("127.0.0.4:8000", 18, true, true),
            ("127.0.0.5:8000", 4, false, false),
        ];
        let expected = expected.map(|(addr, weight, backup, has_name)| {
            (addr.to_owned(), Some(weight), Some(backup), has_name)
        });
        assert_eq!(shown, expected);
        let mut counts = BTreeMap::new();
        for _ in 0..48 {
            let link = connect(server.addr()).expect("nobody is reset");
            *counts.entry(link.backend).or_insert(0) += 1;
        }
        let expected = [("127.0.0.2", 24), ("127.0.0.3", 8), ("127.0.0.5", 16)];
        assert_eq!(counts, expected.map(|(ip, count)| (ip.to_owned(), count)).into());
    });
}

#[test]
fn an_address_in_numbers_asks_nobody() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        backend("127.0.0.2");
        let args = ["--log-queries"];
        let names = NameServer::start(system.path("").as_path(), "", &args);
        let server = Server::start(&text("'127.0.0.2:8000'"));
        assert_eq!(connect(server.addr()).expect("it is there").backend, "127.0.0.2");
        // Whoever was asked before it would have been logged before it.
        let server = Server::start(&text(WEB));
        server.wait_for(LOST, 0);
        let asked = names.lines("query[");
        assert!(
            !asked.is_empty() && asked.iter().all(|line| line.contains("web.internal")),
            "{asked:?}"
        );
    });
}

#[test]
fn a_name_that_leads_back_to_a_listener_is_left_out_and_told() {
    in_a_namespace(|| {
        let system = System::with(NAME_SERVER);
        backend("127.0.0.2");
        let hosts = "127.0.0.1 web.internal\n127.0.0.2 web.internal\n";
        let names = NameServer::start(system.path("").as_path(), hosts, &[]);
        let text = text(WEB).replace("bind = ['127.0.0.1:0']", "bind = ['127.0.0.1:8000']");
        let server = Server::start(&text);
        let message = "upstream `web`: 127.0.0.1:8000 leads back to 127.0.0.1:8000";
        assert_eq!(server.wait_for(message, 0)["code"], "own-listener");
        for _ in 0..4 {
            assert_eq!(connect(server.addr()).expect("nobody is reset").backend, "127.0.0.2");
        }
        backend("127.0.0.3");
        names.say("127.0.0.1 web.internal\n127.0.0.3 web.internal\n");
        connect_until(server.addr(), "127.0.0.3");
        assert_eq!(server.records(message).len(), 1, "it is told once");
    });
}
