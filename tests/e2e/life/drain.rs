//! SIGTERM: nobody who was let in, or stands in the queue, is lost.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::process::Stream;
use crate::life::server::{Server, file, raise_own_limit};
use crate::life::session::{HEADER, Session, wait_until_refused};
use crate::support::backlog;

/// "Soon", on a busy machine: far below any timeout of the server's.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn connections_that_wait_in_the_queue_are_served() {
    /// More than a worker accepts at a time, twice.
    const QUEUED: usize = 150;
    raise_own_limit();
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["server.workers = 1"], far_end.addr()));
    // Without descriptors it accepts nothing; the kernel queues.
    server.limit_descriptors(0);
    let mut clients: Vec<_> = (0..QUEUED).map(|_| Session::connect(server.addr())).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(&[HEADER, index.to_string().as_bytes()].concat());
        client.finish();
    }
    server.wait_until("accepting pauses", |counters| counters["accept_pauses"] != 0);
    server.proc.signal(Signal::TERM);
    assert_eq!(server.wait_for("draining", 0)["active"], 0);
    poll_for(PATIENCE, || (backlog(server.addr()) == 0).then_some(()))
        .expect("nobody more is queued, who would not be taken");
    server.unlimit_descriptors();
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.rest(), (index.to_string().into_bytes(), End::Fin), "client {index}");
    }
    assert_eq!(server.ended()["closed"]["done"], QUEUED);
}

#[test]
fn the_port_closes_and_running_sessions_go_on_to_their_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let far_end = FarEnd::start();
        let mut server = Server::start(&file(&[], far_end.addr()));
        let mut session = Session::open(server.addr());
        server.proc.signal(signal);
        let line = server.wait_for("draining", 0);
        assert_eq!(line["active"], 1);
        assert_eq!(line["message"], "draining", "only a terminal is told what Ctrl-C does");
        wait_until_refused(server.addr());
        session.echo(b"still here");
        assert!(server.proc.is_running());
        session.finish();
        assert_eq!(session.rest(), (Vec::new(), End::Fin));
        assert!(server.ends_within(SOON), "its last session is over");
        let counters = server.ended();
        assert_eq!((&counters["closed"]["done"], &counters["active"]), (&1.into(), &0.into()));
    }
}

#[test]
fn a_hangup_during_a_drain_reloads_nothing() {
    let far_end = FarEnd::start();
    let text = file(&[], far_end.addr());
    let mut server = Server::start(&text);
    let mut session = Session::open(server.addr());
    server.proc.signal(Signal::TERM);
    server.wait_for("draining", 0);
    let moved = text.replace("127.0.0.1:0", &server.addr().to_string());
    server.reload(&moved, "SIGHUP: nothing is reloaded during a drain");
    wait_until_refused(server.addr());
    session.echo(b"unharmed");
    session.finish();
    session.rest();
    server.ended();
}

#[test]
fn an_idle_server_ends_at_once() {
    let mut server = Server::start(&file(&[], "127.0.0.1:9".parse().expect("an address")));
    server.proc.signal(Signal::TERM);
    assert!(server.ends_within(SOON));
    assert_eq!(server.ended()["accepted"], 0);
}

#[test]
fn half_a_header_may_still_be_completed() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["timeouts.header = '1m'"], far_end.addr()));
    let mut client = Session::connect(server.addr());
    client.send(&HEADER[..20]);
    server.wait_until("it is accepted", |counters| counters["active"] == 1);
    server.proc.signal(Signal::TERM);
    wait_until_refused(server.addr());
    client.send(&HEADER[20..]);
    client.echo(b"made it");
    client.finish();
    assert_eq!(client.rest().1, End::Fin);
    assert_eq!(server.ended()["closed"]["done"], 1);
}

#[test]
fn half_a_header_keeps_its_deadline() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["timeouts.header = '500ms'"], far_end.addr()));
    let mut client = Session::connect(server.addr());
    client.send(&HEADER[..20]);
    server.wait_until("it is accepted", |counters| counters["active"] == 1);
    server.proc.signal(Signal::TERM);
    client.assert_reset();
    // The grace period is 25 s.
    assert!(server.ends_within(SOON));
    let counters = server.ended();
    assert_eq!(counters["closed"]["header_timeout"], 1, "{counters}");
    assert_eq!(far_end.accepted(), 0);
}

#[test]
fn after_the_grace_period_the_rest_is_reset_and_counted() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["server.shutdown_grace = '300ms'"], far_end.addr()));
    let sessions = [(); 3].map(|()| Session::open(server.addr()));
    server.proc.signal(Signal::TERM);
    sessions.into_iter().for_each(Session::assert_reset);
    let counters = server.ended();
    assert_eq!(counters["closed"]["drained"], 3, "{counters}");
    assert_eq!(counters["active"], 0);
    assert_eq!(server.records("stopping")[0]["active"], 3);
    assert_eq!([0, 1, 2].map(|index| far_end.ended(index).end), [Some(End::Reset); 3]);
}

#[test]
fn a_lame_duck_serves_who_comes_and_then_drains() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["server.lame_duck = '500ms'"], far_end.addr()));
    server.proc.signal(Signal::TERM);
    server.wait_for("lame duck", 0);
    assert_eq!(server.hang_up("SIGHUP: nothing is reloaded during a drain")["level"], "WARN");
    let mut late = Session::open(server.addr());
    server.wait_for("draining", 0);
    wait_until_refused(server.addr());
    late.echo(b"still here");
    late.finish();
    assert_eq!(late.rest(), (Vec::new(), End::Fin));
    assert!(server.ends_within(SOON), "its last session is over");
    server.ended();

    let mut server = Server::start(&file(&["server.lame_duck = '1h'"], far_end.addr()));
    let session = Session::open(server.addr());
    server.proc.signal(Signal::TERM);
    server.wait_for("lame duck", 0);
    server.proc.signal(Signal::TERM);
    session.assert_reset();
    assert!(server.ends_within(SOON), "it was told twice");
    assert_eq!(server.ended()["closed"]["drained"], 1);
}

#[test]
fn a_second_signal_stops_at_once() {
    for [first, second] in [[Signal::TERM, Signal::TERM], [Signal::INT, Signal::INT]] {
        let far_end = FarEnd::start();
        let mut server = Server::start(&file(&["server.shutdown_grace = '1h'"], far_end.addr()));
        let session = Session::open(server.addr());
        server.proc.signal(first);
        server.wait_for("draining", 0);
        server.proc.signal(second);
        session.assert_reset();
        assert!(server.ends_within(SOON));
        assert_eq!(server.ended()["closed"]["drained"], 1);
    }
}

#[test]
fn a_reader_of_the_access_log_who_stopped_reading_does_not_keep_it_alive() {
    use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};

    let dir = tempfile::TempDir::new().expect("a temporary directory can be made");
    let fifo = dir.path().join("access.log");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("a FIFO can be made");
    let _unread = open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .expect("it can be opened for reading first");
    let settings = [
        "access_log.enabled = true",
        &format!("access_log.output = 'file:{}'", fifo.display()),
        "access_log.log_probes = true",
    ];
    let mut server = Server::start(&file(&settings, "127.0.0.1:9".parse().expect("an address")));
    // A line is more than 150 bytes, a FIFO holds 64 KiB, and 8192 lines wait for their turn.
    let probes = 10_000;
    for _ in 0..probes {
        // With a FIN each would leave its port in TIME_WAIT.
        Session::connect(server.addr()).reset();
    }
    server.wait_until("all are seen", |counters| counters["closed"]["probe"] == probes);
    server.proc.signal(Signal::TERM);
    assert!(server.ends_within(PATIENCE), "{:?}", server.proc.lines(Stream::Stderr));
    let counters = server.ended();
    assert_eq!(counters["accepted"], probes);
    assert_ne!(counters["access_lines_dropped"], 0, "{counters}");
}
