//! SIGHUP: new connections follow the new file, running sessions and what does not change stay.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, thread};

use rustix::process::Signal;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::payload::{self, MIB, assert_same};
use crate::common::process::{Proc, Stream};
use crate::common::socket::Client;
use crate::life::listeners::sockets;
use crate::life::procfs;
use crate::life::server::{Server, bound, file, ppserver};
use crate::life::session::{HEADER, Session};
use crate::life::signals::{fifo, writer};
use crate::support::backlog;

const RELOADED: &str = "reloaded";
const REFUSED: &str = "reload refused";

#[test]
fn trust_changes_for_new_connections_only() {
    let far_end = FarEnd::start();
    let text = file(&[], far_end.addr());
    let server = Server::start(&text);
    let mut running = Session::open(server.addr());
    server.reload(&text.replace("['127.0.0.1']\n", "['10.0.0.0/8']\n"), RELOADED);
    assert!(Session::try_open(server.addr()).is_none(), "nobody is trusted any more");
    running.echo(b"still believed");
    server.reload(&text, RELOADED);
    Session::open(server.addr());
    assert_eq!(server.counters()["closed"]["untrusted"], 1);
}

#[test]
fn timeouts_change_for_new_connections_only() {
    let far_end = FarEnd::start();
    let server = Server::start(&file(&[], far_end.addr()));
    let mut running = Session::open(server.addr());
    server.reload(&file(&["timeouts.idle = '200ms'"], far_end.addr()), RELOADED);
    Session::open(server.addr()).assert_reset();
    running.echo(b"my five minutes are not over");
    server.wait_until("it was idle", |counters| counters["closed"]["idle_timeout"] == 1);
}

#[test]
fn upstreams_change_for_new_connections_only() {
    let (old, new) = (FarEnd::start(), FarEnd::start());
    let server = Server::start(&file(&[], old.addr()));
    let mut running = Session::open(server.addr());
    server.reload(&file(&[], new.addr()), RELOADED);
    let mut second = Session::open(server.addr());
    second.echo(b"to the new one");
    running.echo(b"to the old one");
    running.finish();
    second.finish();
    assert_eq!(old.ended(0).received, b"xto the old one");
    assert_eq!(new.ended(0).received, b"xto the new one");
    assert_eq!((old.accepted(), new.accepted()), (1, 1));
}

#[test]
fn endpoints_go_on_taking_turns_though_a_reload_comes_behind_each_connection() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let text = file(&["server.workers = 1"], ends[0].addr());
    let both = format!("'{}', '{}'", ends[0].addr(), ends[1].addr());
    let server = Server::start(&text.replace(&format!("'{}'", ends[0].addr()), &both));
    for _ in 0..20 {
        Session::open(server.addr());
        server.hang_up(RELOADED);
    }
    assert_eq!(ends.each_ref().map(FarEnd::accepted), [10, 10]);
    // Whose turn it is stays so, too, when others come before it.
    Session::open(server.addr());
    let third = FarEnd::start();
    let three = format!("'{}', {both}", third.addr());
    server.reload(&text.replace(&format!("'{}'", ends[0].addr()), &three), RELOADED);
    Session::open(server.addr());
    assert_eq!(ends.each_ref().map(FarEnd::accepted), [11, 11]);
}

#[test]
fn the_grace_period_changes_for_those_who_are_here_too() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["server.shutdown_grace = '1h'"], far_end.addr()));
    let session = Session::open(server.addr());
    server.reload(&file(&["server.shutdown_grace = '300ms'"], far_end.addr()), RELOADED);
    server.proc.signal(Signal::TERM);
    assert_eq!(server.wait_for("draining", 0)["grace"], "300ms");
    session.assert_reset();
    assert_eq!(server.ended()["closed"]["drained"], 1);
}

#[test]
fn a_reload_warns_of_what_a_start_warns_of() {
    let far_end = FarEnd::start();
    let text = file(&[], far_end.addr());
    let server = Server::start(&text);
    let open = text.replace("['127.0.0.1']\n", "['10.1.2.3/8', '0.0.0.0/0']\n");
    server.reload(&open, RELOADED);
    let warning = server.wait_for("`10.1.2.3/8` has bits set", 0);
    assert_eq!((&warning["level"], warning["line"].is_u64()), (&"WARN".into(), true), "{warning}");
    let warning = server.wait_for("whoever reaches this port", 0);
    assert_eq!((&warning["level"], &warning["listener"]), (&"WARN".into(), &"edge".into()));
}

#[test]
fn a_hangup_that_comes_while_names_are_resolved_is_not_lost() {
    let ends = [(); 3].map(|()| FarEnd::start());
    let [old, first, second] = ends.each_ref().map(|end| file(&[], end.addr()));
    let server = Server::start(&old);
    fs::remove_file(server.file()).expect("it is there");
    fifo(server.file());
    server.proc.signal(Signal::HUP);
    let mut writing = writer(server.file());
    // It is there when reading ends, and so before any word of the names.
    server.proc.signal(Signal::HUP);
    writing.write_all(first.as_bytes()).expect("a FIFO has room for it");
    drop(writing);
    server.wait_for(RELOADED, 0);
    writer(server.file()).write_all(second.as_bytes()).expect("a FIFO has room for it");
    server.wait_for(RELOADED, 1);
    Session::open(server.addr());
    assert_eq!(ends.map(|end| end.accepted()), [0, 0, 1]);
}

#[test]
fn a_broken_file_changes_nothing_but_a_log_line() {
    let (old, new) = (FarEnd::start(), FarEnd::start());
    let server = Server::start(&file(&[], old.addr()));
    let broken = file(&["server.worker = 2"], new.addr());
    let refused = server.reload(&broken, REFUSED);
    assert_eq!(refused["level"], "ERROR");
    assert_eq!(refused["file"], server.file().to_str().expect("a UTF-8 name"));
    let why = refused["why"].as_str().expect("text");
    assert!(why.contains(":2:8") && why.contains("`workers`"), "{why}");
    Session::open(server.addr()).finish();
    assert_eq!((old.ended(0).received, new.accepted()), (b"x".to_vec(), 0));

    fs::remove_file(server.file()).expect("it is there");
    let why = server.hang_up(REFUSED)["why"].to_string();
    assert!(why.contains("No such file"), "{why}");
    Session::open(server.addr()).finish();
    assert_eq!((old.ended(1).received, new.accepted()), (b"x".to_vec(), 0));
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_of_the_file_is_taken() {
    let (old, new) = (FarEnd::start(), FarEnd::start());
    let server = Server::start(&file(&["server.workers = 2"], old.addr()));
    let text = file(&["server.workers = 3", "timeouts.idle = '200ms'"], new.addr());
    let why = server.reload(&text, REFUSED)["why"].to_string();
    assert_eq!(why, "\"a restart is needed to change server.workers\"");
    Session::open(server.addr()).finish();
    assert_eq!((old.ended(0).received, new.accepted()), (b"x".to_vec(), 0));
}

#[test]
fn limits_of_connections_change() {
    let far_end = FarEnd::start();
    let text = |limit: usize| file(&[&format!("server.max_connections = {limit}")], far_end.addr());
    let server = Server::start(&text(1));
    let mut first = Session::open(server.addr());
    assert!(Session::try_open(server.addr()).is_none(), "there is room for one");
    let line = server.reload(&text(2), RELOADED);
    assert_eq!(line["changes"], "server.max_connections");
    let mut second = Session::open(server.addr());
    assert!(Session::try_open(server.addr()).is_none(), "there is room for two");
    server.reload(&text(1), RELOADED);
    [&mut first, &mut second].into_iter().for_each(|session| session.echo(b"unharmed"));
    assert!(Session::try_open(server.addr()).is_none(), "there are more than may be");
}

#[test]
fn options_of_listening_sockets_change_where_they_stay() {
    let far_end = FarEnd::start();
    let text = |lines: &[&str]| file(lines, far_end.addr());
    let server = Server::start(&text(&["server.workers = 1", "tcp.backlog = 11"]));
    let before = sockets(&server);
    assert_eq!(backlog(server.addr()), 11);
    let line = server.reload(&text(&["server.workers = 1", "tcp.backlog = 12"]), RELOADED);
    assert_eq!((&line["changes"], backlog(server.addr())), (&"tcp".into(), 12));
    assert_eq!(sockets(&server), before);
    Session::open(server.addr());
}

/// Sends so much through that it is spliced, where it may be.
#[track_caller]
fn send_bulk(server: &Server) {
    let payload = payload::random(3, MIB);
    let client = Client::connect(server.addr().ip(), server.addr());
    assert_same(&client.exchange(&[HEADER, &payload].concat()).complete(), &payload);
}

#[test]
fn splicing_changes() {
    let far_end = FarEnd::start();
    let text = |mode: &str| file(&[&format!("splice.mode = '{mode}'")], far_end.addr());
    let server = Server::start(&text("off"));
    let pipes = || procfs::of_kind(&procfs::descriptors(server.pid()), "pipe");
    let none = pipes();
    send_bulk(&server);
    assert_eq!(pipes(), none);
    server.reload(&text("always"), RELOADED);
    send_bulk(&server);
    assert!(pipes() > none);
}

#[test]
fn the_logs_level_and_format_change() {
    let far_end = FarEnd::start();
    let text = |lines: &[&str]| file(lines, far_end.addr());
    let server = Server::start(&text(&["log.level = 'info'"]));
    let refuse = || {
        let mut session = Session::connect(server.addr());
        session.send(b"GET");
        session.assert_reset();
    };
    let quiet = ["log.level = 'error'", "server.max_connections = 1"];
    fs::write(server.file(), text(&quiet)).expect("it can be written");
    server.proc.signal(Signal::HUP);
    // Nothing of it is said, so it is seen by what it does.
    let mut first = Session::open(server.addr());
    let followed = poll_for(PATIENCE, || Session::try_open(server.addr()).is_none().then_some(()));
    followed.expect("one is let in");
    server.reload("nonsense", REFUSED);
    first.finish();
    first.rest();
    server.wait_until("it is over", |counters| counters["active"] == 0);
    let before = server.records("refused").len();
    refuse();
    server.wait_until("it is over", |counters| counters["closed"]["header_absent"] == 1);
    assert_eq!(server.records("refused").len(), before);
    server.reload(&text(&["log.level = 'debug'"]), RELOADED);
    refuse();
    server.wait_for("refused", before);
    fs::write(server.file(), text(&["log.format = 'text'"])).expect("it can be written");
    server.proc.signal(Signal::HUP);
    server.proc.wait_for_line(Stream::Stderr, "text", |line| {
        (!line.starts_with('{') && line.contains("reloaded")).then_some(())
    });
}

#[test]
fn a_server_without_a_file_says_so_and_goes_on() {
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    let mut command = ppserver();
    command.args(["run", "--listen", "127.0.0.1:0", "--to", &to, "--accept", "v1"]);
    let proc = Proc::spawn("ppserver", command.args(["--trust", "127.0.0.1"]));
    let addr = bound(&proc, 1)[0];
    proc.signal(Signal::HUP);
    proc.wait_for_line(Stream::Stderr, "why nothing happens", |line| {
        line.contains("nothing to reload").then_some(())
    });
    Session::open(addr).finish();
    assert_eq!(far_end.ended(0).end, Some(End::Fin));
}

/// Ends the load when it goes, also when the test fails: the scope waits for its threads.
struct Load<'a>(&'a AtomicBool);

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_hundred_reloads_under_load_refuse_and_reset_nobody() {
    const RELOADS: usize = 100;
    /// Connections served between two reloads, at least.
    const BETWEEN: usize = 5;
    let far_end = FarEnd::start();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server = Server::start(&text);
    let (addr, is_over, served) = (server.addr(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let load = Load(&is_over);
        let clients = [(); 3].map(|()| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let client = Client::connect(addr.ip(), addr);
                    let answer = client.exchange(&[HEADER, b"hello"].concat());
                    assert_eq!(answer.complete(), b"hello");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for nth in 0..RELOADS {
            // Every other file differs, so that a reload has something to change.
            let idle = if nth % 2 == 0 { "timeouts.idle = '1m'\n" } else { "" };
            server.reload(&text.replacen("server", &format!("{idle}server"), 1), RELOADED);
            let enough = (nth + 1) * BETWEEN;
            let went_on =
                poll_for(PATIENCE, || (served.load(Ordering::Relaxed) >= enough).then_some(()));
            assert!(went_on.is_some(), "no load after reload {nth}");
        }
        drop(load);
        for client in clients {
            client.join().expect("everybody is served");
        }
    });
    let served = served.into_inner();
    let counters = server.stop();
    let counted = (&counters["accepted"], &counters["closed"]["done"]);
    assert_eq!(counted, (&served.into(), &served.into()));
}
