//! Who is refused: the line of the log, and the note that a door shows.

use ppcore::{Error, ErrorKind};
use pptrust::Refusal;
use socket2::Socket;

use super::{Connection, Ctx, tell_end};
use crate::core::addr::Peer;
use crate::core::close_reason::CloseReason;
use crate::core::connection_id::ConnectionId;
use crate::core::intent::{Intent, Purpose};
use crate::core::session::Verdict;
use crate::data::rules::{Rules, Taken};
use crate::data::sys;
use crate::telemetry::access_log::Record;
use crate::telemetry::refusals::{self, Refused};
use crate::telemetry::{log, log_throttle};

impl Connection {
    /// Refuses a peer that is not let in: a reset, before a byte is read.
    pub(in crate::data) fn refuse(
        id: ConnectionId,
        rules: &Rules,
        client: &Socket,
        peer: Peer,
        reason: CloseReason,
        ctx: &mut Ctx<'_>,
    ) {
        sys::reset_on_close(client);
        ctx.refused.note(Refused::new(ctx.unix_time, rules.name(), peer, reason, &[]));
        let (listener, now) = (rules.name(), ctx.now);
        let mut may = || ctx.refusal_lines.allow(now);
        // Whoever is not trusted comes again and again, as a probe does; the others do not.
        let line = if reason == CloseReason::Untrusted {
            let noted = log_throttle::note(peer.ip(), now, may);
            noted.map(|(connections, suppressed)| (Some(connections), suppressed))
        } else {
            may().map(|suppressed| (None, suppressed))
        };
        if let Some((connections, suppressed)) = line {
            let (why, reason) = (refusals::words(reason), reason.name());
            tracing::warn!(listener, %peer, reason, why, connections, suppressed, "refused");
        }
        let intent = Intent::plain(peer);
        let record = Record {
            id,
            listener: rules.name(),
            intent: &intent,
            route: None,
            sni: None,
            upstream: &rules.target(None).upstream.name,
            endpoint: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0,
            end: reason.name(),
            tlvs: &[],
        };
        tell_end(&record, Purpose::Service, ctx);
        rules.cells.close(reason);
        ctx.cells.close();
    }

    /// Says why a header is refused.
    pub(super) fn refused(&self, refusal: Refusal, piece: &[u8], ctx: &mut Ctx<'_>) -> Verdict {
        let bytes = if self.held().is_empty() { piece } else { self.held() };
        let error = match refusal {
            Refusal::Header(error) => error,
            Refusal::Denied | Refusal::Forbidden => return Verdict::Refuse(CloseReason::Untrusted),
        };
        let kind = error.kind();
        self.rules.cells.refuse_header(kind);
        let reason = if kind == ErrorKind::Truncated {
            CloseReason::HeaderTruncated
        } else if kind == ErrorKind::NotProxy {
            CloseReason::HeaderAbsent
        } else {
            CloseReason::HeaderInvalid
        };
        self.note_refusal(reason, Some(error), bytes, ctx);
        if let Some(suppressed) = ctx.refusal_lines.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name(),
                peer = %self.intent.peer,
                reason = reason.name(),
                error = kind.name(),
                offset = error.offset(),
                bytes = log::first_bytes(bytes),
                looks_like = refusals::like(error, bytes).map(tracing::field::display),
                suppressed,
                why = self.rules.why(error, bytes),
                "refused",
            );
        }
        Verdict::Refuse(reason)
    }

    /// Says that no header came in time, and what came instead.
    pub(super) fn report_timeout(&self, ctx: &mut Ctx<'_>) {
        self.note_refusal(CloseReason::HeaderTimeout, None, self.held(), ctx);
        if let Some(suppressed) = ctx.refusal_lines.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name(),
                peer = %self.intent.peer,
                reason = CloseReason::HeaderTimeout.name(),
                offset = self.held().len(),
                bytes = log::first_bytes(self.held()),
                suppressed,
                why = refusals::words(CloseReason::HeaderTimeout),
                "refused",
            );
        }
    }

    /// Refuses a client for who it is.
    #[cold]
    pub(super) fn turn_away(&mut self, reason: CloseReason, ctx: &mut Ctx<'_>) {
        self.note_refusal(reason, None, &[], ctx);
        if let Some(suppressed) = ctx.refusal_lines.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name(),
                peer = %self.intent.peer,
                client = %self.intent.client,
                reason = reason.name(),
                route = self.taken.map(Taken::number),
                suppressed,
                why = refusals::words(reason),
                "refused",
            );
        }
        self.session.handle_refused(reason, ctx.now);
    }

    /// Makes a note of its refusal.
    pub(super) fn note_refusal(
        &self,
        reason: CloseReason,
        error: Option<Error>,
        bytes: &[u8],
        ctx: &Ctx<'_>,
    ) {
        let (listener, peer) = (self.rules.name(), self.intent.peer);
        let refused = Refused::new(ctx.unix_time, listener, peer, reason, bytes);
        ctx.refused.note(refused.with_error(error, self.rules.header_bytes_max()));
    }
}
