//! Whether the counts of the three sides of a run add up: driver, proxy, backend.
//!
//! A run that does not add up measures something else than it says: half of the connections went to
//! a forgotten process, or errors were fast. Invariant: without a fault every connection of the
//! driver went through this proxy to this backend and was answered.

/// What the driver did, warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Driven {
    /// Connections that came to a good end.
    pub(super) connections: u64,
    /// Requests that were answered.
    pub(super) exchanges: u64,
    pub(super) failures: u64,
    /// Connections that others may have seen beyond these: wrk probes once, and drops those under
    /// way when its time is over. 0 for our own generator.
    pub(super) slack: u64,
}

impl std::ops::Add for Driven {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            exchanges: self.exchanges + other.exchanges,
            failures: self.failures + other.failures,
            slack: self.slack + other.slack,
        }
    }
}

/// What the proxy or the backend counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) accepted: u64,
    /// Connections that it knows to have gone wrong.
    pub(super) failures: u64,
    /// Requests, where it knows of them.
    pub(super) requests: Option<u64>,
}

/// Everything that does not add up; empty for a run that counts.
pub(super) fn faults(driven: &Driven, proxy: &Seen, backend: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    if driven.failures > 0 {
        faults.push(format!("the driver saw {} failures", driven.failures));
    }
    if driven.exchanges == 0 {
        faults.push("nothing was answered".to_owned());
    }
    for (name, side) in [("proxy", proxy), ("backend", backend)] {
        within(&mut faults, name, "connections", side.accepted, driven.connections, driven.slack);
        if side.failures > driven.slack {
            faults.push(format!("the {name} saw {} failures", side.failures));
        }
        if let Some(requests) = side.requests {
            within(&mut faults, name, "requests", requests, driven.exchanges, driven.slack);
        }
    }
    faults
}

fn within(faults: &mut Vec<String>, name: &str, what: &str, seen: u64, driven: u64, slack: u64) {
    if !(driven..=driven + slack).contains(&seen) {
        faults.push(format!("the {name} saw {seen} {what}, the driver {driven} (+{slack})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVEN: Driven = Driven { connections: 100, exchanges: 300, failures: 0, slack: 0 };
    const SEEN: Seen = Seen { accepted: 100, failures: 0, requests: Some(300) };

    #[test]
    fn counts_that_agree_are_no_fault() {
        assert_eq!(faults(&DRIVEN, &Seen { requests: None, ..SEEN }, &SEEN), [""; 0]);
        let driven = Driven { slack: 65, ..DRIVEN };
        let more = Seen { accepted: 165, failures: 65, requests: Some(364) };
        assert_eq!(faults(&driven, &more, &more), [""; 0]);
    }

    #[test]
    fn each_side_that_disagrees_is_a_fault() {
        for (driven, proxy, backend, part) in [
            (Driven { failures: 1, ..DRIVEN }, SEEN, SEEN, "the driver saw 1"),
            (DRIVEN, Seen { accepted: 50, ..SEEN }, SEEN, "the proxy saw 50 connections"),
            (DRIVEN, Seen { accepted: 101, ..SEEN }, SEEN, "the proxy saw 101 connections"),
            (DRIVEN, SEEN, Seen { requests: Some(299), ..SEEN }, "the backend saw 299 requests"),
            (DRIVEN, SEEN, Seen { failures: 2, ..SEEN }, "the backend saw 2 failures"),
        ] {
            let found = faults(&driven, &proxy, &backend);
            assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
        }
        let nothing = Driven { connections: 0, exchanges: 0, failures: 0, slack: 0 };
        assert_eq!(faults(&nothing, &Seen::default(), &Seen::default()), ["nothing was answered"]);
    }
}
