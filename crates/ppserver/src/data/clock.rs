//! Time as a worker tells it: the monotonic clock, less the time in which the process stood still.
//!
//! A process that was stopped (SIGSTOP, a debugger, a frozen cgroup) comes back in the middle of a
//! turn as well as in a wait. It has then worked with a time long past, and may not have been told
//! of what came meanwhile: no deadline may pass because of that.
//! Invariant: the time told never goes back.

use std::time::{Duration, Instant};

use crate::telemetry::cells::nanos;

/// Beyond any honest stretch of work between two readings, and below any sensible timeout.
const STALL_MIN: Duration = Duration::from_millis(500);

/// A clock that is read before and behind each wait, and now and then in a turn: one that is long because
/// much is to be done is not taken for standing still.
#[derive(Debug)]
pub(super) struct Clock {
    /// The last reading.
    read_at: Instant,
    /// For how long the process has stood still in all.
    stood_still: Duration,
    /// From its origin to the last reading, in nanoseconds: what has been told is not subtracted again.
    elapsed_ns: u64,
}

impl Clock {
    /// Starts it, and reads it for the first time; it counts from `origin`, which is not later.
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters a worker")]
    pub(super) fn start(origin: Instant) -> (Self, Instant) {
        let now = Instant::now();
        let elapsed_ns = nanos(now.saturating_duration_since(origin));
        (Self { read_at: now, stood_still: Duration::ZERO, elapsed_ns }, now)
    }

    /// Reads it, when at most `expected` should have passed since the last time; `None` is for ever.
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters a worker")]
    pub(super) fn read(&mut self, expected: Option<Duration>) -> Instant {
        self.tell(Instant::now(), expected)
    }

    /// Returns how long after its origin it was read last, in nanoseconds, and standing still counts.
    pub(super) const fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// Tells the time at this reading of the monotonic clock.
    fn tell(&mut self, now: Instant, expected: Option<Duration>) -> Instant {
        let passed = now.saturating_duration_since(self.read_at);
        self.read_at = now;
        self.elapsed_ns += nanos(passed);
        let is_stall = |expected: Duration| passed >= expected.saturating_add(STALL_MIN);
        // The first comparison follows from the second, which is dear.
        if passed >= STALL_MIN && expected.is_some_and(is_stall) {
            self.stood_still += passed;
        }
        // A subtraction at each reading is dear: 40 instructions.
        if self.stood_still.is_zero() {
            return now;
        }
        now.checked_sub(self.stood_still).expect("it stood still behind its first reading only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(1);

    #[test]
    fn a_turn_or_a_wait_that_takes_far_too_long_takes_no_time() {
        #[expect(clippy::disallowed_methods, reason = "a test's origin")]
        let (mut clock, start) = Clock::start(Instant::now());
        let before = clock.elapsed_ns();
        let mut at = start;
        let mut tell = |passed: Duration, expected| {
            at += passed;
            clock.tell(at, expected) - start
        };
        let second = Duration::from_secs(1);
        assert_eq!(tell(TURN, Some(Duration::ZERO)), TURN);
        assert_eq!(tell(second, Some(second)), TURN + second);
        assert_eq!(tell(10 * second, Some(Duration::ZERO)), TURN + second, "in a turn");
        assert_eq!(tell(10 * second, Some(second)), TURN + second, "in a wait");
        assert_eq!(tell(10 * second, None), TURN + 11 * second, "a wait without an end");
        assert_eq!(tell(TURN, Some(Duration::ZERO)), 2 * TURN + 11 * second);
        let piece = Duration::from_millis(400);
        let told: Vec<_> = (0..3).map(|_| tell(piece, Some(Duration::ZERO))).collect();
        assert_eq!(told[2] - told[0], 2 * piece, "a long turn that is read in pieces");
        assert_eq!(clock.elapsed_ns() - before, nanos(at - start), "whatever is told");
    }
}
