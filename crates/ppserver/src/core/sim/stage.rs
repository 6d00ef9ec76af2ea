//! Where a session is, told from outside: a second, cruder idea of the machine.
//!
//! It hears what the session hears and follows it to a stage, from which come the deadline and the
//! reason to close. It decides nothing and judges nothing.

use std::time::{Duration, Instant};

use super::oracle::View;
use super::shell::Outcome;
use crate::core::close_reason::CloseReason;
use crate::core::session::{
    Action, Direction, Failure, FirstBytes, Hello, LINGER_MAX, Method, Policy, Readiness,
    ReceiveResult, SILENCE_PART, SendResult, Side, Verdict,
};

/// Where a session is, as far as one can tell from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Header,
    /// The header's deadline has passed, and nothing had come.
    Silence,
    Greeting,
    Hello {
        since: Instant,
    },
    Dialing,
    Connecting {
        since: Instant,
    },
    Relaying,
    Lingering {
        since: Instant,
    },
    Ending {
        since: Instant,
        reason: CloseReason,
    },
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

/// What is known of the queue of one of our sockets.
#[derive(Clone, Copy, Debug, Hash)]
struct Looked {
    /// When the peer acknowledged something.
    taken_at: Instant,
    /// The session has looked since something was put into it.
    has_looked: bool,
}

/// What a session was told so far.
#[derive(Clone, Debug, Hash)]
pub(super) struct Story {
    policy: Policy,
    pub(super) stage: Stage,
    header_deadline: Instant,
    /// Something of the client's has been read.
    pub(super) was_heard: bool,
    /// The client was silent where a header might come: all it sends is payload.
    pub(super) was_silent: bool,
    up: Course,
    down: Course,
    attempts: usize,
    attempts_max: usize,
    /// An event of the upstream's said that it is writable.
    upstream_announced: bool,
    pub(super) is_stopped: bool,
    /// The client was answered by us, so its FIN is ours.
    pub(super) was_answered: bool,
    /// Bytes of a client that was answered.
    pub(super) discarded: usize,
    /// The upstream stood, and the session knew.
    pub(super) has_stood: bool,
    /// When a byte moved last: to or from us, or out of one of our sockets' queues.
    pub(super) moved_at: Instant,
    /// The last of those that the session knows of: it has looked since.
    pub(super) seen_at: Instant,
    client_queue: Looked,
    upstream_queue: Looked,
    /// How late the first looks were: in a crowd a session waits for its turn.
    pub(super) looked_late: Duration,
    /// It was out of a queue: when depends on the last look.
    pub(super) was_taken: bool,
    /// The clock has leapt since: looks were late.
    pub(super) has_leapt: bool,
}

impl Story {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            stage: match policy.first_bytes {
                FirstBytes::Header | FirstBytes::HeaderOrSilence => Stage::Header,
                FirstBytes::Payload => Stage::Greeting,
            },
            header_deadline: now + policy.header_timeout,
            was_heard: false,
            was_silent: false,
            up: Course::default(),
            down: Course::default(),
            attempts: 0,
            attempts_max: 0,
            upstream_announced: false,
            is_stopped: false,
            was_answered: false,
            discarded: 0,
            has_stood: false,
            moved_at: now,
            seen_at: now,
            client_queue: Looked { taken_at: now, has_looked: true },
            upstream_queue: Looked { taken_at: now, has_looked: true },
            looked_late: Duration::ZERO,
            was_taken: false,
            has_leapt: false,
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
            | Action::ReadHello
            | Action::Route
            | Action::Connect
            | Action::TakeError(_)
            | Action::Drain(_)
            | Action::Shutdown(_)
            | Action::Discard
            | Action::CheckUnsent(_)
            | Action::Watch(..)
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
            Outcome::Header(ReceiveResult::Failed(_), _) => self.end(CloseReason::ClientReset, now),
            Outcome::Header(received, verdict) => {
                self.up.has_ended |= received == ReceiveResult::End;
                let is_heard = received != ReceiveResult::WouldBlock;
                self.was_heard |= is_heard;
                match verdict {
                    Verdict::Incomplete if self.stage != Stage::Silence => {}
                    Verdict::Incomplete if is_heard => self.end(CloseReason::HeaderTimeout, now),
                    Verdict::Incomplete => {
                        self.was_silent = true;
                        self.stage = Stage::Dialing;
                    }
                    Verdict::Relay { .. } => self.stage = Stage::Dialing,
                    Verdict::Answer => {
                        self.was_answered = true;
                        self.moved_at = now;
                        self.stage = Stage::Lingering { since: now };
                    }
                    Verdict::Refuse(reason) => self.end(reason, now),
                }
            }
            Outcome::HelloNeeded => self.stage = Stage::Hello { since: now },
            Outcome::Hello(ReceiveResult::Failed(_), _) => self.end(CloseReason::ClientReset, now),
            Outcome::Hello(received, hello) => {
                self.up.has_ended |= received == ReceiveResult::End;
                if hello == Hello::Judged {
                    self.stage = Stage::Dialing;
                }
            }
            Outcome::Routed(attempts_max) => {
                self.attempts_max = attempts_max;
                self.stage = Stage::Dialing;
            }
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
            Outcome::ErrorTaken(Some(failure)) => {
                if let Action::TakeError(side) = action {
                    self.fail(side, failure, now);
                }
            }
            Outcome::ErrorTaken(None)
                if self.upstream_announced && action == Action::TakeError(Side::Upstream) =>
            {
                self.establish(now);
            }
            Outcome::Unsent(_) => {
                let Action::CheckUnsent(side) = action else { return };
                let limit = self.silences().map(|(limit, _)| limit).max().unwrap_or_default();
                let due = self.seen_at + limit / SILENCE_PART;
                let queue = self.queue_mut(side);
                let is_first = !std::mem::replace(&mut queue.has_looked, true);
                let taken_at = queue.taken_at;
                if is_first {
                    self.looked_late = self.looked_late.max(now.saturating_duration_since(due));
                }
                self.seen_at = self.seen_at.max(taken_at);
            }
            Outcome::ErrorTaken(None)
            | Outcome::Unpiped
            | Outcome::Watched
            | Outcome::Reset
            | Outcome::Closed => {}
            Outcome::Filled(method, received) => {
                let Action::Fill(direction, _) = action else { return };
                let is_end = received == ReceiveResult::End && method == Method::Copy;
                self.course_mut(direction).has_ended |= is_end;
                if matches!(received, ReceiveResult::Bytes { .. }) || is_end {
                    self.touch(now);
                }
                if let ReceiveResult::Failed(failure) = received {
                    self.fail(direction.source(), failure, now);
                }
            }
            Outcome::Drained(sent) => {
                let Action::Drain(direction) = action else { return };
                match sent {
                    SendResult::Bytes(count) => {
                        self.course_mut(direction).moved += count as u64;
                        self.queue_mut(direction.sink()).has_looked = false;
                        if direction == Direction::Up {
                            self.establish(now);
                        }
                        self.touch(now);
                    }
                    SendResult::WouldBlock => {}
                    SendResult::Failed(failure) => self.fail(direction.sink(), failure, now),
                }
            }
            Outcome::Shut(failure) => self.note_shut(action, failure, now),
            Outcome::Discarded(received) => match received {
                ReceiveResult::End | ReceiveResult::Failed(_) => {
                    self.end(CloseReason::LocalAnswered, now)
                }
                ReceiveResult::Bytes { count, .. } => {
                    self.discarded += count;
                    self.moved_at = now;
                }
                ReceiveResult::WouldBlock => {}
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
            Stage::Header
                if self.policy.first_bytes == FirstBytes::HeaderOrSilence && !self.was_heard =>
            {
                self.stage = Stage::Silence;
            }
            Stage::Header => self.end(CloseReason::HeaderTimeout, now),
            Stage::Hello { .. } => self.stage = Stage::Dialing,
            Stage::Connecting { .. } => self.retry(CloseReason::ConnectTimeout, now),
            Stage::Lingering { .. } => self.end(CloseReason::LocalAnswered, now),
            // Of a silence the session says itself that it has lasted for too long.
            Stage::Silence
            | Stage::Relaying
            | Stage::Greeting
            | Stage::Dialing
            | Stage::Ending { .. } => {}
        }
    }

    /// The clock has leapt.
    pub(super) fn note_leap(&mut self) {
        self.has_leapt = true;
    }

    /// Bytes of ours were acknowledged.
    pub(super) fn note_taken(&mut self, side: Side, now: Instant) {
        self.queue_mut(side).taken_at = now;
        if matches!(self.stage, Stage::Relaying | Stage::Ending { .. }) {
            (self.moved_at, self.was_taken) = (now, true);
        }
    }

    /// Returns the deadline a session must have, if there is one it must have.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Header => Some(self.header_deadline),
            Stage::Hello { since } => Some(since + self.policy.hello_timeout),
            Stage::Connecting { since } => Some(since + self.policy.connect_timeout),
            Stage::Lingering { since } => {
                Some((since + self.policy.idle_timeout).min(self.moved_at + LINGER_MAX))
            }
            Stage::Silence
            | Stage::Greeting
            | Stage::Dialing
            | Stage::Relaying
            | Stage::Ending { .. } => None,
        }
    }

    /// Returns how long silence may last, and what it is called then: each that may hold.
    ///
    /// A session may infer an end from a short read, or not: it depends on what it was told when.
    pub(super) fn silences(&self) -> impl Iterator<Item = (Duration, CloseReason)> + use<> {
        let may_be_half_closed = self.up.may_have_ended || self.down.may_have_ended;
        let is_half_closed = self.is_half_closed();
        let idle = (self.policy.idle_timeout, CloseReason::IdleTimeout);
        let half_closed = (self.policy.half_closed_timeout, CloseReason::HalfClosedTimeout);
        let may_be = is_half_closed || may_be_half_closed;
        [(!is_half_closed).then_some(idle), may_be.then_some(half_closed)].into_iter().flatten()
    }

    /// Returns how long the end may take, however much is taken meanwhile.
    pub(super) fn ending_max(&self) -> Duration {
        self.policy.idle_timeout
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// Returns whether a timeout waits for work that is in hand.
    pub(super) fn is_patient(&self) -> bool {
        self.stage == Stage::Relaying
    }

    fn is_half_closed(&self) -> bool {
        self.up.has_ended || self.down.has_ended
    }

    pub(super) fn end(&mut self, reason: CloseReason, now: Instant) {
        if !matches!(self.stage, Stage::Ending { .. }) {
            self.stage = Stage::Ending { since: now, reason };
            self.touch(now);
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
        if self.attempts < self.attempts_max {
            self.stage = Stage::Dialing;
        } else {
            self.end(reason, now);
        }
    }

    fn establish(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Connecting { .. }) {
            self.stage = Stage::Relaying;
            self.touch(now);
            self.has_stood = true;
        }
    }

    fn touch(&mut self, now: Instant) {
        (self.moved_at, self.seen_at) = (now, now);
        self.looked_late = Duration::ZERO;
        (self.was_taken, self.has_leapt) = (false, false);
    }

    /// Returns whether the session has looked at the queue of a socket since it put something into it.
    pub(super) fn has_looked(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client_queue.has_looked,
            Side::Upstream => self.upstream_queue.has_looked,
        }
    }

    fn queue_mut(&mut self, side: Side) -> &mut Looked {
        match side {
            Side::Client => &mut self.client_queue,
            Side::Upstream => &mut self.upstream_queue,
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
