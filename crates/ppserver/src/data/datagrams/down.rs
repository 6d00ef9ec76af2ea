//! What comes from upstreams: what the sockets of flows that are ready have, sent to their clients in bundles.

use std::io;
use std::sync::Arc;

use ppcore::spp;
use pptrust::Outgoing;

use super::DatagramPort;
use super::batch::{Batch, send_error};
use super::flows::{Guest, Leg, Link};
use crate::core::session::Direction;
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::outbox::{Bundle, Failed, Lane, Piece};
use crate::core::udp::segments::segments;
use crate::core::udp::{Flow, FlowId, Path};
use crate::data::conn::Ctx;
use crate::data::sys;
use crate::data::sys::datagrams::Way;

impl DatagramPort {
    /// Takes what the sockets of flows have, as much as there is room for, and sends it on.
    pub(super) fn take_answers(&mut self, batch: &mut Batch, ctx: &mut Ctx<'_>) {
        batch.clear();
        while batch.messages.room() > 0
            && let Some(id) = self.ready.pop_front()
        {
            self.receive_from(id, batch, ctx);
        }
        while batch.messages.room() > 0
            && let Some(place) = self.shared.next_ready()
        {
            self.receive_from_shared(place, batch, ctx);
        }
        self.send_down(batch);
    }

    fn receive_from(&mut self, id: FlowId, batch: &mut Batch, ctx: &mut Ctx<'_>) {
        let Some(leg) = self.relay.upstream_mut(id) else { return };
        leg.is_ready = false;
        let Link::Own(socket) = &leg.link else { return };
        let room = batch.messages.room();
        batch.count_call();
        match batch.messages.receive(socket) {
            Ok(received) => {
                if received.len() > 1 && !leg.is_aggregating {
                    // Not at once: for one answer it is not worth a call.
                    leg.is_aggregating = true;
                    sys::datagrams::aggregate(socket);
                }
                if received.len() == room {
                    self.make_ready(id);
                }
                for at in received {
                    self.judge_answer(id, at, batch, ctx);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.refuse(id, &error, ctx),
        }
    }

    /// Takes what has come to a socket that flows share. Each message is one datagram there.
    fn receive_from_shared(&mut self, place: u32, batch: &mut Batch, ctx: &mut Ctx<'_>) {
        let Some(socket) = self.shared.socket(place) else { return };
        let room = batch.messages.room();
        batch.count_call();
        match batch.messages.receive(socket) {
            Ok(received) => {
                if received.len() == room {
                    self.shared.make_ready(place);
                }
                for at in received {
                    match self.shared.whose(place, batch.messages.bytes(at)) {
                        Ok(id) => self.judge_answer(id, at, batch, ctx),
                        Err(reason) => self.relay.handle_no_answer(reason),
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                if let Some(id) = self.shared.take_last(place) {
                    self.refuse(id, &error, ctx);
                }
                self.shared.make_ready(place);
            }
        }
    }

    fn judge_answer(&mut self, id: FlowId, at: usize, batch: &mut Batch, ctx: &mut Ctx<'_>) {
        let Some(message) = batch.messages.get(at) else { return };
        let (len, segment, is_cut) = (message.bytes.len(), message.segment, message.is_cut);
        if is_cut {
            return self.relay.handle_cut(Direction::Down);
        }
        for segment in segments(len, segment) {
            let answer = batch.messages.bytes(at).get(segment.clone()).unwrap_or_default();
            let begins = match self.relay.flow(id) {
                Some(flow) => header_len(flow, answer, ctx.scratch),
                None => Some(0),
            };
            let Some(begins) = begins else {
                self.relay.handle_no_answer(DropReason::AnswerInvalid);
                continue;
            };
            let from = self.relay.flow(id).and_then(|flow| {
                let place = flow.upstream()?.place();
                Some((Arc::clone(&flow.admitted().target().upstream), place))
            });
            let Some(answer) = self.relay.handle_answer(id, segment.len() - begins, ctx.now) else {
                continue;
            };
            if let (true, Some((upstream, place))) = (answer.is_first, from) {
                upstream.handle_flow_answered(place);
            }
            let header = match (self.rules.datagrams.is_spp, answer.intent.destination) {
                (true, Some(destination)) => {
                    let addresses = ppcore::Addresses::pair(answer.intent.client, destination);
                    let len = spp::encode(ctx.scratch, &addresses).unwrap_or_default();
                    batch.keep(&ctx.scratch[..len])
                }
                (true, None) | (false, _) => 0..0,
            };
            let payload = segment.start + begins..segment.end;
            let piece = Piece { flow: id, header, message: at, payload };
            batch.outbox.push(Lane::Back(answer.path), piece);
        }
    }

    fn send_down(&mut self, batch: &mut Batch) {
        let is_wild = self.addr.ip().is_unspecified();
        while let Some(bundle) = batch.outbox.next() {
            let first = bundle.lane;
            let way = |bundle: Bundle<'_>| {
                let path = back(bundle.lane).filter(|path| self.paths.of(*path).is_none())?;
                Some(Some(Way { to: path.peer, from: is_wild.then_some(path.local) }))
            };
            let is_its = |bundle: Bundle<'_>| (bundle.lane == first).then_some(None);
            let own = back(first).and_then(|path| self.paths.of(path));
            let sent = match (own, &self.socket) {
                (Some(own), _) => batch.send(own, is_its),
                (None, Some(port)) => batch.send(&**port, way),
                (None, None) => Err(io::ErrorKind::NotConnected.into()),
            };
            match sent {
                Ok(sent) => {
                    for bytes in sent.bytes() {
                        let count = batch.outbox.handle_sent();
                        self.relay.handle_sent(Direction::Down, count);
                        self.rules.cells.bytes_down.add(bytes as u64);
                    }
                }
                Err(error) => match batch.outbox.handle_failed(send_error(&error)) {
                    // Of a client that is gone nobody tells but an error that is not its own.
                    Failed::Again(_) | Failed::Singly => {}
                    Failed::Dropped(reason, count) => {
                        self.relay.handle_dropped(Direction::Down, reason, count);
                    }
                },
            }
        }
    }
}

/// Returns the path of an answer.
const fn back(lane: Lane) -> Option<Path> {
    match lane {
        Lane::Back(path) => Some(path),
        Lane::Flow(_) | Lane::Shared(_) => None,
    }
}

/// Returns how long the header of an answer is; `None` if it is not that of its flow.
fn header_len(flow: &Flow<Leg, Guest>, answer: &[u8], scratch: &mut [u8]) -> Option<usize> {
    let place = flow.upstream()?.place();
    let target = flow.admitted().target();
    match target.send(target.upstream.endpoint(place)) {
        Outgoing::Off | Outgoing::V1 { .. } | Outgoing::V2 { .. } => Some(0),
        Outgoing::Spp { .. } => {
            let len = DatagramPort::compose(flow, place, None, scratch).ok()?;
            answer.starts_with(&scratch[..len]).then_some(len)
        }
    }
}
