//! Where workers count: cells that one thread writes and anybody reads.
//!
//! No lock, and no cache line that two threads write to. What is there at a time is not counted but follows:
//! what began, less what has ended, read in that order backwards. So whoever reads gets figures that balance at any
//! moment, and who sees an end sees all that was counted before it.
//! Invariant: a cell has one writer, for which a change is a plain load and store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ppcore::{Command, ErrorKind, Header, Version};

use crate::core::check_result::CheckResult;
use crate::core::close_reason::CloseReason;
use crate::core::connect_result::ConnectResult;
use crate::core::resolution_result::ResolutionResult;
use crate::core::session::Direction;
use crate::core::udp::Counts;
use crate::core::udp::drop_reason::DropReason;

/// Upper bounds of a histogram's buckets; a last bucket has none. From below a round trip inside
/// a data centre to beyond the longest timeout by default, 5 s; a segment that is sent again makes a step at 1 s.
pub const BUCKETS: [Duration; 14] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Of each version and command of a header one, at [`header_place`].
pub type ByHeader<T> = [[T; 3]; 2];

/// Returns where a header is counted.
pub const fn header_place(version: Version, command: Command) -> (usize, usize) {
    (version as usize, command as usize)
}

/// A worker's cells of what it follows, by the indexes of the configuration.
#[derive(Clone, Debug)]
pub struct Cells {
    /// Of each listener.
    pub listeners: Vec<Arc<ListenerCells>>,
    /// Of each upstream.
    pub upstreams: Vec<PoolCells>,
}

/// A worker's cells of an upstream.
#[derive(Clone, Debug)]
pub struct PoolCells {
    /// Of all of it.
    pub upstream: Arc<UpstreamCells>,
    /// Of each of its endpoints.
    pub endpoints: Vec<Arc<EndpointCells>>,
}

/// What came of questions for what a name stands for; whoever asks is the one writer.
#[derive(Debug, Default)]
pub struct NameCells([Counter; ResolutionResult::COUNT]);

impl NameCells {
    /// Counts a round of questions.
    pub fn count(&self, result: ResolutionResult) {
        self.0[result.index()].add(1);
    }

    /// Returns how many came to each result, by its index.
    pub fn counts(&self) -> [u64; ResolutionResult::COUNT] {
        std::array::from_fn(|at| self.0[at].get())
    }
}

/// What came of checks of an endpoint; whoever checks is the one writer.
#[derive(Debug, Default)]
pub struct CheckCells([Counter; CheckResult::COUNT]);

impl CheckCells {
    /// Counts one.
    pub fn count(&self, result: CheckResult) {
        self.0[result.index()].add(1);
    }

    /// Returns how many came to each result, by its index.
    pub fn counts(&self) -> [u64; CheckResult::COUNT] {
        std::array::from_fn(|at| self.0[at].get())
    }
}

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it, behind all that its writer has counted before; only its one writer may.
    pub fn add(&self, count: u64) {
        self.set(self.0.load(Ordering::Relaxed) + count);
    }

    /// Returns its value a moment ago.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

/// Returns the nanoseconds of a span, which is shorter than 584 years.
pub fn nanos(span: Duration) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    span.as_secs() * SECOND + u64::from(span.subsec_nanos())
}

/// So many counters at 0.
fn counters<const N: usize>() -> [Counter; N] {
    std::array::from_fn(|_| Counter::default())
}

/// How long something took.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; BUCKETS.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn observe(&self, span: Duration) {
        let bucket = BUCKETS.iter().position(|bound| span <= *bound);
        self.counts[bucket.unwrap_or(BUCKETS.len())].add(1);
        self.sum_ns.add(nanos(span));
    }

    /// Counts one that began then and ends now.
    pub fn observe_since(&self, began: Instant, now: Instant) {
        // Most begin and end in one turn, and a subtraction is dear.
        self.observe(match began == now {
            true => Duration::ZERO,
            false => now.saturating_duration_since(began),
        });
    }

    /// Returns how many took no longer than each of the bounds and longer than the one before it; the last, longer
    /// than all.
    pub fn counts(&self) -> [u64; BUCKETS.len() + 1] {
        std::array::from_fn(|at| self.counts[at].get())
    }

    /// Returns how long all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.get())
    }
}

/// What a worker counts beside its listeners and endpoints.
///
/// Aligned, as the others are, so that no two workers write to one cache line (two lines on x86-64, which fetches
/// pairs).
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCells {
    /// Connections that are open: what the limit of all workers is held against at each accept.
    active: Counter,
    /// Times accepting paused because the system had run out of something.
    pub accept_pauses: Counter,
    /// Fills that were copied because no pipe was to be had.
    pub pipes_missing: Counter,
    /// Access log lines dropped because the writer could not keep up.
    pub access_lines_dropped: Counter,
    busy_ns: Counter,
    /// When the turn began that it is in, in nanoseconds since `origin`; 0 while it waits.
    turn_ns: Counter,
    origin: Instant,
}

impl WorkerCells {
    /// Counts from 0; `origin` lies before the worker's first turn.
    pub fn new(origin: Instant) -> Self {
        Self {
            active: Counter::default(),
            accept_pauses: Counter::default(),
            pipes_missing: Counter::default(),
            access_lines_dropped: Counter::default(),
            busy_ns: Counter::default(),
            turn_ns: Counter::default(),
            origin,
        }
    }

    /// Notes the beginning of a connection.
    pub fn open(&self) {
        self.active.add(1);
    }

    /// Notes the end of a connection that was opened.
    pub fn close(&self) {
        self.active.set(self.active.get() - 1);
    }

    /// Returns how many connections are open.
    pub fn active(&self) -> u64 {
        self.active.get()
    }

    /// Returns when time began here.
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// It has been woken, so many nanoseconds behind the origin, and works.
    pub fn begin_turn(&self, at_ns: u64) {
        self.turn_ns.set(at_ns.max(1));
    }

    /// It has done what there was, so many nanoseconds behind the origin, and waits.
    pub fn end_turn(&self, at_ns: u64) {
        let began_ns = self.turn_ns.get();
        if began_ns > 0 {
            self.busy_ns.add(at_ns.saturating_sub(began_ns));
            self.turn_ns.set(0);
        }
    }

    /// Returns for how long it has worked in all, up to its last wait.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.get())
    }

    /// Returns when the turn began that it is in; `None` while it waits.
    pub fn in_turn_since(&self) -> Option<Instant> {
        let since = self.turn_ns.get();
        (since > 0).then(|| self.origin + Duration::from_nanos(since))
    }

    /// It has ended, and its connections with it.
    pub(super) fn abandon(&self) {
        self.active.set(0);
        self.turn_ns.set(0);
    }
}

/// Returns how many connections are open over all workers.
pub fn active(workers: &[WorkerCells]) -> u64 {
    workers.iter().map(WorkerCells::active).sum()
}

/// What a worker counts of a listener.
#[derive(Debug)]
#[repr(align(128))]
pub struct ListenerCells {
    pub(super) accepted: Counter,
    pub(super) closed: [Counter; CloseReason::COUNT],
    pub(super) headers: ByHeader<Counter>,
    /// By kind, in the order of [`ErrorKind::ALL`].
    pub(super) refusals: [Counter; ErrorKind::ALL.len()],
    pub(super) header_duration: Histogram,
    /// Payload bytes from clients to upstreams.
    pub bytes_up: Counter,
    /// Payload bytes from upstreams to clients.
    pub bytes_down: Counter,
    /// What came of datagrams.
    pub datagrams: DatagramCells,
}

/// What a worker counts of a listener's datagrams, by direction: up is from clients.
#[derive(Debug)]
pub struct DatagramCells {
    pub(super) received: [Counter; 2],
    pub(super) dropped: [[Counter; DropReason::COUNT]; 2],
    pub(super) flows_begun: Counter,
    pub(super) flows_ended: Counter,
}

impl Default for DatagramCells {
    fn default() -> Self {
        let dropped = [counters(), counters()];
        let (flows_begun, flows_ended) = (Counter::default(), Counter::default());
        Self { received: counters(), dropped, flows_begun, flows_ended }
    }
}

impl DatagramCells {
    /// Notes the beginning of a flow.
    pub fn begin_flow(&self) {
        self.flows_begun.add(1);
    }

    /// Notes the end of a flow that was begun.
    pub fn end_flow(&self) {
        self.flows_ended.add(1);
    }

    /// Adds what has been counted in a direction since it was `told`.
    pub fn add(&self, direction: Direction, told: &Counts, counts: &Counts) {
        let at = direction as usize;
        if counts.received != told.received {
            self.received[at].add(counts.received - told.received);
        }
        for ((cell, now), before) in self.dropped[at].iter().zip(counts.dropped).zip(told.dropped) {
            if now != before {
                cell.add(now - before);
            }
        }
    }

    /// Its worker has ended, and its flows with it.
    fn abandon(&self) {
        self.flows_ended.set(self.flows_begun.get());
    }
}

impl Default for ListenerCells {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            closed: counters(),
            headers: [counters(), counters()],
            refusals: counters(),
            header_duration: Histogram::default(),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            datagrams: DatagramCells::default(),
        }
    }
}

impl ListenerCells {
    /// Notes the beginning of a connection.
    pub fn open(&self) {
        self.accepted.add(1);
    }

    /// Notes the end of a connection that was opened, behind all else that is counted of it.
    pub fn close(&self, reason: CloseReason) {
        self.closed[reason.index()].add(1);
    }

    /// Notes a header.
    pub fn count_header(&self, header: &Header) {
        let (version, command) = header_place(header.version(), header.command());
        self.headers[version][command].add(1);
    }

    /// Notes a header that is complete now, on a connection that was accepted then.
    pub fn take_header(&self, header: &Header, accepted: Instant, now: Instant) {
        self.count_header(header);
        self.header_duration.observe_since(accepted, now);
    }

    /// Notes a header that broke a rule.
    #[cold]
    pub fn refuse_header(&self, kind: ErrorKind) {
        let at = ErrorKind::ALL.iter().position(|other| *other == kind);
        self.refusals[at.expect("all kinds are in it")].add(1);
    }

    /// Its worker has ended: what is open is closed for this reason.
    pub(super) fn abandon(&self, reason: CloseReason) {
        let closed: u64 = self.closed.iter().map(Counter::get).sum();
        self.closed[reason.index()].add(self.accepted.get() - closed);
        self.datagrams.abandon();
    }
}

/// What a worker counts of an upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamCells {
    /// Of connects that stood, from connect(2) on.
    pub connect_duration: Histogram,
}

/// What a worker counts of an endpoint.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointCells {
    pub(super) connects: [Counter; ConnectResult::COUNT],
    /// Those that stood and are no more.
    pub(super) ended: Counter,
}

impl EndpointCells {
    /// Notes what came of an attempt to connect.
    pub fn connect(&self, result: ConnectResult) {
        self.connects[result.index()].add(1);
    }

    /// Notes the end of a connection that stood.
    pub fn end(&self) {
        self.ended.add(1);
    }

    /// Returns how many attempts to connect failed.
    pub(super) fn failures(&self) -> u64 {
        ConnectResult::failures(&self.connects.each_ref().map(Counter::get))
    }

    /// Its worker has ended, and what stood with it.
    pub(super) fn abandon(&self) {
        let stood = self.connects[ConnectResult::Ok.index()].get();
        self.ended.add(stood - self.ended.get());
    }
}
