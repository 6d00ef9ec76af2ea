//! `top` on a real terminal.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::{Open, with_doors};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::life::server::{Server, ppserver, run};
use crate::life::session::Session;
use crate::support::http::Door;
use crate::support::tmux::Tmux;

/// How the sequence of a colour begins, of whatever is written on it.
const COLOUR: &str = "[38;5;";

/// Runs `top` at a door between two looks at the settings of the terminal; then the window stays.
#[track_caller]
fn top(door: &Door, variables: &[(&str, &str)]) -> Tmux {
    let program = env!("CARGO_BIN_EXE_ppserver");
    let script = format!(
        "stty -g | cksum; sh -c 'echo $$ > \"$0/pid.new\"; mv \"$0/pid.new\" \"$0/pid\"; \
         exec {program} top --interval 100ms --admin {door}' \"$(dirname \"${{TMUX%%,*}}\")\"; \
         echo \"exit $?\"; stty -g | cksum; exec cat"
    );
    Tmux::open(&script, variables)
}

/// Fails unless it has ended with this code, and everything is as it was.
#[track_caller]
fn assert_as_before(tmux: &Tmux, code: i32) {
    tmux.wait_for(&[&format!("exit {code}\n")]);
    let settled = poll_for(PATIENCE, || {
        let screen = tmux.screen();
        let lines = screen.lines().filter(|line| !line.is_empty());
        Some(lines.map(str::to_owned).collect::<Vec<_>>()).filter(|lines| lines.len() == 3)
    });
    let lines = settled.unwrap_or_else(|| panic!("three lines, not:\n{}", tmux.screen()));
    assert_eq!(lines[0], lines[2], "the settings of the terminal");
    assert_eq!(
        (tmux.variable("alternate_on"), tmux.variable("cursor_flag")),
        ("0".into(), "1".into())
    );
}

/// A server in front of an echo, with a client that stays and one that was refused.
#[track_caller]
fn scene() -> (FarEnd, Open, Session) {
    let far_end = FarEnd::start();
    let open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let session = Session::open(open.server.addr());
    let mut stranger = TcpStream::connect(open.server.addr()).expect("it listens");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is let in");
    open.server.wait_until("one is refused", |counters| counters["closed"]["header_absent"] == 1);
    (far_end, open, session)
}

#[test]
fn a_running_server_is_shown_at_80_by_24_explained_and_left_as_it_was() {
    let (far_end, open, mut session) = scene();
    let tmux = top(&open.unix, &[("NO_COLOR", "1")]);
    let pid = format!("process {}, generation 1", open.server.pid().as_raw_nonzero());
    let screen =
        tmux.wait_for(&["SERVING for", &pid, "0.0/s accepted", "all well", "[Endpoints 1]"]);
    assert!(screen.contains(&far_end.addr().to_string()), "{screen}");
    assert_eq!(screen.lines().count(), 24, "{screen}");
    assert!(screen.contains("clients    1 of "), "{screen}");
    let coloured = tmux.coloured_screen();
    assert!(!coloured.contains(COLOUR), "{coloured:?}");
    tmux.press(&["Tab", "Tab", "Tab", "Enter"]);
    let words = [
        "[Refusals 1]",
        "header_absent (not_proxy)",
        "|GET / HTTP/1.1..|",
        "^^ byte 0",
        "it looks like HTTP",
    ];
    tmux.wait_for(&words);
    tmux.resize(120, 40);
    tmux.wait_for(&["-".repeat(120).as_str(), "|GET / HTTP/1.1..|"]);
    tmux.resize(40, 10);
    tmux.wait_for(&["top needs 72 columns and 14 rows"]);
    tmux.resize(80, 24);
    tmux.press(&["Escape"]);
    tmux.wait_for(&["[Refusals 1]", "q quit"]);
    session.echo(b"nothing of this is felt");
    tmux.press(&["q"]);
    assert_as_before(&tmux, 0);
}

#[test]
fn a_server_that_has_ended_is_told_of_and_found_again() {
    let (far_end, mut open, session) = scene();
    let tmux = top(&open.unix, &[]);
    tmux.wait_for(&["SERVING for"]);
    let coloured = poll_for(PATIENCE, || tmux.coloured_screen().contains(COLOUR).then_some(()));
    assert!(coloured.is_some(), "{:?}", tmux.coloured_screen());
    drop(session);
    open.server.stop();
    tmux.wait_for(&[
        "NO ANSWER for",
        "this is what it said then",
        "look at    no answer from unix:",
    ]);
    let text = with_doors("127.0.0.1:0", open.dir.path(), far_end.addr(), &[]);
    let again = Server::start(&text);
    let pid = format!("process {}, generation 1", again.pid().as_raw_nonzero());
    tmux.wait_for(&["SERVING for", &pid, "clients    0 of "]);
    tmux.press(&["C-c"]);
    assert_as_before(&tmux, 0);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was_too() {
    let open = Open::start("127.0.0.1:0");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let tmux = top(&open.tcp, &[]);
        tmux.wait_for(&["SERVING for", "q quit"]);
        assert_eq!(tmux.variable("alternate_on"), "1");
        kill_process(written_pid(tmux.path()), signal).unwrap();
        assert_as_before(&tmux, 0);
    }
}

fn written_pid(dir: &Path) -> Pid {
    let text = fs::read_to_string(dir.join("pid")).expect("the script writes it");
    text.trim().parse().ok().and_then(Pid::from_raw).expect("a process id")
}

#[test]
fn where_nobody_answers_top_says_so_before_it_takes_the_screen() {
    let dir = tempfile::TempDir::new().unwrap();
    let tmux = top(&Door::Unix(dir.path().join("none.sock")), &[]);
    tmux.wait_for(&["error: no answer from unix:", "`admin.socket`", "exit 1\n"]);
}

#[test]
fn without_a_terminal_top_names_what_there_is_instead() {
    let open = Open::start("127.0.0.1:0");
    let ran = run(ppserver().args(["top", "--admin"]).arg(open.tcp.to_string()));
    assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("needs a terminal") && ran.stderr.contains("status --watch"),
        "{ran:?}"
    );
    for (interval, word) in [("10ms", "100ms at least"), ("2m", "60s at most"), ("soon", "number")]
    {
        let ran = run(ppserver().args(["top", "--interval", interval]));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(word), "{ran:?}");
    }
}
