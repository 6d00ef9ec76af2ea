//! A listening socket as a pure machine: whether to accept, to wait, or to close it.
//!
//! ```text
//! Quiet --edge--> Ready --failed--> Paused
//!   ^               |  ^               |
//!   +---- empty ----+  +---- time -----+
//! ```
//!
//! Like a session it knows no socket and no clock; whom to let in is decided elsewhere. Invariant: an
//! edge is remembered until the queue was found empty, also while the system has nothing to accept
//! with: a timer then tries again.

use std::time::{Duration, Instant};

/// How long accepting pauses when it fails, as when descriptors or memory are used up.
const PAUSE: Duration = Duration::from_millis(20);

/// What came of an accept4(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A connection, or the error of one that was gone before: either way the queue is shorter.
    Taken,
    /// EAGAIN: nothing is queued.
    Empty,
    /// EMFILE, ENFILE, ENOMEM, ENOBUFS and whatever is not known: the queue is as it was.
    Failed,
}

/// What is to be done with a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// Nothing, until an edge or the deadline.
    Wait,
    /// Accept once: `handle_accepted`.
    Accept,
    /// Close it: a drain has taken everything.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The queue was found empty.
    Quiet,
    /// There may be something in the queue.
    Ready,
    /// Something is in the queue, but the system did not give it.
    Paused(Instant),
}

/// What is known of one listening socket's queue.
#[derive(Clone, Copy, Debug)]
pub struct AcceptQueue {
    state: State,
    is_draining: bool,
}

impl AcceptQueue {
    /// Begins with a socket that has just begun to listen.
    #[expect(clippy::new_without_default, reason = "a machine begins, it has no default")]
    pub const fn new() -> Self {
        Self { state: State::Ready, is_draining: false }
    }

    /// An edge was reported. A pause goes on: its end will find what the edge told of.
    pub fn handle_ready(&mut self) {
        if self.state == State::Quiet {
            self.state = State::Ready;
        }
    }

    /// The deadline may have passed.
    pub fn handle_time(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.state = State::Ready;
        }
    }

    /// The queue grows no more; what is in it is still taken.
    pub fn handle_drain(&mut self) {
        self.is_draining = true;
        self.state = State::Ready;
    }

    /// [`Accepting::Accept`] was performed.
    pub fn handle_accepted(&mut self, accepted: Accepted, now: Instant) {
        match accepted {
            Accepted::Taken => {}
            Accepted::Empty => self.state = State::Quiet,
            Accepted::Failed => self.state = State::Paused(now + PAUSE),
        }
    }

    /// Whether the queue grows no more.
    pub const fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Returns when `handle_time` has something to do.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Quiet | State::Ready => None,
            State::Paused(at) => Some(at),
        }
    }

    /// Returns what to do next. Asking changes nothing.
    pub const fn next(&self) -> Accepting {
        match self.state {
            State::Ready => Accepting::Accept,
            State::Quiet if self.is_draining => Accepting::Close,
            State::Quiet | State::Paused(_) => Accepting::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_closed_once_a_drain_has_emptied_its_queue_and_not_before() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let now = Instant::now();
        let mut queue = AcceptQueue::new();
        assert_eq!(queue.next(), Accepting::Accept);
        queue.handle_accepted(Accepted::Empty, now);
        assert_eq!(queue.next(), Accepting::Wait);
        queue.handle_drain();
        assert_eq!(queue.next(), Accepting::Accept);
        queue.handle_accepted(Accepted::Empty, now);
        assert_eq!(queue.next(), Accepting::Close);
    }
}
