//! What a ledger says at a moment: plain values, summed over the workers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use ppcore::ErrorKind;
use serde::{Serialize, Serializer};

use crate::core::addr::Addr;
use crate::core::check_result::CheckResult;
use crate::core::close_reason::CloseReason;
use crate::core::connect_result::ConnectResult;
use crate::core::pool::health::Standing;
use crate::core::resolution_result::ResolutionResult;
use crate::core::udp::drop_reason::DropReason;
use crate::core::words::words;
use crate::telemetry::cells::{
    BUCKETS, ByHeader, Counter, EndpointCells, Histogram, ListenerCells, NameCells, UpstreamCells,
    WorkerCells,
};

/// What the whole process has counted since its start, listeners that are gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Connections that are open: `accepted` less the sum of `closed`.
    pub active: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that have ended, by the index of the reason; written by its name, and every one, also at 0.
    #[serde(serialize_with = "write_by_reason")]
    pub closed: [u64; CloseReason::COUNT],
    /// Payload bytes from clients to upstreams.
    pub bytes_up: u64,
    /// Payload bytes from upstreams to clients.
    pub bytes_down: u64,
    /// Attempts to connect that failed, whether or not another endpoint was found.
    pub connect_failures: u64,
    /// Times accepting paused because the system had run out of something.
    pub accept_pauses: u64,
    /// Fills that were copied because no pipe was to be had.
    pub pipes_missing: u64,
    /// Access log lines dropped by workers, or refused by the output.
    pub access_lines_dropped: u64,
}

/// What a listener has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Its name.
    pub name: String,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open: `accepted` less the sum of `closed`.
    pub active: u64,
    /// Connections that have ended, by the index of the reason.
    pub closed: [u64; CloseReason::COUNT],
    /// Headers that were complete.
    pub headers: ByHeader<u64>,
    /// Headers that broke a rule, in the order of [`ErrorKind::ALL`].
    pub refusals: [u64; ErrorKind::ALL.len()],
    /// From accept until the header was complete.
    pub header_duration: Spans,
    /// Payload bytes from clients to upstreams.
    pub bytes_up: u64,
    /// Payload bytes from upstreams to clients.
    pub bytes_down: u64,
    /// Datagrams that came from clients, and from upstreams.
    pub datagrams: [u64; 2],
    /// Those of them that went nowhere, by the index of the reason; the others were sent on.
    pub datagrams_dropped: [u64; DropReason::COUNT],
    /// Flows of datagrams that have begun.
    pub flows_begun: u64,
    /// Flows of datagrams that there are.
    pub flows_active: u64,
}

/// What an upstream has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTotals {
    /// Its name.
    pub name: String,
    /// From connect(2) until the connection stood.
    pub connect_duration: Spans,
    /// Its endpoints, by address.
    pub endpoints: Vec<EndpointTotals>,
}

/// What an endpoint has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Its address.
    pub addr: Addr,
    /// Whether it gets new clients.
    pub standing: Standing,
    /// Connections that stand there.
    pub active: u64,
    /// Attempts to connect, by the index of their result.
    pub connects: [u64; ConnectResult::COUNT],
    /// Checks, by the index of their result; `None` if it is not checked.
    pub checks: Option<[u64; CheckResult::COUNT]>,
}

/// What came of questions for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTotals {
    /// The name, or the path of a file.
    pub name: String,
    /// Rounds of questions, by the index of their result.
    pub results: [u64; ResolutionResult::COUNT],
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerTotals {
    /// Connections that are open.
    pub active: u64,
    /// For how long it has worked, up to its last wait.
    pub busy: Duration,
    /// When the turn began that it is in; `None` while it waits.
    pub in_turn_since: Option<Instant>,
}

/// Reloads since the start, and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Those that came to each of the results, by its index.
    pub counts: [u64; ReloadResult::COUNT],
    /// When what is followed was followed first.
    pub last: SystemTime,
}

words! {
    /// What came of a reload.
    ReloadResult {
        /// Every worker follows.
        Ok, "ok";
        /// Nothing was changed.
        Refused, "refused";
        /// Not every worker follows.
        Failed, "failed";
    }
}

/// How long things took: counts by bucket, see [`BUCKETS`], and the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Those that took no longer than each bound and longer than the one before; the last, longer than all.
    pub counts: [u64; BUCKETS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Spans {
    fn add(&mut self, cells: &Histogram) {
        add(&mut self.counts, &cells.counts());
        self.sum += cells.sum();
    }
}

impl ListenerTotals {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            accepted: 0,
            active: 0,
            closed: [0; CloseReason::COUNT],
            headers: ByHeader::default(),
            refusals: [0; ErrorKind::ALL.len()],
            header_duration: Spans::default(),
            bytes_up: 0,
            bytes_down: 0,
            datagrams: [0; 2],
            datagrams_dropped: [0; DropReason::COUNT],
            flows_begun: 0,
            flows_active: 0,
        }
    }

    /// Adds what a worker has counted.
    pub(super) fn add(&mut self, cells: &ListenerCells) {
        // First what ended: it had begun before.
        let closed = read(&cells.closed);
        let ended: u64 = closed.iter().sum();
        let accepted = cells.accepted.get();
        self.accepted += accepted;
        self.active += accepted - ended;
        add(&mut self.closed, &closed);
        for (sums, cells) in self.headers.iter_mut().zip(&cells.headers) {
            add(sums, &read(cells));
        }
        add(&mut self.refusals, &read(&cells.refusals));
        self.header_duration.add(&cells.header_duration);
        self.bytes_up += cells.bytes_up.get();
        self.bytes_down += cells.bytes_down.get();
        let datagrams = &cells.datagrams;
        // First what became of them: they had come before.
        datagrams
            .dropped
            .iter()
            .for_each(|dropped| add(&mut self.datagrams_dropped, &read(dropped)));
        add(&mut self.datagrams, &read(&datagrams.received));
        let ended = datagrams.flows_ended.get();
        let begun = datagrams.flows_begun.get();
        self.flows_begun += begun;
        self.flows_active += begun - ended;
    }
}

impl ListenerTotals {
    /// Names the reasons why datagrams were dropped, where any was, and how many.
    pub fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let all = DropReason::ALL.iter().map(|it| (it.name(), self.datagrams_dropped[it.index()]));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

impl UpstreamTotals {
    pub(super) fn new(name: String) -> Self {
        Self { name, connect_duration: Spans::default(), endpoints: Vec::new() }
    }

    /// Adds what a worker has counted, but for the endpoints.
    pub(super) fn add(&mut self, cells: &UpstreamCells) {
        self.connect_duration.add(&cells.connect_duration);
    }
}

impl EndpointTotals {
    pub(super) fn new(addr: Addr, standing: Standing) -> Self {
        Self { addr, standing, active: 0, connects: [0; ConnectResult::COUNT], checks: None }
    }

    /// Returns whether new connections go there.
    pub fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }

    /// Returns how many attempts to connect failed.
    pub fn failures(&self) -> u64 {
        ConnectResult::failures(&self.connects)
    }

    /// Adds what a worker has counted.
    pub(super) fn add(&mut self, cells: &EndpointCells) {
        // First what ended: it had stood before.
        let ended = cells.ended.get();
        let connects = read(&cells.connects);
        self.active += connects[ConnectResult::Ok.index()] - ended;
        add(&mut self.connects, &connects);
    }
}

impl NameTotals {
    pub(super) fn new(name: String) -> Self {
        Self { name, results: [0; ResolutionResult::COUNT] }
    }

    /// Adds what was counted.
    pub(super) fn add(&mut self, cells: &NameCells) {
        add(&mut self.results, &cells.counts());
    }
}

impl WorkerTotals {
    pub(super) fn of(cells: &WorkerCells) -> Self {
        Self { active: cells.active(), busy: cells.busy(), in_turn_since: cells.in_turn_since() }
    }
}

/// Returns counts of connections that have ended by the names of the reasons.
pub fn by_reason(closed: &[u64; CloseReason::COUNT]) -> BTreeMap<&'static str, u64> {
    CloseReason::ALL.iter().map(|reason| (reason.name(), closed[reason.index()])).collect()
}

fn write_by_reason<S: Serializer>(
    closed: &[u64; CloseReason::COUNT],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    by_reason(closed).serialize(serializer)
}

fn read<const N: usize>(cells: &[Counter; N]) -> [u64; N] {
    std::array::from_fn(|at| cells[at].get())
}

fn add<const N: usize>(sums: &mut [u64; N], counts: &[u64; N]) {
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}
