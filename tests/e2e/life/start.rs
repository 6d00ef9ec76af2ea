//! A start that succeeds, and what it says.

use std::fs;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::process::{Proc, Stream};
use crate::common::socket::{Client, ReservedPort};
use crate::life::procfs;
use crate::life::server::{Server, bound, file, listener, ppserver, wildcard_port};
use crate::life::session::{HEADER, Session};

/// `record` has these fields with these values.
#[track_caller]
fn assert_fields(record: &Value, fields: &Value) {
    for (key, value) in fields.as_object().expect("an object") {
        assert_eq!(&record[key], value, "{key} of {record}");
    }
}

#[test]
fn each_port_has_one_start_line_that_says_what_it_does() {
    let mut server = Server::start_ports(
        "config_version = 1\n\
         server.workers = 2\n\
         server.max_connections = 77\n\
         [[listener]]\n\
         name = 'edge'\n\
         bind = ['127.0.0.1:0', '[::1]:0']\n\
         upstream = 'web'\n\
         proxy_protocol = { accept = 'optional', versions = ['v2'], untrusted = 'plain', \
                            trust = ['fd00::/8', '10.0.0.0/8'], header_max = '1KiB' }\n\
         [[listener]]\n\
         name = 'bare'\n\
         bind = ['127.0.0.1:0']\n\
         upstream = 'old'\n\
         [upstream.web]\n\
         endpoints = ['127.0.0.1:9', '127.0.0.1:10']\n\
         proxy_protocol = { send = 'v2' }\n\
         [upstream.old]\n\
         endpoints = ['127.0.0.1:9']\n\
         proxy_protocol = { send = 'v1' }\n",
        3,
    );
    server.stop();
    let lines = server.records("listening");
    assert_eq!(lines.len(), 3);
    let edge = json!({
        "level": "INFO", "listener": "edge", "accept": "optional v2 up to 1024 B",
        "trust": "10.0.0.0/8, fd00::/8", "untrusted": "plain", "upstream": "web", "endpoints": 2,
        "send": "v2", "workers": 2, "connections_max": 77,
    });
    assert_fields(&lines[0], &edge);
    assert_fields(&lines[1], &edge);
    assert_fields(
        &lines[2],
        &json!({
            "listener": "bare", "accept": "off", "trust": "nobody", "upstream": "old",
            "endpoints": 1, "send": "v1",
        }),
    );
    let [first, second, third] = server.addrs() else { panic!("three ports") };
    assert!(first.is_ipv4() && second.is_ipv6() && third.is_ipv4());
    assert!(server.addrs().iter().all(|addr| addr.port() != 0), "{:?}", server.addrs());
}

#[test]
fn every_line_is_json_when_stderr_is_no_terminal() {
    let mut server = Server::start(
        &file(
            // Two that are warned about: everybody is trusted, and 10.1.2.3/8 has bits too many.
            &["server.max_connections = 262144"],
            "127.0.0.1:9".parse().expect("an address"),
        )
        .replace("['127.0.0.1']\n", "['127.0.0.1', '10.1.2.3/8']\n"),
    );
    Session::connect(server.addr()).send(b"GET / HTTP/1.0\r\n\r\n");
    server.wait_until("one refusal", |counters| counters["closed"]["header_absent"] == 1);
    server.stop();
    let lines = server.proc.lines(Stream::Stderr);
    for line in &lines {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        for key in ["timestamp", "level", "message"] {
            assert!(record[key].is_string(), "no {key}: {line}");
        }
    }
    let of = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    for text in ["10.0.0.0/8", "listening", "refused", "draining", "\"counters\""] {
        assert!(of(text) > 0, "no line says {text}");
    }
    assert_eq!(server.proc.lines(Stream::Stdout), [""; 0]);
}

#[test]
fn a_text_log_in_a_pipe_has_no_escape_sequences() {
    let server = ReservedPort::new();
    let text = file(&["log.format = 'text'"], "127.0.0.1:9".parse().expect("an address"))
        .replace("127.0.0.1:0", &server.addr().to_string());
    let dir = tempfile::TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("text.toml");
    fs::write(&path, text).expect("a file in it can be written");
    let mut proc = Proc::spawn("ppserver", ppserver().args(["run", "-c"]).arg(&path));
    let listening = |line: &str| line.contains("listening").then(|| line.to_owned());
    let line = proc.wait_for_line(Stream::Stderr, "a start line", listening);
    assert!(line.contains("INFO") && line.contains(&server.addr().to_string()), "{line}");
    assert!(serde_json::from_str::<Value>(&line).is_err(), "text was asked for: {line}");
    Session::connect(server.addr()).send(b"\x1b[31mGET");
    let refused = |line: &str| line.contains("refused").then_some(());
    proc.wait_for_line(Stream::Stderr, "a refusal", refused);
    proc.signal(Signal::TERM);
    proc.wait_for_exit();
    let controls = |line: &String| line.chars().any(char::is_control);
    assert!(!proc.lines(Stream::Stderr).iter().any(controls), "{}", proc.transcript());
}

#[test]
fn trust_in_everybody_is_said_aloud() {
    let text = file(&[], "127.0.0.1:9".parse().expect("an address"));
    let mut careful = Server::start(&text);
    for (trust, shown) in [("'any'", "any"), ("['10.0.0.0/8', '::/0']", "10.0.0.0/8, ::/0")] {
        let mut open = Server::start(&text.replace("['127.0.0.1']\n", &format!("{trust}\n")));
        let warning = open.wait_for("whoever reaches this port", 0);
        let bind = open.addr().to_string();
        let told = json!({ "level": "WARN", "listener": "edge", "bind": bind, "trust": shown });
        assert_fields(&warning, &told);
        assert_eq!(open.records("listening")[0]["trust"], shown);
        open.stop();
    }
    careful.stop();
    assert_eq!(careful.records("whoever reaches"), [Value::Null; 0]);
}

#[test]
fn each_listener_serves_its_own_upstream() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let text = file(&[], ends[0].addr()) + &listener("second", ends[1].addr());
    let server = Server::start_ports(&text, 2);
    for (end, addr) in ends.iter().zip(server.addrs()) {
        Session::open(*addr).finish();
        assert_eq!(end.ended(0).received, b"x");
    }
    assert_eq!(ends.map(|end| end.accepted()), [1, 1]);
}

#[test]
fn the_ipv6_wildcard_stands_beside_the_ipv4_one_on_one_port() {
    let far_end = FarEnd::start();
    let port = wildcard_port();
    let text = file(&[], far_end.addr())
        .replace("['127.0.0.1:0']", &format!("['0.0.0.0:{port}', '[::]:{port}']"))
        .replace("['127.0.0.1']\n", "['127.0.0.1', '::1']\n");
    let server = Server::start_ports(&text, 2);
    for ip in ["127.0.0.1", "::1"].map(|ip| ip.parse().expect("an address")) {
        let client = Client::connect(ip, (ip, port).into());
        assert_eq!(client.exchange(&[HEADER, b"hello"].concat()).complete(), b"hello", "{ip}");
    }
    server.wait_until("both are over", |counters| counters["closed"]["done"] == 2);
}

#[test]
fn flags_start_a_server_without_a_file() {
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    let mut command = ppserver();
    command.args(["run", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--to", &to]);
    let proc =
        Proc::spawn("ppserver", command.args(["--accept", "v1", "--trust", "127.0.0.1,::1"]));
    for addr in bound(&proc, 2) {
        let client = Client::connect(addr.ip(), addr);
        assert_eq!(client.exchange(&[HEADER, b"hello"].concat()).complete(), b"hello", "{addr}");
    }
}

#[test]
fn every_worker_is_a_thread() {
    let text = file(&["server.workers = 3"], "127.0.0.1:9".parse().expect("an address"));
    let server = Server::start(&text);
    // A thread names itself once it runs, which may be after the start line.
    let workers = || {
        let mut names = procfs::thread_names(server.pid());
        names.retain(|name| name.starts_with("worker"));
        names
    };
    let named =
        poll_for(PATIENCE, || (workers() == ["worker-0", "worker-1", "worker-2"]).then_some(()));
    assert!(named.is_some(), "{:?}", workers());
}

/// Connections that this many descriptors allow where there are no pipes (docs/operations.md).
fn connections_most(descriptors: u64) -> u64 {
    let cpus = thread::available_parallelism().expect("Linux tells").get();
    let workers = u64::try_from(cpus).expect("few");
    (descriptors - 64 - workers * 3) / 2
}

/// Connections that they allow beside the usual pipes.
fn connections_possible(descriptors: u64) -> u64 {
    let soft = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").expect("Linux has it");
    let pages: u64 = soft.trim().parse().expect("a number");
    // One half is for pipes of 1 MiB, 256 pages, the other for those of 64 KiB.
    let by_pages = if pages == 0 { u64::MAX } else { pages / 2 / 256 + pages / 2 / 16 };
    connections_most(descriptors) - by_pages.min(descriptors / 16)
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let text = file(&[], "127.0.0.1:9".parse().expect("an address"));
    let server = Server::start_after("ulimit -Sn 100 && ulimit -Hn 900", &text);
    assert_eq!(procfs::descriptor_limits(server.pid()), (900, 900));
    let line = server.wait_for("listening", 0);
    assert_eq!(line["connections_max"], connections_possible(900));
    assert_eq!(server.records("max_connections is lowered"), [Value::Null; 0]);
    assert_eq!(server.records("the limit of"), [Value::Null; 0]);
}

#[test]
fn a_limit_with_room_for_few_connections_is_warned_about() {
    let text = file(&[], "127.0.0.1:9".parse().expect("an address"));
    let server = Server::start_after("ulimit -n 300", &text);
    let possible = connections_possible(300);
    let message = format!("the limit of 300 open files leaves room for {possible} connections");
    let warning = server.wait_for(&message, 0);
    assert_fields(&warning, &json!({ "level": "WARN", "code": "few-descriptors" }));
    assert_eq!(server.wait_for("listening", 0)["connections_max"], possible);
}

#[test]
fn connections_that_descriptors_allow_are_not_lowered_for_the_sake_of_pipes() {
    let possible = connections_possible(900) + 10;
    let text = file(&[], "127.0.0.1:9".parse().expect("an address"));
    let text = format!("server.max_connections = {possible}\n{text}");
    let server = Server::start_after("ulimit -Sn 100 && ulimit -Hn 900", &text);
    assert_eq!(server.wait_for("listening", 0)["connections_max"], possible);
    assert_eq!(server.records("max_connections is lowered"), [Value::Null; 0]);
}

#[test]
fn more_connections_than_descriptors_allow_are_lowered_aloud() {
    let settings = ["server.max_connections = 5000"];
    let text = file(&settings, "127.0.0.1:9".parse().expect("an address"));
    let server = Server::start_after("ulimit -Sn 100 && ulimit -Hn 900", &text);
    // As many as a number that fits would get.
    let possible = connections_most(900);
    assert_eq!(server.wait_for("listening", 0)["connections_max"], possible);
    let warning = server.wait_for("max_connections is lowered", 0);
    assert_fields(
        &warning,
        &json!({ "level": "WARN", "wanted": 5000, "possible": possible, "descriptors": 900 }),
    );
}
