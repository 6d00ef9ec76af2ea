//! When who is checked next.
//!
//! ```text
//! waiting --its time has come--> taken --its check has ended--> waiting
//! ```
//!
//! Knows no socket. Invariant: of an endpoint one check at most is taken at a time, and those who wait longest come
//! first; so where too many are due all are checked less often, and nobody never.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Target;
use crate::control::jitter;
use crate::control::pools::Name;

/// Those that are new begin within this, and not all at once.
const BEGIN_MAX: Duration = Duration::from_secs(5);
/// A span is longer or shorter by up to a twentieth, so that those who met part.
const JITTER_PARTS: u32 = 20;

/// All that is checked.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    slots: Vec<Slot>,
    by_name: HashMap<Name, usize>,
    /// Those who wait, by when their time comes.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
}

#[derive(Debug)]
struct Slot {
    target: Arc<Target>,
    /// When it is due; when the last check began, if that has not ended.
    at: Instant,
    is_taken: bool,
}

impl Agenda {
    /// Follows these from now on; those that were there before go on.
    pub(super) fn follow(&mut self, targets: Vec<Target>, now: Instant) {
        let (old, by_name) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.by_name));
        self.waiting.clear();
        for target in targets {
            let before = by_name.get(&target.name).map(|at| &old[*at]);
            let interval = target.policy.interval;
            let (at, is_taken) = match before {
                Some(slot) if slot.is_taken => (slot.at, true),
                Some(slot) => (slot.at.min(now + interval), false),
                None => (now + jitter::part_of(interval.min(BEGIN_MAX)), false),
            };
            let index = self.slots.len();
            self.by_name.insert(target.name.clone(), index);
            self.slots.push(Slot { target: Arc::new(target), at, is_taken });
            if !is_taken {
                self.waiting.push(Reverse((at, index)));
            }
        }
    }

    /// Returns when the next one is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Arc<Target>> {
        let Reverse((at, _)) = self.waiting.peek()?;
        if *at > now {
            return None;
        }
        let Reverse((_, index)) = self.waiting.pop()?;
        let slot = &mut self.slots[index];
        (slot.at, slot.is_taken) = (now, true);
        Some(Arc::clone(&slot.target))
    }

    /// The check of one that was taken has ended.
    pub(super) fn handle_ended(&mut self, name: &Name, now: Instant) {
        // It may be checked no more.
        let Some(index) = self.by_name.get(name) else { return };
        let slot = &mut self.slots[*index];
        if slot.is_taken {
            let span = slot.target.policy.interval;
            let spread = span / JITTER_PARTS;
            let at = slot.at + (span - spread) + jitter::part_of(2 * spread);
            (slot.at, slot.is_taken) = (at.max(now), false);
            self.waiting.push(Reverse((slot.at, *index)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::target;
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    fn targets(count: u16, seconds: u64) -> Vec<Target> {
        (1..=count).map(|port| target(port, Duration::from_secs(seconds))).collect()
    }

    #[test]
    fn those_that_are_new_are_spread_and_nobody_waits_longer_than_his_interval() {
        let begin = start();
        let mut agenda = Agenda::default();
        for (seconds, most) in [(1, 1), (3600, 5)] {
            agenda.follow(Vec::new(), begin);
            agenda.follow(targets(100, seconds), begin);
            assert_eq!(agenda.take_due(begin - Duration::from_nanos(1)).map(|it| it.name.1), None);
            let half = begin + Duration::from_millis(most * 500);
            let early = std::iter::from_fn(|| agenda.take_due(half)).count();
            assert!((20..80).contains(&early), "{early}");
            let end = begin + Duration::from_secs(most);
            assert_eq!(std::iter::from_fn(|| agenda.take_due(end)).count(), 100 - early);
            assert_eq!(agenda.next_at(), None);
        }
    }

    #[test]
    fn one_is_checked_again_an_interval_behind_its_beginning_and_at_once_if_that_is_over() {
        let begin = start();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut agenda = Agenda::default();
        agenda.follow(targets(1, 1), begin);
        let name = agenda.take_due(at(1000)).expect("it is due").name.clone();
        agenda.handle_ended(&name, at(1500));
        let again = agenda.next_at().expect("it waits");
        assert!((at(1950)..=at(2050)).contains(&again), "{:?}", again - begin);
        agenda.take_due(at(3000)).expect("it is due");
        agenda.handle_ended(&name, at(9000));
        assert_eq!(agenda.next_at(), Some(at(9000)));
        agenda.handle_ended(&name, at(9000));
        agenda.take_due(at(9000)).expect("it is due");
        assert_eq!(agenda.next_at(), None, "once, and not twice");
    }

    #[test]
    fn a_reload_neither_forgets_who_is_taken_nor_waits_for_an_interval_that_was_longer() {
        let begin = start();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut agenda = Agenda::default();
        agenda.follow(targets(2, 3600), begin);
        let taken = agenda.take_due(at(5)).expect("it is due").name.clone();
        let other = agenda.take_due(at(5)).expect("it is due").name.clone();
        agenda.handle_ended(&other, at(5));
        agenda.follow(targets(2, 10), at(6));
        assert_eq!(agenda.next_at(), Some(at(16)));
        assert_eq!(agenda.take_due(at(16)).expect("it is due").name, other);
        assert_eq!(agenda.next_at(), None, "the other's check has not ended");
        agenda.handle_ended(&taken, at(17));
        assert_eq!(agenda.next_at(), Some(at(17)));
        agenda.follow(Vec::new(), at(17));
        agenda.handle_ended(&other, at(18));
        assert_eq!(agenda.next_at(), None, "it is checked no more");
    }
}
