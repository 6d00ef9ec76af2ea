//! The time as both logs write it: RFC 3339 in UTC, with milliseconds.
//!
//! Invariant: whatever the system's clock says can be written; what has no such form is its last moment.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// The end of the year 9999, since the epoch: RFC 3339 has four digits for it.
const LAST: Duration = Duration::new(253_402_300_799, 999_999_999);

/// A moment.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    /// Since the epoch, up to [`LAST`].
    unix_time: Duration,
}

impl Timestamp {
    /// The moment so long behind the epoch.
    pub fn of(unix_time: Duration) -> Self {
        Self { unix_time: unix_time.min(LAST) }
    }

    /// The moment of the system's clock.
    pub fn at(time: SystemTime) -> Self {
        Self::of(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Asks the system.
    pub fn now() -> Self {
        Self::at(SystemTime::now())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + self.unix_time).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_has_milliseconds_and_a_zone() {
        for (unix_time, expected) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000Z"),
            (Duration::from_micros(1_767_225_599_045_999), "2025-12-31T23:59:59.045Z"),
            (Duration::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::of(unix_time).to_string(), expected);
        }
    }
}
