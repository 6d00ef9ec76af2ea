//! What the commands that measure ask of this machine: the clock, CPU time, limits, an interrupt.
//!
//! Not a place for measuring itself. Invariant: nothing else in this package reads the clock or
//! pauses, and a pause only ever stands between two looks that a deadline ends.

use std::time::Duration;

use anyhow::Result;

pub(crate) use ppload::host::{interrupt, now, raise_descriptor_limit, real};

/// Between two looks at something that cannot be waited on.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, at most for `span`.
///
/// # Errors
/// The first error of a look.
pub(crate) fn poll_for<T>(
    span: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = now() + span;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if now() >= end {
            return Ok(None);
        }
        pause(PAUSE);
    }
}

/// Does nothing for `span`: between two looks, or to let a measured load run.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks, not a synchronisation")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ends_with_the_first_find_or_at_the_deadline() {
        let mut looks = 0;
        let found = poll_for(Duration::from_secs(30), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), Some(3));
        assert_eq!(poll_for(Duration::ZERO, || Ok(None::<()>)).unwrap(), None);
    }
}
