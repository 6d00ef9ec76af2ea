//! Medians, ranges and ratios of interleaved rounds.
//!
//! Ratios are taken pair by pair, ours to the peer's of the same round, and only then summarised:
//! what the machine did to a round it did to both.

/// The middle of some values, with their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: usize,
}

impl Summary {
    /// None of no values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max, count: values.len() })
    }
}

/// Summarises `ours / theirs` over the rounds that count for both. A round is `None` where it does
/// not count.
pub(super) fn ratios(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Summary> {
    let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(((*ours)?, (*theirs)?)));
    Summary::of(pairs.filter(|(_, theirs)| *theirs != 0.0).map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_middles() {
        let odd = Summary::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd, Summary { median: 2.0, min: 1.0, max: 3.0, count: 3 });
        let even = Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(even, Summary { median: 2.5, min: 1.0, max: 4.0, count: 4 });
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn ratios_pair_the_rounds_and_leave_out_those_that_do_not_count() {
        let ours = [Some(1.0), Some(20.0), None, Some(3.0)];
        let theirs = [Some(2.0), Some(20.0), Some(5.0), None];
        let expected = Summary { median: 0.75, min: 0.5, max: 1.0, count: 2 };
        assert_eq!(ratios(&ours, &theirs), Some(expected));
        assert_eq!(ratios(&[Some(1.0)], &[Some(0.0)]), None);
        assert_eq!(ratios(&[None], &[Some(1.0)]), None);
    }
}
