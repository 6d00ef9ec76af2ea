//! Nothing to do: a process that sleeps.

use std::time::Duration;

use crate::common::deadline::poll_for;
use crate::common::far_end::FarEnd;
use crate::life::procfs;
use crate::life::server::{Server, file};
use crate::life::session::Session;

/// Lets time pass while nobody does anything: what happens in it is what a test looks at.
fn watch(span: Duration) {
    assert_eq!(poll_for(span, || None::<()>), None);
}

/// How often each thread wakes during `span`.
fn wakeups(server: &Server, span: Duration) -> Vec<(String, u64)> {
    let before = procfs::wakeups(server.pid());
    watch(span);
    let after = procfs::wakeups(server.pid());
    assert!(after.len() >= 4, "workers, signals and the main thread: {after:?}");
    after.into_iter().map(|(name, count)| (name.clone(), count - before[&name])).collect()
}

#[test]
fn with_nothing_open_no_thread_wakes() {
    let far_end = FarEnd::start();
    let server = Server::start(&file(&["server.workers = 2"], far_end.addr()));
    let mut session = Session::open(server.addr());
    session.finish();
    session.rest();
    server.wait_until("it is over", |counters| counters["active"] == 0);
    // Its reminders, of a header due in 3 s, may still be to come: once.
    let wakeups = wakeups(&server, Duration::from_secs(4));
    assert!(wakeups.iter().all(|(_, count)| *count <= 2), "{wakeups:?}");
}

#[test]
fn with_a_hundred_idle_connections_a_worker_wakes_once_a_second_at_most() {
    let far_end = FarEnd::start();
    // Every session begins with a reminder of its header; these are over before it is watched.
    let settings = ["server.workers = 2", "timeouts.header = '300ms'"];
    let server = Server::start(&file(&settings, far_end.addr()));
    let mut sessions: Vec<_> = (0..100).map(|_| Session::open(server.addr())).collect();
    watch(Duration::from_millis(500));
    let seconds = 3;
    let wakeups = wakeups(&server, Duration::from_secs(seconds));
    assert!(wakeups.iter().all(|(_, count)| *count <= seconds), "{wakeups:?}");
    sessions.iter_mut().for_each(|session| session.echo(b"awake"));
}
