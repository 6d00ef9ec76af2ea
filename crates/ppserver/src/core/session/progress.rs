//! Whether anything still moves: through us, or out of our sockets to who reads slowly.
//!
//! ```text
//! moved ---an eighth of the limit---> looked ---the rest of it---> looked: silent, or moved
//! ```
//!
//! Bytes that a peer has not acknowledged lie in its socket (SIOCOUTQ), and no event tells that they become
//! fewer. So a limit on silence is a look: the first one tells how many there are, each later one whether they
//! are fewer than before. When they became fewer nobody can tell, so it is taken for the latest: who reads
//! on, however slowly, is never silent; who does not is found out an eighth late at most.
//! Invariant: what nothing was put into need not be looked at.

use std::time::{Duration, Instant};

use super::action::Side;

/// A limit on silence looks first after this part of it.
pub const SILENCE_PART: u32 = 8;

/// What is known of the bytes in a socket that its peer has not acknowledged.
#[derive(Clone, Copy, Debug, Hash)]
struct Queue {
    /// How many they were; `None` if more has been put there since.
    unsent: Option<u32>,
    /// They were no fewer than the time before, or none.
    is_still: bool,
    /// It is time to look.
    is_due: bool,
}

impl Queue {
    const EMPTY: Self = Self { unsent: Some(0), is_still: true, is_due: false };
}

/// What the first look at a queue tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// Nothing but a number: another follows at once.
    Nothing,
    /// That bytes may have left it until now.
    Progress,
}

/// When a byte moved last, and what our sockets still hold.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Progress {
    moved_at: Instant,
    client: Queue,
    upstream: Queue,
}

impl Progress {
    pub(super) const fn new(now: Instant) -> Self {
        Self { moved_at: now, client: Queue::EMPTY, upstream: Queue::EMPTY }
    }

    /// A byte moved, or something began.
    pub(super) fn handle_moved(&mut self, now: Instant) {
        self.moved_at = now;
    }

    /// Something was put into the queue of a socket.
    pub(super) fn handle_queued(&mut self, side: Side) {
        *self.queue_mut(side) = Queue { unsent: None, is_still: false, is_due: false };
    }

    /// It is time to look at what is not known to be empty.
    pub(super) fn look(&mut self) {
        for queue in [&mut self.client, &mut self.upstream] {
            queue.is_due = queue.unsent != Some(0);
        }
    }

    /// It is time to look at what nobody has looked at yet.
    pub(super) fn look_first(&mut self) {
        for queue in [&mut self.client, &mut self.upstream] {
            queue.is_due = queue.unsent.is_none();
        }
    }

    /// Returns whether to look at the queue of a socket.
    pub(super) fn is_due(&self, side: Side) -> bool {
        self.queue(side).is_due
    }

    /// Somebody has looked: so many bytes are not acknowledged.
    pub(super) fn handle_unsent(
        &mut self,
        side: Side,
        unsent: usize,
        first: FirstLook,
        now: Instant,
    ) {
        // A socket's queue has at most 2 GiB (SIOCOUTQ gives an int); small, since every connection has two.
        let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
        let queue = self.queue_mut(side);
        let is_first_progress = unsent > 0 && first == FirstLook::Progress;
        let before = queue.unsent;
        let has_moved = before.map_or(is_first_progress, |before| unsent < before);
        let is_still = !has_moved || unsent == 0;
        *queue = Queue { unsent: Some(unsent), is_still, is_due: false };
        if has_moved {
            self.moved_at = now;
        }
    }

    /// Returns whether everything in a socket has been acknowledged.
    pub(super) fn is_empty(&self, side: Side) -> bool {
        self.queue(side).unsent == Some(0)
    }

    /// Returns when a byte moved last.
    pub(super) fn moved_at(&self) -> Instant {
        self.moved_at
    }

    /// Returns whether nothing has moved for so long.
    pub(super) fn is_silent(&self, limit: Duration, now: Instant) -> bool {
        now >= self.moved_at + limit
    }

    /// Returns when silence will have lasted for so long.
    pub(super) fn silent_at(&self, limit: Duration) -> Instant {
        self.moved_at + limit
    }

    /// Returns when to look whether silence lasts.
    pub(super) fn look_at(&self, limit: Duration) -> Instant {
        let is_still = self.client.is_still && self.upstream.is_still;
        self.moved_at + if is_still { limit } else { limit / SILENCE_PART }
    }

    fn queue(&self, side: Side) -> &Queue {
        match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        }
    }

    fn queue_mut(&mut self, side: Side) -> &mut Queue {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }
}
