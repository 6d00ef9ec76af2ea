//! Time that is measured, as against `common::deadline`, where time is a bound on waiting.
//!
//! No test passes because time went by; some fail because too much of it did.

use std::time::{Duration, Instant};

/// A moment in the past.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "the tests measure what is promised in time")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since then.
    #[expect(clippy::disallowed_methods, reason = "the tests measure what is promised in time")]
    pub(crate) fn read(self) -> Duration {
        self.0.elapsed()
    }
}
