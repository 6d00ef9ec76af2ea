//! A slow start: of an endpoint that is back, ever more of its weight counts.
//!
//! Not who begins it, nor what a weight is for. Begun by the control plane, read by every worker. Invariant: some
//! of the weight counts at any moment, and all of it once the span is over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::nanos;

/// All of a weight, in parts.
pub const WHOLE: u64 = 1024;

/// How much of an endpoint's weight counts.
#[derive(Debug, Default)]
pub struct Ramp {
    /// When the first one began, from which all are counted.
    epoch: OnceLock<Instant>,
    /// When it began, in ns from the epoch, and one more; 0 is none.
    began: AtomicU64,
    /// How long it takes, in ns.
    span: AtomicU64,
}

impl Ramp {
    /// Begins one.
    pub fn begin(&self, span: Duration, now: Instant) {
        let epoch = *self.epoch.get_or_init(|| now);
        let began = nanos(now.saturating_duration_since(epoch)).saturating_add(1);
        self.span.store(nanos(span), Ordering::Relaxed);
        self.began.store(began, Ordering::Release);
    }

    /// Returns the parts of the weight that count now, of [`WHOLE`]: as much of it as of the span is over, and at
    /// least one.
    pub fn part(&self, now: Instant) -> u64 {
        let began = self.began.load(Ordering::Acquire);
        let Some(epoch) = self.epoch.get().filter(|_| began > 0) else { return WHOLE };
        let over = nanos(now.saturating_duration_since(*epoch)).saturating_sub(began - 1);
        let span = self.span.load(Ordering::Relaxed);
        if over >= span {
            // Unless another one has begun meanwhile.
            let _ = self.began.compare_exchange(began, 0, Ordering::Relaxed, Ordering::Relaxed);
            return WHOLE;
        }
        let part = u128::from(over) * u128::from(WHOLE) / u128::from(span);
        u64::try_from(part).unwrap_or(WHOLE).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn ever_more_counts_until_all_does_and_each_begins_anew() {
        let begin = start();
        let at = |millis| begin + Duration::from_millis(millis);
        let ramp = Ramp::default();
        assert_eq!(ramp.part(at(0)), WHOLE, "nothing has begun");
        for from in [0, 10_000] {
            ramp.begin(Duration::from_secs(4), at(from));
            let parts = [0, 1000, 2000, 3999].map(|millis| ramp.part(at(from + millis)));
            assert_eq!(parts, [1, WHOLE / 4, WHOLE / 2, WHOLE - 1]);
            assert_eq!([4000, 0].map(|millis| ramp.part(at(from + millis))), [WHOLE; 2], "over");
        }
    }

    #[test]
    fn one_that_begins_again_before_it_is_over_is_as_long_as_the_first() {
        let begin = start();
        let ramp = Ramp::default();
        ramp.begin(Duration::from_secs(4), begin);
        ramp.begin(Duration::from_secs(8), begin + Duration::from_secs(2));
        assert_eq!(ramp.part(begin + Duration::from_secs(6)), WHOLE / 2);
        ramp.begin(Duration::ZERO, begin + Duration::from_secs(6));
        assert_eq!(ramp.part(begin + Duration::from_secs(6)), WHOLE, "none");
    }
}
