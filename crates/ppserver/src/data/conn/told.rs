//! What is told of a connection to whoever asks at a door.

use std::time::Instant;

use ppcore::Error;

use super::{Connection, Ctx};
use crate::core::close_reason::CloseReason;
use crate::core::session::Direction;
use crate::data::listing::View;
use crate::telemetry::refusals::Refused;

impl Connection {
    /// Returns what is shown of it.
    pub(in crate::data) fn view(&self, now: Instant) -> View {
        View {
            id: self.id,
            client: self.intent.client,
            peer: self.intent.peer,
            endpoint: self.endpoint_addr(),
            bytes_in: self.payload(Direction::Up),
            bytes_out: self.payload(Direction::Down),
            age: now.saturating_duration_since(self.began),
            idle: self.session.idle(now),
            phase: self.session.phase(),
            labels: self.rules.labels.clone(),
        }
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
