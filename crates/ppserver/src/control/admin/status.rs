//! What a server says of itself: its state, its listeners and pools with their counters, and who stands still.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::answers::seconds;
use crate::config::Upstream;
use crate::control::board::{Readiness, Shown};
use crate::control::pools;
use crate::core::addr::Addr;
use crate::telemetry::build;
use crate::telemetry::cells::BUCKETS;
use crate::telemetry::ledger::{
    EndpointTotals, Ledger, ListenerTotals, Spans, UpstreamTotals, by_reason,
};
use crate::telemetry::log;
use crate::telemetry::summary::Summary;
use crate::telemetry::timestamp::Timestamp;

/// How long a worker may be in one turn: a turn takes milliseconds, whatever there is to do.
pub(super) const TURN_MAX: Duration = Duration::from_secs(5);

/// What runs, in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    commit: &'static str,
    pid: u32,
    /// 1 at the first start, one more with each upgrade.
    generation: u32,
    started: Timestamp,
    uptime_seconds: f64,
    workers: usize,
    state: &'static str,
    /// What a reload reads; `null` where the configuration came from flags.
    config: Option<String>,
    connections_max: usize,
    /// Of datagrams, over all listeners.
    flows: u64,
    #[serde(flatten)]
    counters: Summary,
    listeners: Vec<Listener>,
    pools: Vec<PoolSummary>,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: String,
    bind: Vec<Addr>,
    upstream: String,
    accepted: u64,
    active: u64,
    /// By reason, those that there were.
    closed: BTreeMap<&'static str, u64>,
    bytes_up: u64,
    bytes_down: u64,
    /// Of datagrams.
    flows: u64,
    flows_begun: u64,
    datagrams_up: u64,
    datagrams_down: u64,
    /// By reason, those that there were.
    dropped: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct PoolSummary {
    name: String,
    endpoints: usize,
    endpoints_up: usize,
    active: u64,
    connects: u64,
    failures: u64,
}

/// The pools, with all there is to know of them.
#[derive(Debug, Serialize)]
pub(super) struct Pools {
    pools: Vec<Pool>,
}

#[derive(Debug, Serialize)]
struct Pool {
    name: String,
    /// How long connects took, from the shortest; the last bucket holds what was longer than all.
    connect_buckets: Vec<Bucket>,
    endpoints: Vec<EndpointState>,
}

/// Connects that took no longer than this, and longer than the bucket before.
#[derive(Debug, Serialize)]
struct Bucket {
    seconds_max: Option<f64>,
    count: u64,
}

/// An endpoint.
#[derive(Debug, Serialize)]
struct EndpointState {
    address: Addr,
    /// The name or file that it came from.
    name: Option<String>,
    weight: u32,
    /// Whether it is chosen only while no other is up.
    backup: bool,
    state: &'static str,
    /// Whether an operator has set its state or its weight.
    is_set: bool,
    /// Why it is in that state, if it is not up.
    why: Option<String>,
    since: Timestamp,
    active: u64,
    connects: u64,
    failures: u64,
    /// Of the last check that passed.
    check_latency_seconds: Option<f64>,
}

impl Status {
    pub(super) fn of(shown: &Shown, ledger: &Ledger) -> Self {
        let config = &shown.plan.config;
        let listener = |totals: ListenerTotals| {
            let index = config.listeners.iter().position(|listener| listener.name == totals.name);
            let upstream = index.map(|index| &config.upstreams[config.listeners[index].upstream]);
            Listener::of(totals, shown, upstream)
        };
        let started = ledger.started();
        let totals = ledger.listeners();
        Self {
            version: build::VERSION,
            commit: build::COMMIT,
            pid: std::process::id(),
            generation: shown.generation,
            started: Timestamp::at(started),
            uptime_seconds: seconds(started.elapsed().unwrap_or_default()),
            workers: ledger.workers().len(),
            state: match shown.readiness {
                Readiness::Serving => "serving",
                Readiness::Draining => "draining",
            },
            config: shown.file.as_deref().map(|file| file.display().to_string()),
            connections_max: shown.connections_max,
            flows: totals.iter().map(|it| it.flows_active).sum(),
            counters: Summary::of(ledger.totals(), log::lines_dropped()),
            listeners: totals.into_iter().map(listener).collect(),
            pools: ledger.upstreams().iter().map(PoolSummary::of).collect(),
        }
    }
}

impl Listener {
    fn of(totals: ListenerTotals, shown: &Shown, upstream: Option<&Upstream>) -> Self {
        let ports = shown.ports.iter().filter(|(listener, _)| *listener == totals.name);
        let closed = by_reason(&totals.closed).into_iter();
        let [datagrams_up, datagrams_down] = totals.datagrams;
        Self {
            bind: ports.map(|(_, addr)| *addr).collect(),
            upstream: upstream.map_or(String::new(), |upstream| upstream.name.clone()),
            accepted: totals.accepted,
            active: totals.active,
            closed: closed.filter(|(_, count)| *count > 0).collect(),
            bytes_up: totals.bytes_up,
            bytes_down: totals.bytes_down,
            flows: totals.flows_active,
            flows_begun: totals.flows_begun,
            datagrams_up,
            datagrams_down,
            dropped: totals.dropped(),
            name: totals.name,
        }
    }
}

impl PoolSummary {
    fn of(totals: &UpstreamTotals) -> Self {
        let sum = |count: fn(&EndpointTotals) -> u64| totals.endpoints.iter().map(count).sum();
        Self {
            name: totals.name.clone(),
            endpoints: totals.endpoints.len(),
            endpoints_up: totals.endpoints.iter().filter(|endpoint| endpoint.is_up()).count(),
            active: sum(|endpoint| endpoint.active),
            connects: sum(|endpoint| endpoint.connects.iter().sum()),
            failures: sum(EndpointTotals::failures),
        }
    }
}

impl Pools {
    pub(super) fn of(ledger: &Ledger, pools: &pools::Pools) -> Self {
        let pool = |totals: UpstreamTotals| {
            let endpoint = |it: &EndpointTotals| {
                let known = pools.look(&(totals.name.clone(), it.addr))?;
                Some(EndpointState {
                    address: it.addr,
                    name: known.from.as_deref().map(str::to_owned),
                    weight: known.weight,
                    backup: known.is_backup,
                    state: known.standing.name(),
                    is_set: known.is_set,
                    why: known.why,
                    since: Timestamp::at(known.since),
                    active: it.active,
                    connects: it.connects.iter().sum(),
                    failures: it.failures(),
                    check_latency_seconds: known.check_latency.map(seconds),
                })
            };
            // What a reload is about to take away is known no more.
            let endpoints = totals.endpoints.iter().filter_map(endpoint).collect();
            Pool {
                connect_buckets: buckets(&totals.connect_duration),
                endpoints,
                name: totals.name,
            }
        };
        Self { pools: ledger.upstreams().into_iter().map(pool).collect() }
    }
}

fn buckets(spans: &Spans) -> Vec<Bucket> {
    let bounds = BUCKETS.iter().map(|bound| Some(bound.as_secs_f64())).chain([None]);
    let bucket = |(seconds_max, count): (Option<f64>, &u64)| Bucket { seconds_max, count: *count };
    bounds.zip(&spans.counts).map(bucket).collect()
}

/// Says which upstreams have endpoints of which none is up, a line each.
pub(super) fn down(ledger: &Ledger) -> String {
    let is_down = |totals: &UpstreamTotals| {
        !totals.endpoints.is_empty() && !totals.endpoints.iter().any(EndpointTotals::is_up)
    };
    let down = ledger.upstreams().into_iter().filter(is_down);
    down.map(|totals| format!("upstream {} has no endpoint that is up\n", totals.name)).collect()
}

/// Says which workers have not turned for too long, a line each.
pub(super) fn standing_still(ledger: &Ledger, now: Instant) -> String {
    let still = ledger.activity().into_iter().enumerate().filter_map(|(worker, totals)| {
        let span = now.saturating_duration_since(totals.in_turn_since?);
        let line = || format!("worker {worker} has not turned for {} s\n", span.as_secs());
        (span > TURN_MAX).then(line)
    });
    still.collect()
}
