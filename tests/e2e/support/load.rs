//! Clients that come one behind the other, so many at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::deadline::{PATIENCE, poll_for};

/// Clients at a time.
pub(crate) const CLIENTS: u64 = 8;

/// What became of those who came.
#[derive(Debug, Default)]
pub(crate) struct Came {
    pub(crate) served: usize,
    pub(crate) lost: usize,
}

/// Ends the load, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has clients come, of whom `client` says whether one was served, until `meanwhile` has ended. Each pauses before he
/// comes again.
#[track_caller]
pub(crate) fn under_load(client: impl Fn() -> bool + Sync, meanwhile: impl FnOnce()) -> Came {
    let is_over = AtomicBool::new(false);
    let come = || {
        let mut came = Came::default();
        let again = || {
            *if client() { &mut came.served } else { &mut came.lost } += 1;
            is_over.load(Ordering::Relaxed).then_some(())
        };
        // Where it takes longer, what is waited for fails.
        poll_for(2 * PATIENCE, again);
        came
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(come)).collect();
        let over = Over(&is_over);
        meanwhile();
        drop(over);
        let came = clients.into_iter().map(|client| client.join().expect("no client panics"));
        came.fold(Came::default(), |sum, came| Came {
            served: sum.served + came.served,
            lost: sum.lost + came.lost,
        })
    })
}
