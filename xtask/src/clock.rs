//! The clock, for times that a person is shown.

use std::time::Instant;

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "the one place of this package that asks")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
