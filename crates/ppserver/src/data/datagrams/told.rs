//! What is told of datagrams that went nowhere, and of flows that are over.

use std::net::SocketAddr;

use ppcore::Error;

use super::DatagramPort;
use super::flows::{Guest, Leg, endpoint_of};
use crate::core::addr::Peer;
use crate::core::close_reason::CloseReason;
use crate::core::intent::Intent;
use crate::core::udp::Ended;
use crate::core::udp::drop_reason::DropReason;
use crate::data::conn::{Ctx, tell_end};
use crate::data::rules::Taken;
use crate::telemetry::access_log::Record;
use crate::telemetry::log;
use crate::telemetry::log_throttle;
use crate::telemetry::refusals::{self, Refused};

impl DatagramPort {
    /// Tells of a datagram that was dropped for what it is or whose it is, as often as lines are allowed.
    #[cold]
    pub(super) fn tell_dropped(
        &self,
        peer: SocketAddr,
        reason: DropReason,
        error: Option<Error>,
        bytes: &[u8],
        ctx: &mut Ctx<'_>,
    ) {
        if let Some(error) = error {
            self.rules.cells.refuse_header(error.kind());
        }
        let from = Peer::Inet(peer);
        let Some(close_reason) = close_reason(reason) else { return };
        let Some(suppressed) = ctx.refusal_lines.allow(ctx.now) else { return };
        // Whoever is not trusted comes again and again.
        if reason == DropReason::Untrusted
            && log_throttle::note(Some(peer.ip()), ctx.now, || Some(())).is_none()
        {
            return;
        }
        let bytes = if error.is_some() { bytes } else { &[] };
        let refused = Refused::new(ctx.unix_time, self.rules.name(), from, close_reason, bytes);
        ctx.refused.note(refused.with_error(error, self.rules.header_bytes_max()));
        let why = match error {
            Some(error) => self.rules.why(error, bytes),
            None => refusals::words(close_reason).to_owned(),
        };
        tracing::warn!(
            listener = self.rules.name(),
            %peer,
            reason = reason.name(),
            error = error.map(|error| error.kind().name()),
            offset = error.map(|error| error.offset()),
            bytes = error.map(|_| tracing::field::display(log::first_bytes(bytes))),
            suppressed,
            why,
            "dropped",
        );
    }

    /// Tells of a flow that is over.
    pub(super) fn tell_ended(&self, over: &Ended<Leg, Guest>, ctx: &mut Ctx<'_>) {
        let (flow, guest) = (&over.flow, over.flow.admitted());
        let Intent { peer, client, destination, version, purpose } = flow.intent();
        let (peer, client) = (Peer::Inet(peer), Peer::Inet(client));
        let intent = Intent { peer, client, destination, version, purpose };
        let record = Record {
            id: guest.id,
            listener: guest.rules.name(),
            intent: &intent,
            route: guest.taken.map(Taken::number),
            sni: None,
            upstream: &guest.target().upstream.name,
            endpoint: endpoint_of(flow),
            bytes_in: flow.up().bytes,
            bytes_out: flow.down().bytes,
            duration_ms: over.last.saturating_duration_since(over.began).as_millis(),
            end: over.reason.name(),
            tlvs: &[],
        };
        tell_end(&record, purpose, ctx);
    }
}

/// Why a connection would be refused that came with this, if anybody is to be told.
fn close_reason(reason: DropReason) -> Option<CloseReason> {
    match reason {
        DropReason::Untrusted => Some(CloseReason::Untrusted),
        DropReason::HeaderAbsent => Some(CloseReason::HeaderAbsent),
        DropReason::HeaderInvalid => Some(CloseReason::HeaderInvalid),
        DropReason::HeaderTruncated => Some(CloseReason::HeaderTruncated),
        DropReason::Denied => Some(CloseReason::Denied),
        DropReason::Limited => Some(CloseReason::Limited),
        DropReason::LocalAnswered
        | DropReason::LocalRejected
        | DropReason::Cut
        | DropReason::Draining
        | DropReason::NoEndpoint
        | DropReason::EndpointsFull
        | DropReason::Resources
        | DropReason::HeaderTooLong
        | DropReason::TooLong
        | DropReason::Refused
        | DropReason::Blocked
        | DropReason::SendFailed
        | DropReason::NoFlow
        | DropReason::AnswerInvalid => None,
    }
}
