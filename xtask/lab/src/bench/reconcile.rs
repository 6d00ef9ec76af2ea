//! Whether the counts of the three sides of a run add up: driver, proxy, backend.
//!
//! A run that does not add up measures something else than it says: half of the connections went to
//! a forgotten process, or errors were fast. Invariant: without a fault every connection of the
//! driver went through this proxy to this backend and was answered, and no byte was lost or added.

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
    /// What it moved. None by wrk, whose backend counts none either.
    pub(super) bytes: Bytes,
}

/// Requests and answers in bytes, without PROXY headers: the proxy sends its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) up: u64,
    pub(super) down: u64,
}

impl std::ops::Add for Driven {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            exchanges: self.exchanges + other.exchanges,
            failures: self.failures + other.failures,
            slack: self.slack + other.slack,
            bytes: Bytes {
                up: self.bytes.up + other.bytes.up,
                down: self.bytes.down + other.bytes.down,
            },
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

/// What the backend counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) seen: Seen,
    /// Where it counts them: our own sink.
    pub(super) bytes: Option<Bytes>,
}

/// Everything that does not add up; empty for a run that counts.
pub(super) fn faults(driven: &Driven, proxy: &Seen, backend: &Served) -> Vec<String> {
    let mut faults = Vec::new();
    if driven.failures > 0 {
        faults.push(format!("the driver saw {} failures", driven.failures));
    }
    if driven.exchanges == 0 {
        faults.push("nothing was answered".to_owned());
    }
    for (name, side) in [("proxy", proxy), ("backend", &backend.seen)] {
        within(&mut faults, name, "connections", side.accepted, driven.connections, driven.slack);
        if side.failures > driven.slack {
            faults.push(format!("the {name} saw {} failures", side.failures));
        }
        if let Some(requests) = side.requests {
            within(&mut faults, name, "requests", requests, driven.exchanges, driven.slack);
        }
    }
    if let Some(bytes) = backend.bytes {
        within(&mut faults, "backend", "bytes up", bytes.up, driven.bytes.up, 0);
        within(&mut faults, "backend", "bytes down", bytes.down, driven.bytes.down, 0);
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

    const BYTES: Bytes = Bytes { up: 9000, down: 60_000 };
    const DRIVEN: Driven =
        Driven { connections: 100, exchanges: 300, failures: 0, slack: 0, bytes: BYTES };
    const SEEN: Seen = Seen { accepted: 100, failures: 0, requests: Some(300) };
    const SERVED: Served = Served { seen: SEEN, bytes: Some(BYTES) };

    #[test]
    fn counts_that_agree_are_no_fault() {
        assert_eq!(faults(&DRIVEN, &Seen { requests: None, ..SEEN }, &SERVED), [""; 0]);
        let driven = Driven { slack: 65, bytes: Bytes::default(), ..DRIVEN };
        let more = Seen { accepted: 165, failures: 65, requests: Some(364) };
        assert_eq!(faults(&driven, &more, &Served { seen: more, bytes: None }), [""; 0]);
    }

    #[test]
    fn each_side_that_disagrees_is_a_fault() {
        let seen = |seen| Served { seen, ..SERVED };
        let moved = |up, down| Served { bytes: Some(Bytes { up, down }), ..SERVED };
        for (driven, proxy, backend, part) in [
            (Driven { failures: 1, ..DRIVEN }, SEEN, SERVED, "the driver saw 1"),
            (DRIVEN, Seen { accepted: 50, ..SEEN }, SERVED, "the proxy saw 50 connections"),
            (DRIVEN, Seen { accepted: 101, ..SEEN }, SERVED, "the proxy saw 101 connections"),
            (DRIVEN, SEEN, seen(Seen { requests: Some(299), ..SEEN }), "saw 299 requests"),
            (DRIVEN, SEEN, seen(Seen { failures: 2, ..SEEN }), "the backend saw 2 failures"),
            (DRIVEN, SEEN, moved(9001, 60_000), "the backend saw 9001 bytes up"),
            (DRIVEN, SEEN, moved(9000, 59_999), "the backend saw 59999 bytes down"),
        ] {
            let found = faults(&driven, &proxy, &backend);
            assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
        }
        let nobody = Served { seen: Seen::default(), bytes: None };
        let found = faults(&Driven::default(), &Seen::default(), &nobody);
        assert_eq!(found, ["nothing was answered"]);
    }

    #[test]
    fn what_two_loads_drove_is_their_sum() {
        let bytes = Bytes { up: 18_000, down: 120_000 };
        let twice = Driven { connections: 200, exchanges: 600, bytes, ..DRIVEN };
        assert_eq!(DRIVEN + DRIVEN, twice);
        assert_eq!(DRIVEN + Driven::default(), DRIVEN);
    }
}
