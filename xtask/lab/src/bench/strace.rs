//! System calls by `strace -f -c`: they repeat where times do not.

use std::path::Path;

use super::rig::Metric;
use crate::host::real;

/// A row of strace's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calls {
    name: String,
    count: u64,
}

/// Calls rarer than this per unit are left to the total.
const SHOWN_MIN: f64 = 0.05;

/// Arguments that attach to these processes and write the table into `file`.
pub(super) fn words(file: &Path, pids: &[u32]) -> Vec<String> {
    let mut words: Vec<String> = ["-f", "-c", "-o"].map(str::to_owned).to_vec();
    words.push(file.to_string_lossy().into_owned());
    for pid in pids {
        words.extend(["-p".to_owned(), pid.to_string()]);
    }
    words
}

/// Reads the table: % time, seconds, usecs/call, calls, errors (or nothing), name.
pub(super) fn read(table: &str) -> Option<Vec<Calls>> {
    let rows = table.lines().skip_while(|line| !line.starts_with("---")).skip(1);
    let mut calls = Vec::new();
    for row in rows.take_while(|line| !line.starts_with("---")) {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let (name, count) = (fields.last()?, fields.get(3)?.parse().ok()?);
        calls.push(Calls { name: (*name).to_owned(), count });
    }
    (!calls.is_empty()).then_some(calls)
}

/// All calls, and each frequent one, per unit.
pub(super) fn metrics(calls: &[Calls], units: u64, unit: &str) -> Vec<Metric> {
    let each = |count: u64| real(count) / real(units.max(1));
    let total = each(calls.iter().map(|call| call.count).sum());
    let mut metrics = vec![Metric::new(format!("system calls/{unit}"), total)];
    let frequent = calls.iter().filter(|call| each(call.count) >= SHOWN_MIN);
    metrics.extend(
        frequent.map(|call| Metric::new(format!("  {}/{unit}", call.name), each(call.count))),
    );
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ------------------\n \
            60.00    0.055536          27      2000      2000 connect\n \
            39.00    0.048067          23       100           close\n  \
             1.00    0.000067          23         3           futex\n\
            ------ ----------- ----------- --------- --------- ------------------\n\
            100.00    0.103670          24      2103      2000 total\n";
        let calls = read(table).unwrap();
        assert_eq!(calls.len(), 3);
        let metrics = metrics(&calls, 1000, "connection");
        let shown: Vec<(&str, f64)> =
            metrics.iter().map(|metric| (metric.name.as_str(), metric.value)).collect();
        let expected = [
            ("system calls/connection", 2.103),
            ("  connect/connection", 2.0),
            ("  close/connection", 0.1),
        ];
        assert_eq!(shown, expected);
        assert_eq!(read("nothing"), None);
    }
}
