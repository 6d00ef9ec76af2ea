//! What a session does next, in each of its phases.
//!
//! Asks, and changes nothing; what came of an action is for `mod.rs` to hear.

use super::action::{Action, Direction, Interest, Side};
use super::flow::Step;
use super::{Phase, Session, Socket};

impl Session {
    /// Returns what to do next. Asking changes nothing.
    pub fn next(&self) -> Action {
        match self.phase {
            Phase::Header if self.up.readable => Action::ReadHeader,
            Phase::Header => Action::Wait,
            Phase::Silence => Action::ReadHeader,
            Phase::Greeting => self.next_greeting(),
            Phase::Routing => Action::Route,
            Phase::Hello if self.client.suspect => Action::TakeError(Side::Client),
            Phase::Hello if self.up.readable => Action::ReadHello,
            Phase::Hello => Action::Wait,
            Phase::Dialing if self.upstream.socket == Socket::Failed => {
                Action::Reset(Side::Upstream)
            }
            Phase::Dialing if self.client.suspect => Action::TakeError(Side::Client),
            Phase::Dialing => Action::Connect,
            Phase::Connecting => self.next_connecting(),
            Phase::Relaying => self.next_relaying(),
            Phase::Aborting(_) => self.next_aborting(),
            Phase::Lingering { shut: false, .. } => Action::Shutdown(Direction::Down),
            Phase::Lingering { .. } if self.up.readable => Action::Discard,
            Phase::Lingering { .. } => Action::Wait,
            Phase::Over(reason) => Action::Close(reason),
        }
    }

    fn next_greeting(&self) -> Action {
        if self.client.suspect {
            return Action::TakeError(Side::Client);
        }
        let is_picked_up = self.met || self.up.buffered > 0;
        match self.up.step() {
            Some(Step::Fill(method)) => Action::Fill(Direction::Up, method),
            Some(Step::Drain | Step::Shutdown | Step::Listen) | None if is_picked_up => {
                Action::Route
            }
            Some(Step::Drain | Step::Shutdown | Step::Listen) | None => Action::Wait,
        }
    }

    fn next_connecting(&self) -> Action {
        if let Some(side) = self.suspect() {
            return Action::TakeError(side);
        }
        match self.up.step() {
            Some(Step::Fill(method)) => Action::Fill(Direction::Up, method),
            Some(Step::Drain) => Action::Drain(Direction::Up),
            // The end waits until there is a connection to pass it on to.
            Some(Step::Shutdown | Step::Listen) | None => Action::Wait,
        }
    }

    fn next_relaying(&self) -> Action {
        if let Some(side) = self.suspect() {
            return Action::TakeError(side);
        }
        let next = self.next_step(self.first).or_else(|| self.next_step(self.first.other()));
        next.unwrap_or_else(|| self.next_at_rest())
    }

    fn next_step(&self, direction: Direction) -> Option<Action> {
        Some(match self.flow(direction).step()? {
            Step::Fill(method) => Action::Fill(direction, method),
            Step::Drain => Action::Drain(direction),
            Step::Shutdown => Action::Shutdown(direction),
            Step::Listen => Action::Watch(direction.source(), Interest::All),
        })
    }

    /// Nothing moves.
    fn next_at_rest(&self) -> Action {
        if self.up.is_to_be_muted() {
            Action::Watch(Side::Client, Interest::Room)
        } else if self.down.is_to_be_muted() {
            Action::Watch(Side::Upstream, Interest::Room)
        } else {
            self.next_check()
        }
    }

    fn next_check(&self) -> Action {
        let is_due = |side: &Side| self.progress.is_due(*side);
        Side::ALL.into_iter().find(is_due).map_or(Action::Wait, Action::CheckUnsent)
    }

    #[cold]
    fn next_aborting(&self) -> Action {
        Side::ALL.into_iter().find_map(|side| self.next_abort_of(side)).unwrap_or(Action::Wait)
    }

    /// Delivers to one side what is still to come, then resets it.
    fn next_abort_of(&self, side: Side) -> Option<Action> {
        let (inward, outward) = (Direction::into(side), Direction::from(side));
        let (end, other) = (self.end(side), self.end(outward.sink()));
        match end.socket {
            Socket::Absent => None,
            Socket::Connecting | Socket::Failed => Some(Action::Reset(side)),
            Socket::Dying if other.socket != Socket::Open || self.flow(outward).eof => {
                Some(Action::Reset(side))
            }
            // Its last bytes are read and delivered; that waits while the other side takes nothing.
            Socket::Dying => {
                let flow = self.flow(outward);
                (flow.buffered == 0).then_some(Action::Fill(outward, flow.method()))
            }
            // Behind an RST, what is unsent would never become less.
            Socket::Open if end.suspect => Some(Action::TakeError(side)),
            Socket::Open if self.flow(inward).buffered > 0 && self.flow(inward).writable => {
                Some(Action::Drain(inward))
            }
            // What it takes is progress, though nothing can be added yet.
            Socket::Open if self.progress.is_due(side) => Some(Action::CheckUnsent(side)),
            Socket::Open if self.flow(inward).buffered > 0 => None,
            Socket::Open if other.socket == Socket::Dying => None,
            Socket::Open if self.flow(inward).moved == 0 || self.progress.is_empty(side) => {
                Some(Action::Reset(side))
            }
            Socket::Open => None,
        }
    }

    /// Returns whose error was announced and has not been fetched.
    fn suspect(&self) -> Option<Side> {
        if self.client.suspect {
            Some(Side::Client)
        } else {
            self.upstream.suspect.then_some(Side::Upstream)
        }
    }
}
