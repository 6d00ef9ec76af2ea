//! Torment: what no well-behaved peer or system does, at every place where it can happen.
//!
//! Invariant: after each blow the server still serves the next clean connection, holds no descriptor
//! that it did not hold before, does not spin, and its counters add up.

mod errno;
mod flap;
mod flood;
mod matrix;
mod pipes;
mod ports;
mod reload;
mod resets;
mod stop;
pub(crate) mod strace;
mod windows;

use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::ppserver::assert_balanced;
use crate::common::socket::Client;
use crate::life::procfs;
use crate::life::server::Server;
use crate::life::session::HEADER;
use crate::support;

/// What a server holds at rest.
struct Calm {
    pid: Pid,
    /// Descriptors that are no pipes: those are kept for later.
    descriptors: usize,
}

impl Calm {
    /// Looks at a server that has no connection.
    fn of(pid: Pid) -> Calm {
        Calm { pid, descriptors: descriptors(pid) }
    }

    /// Waits until it is at rest again: the descriptors of before, and no spin.
    #[track_caller]
    fn assert_back(&self, blow: &str) {
        /// How long it is watched for a spin.
        const WATCHED: Duration = Duration::from_millis(50);
        let is_back = || (descriptors(self.pid) == self.descriptors).then_some(());
        let back = poll_for(PATIENCE, is_back);
        assert!(back.is_some(), "{blow}: {:?}", procfs::descriptors(self.pid));
        let before = procfs::cpu_time(self.pid);
        poll_for::<()>(WATCHED, || None);
        let used = procfs::cpu_time(self.pid) - before;
        assert!(used <= WATCHED / 2, "{blow}: it spins, {used:?} of CPU in {WATCHED:?}");
    }
}

/// A server with an access log, for a blow or two.
struct Victim {
    server: support::Server,
    calm: Calm,
}

impl Victim {
    #[track_caller]
    fn start(setup: &support::Setup) -> Victim {
        let mut server = setup.start();
        let calm = Calm::of(server.process_id());
        Victim { server, calm }
    }

    /// Waits until it is at rest, ends it, and checks that it ended as it should, with counters
    /// that add up; returns them.
    #[track_caller]
    fn finish(self, blow: &str) -> Value {
        self.calm.assert_back(blow);
        let counters = self.server.stop();
        assert_balanced(&counters);
        assert_eq!(counters["active"], 0, "{blow}: {counters}");
        counters
    }
}

/// One connection that nothing disturbs.
#[track_caller]
fn serve_one(server: &Server) {
    let client = Client::connect(server.addr().ip(), server.addr());
    assert_eq!(client.exchange(&[HEADER, b"clean"].concat()).complete(), b"clean");
}

/// The counters once no connection is left.
#[track_caller]
fn wait_until_idle(server: &Server) -> Value {
    server.wait_until("no connection is left", |counters| counters["active"] == 0)
}

/// Waits until the only worker is in a state: `S` asleep, `T` stopped. Returns its thread's id.
#[track_caller]
fn wait_for_worker(pid: Pid, state: char) -> String {
    let found = poll_for(PATIENCE, || {
        let worker = procfs::thread_id(pid, "worker-0")?;
        (procfs::thread_state(pid, &worker) == Some(state)).then_some(worker)
    });
    found.unwrap_or_else(|| panic!("the worker never was in state {state}"))
}

fn descriptors(pid: Pid) -> usize {
    let all = procfs::descriptors(pid);
    all.len() - procfs::of_kind(&all, "pipe")
}
