//! Reminders to look at something, by time.
//!
//! Lazy: a reminder is never moved or cancelled; whoever is reminded too early files another. Two
//! rings of slots: the near one turns a tick at a time, the far one empties a slot into it once per
//! turn. What lies past both waits in the farthest slot and is filed again from there.
//! A slot is a list through one slab, so filing allocates only while more reminders stand than ever
//! before. Invariant: a reminder is never handed out early, and at most one tick late.

use std::time::{Duration, Instant};

use slab::Slab;

/// The grain of all timeouts.
pub(super) const TICK: Duration = Duration::from_millis(TICK_MS);
const TICK_MS: u64 = 10;
/// Slots of each ring: 2.56 s near, 655 s far.
const SLOTS: u64 = 256;

#[derive(Clone, Copy, Debug)]
struct Reminder<T> {
    due: u64,
    item: T,
    /// The next one of the same slot.
    next: Link,
}

/// A place in the slab, or `END`. Half the size of an `Option<usize>`.
type Link = u32;
const END: Link = Link::MAX;

/// A wheel of reminders.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    epoch: Instant,
    /// Ticks handed out so far: everything due up to here is gone.
    now: u64,
    reminders: Slab<Reminder<T>>,
    /// The first reminder of each slot.
    near: Vec<Link>,
    far: Vec<Link>,
    near_count: usize,
    far_count: usize,
}

impl<T> Wheel<T> {
    pub(super) fn new(epoch: Instant) -> Self {
        let ring = || (0..SLOTS).map(|_| END).collect();
        let (near, far) = (ring(), ring());
        Self { epoch, now: 0, reminders: Slab::new(), near, far, near_count: 0, far_count: 0 }
    }

    /// Files a reminder for the first tick at or behind `at`.
    pub(super) fn file(&mut self, at: Instant, item: T) {
        let due = self.tick_behind(at).max(self.now + 1);
        let at = self.reminders.insert(Reminder { due, item, next: END });
        self.link(at);
    }

    /// Notes the time while no reminder stands, so that it need not be walked through tick by tick once one
    /// does: nothing can be missed, and it may jump as far as it likes.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if self.near_count + self.far_count == 0 {
            self.now = self.now.max(self.tick_at(now));
        }
    }

    /// Hands out everything that is due.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<T>) {
        let target = self.tick_at(now);
        while self.now < target {
            self.now += 1;
            if self.now.is_multiple_of(SLOTS) {
                self.cascade();
            }
            let mut link = std::mem::replace(&mut self.near[index(self.now)], END);
            while link != END {
                let reminder = self.reminders.remove(link as usize);
                link = reminder.next;
                self.near_count -= 1;
                due.push(reminder.item);
            }
        }
    }

    /// Returns when `expire` should be called next: when the next reminder is due, or when the far
    /// ring has to be looked into.
    pub(super) fn next(&self) -> Option<Instant> {
        let near = (self.near_count > 0).then(|| {
            (self.now + 1..)
                .find(|&tick| self.near[index(tick)] != END)
                .expect("the near ring holds a reminder")
        });
        let far = (self.far_count > 0).then(|| {
            let turn = self.now / SLOTS;
            (turn + 1..)
                .find(|&turn| self.far[index(turn)] != END)
                .expect("the far ring holds a reminder")
                * SLOTS
        });
        let tick = near.into_iter().chain(far).min()?;
        Some(self.epoch + Duration::from_millis(tick * TICK_MS))
    }

    /// Puts a reminder that stands in the slab into its slot.
    fn link(&mut self, at: usize) {
        let reminder = &mut self.reminders[at];
        let slot = if reminder.due - self.now < SLOTS {
            self.near_count += 1;
            &mut self.near[index(reminder.due)]
        } else {
            let turn = (reminder.due / SLOTS).min(self.now / SLOTS + SLOTS - 1);
            self.far_count += 1;
            &mut self.far[index(turn)]
        };
        reminder.next = *slot;
        *slot = Link::try_from(at).expect("a reminder takes 40 bytes: memory ends before a Link");
    }

    /// Empties the far slot of the turn that begins.
    fn cascade(&mut self) {
        let mut link = std::mem::replace(&mut self.far[index(self.now / SLOTS)], END);
        while link != END {
            let at = link as usize;
            link = self.reminders[at].next;
            self.far_count -= 1;
            self.link(at);
        }
    }

    /// Returns the last tick at or in front of `at`.
    fn tick_at(&self, at: Instant) -> u64 {
        ticks(at.saturating_duration_since(self.epoch))
    }

    fn tick_behind(&self, at: Instant) -> u64 {
        ticks(at.saturating_duration_since(self.epoch) + TICK - Duration::from_nanos(1))
    }
}

fn ticks(duration: Duration) -> u64 {
    let ticks = duration.as_nanos() / TICK.as_nanos();
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

fn index(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).expect("below SLOTS")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_empty_wheel_asks_for_nothing() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let wheel = Wheel::<u8>::new(Instant::now());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn years_of_ticks_are_counted() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let mut wheel = Wheel::new(Instant::now());
        let at = wheel.epoch + 10 * Duration::from_secs(365 * 86_400);
        wheel.catch_up(at);
        wheel.file(at + millis(30), ());
        assert_eq!(wheel.next(), Some(at + millis(30)));
    }

    #[test]
    fn time_is_walked_through_only_while_a_reminder_stands() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let mut wheel = Wheel::new(Instant::now());
        let at = |seconds| wheel.epoch + Duration::from_secs(seconds);
        let (hour, two_hours) = (at(3600), at(7200));
        wheel.catch_up(hour);
        assert_eq!(wheel.now, 360_000);
        wheel.file(two_hours, ());
        wheel.catch_up(two_hours);
        assert_eq!(wheel.now, 360_000);
        let mut due = Vec::new();
        wheel.expire(two_hours, &mut due);
        assert_eq!((wheel.now, due.len()), (720_000, 1));
    }

    proptest! {
        /// Against the obvious: reminders come out once each, never early, at most a tick late,
        /// when the wheel is asked whenever it wants to be.
        #[test]
        fn reminders_come_on_time(delays in prop::collection::vec(0u64..2_000_000, 1..40)) {
            #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
            let epoch = Instant::now();
            let mut wheel = Wheel::new(epoch);
            for (id, delay) in delays.iter().enumerate() {
                wheel.file(epoch + millis(*delay), id);
            }
            let mut seen = vec![false; delays.len()];
            let mut wakeups = 0;
            while let Some(at) = wheel.next() {
                let mut due = Vec::new();
                wheel.expire(at, &mut due);
                for id in due {
                    prop_assert!(!seen[id]);
                    seen[id] = true;
                    let filed = epoch + millis(delays[id]);
                    prop_assert!(at >= filed, "early");
                    prop_assert!(at <= filed + 2 * TICK, "late by {:?}", at - filed);
                }
                wakeups += 1;
                prop_assert!(wakeups < 10_000, "the wheel asks without end");
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }

        /// A wheel that is asked late, as behind a stopped process, gives everything at once.
        #[test]
        fn a_late_caller_gets_everything_that_is_due(
            delays in prop::collection::vec(0u64..100_000, 1..40),
            jump in 0u64..200_000,
        ) {
            #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
            let epoch = Instant::now();
            let mut wheel = Wheel::new(epoch);
            for (id, delay) in delays.iter().enumerate() {
                wheel.file(epoch + millis(*delay), id);
            }
            let mut due = Vec::new();
            wheel.expire(epoch + millis(jump), &mut due);
            for (id, delay) in delays.iter().enumerate() {
                let late = delay.div_ceil(10) * 10 <= jump && *delay > 0;
                let early = delay.div_ceil(10) * 10 > jump;
                prop_assert!(!late || due.contains(&id));
                prop_assert!(!early || !due.contains(&id));
            }
        }
    }
}
