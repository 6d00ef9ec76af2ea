//! Torment: what no well-behaved peer or system does, at every place where it can happen.
//!
//! Invariant: after each blow the server still serves the next clean connection, holds no descriptor
//! that it did not hold before, does not spin, and its counters add up.

mod errno;
mod stop;

use std::time::Duration;

use serde_json::Value;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::socket::Client;
use crate::life::procfs;
use crate::life::server::{Server, assert_balanced};
use crate::life::session::HEADER;

/// What a server holds at rest.
struct Calm {
    /// Descriptors that are no pipes: those are kept for later.
    descriptors: usize,
}

impl Calm {
    /// Looks at a server that has no connection.
    fn of(server: &Server) -> Calm {
        Calm { descriptors: descriptors(server) }
    }

    /// Waits until it is at rest again, and checks what it then holds.
    #[track_caller]
    fn assert_back(&self, server: &Server, blow: &str) {
        /// How long it is watched for a spin.
        const WATCHED: Duration = Duration::from_millis(50);
        serve_one(server);
        let counters = wait_until_idle(server);
        assert_balanced(&counters);
        let back = poll_for(PATIENCE, || (descriptors(server) == self.descriptors).then_some(()));
        assert!(back.is_some(), "{blow}: {:?}", procfs::descriptors(server.pid()));
        let before = procfs::cpu_time(server.pid());
        poll_for::<()>(WATCHED, || None);
        let used = procfs::cpu_time(server.pid()) - before;
        assert!(used <= WATCHED / 2, "{blow}: it spins, {used:?} of CPU in {WATCHED:?}");
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
    server.wait_until("no connection is left", |counters| counters["active"] == 0);
    // The counters are not read in one moment: the last close may fall between two of them.
    server.counters()
}

fn descriptors(server: &Server) -> usize {
    let all = procfs::descriptors(server.pid());
    all.len() - procfs::of_kind(&all, "pipe")
}
