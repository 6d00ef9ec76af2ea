//! Many silent connections at once, watched for the moment each of them ends.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Peer, Stopwatch};
use crate::common::deadline::{Deadline, PATIENCE};

/// Raises the number of descriptors this process may open to what it is allowed, and fails where
/// that is below `needed`.
#[track_caller]
pub(crate) fn raise_descriptor_limit(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("the soft limit may rise to the hard one");
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    assert!(allowed >= needed, "{needed} descriptors are needed, `ulimit -Hn` says {allowed}");
}

/// Connections that wait for their end.
#[derive(Default)]
pub(crate) struct Crowd {
    waiting: Vec<(Peer, Stopwatch)>,
}

impl Crowd {
    /// Adds one, and when its life began.
    pub(crate) fn add(&mut self, peer: Peer, began: Stopwatch) {
        self.waiting.push((peer, began));
    }

    /// Waits until the server has ended every one, and returns how long each lived.
    #[track_caller]
    pub(crate) fn lives(self) -> Vec<Duration> {
        let mut waiting = self.waiting;
        let mut lives = Vec::with_capacity(waiting.len());
        let deadline = Deadline::after(PATIENCE);
        while !waiting.is_empty() {
            let left = deadline.left();
            assert!(!left.is_zero(), "{} connections do not end", waiting.len());
            let mut fds: Vec<PollFd<'_>> =
                waiting.iter().map(|(peer, _)| PollFd::new(peer.stream(), PollFlags::IN)).collect();
            let timeout = Timespec::try_from(left).expect("it is short");
            poll(&mut fds, Some(&timeout)).expect("sockets can be polled");
            let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut ended = ended.into_iter();
            waiting.retain(|(_, began)| {
                let has_ended = ended.next().expect("one for each");
                if has_ended {
                    lives.push(began.read());
                }
                !has_ended
            });
        }
        lives
    }
}
