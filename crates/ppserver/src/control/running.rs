//! A service that runs: what it follows, where that came from, and what is told of it.

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::admin::Reception;
use super::board::{Board, Readiness, Shown};
use super::data_plane::{Following, Service};
use super::handover::{Keeper, Successor};
use super::input::Input;
use super::names::Names;
use super::pools::Checked;
use super::prepare::{ConfigFile, Resolved};
use super::requests::{
    self, Answer, EndpointChange, EndpointSet, Logging, Refusal, Reply, Requests, Why,
};
use super::signals::Signal;
use super::workers::Replies;
use crate::config::{self, Choice, LogLevel, OnDown};
use crate::core::addr::Addr;
use crate::core::pool::Pool;
use crate::data::orders::Plan;
use crate::telemetry::log;
use crate::telemetry::summary::Summary;

/// A service, and what it follows.
#[derive(Debug)]
pub struct Running {
    pub(super) service: Service,
    pub(super) plan: Arc<Plan>,
    pub(super) names: Names,
    pub(super) resolved: Resolved,
    /// What a reload reads; with flags, or from standard input, there is none.
    pub(super) file: Option<ConfigFile>,
    /// What was read instead, for another program to read it too.
    pub(super) input: Option<Input>,
    /// 1 at a start, one more at each upgrade.
    pub(super) generation: u32,
    /// Who holds the sockets too.
    pub(super) keeper: Option<Keeper>,
    /// What those at the doors know.
    reception: Arc<Reception>,
    pub(super) requests: Requests,
    /// The level of the log: the configuration's, or what was asked for since.
    pub(super) log_level: LogLevel,
}

impl Running {
    /// Opens the doors of a service whose workers follow, and says so.
    pub(super) fn new(
        service: Service,
        following: Following,
        file: Option<ConfigFile>,
        names: Names,
        generation: u32,
    ) -> Self {
        let (desk, requests) = requests::channel();
        let plan = Arc::clone(&following.plan);
        let board = Board::new(Shown {
            plan: Arc::clone(&plan),
            file: file.as_ref().map(|file| file.path.clone()),
            ports: Vec::new(),
            connections_max: 0,
            generation,
            readiness: Readiness::Serving,
        });
        let ledger = Arc::clone(&service.ledger);
        let pools = Arc::clone(&service.pools);
        let refused = Arc::clone(service.workers.refused());
        let reception = Arc::new(Reception::new(desk, board, ledger, pools, refused));
        let log_level = plan.config.log.level;
        let mut running = Self {
            service,
            plan,
            names,
            resolved: following.resolved.clone(),
            file,
            input: None,
            generation,
            keeper: None,
            reception,
            requests,
            log_level,
        };
        running.service.ports.set_options(&following.plan.config);
        running.follow(following);
        running
    }

    /// Shows what every worker follows now, and says what is new.
    pub(super) fn follow(&mut self, following: Following) {
        self.reception.board.change(|shown| {
            shown.plan = Arc::clone(&following.plan);
            let places = self.service.ports.places().into_iter();
            shown.ports = places.map(|place| (place.listener, place.addr)).collect();
            shown.connections_max = following.connections_max;
        });
        self.service.announce(following, &self.reception);
    }

    /// Has every worker follow the same configuration with other endpoints, and shows them.
    pub(super) fn refresh(&mut self, resolved: Resolved) {
        let is_change = resolved.members != self.resolved.members;
        self.resolved = resolved;
        if !is_change {
            return;
        }
        let members = Arc::clone(&self.resolved.members);
        let Some((plan, replies)) = self.service.refresh(members) else { return };
        let upstreams =
            self.plan.config.upstreams.iter().zip(self.plan.pools.iter().zip(&plan.pools));
        for (upstream, (old, new)) in upstreams {
            let Some(change) = EndpointsChange::between(&upstream.name, old, new) else { continue };
            if upstream.health.on_down == OnDown::Reset {
                // Behind the order to follow: nobody new goes there.
                for endpoint in &change.removed {
                    self.service.workers.reset_at(&upstream.name, *endpoint);
                }
            }
            self.tell("endpoints", &change);
        }
        self.reception.board.change(|shown| shown.plan = Arc::clone(&plan));
        self.plan = plan;
        tokio::spawn(async move {
            if let Err(error) = replies.all().await {
                tracing::error!(%error, "not every worker follows what names stand for");
            }
        });
    }

    /// Returns the addresses of IP that are listened on, in the order of the configuration.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.service.ports.places().iter().filter_map(|place| place.addr.inet()).collect()
    }

    /// Tells those who listen at a door what has happened.
    pub(super) fn tell(&self, name: &str, data: &impl Serialize) {
        self.reception.events.tell(name, data);
    }

    /// Logs so much, until the configuration is read again.
    pub(super) fn log(&mut self, level: LogLevel) -> Answer<Logging> {
        let followed = log::follow(&config::Log { level, ..self.plan.config.log.clone() });
        followed.map_err(|error| Refusal::new(Why::Failed, error.to_string()))?;
        let was = std::mem::replace(&mut self.log_level, level);
        tracing::info!(level = level.word(), was = was.word(), "the level of the log changes");
        Ok(Logging { level, was })
    }

    /// Has an endpoint as an operator wants it; who asked is told when every worker knows.
    pub(super) fn set_endpoint(&mut self, set: EndpointSet, reply: Reply<EndpointChange>) {
        let change = match self.service.pools.set(set) {
            Ok(change) => change,
            Err(refusal) => return requests::answer(reply, Err(refusal)),
        };
        self.tell("endpoint", &change);
        let replies = self.service.follow_weights();
        tokio::spawn(async move {
            let followed = replies.all().await;
            let followed = followed.map_err(|error| Refusal::new(Why::Failed, error.to_string()));
            requests::answer(reply, followed.map(|()| change));
        });
    }

    /// Our checks found an endpoint to be up, or down.
    pub(super) fn handle_checked(&self, Checked { change, is_reset }: &Checked) {
        if *is_reset {
            self.service.workers.reset_at(&change.upstream, change.address);
        }
        self.tell("endpoint", change);
    }

    /// Prints them in the log's form, whatever its level.
    pub(super) fn print_counters(&self) {
        let totals = self.service.ledger.totals();
        log::write_counters(&self.plan.config.log, &Summary::of(totals, log::lines_dropped()));
    }

    /// Begins a drain, for a signal if one asked, and returns how long it may last, and who tells when the ports are
    /// closed.
    pub(super) fn drain(&mut self, signal: Option<Signal>) -> (Duration, Replies) {
        let grace = self.plan.config.server.shutdown_grace;
        let active = self.service.ledger.active();
        let again = signal == Some(Signal::Interrupt) && io::stderr().is_terminal();
        let hint = if again { "; again to stop now" } else { "" };
        tracing::info!(active, ?grace, "draining{hint}");
        self.turns_away();
        self.tell("state", &State { state: "draining", active });
        (grace, self.service.drain())
    }

    /// Says that no new clients should be sent here.
    pub(super) fn turns_away(&self) {
        self.reception.board.change(|shown| shown.readiness = Readiness::Draining);
    }

    /// Leaves the ports to a process that serves them, drains, and returns how long that may last.
    pub(super) fn leave(&mut self, successor: &Successor) -> Duration {
        let grace = self.plan.config.server.shutdown_grace;
        let active = self.service.ledger.active();
        let Successor { pid, generation, names } = successor;
        self.turns_away();
        self.tell("state", &State { state: "draining", active });
        tracing::info!(
            pid,
            generation,
            active,
            ?grace,
            "upgraded: another process serves, draining"
        );
        self.service.leave(names);
        grace
    }
}

/// Told when the names of an upstream stand for others.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct EndpointsChange<'a> {
    upstream: &'a str,
    added: Vec<Addr>,
    removed: Vec<Addr>,
    /// How many there are now.
    count: usize,
}

impl<'a> EndpointsChange<'a> {
    /// Returns what has become of a pool; `None` if nothing has.
    fn between(upstream: &'a str, old: &Pool, new: &Pool) -> Option<Self> {
        let without = |these: &Pool, others: &Pool| {
            let others: HashSet<_> = others.endpoints.iter().map(|it| it.member.addr).collect();
            let these = these.endpoints.iter().map(|it| it.member.addr);
            these.filter(|addr| !others.contains(addr)).collect::<Vec<_>>()
        };
        let members = |pool: &Pool| pool.endpoints.iter().map(|it| it.member).collect::<Vec<_>>();
        (members(old) != members(new)).then(|| Self {
            upstream,
            added: without(new, old),
            removed: without(old, new),
            count: new.endpoints.len(),
        })
    }
}

/// Told when the server turns to another state.
#[derive(Debug, Serialize)]
struct State {
    state: &'static str,
    active: u64,
}
