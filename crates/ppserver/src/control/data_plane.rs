//! What serves: the workers, their ports, and the access log they write; and how they come to follow a
//! configuration, the first one as any other.
//!
//! Invariant: what cannot be followed as a whole changes nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::access_logs::AccessLogs;
use super::admin::{self, Doors, Reception};
use super::checks::Checks;
use super::counts::Counts;
use super::error::{ServerError, system};
use super::handover::{Name, Parcel};
use super::limits::Budget;
use super::names::Member;
use super::pools::Pools;
use super::ports::{Place, Ports};
use super::prepare::{Prepared, Resolved};
use super::trials::Trials;
use super::workers::{Replies, Workers};
use super::{announce, limits, transparent};
use crate::config::Config;
use crate::core::close_reason::CloseReason;
use crate::core::pool::Pool;
use crate::data::PipeLimits;
use crate::data::orders::{Plan, Setup, Share};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::WorkerCells;
use crate::telemetry::ledger::Ledger;

/// A worker whose turn takes longer does not turn any more: honest ones take milliseconds.
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long flows may take to get their sockets, 10 us each: a worker that does not turn is no reason to keep its program.
const PART_TIMEOUT: Duration = Duration::from_secs(2);

/// What the workers have been told to follow.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) plan: Arc<Plan>,
    pub(super) resolved: Resolved,
    /// Ports that were not there before.
    new_places: Vec<Place>,
    pub(super) doors: admin::Bound,
    pub(super) connections_max: usize,
}

/// What all workers have been told alike.
#[derive(Debug)]
struct Told {
    plan: Arc<Plan>,
    /// The members of each upstream, as they are configured and found.
    members: Arc<[Vec<Member>]>,
    access_log: Option<AccessLog>,
    connections_max: usize,
    /// Of one worker.
    pipes: PipeLimits,
}

impl Told {
    fn setup(&self, ports: Vec<Share>, ledger: &Ledger, worker: usize) -> Setup {
        Setup {
            plan: Arc::clone(&self.plan),
            ports,
            cells: ledger.cells(worker, &self.plan.config, &self.plan.pools),
            access_log: self.access_log.clone(),
            connections_max: self.connections_max,
            pipes: self.pipes,
        }
    }
}

/// The workers and what they have.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) workers: Workers,
    pub(super) ports: Ports,
    pub(super) access_logs: AccessLogs,
    /// What all of them count.
    pub(super) ledger: Arc<Ledger>,
    pub(super) doors: Doors,
    /// What is known of endpoints.
    pub(super) pools: Arc<Pools>,
    pub(super) trials: Trials,
    pub(super) checks: Checks,
    /// What is counted for limits.
    counts: Counts,
    /// `None` until there is something to follow, and once nobody is replaced any more: who writes the access log
    /// waits for everybody who may.
    told: Option<Told>,
    /// How many the process may have open.
    descriptors: usize,
    /// What they are for.
    budget: Option<Budget>,
}

impl Service {
    /// Begins with so many workers, which serve nothing, and ports that another process has left.
    ///
    /// # Errors
    /// When they cannot be started, or those are none.
    pub(super) fn new(
        workers: usize,
        descriptors: usize,
        parcels: Vec<Parcel>,
    ) -> Result<Self, ServerError> {
        let ledger = Arc::new(Ledger::new(workers));
        let doors = Doors::new(&parcels).map_err(system("a door was handed over that is none"))?;
        let ports = Ports::new(parcels).map_err(system("a port was handed over that is none"))?;
        let pools = Arc::new(Pools::new(ledger.workers().len()));
        let (trials, ejections) = Trials::new(Arc::clone(&pools));
        Ok(Self {
            workers: Workers::start(ledger.workers(), ejections)?,
            ports,
            access_logs: AccessLogs::new(Arc::clone(ledger.access_lines_refused())),
            checks: Checks::new(Arc::clone(&pools)),
            pools,
            trials,
            counts: Counts::default(),
            ledger,
            doors,
            told: None,
            descriptors,
            budget: None,
        })
    }

    /// Binds what is new, and has every worker follow.
    ///
    /// # Errors
    /// When a port is not to be had, or no thread for the access log: nothing is changed then.
    pub(super) fn follow(
        &mut self,
        prepared: Prepared,
    ) -> Result<(Following, Replies), ServerError> {
        let Prepared { config, resolved, opened } = prepared;
        let workers = self.workers.count();
        transparent::check(&config)?;
        let bound = self.ports.bind(&config, workers)?;
        let doors = self.doors.bind(&config.admin)?;
        let new_places = bound.new_places();
        let access_log = self.access_logs.follow(&config.access_log, opened);
        let access_log = access_log.map_err(system("cannot start the access log"))?;
        let budget = limits::of(&config, workers, self.descriptors);
        let Budget { connections_max, pipes, .. } = budget;
        if self.budget.replace(budget) != Some(budget) {
            announce::budget(&budget);
        }
        let members = Arc::clone(&resolved.members);
        let pools = self.follow_pools(&config, &members);
        self.ledger.follow_names(resolved.followed.cells());
        let limits = self.counts.follow(&config);
        let (plan, pipes) = (Arc::new(Plan { config, pools, limits }), pipes.share(workers));
        let told = Told { plan: Arc::clone(&plan), members, access_log, connections_max, pipes };
        let setup = |worker| told.setup(bound.shares(worker, workers), &self.ledger, worker);
        let replies = self.workers.follow((0..workers).map(setup));
        self.told = Some(told);
        self.ports.adopt(bound);
        Ok((Following { plan, resolved, new_places, doors, connections_max }, replies))
    }

    /// Has every worker follow the same configuration, whose names stand for others now. `None` if nothing is followed
    /// any more.
    pub(super) fn refresh(&mut self, members: Arc<[Vec<Member>]>) -> Option<(Arc<Plan>, Replies)> {
        self.told.as_mut()?.members = members;
        self.follow_again()
    }

    /// Has every worker follow what endpoints weigh now.
    pub(super) fn follow_weights(&mut self) -> Replies {
        self.follow_again().map_or_else(Replies::default, |(_, replies)| replies)
    }

    /// Has every worker follow the same configuration, with its members as they are now.
    fn follow_again(&mut self) -> Option<(Arc<Plan>, Replies)> {
        let told = self.told.as_ref()?;
        let (config, members) = (told.plan.config.clone(), Arc::clone(&told.members));
        let limits = told.plan.limits.clone();
        let pools = self.follow_pools(&config, &members);
        let plan = Arc::new(Plan { config, pools, limits });
        let told = self.told.as_mut()?;
        told.plan = Arc::clone(&plan);
        let told = &*told;
        let setup = |worker| told.setup(self.ports.shares_kept(&plan.config), &self.ledger, worker);
        let replies = self.workers.follow((0..self.workers.count()).map(setup));
        Some((plan, replies))
    }

    /// Follows endpoints, their counters and their checks.
    fn follow_pools(&self, config: &Config, members: &[Vec<Member>]) -> Vec<Pool> {
        let pools = self.pools.follow(config, members);
        self.ledger.follow(config, &pools);
        self.ledger.follow_checks(self.pools.check_cells());
        self.checks.follow(config, &pools);
        pools
    }

    /// Counts the connections of a worker that has failed, which are gone.
    pub(super) fn handle_failed(&self, worker: usize) {
        self.ledger.abandon(worker, CloseReason::WorkerFailed);
    }

    /// Has another worker go on at the ports of one that has failed.
    ///
    /// # Errors
    /// When the system gives no thread, or no epoll instance.
    pub(super) fn replace(&mut self, worker: usize) -> Result<Replies, ServerError> {
        let Some(told) = &self.told else { return Ok(Replies::default()) };
        let shares = self.ports.shares_again(&told.plan.config, worker, self.workers.count());
        self.workers.replace(worker)?;
        Ok(self.workers.follow_one(worker, told.setup(shares, &self.ledger, worker)))
    }

    /// Has a worker panic, which has followed.
    #[cfg(test)]
    pub(super) fn fail(&self, worker: usize) {
        let told = self.told.as_ref().unwrap();
        let mut shares = self.ports.shares_again(&told.plan.config, worker, 1);
        shares.iter_mut().for_each(|share| share.sockets.clear());
        self.workers.fail(worker, told.setup(shares, &self.ledger, worker));
    }

    /// Accepts what is queued, closes the ports, and ends with the last connection; the replies come once the ports
    /// are closed.
    pub(super) fn drain(&mut self) -> Replies {
        self.let_go();
        self.workers.drain()
    }

    /// Has flows of datagrams get sockets of their own, since another process is about to serve the ports. What is returned
    /// ends when they have them, or that takes too long: without one a flow goes over with its port.
    pub(super) fn part(&self) -> impl Future<Output = ()> + use<> {
        let replies = self.workers.part();
        async {
            let why = match timeout(PART_TIMEOUT, replies.all()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a worker takes too long".to_owned(),
            };
            tracing::warn!(why, "not every flow of datagrams stays");
        }
    }

    /// Nobody else serves the ports.
    pub(super) fn stay(&self) {
        self.workers.stay();
    }

    /// Lets go of the ports that another process serves under these names, and drains the others.
    pub(super) fn leave(&mut self, names: &[Name]) {
        let claims = self.ports.claims(names);
        self.ports.leave_files(names);
        self.let_go();
        self.workers.leave(&claims);
        self.doors.leave(names);
    }

    /// Returns duplicates of all that listens, to be handed over; with the doors of what is followed, if they are not
    /// open yet.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn parcels(&self, following: Option<&Following>) -> io::Result<Vec<Parcel>> {
        let doors = self.doors.parcels(following.map(|following| &following.doors))?;
        Ok(self.ports.parcels()?.into_iter().chain(doors).collect())
    }

    /// Resets what is left, and ends.
    pub(super) fn stop(&mut self) {
        self.let_go();
        self.workers.stop();
    }

    fn let_go(&mut self) {
        self.ports.let_go();
        // Nobody new comes, and who is there stays.
        self.checks.stop();
        self.told = None;
    }

    /// Whether every worker turns: none has been in one turn for too long.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        let turns = self.ledger.workers().iter().filter_map(WorkerCells::in_turn_since);
        turns.into_iter().all(|since| now.saturating_duration_since(since) < TURN_MAX)
    }

    /// Opens the doors and says what is new, once every worker follows.
    pub(super) fn announce(&mut self, following: Following, reception: &Arc<Reception>) {
        let Following { plan, resolved: _, new_places, connections_max, doors } = following;
        self.doors.adopt(doors, reception);
        announce::open_trust(&plan.config, &self.ports.places());
        announce::idle_sockets(self.ports.idle());
        transparent::warn(&plan);
        // Last: who waits for these lines finds a server at rest.
        announce::listening(&plan.config, &new_places, self.workers.count(), connections_max);
    }
}
