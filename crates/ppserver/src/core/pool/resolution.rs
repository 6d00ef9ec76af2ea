//! What a name stands for, from one answer to the next, and when to ask again.
//!
//! Knows no resolver. Invariant: a name that once had addresses keeps some, whatever the answers are; a family
//! whose question fails keeps its own; and there are at most so many.

use std::net::IpAddr;
use std::time::Duration;

/// The most addresses of one family that a name stands for: a pool looks at each of its endpoints.
pub const ADDRS_MAX: usize = 128;

/// What came of the question for one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses, for so long.
    Addrs(Vec<IpAddr>, Duration),
    /// There are none: no such name, or no data.
    None,
    /// Nobody knows: no answer in time, an error of the server, or an answer that makes no sense.
    Failed,
}

/// How often is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskTerms {
    /// Not sooner than that behind the last time.
    pub min: Duration,
    /// Not later.
    pub max: Duration,
}

/// A name, as it is followed.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    patience: Patience,
}

/// How long to wait for the next question: longer with each failure in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// Failures in a row.
    failures: u32,
}

impl Patience {
    /// Returns the wait behind an answer that counts for so long.
    pub fn handle_answer(&mut self, ttl: Duration, terms: AskTerms) -> Duration {
        self.failures = 0;
        ttl.clamp(terms.min, terms.max)
    }

    /// Returns the wait behind a failure.
    pub fn handle_failure(&mut self, terms: AskTerms) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.min(31));
        self.failures = self.failures.saturating_add(1);
        terms.min.saturating_mul(doubled).min(terms.max)
    }
}

impl Resolution {
    /// Takes the answers of both families, which were asked for at a time. Returns whether the set has changed,
    /// and how long to wait until the next question.
    pub fn handle_answers(&mut self, v4: Answer, v6: Answer, terms: AskTerms) -> (bool, Duration) {
        let ttl = [&v4, &v6].into_iter().filter_map(Answer::ttl).min();
        let has_failed = [&v4, &v6].contains(&&Answer::Failed);
        let new_v4 = v4.addrs_or(&self.v4);
        let new_v6 = v6.addrs_or(&self.v6);
        let is_lost = new_v4.is_empty() && new_v6.is_empty();
        let has_changed = !is_lost && (new_v4 != self.v4 || new_v6 != self.v6);
        if has_changed {
            (self.v4, self.v6) = (new_v4, new_v6);
        }
        if !has_failed && !is_lost {
            let ttl = ttl.unwrap_or(terms.min);
            return (has_changed, self.patience.handle_answer(ttl, terms));
        }
        let again = self.patience.handle_failure(terms);
        let ttl = ttl.map(|ttl| ttl.clamp(terms.min, terms.max));
        (has_changed, ttl.map_or(again, |ttl| ttl.min(again)))
    }

    /// Returns the addresses, IPv4 first, each family in ascending order.
    pub fn addrs(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().chain(&self.v6).copied()
    }
}

impl Answer {
    fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Addrs(_, ttl) => Some(*ttl),
            Self::None | Self::Failed => None,
        }
    }

    fn addrs_or(self, last: &[IpAddr]) -> Vec<IpAddr> {
        match self {
            Self::Addrs(mut addrs, _) => {
                addrs.sort_unstable();
                addrs.dedup();
                addrs.truncate(ADDRS_MAX);
                addrs
            }
            Self::None => Vec::new(),
            Self::Failed => last.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: AskTerms = AskTerms { min: Duration::from_secs(5), max: Duration::from_secs(300) };

    fn v4(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn v6() -> IpAddr {
        "2001:db8::1".parse().unwrap()
    }

    fn answer(addrs: &[IpAddr], seconds: u64) -> Answer {
        Answer::Addrs(addrs.to_vec(), Duration::from_secs(seconds))
    }

    /// A name that stands for 192.0.2.1 and 2001:db8::1.
    fn resolved() -> Resolution {
        let mut name = Resolution::default();
        name.handle_answers(answer(&[v4(1)], 60), answer(&[v6()], 60), TERMS);
        name
    }

    #[test]
    fn the_set_is_what_both_families_gave_in_an_order_of_its_own() {
        let mut name = Resolution::default();
        let answers = (answer(&[v4(2), v4(1), v4(2)], 60), answer(&[v6()], 30));
        let (has_changed, wait) = name.handle_answers(answers.0, answers.1, TERMS);
        assert_eq!((has_changed, wait.as_secs()), (true, 30));
        assert_eq!(name.addrs().collect::<Vec<_>>(), [v4(1), v4(2), v6()]);
        let again = name.handle_answers(answer(&[v4(1), v4(2)], 60), answer(&[v6()], 60), TERMS);
        assert_eq!(again, (false, Duration::from_secs(60)), "order means nothing");
    }

    #[test]
    fn of_too_many_the_first_are_taken_whatever_order_they_come_in() {
        let many: Vec<IpAddr> = (0..1000_u32).map(|at| IpAddr::V4(at.into())).collect();
        let backwards: Vec<_> = many.iter().rev().copied().collect();
        let mut name = Resolution::default();
        name.handle_answers(answer(&many, 60), Answer::None, TERMS);
        assert_eq!(name.addrs().collect::<Vec<_>>(), many[..ADDRS_MAX]);
        assert!(!name.handle_answers(answer(&backwards, 60), Answer::None, TERMS).0);
    }

    #[test]
    fn a_family_without_data_goes_and_one_that_fails_stays() {
        for (v4_answer, v6_answer, expected) in [
            (answer(&[v4(9)], 60), Answer::Failed, vec![v4(9), v6()]),
            (answer(&[v4(9)], 60), Answer::None, vec![v4(9)]),
            (Answer::None, Answer::Failed, vec![v6()]),
            (Answer::Failed, Answer::None, vec![v4(1)]),
            (Answer::None, Answer::None, vec![v4(1), v6()]),
            (Answer::Failed, Answer::Failed, vec![v4(1), v6()]),
        ] {
            let mut name = resolved();
            name.handle_answers(v4_answer.clone(), v6_answer.clone(), TERMS);
            let addrs: Vec<_> = name.addrs().collect();
            assert_eq!(addrs, expected, "{v4_answer:?} {v6_answer:?}");
        }
    }

    #[test]
    fn the_time_to_live_counts_within_bounds() {
        for (seconds, expected) in [(0, 5), (60, 60), (86_400, 300)] {
            let (_, wait) =
                resolved().handle_answers(answer(&[v4(1)], seconds), Answer::None, TERMS);
            assert_eq!(wait.as_secs(), expected);
        }
    }

    #[test]
    fn a_name_that_fails_is_asked_for_ever_more_rarely_and_soon_again_once_it_does_not() {
        let mut name = resolved();
        let fail = |name: &mut Resolution| {
            name.handle_answers(Answer::Failed, Answer::Failed, TERMS).1.as_secs()
        };
        let waits: Vec<_> = (0..8).map(|_| fail(&mut name)).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        name.handle_answers(answer(&[v4(1)], 60), Answer::None, TERMS);
        assert_eq!(fail(&mut name), 5);
    }
}
