//! A server that stands still for a while: SIGSTOP and SIGCONT, as a debugger or a frozen cgroup do.

use std::time::Duration;

use rustix::process::Signal;

use super::{Calm, wait_until_idle};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::life::procfs;
use crate::life::server::{Server, assert_balanced, file};
use crate::life::session::{HEADER, Session};

/// Connections that are there while it stands still.
const SESSIONS: usize = 100;

#[test]
fn bytes_that_came_in_time_count_though_the_server_stood_still_beyond_every_deadline() {
    const IDLE: Duration = Duration::from_secs(1);
    let far_end = FarEnd::start();
    let settings =
        ["server.workers = 1", "timeouts = { header = '1s', idle = '1s', half_closed = '1s' }"];
    let server = Server::start(&file(&settings, far_end.addr()));
    let calm = Calm::of(&server);
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| Session::open(server.addr())).collect();
    let mut headers: Vec<_> = (0..SESSIONS).map(|_| Session::connect(server.addr())).collect();
    for session in &mut headers {
        session.send(&HEADER[..9]);
    }
    let all = u64::try_from(2 * SESSIONS).expect("few");
    server.wait_until("all are accepted", |counters| counters["accepted"] == all);
    // Stopped within a turn it would take the bytes at the time at which the turn began.
    let worker = poll_for(PATIENCE, || procfs::thread_id(server.pid(), "worker-0"));
    let worker = worker.expect("the worker has its name");
    let wait_for = |state| {
        let is_so = || procfs::thread_state(server.pid(), &worker) == Some(state);
        poll_for(PATIENCE, || is_so().then_some(())).expect("the state comes");
    };
    wait_for('S');
    server.proc.signal(Signal::STOP);
    wait_for('T');
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
    calm.assert_back(&server, "SIGSTOP and SIGCONT");
}
