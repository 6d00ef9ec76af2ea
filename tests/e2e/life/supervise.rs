//! `run --supervise`: who serves may be killed, and nobody is refused; an upgrade is the supervisor's.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::life::procfs;
use crate::life::server::{Server, file, listener, ppserver};
use crate::life::session::{HEADER, Session, wait_until_refused};
use crate::life::upgrade::{Load, from_stdin};

/// "At once", on a busy machine.
const SOON: Duration = Duration::from_secs(2);

#[track_caller]
fn start(text: &str) -> Server {
    Server::start_with(text, |file| {
        let mut command = ppserver();
        command.args(["run", "--supervise", "-c"]).arg(file);
        command
    })
}

/// The process that serves: the only child of the supervisor that is not `other`.
#[track_caller]
pub(crate) fn ward(server: &Server, other: Option<Pid>) -> Pid {
    let found = poll_for(PATIENCE, || {
        let children = procfs::children(server.pid());
        children.into_iter().find(|pid| Some(*pid) != other && procfs::is_running(*pid))
    });
    found.expect("somebody serves")
}

#[test]
fn one_that_is_killed_is_replaced_and_who_waits_in_the_queue_is_served() {
    let far_end = FarEnd::start();
    let mut server = start(&file(&["server.workers = 2"], far_end.addr()));
    let mut killed = None;
    for nth in 0..3 {
        let pid = ward(&server, killed);
        let mut lost = Session::open(server.addr());
        // It takes nobody any more: those who come wait.
        kill_process(pid, Signal::STOP).expect("it is our grandchild");
        for worker in ["worker-0", "worker-1"] {
            let worker = procfs::thread_id(pid, worker).expect("it has two");
            let state = || (procfs::thread_state(pid, &worker) == Some('T')).then_some(());
            poll_for(PATIENCE, state).expect("it stops");
        }
        let mut waiting = [(); 20].map(|()| Session::connect(server.addr()));
        kill_process(pid, Signal::KILL).expect("it is our grandchild");
        // Its sockets are closed as those of anybody who ends.
        lost.rest();
        waiting.iter_mut().for_each(|session| {
            session.send(HEADER);
            session.echo(b"served");
        });
        let line = server.wait_for("the process that serves was killed", nth);
        assert_eq!(
            (&line["pid"], &line["signal"]),
            (&pid.as_raw_nonzero().get().into(), &9.into())
        );
        killed = Some(pid);
    }
    server.proc.signal(Signal::TERM);
    assert!(server.ends_within(SOON), "{}", server.proc.transcript());
    server.ended();
}

#[test]
fn kills_under_load_refuse_nobody_and_cost_a_client_one_session_each() {
    const KILLS: usize = 5;
    const CLIENTS: usize = 3;
    /// Connections served between two kills, at least.
    const BETWEEN: usize = 50;
    let far_end = FarEnd::start();
    let mut server = start(&file(&["server.workers = 2"], far_end.addr()));
    let (addr, is_over) = (server.addr(), AtomicBool::new(false));
    let [served, lost] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let exchange = || {
        let mut stream = TcpStream::connect(addr).expect("nobody is refused");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let mut back = [0; 5];
        let sent = stream.write_all(&[HEADER, b"hello"].concat());
        let is_whole = sent.and_then(|()| stream.read_exact(&mut back)).is_ok();
        assert!(!is_whole || &back == b"hello");
        (if is_whole { &served } else { &lost }).fetch_add(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        let load = Load::new(&is_over);
        let clients = [(); CLIENTS].map(|()| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    exchange();
                }
            })
        });
        let mut killed = None;
        for nth in 0..KILLS {
            let pid = ward(&server, killed);
            kill_process(pid, Signal::KILL).expect("it is our grandchild");
            server.wait_for("the process that serves was killed", nth);
            let enough = served.load(Ordering::Relaxed) + BETWEEN;
            let goes_on =
                poll_for(PATIENCE, || (served.load(Ordering::Relaxed) >= enough).then_some(()));
            goes_on.expect("another one serves");
            killed = Some(pid);
        }
        drop(load);
        for client in clients {
            client.join().expect("nobody is refused");
        }
    });
    assert!(lost.into_inner() <= CLIENTS * KILLS, "those of whoever was killed");
    server.stop();
}

#[test]
fn what_standard_input_said_is_kept_for_those_who_come_later() {
    let far_end = FarEnd::start();
    let mut server = from_stdin(&file(&["server.workers = 2"], far_end.addr()), "--supervise");
    let mut last = None;
    for nth in 0..2 {
        let pid = ward(&server, last);
        kill_process(pid, Signal::KILL).expect("it is our grandchild");
        server.wait_for("the process that serves was killed", nth);
        Session::open(server.addr());
        let old = ward(&server, Some(pid));
        server.proc.signal(Signal::USR2);
        server.wait_for("upgraded", nth);
        Session::open(server.addr());
        last = Some(old);
    }
    server.stop();
}

#[test]
fn it_ends_as_who_serves_does() {
    let far_end = FarEnd::start();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = start(&file(&[], far_end.addr()));
        let mut session = Session::open(server.addr());
        server.proc.signal(signal);
        server.wait_for("draining", 0);
        wait_until_refused(server.addr());
        session.echo(b"still here");
        session.finish();
        assert_eq!(session.rest(), (Vec::new(), End::Fin));
        assert!(server.ends_within(SOON), "{}", server.proc.transcript());
        server.ended();
    }
    // Told by somebody else, who serves drains alike, and nobody takes its place.
    let mut server = start(&file(&[], far_end.addr()));
    kill_process(ward(&server, None), Signal::TERM).expect("it is our grandchild");
    assert!(server.ends_within(SOON), "{}", server.proc.transcript());
    server.ended();
    let (_dir, path) = crate::life::server::written("nonsense");
    let ran = crate::life::server::run(ppserver().args(["run", "--supervise", "-c"]).arg(&path));
    assert_eq!(ran.code, Some(78), "{ran:?}");
}

#[test]
fn signals_are_passed_on_and_a_port_that_a_reload_brings_is_held_too() {
    let far_end = FarEnd::start();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server = start(&text);
    assert_eq!(server.counters()["accepted"], 0);
    server.reload(&(text.clone() + &listener("new", far_end.addr())), "reloaded");
    let new = server.wait_for("listening", 1)["bind"].as_str().and_then(|addr| addr.parse().ok());
    let new = new.expect("an address");
    Session::open(new);
    let pid = ward(&server, None);
    kill_process(pid, Signal::KILL).expect("it is our grandchild");
    Session::open(new);
    ward(&server, Some(pid));
    // And one that goes is held no more.
    server.reload(&text, "reloaded");
    wait_until_refused(new);
    Session::open(server.addr());
    server.stop();
}

#[test]
fn an_upgrade_is_the_supervisors_and_one_that_fails_changes_nothing() {
    let far_end = FarEnd::start();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server = start(&text);
    let old = ward(&server, None);
    let mut running = Session::open(server.addr());
    fs::write(server.file(), "nonsense").expect("it can be written");
    server.proc.signal(Signal::USR2);
    let line = server.wait_for("upgrade refused", 0);
    assert!(line["why"].as_str().is_some_and(|why| why.contains("nonsense")), "{line}");
    Session::open(server.addr());
    fs::write(server.file(), &text).expect("it can be written");
    server.proc.signal(Signal::USR2);
    let line = server.wait_for("upgraded", 0);
    assert_eq!(line["generation"], 2);
    let new = ward(&server, Some(old));
    assert_eq!(line["pid"], new.as_raw_nonzero().get());
    Session::open(server.addr());
    running.echo(b"to the old one");
    // Who drains is not who serves: the new one is replaced.
    kill_process(new, Signal::KILL).expect("it is our grandchild");
    server.wait_for("the process that serves was killed", 0);
    Session::open(server.addr());
    running.echo(b"to the old one still");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    server.stop();
}
