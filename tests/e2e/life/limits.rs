//! Limits: what is too much is refused or waits, and everything comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::deadline::{Deadline, PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::payload::{self, MIB, assert_same};
use crate::common::socket::Client;
use crate::life::procfs;
use crate::life::server::{Server, file, raise_own_limit};
use crate::life::session::{HEADER, Session};

#[test]
fn one_connection_too_many_is_reset_until_another_ends() {
    let far_end = FarEnd::start();
    let settings = ["server.workers = 2", "server.max_connections = 10"];
    let server = Server::start(&file(&settings, far_end.addr()));
    let mut sessions: Vec<_> = (0..10).map(|_| Session::open(server.addr())).collect();
    for _ in 0..5 {
        // Silent: unread bytes would turn a FIN into a reset.
        Client::connect(server.addr().ip(), server.addr()).ask(b"").assert_reset();
    }
    let counters = server.counters();
    assert_eq!((&counters["active"], &counters["closed"]["overload"]), (&10.into(), &5.into()));
    let mut first = sessions.remove(0);
    first.finish();
    assert_eq!(first.rest(), (Vec::new(), End::Fin));
    server.wait_until("one has ended", |counters| counters["active"] == 9);
    sessions.push(Session::open(server.addr()));
    assert!(Session::try_open(server.addr()).is_none(), "the eleventh again");
    sessions.iter_mut().for_each(|session| session.echo(b"unharmed"));
    assert_eq!(far_end.accepted(), 11);
}

#[test]
fn a_stranger_is_counted_as_untrusted_also_when_there_is_no_room() {
    let far_end = FarEnd::start();
    let server = Server::start(&file(&["server.max_connections = 1"], far_end.addr()));
    let mut session = Session::open(server.addr());
    let stranger = Client::connect("127.0.0.2".parse().expect("an address"), server.addr());
    stranger.ask(b"").assert_reset();
    let counters = server.counters();
    let closed = &counters["closed"];
    assert_eq!((&closed["untrusted"], &closed["overload"]), (&1.into(), &0.into()));
    session.echo(b"unharmed");
}

#[test]
fn without_descriptors_it_waits_without_spinning_and_goes_on_when_there_are_some() {
    /// How long it is watched while it has nothing to accept with.
    const WATCHED: Duration = Duration::from_secs(2);
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["server.workers = 1"], far_end.addr()));
    let mut sessions: Vec<_> = (0..10).map(|_| Session::open(server.addr())).collect();
    // From here on, no new descriptor for anything.
    server.limit_descriptors(0);

    let mut waiting: Vec<_> = (0..5).map(|_| Session::connect(server.addr())).collect();
    for client in &mut waiting {
        client.send(&[HEADER, b"patience"].concat());
        client.finish();
    }
    let paused = server.wait_until("accepting pauses", |counters| counters["accept_pauses"] != 0);
    assert_eq!((&paused["accepted"], &paused["active"]), (&10.into(), &10.into()));
    let (used, pauses) = (procfs::cpu_time(server.pid()), paused["accept_pauses"].as_u64());
    assert_eq!(poll_for(WATCHED, || (!server.proc.is_running()).then_some(())), None);
    let used = procfs::cpu_time(server.pid()) - used;
    assert!(used <= WATCHED / 50, "2 % at most: {used:?} of CPU in {WATCHED:?}");
    let pauses_after = server.counters()["accept_pauses"].as_u64();
    assert!(pauses_after > pauses, "it has to try again: {pauses_after:?}");
    sessions.iter_mut().for_each(|session| session.echo(b"unharmed"));
    let said = server.wait_for("accepting pauses", 0);
    assert_eq!(
        (&said["listener"], &said["addr"]),
        (&"edge".into(), &server.addr().to_string().into())
    );
    assert_eq!(server.records("accepting pauses").len(), 1, "and no further ones");

    // All at once: a client that is accepted with the last one would find none for its upstream.
    server.unlimit_descriptors();
    // 50 ms are promised; this only tells them from a timeout, or from the next connection.
    let deadline = Deadline::after(Duration::from_secs(2));
    for mut client in waiting {
        assert_eq!(client.rest(), (b"patience".to_vec(), End::Fin));
    }
    assert!(!deadline.left().is_zero(), "accepting took long to go on");
    let counters = server.wait_until("they are over", |counters| counters["active"] == 10);
    assert_eq!(
        (&counters["closed"]["done"], &counters["closed"]["resources"]),
        (&5.into(), &0.into())
    );
    // Said to whoever comes when it has been over for a while.
    let goes_on = || {
        drop(Session::connect(server.addr()));
        server.records("accepting goes on").pop()
    };
    assert_eq!(poll_for(PATIENCE, goes_on).expect("it is said")["listener"], "edge");
}

#[test]
fn an_upstream_socket_that_is_not_to_be_had_costs_that_connection_only() {
    let far_end = FarEnd::start();
    let server = Server::start(&file(&["server.workers = 1"], far_end.addr()));
    let mut running = Session::open(server.addr());
    // Enough for the client's socket.
    server.limit_descriptors(1);
    for nth in 1..=3 {
        assert!(Session::try_open(server.addr()).is_none());
        let is_counted = |counters: &Value| counters["closed"]["resources"] == nth;
        let counters = server.wait_until("it is counted", is_counted);
        assert_eq!(counters["connect_failures"], nth);
    }
    let line = server.wait_for("cannot connect", 0);
    assert_eq!(line["error"], "Too many open files (os error 24)");
    assert_eq!(line["endpoint"], far_end.addr().to_string());
    running.echo(b"unharmed");
    assert_eq!(far_end.accepted(), 1);
}

#[test]
fn bulk_is_copied_when_the_pipes_are_all_in_use() {
    let far_end = FarEnd::start();
    let settings = ["server.workers = 1", "splice.max_pipes = 1"];
    let server = Server::start(&file(&settings, far_end.addr()));
    let before = procfs::of_kind(&procfs::descriptors(server.pid()), "pipe");
    let bytes = [payload::random(1, 16 * MIB), payload::random(2, 4 * MIB)];
    // The first one's bytes fill every buffer on their way back, and the pipe with them.
    let stuck = TcpStream::connect(server.addr()).expect("it listens");
    stuck.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sink = &stuck;
            sink.write_all(HEADER)
                .and_then(|()| sink.write_all(&bytes[0]))
                .expect("they are taken");
            sink.shutdown(std::net::Shutdown::Write).expect("the connection stands");
        });
        let pipes = || procfs::of_kind(&procfs::descriptors(server.pid()), "pipe") - before;
        poll_for(PATIENCE, || (pipes() > 0).then_some(())).expect("bulk is spliced");
        let second = Client::connect(server.addr().ip(), server.addr());
        assert_same(&second.exchange(&[HEADER, &bytes[1]].concat()).complete(), &bytes[1]);
        assert_eq!(pipes(), 2, "one pipe has two ends");
        let mut answer = Vec::new();
        (&stuck).read_to_end(&mut answer).expect("it goes on once it is read");
        assert_same(&answer, &bytes[0]);
    });
    let counters = server.wait_until("both are over", |counters| counters["active"] == 0);
    assert_eq!(counters["closed"]["done"], 2);
    assert!(counters["pipes_missing"].as_u64() > Some(0), "{counters}");
}

/// One connection of a kind that `nth` chooses.
#[track_caller]
fn mixed_connection(nth: usize, to: SocketAddr) {
    let client = || Client::connect(to.ip(), to);
    match nth % 8 {
        0 => drop(Session::connect(to)),
        1 => Session::open(to).reset(),
        2 => client().ask(b"GET / HTTP/1.0\r\n").assert_reset(),
        3 => client().exchange(&HEADER[..20]).assert_reset(),
        4 => {
            let stranger = Client::connect("127.0.0.2".parse().expect("an address"), to);
            stranger.ask(HEADER).assert_reset();
        }
        5 => {
            let bytes = payload::random(5, MIB / 2);
            assert_same(&client().exchange(&[HEADER, &bytes].concat()).complete(), &bytes);
        }
        6 => {
            let mut session = Session::open(to);
            session.send(&payload::random(6, MIB / 4));
            session.reset();
        }
        _ => assert_eq!(client().exchange(&[HEADER, b"hello"].concat()).complete(), b"hello"),
    }
}

#[test]
fn five_hundred_mixed_sessions_leave_no_descriptor_behind() {
    const SESSIONS: usize = 500;
    const PIPES_MAX: usize = 4;
    raise_own_limit();
    let far_end = FarEnd::start();
    let max_pipes = format!("splice.max_pipes = {PIPES_MAX}");
    let server = Server::start(&file(&["server.workers = 2", &max_pipes], far_end.addr()));
    let before = procfs::descriptors(server.pid());
    thread::scope(|scope| {
        for first in 0..4 {
            let to = server.addr();
            scope.spawn(move || {
                (first..SESSIONS).step_by(4).for_each(|nth| mixed_connection(nth / 4, to));
            });
        }
    });
    let counters = server.wait_until("all are over", |counters| {
        counters["accepted"] == SESSIONS && counters["active"] == 0
    });
    let after = procfs::descriptors(server.pid());
    assert_eq!(procfs::of_kind(&after, "socket"), procfs::of_kind(&before, "socket"));
    // Pipes stay in the pool; nothing else may stay.
    let pipes = procfs::of_kind(&after, "pipe") - procfs::of_kind(&before, "pipe");
    assert!(pipes <= 2 * PIPES_MAX, "{pipes} ends of pipes");
    assert_eq!(after.len() - pipes, before.len(), "{after:#?}");
    for reason in
        ["done", "probe", "header_absent", "header_truncated", "untrusted", "client_reset"]
    {
        assert_ne!(counters["closed"][reason], 0, "no {reason} among them: {counters}");
    }
}
