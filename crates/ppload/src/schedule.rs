//! When exchanges are meant to begin.
//!
//! Closed loop: as soon as there is room. Open loop: at a constant rate from the start of the run,
//! whatever became of earlier ones; who begins late still counts from the moment that was meant, so
//! that a stall shows in the latencies of all it delayed. Invariant: `taken <= count_max`.

use std::time::{Duration, Instant};

/// A start that is later than this, with room for it, is the generator's own fault.
const LATE: Duration = Duration::from_millis(1);

/// The plan of all starts of a run.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    /// Nothing begins from here on.
    end: Instant,
    /// Starts that are meant to come before the end, in open loop.
    meant: u64,
    count_max: u64,
    taken: u64,
    /// Starts a second, in open loop.
    rate: Option<u32>,
    lag: Lag,
}

/// How well an open loop was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    /// Starts that came late though there was room.
    pub(super) late: u64,
    /// Starts that came late because all connections were taken: the target's fault.
    pub(super) held_back: u64,
    /// The latest start.
    pub(super) worst: Duration,
    /// Starts that never came: those meant so long before the end that, made at it, they would have been
    /// late.
    pub(super) never: u64,
}

impl Schedule {
    pub(super) fn new(
        start: Instant,
        run_for: Duration,
        count_max: u64,
        rate: Option<u32>,
    ) -> Self {
        let nanos = run_for.saturating_sub(LATE).as_nanos() * u128::from(rate.unwrap_or_default());
        let meant = u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        let (end, lag) = (start + run_for, Lag::default());
        Self { start, end, meant, count_max, taken: 0, rate, lag }
    }

    /// Takes the next start when it is due: the moment that was meant. `was_full` says that there
    /// was no room for it until just now.
    pub(super) fn take(&mut self, now: Instant, was_full: bool) -> Option<Instant> {
        if self.is_over(now) {
            return None;
        }
        let meant = match self.rate {
            None => now,
            Some(_) => self.next_at().filter(|meant| *meant <= now)?,
        };
        self.taken += 1;
        let lag = now - meant;
        self.lag.worst = self.lag.worst.max(lag);
        if lag > LATE {
            if was_full { self.lag.held_back += 1 } else { self.lag.late += 1 }
        }
        Some(meant)
    }

    /// Whether nothing will begin any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.taken >= self.count_max || now >= self.end
    }

    /// Whether a start is due that has not been taken.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_over(now) && self.next_at().is_none_or(|meant| meant <= now)
    }

    /// Ends it now.
    pub(super) fn stop(&mut self) {
        self.count_max = self.taken;
    }

    /// How well it was kept; none in a closed loop.
    pub(super) fn lag(&self) -> Option<Lag> {
        let never = self.meant.min(self.count_max).saturating_sub(self.taken);
        self.rate.map(|_| Lag { never, ..self.lag })
    }

    /// The time between two starts, in open loop.
    pub(super) fn period(&self) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs(1) / rate)
    }

    /// The meant moment of the next start; computed from the first, so that nothing adds up.
    fn next_at(&self) -> Option<Instant> {
        let rate = self.rate?;
        let nanos = u128::from(self.taken) * 1_000_000_000 / u128::from(rate);
        Some(self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_open_loop_keeps_its_rate_and_counts_from_the_moment_that_was_meant() {
        let start = host::now();
        let mut schedule = Schedule::new(start, 10 * SECOND, 1000, Some(4));
        assert_eq!(schedule.take(start, false), Some(start));
        assert_eq!(schedule.take(start, false), None, "the second is not due");
        assert_eq!(schedule.take(start + SECOND / 4, false), Some(start + SECOND / 4));
        // Stalled for a second: three were meant meanwhile, each at its own moment.
        let after = start + SECOND;
        let taken: Vec<_> = std::iter::from_fn(|| schedule.take(after, false)).collect();
        assert_eq!(taken, [2, 3, 4].map(|quarter| start + SECOND / 4 * quarter));
        let expected = Lag { late: 2, held_back: 0, worst: SECOND / 2, never: 35 };
        assert_eq!(schedule.lag(), Some(expected));
        // Who interrupts it does not mean the rest.
        schedule.stop();
        assert_eq!(schedule.lag(), Some(Lag { never: 0, ..expected }));
    }

    #[test]
    fn a_start_that_found_no_room_is_not_the_generators_fault() {
        let start = host::now();
        let mut schedule = Schedule::new(start, SECOND, 10, Some(1000));
        schedule.take(start + SECOND / 2, true);
        schedule.take(start + SECOND / 2, false);
        let lag = schedule.lag().unwrap();
        assert_eq!((lag.held_back, lag.late), (1, 1));
    }

    #[test]
    fn a_start_that_was_due_and_never_came_is_told() {
        let start = host::now();
        let never = |run_for, count_max, takes| {
            let mut schedule = Schedule::new(start, run_for, count_max, Some(1000));
            (0..takes).for_each(|at| {
                schedule.take(start + Duration::from_millis(at), false);
            });
            schedule.lag().map(|lag| lag.never)
        };
        assert_eq!(never(SECOND, u64::MAX, 10), Some(989));
        // The last one is not late before the end.
        assert_eq!(never(SECOND, u64::MAX, 999), Some(0));
        assert_eq!(never(SECOND, 100, 100), Some(0));
    }

    #[test]
    fn it_ends_in_count_and_in_time() {
        let start = host::now();
        let mut schedule = Schedule::new(start, SECOND, 2, None);
        assert!(schedule.is_due(start));
        assert_eq!(std::iter::from_fn(|| schedule.take(start, false)).count(), 2);
        assert!(schedule.is_over(start) && !schedule.is_due(start));
        let mut schedule = Schedule::new(start, SECOND, 2, None);
        assert_eq!(schedule.take(start + SECOND, false), None);
        assert_eq!((schedule.taken, schedule.lag()), (0, None));
    }
}
