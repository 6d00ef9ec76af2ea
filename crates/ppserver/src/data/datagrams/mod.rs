//! The datagrams of one port: received in batches, judged, and sent on along their flows.
//!
//! ```text
//! recvmmsg -> segments -> Entrance (header, route, limits) -> Relay -> Outbox -> sendmsg, to a flow's endpoint
//! sendmsg, from the address that was asked <- Outbox <- Relay <- segments <- recvmmsg, of a flow's socket
//! ```
//!
//! Performs what `core/udp` decides, and decides nothing itself. A flow has a socket of its own, connected to its
//! endpoint: only that tells of refusals. Where answers name the client it has a part in one (`core/udp/shared`). A port that goes leaves its flows sockets of their own (`paths`). Invariants: bytes are copied by the kernel alone; what a flow was let in with and
//! counts for is given back once, whatever ends it.

mod batch;
mod down;
mod entrance;
mod flows;
#[cfg(fuzzing)]
pub mod fuzzed;
mod paths;
mod told;
mod up;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::{Interest, Registry};
use socket2::Socket;

pub(super) use batch::Batch;
use flows::{Guest, Leg};
use paths::Paths;

use super::conn::Ctx;
use super::orders::Claim;
use super::rules::Rules;
use super::source::Source;
use crate::core::connection_id::ConnectionIds;
use crate::core::schedule::{Stint, Ticket};
use crate::core::session::Direction;
use crate::core::udp::end_reason::EndReason;
use crate::core::udp::shared::Shared;
use crate::core::udp::{Counts, FlowId, Relay, Terms};
use crate::data::sys;

/// A listening socket of datagrams of this worker, and the flows that came in by it.
#[derive(Debug)]
pub(super) struct DatagramPort {
    // In front of the claim: they are let go before the claim is. `None` once the port is closed.
    socket: Option<Arc<Socket>>,
    /// Sockets of flows that stay.
    paths: Paths,
    /// Sockets to endpoints whose answers name the client.
    shared: Shared<Socket>,
    pub(super) claim: Arc<Claim>,
    addr: SocketAddr,
    /// The terms of whoever comes from now on.
    pub(super) rules: Arc<Rules>,
    /// Where it stands among the worker's.
    at: usize,
    /// Where it stands in the worker's schedule.
    pub(super) ticket: Ticket,
    relay: Relay<Leg, Guest>,
    /// Whether something may have come.
    is_readable: bool,
    standing: Standing,
    /// So many messages at most wait at the port that came before it began to part.
    waiting_max: usize,
    /// Flows whose sockets have something to tell.
    ready: VecDeque<FlowId>,
    /// The flow that was refused last, and the place of the endpoint where nobody listens.
    refused: Option<(FlowId, usize)>,
    /// What has been told of the relay's counts.
    told: [Counts; 2],
}

/// Whose what comes to the port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Ours.
    Ours,
    /// Ours still; each flow has a socket of its own, since another process is about to serve the port, or nobody.
    Parting(Parting),
    /// Not ours any more. What has a socket of its own is.
    Left,
}

/// Who serves a port behind us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// Another process, once it says so.
    ToAnother,
    /// Nobody: it is closed once what waits there is taken.
    ToNobody,
}

impl DatagramPort {
    /// Begins to serve a socket; there are so many flows at most.
    ///
    /// # Errors
    /// When the socket refuses an option, or the system has no room for its events.
    pub(super) fn open(
        socket: Arc<Socket>,
        claim: Arc<Claim>,
        rules: Arc<Rules>,
        at: usize,
        flows_max: usize,
        ctx: &Ctx<'_>,
    ) -> io::Result<Self> {
        let addr = claim.addr.inet().ok_or(io::ErrorKind::InvalidInput)?;
        let keys = sys::random_keys()?;
        let relay = Relay::new(terms(&rules, flows_max), keys, ctx.now);
        sys::datagrams::aggregate(&*socket);
        sys::datagrams::set_fragments(&*socket, addr.is_ipv4(), rules.datagrams.fragments)?;
        sys::watch(ctx.registry, &*socket, Source::Datagrams(at).token(), Interest::READABLE)?;
        Ok(Self {
            socket: Some(socket),
            paths: Paths::default(),
            shared: Shared::default(),
            claim,
            addr,
            rules,
            at,
            ticket: Ticket::new(),
            relay,
            // An edge tells of what comes, not of what is there.
            is_readable: true,
            standing: Standing::Ours,
            waiting_max: 0,
            ready: VecDeque::new(),
            refused: None,
            told: [Counts::default(); 2],
        })
    }

    /// Something has come from clients.
    pub(super) fn note_event(&mut self) {
        self.is_readable = self.standing != Standing::Left;
    }

    /// The socket of the flow at a place has something to tell. Nothing was closed since it told.
    pub(super) fn note_flow_event(&mut self, place: u32) {
        if let Some(id) = self.relay.at(place) {
            self.make_ready(id);
        }
    }

    /// A socket that flows share has something to tell. Nothing was closed since it told.
    pub(super) fn note_shared_event(&mut self, place: u32) {
        self.shared.make_ready(place);
    }

    /// Has a flow's socket looked at, once.
    fn make_ready(&mut self, id: FlowId) {
        if let Some(leg) = self.relay.upstream_mut(id)
            && !std::mem::replace(&mut leg.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Goes on with other terms; flows keep the endpoints that they have.
    pub(super) fn follow(&mut self, rules: &Arc<Rules>, flows_max: usize, ctx: &mut Ctx<'_>) {
        self.rules = Arc::clone(rules);
        self.relay.follow(terms(rules, flows_max), ctx.now);
        let fragments = rules.datagrams.fragments;
        if let Some(socket) = &self.socket
            && let Err(error) =
                sys::datagrams::set_fragments(&**socket, self.addr.is_ipv4(), fragments)
        {
            tracing::warn!(%error, addr = %self.addr, "a socket of datagrams refused an option");
        }
        self.take_ended(ctx);
        self.shared.take_idle().for_each(drop);
    }

    /// Begins no flow any more.
    pub(super) fn drain(&mut self) {
        self.relay.drain();
    }

    /// Whether nothing is to be waited for any more.
    pub(super) fn is_drained(&self) -> bool {
        match self.standing {
            Standing::Ours | Standing::Parting(_) => self.relay.is_drained(),
            // Nobody else has what its flows wait for.
            Standing::Left => self.relay.is_empty(),
        }
    }

    /// Ends all flows and lets go of the socket.
    pub(super) fn close(mut self, reason: EndReason, ctx: &mut Ctx<'_>) {
        self.relay.end_all(reason);
        self.take_ended(ctx);
        self.tell_counts();
        if self.standing != Standing::Left {
            self.unwatch(ctx.registry);
        }
    }

    fn unwatch(&self, registry: &Registry) {
        if let Some(socket) = &self.socket
            && let Err(error) = sys::unwatch(registry, &**socket)
        {
            tracing::warn!(%error, addr = %self.addr, "the events of a port that is left go on");
        }
    }

    /// Ends flows whose time has come.
    pub(super) fn handle_time(&mut self, ctx: &mut Ctx<'_>) {
        self.relay.expire(ctx.now);
        self.take_ended(ctx);
    }

    /// Returns when [`handle_time`](Self::handle_time) is to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.relay.deadline()
    }

    /// Receives and sends until nothing is there or the share is used up; each call costs `action` and the bytes that it
    /// moves.
    pub(super) fn work(
        &mut self,
        share: usize,
        action: usize,
        batch: &mut Batch,
        ids: &mut ConnectionIds,
        ctx: &mut Ctx<'_>,
    ) -> Stint {
        batch.begin_stint();
        let mut has_more = true;
        while has_more && batch.cost(action) < share {
            // Answers first: they make room in the flows' class that gives way.
            if !self.ready.is_empty() || self.shared.are_ready() {
                self.take_answers(batch, ctx);
            } else if self.is_readable {
                self.take_datagrams(batch, ids, ctx);
            } else if let Some(place) = self.paths.next_ready() {
                // Behind the port: what waits there came before a path had a socket.
                self.take_from_path(place, batch, ids, ctx);
            }
            self.take_ended(ctx);
            if self.standing == Standing::Parting(Parting::ToNobody) && self.has_parted() {
                self.close_port(ctx);
            }
            has_more = self.is_readable
                || !self.ready.is_empty()
                || self.shared.are_ready()
                || self.paths.are_ready();
        }
        self.tell_counts();
        Stint { cost: batch.cost(action), moved: batch.moved(), has_more }
    }

    /// Tells what became of datagrams since it was told last.
    fn tell_counts(&mut self) {
        for direction in [Direction::Up, Direction::Down] {
            let counts = self.relay.counts(direction);
            let told = std::mem::replace(&mut self.told[direction as usize], *counts);
            self.rules.cells.datagrams.add(direction, &told, counts);
        }
    }
}

fn terms(rules: &Rules, flows_max: usize) -> Terms {
    Terms {
        flows_max: flows_max.min(rules.datagrams.terms.flows_max).max(1),
        ..rules.datagrams.terms
    }
}

/// A worker that fails leaves no count behind.
impl Drop for DatagramPort {
    fn drop(&mut self) {
        self.relay.end_all(EndReason::Drained);
        while let Some(mut over) = self.relay.next_ended() {
            flows::give_back(&mut over);
        }
    }
}
