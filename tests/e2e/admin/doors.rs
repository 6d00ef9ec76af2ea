//! Who may ask what at which door, and what comes of it; where doors are, and when.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{ENDPOINT, Open, messages, text};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::process::Proc;
use crate::life::server::{Server, file, ppserver, run, wait_for, written};
use crate::life::session::Session;
use crate::support::http::{Answer, Door};

#[test]
fn both_doors_say_whether_it_lives_and_is_ready() {
    let open = Open::start("127.0.0.1:0");
    let Open { tcp, unix, .. } = &open;
    for door in [tcp, unix] {
        for path in ["/livez", "/readyz"] {
            let answer = door.get(path);
            assert_eq!((answer.status, &*answer.body), (200, "ok\n"), "{door} {path}");
            assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
        }
    }
}

#[test]
fn the_dashboard_lets_nothing_in_but_its_own_script_and_style_of_this_answer() {
    let open = Open::start("127.0.0.1:0");
    let Open { tcp, unix, .. } = &open;
    let mut nonces = Vec::new();
    for door in [tcp, unix] {
        let Answer { status, head, body } = door.get("/");
        assert_eq!(status, 200, "{head}");
        for line in [
            "content-type: text/html; charset=utf-8",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
        let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
        let policy = policy.expect("it has one");
        let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next());
        let nonce = nonce.expect("it names one").to_owned();
        for rule in [
            "default-src 'none'".to_owned(),
            format!("script-src 'nonce-{nonce}'"),
            format!("style-src 'nonce-{nonce}'"),
            "connect-src 'self'".to_owned(),
            "frame-ancestors 'none'".to_owned(),
        ] {
            assert!(policy.split("; ").any(|found| found == rule), "{rule}: {policy}");
        }
        for element in ["script", "style"] {
            assert!(body.contains(&format!("<{element} nonce=\"{nonce}\">")), "{element}");
        }
        nonces.push(nonce);
    }
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn the_tcp_door_takes_no_change_and_says_which_door_does() {
    let open = Open::start("127.0.0.1:0");
    let Open { server, tcp, .. } = &open;
    for path in ["/api/v1/reload", "/api/v1/drain", "/api/v1/log?level=debug", "/nothing"] {
        let refused = tcp.post(path).json(403);
        assert!(messages(&refused)[0].contains("admin.socket"), "{refused}");
    }
    assert_eq!(tcp.get("/readyz").status, 200);
    assert!(server.records("draining").is_empty() && server.records("reload").is_empty());
}

#[test]
fn a_door_beyond_loopback_answers_probes_and_scrapers_alone() {
    let open = Open::start("0.0.0.0:0");
    let Open { tcp, unix, .. } = &open;
    let Door::Tcp(addr) = tcp else { unreachable!("it is the TCP door") };
    let tcp = Door::Tcp(([127, 0, 0, 1], addr.port()).into());
    assert_eq!(tcp.get("/livez").status, 200);
    assert_eq!(tcp.ask("GET", "/readyz", "Host: proxy.example\r\n").status, 200);
    for path in ["/api/v1/config", "/", "/nothing"] {
        assert_eq!(tcp.get(path).status, 403, "{path}");
    }
    assert_eq!(unix.get("/api/v1/config").status, 200);
}

#[test]
fn a_page_whose_name_came_to_stand_for_this_host_reads_nothing() {
    let open = Open::start("127.0.0.1:0");
    let Open { tcp, .. } = &open;
    for (host, status) in [
        ("evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("localhost:9464", 200),
        ("127.0.0.1", 200),
        ("[::1]:9464", 200),
    ] {
        let answer = tcp.ask("GET", "/api/v1/config", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, status, "{host}");
    }
}

#[test]
fn what_is_not_there_or_asked_wrongly_is_told() {
    let open = Open::start("127.0.0.1:0");
    let Open { unix, .. } = &open;
    for (method, path, status, word) in [
        ("GET", "/api/v1/nothing", 404, "docs/api.md"),
        ("GET", "/api/v1/reload", 405, "docs/api.md"),
        ("POST", "/livez", 405, "docs/api.md"),
        ("POST", "/api/v1/log", 400, "level"),
        ("POST", "/api/v1/log?level=loud", 400, "error, warn, info, debug, trace"),
        ("POST", "/api/v1/log?level=info&more=1", 400, "more"),
        ("POST", "/api/v1/reload?dry_run=1", 400, "dry_run"),
        ("POST", "/api/v1/drain?grace=1m", 400, "grace"),
        ("POST", "/api/v1/connections/0006617900000001/close?all=1", 400, "all"),
        ("POST", "/api/v1/upgrade?binary=/no", 422, "cannot start `/no`"),
    ] {
        let refused = unix.ask(method, path, "").json(status);
        assert!(messages(&refused)[0].contains(word), "{method} {path}: {refused}");
    }
    let with_body = unix.ask("POST", "/api/v1/drain", "Content-Length: 1\r\n");
    assert!(messages(&with_body.json(400))[0].contains("body"));
}

#[test]
fn a_reload_is_answered_with_what_changed_and_a_bad_file_with_all_its_errors() {
    let open = Open::start("127.0.0.1:0");
    let Open { server, unix, dir, .. } = &open;
    assert_eq!(unix.post("/api/v1/reload").json(200), json!({ "changes": [] }));
    let text = text("127.0.0.1:0", dir.path());
    fs::write(server.file(), format!("log.level = 'debug'\n{text}")).unwrap();
    assert_eq!(unix.post("/api/v1/reload").json(200), json!({ "changes": ["log.level"] }));
    fs::write(server.file(), format!("workers = 1\nlog.level = 'loud'\n{text}")).unwrap();
    let refused = unix.post("/api/v1/reload").json(422);
    let places: Vec<_> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (&error["line"], &error["code"]))
        .collect();
    assert_eq!(places, [(&json!(1), &json!("unknown-key")), (&json!(2), &json!("bad-value"))]);
    fs::write(server.file(), text.replace("workers = 1", "workers = 2")).unwrap();
    let refused = unix.post("/api/v1/reload").json(422);
    assert_eq!(messages(&refused), ["a restart is needed to change server.workers"]);
    let toml = unix.get("/api/v1/config").json(200);
    assert_eq!(toml["file"], server.file().to_str().unwrap());
    assert!(toml["toml"].as_str().unwrap().contains("level = \"debug\""), "{toml}");
}

#[test]
fn a_drain_is_answered_when_the_ports_are_closed_and_nobody_is_sent_here_any_more() {
    let mut open = Open::start("127.0.0.1:0");
    let Open { server, tcp, unix, .. } = &mut open;
    let addr = server.addr();
    let held = TcpStream::connect(addr).unwrap();
    server.wait_until("one is there", |counters| counters["active"] == 1);
    assert_eq!(unix.post("/api/v1/drain").json(200), json!({ "active": 1, "grace_seconds": 25.0 }));
    assert!(TcpStream::connect(addr).is_err(), "the port is closed");
    let answer = tcp.get("/readyz");
    assert_eq!((answer.status, &*answer.body), (503, "draining\n"));
    assert_eq!(tcp.get("/livez").status, 200);
    for path in ["/api/v1/drain", "/api/v1/reload"] {
        assert_eq!(messages(&unix.post(path).json(409)), ["a drain is under way"]);
    }
    drop(held);
    assert_eq!(server.ended()["accepted"], 1);
}

#[test]
fn the_answer_to_a_drain_is_out_though_nothing_holds_the_server() {
    let mut open = Open::start("127.0.0.1:0");
    let Open { server, unix, .. } = &mut open;
    assert_eq!(unix.post("/api/v1/drain").json(200), json!({ "active": 0, "grace_seconds": 25.0 }));
    server.ended();
}

#[test]
fn the_level_of_the_log_changes_until_the_next_reload() {
    let open = Open::start("127.0.0.1:0");
    let Open { server, unix, .. } = &open;
    let changed = unix.post("/api/v1/log?level=error").json(200);
    assert_eq!(changed, json!({ "level": "error", "was": "info" }));
    let before = server.records("reloaded").len();
    server.hang_up("reloaded");
    assert_eq!(server.records("reloaded").len(), before + 1, "the level is the file's again");
    let changed = unix.post("/api/v1/log?level=debug").json(200);
    assert_eq!(changed, json!({ "level": "debug", "was": "info" }));
}

#[test]
fn the_socket_is_its_owners_a_stale_one_is_replaced_and_it_goes_with_the_server() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    let mut server = Server::start(&text("", dir.path()));
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(Door::Unix(path.clone()).get("/livez").status, 200);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn of_two_that_start_at_once_on_a_stale_socket_one_serves_and_the_other_exits_69() {
    const ROUNDS: usize = 5;
    let dir = TempDir::new().unwrap();
    let (_kept, config) = written(&text("", dir.path()));
    let path = dir.path().join("admin.sock");
    for round in 0..ROUNDS {
        drop(UnixListener::bind(&path).unwrap());
        let mut rivals =
            [0, 1].map(|_| Proc::spawn("ppserver", ppserver().args(["run", "-c"]).arg(&config)));
        let lost = poll_for(PATIENCE, || rivals.iter_mut().position(|rival| !rival.is_running()));
        let lost = lost.unwrap_or_else(|| panic!("both serve in round {round}"));
        assert_eq!(rivals[lost].wait_for_exit().code(), Some(69), "{}", rivals[lost].transcript());
        let won = &mut rivals[1 - lost];
        wait_for(won, "listening", 0);
        let status = Door::Unix(path.clone()).get("/api/v1/status").json(200);
        assert_eq!(status["pid"], won.pid().as_raw_nonzero().get());
        won.signal(Signal::TERM);
        assert!(won.wait_for_exit().success());
        assert!(!path.exists(), "it goes with its server");
    }
}

#[test]
fn a_door_that_somebody_holds_exits_69_and_leaves_it_alone() {
    let dir = TempDir::new().unwrap();
    let (_kept, config) = written(&text("", dir.path()));
    let path = dir.path().join("admin.sock");
    let held = UnixListener::bind(&path).unwrap();
    let ran = run(ppserver().args(["run", "-c"]).arg(&config));
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.stderr.contains(path.to_str().unwrap()), "{ran:?}");
    drop(held);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let ran = run(ppserver().args(["run", "-c"]).arg(&config));
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.stderr.contains("it is no socket"), "{ran:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_doors_follow_a_reload_and_one_that_is_not_to_be_had_refuses_it() {
    let open = Open::start("127.0.0.1:0");
    let Open { server, tcp, unix, dir } = &open;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = taken.local_addr().unwrap();
    let moved = text(&other.to_string(), dir.path());
    fs::write(server.file(), &moved).unwrap();
    let refused = unix.post("/api/v1/reload").json(422);
    assert!(messages(&refused)[0].contains(&other.to_string()), "{refused}");
    assert_eq!(tcp.get("/livez").status, 200);
    drop(taken);
    assert_eq!(unix.post("/api/v1/reload").json(200), json!({ "changes": ["admin"] }));
    assert_eq!(Door::Tcp(other).get("/livez").status, 200);
    let Door::Tcp(old) = tcp else { unreachable!("it is the TCP door") };
    wait_for(&server.proc, "admin door closes", 0);
    assert!(TcpStream::connect(old).is_err());
    // The door through which it is asked closes behind the answer.
    fs::write(server.file(), file(&["server.workers = 1"], ENDPOINT)).unwrap();
    assert_eq!(unix.post("/api/v1/reload").json(200), json!({ "changes": ["admin"] }));
    wait_for(&server.proc, "admin door closes", 2);
    let path = dir.path().join("admin.sock");
    poll_for(PATIENCE, || (!path.exists()).then_some(())).expect("its file goes with it");
}

#[test]
fn a_lame_duck_is_not_ready_and_serves() {
    let far_end = FarEnd::start();
    let mut open = Open::start_with("127.0.0.1:0", far_end.addr(), &["server.lame_duck = '1h'"]);
    open.server.proc.signal(Signal::TERM);
    open.server.wait_for("lame duck", 0);
    assert_eq!(open.tcp.get("/readyz").status, 503);
    assert_eq!(open.tcp.get("/livez").status, 200);
    Session::open(open.server.addr()).finish();
    // A drain that is asked for does not wait for its end.
    open.unix.post("/api/v1/drain").json(200);
    open.server.ended();
}
