//! Waiting: the only place in the tests that reads the clock or pauses.
//!
//! A deadline bounds how long a failing test takes; no test passes because time went by.

use std::thread;
use std::time::{Duration, Instant};

/// How long any single wait may take before the test fails: generous, for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that cannot be waited on.
const PAUSE: Duration = Duration::from_millis(5);

/// A moment after which waiting is over.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// A deadline `span` from now.
    #[expect(clippy::disallowed_methods, reason = "tests wait on real processes, in real time")]
    pub(crate) fn after(span: Duration) -> Deadline {
        Deadline(Instant::now() + span)
    }

    /// The time left; zero once it has passed.
    #[expect(clippy::disallowed_methods, reason = "tests wait on real processes, in real time")]
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Looks until `look` finds something, at most for `span`.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks, not a synchronisation")]
pub(crate) fn poll_for<T>(span: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(span);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if deadline.left().is_zero() {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
