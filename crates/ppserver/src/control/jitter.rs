//! Spans by chance, so that those who began together do not stay together. Nothing secret hangs on them.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Returns some part of a span, none or all of it among them.
pub(super) fn part_of(span: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) & 0xFFFF).unwrap_or_default();
    span * random / 0xFFFF
}
