//! What is told of a connection to whoever asks at a door.

use std::time::Instant;

use super::Connection;
use crate::core::session::Direction;
use crate::data::listing::View;

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
            labels: self.target().labels.clone(),
        }
    }
}
