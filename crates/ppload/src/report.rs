//! What a run of the generator or the sink found, as text and as JSON.
//!
//! Invariant, and `Report::check` says when it is broken: every connection that was started has
//! exactly one end.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::host::real;
use crate::schedule::Lag;

/// A generator that takes more than this of a core limits what it measures.
const BUSY_SHARE: f64 = 0.9;
/// Percentiles, and the share of exchanges that each leaves out: as many late starts of an open loop
/// may be all of those.
const BEYOND: [(&str, f64); 2] = [("p99", 0.01), ("p99.9", 0.001)];

/// Ends that are no success, by name: an errno or what was wrong.
pub type Failures = BTreeMap<String, u64>;

/// Counts a failure of this name.
pub(super) fn count_failure(failures: &mut Failures, name: &str) {
    match failures.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            failures.insert(name.to_owned(), 1);
        }
    }
}

/// The name under which a system's error is counted.
pub(super) fn error_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "ECONNREFUSED".to_owned(),
        Some(libc::ECONNRESET) => "ECONNRESET".to_owned(),
        Some(libc::EPIPE) => "EPIPE".to_owned(),
        Some(libc::ETIMEDOUT) => "ETIMEDOUT".to_owned(),
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL".to_owned(),
        Some(libc::EMFILE) => "EMFILE".to_owned(),
        Some(libc::ENFILE) => "ENFILE".to_owned(),
        Some(number) => format!("errno {number}"),
        None => error.kind().to_string(),
    }
}

/// What the generator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// From the first start to the last end.
    pub seconds: f64,
    /// The ends of all connections.
    pub connections: Connections,
    /// Exchanges before the clock, the latencies and the CPU time began: the first on each connection
    /// of keep-alive.
    pub opened: u64,
    /// Requests with their answers, without those. In all cases but keep-alive one a completed connection.
    pub exchanges: u64,
    /// Requests and bodies, without PROXY headers.
    pub bytes_sent: u64,
    /// Answers with their bodies.
    pub bytes_received: u64,
    /// The generator's own CPU time, user and system.
    pub cpu_seconds: f64,
    /// From the meant beginning to the last byte of the answer (of the close, in `short`).
    pub latency: Latency,
    /// Open loop only.
    pub schedule: Option<Kept>,
    /// Why these figures speak of the generator and not of its target; empty when they do not.
    pub bottleneck: Vec<String>,
}

/// The ends of all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Begun.
    pub started: u64,
    /// Ended in order.
    pub completed: u64,
    /// Given up after --timeout.
    pub timed_out: u64,
    /// Open when the run was interrupted.
    pub abandoned: u64,
    /// Ended otherwise, by what went wrong.
    pub failed: Failures,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// Of all of them.
    pub mean: f64,
    /// Half are no longer.
    pub p50: f64,
    /// 90 % are no longer.
    pub p90: f64,
    /// 99 % are no longer.
    pub p99: f64,
    /// 99.9 % are no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// How well an open loop was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Starts more than 1 ms late though there was room.
    pub late: u64,
    /// Starts more than 1 ms late because all connections were taken.
    pub held_back: u64,
    /// The latest start, in microseconds.
    pub worst_us: f64,
    /// Starts meant before the end that found all connections taken until then.
    pub never_started: u64,
}

impl From<Lag> for Kept {
    fn from(lag: Lag) -> Self {
        let Lag { late, held_back, worst, never } = lag;
        Self { late, held_back, worst_us: micros(worst), never_started: never }
    }
}

impl Connections {
    /// Those that failed or timed out.
    pub fn failures(&self) -> u64 {
        self.timed_out + self.failed.values().sum::<u64>()
    }
}

impl Latency {
    /// Reads a histogram of nanoseconds.
    pub fn read(histogram: &Histogram<u64>) -> Self {
        let at = |share: f64| real(histogram.value_at_quantile(share)) / 1e3;
        Self {
            min: real(histogram.min()) / 1e3,
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: real(histogram.max()) / 1e3,
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, mean, p50, p90, p99, p999, max } = self;
        write!(
            f,
            "latency us   min {min:.0}  mean {mean:.0}  p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  \
             p99.9 {p999:.0}  max {max:.0}"
        )
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { late, held_back, worst_us, never_started } = self;
        write!(
            f,
            "schedule     {late} late, {held_back} held back by the target, worst {worst_us:.0} us, \
             {never_started} never made"
        )
    }
}

impl Report {
    /// Exchanges a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { real(self.exchanges) / self.seconds } else { 0.0 }
    }

    /// Fills in why the figures may be the generator's own.
    pub(super) fn judge(&mut self) {
        self.bottleneck = doubts(self.exchanges, self.seconds, self.cpu_seconds, self.schedule);
    }

    /// Checks that every connection has one end.
    ///
    /// # Errors
    /// The sum that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let Connections { started, completed, abandoned, .. } = self.connections;
        let ended = completed + abandoned + self.connections.failures();
        if started == ended {
            return Ok(());
        }
        Err(format!("the generator started {started} connections and saw {ended} end"))
    }
}

/// Why figures of so many exchanges speak of the generator and not of its target.
pub(super) fn doubts(
    exchanges: u64,
    seconds: f64,
    cpu_seconds: f64,
    schedule: Option<Kept>,
) -> Vec<String> {
    let mut doubts = Vec::new();
    if exchanges == 0 {
        return doubts;
    }
    let share = if seconds > 0.0 { cpu_seconds / seconds } else { 0.0 };
    if share >= BUSY_SHARE {
        doubts.push(format!(
            "not the target's: the generator used {:.0} % of a core itself",
            share * 100.0
        ));
    }
    let Some(kept) = schedule else { return doubts };
    for (percentile, beyond) in BEYOND {
        if real(kept.late) > real(exchanges) * beyond {
            doubts.push(format!(
                "{percentile} may be the generator's own: over {:.1} % of its starts came more \
                 than 1 ms late",
                beyond * 100.0
            ));
        }
    }
    if kept.never_started > 0 {
        doubts.push(format!(
            "{} starts were never made, all connections being taken: the worst latencies are missing",
            kept.never_started
        ));
    }
    doubts
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connections { started, completed, timed_out, abandoned, failed } = &self.connections;
        writeln!(
            f,
            "connections  {started} started: {completed} completed, {} failed, {timed_out} timed \
             out, {abandoned} abandoned",
            failed.values().sum::<u64>()
        )?;
        for (name, count) in failed {
            writeln!(f, "             {count} x {name}")?;
        }
        if self.opened > 0 {
            writeln!(f, "opened       {} before the clock started, an exchange each", self.opened)?;
        }
        writeln!(
            f,
            "exchanges    {} in {:.3} s: {:.0}/s",
            self.exchanges,
            self.seconds,
            self.rate()
        )?;
        writeln!(f, "bytes        {} sent, {} received", self.bytes_sent, self.bytes_received)?;
        writeln!(f, "{}", self.latency)?;
        if let Some(kept) = &self.schedule {
            writeln!(f, "{kept}")?;
        }
        writeln!(
            f,
            "own CPU      {:.3} s, {:.2} us an exchange",
            self.cpu_seconds,
            each(self.cpu_seconds, self.exchanges)
        )?;
        for reason in &self.bottleneck {
            writeln!(f, "BOTTLENECK   {reason}")?;
        }
        Ok(())
    }
}

/// What the sink counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkReport {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that ended in order: closed after an answer, or by the peer between requests.
    pub ended: u64,
    /// Of those, the ones that never sent a byte: bare connects, as health checks and probes.
    pub silent: u64,
    /// Connections that ended otherwise, by what went wrong.
    pub failed: Failures,
    /// Connections open when it stopped.
    pub open: u64,
    /// Answers sent in full.
    pub answers: u64,
    /// Requests and bodies, without PROXY headers.
    pub bytes_received: u64,
    /// Answers with their bodies.
    pub bytes_sent: u64,
    /// The sink's own CPU time, user and system.
    pub cpu_seconds: f64,
}

impl SinkReport {
    /// Those that failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Checks that every connection has one end.
    ///
    /// # Errors
    /// The sum that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let ended = self.ended + self.failures() + self.open;
        if self.accepted == ended {
            return Ok(());
        }
        Err(format!("the sink accepted {} connections and saw {ended} end", self.accepted))
    }
}

impl fmt::Display for SinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "connections  {} accepted: {} ended ({} of them silent), {} failed, {} open",
            self.accepted,
            self.ended,
            self.silent,
            self.failures(),
            self.open
        )?;
        for (name, count) in &self.failed {
            writeln!(f, "             {count} x {name}")?;
        }
        writeln!(f, "answers      {}", self.answers)?;
        writeln!(f, "bytes        {} received, {} sent", self.bytes_received, self.bytes_sent)?;
        writeln!(
            f,
            "own CPU      {:.3} s, {:.2} us an answer",
            self.cpu_seconds,
            each(self.cpu_seconds, self.answers)
        )
    }
}

/// CPU time of each, in microseconds; 0 where there are none.
pub(super) fn each(cpu_seconds: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { cpu_seconds * 1e6 / real(count) }
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let failed = Failures::from([("ECONNRESET".to_owned(), 2)]);
        let connections =
            Connections { started: 10, completed: 6, timed_out: 1, abandoned: 1, failed };
        Report { seconds: 2.0, connections, exchanges: 6, cpu_seconds: 0.5, ..Report::default() }
    }

    #[test]
    fn every_connection_has_one_end_or_the_report_says_so() {
        assert_eq!(report().check(), Ok(()));
        let mut wrong = report();
        wrong.connections.started += 1;
        let error = wrong.check().unwrap_err();
        assert!(error.contains("started 11") && error.contains("saw 10"), "{error}");
    }

    #[test]
    fn a_busy_or_late_generator_says_that_it_is_the_bottleneck() {
        let mut calm = report();
        calm.judge();
        assert_eq!(calm.bottleneck, [""; 0]);
        let mut busy = Report { cpu_seconds: 1.8, ..report() };
        busy.judge();
        assert!(busy.bottleneck[0].contains("90 %"), "{:?}", busy.bottleneck);
        let mut futile = Report { exchanges: 0, ..busy };
        futile.bottleneck.clear();
        futile.judge();
        assert_eq!(futile.bottleneck, [""; 0], "it measured nothing");
        assert!(futile.to_string().contains(" 0.00 us an exchange"), "{futile}");
        let kept = Kept { never_started: 7, ..Kept::default() };
        let mut full = Report { schedule: Some(kept), ..report() };
        full.judge();
        assert!(full.bottleneck[0].contains("7 starts were never made"), "{:?}", full.bottleneck);
        assert!(full.to_string().contains("BOTTLENECK   7 starts"), "{full}");
    }

    #[test]
    fn late_starts_are_told_for_each_percentile_that_they_can_make() {
        for (late, percentiles) in
            [(6, &[][..]), (7, &["p99.9"]), (60, &["p99.9"]), (61, &["p99", "p99.9"])]
        {
            let kept = Kept { late, ..Kept::default() };
            let mut told = Report { exchanges: 6000, schedule: Some(kept), ..report() };
            told.judge();
            assert_eq!(told.bottleneck.len(), percentiles.len(), "{told}");
            for (line, percentile) in told.bottleneck.iter().zip(percentiles) {
                assert!(line.starts_with(&format!("{percentile} may be")), "{line}");
            }
        }
    }

    #[test]
    fn the_histogram_is_read_in_microseconds() {
        let mut histogram = Histogram::new(3).unwrap();
        for value in 1..=1000u64 {
            histogram.record(value * 1000).unwrap();
        }
        let latency = Latency::read(&histogram);
        for (value, expected) in
            [(latency.min, 1.0), (latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1000.0)]
        {
            assert!((value - expected).abs() <= expected / 500.0, "{value} for {expected}");
        }
    }

    #[test]
    fn reports_survive_the_way_through_json() {
        let sent = Report { latency: Latency { p50: 1.5, ..Latency::default() }, ..report() };
        let text = serde_json::to_string(&sent).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), sent);
        assert!(text.contains(r#""failed":{"ECONNRESET":2}"#), "{text}");
    }
}
