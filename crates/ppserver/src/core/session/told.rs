//! What a session tells of itself to whoever asks.

use std::time::{Duration, Instant};

use super::{Phase, Session};

impl Session {
    /// Returns the word for where it is on its way.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Header | Phase::Silence => "header",
            Phase::Routing | Phase::Hello => "routing",
            Phase::Greeting | Phase::Dialing | Phase::Connecting => "connecting",
            Phase::Relaying => "relaying",
            Phase::Aborting(_) | Phase::Lingering { .. } | Phase::Over(_) => "closing",
        }
    }

    /// Returns for how long no byte is known to have moved.
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.progress.moved_at())
    }
}
