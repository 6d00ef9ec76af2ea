//! What comes from clients: a batch from the listening socket, judged one by one, and sent on in bundles.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::DatagramPort;
use super::batch::{Batch, send_error};
use super::entrance::{self, Entrance};
use super::flows::Link;
use super::{Parting, Standing};
use crate::config::Datagrams;
use crate::core::connection_id::ConnectionIds;
use crate::core::session::Direction;
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::end_reason::EndReason;
use crate::core::udp::outbox::{Bundle, Failed, Lane, Piece, SendError};
use crate::core::udp::segments::segments;
use crate::core::udp::{Flow, FlowId, Path, Verdict};
use crate::data::conn::Ctx;
use crate::data::rules::Rules;

/// The header that was written last, which the next datagram of the flow may be sent too.
type Last = Option<(FlowId, Range<usize>)>;

/// Where a datagram came, and lies.
#[derive(Clone, Debug)]
struct Came {
    path: Path,
    message: usize,
    /// Its place in the message.
    segment: Range<usize>,
}

impl DatagramPort {
    /// Takes a batch and sends it on.
    pub(super) fn take_datagrams(
        &mut self,
        batch: &mut Batch,
        ids: &mut ConnectionIds,
        ctx: &mut Ctx<'_>,
    ) {
        batch.clear();
        batch.count_call();
        let room = batch.messages.room();
        let Some(socket) = &self.socket else { return };
        let received = match batch.messages.receive(&**socket) {
            Ok(received) => received,
            Err(error) => {
                (self.is_readable, self.waiting_max) = (false, 0);
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::debug!(%error, "a listening socket tells of an error");
                }
                return;
            }
        };
        // What comes from now on is told by an edge.
        self.is_readable = received.len() == room;
        self.waiting_max = if self.is_readable { self.waiting_max.saturating_sub(room) } else { 0 };
        self.judge_batch(received, self.addr, batch, ids, ctx);
    }

    /// Judges what has come to a socket at this address, and sends it on.
    pub(super) fn judge_batch(
        &mut self,
        received: Range<usize>,
        at: SocketAddr,
        batch: &mut Batch,
        ids: &mut ConnectionIds,
        ctx: &mut Ctx<'_>,
    ) {
        let rules = Arc::clone(&self.rules);
        let mut last = None;
        for index in received {
            let Some(message) = batch.messages.get(index) else { continue };
            if message.is_cut {
                self.relay.handle_cut(Direction::Up);
                continue;
            }
            let local = message.local.map_or(at, |ip| (ip, at.port()).into());
            let path = Path { peer: message.peer, local };
            for segment in segments(message.bytes.len(), message.segment) {
                let came = Came { path, message: index, segment };
                self.judge_datagram(came, &rules, &mut last, batch, ids, ctx);
            }
        }
        self.send_up(batch, ctx);
    }

    fn judge_datagram(
        &mut self,
        Came { path, message, segment }: Came,
        rules: &Arc<Rules>,
        last: &mut Last,
        batch: &mut Batch,
        ids: &mut ConnectionIds,
        ctx: &mut Ctx<'_>,
    ) {
        let datagram = batch.messages.bytes(message).get(segment.clone()).unwrap_or_default();
        let elapsed_ns = ctx.elapsed_ns;
        let (header, error) = (None, None);
        let mut entrance = Entrance { rules, ids, elapsed_ns, datagram, header, error };
        let verdict = self.relay.judge(path, datagram, &mut entrance, ctx.now);
        let has_tlvs = entrance.has_tlvs();
        let (id, header_len) = match verdict {
            Verdict::Relay(id, header_len) => (id, header_len),
            Verdict::Dial(id, header_len) => {
                if let Err(reason) = self.begin(id, ctx).and_then(|()| self.dial(id, ctx)) {
                    self.relay.handle_dropped(Direction::Up, reason, 1);
                    return;
                }
                (id, header_len)
            }
            Verdict::Drop(reason) => {
                let error = entrance.error;
                return self.tell_dropped(path.peer, reason, error, datagram, ctx);
            }
        };
        let Some(flow) = self.relay.flow(id) else { return };
        let Some(leg) = flow.upstream() else { return };
        let (place, lane) = (leg.place(), leg.lane(id));
        let header = match &*last {
            _ if flow.admitted().target().datagrams == Datagrams::First => 0..0,
            Some((before, header)) if *before == id && !has_tlvs => header.clone(),
            Some(_) | None => {
                // TLVs are each datagram's own.
                let policy = rules.policy(path.peer);
                let came = match has_tlvs {
                    true => entrance::read(rules, policy, path, datagram).ok(),
                    false => None,
                };
                match Self::compose(flow, place, came.as_ref(), ctx.scratch) {
                    Ok(len) => batch.keep(&ctx.scratch[..len]),
                    Err(reason) => return self.relay.handle_dropped(Direction::Up, reason, 1),
                }
            }
        };
        *last = (!has_tlvs).then(|| (id, header.clone()));
        let payload = segment.start + header_len..segment.end;
        batch.outbox.push(lane, Piece { flow: id, header, message, payload });
    }

    /// Has a flow whose first datagram has come begin.
    ///
    /// # Errors
    /// When it is to have a socket of its own, and there is none to be had.
    fn begin(&mut self, id: FlowId, ctx: &Ctx<'_>) -> Result<(), DropReason> {
        let flow = self.relay.flow(id).filter(|flow| flow.up().datagrams == 1);
        let Some(path) = flow.map(Flow::path) else { return Ok(()) };
        if self.hold(path, ctx).is_err() && self.standing == Standing::Parting(Parting::ToNobody) {
            self.relay.end(id, EndReason::Reloaded);
            return Err(DropReason::Resources);
        }
        Ok(())
    }

    fn send_up(&mut self, batch: &mut Batch, ctx: &mut Ctx<'_>) {
        while let Some(bundle) = batch.outbox.next() {
            if bundle.is_mixed && !self.is_by(bundle.lane, bundle) {
                batch.outbox.part();
                continue;
            }
            let id = bundle.flow;
            if let Err(reason) = self.prepare(id, batch, ctx) {
                let count = batch.outbox.handle_dropped();
                self.relay.handle_dropped(Direction::Up, reason, count);
                continue;
            }
            let Some(leg) = self.relay.flow(id).and_then(Flow::upstream) else { continue };
            let lane = leg.lane(id);
            if let Lane::Shared(place) = lane {
                self.shared.note_sent(place, id);
            }
            let socket = match &leg.link {
                Link::Own(socket) => Some(socket),
                Link::Shared(place) => self.shared.socket(*place),
            };
            let way = |bundle: Bundle<'_>| self.is_by(lane, bundle).then_some(None);
            let sent = match socket {
                Some(socket) => batch.send(socket, way),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            match sent {
                Ok(sent) => {
                    if let Some(leg) = self.relay.upstream_mut(id) {
                        leg.has_sent = true;
                    }
                    for bytes in sent.bytes() {
                        let count = batch.outbox.handle_sent();
                        self.relay.handle_sent(Direction::Up, count);
                        self.rules.cells.bytes_up.add(bytes as u64);
                    }
                }
                Err(error) => match batch.outbox.handle_failed(send_error(&error)) {
                    Failed::Again(id) => self.refuse(id, &error, ctx),
                    Failed::Singly => {}
                    Failed::Dropped(reason, count) => {
                        self.relay.handle_dropped(Direction::Up, reason, count);
                        if send_error(&error) == SendError::Refused {
                            self.refuse(id, &error, ctx);
                        }
                    }
                },
            }
        }
    }

    /// Whether the flows of a bundle go by this lane now.
    fn is_by(&self, lane: Lane, bundle: Bundle<'_>) -> bool {
        let goes = |flow: FlowId| {
            let leg = self.relay.flow(flow).and_then(Flow::upstream);
            leg.is_some_and(|leg| leg.lane(flow) == lane)
        };
        let first = bundle.pieces().take(if bundle.is_mixed { bundle.len() } else { 1 });
        first.map(|piece| piece.flow).all(goes)
    }

    /// Sees to it that what is next can be sent: the flow has an endpoint, and what is the first one there has the header that
    /// the first one has.
    fn prepare(
        &mut self,
        id: FlowId,
        batch: &mut Batch,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), DropReason> {
        if self.relay.flow(id).ok_or(DropReason::NoFlow)?.upstream().is_none() {
            self.dial(id, ctx)?;
        }
        let flow = self.relay.flow(id).ok_or(DropReason::NoFlow)?;
        let leg = flow.upstream().ok_or(DropReason::NoEndpoint)?;
        if flow.admitted().target().datagrams == Datagrams::First && !leg.has_sent {
            let len = Self::compose(flow, leg.place(), None, ctx.scratch)?;
            let header = batch.keep(&ctx.scratch[..len]);
            batch.outbox.lead(header);
        }
        Ok(())
    }
}
