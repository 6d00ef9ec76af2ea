//! What happened, in numbers: one set of counters a worker, summed when somebody asks.
//!
//! Each cell has one writer, so a change is a plain load and store; readers see a value that was true
//! a moment ago. Invariant: `accepted == active + the sum of closed`, once a worker is at rest; who sees
//! a connection gone from `active` sees what it counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::core::close_reason::CloseReason;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; only its one writer may.
    pub fn add(&self, count: u64) {
        self.0.store(self.get() + count, Ordering::Relaxed);
    }

    /// Subtracts from it, behind all that its writer has counted before.
    fn sub(&self, count: u64) {
        self.0.store(self.get() - count, Ordering::Release);
    }

    /// Returns its value a moment ago.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The counters of one worker. Aligned so that no two workers write to one cache line (two lines on
/// x86-64, which fetches pairs).
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    active: Counter,
    accepted: Counter,
    closed: [Counter; CloseReason::COUNT],
    /// Payload bytes from clients to upstreams.
    pub bytes_up: Counter,
    /// Payload bytes from upstreams to clients.
    pub bytes_down: Counter,
    /// Attempts to connect that failed, whether or not another endpoint was found.
    pub connect_failures: Counter,
    /// Times accepting paused because the system had run out of something.
    pub accept_pauses: Counter,
    /// Fills that were copied because no pipe was to be had.
    pub pipes_missing: Counter,
    /// Access log lines dropped because the writer could not keep up.
    pub access_lines_dropped: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            active: Counter::default(),
            accepted: Counter::default(),
            closed: [const { Counter(AtomicU64::new(0)) }; CloseReason::COUNT],
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            connect_failures: Counter::default(),
            accept_pauses: Counter::default(),
            pipes_missing: Counter::default(),
            access_lines_dropped: Counter::default(),
        }
    }
}

impl Counters {
    /// Notes the beginning of a connection.
    pub fn open(&self) {
        self.accepted.add(1);
        self.active.add(1);
    }

    /// Notes the end of a connection that was opened.
    pub fn close(&self, reason: CloseReason) {
        self.closed[reason.index()].add(1);
        self.active.sub(1);
    }
}

/// Returns how many connections are open.
pub fn active(workers: &[Counters]) -> u64 {
    workers.iter().map(|worker| worker.active.get()).sum()
}

/// What all workers have counted, and what both logs have lost; displayed as lines for people.
#[derive(Debug, Serialize)]
pub struct Summary {
    active: u64,
    accepted: u64,
    /// By reason; every one is there, also at 0.
    closed: BTreeMap<&'static str, u64>,
    bytes_up: u64,
    bytes_down: u64,
    connect_failures: u64,
    accept_pauses: u64,
    pipes_missing: u64,
    access_lines_dropped: u64,
    log_lines_dropped: u64,
}

/// Lines that were lost elsewhere than in a worker.
#[derive(Clone, Copy, Debug)]
pub struct LinesLost {
    /// Those of the access log that its output refused.
    pub access: u64,
    /// Those of the log that nobody read.
    pub log: u64,
}

impl Summary {
    /// Sums up all workers.
    pub fn of(workers: &[Counters], lost: LinesLost) -> Self {
        // First: what is gone from it has been counted below.
        let active = active(workers);
        let sum = |counter: fn(&Counters) -> &Counter| -> u64 {
            workers.iter().map(|worker| counter(worker).get()).sum()
        };
        let closed = CloseReason::ALL.iter().map(|reason| {
            let count = workers.iter().map(|worker| worker.closed[reason.index()].get()).sum();
            (reason.name(), count)
        });
        Self {
            active,
            accepted: sum(|counters| &counters.accepted),
            closed: closed.collect(),
            bytes_up: sum(|counters| &counters.bytes_up),
            bytes_down: sum(|counters| &counters.bytes_down),
            connect_failures: sum(|counters| &counters.connect_failures),
            accept_pauses: sum(|counters| &counters.accept_pauses),
            pipes_missing: sum(|counters| &counters.pipes_missing),
            access_lines_dropped: sum(|counters| &counters.access_lines_dropped) + lost.access,
            log_lines_dropped: lost.log,
        }
    }
}

/// A line a group; of ends and of trouble only what there was.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = [
            ("connect_failures", self.connect_failures),
            ("accept_pauses", self.accept_pauses),
            ("pipes_missing", self.pipes_missing),
            ("access_lines_dropped", self.access_lines_dropped),
            ("log_lines_dropped", self.log_lines_dropped),
        ];
        let nonzero = |counts: &[(&str, u64)]| {
            let counts = counts.iter().filter(|(_, count)| *count > 0);
            let words: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let closed: Vec<_> = self.closed.iter().map(|(name, count)| (*name, *count)).collect();
        writeln!(f, "  connections  accepted {}, active {}", self.accepted, self.active)?;
        writeln!(f, "  closed       {}", nonzero(&closed))?;
        writeln!(f, "  payload      bytes_up {}, bytes_down {}", self.bytes_up, self.bytes_down)?;
        write!(f, "  trouble      {}", nonzero(&trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_adds_up_over_the_workers() {
        let workers = [Counters::default(), Counters::default()];
        for worker in [0, 0, 0, 1, 1] {
            workers[worker].open();
        }
        workers[0].close(CloseReason::Done);
        workers[1].close(CloseReason::Done);
        workers[1].close(CloseReason::Probe);
        workers[0].access_lines_dropped.add(3);
        let summary = Summary::of(&workers, LinesLost { access: 4, log: 0 });
        let value = serde_json::to_value(&summary).unwrap();
        assert_eq!(value["access_lines_dropped"], 7);
        assert_eq!(value["active"], 2);
        assert_eq!(value["closed"]["done"], 2);
        assert_eq!(value["closed"]["probe"], 1);
        assert_eq!(value["closed"]["overload"], 0);
        let text = "  connections  accepted 5, active 2\n  closed       done 2, probe 1\n  \
                    payload      bytes_up 0, bytes_down 0\n  trouble      access_lines_dropped 7";
        assert_eq!(summary.to_string(), text);
    }
}
