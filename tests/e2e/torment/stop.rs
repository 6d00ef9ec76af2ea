//! A server that stands still for a while: SIGSTOP and SIGCONT, as a debugger or a frozen cgroup do.

use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::{Calm, Victim, serve_one, strace, wait_for_worker, wait_until_idle};
use crate::common::deadline::poll_for;
use crate::common::far_end::{End, FarEnd};
use crate::common::ppserver::assert_balanced;
use crate::common::process::Stream;
use crate::life::server::{Server, file};
use crate::life::session::{HEADER, Session};
use crate::support::{Listener, Peer, REQUIRE, Setup, Stopwatch, assert_closed, link};

/// Connections that are there while it stands still.
const SESSIONS: usize = 100;

#[test]
fn bytes_that_came_in_time_count_though_the_server_stood_still_beyond_every_deadline() {
    const IDLE: Duration = Duration::from_secs(1);
    let far_end = FarEnd::start();
    let settings =
        ["server.workers = 1", "timeouts = { header = '1s', idle = '1s', half_closed = '1s' }"];
    let server = Server::start(&file(&settings, far_end.addr()));
    let calm = Calm::of(server.pid());
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| Session::open(server.addr())).collect();
    let mut headers: Vec<_> = (0..SESSIONS).map(|_| Session::connect(server.addr())).collect();
    for session in &mut headers {
        session.send(&HEADER[..9]);
    }
    let all = u64::try_from(2 * SESSIONS).expect("few");
    server.wait_until("all are accepted", |counters| counters["accepted"] == all);
    wait_for_worker(server.pid(), 'S');
    server.proc.signal(Signal::STOP);
    wait_for_worker(server.pid(), 'T');
    sessions.iter_mut().for_each(|session| session.send(b"in time"));
    headers.iter_mut().for_each(|session| session.send(&[&HEADER[9..], b"in time"].concat()));
    // The time that passes is the thing itself here.
    poll_for::<()>(IDLE * 2, || None);
    server.proc.signal(Signal::CONT);
    for session in sessions.iter_mut().chain(&mut headers) {
        session.finish();
        assert_eq!(session.rest(), (b"in time".to_vec(), End::Fin));
    }
    let counters = wait_until_idle(&server);
    assert_balanced(&counters);
    assert_eq!(counters["closed"]["done"], all, "{counters}");
    serve_one(&server);
    calm.assert_back("SIGSTOP and SIGCONT");
}

/// Two seconds of silence are a connection's end here, and the process stands still for four between
/// a recv(2) and the send(2) that passes its bytes on. The turn goes on with the time at which it
/// began: the next one found these bytes to be four seconds old, and timed their connections out.
#[test]
fn a_stop_in_the_middle_of_a_turn_ends_nobody() {
    const IDLE: Duration = Duration::from_secs(2);
    const LINKS: usize = 20;
    let far = Listener::start();
    let setup = Setup::to(&[far.addr()]).splice("off").timeouts("idle = \"2s\"");
    let mut victim = Victim::start(&setup);
    let began = Stopwatch::start();
    let links: Vec<_> = (0..LINKS).map(|_| link(victim.server.addr(), &far)).collect();
    for (client, upstream) in &links {
        client.send(b"before");
        upstream.expect(b"before");
    }
    let stop = ["-e", "trace=recvfrom", "-e", "inject=recvfrom:signal=SIGSTOP:when=1"];
    let strace = strace::attach(victim.calm.pid, &stop);
    for (client, _) in &links {
        client.send(b"in time");
    }
    strace.wait_for_line(Stream::Stderr, "the stop", |line| {
        line.contains("stopped by SIGSTOP").then_some(())
    });
    let stopped = Stopwatch::start();
    // The time that passes is the thing itself here.
    poll_for::<()>(IDLE * 2, || None);
    let stood_still = stopped.read();
    kill_process(victim.calm.pid, Signal::CONT).expect("it is our child");
    // Nobody sends a byte before the server has had a turn behind this one.
    for (_, upstream) in &links {
        upstream.expect(b"in time");
    }
    strace::detach(strace);
    wait_for_worker(victim.calm.pid, 'S');
    for (client, upstream) in &links {
        assert!(client.is_quiet() && upstream.is_quiet(), "ended, though it had just moved bytes");
        client.fin();
        upstream.expect_last(b"");
        upstream.send_with_fin(b"answer");
        client.expect_last(b"answer");
        let account = victim.server.account_of(client.addr());
        assert!(account.duration <= began.read() - stood_still, "{account:?}, {stood_still:?}");
    }
    assert_closed(&victim.finish("a stop in a turn"), &[("done", LINKS)]);
}

/// Who comes while a turn accepts others was dated to the beginning of the turn, and lost that much of
/// its time.
#[test]
fn a_deadline_counts_from_the_accept_and_not_from_the_turn_it_falls_into() {
    let limit = Duration::from_millis(500);
    let far = Listener::start();
    let setup = Setup::to(&[far.addr()]).accept(REQUIRE).timeouts("header = \"500ms\"");
    let victim = Victim::start(&setup);
    let slow = ["-e", "trace=accept4", "-e", "inject=accept4:delay_enter=100000"];
    let strace = strace::attach(victim.calm.pid, &slow);
    let clients = [(); 2].map(|()| {
        let began = Stopwatch::start();
        let client = Peer::connect(victim.server.addr());
        // The call behind it takes long as well: the second one is there before it is made.
        strace.wait_for_line(Stream::Stderr, "an accept", |line| {
            line.contains("sa_family").then_some(())
        });
        (client, began)
    });
    for (client, began) in clients {
        client.expect_reset();
        assert!(began.read() >= limit, "early: {:?}", began.read());
    }
    strace::detach(strace);
    assert_closed(&victim.finish("slow accepts"), &[("header_timeout", 2)]);
}
