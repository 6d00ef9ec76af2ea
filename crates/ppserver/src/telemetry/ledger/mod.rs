//! All cells by name: who counts where, through reloads, and what that comes to.
//!
//! ```text
//! follow(configuration) -> cells(worker) -> the worker counts -> totals, listeners, upstreams
//! ```
//!
//! What has the same name in the next configuration goes on with the same cells (an endpoint: the same address of
//! the same upstream). What is gone is set aside while a connection still counts there, and then added to what is
//! kept for good: the totals of the process never fall.
//! Invariant: at any moment, and of each listener too, `accepted = active + the sum of closed`.

mod shelf;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use shelf::Shelf;
pub use snapshot::{
    EndpointTotals, ListenerTotals, NameTotals, ReloadResult, Reloads, Spans, Totals,
    UpstreamTotals, WorkerTotals, by_reason,
};

use super::cells::{
    self, Cells, CheckCells, EndpointCells, ListenerCells, NameCells, PoolCells, UpstreamCells,
    WorkerCells,
};
use crate::config::Config;
use crate::core::addr::Addr;
use crate::core::close_reason::CloseReason;
use crate::core::pool::Pool;
use crate::core::pool::endpoint::{Endpoint, Shared};
use crate::core::pool::health::Standing;

/// The cells of a process. Workers have theirs and never come here: the lock is the control plane's.
#[derive(Debug)]
pub struct Ledger {
    workers: Arc<[WorkerCells]>,
    book: Mutex<Book>,
    access_lines_refused: Arc<AtomicU64>,
    started: SystemTime,
}

/// An endpoint's name: its upstream's, and its address.
type EndpointName = (String, Addr);

/// What is followed, what is going, and what is gone.
#[derive(Debug)]
struct Book {
    listeners: Shelf<String, ListenerCells>,
    upstreams: Shelf<String, UpstreamCells>,
    endpoints: Shelf<EndpointName, EndpointCells>,
    /// How those that are followed stand.
    shared: BTreeMap<EndpointName, Weak<Shared>>,
    /// Of those that are checked.
    checks: BTreeMap<EndpointName, Arc<CheckCells>>,
    /// Of names that are followed; one may stand for addresses and for services.
    names: BTreeMap<String, Vec<Arc<NameCells>>>,
    /// What listeners that are gone have counted.
    gone: ListenerTotals,
    /// What endpoints that are gone have.
    gone_connect_failures: u64,
    reloads: Reloads,
}

impl Ledger {
    /// Opens one for so many workers.
    #[expect(clippy::disallowed_methods, reason = "where the process begins to count")]
    pub fn new(workers: usize) -> Self {
        let (origin, started) = (Instant::now(), SystemTime::now());
        let book = Book {
            listeners: Shelf::new(),
            upstreams: Shelf::new(),
            endpoints: Shelf::new(),
            shared: BTreeMap::new(),
            checks: BTreeMap::new(),
            names: BTreeMap::new(),
            gone: ListenerTotals::new(String::new()),
            gone_connect_failures: 0,
            reloads: Reloads { counts: [0; ReloadResult::COUNT], last: started },
        };
        Self {
            workers: (0..workers).map(|_| WorkerCells::new(origin)).collect(),
            book: Mutex::new(book),
            access_lines_refused: Arc::default(),
            started,
        }
    }

    /// Returns what the workers count in beside [`cells`](Self::cells); each writes to those at its index.
    pub fn workers(&self) -> &Arc<[WorkerCells]> {
        &self.workers
    }

    /// Returns where lines are counted that the output of the access log refused.
    pub fn access_lines_refused(&self) -> &Arc<AtomicU64> {
        &self.access_lines_refused
    }

    /// Has cells for all that stands in a configuration, with what each of its upstreams is to be.
    pub fn follow(&self, config: &Config, pools: &[Pool]) {
        let workers = self.workers.len();
        let mut book = self.book();
        book.listeners.follow(config.listeners.iter().map(|item| item.name.clone()), workers);
        book.upstreams.follow(config.upstreams.iter().map(|item| item.name.clone()), workers);
        let shared = config.upstreams.iter().zip(pools).flat_map(|(upstream, pool)| {
            let name = |endpoint: &Endpoint| (upstream.name.clone(), endpoint.member.addr);
            pool.endpoints.iter().map(move |it| (name(it), Arc::downgrade(&it.shared)))
        });
        book.shared = shared.collect();
        let Book { endpoints, shared, .. } = &mut *book;
        endpoints.follow(shared.keys().cloned(), workers);
    }

    /// Has these cells of names, and no others.
    pub fn follow_names(&self, names: impl IntoIterator<Item = (String, Arc<NameCells>)>) {
        let mut all = BTreeMap::<String, Vec<Arc<NameCells>>>::new();
        for (name, cells) in names {
            let of_name = all.entry(name).or_default();
            if !of_name.iter().any(|other| Arc::ptr_eq(other, &cells)) {
                of_name.push(cells);
            }
        }
        self.book().names = all;
    }

    /// Has these cells of checks, and no others; all of endpoints that are followed.
    pub fn follow_checks(&self, checks: Vec<(EndpointName, Arc<CheckCells>)>) {
        self.book().checks = checks.into_iter().collect();
    }

    /// Returns a worker's cells for a configuration that is followed.
    pub fn cells(&self, worker: usize, config: &Config, pools: &[Pool]) -> Cells {
        let book = self.book();
        let pool = |(upstream, pool): (&crate::config::Upstream, &Pool)| {
            let name = &upstream.name;
            let endpoint = |endpoint: &Endpoint| {
                book.endpoints.of(&(name.clone(), endpoint.member.addr), worker)
            };
            let endpoints = pool.endpoints.iter().map(endpoint).collect();
            PoolCells { upstream: book.upstreams.of(name, worker), endpoints }
        };
        Cells {
            listeners: config
                .listeners
                .iter()
                .map(|item| book.listeners.of(&item.name, worker))
                .collect(),
            upstreams: config.upstreams.iter().zip(pools).map(pool).collect(),
        }
    }

    /// Notes that a worker is no more, and that its connections were closed for this reason: whoever calls is the
    /// one writer of its cells now.
    pub fn abandon(&self, worker: usize, reason: CloseReason) {
        let book = self.book();
        book.listeners.all_of(worker).for_each(|cells| cells.abandon(reason));
        book.endpoints.all_of(worker).for_each(|cells| cells.abandon());
        self.workers[worker].abandon();
    }

    /// Notes what came of a reload, at this time.
    pub fn reloaded(&self, result: ReloadResult, at: SystemTime) {
        let reloads = &mut self.book().reloads;
        reloads.counts[result.index()] += 1;
        if result == ReloadResult::Ok {
            reloads.last = at;
        }
    }

    /// Returns when the process began to count.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Returns how many connections are open.
    pub fn active(&self) -> u64 {
        cells::active(&self.workers)
    }

    /// Returns what the whole process has counted.
    pub fn totals(&self) -> Totals {
        let mut book = self.book();
        book.sweep();
        let mut all = book.gone.clone();
        book.listeners.all().for_each(|cells| all.add(cells));
        let failures: u64 = book.endpoints.all().map(EndpointCells::failures).sum();
        let sum = |counter: fn(&WorkerCells) -> u64| self.workers.iter().map(counter).sum::<u64>();
        let refused = self.access_lines_refused.load(Ordering::Relaxed);
        Totals {
            accepted: all.accepted,
            active: all.active,
            closed: all.closed,
            bytes_up: all.bytes_up,
            bytes_down: all.bytes_down,
            connect_failures: book.gone_connect_failures + failures,
            accept_pauses: sum(|cells| cells.accept_pauses.get()),
            pipes_missing: sum(|cells| cells.pipes_missing.get()),
            access_lines_dropped: sum(|cells| cells.access_lines_dropped.get()) + refused,
        }
    }

    /// Returns what each listener has counted that is followed, by name.
    pub fn listeners(&self) -> Vec<ListenerTotals> {
        let sum = |(name, cells): (&String, &[Arc<ListenerCells>])| {
            let mut totals = ListenerTotals::new(name.clone());
            cells.iter().for_each(|cells| totals.add(cells));
            totals
        };
        self.book().listeners.followed().map(sum).collect()
    }

    /// Returns what each upstream has counted that is followed, by name.
    pub fn upstreams(&self) -> Vec<UpstreamTotals> {
        let book = self.book();
        let sum = |(name, cells): (&String, &[Arc<UpstreamCells>])| {
            let mut totals = UpstreamTotals::new(name.clone());
            cells.iter().for_each(|cells| totals.add(cells));
            totals
        };
        let mut upstreams: Vec<_> = book.upstreams.followed().map(sum).collect();
        for (endpoint, cells) in book.endpoints.followed() {
            let (name, addr) = endpoint;
            let shared = book.shared.get(endpoint).and_then(Weak::upgrade);
            let standing = shared.map_or(Standing::Up, |shared| shared.health.standing());
            let checks = book.checks.get(endpoint).map(|cells| cells.counts());
            let mut totals = EndpointTotals { checks, ..EndpointTotals::new(*addr, standing) };
            cells.iter().for_each(|cells| totals.add(cells));
            let at = upstreams.binary_search_by(|upstream| upstream.name.cmp(name));
            upstreams[at.expect("an endpoint has an upstream")].endpoints.push(totals);
        }
        upstreams
    }

    /// Returns what came of questions for each name that is followed.
    pub fn names(&self) -> Vec<NameTotals> {
        let sum = |(name, cells): (&String, &Vec<Arc<NameCells>>)| {
            let mut totals = NameTotals::new(name.clone());
            cells.iter().for_each(|cells| totals.add(cells));
            totals
        };
        self.book().names.iter().map(sum).collect()
    }

    /// Returns what each worker does.
    pub fn activity(&self) -> Vec<WorkerTotals> {
        self.workers.iter().map(WorkerTotals::of).collect()
    }

    /// Returns what came of reloads.
    pub fn reloads(&self) -> Reloads {
        self.book().reloads
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // What a panic has left is a number too high or too low.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Adds up what nobody counts any more.
    fn sweep(&mut self) {
        self.listeners.gone().for_each(|cells| self.gone.add(&cells));
        self.gone_connect_failures +=
            self.endpoints.gone().map(|cells| cells.failures()).sum::<u64>();
        self.upstreams.gone().for_each(drop);
    }
}
