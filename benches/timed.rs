//! One cell of a comparison: a crate's answer, checked once and then timed.
//!
//! Invariant: nothing is timed whose answer has not been compared with the expected one.

use std::fmt::Debug;

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;

/// Compares what `run` gives, seen through `answer`, with `want`; then times `run`. What it returns
/// is dropped inside the time, as every caller has to.
pub(crate) fn cell<R, A: PartialEq + Debug>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    want: &A,
    run: impl Fn() -> R,
    answer: impl Fn(&R) -> A,
) {
    assert_eq!(&answer(&run()), want, "{name}");
    group.bench_function(name, |bencher| bencher.iter(&run));
}
