//! Whose turn it is: smooth weighted round robin.
//!
//! Each time everybody who may be chosen gains his weight, the richest is chosen and pays what all have gained.
//! So 5:1:1 gives a b a c a a a rather than five in a row. Invariant: the credits of all add up to 0, up to who
//! could not be chosen meanwhile.

use std::sync::atomic::{AtomicI64, Ordering};

/// The credits of a pool's endpoints. Written by one worker only; atomic because connections share it.
#[derive(Debug)]
pub(super) struct Round {
    credits: Box<[AtomicI64]>,
    /// Among those who are equally rich, the first from here on is chosen.
    first: usize,
}

impl Round {
    /// Begins a round over so many. `first` keeps workers from beginning all alike.
    pub(super) fn new(count: usize, first: usize) -> Self {
        Self { credits: (0..count).map(|_| AtomicI64::new(0)).collect(), first }
    }

    /// Goes on with the credits of those who were there, at these places, before.
    pub(super) fn reloaded(&self, places: impl Iterator<Item = Option<usize>>) -> Self {
        let credit = |place: Option<usize>| {
            let old = place.and_then(|at| self.credits.get(at));
            AtomicI64::new(old.map_or(0, |it| it.load(Ordering::Relaxed)))
        };
        Self { credits: places.map(credit).collect(), first: self.first }
    }

    /// Takes the next one. Those without a weight now are passed over, and gain nothing.
    pub(super) fn next(&self, weight: impl Fn(usize) -> u64) -> Option<usize> {
        let (mut total, mut richest) = (0, None);
        let count = self.credits.len();
        let first = self.first.checked_rem(count).unwrap_or(0);
        for at in (first..count).chain(0..first) {
            let credit = &self.credits[at];
            let weight = i64::try_from(weight(at)).expect("far below 2^63");
            if weight == 0 {
                continue;
            }
            let has = credit.load(Ordering::Relaxed) + weight;
            credit.store(has, Ordering::Relaxed);
            total += weight;
            if richest.is_none_or(|(_, most)| has > most) {
                richest = Some((at, has));
            }
        }
        let (at, has) = richest?;
        self.credits[at].store(has - total, Ordering::Relaxed);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(round: &Round, count: usize, weights: &[u64]) -> Vec<usize> {
        (0..count).map(|_| round.next(|at| weights[at]).expect("somebody may")).collect()
    }

    #[test]
    fn turns_follow_weights_and_are_spread() {
        let round = Round::new(3, 0);
        assert_eq!(take(&round, 7, &[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        let round = Round::new(3, 0);
        assert_eq!(take(&round, 6, &[1, 1, 1]), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn workers_begin_at_places_of_their_own() {
        let firsts: Vec<_> = (0..4).map(|it| take(&Round::new(3, it), 4, &[1; 3])).collect();
        assert_eq!(firsts, [[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2], [0, 1, 2, 0]]);
    }

    #[test]
    fn who_may_not_be_chosen_is_passed_over_and_owed_nothing() {
        let round = Round::new(2, 0);
        assert_eq!(take(&round, 100, &[1, 0]), [0; 100]);
        assert_eq!(take(&round, 4, &[1, 1]).iter().filter(|at| **at == 1).count(), 2);
        assert_eq!(round.next(|_| 0), None);
    }

    #[test]
    fn a_reload_leaves_the_turn_with_who_has_it() {
        let old = Round::new(3, 0);
        take(&old, 1, &[1; 3]);
        let new = old.reloaded([Some(2), None, Some(1), Some(0)].into_iter());
        let turns = take(&new, 4, &[1; 4]);
        assert_eq!(
            turns.iter().filter(|at| **at == 3).count(),
            1,
            "who had a turn waits: {turns:?}"
        );
        assert_eq!(turns[3], 3);
    }
}
