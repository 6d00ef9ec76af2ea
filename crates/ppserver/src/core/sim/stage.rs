//! Where a session is, told from outside: a second, cruder idea of the machine.
//!
//! It hears what the session hears and follows it to a stage, from which come the deadline and the
//! reason to close. It decides nothing and judges nothing.

use std::time::Instant;

use super::oracle::View;
use super::shell::Outcome;
use crate::core::close_reason::CloseReason;
use crate::core::session::{
    Action, Direction, Failure, LINGER_MAX, Method, Opening, Policy, Readiness, Received, Sent,
    Side, Verdict,
};

/// Where a session is, as far as one can tell from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Header,
    Greeting,
    Opening,
    Connecting { since: Instant },
    Relaying { active_at: Instant },
    Lingering { since: Instant },
    Ending { since: Instant, reason: CloseReason },
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Course {
    /// Its source is known to have ended.
    pub(super) has_ended: bool,
    /// A short read took all there was before its FIN: the session may know, if it was told.
    pub(super) may_have_ended: bool,
    pub(super) is_shut: bool,
    /// Bytes that were sent on.
    pub(super) moved: u64,
}

/// What a session was told so far.
#[derive(Clone, Debug, Hash)]
pub(super) struct Story {
    policy: Policy,
    pub(super) stage: Stage,
    header_deadline: Instant,
    up: Course,
    down: Course,
    attempts: usize,
    /// An event of the upstream's said that it is writable.
    upstream_announced: bool,
    pub(super) is_stopped: bool,
    /// The client was answered by us, so its FIN is ours.
    pub(super) was_answered: bool,
    /// Bytes of a client that was answered.
    pub(super) discarded: usize,
    /// The upstream stood, and the session knew.
    pub(super) has_stood: bool,
}

impl Story {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            stage: match policy.opening {
                Opening::Header => Stage::Header,
                Opening::Payload => Stage::Greeting,
            },
            header_deadline: now + policy.header_timeout,
            up: Course::default(),
            down: Course::default(),
            attempts: 0,
            upstream_announced: false,
            is_stopped: false,
            was_answered: false,
            discarded: 0,
            has_stood: false,
        }
    }

    /// An event is about to be told to the session.
    pub(super) fn note_event(&mut self, side: Side, ready: Readiness, now: Instant) {
        if side == Side::Upstream && ready.writable {
            self.upstream_announced = true;
            if !ready.error {
                self.establish(now);
            }
        }
    }

    /// Bytes came: did they take all there was before a FIN?
    pub(super) fn note_bytes(&mut self, action: Action, view: View<'_>) {
        let direction = match action {
            Action::Fill(direction, _) => direction,
            Action::Wait
            | Action::ReadHeader
            | Action::Greet
            | Action::Connect
            | Action::Probe(_)
            | Action::Drain(_)
            | Action::Shutdown(_)
            | Action::Discard
            | Action::CheckUnsent(_)
            | Action::Reset(_)
            | Action::Close(_) => Direction::Up,
        };
        let source = view.shell.socket(direction.source()).map(|fd| view.kernel.look(fd));
        self.course_mut(direction).may_have_ended =
            source.is_some_and(|socket| socket.fin_received && socket.received.is_empty());
    }

    /// An action was performed.
    pub(super) fn note_outcome(&mut self, action: Action, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Header(Received::Failed(_), _) => self.end(CloseReason::ClientReset, now),
            Outcome::Header(received, verdict) => {
                self.up.has_ended |= received == Received::End;
                match verdict {
                    Verdict::Incomplete => {}
                    Verdict::Relay { .. } => self.stage = Stage::Opening,
                    Verdict::Answer => {
                        self.was_answered = true;
                        self.stage = Stage::Lingering { since: now };
                    }
                    Verdict::Refuse(reason) => self.end(reason, now),
                }
            }
            Outcome::Greeted => self.stage = Stage::Opening,
            Outcome::Refused(reason) => self.end(reason, now),
            Outcome::Connecting => {
                self.attempts += 1;
                self.upstream_announced = false;
                self.stage = Stage::Connecting { since: now };
            }
            Outcome::ConnectFailed(reason) => {
                self.attempts += 1;
                self.retry(reason, now);
            }
            Outcome::Probed(Some(failure)) => {
                if let Action::Probe(side) = action {
                    self.fail(side, failure, now);
                }
            }
            Outcome::Probed(None)
                if self.upstream_announced && action == Action::Probe(Side::Upstream) =>
            {
                self.establish(now);
            }
            Outcome::Probed(None) | Outcome::Unsent(_) | Outcome::Reset | Outcome::Closed => {}
            Outcome::Filled(method, received) => {
                let Action::Fill(direction, _) = action else { return };
                let is_end = received == Received::End && method == Method::Copy;
                self.course_mut(direction).has_ended |= is_end;
                if matches!(received, Received::Bytes { .. }) || is_end {
                    self.touch(now);
                }
                if let Received::Failed(failure) = received {
                    self.fail(direction.source(), failure, now);
                }
            }
            Outcome::Drained(sent) => {
                let Action::Drain(direction) = action else { return };
                match sent {
                    Sent::Bytes(count) => {
                        self.course_mut(direction).moved += count as u64;
                        if direction == Direction::Up {
                            self.establish(now);
                        }
                        self.touch(now);
                    }
                    Sent::WouldBlock => {}
                    Sent::Failed(failure) => self.fail(direction.sink(), failure, now),
                }
            }
            Outcome::Shut(failure) => self.note_shut(action, failure, now),
            Outcome::Discarded(received) => match received {
                Received::End | Received::Failed(_) => self.end(CloseReason::LocalAnswered, now),
                Received::Bytes { count, .. } => self.discarded += count,
                Received::WouldBlock => {}
            },
        }
    }

    fn note_shut(&mut self, action: Action, failure: Option<Failure>, now: Instant) {
        let Action::Shutdown(direction) = action else { return };
        if matches!(self.stage, Stage::Lingering { .. }) {
            if failure.is_some() {
                self.end(CloseReason::LocalAnswered, now);
            }
            return;
        }
        if let Some(failure) = failure {
            return self.fail(direction.sink(), failure, now);
        }
        let course = self.course_mut(direction);
        (course.has_ended, course.is_shut) = (true, true);
    }

    pub(super) fn note_stop(&mut self, now: Instant) {
        self.is_stopped = true;
        self.end(CloseReason::Drained, now);
    }

    /// The time has come, and the session had nothing else to do or would not wait for it.
    pub(super) fn note_timeout(&mut self, now: Instant) {
        match self.stage {
            Stage::Header => self.end(CloseReason::HeaderTimeout, now),
            Stage::Connecting { .. } => self.retry(CloseReason::ConnectTimeout, now),
            Stage::Relaying { .. } if self.is_half_closed() => {
                self.end(CloseReason::HalfClosedTimeout, now);
            }
            Stage::Relaying { .. } => self.end(CloseReason::IdleTimeout, now),
            Stage::Lingering { .. } => self.end(CloseReason::LocalAnswered, now),
            Stage::Greeting | Stage::Opening | Stage::Ending { .. } => {}
        }
    }

    /// Returns the deadline a session must have, if it must have one, given the one it has.
    ///
    /// A session may infer an end from a short read, and its deadline is the first that tells.
    pub(super) fn deadline(&mut self, told: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Header => Some(self.header_deadline),
            Stage::Connecting { since } => Some(since + self.policy.connect_timeout),
            Stage::Lingering { since } => Some(since + LINGER_MAX),
            Stage::Relaying { active_at } => {
                let half_closed = active_at + self.policy.half_closed_timeout;
                if !self.is_half_closed() && told == half_closed {
                    for course in [&mut self.up, &mut self.down] {
                        course.has_ended = course.may_have_ended;
                    }
                }
                let idle = active_at + self.policy.idle_timeout;
                Some(if self.is_half_closed() { half_closed } else { idle })
            }
            Stage::Greeting | Stage::Opening | Stage::Ending { .. } => None,
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// Returns whether a timeout waits for work that is in hand.
    pub(super) fn is_patient(&self) -> bool {
        matches!(self.stage, Stage::Relaying { .. })
    }

    fn is_half_closed(&self) -> bool {
        self.up.has_ended || self.down.has_ended
    }

    pub(super) fn end(&mut self, reason: CloseReason, now: Instant) {
        if !matches!(self.stage, Stage::Ending { .. }) {
            self.stage = Stage::Ending { since: now, reason };
        }
    }

    fn fail(&mut self, side: Side, failure: Failure, now: Instant) {
        let is_connecting = matches!(self.stage, Stage::Connecting { .. });
        if side == Side::Upstream && is_connecting && failure == Failure::Other {
            return self.retry(CloseReason::ConnectFailed, now);
        }
        self.has_stood |= side == Side::Upstream;
        self.end(
            match side {
                Side::Client => CloseReason::ClientReset,
                Side::Upstream => CloseReason::UpstreamReset,
            },
            now,
        );
    }

    fn retry(&mut self, reason: CloseReason, now: Instant) {
        if self.attempts < self.policy.attempts_max {
            self.stage = Stage::Opening;
        } else {
            self.end(reason, now);
        }
    }

    fn establish(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Connecting { .. }) {
            self.stage = Stage::Relaying { active_at: now };
            self.has_stood = true;
        }
    }

    fn touch(&mut self, now: Instant) {
        if let Stage::Relaying { active_at } = &mut self.stage {
            *active_at = now;
        }
    }

    pub(super) fn course(&self, direction: Direction) -> &Course {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn course_mut(&mut self, direction: Direction) -> &mut Course {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}
