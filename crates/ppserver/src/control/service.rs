//! What serves: the workers, their ports, and the access log they write; and how they come to follow a
//! configuration, the first one as any other.
//!
//! Invariant: what cannot be followed as a whole changes nothing.

use std::sync::Arc;

use super::access_logs::AccessLogs;
use super::admin::{self, Doors, Reception};
use super::error::{ServerError, system};
use super::limits::Budget;
use super::ports::{Port, Ports};
use super::prepare::Prepared;
use super::workers::{Replies, Workers};
use super::{announce, limits};
use crate::data::orders::{Plan, Setup};
use crate::telemetry::ledger::Ledger;

/// What the workers have been told to follow.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) plan: Arc<Plan>,
    /// Ports that were not there before.
    new_ports: Vec<Port>,
    pub(super) doors: admin::Bound,
    pub(super) connections_max: usize,
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
    /// How many the process may have open.
    descriptors: usize,
    /// What they are for.
    budget: Option<Budget>,
}

impl Service {
    /// Begins with so many workers, which serve nothing.
    ///
    /// # Errors
    /// When they cannot be started.
    pub(super) fn new(workers: usize, descriptors: usize) -> Result<Self, ServerError> {
        let ledger = Arc::new(Ledger::new(workers));
        Ok(Self {
            workers: Workers::start(ledger.workers())?,
            ports: Ports::default(),
            access_logs: AccessLogs::new(Arc::clone(ledger.access_lines_refused())),
            ledger,
            doors: Doors::default(),
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
        let Prepared { plan, opened } = prepared;
        let (config, workers) = (&plan.config, self.workers.count());
        let mut bound = self.ports.bind(config, workers)?;
        let doors = self.doors.bind(&config.admin)?;
        let new_ports = bound.new_ports().cloned().collect();
        let access_log = self.access_logs.follow(&config.access_log, opened);
        let access_log = access_log.map_err(system("cannot start the access log"))?;
        let budget = limits::of(config, workers, self.descriptors);
        let Budget { connections_max, pipes, .. } = budget;
        if self.budget.replace(budget) != Some(budget) {
            announce::budget(&budget);
        }
        let plan = Arc::new(plan);
        self.ledger.follow(&plan.config, &plan.endpoints);
        let setups = (0..workers).map(|worker| Setup {
            plan: Arc::clone(&plan),
            ports: bound.next_shares(),
            cells: self.ledger.cells(worker, &plan.config, &plan.endpoints),
            access_log: access_log.clone(),
            connections_max,
            pipes: pipes.share(workers),
        });
        let replies = self.workers.follow(setups);
        self.ports.adopt(bound);
        Ok((Following { plan, new_ports, doors, connections_max }, replies))
    }

    /// Opens the doors and says what is new, once every worker follows.
    pub(super) fn announce(&mut self, following: Following, reception: &Arc<Reception>) {
        let Following { plan, new_ports, connections_max, doors } = following;
        self.doors.adopt(doors, reception);
        announce::open_trust(&plan.config, self.ports.held());
        // Last: who waits for these lines finds a server at rest.
        announce::listening(&plan.config, &new_ports, self.workers.count(), connections_max);
    }
}
