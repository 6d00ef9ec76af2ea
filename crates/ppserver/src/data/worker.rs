//! One event loop on one thread: sockets, a table of connections, timers, counters.
//!
//! ```text
//! wait -> now -> note readiness -> orders -> accept -> work -> expire
//! ```
//!
//! Workers share nothing but the counters they read from each other, and what is told of strangers. A turn
//! has one time, which no layer below reads for itself. Events are only noted; connections work afterwards,
//! in the order and with the shares of the schedule, and only then time is told: bytes that came before a
//! deadline count though they are noticed beyond it.
//! Invariant: a connection that can make progress is filed in the schedule, or an edge or a reminder for
//! it is still to come.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::{Events, Poll};
use socket2::Socket;

use super::clock::Clock;
use super::conduit::Spares;
use super::conn::{Connection, Ctx, Worked};
use super::datagrams::{Batch, DatagramPort, Parting};
use super::leg;
use super::listing::{Filter, Listing};
use super::orders::{Claim, Ejections, Line, Order, Reply, Setup, Share};
use super::pipes::PipeLimits;
use super::port::Port;
use super::rules::Rules;
use super::source::{Source, Task};
use super::table::Table;
use crate::config::Protocol;
use crate::core::accept_queue::Accepting;
use crate::core::addr::{Addr, Peer};
use crate::core::close_reason::CloseReason;
use crate::core::connection_id::{ConnectionId, ConnectionIds};
use crate::core::schedule::{Schedule, Shares, Ticket};
use crate::core::session::{Action, Readiness, Side};
use crate::core::udp::end_reason::EndReason;
use crate::data::sys;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::{self, WorkerCells};
use crate::telemetry::log::Limiter;
use crate::telemetry::refusals::Refusals;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// An event loop.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    poll: Poll,
    clock: Clock,
    inbox: Receiver<Order>,
    ports: Vec<Option<Port>>,
    datagram_ports: Vec<Option<DatagramPort>>,
    /// Where their datagrams lie on their way; made with the first of them.
    batch: Option<Batch>,
    rules: Vec<Arc<Rules>>,
    connections: Table<Connection>,
    connections_max: usize,
    ids: ConnectionIds,
    schedule: Schedule<Task>,
    spares: Spares,
    /// Where the spares stand in the schedule.
    spares_ticket: Ticket,
    /// Of all workers; it writes to its own.
    cells: Arc<[WorkerCells]>,
    /// The last refusals of all workers.
    refused: Arc<[Refusals]>,
    access_log: Option<AccessLog>,
    /// Of lines about peers.
    refusal_lines: Limiter,
    /// Of lines about what is ours: endpoints, and the system.
    failure_lines: Limiter,
    ejections: Ejections,
    scratch: Box<[u8]>,
    /// Connections on their way from a port to the table; empty between turns.
    accepted: Vec<(Socket, Peer)>,
    /// Who waits until the ports are those of the last order.
    following: Option<Reply<io::Result<()>>>,
    /// Who waits until flows of datagrams have sockets of their own.
    parting: Option<Reply<io::Result<()>>>,
    /// Who waits until there are no ports any more.
    closing: Option<Reply<io::Result<()>>>,
    is_draining: bool,
}

/// The instant of a turn, in both of the forms needed.
#[derive(Clone, Copy, Debug)]
struct Now {
    instant: Instant,
    unix_time: Duration,
}

impl Now {
    /// The time of a turn, whose wait should have taken `timeout` at most.
    fn read(clock: &mut Clock, timeout: Option<Duration>) -> Self {
        Self { instant: clock.read(timeout), unix_time: unix_time() }
    }
}

/// A worker taken apart.
#[derive(Debug)]
struct Lent<'a> {
    ctx: Ctx<'a>,
    connections: &'a mut Table<Connection>,
    datagram_ports: &'a mut Vec<Option<DatagramPort>>,
    batch: &'a mut Option<Batch>,
    ids: &'a mut ConnectionIds,
    schedule: &'a mut Schedule<Task>,
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Worker {
    /// Prepares a worker, which does nothing before it is told what to follow, and the line over which it
    /// takes orders. `cells` and `refused` are those of all workers; it writes to those at `index`. What it
    /// ejects is told to `ejections`.
    ///
    /// # Errors
    /// When the system gives no epoll instance.
    pub fn new(
        index: usize,
        cells: Arc<[WorkerCells]>,
        refused: Arc<[Refusals]>,
        ejections: Ejections,
    ) -> io::Result<(Self, Line)> {
        let poll = Poll::new()?;
        let (line, inbox) = Line::new(poll.registry(), Source::Orders.token())?;
        let (clock, now) = Clock::start(cells[index].origin());
        let worker = Self {
            index,
            poll,
            clock,
            inbox,
            ports: Vec::new(),
            datagram_ports: Vec::new(),
            batch: None,
            rules: Vec::new(),
            connections: Table::new(),
            connections_max: 0,
            ids: ConnectionIds::new(index, unix_time()),
            schedule: Schedule::new(Shares::WORKER, now),
            spares: Spares::new(PipeLimits { large: 0, large_bytes: 0, small: 0 }),
            spares_ticket: Ticket::new(),
            cells,
            refused,
            access_log: None,
            refusal_lines: Limiter::new(now),
            failure_lines: Limiter::new(now),
            ejections,
            scratch: vec![0; ppcore::V2_LEN_MAX].into_boxed_slice(),
            accepted: Vec::new(),
            following: None,
            parting: None,
            closing: None,
            is_draining: false,
        };
        Ok((worker, line))
    }

    /// Runs until it has been drained or stopped.
    ///
    /// # Errors
    /// When waiting for events fails; nothing can be served then.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let turn_end = self.clock.read(Some(Duration::ZERO));
            self.cells[self.index].end_turn(self.clock.elapsed_ns());
            if self.is_done() {
                return Ok(());
            }
            let timeout = self.timeout(turn_end);
            self.wait(&mut events, timeout)?;
            let now = Now::read(&mut self.clock, timeout);
            self.cells[self.index].begin_turn(self.clock.elapsed_ns());
            self.schedule.catch_up(now.instant);
            for event in &events {
                self.note(event, now.instant);
            }
            self.take_orders(now);
            let now = self.accept(now);
            self.work(now);
            self.reply();
            self.expire(now);
        }
    }

    /// Waits for events, at most for `timeout`.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let mut left = timeout;
        loop {
            match self.poll.poll(events, left) {
                // The time that has passed is not known: a look at what is there, and then a turn.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    left = timeout.map(|_| Duration::ZERO);
                }
                result => return result,
            }
        }
    }

    fn is_done(&self) -> bool {
        self.is_draining
            && self.connections.is_empty()
            && self.ports.iter().all(Option::is_none)
            && self.datagram_ports.iter().all(Option::is_none)
    }

    /// Returns how long to wait; never when there is work left.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let ports = self.ports.iter().flatten();
        if self.schedule.has_work()
            || ports.clone().any(|port| port.queue.next() == Accepting::Accept)
        {
            return Some(Duration::ZERO);
        }
        let retry_at = ports.filter_map(|port| port.queue.deadline()).min();
        let next = self.schedule.wakes_at().into_iter().chain(retry_at).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn note(&mut self, event: &Event, now: Instant) {
        match Source::of(event.token()) {
            Source::Orders => {}
            Source::Port(at) => {
                if let Some(Some(port)) = self.ports.get_mut(at) {
                    port.queue.handle_ready();
                }
            }
            Source::Datagrams(at) => {
                if let Some(Some(port)) = self.datagram_ports.get_mut(at) {
                    port.note_event();
                    self.schedule.file(Task::Datagrams(at), &mut port.ticket);
                }
            }
            Source::Flow(at, place) => {
                if let Some(Some(port)) = self.datagram_ports.get_mut(at) {
                    port.note_flow_event(place);
                    self.schedule.file(Task::Datagrams(at), &mut port.ticket);
                }
            }
            Source::Shared(at, place) => {
                if let Some(Some(port)) = self.datagram_ports.get_mut(at) {
                    port.note_shared_event(place);
                    self.schedule.file(Task::Datagrams(at), &mut port.ticket);
                }
            }
            Source::Path(at, place) => {
                if let Some(Some(port)) = self.datagram_ports.get_mut(at) {
                    port.note_path_event(place);
                    self.schedule.file(Task::Datagrams(at), &mut port.ticket);
                }
            }
            Source::Leg(key, side) => {
                let Some(connection) = self.connections.get_mut(key) else { return };
                connection.note_event(side, readiness(event), now);
                self.schedule.file(Task::Connection(key), &mut connection.ticket);
            }
        }
    }

    fn take_orders(&mut self, now: Now) {
        while let Ok(order) = self.inbox.try_recv() {
            match order {
                Order::Follow(setup, reply) => match self.follow(*setup, now) {
                    Ok(()) => self.following = Some(reply),
                    Err(error) => reply.send(Err(error)),
                },
                Order::Drain(reply) => {
                    self.closing = Some(reply);
                    self.is_draining = true;
                    (0..self.ports.len()).for_each(|at| self.drain_port(at));
                    self.datagram_ports.iter_mut().flatten().for_each(DatagramPort::drain);
                    self.close_drained(now);
                }
                Order::Part(reply) => {
                    self.parting = Some(reply);
                    let all = 0..self.datagram_ports.len();
                    all.for_each(|at| self.part_datagrams(at, Parting::ToAnother, now));
                }
                Order::Stay => {
                    self.datagram_ports.iter_mut().flatten().for_each(DatagramPort::stay);
                }
                Order::Leave(claims) => self.leave(&claims, now),
                Order::List(filter, reply) => reply.send(self.list(&filter, now.instant)),
                Order::Close(id, reply) => reply.send(self.close(id, now)),
                Order::ResetAt(upstream, endpoint) => {
                    self.reset_at(&upstream, endpoint, now.instant);
                }
                Order::Stop => self.stop(now),
            }
        }
    }

    /// Follows other terms: for connections from now on, and for those who wait at ports that stay. A port
    /// that goes takes who waits there on the old ones.
    fn follow(&mut self, setup: Setup, now: Now) -> io::Result<()> {
        let Setup { plan, ports, cells, access_log, connections_max, pipes } = setup;
        self.rules = Rules::all(&plan, &cells, &self.rules, self.index, now.instant);
        self.access_log = access_log;
        self.connections_max = connections_max;
        self.spares.set_limits(pipes);
        for at in 0..self.ports.len() {
            let Some(port) = &mut self.ports[at] else { continue };
            match ports.iter().find(|share| Arc::ptr_eq(&share.claim, &port.claim)) {
                Some(share) => port.follow(&self.rules[share.listener]),
                None => self.drain_port(at),
            }
        }
        self.follow_datagrams(&ports, now);
        for Share { claim, listener, sockets } in ports {
            for socket in sockets {
                let (claim, rules) = (Arc::clone(&claim), Arc::clone(&self.rules[listener]));
                match claim.protocol {
                    Protocol::Tcp => self.open(Port::new(socket, claim, rules))?,
                    Protocol::Udp => self.open_datagrams(socket, claim, &rules, now)?,
                }
            }
        }
        Ok(())
    }

    /// Has the ports of datagrams that stay follow other terms, and the others part from their flows.
    fn follow_datagrams(&mut self, ports: &[Share], now: Now) {
        for at in 0..self.datagram_ports.len() {
            let Some(claim) = self.datagram_ports[at].as_ref().map(|port| &port.claim) else {
                continue;
            };
            let share = ports.iter().find(|share| Arc::ptr_eq(&share.claim, claim));
            let Some(rules) = share.map(|share| Arc::clone(&self.rules[share.listener])) else {
                self.part_datagrams(at, Parting::ToNobody, now);
                continue;
            };
            let flows_max = self.flows_max(&rules);
            let Lent { mut ctx, datagram_ports, .. } = self.lend(now);
            if let Some(port) = &mut datagram_ports[at] {
                port.follow(&rules, flows_max, &mut ctx);
            }
            self.remind_datagrams(at, now.instant);
        }
    }

    fn open_datagrams(
        &mut self,
        socket: Arc<Socket>,
        claim: Arc<Claim>,
        rules: &Arc<Rules>,
        now: Now,
    ) -> io::Result<()> {
        let free = self.datagram_ports.iter().position(Option::is_none);
        let at = free.unwrap_or(self.datagram_ports.len());
        let (rules, flows_max) = (Arc::clone(rules), self.flows_max(rules));
        self.batch.get_or_insert_with(Batch::new);
        let Lent { ctx, datagram_ports, schedule, .. } = self.lend(now);
        let mut port = DatagramPort::open(socket, claim, rules, at, flows_max, &ctx)?;
        schedule.file(Task::Datagrams(at), &mut port.ticket);
        match datagram_ports.get_mut(at) {
            Some(free) => *free = Some(port),
            None => datagram_ports.push(Some(port)),
        }
        Ok(())
    }

    /// Returns how many flows a port of this worker may have: its part of them, of which there are no more than
    /// connections may be.
    fn flows_max(&self, rules: &Rules) -> usize {
        let workers = self.cells.len();
        rules.datagrams.terms.flows_max.div_ceil(workers).min(self.connections_max / workers)
    }

    fn part_datagrams(&mut self, at: usize, parting: Parting, now: Now) {
        let Lent { mut ctx, datagram_ports, schedule, .. } = self.lend(now);
        if let Some(port) = &mut datagram_ports[at] {
            port.part(parting, &mut ctx);
            schedule.file(Task::Datagrams(at), &mut port.ticket);
        }
    }

    fn close_datagrams(&mut self, at: usize, reason: EndReason, now: Now) {
        let Lent { mut ctx, datagram_ports, schedule, .. } = self.lend(now);
        if let Some(mut port) = datagram_ports[at].take() {
            schedule.forget(&mut port.ticket);
            port.close(reason, &mut ctx);
        }
    }

    /// Closes those ports of datagrams that drain and have nothing to wait for.
    fn close_drained(&mut self, now: Now) {
        for at in 0..self.datagram_ports.len() {
            if self.datagram_ports[at].as_ref().is_some_and(DatagramPort::is_drained) {
                self.close_datagrams(at, EndReason::Drained, now);
            }
        }
    }

    /// Sees to it that a port of datagrams is told when a flow's time has come.
    fn remind_datagrams(&mut self, at: usize, now: Instant) {
        if let Some(Some(port)) = self.datagram_ports.get_mut(at)
            && let Some(deadline) = port.deadline()
        {
            self.schedule.remind(Task::Datagrams(at), &mut port.ticket, deadline, now);
        }
    }

    fn open(&mut self, port: Port) -> io::Result<()> {
        let at = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        let token = Source::Port(at).token();
        port.watch(self.poll.registry(), token)?;
        if at == self.ports.len() {
            self.ports.push(None);
        }
        self.ports[at] = Some(port);
        Ok(())
    }

    fn close_port(&mut self, at: usize) {
        if let Some(port) = self.ports[at].take() {
            port.close(self.poll.registry());
        }
    }

    /// Has a port closed once its queue is empty; one that is lent at once.
    fn drain_port(&mut self, at: usize) {
        let Some(port) = &mut self.ports[at] else { return };
        if port.claim.is_lent { self.close_port(at) } else { port.drain() }
    }

    fn leave(&mut self, claims: &[Arc<Claim>], now: Now) {
        self.is_draining = true;
        for at in 0..self.datagram_ports.len() {
            let Lent { ctx, datagram_ports, .. } = self.lend(now);
            match &mut datagram_ports[at] {
                Some(port) if claims.iter().any(|claim| Arc::ptr_eq(claim, &port.claim)) => {
                    port.leave(&ctx);
                }
                Some(_) => self.part_datagrams(at, Parting::ToNobody, now),
                None => {}
            }
        }
        self.close_drained(now);
        for at in 0..self.ports.len() {
            let Some(port) = &self.ports[at] else { continue };
            if claims.iter().any(|claim| Arc::ptr_eq(claim, &port.claim)) {
                self.close_port(at);
            } else {
                self.drain_port(at);
            }
        }
    }

    fn stop(&mut self, now: Now) {
        self.is_draining = true;
        (0..self.ports.len()).for_each(|at| self.close_port(at));
        let all = 0..self.datagram_ports.len();
        all.for_each(|at| self.close_datagrams(at, EndReason::Drained, now));
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.session.handle_stop(CloseReason::Drained, now.instant);
                self.schedule.file(Task::Connection(key), &mut connection.ticket);
            }
        }
    }

    fn reset_at(&mut self, upstream: &str, endpoint: Addr, now: Instant) {
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key)
                && connection.is_at(upstream, endpoint)
            {
                connection.session.handle_stop(CloseReason::EndpointDown, now);
                self.schedule.file(Task::Connection(key), &mut connection.ticket);
            }
        }
        let ports = self.datagram_ports.iter_mut().flatten();
        ports.for_each(|port| port.reset_at(upstream, endpoint));
    }

    fn list(&self, filter: &Filter, now: Instant) -> Listing {
        let mut listing = Listing::default();
        let views = self.connections.values().map(|connection| connection.view(now));
        let ports = self.datagram_ports.iter().flatten();
        let views = views.chain(ports.flat_map(|port| port.views(now)));
        views.filter(|view| filter.holds(view)).for_each(|view| listing.add(view, filter));
        listing
    }

    fn close(&mut self, id: ConnectionId, now: Now) -> bool {
        let found = self.connections.find(|connection| connection.id == id);
        let Some((key, connection)) = found else { return self.close_flow(id, now) };
        connection.session.handle_stop(CloseReason::ClosedByAdmin, now.instant);
        self.schedule.file(Task::Connection(key), &mut connection.ticket);
        true
    }

    fn close_flow(&mut self, id: ConnectionId, now: Now) -> bool {
        let Lent { mut ctx, datagram_ports, .. } = self.lend(now);
        datagram_ports.iter_mut().flatten().any(|port| port.close_flow(id, &mut ctx))
    }

    /// Takes who waits at the ports, and returns the time it is then: no deadline counts from before its
    /// connection was accepted.
    fn accept(&mut self, mut now: Now) -> Now {
        let mut accepted = std::mem::take(&mut self.accepted);
        for at in 0..self.ports.len() {
            let Some(port) = &mut self.ports[at] else { continue };
            port.queue.handle_time(now.instant);
            if port.accept(now.instant, &mut accepted).is_err() {
                self.cells[self.index].accept_pauses.add(1);
            }
            let rules = (!accepted.is_empty()).then(|| Arc::clone(&port.rules));
            if port.queue.next() == Accepting::Close {
                self.close_port(at);
            }
            let Some(rules) = rules else { continue };
            now.instant = self.clock.read(Some(Duration::ZERO));
            for (client, peer) in accepted.drain(..) {
                self.admit(client, peer, &rules, now);
            }
        }
        self.accepted = accepted;
        now
    }

    /// Tells who waits for the ports to be as they were told to be.
    fn reply(&mut self) {
        let have_parted = self.datagram_ports.iter().flatten().all(DatagramPort::has_parted);
        let tell = |waiting: &mut Option<Reply<_>>| {
            waiting.take().into_iter().for_each(|reply| reply.send(Ok(())));
        };
        if have_parted {
            tell(&mut self.parting);
            if !self.ports.iter().flatten().any(Port::is_draining) {
                tell(&mut self.following);
            }
        }
        if self.ports.iter().all(Option::is_none) {
            tell(&mut self.closing);
        }
    }

    fn admit(&mut self, client: Socket, peer: Peer, rules: &Arc<Rules>, now: Now) {
        rules.cells.open();
        self.cells[self.index].open();
        let is_full = cells::active(&self.cells) > self.connections_max as u64;
        let key = self.connections.next_key();
        let id = self.ids.name_next();
        let admitted = match rules.admit(peer) {
            None => Err(CloseReason::Untrusted),
            Some(_) if is_full => Err(CloseReason::Overload),
            Some(policy) => {
                leg::register(&client, Source::Leg(key, Side::Client), self.poll.registry())
                    .map(|()| policy)
                    .map_err(|_| CloseReason::Resources)
            }
        };
        match admitted {
            Ok(policy) => {
                let mut connection = Connection::new(id, rules, policy, client, peer, now.instant);
                let task = Task::Connection(key);
                if connection.session.next() != Action::Wait {
                    self.schedule.file(task, &mut connection.ticket);
                }
                let deadline = connection.session.deadline();
                self.schedule.remind(task, &mut connection.ticket, deadline, now.instant);
                self.connections.insert(connection);
            }
            Err(reason) => {
                let Lent { mut ctx, .. } = self.lend(now);
                Connection::refuse(id, rules, &client, peer, reason, &mut ctx);
            }
        }
    }

    fn expire(&mut self, now: Now) {
        while let Some(task) = self.schedule.next_due(now.instant) {
            match task {
                Task::Connection(key) => {
                    let Lent { mut ctx, connections, schedule, .. } = self.lend(now);
                    let Some(connection) = connections.get_mut(key) else { continue };
                    schedule.handle_due(&mut connection.ticket);
                    connection.handle_time(&mut ctx);
                    schedule.file(task, &mut connection.ticket);
                    let deadline = connection.session.deadline();
                    schedule.remind(task, &mut connection.ticket, deadline, now.instant);
                }
                Task::Datagrams(at) => {
                    let Lent { mut ctx, datagram_ports, schedule, .. } = self.lend(now);
                    let Some(Some(port)) = datagram_ports.get_mut(at) else { continue };
                    schedule.handle_due(&mut port.ticket);
                    port.handle_time(&mut ctx);
                    self.remind_datagrams(at, now.instant);
                    self.close_drained(now);
                }
                Task::Spares => {
                    self.schedule.handle_due(&mut self.spares_ticket);
                    self.spares.trim();
                }
            }
        }
        if let Some(at) = self.spares.trim_at(now.instant) {
            self.schedule.remind(Task::Spares, &mut self.spares_ticket, at, now.instant);
        }
    }

    fn work(&mut self, now: Now) {
        self.schedule.begin_turn();
        while let Some((task, share)) = self.schedule.next(now.instant) {
            let key = match task {
                Task::Connection(key) => key,
                Task::Datagrams(at) => {
                    self.work_on_datagrams(at, share, now);
                    continue;
                }
                Task::Spares => continue,
            };
            let Lent { mut ctx, connections, schedule, .. } = self.lend(now);
            let Some(connection) = connections.get_mut(key) else { continue };
            match connection.work(key, share, schedule.action_cost(), &mut ctx) {
                Worked::Ended => {
                    schedule.forget(&mut connection.ticket);
                    connections.remove(key);
                }
                Worked::Stint(stint) => {
                    let deadline = connection.session.deadline();
                    schedule.handle_worked(task, &mut connection.ticket, stint, now.instant);
                    schedule.remind(task, &mut connection.ticket, deadline, now.instant);
                }
            }
            // A stint may take milliseconds: a turn of many is not taken for standing still.
            self.clock.read(Some(Duration::ZERO));
        }
    }

    fn work_on_datagrams(&mut self, at: usize, share: usize, now: Now) {
        let Lent { mut ctx, datagram_ports, batch, ids, schedule, .. } = self.lend(now);
        let (Some(Some(port)), Some(batch)) = (datagram_ports.get_mut(at), batch) else { return };
        let stint = port.work(share, schedule.action_cost(), batch, ids, &mut ctx);
        schedule.handle_worked(Task::Datagrams(at), &mut port.ticket, stint, now.instant);
        self.remind_datagrams(at, now.instant);
        self.close_drained(now);
        self.clock.read(Some(Duration::ZERO));
    }

    /// Takes the worker apart into what a connection may use, and what finds and schedules it.
    fn lend(&mut self, now: Now) -> Lent<'_> {
        let ctx = Ctx {
            registry: self.poll.registry(),
            spares: &mut self.spares,
            cells: &self.cells[self.index],
            refused: &self.refused[self.index],
            access_log: self.access_log.as_ref(),
            refusal_lines: &mut self.refusal_lines,
            failure_lines: &mut self.failure_lines,
            ejections: &self.ejections,
            scratch: &mut self.scratch,
            now: now.instant,
            elapsed_ns: self.clock.elapsed_ns(),
            unix_time: now.unix_time,
        };
        Lent {
            ctx,
            connections: &mut self.connections,
            datagram_ports: &mut self.datagram_ports,
            batch: &mut self.batch,
            ids: &mut self.ids,
            schedule: &mut self.schedule,
        }
    }
}

pub(super) fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed(),
        urgent: event.is_priority(),
        error: event.is_error(),
    }
}

/// Returns how many pipes and connections a process may have, of which each takes one of `pairs` of
/// descriptors: large pipes hold `pipe_bytes`, and there should be at most `pipes_max` of them.
pub fn limits(pairs: usize, pipe_bytes: usize, pipes_max: usize) -> (PipeLimits, usize) {
    /// Beyond it the table would be larger than any kernel's defaults can fill.
    const CONNECTIONS_MAX: usize = 262_144;
    let pipes = PipeLimits::new(pipe_bytes, sys::pipe_pages_max(), pipes_max);
    let connections = pairs.saturating_sub(pipes.total());
    (pipes, connections.clamp(1, CONNECTIONS_MAX))
}
