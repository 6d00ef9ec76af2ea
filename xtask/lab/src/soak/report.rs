//! What a soak found, as text and as JSON, and whether that is good.

use std::collections::BTreeMap;
use std::fmt;

use ppload::Latency;
use serde::Serialize;
use serde_json::Value;

use super::life::Life;

/// The most by which the line through the memory samples may rise from their first to their last:
/// twice and a half what six runs of three minutes did, at 50 and at 150 sessions a second (37 to
/// 50 KiB, the end of the warm-up). In an hour at 50 a session that leaves one byte is found.
const GROWTH_MAX: f64 = 128.0 * 1024.0;

/// A finished soak.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) seconds: f64,
    pub(super) rate: u32,
    /// Whether somebody interrupted it.
    pub(super) is_cut_short: bool,
    /// Sessions by kind.
    pub(super) sessions: BTreeMap<String, u64>,
    /// Connections that all sessions and probes made.
    pub(super) connections: u64,
    /// Sessions that began more than a second late: then the rate was not kept.
    pub(super) late: u64,
    /// How often the endpoint that comes and goes closed its port, and the sessions that this reset in
    /// its queue, before the first byte of their answer: theirs is no fault.
    pub(super) closings: u64,
    pub(super) excused: u64,
    pub(super) reloads: u64,
    /// Losses of bytes, and everything else that went wrong.
    pub(super) lost: u64,
    pub(super) faults: u64,
    pub(super) fault_words: Vec<String>,
    /// Microseconds from the moment a probe was meant to begin to its FIN.
    pub(super) probe: Latency,
    pub(super) memory: Memory,
    pub(super) descriptors: Descriptors,
    /// Of one core.
    pub(super) cpu_share: f64,
    pub(super) records_by_level: BTreeMap<String, u64>,
    /// The last counters.
    pub(super) counters: Value,
    /// What came behind the chaos.
    pub(super) life: Option<Life>,
}

/// Bytes that the server allocated, as the kernel counts them: resident ones without a file behind them.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) first: u64,
    /// After the warm-up, of samples a second apart.
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) slope_per_hour: f64,
    /// What the slope comes to in the time measured.
    pub(super) growth: f64,
    /// At rest, after the last session.
    pub(super) last: u64,
}

/// Descriptors of the server, pipes apart.
#[derive(Debug, Serialize)]
pub(super) struct Descriptors {
    pub(super) first: u64,
    pub(super) max: f64,
    pub(super) slope_per_hour: f64,
    /// At rest, after the last session.
    pub(super) last: u64,
    /// Ends of pipes kept for later, at the end.
    pub(super) pipe_ends: u64,
}

impl Report {
    /// Everything that must not be; empty when the soak is good.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut unless = |is_good: bool, what: String| {
            if !is_good {
                complaints.push(what);
            }
        };
        unless(self.lost == 0, format!("bytes were lost {} times", self.lost));
        unless(self.faults == 0, format!("{} sessions went wrong", self.faults));
        let descriptors = &self.descriptors;
        unless(
            descriptors.first == descriptors.last,
            format!("{} descriptors before, {} after", descriptors.first, descriptors.last),
        );
        // Their time begins behind the warm-up.
        unless(self.memory.max > 0.0, "it ended before memory was looked at".to_owned());
        let growth = self.memory.growth / 1024.0;
        unless(self.memory.growth <= GROWTH_MAX, format!("memory grew by {growth:.0} KiB"));
        let errors = self.records_by_level.get("ERROR").copied().unwrap_or(0);
        // Each refused reload is one.
        unless(
            errors <= self.reloads / u64::from(super::BAD_FILE_EVERY),
            format!("the server logged {errors} errors"),
        );
        complaints.extend(imbalance(&self.counters, self.connections));
        complaints.extend(self.life.iter().flat_map(Life::complaints));
        complaints
    }
}

/// What does not add up in the counters of a server at rest, to which so many connections were made.
pub(super) fn imbalance(counters: &Value, connections: u64) -> Vec<String> {
    let count = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    let closed = counters["closed"].as_object();
    let closed: u64 = closed.into_iter().flat_map(|all| all.values()).map(count).sum();
    let (accepted, active) = (count(&counters["accepted"]), count(&counters["active"]));
    let mut found = Vec::new();
    if active != 0 {
        found.push(format!("{active} connections are active at the end"));
    }
    if accepted != active.saturating_add(closed) {
        found.push(format!("accepted {accepted} is not active {active} + closed {closed}"));
    }
    if accepted != connections {
        found.push(format!("accepted {accepted} of {connections} connections"));
    }
    found
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = 1024.0 * 1024.0;
        let sessions: u64 = self.sessions.values().sum();
        writeln!(f, "seed {}, {:.0} s at {} sessions/s", self.seed, self.seconds, self.rate)?;
        writeln!(
            f,
            "sessions      {sessions}; {} connections, {} reloads, {} late starts",
            self.connections, self.reloads, self.late
        )?;
        writeln!(
            f,
            "flapping      {} closings of a port, which reset {} sessions in its queue",
            self.closings, self.excused
        )?;
        for (kind, count) in &self.sessions {
            writeln!(f, "  {kind:<18} {count}")?;
        }
        writeln!(f, "lost bytes    {} times", self.lost)?;
        writeln!(f, "other faults  {}", self.faults)?;
        let probe = &self.probe;
        writeln!(
            f,
            "probe         p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            probe.p50, probe.p99, probe.max
        )?;
        let memory = &self.memory;
        writeln!(
            f,
            "memory        {:.2} MiB at start, {:.2} to {:.2} under load, {:.2} at rest; slope \
             {:+.0} KiB/h, growth {:+.0} KiB",
            f64::from(u32::try_from(memory.first).unwrap_or(u32::MAX)) / MIB,
            memory.min / MIB,
            memory.max / MIB,
            f64::from(u32::try_from(memory.last).unwrap_or(u32::MAX)) / MIB,
            memory.slope_per_hour / 1024.0,
            memory.growth / 1024.0
        )?;
        let descriptors = &self.descriptors;
        writeln!(
            f,
            "descriptors   {} at start, at most {} under load, {} at rest; slope {:+.2}/h; {} pipe \
             ends kept",
            descriptors.first,
            descriptors.max,
            descriptors.last,
            descriptors.slope_per_hour,
            descriptors.pipe_ends
        )?;
        writeln!(f, "server CPU    {:.1} % of a core", self.cpu_share * 100.0)?;
        writeln!(f, "log records   {:?}", self.records_by_level)?;
        writeln!(f, "counters      {}", self.counters)?;
        if let Some(life) = &self.life {
            write!(f, "{life}")?;
        }
        let complaints = self.complaints();
        let verdict = if complaints.is_empty() { "good".into() } else { complaints.join("; ") };
        writeln!(
            f,
            "verdict       {verdict} (seed {}, probe p99 {:.0} us, memory {:+.0} KiB/h, descriptors \
             {:+.2}/h)",
            self.seed,
            probe.p99,
            memory.slope_per_hour / 1024.0,
            descriptors.slope_per_hour
        )
    }
}
