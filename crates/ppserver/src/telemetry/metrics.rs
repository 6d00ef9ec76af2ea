//! What happened, in numbers: one set of counters a worker, summed when somebody asks.
//!
//! Each cell has one writer, so a change is a plain load and store; readers see a value that was true
//! a moment ago. Invariant: `accepted == active + the sum of closed`, once a worker is at rest; who sees
//! a connection gone from `active` sees what it counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

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

/// Sums all workers into the object of the counters line; every reason is there, also at 0. Lines of the
/// access log that its output refused are no worker's.
pub fn summary(workers: &[Counters], access_lines_refused: u64) -> Value {
    // First: what is gone from it has been counted below.
    let active = active(workers);
    let sum = |counter: fn(&Counters) -> &Counter| -> u64 {
        workers.iter().map(|worker| counter(worker).get()).sum()
    };
    let closed: Map<String, Value> = CloseReason::ALL
        .iter()
        .map(|reason| {
            let count: u64 = workers.iter().map(|w| w.closed[reason.index()].get()).sum();
            (reason.name().to_owned(), count.into())
        })
        .collect();
    json!({
        "active": active,
        "accepted": sum(|counters| &counters.accepted),
        "closed": closed,
        "bytes_up": sum(|counters| &counters.bytes_up),
        "bytes_down": sum(|counters| &counters.bytes_down),
        "connect_failures": sum(|counters| &counters.connect_failures),
        "accept_pauses": sum(|counters| &counters.accept_pauses),
        "pipes_missing": sum(|counters| &counters.pipes_missing),
        "access_lines_dropped":
            sum(|counters| &counters.access_lines_dropped) + access_lines_refused,
    })
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
        let summary = summary(&workers, 4);
        assert_eq!(summary["access_lines_dropped"], 7);
        assert_eq!(summary["active"], 2);
        assert_eq!(summary["closed"]["done"], 2);
        assert_eq!(summary["closed"]["probe"], 1);
        assert_eq!(summary["closed"]["overload"], 0);
    }
}
