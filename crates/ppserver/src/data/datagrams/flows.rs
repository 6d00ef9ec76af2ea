//! A flow's way upstream: its endpoint, the socket to it, and what is given back behind it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use mio::{Interest, Token};
use ppcore::{V2_LEN_MAX, spp};
use pptrust::datagram::Datagram;
use pptrust::{Facts, Outgoing};
use socket2::Socket;

use super::DatagramPort;
use crate::core::addr::Addr;
use crate::core::connect_result::ConnectResult;
use crate::core::connection_id::ConnectionId;
use crate::core::intent::{Intent, Purpose};
use crate::core::limits::Held;
use crate::core::pool::{Tried, Unavailable};
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::end_reason::EndReason;
use crate::core::udp::outbox::Lane;
use crate::core::udp::shared::{Header, Shared};
use crate::core::udp::{Ended, Flow, FlowId};
use crate::data::conn::Ctx;
use crate::data::listing::View;
use crate::data::orders::Ejected;
use crate::data::outcome::{connect_result, met_itself};
use crate::data::rules::{Rules, Taken, Target};
use crate::data::source::Source;
use crate::data::sys;

/// What a flow was let in with.
#[derive(Debug)]
pub(super) struct Guest {
    /// What it is called.
    pub(super) id: ConnectionId,
    /// The terms on which it goes where it goes.
    pub(super) rules: Arc<Rules>,
    /// The route that it has taken.
    pub(super) taken: Option<Taken>,
    /// What counts for it at its listener's limits.
    pub(super) held: Option<Held>,
}

impl Guest {
    pub(super) fn target(&self) -> &Target {
        self.rules.target(self.taken)
    }

    fn release(&mut self) {
        if let (Some(held), Some(limits)) = (self.held.take(), &self.rules.limits) {
            limits.release(held);
        }
    }
}

/// What a flow sends by.
#[derive(Debug)]
pub(super) enum Link {
    /// A socket of its own.
    Own(Socket),
    /// The one at this place, which others send by too.
    Shared(u32),
}

/// A flow's socket, and its endpoint.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) link: Link,
    /// The place of the endpoint in the flow's upstream.
    pub(super) place: u32,
    /// Whether a datagram has gone there.
    pub(super) has_sent: bool,
    /// Whether it receives aggregates.
    pub(super) is_aggregating: bool,
    /// Whether it is to be looked at.
    pub(super) is_ready: bool,
}

impl Leg {
    fn new(link: Link, place: u32) -> Self {
        Self { link, place, has_sent: false, is_aggregating: false, is_ready: false }
    }

    pub(super) fn place(&self) -> usize {
        usize::try_from(self.place).expect("a u32 is a usize on Linux")
    }

    /// Returns what the datagrams of its flow go by.
    pub(super) const fn lane(&self, id: FlowId) -> Lane {
        match self.link {
            Link::Own(_) => Lane::Flow(id),
            Link::Shared(place) => Lane::Shared(place),
        }
    }
}

impl DatagramPort {
    /// Gives a flow a socket and an endpoint.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn dial(&mut self, id: FlowId, ctx: &mut Ctx<'_>) -> Result<(), DropReason> {
        self.renew(id)?;
        let flow = self.relay.flow(id).ok_or(DropReason::NoFlow)?;
        let (rules, taken) = (Arc::clone(&flow.admitted().rules), flow.admitted().taken);
        let (target, client) = (rules.target(taken), flow.intent().client.ip());
        let from = target.source.of_ours();
        // Not where it was just refused, unless there is nowhere else.
        let refused = self.refused.take().filter(|(flow, _)| *flow == id);
        let mut tried = refused.map_or_else(Tried::default, |(_, place)| Tried::only(place));
        let (mut is_choosy, mut failed) = (refused.is_some(), None);
        let mut attempts_left = target.upstream.attempts_max();
        while attempts_left > 0 {
            let place = match target.upstream.pick(&mut tried, Some(client), from, ctx.now) {
                Ok(place) => place,
                Err(Unavailable::None) if is_choosy => {
                    (tried, is_choosy) = (Tried::default(), false);
                    continue;
                }
                Err(Unavailable::None) => break,
                Err(Unavailable::Full) => return Err(DropReason::EndpointsFull),
            };
            let Addr::Inet(endpoint) = target.upstream.endpoint(place).member.addr else {
                // No datagram goes to a UNIX socket of connections.
                target.upstream.handle_cancelled(place);
                continue;
            };
            match self.link((endpoint, from), place, id, &rules, ctx) {
                Ok(link) => {
                    target.upstream.handle_flow_begun(place);
                    target.cells.endpoints[place].connect(ConnectResult::Ok);
                    let place = u32::try_from(place).expect("an upstream has fewer endpoints");
                    self.relay.handle_dialled(id, Leg::new(link, place));
                    return Ok(());
                }
                Err(error) if is_shortage(&error) => {
                    target.upstream.handle_cancelled(place);
                    target.cells.endpoints[place].connect(ConnectResult::Error);
                    return Err(DropReason::Resources);
                }
                Err(error) => {
                    target.cells.endpoints[place].connect(connect_result(&error));
                    let is_ejected = target.upstream.handle_failed(place);
                    self.report_failed(target, place, is_ejected, &error, ctx);
                    (failed, attempts_left) = (Some(DropReason::Refused), attempts_left - 1);
                }
            }
        }
        Err(failed.unwrap_or(DropReason::NoEndpoint))
    }

    /// Has a flow that needs an endpoint go by the terms of now: those it came by may name none that is left.
    fn renew(&mut self, id: FlowId) -> Result<(), DropReason> {
        let flow = self.relay.flow(id).ok_or(DropReason::NoFlow)?;
        if Arc::ptr_eq(&flow.admitted().rules, &self.rules) {
            return Ok(());
        }
        let taken = self.rules.route_datagram(&flow.intent(), None);
        if self.rules.is_denied(taken) {
            return Err(DropReason::Denied);
        }
        if let Some(guest) = self.relay.admitted_mut(id) {
            self.refused = None;
            guest.release();
            (guest.rules, guest.taken) = (Arc::clone(&self.rules), taken);
        }
        Ok(())
    }

    /// Gives a flow a socket to an endpoint, or a part in one.
    fn link(
        &mut self,
        to: (SocketAddr, Option<IpAddr>),
        place: usize,
        id: FlowId,
        rules: &Rules,
        ctx: &mut Ctx<'_>,
    ) -> io::Result<Link> {
        if let Some(header) = self.relay.flow(id).and_then(|flow| spp_header(flow, place)) {
            let known = self.shared.find(to);
            let at = known.unwrap_or_else(|| self.shared.next_place());
            if known.is_none() {
                let token = Source::Shared(self.at, at).token();
                let socket = self.connect(to, token, rules, ctx)?;
                self.shared.insert(to, socket);
            }
            if self.shared.join(at, header, id) {
                return Ok(Link::Shared(at));
            }
        }
        let token = Source::Flow(self.at, id.place).token();
        self.connect(to, token, rules, ctx).map(Link::Own)
    }

    fn connect(
        &mut self,
        (endpoint, from): (SocketAddr, Option<IpAddr>),
        token: Token,
        rules: &Rules,
        ctx: &mut Ctx<'_>,
    ) -> io::Result<Socket> {
        let mut connected = sys::datagrams::connect(endpoint, from);
        if connected.as_ref().is_err_and(is_shortage) && self.relay.make_room() {
            self.take_ended(ctx);
            connected = sys::datagrams::connect(endpoint, from);
        }
        let socket = connected?;
        if rules.may_meet_itself(&endpoint.into())
            && socket.local_addr()?.as_socket() == Some(endpoint)
        {
            return Err(met_itself());
        }
        sys::datagrams::set_fragments(&socket, endpoint.is_ipv4(), rules.datagrams.fragments)?;
        sys::watch(ctx.registry, &socket, token, Interest::READABLE)?;
        Ok(socket)
    }

    /// Nobody listens where a flow was sent to.
    pub(super) fn refuse(&mut self, id: FlowId, error: &io::Error, ctx: &mut Ctx<'_>) {
        let Some(leg) = self.relay.handle_refused(id) else { return };
        let Some(flow) = self.relay.flow(id) else { return };
        let (rules, taken) = (Arc::clone(&flow.admitted().rules), flow.admitted().taken);
        let (target, place) = (rules.target(taken), leg.place());
        unlink(&mut self.shared, &leg, flow);
        self.refused = Some((id, place));
        target.cells.endpoints[place].end();
        target.cells.endpoints[place].connect(connect_result(error));
        let is_ejected = target.upstream.handle_flow_refused(place);
        self.report_failed(target, place, is_ejected, error, ctx);
    }

    /// Says that an endpoint failed.
    #[cold]
    fn report_failed(
        &self,
        target: &Target,
        place: usize,
        is_ejected: bool,
        error: &io::Error,
        ctx: &mut Ctx<'_>,
    ) {
        let (upstream, addr) = (&target.upstream, target.upstream.endpoint(place).member.addr);
        if is_ejected {
            let why = error.to_string();
            ctx.ejections.tell(Ejected { upstream: upstream.name.clone(), addr, why });
        }
        if let Some(suppressed) = ctx.failure_lines.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name(),
                upstream = upstream.name,
                endpoint = %addr,
                %error,
                suppressed,
                "no datagram goes there",
            );
        }
    }

    /// Writes the header that goes with a flow's datagram to its endpoint into the scratch space; `came` is the datagram, where its own header is to be
    /// made use of. Returns the header's length.
    ///
    /// # Errors
    /// When it is too long for its version.
    pub(super) fn compose(
        flow: &Flow<Leg, Guest>,
        place: usize,
        came: Option<&Datagram<'_>>,
        scratch: &mut [u8],
    ) -> Result<usize, DropReason> {
        debug_assert!(scratch.len() >= V2_LEN_MAX, "the longest header fits");
        Self::write(flow, place, came, scratch)
    }

    /// Writes the header that goes with a flow's datagram, into room for it.
    ///
    /// # Errors
    /// When it is too long.
    pub(super) fn write(
        flow: &Flow<Leg, Guest>,
        place: usize,
        came: Option<&Datagram<'_>>,
        scratch: &mut [u8],
    ) -> Result<usize, DropReason> {
        let (guest, Intent { client, destination, purpose, .. }) = (flow.admitted(), flow.intent());
        let path = flow.path();
        let target = guest.target();
        let send = target.send(target.upstream.endpoint(place));
        let carried = destination.map(|destination| (client, destination));
        let is_local = purpose == Purpose::HealthCheck;
        let later = Datagram::continuing(path.peer, carried, is_local, &[]);
        let digits = send.needs_id().then(|| guest.id.digits());
        let facts = Facts { id: digits.as_ref().map(|digits| &digits[..]), ..Facts::default() };
        let composed = send.compose_datagram(scratch, came.unwrap_or(&later), path.local, facts);
        composed.map_err(|_| DropReason::HeaderTooLong)
    }

    /// Closes, gives back and tells of flows that are over.
    pub(super) fn take_ended(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(mut over) = self.relay.next_ended() {
            self.tell_ended(&over, ctx);
            self.paths.release(over.flow.path(), over.began);
            if let Some(leg) = over.flow.upstream() {
                unlink(&mut self.shared, leg, &over.flow);
            }
            give_back(&mut over);
        }
    }

    /// Returns what is shown of the flows.
    pub(in crate::data) fn views(&self, now: Instant) -> impl Iterator<Item = View> {
        self.relay.flows().map(move |(_, flow)| {
            let (began, last) = self.relay.times(flow);
            let intent = flow.intent();
            View {
                id: flow.admitted().id,
                client: intent.client.into(),
                peer: intent.peer.into(),
                endpoint: endpoint_of(flow),
                bytes_in: flow.up().bytes,
                bytes_out: flow.down().bytes,
                age: now.saturating_duration_since(began),
                idle: now.saturating_duration_since(last),
                phase: if flow.is_answered() { "answered" } else { "unanswered" },
                labels: flow.admitted().target().labels.clone(),
            }
        })
    }

    /// Ends the flow of this name. Says whether there is one.
    pub(in crate::data) fn close_flow(&mut self, id: ConnectionId, ctx: &mut Ctx<'_>) -> bool {
        let found = self.relay.flows().find(|(_, flow)| flow.admitted().id == id);
        let Some((id, _)) = found else { return false };
        self.relay.end(id, EndReason::ClosedByAdmin);
        self.take_ended(ctx);
        true
    }

    /// Has the flows at an endpoint look for another.
    pub(in crate::data) fn reset_at(&mut self, upstream: &str, endpoint: Addr) {
        let is_there = |flow: &Flow<Leg, Guest>| {
            endpoint_of(flow) == Some(endpoint)
                && flow.admitted().target().upstream.name == upstream
        };
        let there: Vec<FlowId> =
            self.relay.flows().filter(|(_, flow)| is_there(flow)).map(|(id, _)| id).collect();
        for id in there {
            if let Some(leg) = self.relay.handle_refused(id)
                && let Some(flow) = self.relay.flow(id)
            {
                unlink(&mut self.shared, &leg, flow);
                leave(flow.admitted(), &leg);
            }
        }
    }
}

/// Returns what is in front of a flow's datagrams to an endpoint, if that is sent SPP.
fn spp_header(flow: &Flow<Leg, Guest>, place: usize) -> Option<Header> {
    let target = flow.admitted().target();
    match target.send(target.upstream.endpoint(place)) {
        Outgoing::Spp { .. } => {
            let mut header = [0; spp::LEN];
            DatagramPort::write(flow, place, None, &mut header).ok()?;
            Some(header)
        }
        Outgoing::Off | Outgoing::V1 { .. } | Outgoing::V2 { .. } => None,
    }
}

/// A flow sends by what it had no more.
fn unlink(shared: &mut Shared<Socket>, leg: &Leg, flow: &Flow<Leg, Guest>) {
    if let Link::Shared(place) = leg.link
        && let Some(header) = spp_header(flow, leg.place())
    {
        shared.leave(place, &header);
    }
}

/// Returns where a flow goes.
pub(super) fn endpoint_of(flow: &Flow<Leg, Guest>) -> Option<Addr> {
    let place = flow.upstream()?.place();
    Some(flow.admitted().target().upstream.endpoint(place).member.addr)
}

/// A flow stands at its endpoint no more.
fn leave(guest: &Guest, leg: &Leg) {
    let Target { upstream, cells, .. } = guest.target();
    upstream.handle_closed(leg.place());
    cells.endpoints[leg.place()].end();
}

/// Gives back what a flow counted for.
pub(super) fn give_back(over: &mut Ended<Leg, Guest>) {
    if let Some(leg) = over.take_upstream() {
        leave(over.flow.admitted(), &leg);
    }
    over.flow.admitted().rules.cells.datagrams.end_flow();
    over.flow.admitted_mut().release();
}

/// Whether the system has no descriptor, memory or port left.
fn is_shortage(error: &io::Error) -> bool {
    sys::is_exhaustion(error) || error.kind() == io::ErrorKind::WouldBlock
}
