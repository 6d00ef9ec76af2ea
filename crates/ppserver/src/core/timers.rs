//! Reminders to look at something, by time.
//!
//! Two rings of slots: the near one turns a tick at a time, the far one empties a slot into it once per
//! lap. What lies past both waits in the farthest slot and is filed again from there. A slot is a list
//! through one vector, so filing allocates only while more reminders stand than ever before.
//! Invariant: a reminder is never handed out early, and at most one tick late; what is cancelled is gone.

use std::time::{Duration, Instant};

/// The grain of all timeouts.
pub const TICK: Duration = Duration::from_millis(TICK_MS);
const TICK_MS: u64 = 10;
/// Slots of each ring: 2.56 s near, 655 s far.
const SLOTS: u64 = 256;

/// A reminder that stands: what it takes to cancel it. Of no use once it was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reminder(Link);

/// A place in the vector, or `END`. Half the size of an `Option<usize>`.
type Link = u32;
const END: Link = Link::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    due: u64,
    item: T,
    /// The next one of the same slot, or of those that are free.
    next: Link,
    /// The one before it in the same slot.
    previous: Link,
    /// Which of `heads` its list begins at.
    slot: u16,
}

/// Reminders in the order of their time.
#[derive(Clone, Debug)]
pub struct Timers<T> {
    epoch: Instant,
    /// Ticks handed out so far: everything due up to here is gone, or next.
    now: u64,
    entries: Vec<Entry<T>>,
    /// The first of the entries that are not in use.
    free: Link,
    /// The first reminder of each slot: those of the near ring, then those of the far one.
    heads: Vec<Link>,
    near_count: usize,
    far_count: usize,
}

impl<T: Copy> Timers<T> {
    /// Begins without a reminder.
    pub fn new(epoch: Instant) -> Self {
        let heads = (0..2 * SLOTS).map(|_| END).collect();
        Self { epoch, now: 0, entries: Vec::new(), free: END, heads, near_count: 0, far_count: 0 }
    }

    /// Files a reminder for the first tick at or behind `at`.
    pub fn file(&mut self, at: Instant, item: T) -> Reminder {
        let due = self.tick_behind(at).max(self.now + 1);
        let entry = Entry { due, item, next: END, previous: END, slot: 0 };
        let link = if self.free == END {
            self.entries.push(entry);
            Link::try_from(self.entries.len() - 1).expect("memory ends before a Link")
        } else {
            let link = self.free;
            self.free = self.entries[index(link)].next;
            self.entries[index(link)] = entry;
            link
        };
        self.link(link);
        Reminder(link)
    }

    /// Takes a reminder away that stands.
    pub fn cancel(&mut self, Reminder(link): Reminder) {
        self.unlink(link);
        self.release(link);
    }

    /// Returns how many reminders stand.
    pub const fn len(&self) -> usize {
        self.near_count + self.far_count
    }

    /// Returns whether none stands.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes the time while no reminder stands, so that it need not be walked through tick by tick once one
    /// does: nothing can be missed, and it may jump as far as it likes.
    pub fn catch_up(&mut self, now: Instant) {
        if self.is_empty() {
            self.now = self.now.max(self.tick_at(now));
        }
    }

    /// Hands out a reminder that is due.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let target = self.tick_at(now);
        loop {
            let link = self.heads[near(self.now)];
            if link != END {
                self.unlink(link);
                self.release(link);
                return Some(self.entries[index(link)].item);
            }
            if self.now >= target {
                return None;
            }
            self.now += 1;
            if self.now.is_multiple_of(SLOTS) {
                self.cascade();
            }
        }
    }

    /// Returns when `pop` should be called next: when the next reminder is due, or when the far ring has to
    /// be looked into.
    pub fn next(&self) -> Option<Instant> {
        let near = (self.near_count > 0).then(|| {
            (self.now..)
                .find(|&tick| self.heads[near(tick)] != END)
                .expect("the near ring holds a reminder")
        });
        let far = (self.far_count > 0).then(|| {
            let lap = self.now / SLOTS;
            (lap + 1..)
                .find(|&lap| self.heads[far(lap)] != END)
                .expect("the far ring holds a reminder")
                * SLOTS
        });
        let tick = near.into_iter().chain(far).min()?;
        Some(self.epoch + Duration::from_millis(tick * TICK_MS))
    }

    /// Puts an entry into its slot.
    fn link(&mut self, link: Link) {
        let due = self.entries[index(link)].due;
        let slot = if due - self.now < SLOTS {
            self.near_count += 1;
            near(due)
        } else {
            self.far_count += 1;
            far((due / SLOTS).min(self.now / SLOTS + SLOTS - 1))
        };
        let next = std::mem::replace(&mut self.heads[slot], link);
        let entry = &mut self.entries[index(link)];
        (entry.next, entry.previous) = (next, END);
        entry.slot = u16::try_from(slot).expect("there are 512");
        if next != END {
            self.entries[index(next)].previous = link;
        }
    }

    fn unlink(&mut self, link: Link) {
        let Entry { next, previous, slot, .. } = self.entries[index(link)];
        let slot = usize::from(slot);
        match previous {
            END => self.heads[slot] = next,
            _ => self.entries[index(previous)].next = next,
        }
        if next != END {
            self.entries[index(next)].previous = previous;
        }
        if slot < far(0) {
            self.near_count -= 1;
        } else {
            self.far_count -= 1;
        }
    }

    fn release(&mut self, link: Link) {
        self.entries[index(link)].next = std::mem::replace(&mut self.free, link);
    }

    /// Empties the far slot of the lap that begins.
    fn cascade(&mut self) {
        let slot = far(self.now / SLOTS);
        let mut link = std::mem::replace(&mut self.heads[slot], END);
        while link != END {
            let next = self.entries[index(link)].next;
            self.far_count -= 1;
            self.link(link);
            link = next;
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

fn index(link: Link) -> usize {
    link as usize
}

/// The slot of a tick in the near ring.
fn near(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).expect("below SLOTS")
}

/// The slot of a lap in the far ring.
fn far(lap: u64) -> usize {
    usize::try_from(SLOTS + lap % SLOTS).expect("below 2 * SLOTS")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: u64 = 256;

    /// Numbers below the bound that is asked for, from a seed.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (self.0 >> 32) % bound
        }

        /// Some delays, in milliseconds.
        fn delays(&mut self, max: u64) -> Vec<u64> {
            (0..=self.below(40)).map(|_| self.below(max)).collect()
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn begin() -> (Instant, Timers<usize>) {
        let epoch = Instant::now();
        (epoch, Timers::new(epoch))
    }

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn timers_without_a_reminder_ask_for_nothing() {
        assert_eq!(begin().1.next(), None);
    }

    #[test]
    fn years_of_ticks_are_counted() {
        let (_, mut timers) = begin();
        let at = timers.epoch + 10 * Duration::from_secs(365 * 86_400);
        timers.catch_up(at);
        timers.file(at + millis(30), 0);
        assert_eq!(timers.next(), Some(at + millis(30)));
    }

    #[test]
    fn time_is_walked_through_only_while_a_reminder_stands() {
        let (_, mut timers) = begin();
        let at = |seconds| timers.epoch + Duration::from_secs(seconds);
        let (hour, two_hours) = (at(3600), at(7200));
        timers.catch_up(hour);
        assert_eq!(timers.now, 360_000);
        timers.file(two_hours, 0);
        timers.catch_up(two_hours);
        assert_eq!(timers.now, 360_000);
        assert_eq!((timers.pop(two_hours), timers.now), (Some(0), 720_000));
        assert_eq!(timers.pop(two_hours), None);
    }

    /// Against the obvious: reminders come out once each, never early, at most a tick late, when they are
    /// asked for whenever it is said; and those that were cancelled do not.
    #[test]
    fn reminders_come_on_time() {
        for seed in 0..CASES {
            let mut chance = Chance(seed);
            let delays = chance.delays(2_000_000);
            let (epoch, mut timers) = begin();
            let filed: Vec<Reminder> = (0..)
                .zip(&delays)
                .map(|(id, delay)| timers.file(epoch + millis(*delay), id))
                .collect();
            let mut seen: Vec<bool> = delays.iter().map(|_| chance.below(4) == 0).collect();
            for (reminder, _) in filed.into_iter().zip(&seen).filter(|(_, seen)| **seen) {
                timers.cancel(reminder);
            }
            let mut wakeups = 0;
            while let Some(at) = timers.next() {
                while let Some(id) = timers.pop(at) {
                    assert!(
                        !std::mem::replace(&mut seen[id], true),
                        "seed {seed}: twice, or cancelled"
                    );
                    let filed = epoch + millis(delays[id]);
                    assert!(at >= filed, "seed {seed}: early");
                    assert!(at <= filed + 2 * TICK, "seed {seed}: late by {:?}", at - filed);
                }
                wakeups += 1;
                assert!(wakeups < 10_000, "seed {seed}: they ask without end");
            }
            assert!(seen.into_iter().all(|seen| seen), "seed {seed}: forgotten");
            assert!(timers.is_empty());
        }
    }

    /// Who asks late, as behind a stopped process, gets everything at once.
    #[test]
    fn a_late_caller_gets_everything_that_is_due() {
        for seed in 0..CASES {
            let mut chance = Chance(seed);
            let delays = chance.delays(100_000);
            let jump = chance.below(200_000);
            let (epoch, mut timers) = begin();
            for (id, delay) in delays.iter().enumerate() {
                timers.file(epoch + millis(*delay), id);
            }
            let due: Vec<usize> = std::iter::from_fn(|| timers.pop(epoch + millis(jump))).collect();
            for (id, delay) in delays.iter().enumerate() {
                let is_due = delay.div_ceil(10).max(1) * 10 <= jump;
                assert_eq!(due.contains(&id), is_due, "seed {seed}: {delay} at {jump}");
            }
        }
    }

    /// However many are filed and cancelled one after another, the room they take is that of those that
    /// stood at a time.
    #[test]
    fn the_room_is_that_of_the_reminders_at_a_time() {
        let (epoch, mut timers) = begin();
        for span in Chance(1).delays(90_000_000) {
            let filed = [1, 2].map(|factor| timers.file(epoch + millis(factor * span), 0));
            filed.into_iter().for_each(|reminder| timers.cancel(reminder));
        }
        assert_eq!((timers.len(), timers.entries.len(), timers.next()), (0, 2, None));
    }
}
