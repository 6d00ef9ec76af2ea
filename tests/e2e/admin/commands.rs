//! The commands that ask a running server, as their users meet them.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use tempfile::TempDir;

use super::{ENDPOINT, Open, text};
use crate::common::far_end::FarEnd;
use crate::common::process::Stream;
use crate::life::server::{Ran, Server, file, ppserver, run, wait_for, written};
use crate::life::session::Session;
use crate::support::http::Door;

/// Runs a command at a door.
#[track_caller]
fn at(door: &Door, words: &[&str]) -> Ran {
    run(ppserver().args(words).arg("--admin").arg(door.to_string()))
}

/// Fails unless it ended with this code and said all of `words` on stderr, and nothing on stdout.
#[track_caller]
fn assert_failed(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is missing: {ran:?}");
    }
}

#[test]
fn the_status_is_a_page_for_people_and_an_object_for_programs() {
    let far_end = FarEnd::start();
    let open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let session = Session::open(open.server.addr());
    for door in [&open.tcp, &open.unix] {
        let ran = at(door, &["status"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for words in ["serving", "1 active of", "LISTENER", "edge", "POOL"] {
            assert!(ran.stdout.contains(words), "`{words}` is missing:\n{}", ran.stdout);
        }
    }
    let ran = at(&open.tcp, &["status", "--json"]);
    let status: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(status["active"], 1);
    drop(session);
}

#[test]
fn connections_and_endpoints_are_tables() {
    let far_end = FarEnd::start();
    let open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let session = Session::open(open.server.addr());
    let ran = at(&open.tcp, &["conns", "--client", "203.0.113.0/24", "--limit", "5"]);
    let lines: Vec<_> = ran.stdout.lines().collect();
    let [head, row, count] = lines[..] else { panic!("a head, a row, a count: {ran:?}") };
    assert!(head.starts_with("ID ") && head.ends_with("PHASE"), "{head}");
    assert!(row.contains("203.0.113.7:51820") && row.ends_with("relaying"), "{row}");
    assert_eq!(count, "1 of 1");
    let ran = at(&open.tcp, &["conns", "--listener", "west"]);
    assert!(ran.stdout.ends_with("0 of 0"), "{ran:?}");
    assert_failed(&at(&open.tcp, &["conns", "--client", "all"]), 1, &["`client` is no network"]);
    let ran = at(&open.tcp, &["upstreams"]);
    assert!(ran.stdout.contains(&far_end.addr().to_string()), "{ran:?}");
    let endpoint = far_end.addr().to_string();
    let set = ["upstreams", "set", "edge", &endpoint, "--state", "down"];
    let ran = at(&open.unix, &set);
    assert_eq!(ran.stdout, format!("{endpoint} of edge: down, weight 1"), "{ran:?}");
    let ran = at(&open.tcp, &["upstreams"]);
    assert!(ran.stdout.contains("an operator has said so"), "{ran:?}");
    assert_failed(&at(&open.tcp, &set), 1, &["only answers GET"]);
    drop(session);
}

#[test]
fn a_reload_prints_what_changed_or_every_error() {
    let open = Open::start("127.0.0.1:0");
    let ran = at(&open.unix, &["reload"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "nothing changed"));
    let text = text("127.0.0.1:0", open.dir.path());
    fs::write(open.server.file(), format!("log.level = 'debug'\n{text}")).unwrap();
    assert_eq!(at(&open.unix, &["reload"]).stdout, "log.level");
    fs::write(open.server.file(), format!("worker = 1\nlog.level = 'loud'\n{text}")).unwrap();
    let ran = at(&open.unix, &["reload"]);
    assert_failed(&ran, 1, &["error: 1:1: unknown key", "error: 2:13: ", "help: "]);
}

#[test]
fn what_changes_is_refused_at_the_tcp_door_with_the_way_to_do_it() {
    let open = Open::start("127.0.0.1:0");
    for words in ["reload", "drain", "upgrade"] {
        assert_failed(&at(&open.tcp, &[words]), 1, &["only answers GET", "admin.socket"]);
    }
    let upgrade = ["upgrade", "--binary", "/no/such/program"];
    assert_failed(&at(&open.unix, &upgrade), 1, &["cannot start `/no/such/program`"]);
    assert_eq!(at(&open.tcp, &["healthcheck"]).code, Some(0));
}

#[test]
fn a_drain_says_who_is_left() {
    let far_end = FarEnd::start();
    let mut open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let session = Session::open(open.server.addr());
    let ran = at(&open.unix, &["drain"]);
    assert_eq!(ran.stdout, "draining: 1 active, for up to 25.0 s", "{ran:?}");
    assert_eq!(at(&open.tcp, &["healthcheck"]).stdout, "503 draining");
    assert_failed(&at(&open.unix, &["drain"]), 1, &["a drain is under way"]);
    drop(session);
    open.server.ended();
}

#[test]
fn a_health_check_ends_with_0_or_1_and_prints_one_line() {
    let open = Open::start("127.0.0.1:0");
    let ran = at(&open.unix, &["healthcheck"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "200 ok"));
    let url = format!("http://{}", open.tcp);
    for (path, code) in [("", 0), ("/livez", 0), ("/nothing", 1)] {
        let ran = run(ppserver().arg("healthcheck").arg(format!("{url}{path}")));
        assert_eq!(ran.code, Some(code), "{path}: {ran:?}");
    }
    for url in ["http://127.0.0.1:1", "https://localhost/", "no url"] {
        assert_failed(&run(ppserver().args(["healthcheck", url])), 1, &["error: "]);
    }
}

#[test]
fn where_nobody_answers_it_says_where_it_asked_and_what_to_do() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("admin.sock");
    let asked = path.to_str().unwrap();
    let status = |door: &str| run(ppserver().args(["status", "--admin", door]));
    assert_failed(&status(asked), 1, &[asked, "`admin.socket`", "--admin"]);
    // Not one that listened: a process that is being started would have it too, until its exec.
    mknodat(CWD, &path, FileType::Socket, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_failed(&status(asked), 1, &[asked, "has ended"]);
    assert_failed(&status("127.0.0.1:1"), 1, &["127.0.0.1:1", "`admin.listen`"]);
    assert_failed(&status("localhost"), 2, &["an address has a port"]);
    let default = run(ppserver().arg("status").env("PPSERVER_ADMIN", asked));
    assert_failed(&default, 1, &[asked]);
}

#[test]
fn doors_named_on_the_command_line_win_over_the_file_also_at_a_reload() {
    let dir = TempDir::new().unwrap();
    let [ours, files] = ["ours.sock", "files.sock"].map(|name| dir.path().join(name));
    let in_file = format!("admin.socket = '{}'", files.display());
    let (_kept, config) = written(&file(&[&in_file], ENDPOINT));
    let mut command = ppserver();
    command.args(["run", "-c"]).arg(&config).args(["--admin", "127.0.0.1:0", "--admin"]).arg(&ours);
    let proc = crate::common::process::Proc::spawn("ppserver", &mut command);
    wait_for(&proc, "listening", 0);
    let door = Door::Unix(ours.clone());
    door.post("/api/v1/reload").json(200);
    assert_eq!(door.get("/livez").status, 200);
    assert!(!files.exists());
    let doors: Vec<_> =
        proc.lines(Stream::Stderr).into_iter().filter(|line| line.contains("door opens")).collect();
    assert_eq!(doors.len(), 2, "{doors:?}");
    for doors in
        ["/a,/b", "unix:/a,127.0.0.1:0,/b", "127.0.0.1:0,127.0.0.1:1", "127.0.0.1:1,[::1]:1"]
    {
        let mut command = ppserver();
        command.args(["run", "-c"]).arg(&config);
        for door in doors.split(',') {
            command.args(["--admin", door]);
        }
        assert_failed(&run(&mut command), 2, &["--admin: one address and one path"]);
        let by_variable =
            run(ppserver().args(["run", "-c"]).arg(&config).env("PPSERVER_ADMIN", doors));
        assert_failed(&by_variable, 2, &["--admin: one address and one path"]);
    }
}

#[test]
fn flags_alone_open_doors_too_and_have_nothing_to_reload() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("admin.sock");
    let mut command = ppserver();
    command.args(["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"]);
    command.env("PPSERVER_ADMIN", format!("unix:{}", path.display()));
    let proc = crate::common::process::Proc::spawn("ppserver", &mut command);
    wait_for(&proc, "listening", 0);
    let door = Door::Unix(path);
    assert_failed(&at(&door, &["reload"]), 1, &["started without a file"]);
    assert!(!proc.transcript().contains("SIGHUP"), "no signal asked\n{}", proc.transcript());
    assert_eq!(door.get("/api/v1/config").json(200)["file"], Value::Null);
}

#[test]
fn help_of_each_command_shows_how_it_is_used() {
    for (command, words) in [
        ("status", "--watch"),
        ("top", "--interval"),
        ("conns", "--client"),
        ("upstreams", "set"),
        ("reload", "changes nothing"),
        ("drain", "SIGTERM"),
        ("upgrade", "--binary"),
        ("healthcheck", "exit 0"),
    ] {
        let ran = run(ppserver().args([command, "--help"]));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in [words, "--admin", "PPSERVER_ADMIN", "/run/ppserver/admin.sock"] {
            assert!(text.contains(word), "`{word}` is missing:\n{}", ran.stdout);
        }
    }
}

/// A server whose file has no door at all is as quiet as before.
#[test]
fn without_doors_nothing_listens() {
    let server = Server::start(&file(&["server.workers = 1"], ENDPOINT));
    assert!(server.records("admin door").is_empty());
}
