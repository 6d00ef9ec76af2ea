//! The judge of a run: what must hold at each step, said without the machine's own words for it.
//!
//! It sees actions, outcomes, events and the modelled kernel, never the inside of the session. It
//! keeps its own, cruder idea of where a session is ([`Stage`]), from which follow the deadline and
//! the reason to close.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use super::super::{
    Action, CloseReason, Direction, Failure, LINGER_BYTES_MAX, LINGER_MAX, Method, Policy,
    Readiness, Received, Sent, Side, Verdict,
};
use super::kernel::{Fd, Kernel};
use super::shell::{Outcome, Shell};
use super::socket::State;

/// What a run may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// What arrives is a prefix of what was sent: our header first, once.
    Prefix,
    /// Everything arrives where both peers are fair.
    Complete,
    /// A stream that was cut short never ends in a FIN.
    Fin,
    /// What was taken is delivered before the reset is passed on.
    Tail,
    /// Nothing blocked is tried again without news.
    Spin,
    /// No waiting while something can move.
    LostWakeup,
    /// Both directions move while both can.
    Fairness,
    /// The deadline is the right one: never early, never late, never in the past.
    Deadline,
    /// The deadline passes while work is in hand.
    Hasty,
    /// The reason to close is what happened.
    Reason,
    /// Nothing happens after the close; all is returned by then.
    Close,
    /// Asking what is next changes nothing.
    Purity,
}

impl Display for Rule {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

macro_rules! hold {
    ($rule:ident, $holds:expr, $($text:tt)*) => {
        assert!($holds, "{}: {}", $crate::session::sim::oracle::Rule::$rule, format_args!($($text)*))
    };
}
pub(super) use hold;

/// Where a session is, as far as one can tell from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Greeting,
    Opening,
    Connecting { since: Instant },
    Relaying { active_at: Instant },
    Lingering { since: Instant },
    Ending { since: Instant, reason: CloseReason },
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    /// Its source is known to have ended.
    has_ended: bool,
    /// A short read took all there was before its FIN: the session may know, if it was told.
    may_have_ended: bool,
    is_shut: bool,
    /// Bytes that were sent on.
    moved: u64,
}

/// What there is to be seen of a run at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) shell: &'a Shell,
    pub(super) kernel: &'a Kernel,
    pub(super) now: Instant,
    /// The session knows of every event there was.
    pub(super) is_told: bool,
}

/// Lends a world's parts, and leaves its oracle free.
macro_rules! view {
    ($world:expr) => {{
        let is_told = $world.events.is_empty() && $world.armed().next().is_none();
        let (shell, kernel, now) = (&$world.shell, &$world.kernel, $world.now);
        $crate::session::sim::oracle::View { shell, kernel, now, is_told }
    }};
}
pub(super) use view;

#[derive(Debug)]
pub(super) struct Oracle {
    policy: Policy,
    stage: Stage,
    header_deadline: Instant,
    up: Course,
    down: Course,
    attempts: usize,
    /// An event of the upstream's said that it is writable.
    upstream_announced: bool,
    /// Actions that were of no use, since something new was last heard of their socket.
    blocked: Vec<Action>,
    useless: usize,
    /// How often one direction was served while the other could have been.
    streak: (Direction, usize),
    is_stopped: bool,
    /// The client was answered by us, so its FIN is ours.
    was_answered: bool,
    /// Bytes of a client that was answered.
    discarded: usize,
    /// The upstream stood, and the session knew.
    has_stood: bool,
}

impl Oracle {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            stage: match policy.opening {
                super::super::Opening::Header => Stage::Header,
                super::super::Opening::Payload => Stage::Greeting,
            },
            header_deadline: now + policy.header_timeout,
            up: Course::default(),
            down: Course::default(),
            attempts: 0,
            upstream_announced: false,
            blocked: Vec::new(),
            useless: 0,
            streak: (Direction::Up, 0),
            is_stopped: false,
            was_answered: false,
            discarded: 0,
            has_stood: false,
        }
    }

    /// An event is about to be told to the session.
    pub(super) fn note_event(&mut self, side: Side, ready: Readiness, now: Instant) {
        self.useless = 0;
        self.blocked.retain(|action| !touches(*action, side));
        if side == Side::Upstream && ready.writable {
            self.upstream_announced = true;
            if !ready.error {
                self.establish(now);
            }
        }
    }

    /// An action is about to be performed.
    pub(super) fn check_action(&mut self, action: Action, view: View<'_>) {
        hold!(Spin, !self.blocked.contains(&action), "{action:?} again, nothing new");
        hold!(Spin, self.useless < 8, "nothing came of the last {} actions", self.useless);
        match action {
            Action::Fill(direction, _) | Action::Drain(direction) => {
                self.check_fairness(direction, view);
            }
            Action::Reset(side) => self.check_reset(side, view),
            Action::Close(reason) => self.check_close(reason, view),
            Action::Wait
            | Action::ReadHeader
            | Action::Greet
            | Action::Connect
            | Action::Probe(_)
            | Action::Shutdown(_)
            | Action::Discard
            | Action::CheckUnsent(_) => {}
        }
    }

    fn check_fairness(&mut self, direction: Direction, view: View<'_>) {
        let rival = direction.other();
        let is_rivalled = matches!(self.stage, Stage::Relaying { .. })
            && view.is_told
            && self.can_move(rival, view)
            && !self.is_blocked(rival);
        self.streak = match self.streak {
            (served, count) if served == direction && is_rivalled => (served, count + 1),
            (..) => (direction, 1),
        };
        hold!(Fairness, self.streak.1 <= 4, "only {direction:?} is served");
    }

    /// What was taken is delivered before either side is reset.
    fn check_reset(&self, side: Side, view: View<'_>) {
        let Stage::Ending { since, reason } = self.stage else {
            hold!(Reason, self.stage == Stage::Opening, "a reset in the midst of {:?}", self.stage);
            return;
        };
        let View { shell, kernel, now, .. } = view;
        if self.is_stopped || now >= since + LINGER_MAX || !self.has_stood {
            return;
        }
        let (inward, outward) = (Direction::into(side), Direction::from(side));
        let state_of = |side| shell.socket(side).map(|fd| kernel.look(fd).state);
        if state_of(side) == Some(State::Standing) {
            let is_empty = shell.conduit(inward).is_empty();
            hold!(Tail, is_empty, "{side:?} is reset, {inward:?} still holds bytes for it");
            let unsent = shell.socket(side).map_or(0, |fd| kernel.look(fd).outq());
            let has_sent = self.course(inward).moved > 0;
            hold!(Tail, unsent == 0 || !has_sent, "{side:?} is reset, {unsent} are unsent");
        }
        let is_culprit = matches!(
            (side, reason),
            (Side::Client, CloseReason::ClientReset) | (Side::Upstream, CloseReason::UpstreamReset)
        );
        let is_heard = state_of(outward.sink()) == Some(State::Standing);
        if is_culprit && is_heard {
            let has_tail = shell.socket(side).is_some_and(|fd| kernel.look(fd).has_data());
            hold!(Tail, !has_tail, "{side:?} is reset with its last bytes unread");
        }
    }

    fn check_close(&self, reason: CloseReason, view: View<'_>) {
        let View { shell, kernel, .. } = view;
        if let Stage::Lingering { .. } = self.stage {
            let is_over = shell.client.is_some_and(|fd| {
                let client = kernel.look(fd);
                client.fin_received && !client.has_data() || self.discarded >= LINGER_BYTES_MAX
            });
            hold!(Reason, is_over, "the client is not given its time to end");
            hold!(Reason, reason == CloseReason::LocalAnswered, "closed with {reason:?}");
            return;
        }
        let Stage::Ending { reason: expected, .. } = self.stage else {
            panic!("{}: {reason:?} in the midst of {:?}", Rule::Reason, self.stage);
        };
        hold!(Reason, reason == expected, "closed with {reason:?}, {expected:?} happened");
        let is_clean = [CloseReason::Done, CloseReason::Probe, CloseReason::LocalAnswered];
        for side in Side::ALL {
            let is_reset = shell.socket(side).is_none();
            hold!(
                Fin,
                is_reset || is_clean.contains(&reason),
                "{side:?} ends in a FIN: {reason:?}"
            );
        }
        for direction in Direction::ALL {
            let is_empty = shell.conduit(direction).is_empty();
            hold!(Tail, is_empty || reason != CloseReason::Done, "bytes are left: {direction:?}");
            let (told, counted) = (shell.session.moved(direction), self.course(direction).moved);
            hold!(Close, told == counted, "{direction:?} moved {counted}, it says {told}");
        }
    }

    /// An action was performed.
    pub(super) fn note_outcome(&mut self, action: Action, outcome: Outcome, view: View<'_>) {
        let now = view.now;
        let is_useless = match outcome {
            Outcome::Header(received, _)
            | Outcome::Filled(Method::Copy, received)
            | Outcome::Discarded(received) => received == Received::WouldBlock,
            Outcome::Filled(Method::Splice, received) => {
                matches!(received, Received::WouldBlock | Received::End)
            }
            Outcome::Drained(sent) => sent == Sent::WouldBlock,
            Outcome::Probed(failure) => failure.is_none(),
            Outcome::Unsent(unsent) => unsent > 0,
            Outcome::Greeted
            | Outcome::Connecting
            | Outcome::ConnectFailed(_)
            | Outcome::Shut(_)
            | Outcome::Reset
            | Outcome::Closed => false,
        };
        if is_useless {
            self.useless += 1;
            self.blocked.push(action);
        } else {
            self.useless = 0;
        }
        if let Outcome::Header(Received::Bytes { .. }, _)
        | Outcome::Filled(_, Received::Bytes { .. }) = outcome
        {
            self.note_short(action, view);
        }
        let stage = self.stage;
        self.advance(action, outcome, now);
        if std::mem::discriminant(&stage) != std::mem::discriminant(&self.stage) {
            self.blocked.clear();
        }
    }

    fn note_short(&mut self, action: Action, view: View<'_>) {
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

    fn advance(&mut self, action: Action, outcome: Outcome, now: Instant) {
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
        if self.up.is_shut && self.down.is_shut {
            self.end(CloseReason::Done, now);
        }
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

    /// Time is news.
    pub(super) fn note_time(&mut self) {
        self.useless = 0;
        self.blocked.clear();
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    pub(super) fn has_stood(&self) -> bool {
        self.has_stood
    }

    /// Returns whether a timeout waits for work that is in hand.
    pub(super) fn is_patient(&self) -> bool {
        matches!(self.stage, Stage::Relaying { .. })
    }

    /// Checks what the session says of its deadline, and learns what it inferred.
    pub(super) fn check_deadline(&mut self, deadline: Instant, view: View<'_>) {
        let expected = match self.stage {
            Stage::Header => self.header_deadline,
            Stage::Connecting { since } => since + self.policy.connect_timeout,
            Stage::Lingering { since } => since + LINGER_MAX,
            Stage::Relaying { active_at } => {
                let half_closed = active_at + self.policy.half_closed_timeout;
                if !self.is_half_closed() && deadline == half_closed {
                    for course in [&mut self.up, &mut self.down] {
                        course.has_ended = course.may_have_ended;
                    }
                }
                if self.is_half_closed() {
                    half_closed
                } else {
                    active_at + self.policy.idle_timeout
                }
            }
            Stage::Ending { since, .. } => {
                let is_waiting = view.shell.session.next() == Action::Wait;
                let is_right = !is_waiting || deadline <= since + LINGER_MAX;
                hold!(Deadline, is_right, "the end takes too long");
                return;
            }
            Stage::Greeting | Stage::Opening => return,
        };
        let off = deadline.saturating_duration_since(expected);
        let early = expected.saturating_duration_since(deadline);
        let is_right = off == Duration::ZERO && early == Duration::ZERO;
        hold!(Deadline, is_right, "late by {off:?}, early by {early:?} in {:?}", self.stage);
    }

    /// Nothing is to be done, nothing travels, nobody acts: could something move all the same?
    pub(super) fn check_quiet(&self, view: View<'_>) {
        let View { shell, kernel, .. } = view;
        let client = shell.client.map(|fd| kernel.look(fd));
        let upstream = shell.upstream.map(|fd| kernel.look(fd));
        match self.stage {
            Stage::Header | Stage::Lingering { .. } => {
                let has_news = client.is_some_and(|client| client.has_news());
                hold!(LostWakeup, !has_news, "the client is not read in {:?}", self.stage);
            }
            Stage::Greeting | Stage::Opening => {
                panic!("{}: nothing holds it in {:?}", Rule::LostWakeup, self.stage)
            }
            Stage::Connecting { .. } | Stage::Relaying { .. } => {
                for socket in [client, upstream].into_iter().flatten() {
                    hold!(LostWakeup, socket.error.is_none(), "an error is not fetched");
                }
                if upstream.is_none_or(|upstream| upstream.state == State::Handshake) {
                    return;
                }
                for direction in Direction::ALL {
                    let can_move = self.can_move(direction, view);
                    hold!(LostWakeup, !can_move, "{direction:?} could move in {:?}", self.stage);
                }
            }
            Stage::Ending { .. } => {
                for direction in Direction::ALL {
                    let is_stuck = !shell.conduit(direction).is_empty();
                    let can_send = self.can_send(direction, view);
                    hold!(LostWakeup, !(is_stuck && can_send), "{direction:?} could be flushed");
                }
                let is_dead = |fd: Fd| kernel.look(fd).state == State::Closed;
                let are_dead = [shell.client, shell.upstream].into_iter().flatten().all(is_dead);
                hold!(LostWakeup, !are_dead, "nothing is left to wait for");
            }
        }
    }

    /// Checks that the end of a stream, as a peer heard it, is the end of what was sent.
    pub(super) fn check_heard_end(&self, side: Side, heard: u64, sent: u64, is_over: bool) {
        let is_probe = matches!(self.stage, Stage::Ending { reason: CloseReason::Probe, .. });
        if (is_probe || self.was_answered) && side == Side::Client {
            hold!(Fin, heard == 0, "an answer holds {heard} bytes of payload");
            return;
        }
        let is_whole = is_over && heard == sent;
        hold!(Fin, is_whole, "{side:?} heard the end after {heard} of {sent}, over: {is_over}");
    }

    fn is_half_closed(&self) -> bool {
        self.up.has_ended || self.down.has_ended
    }

    fn end(&mut self, reason: CloseReason, now: Instant) {
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

    /// Returns whether bytes, or their end, could move one step on.
    fn can_move(&self, direction: Direction, view: View<'_>) -> bool {
        let View { shell, kernel, .. } = view;
        let course = self.course(direction);
        if !shell.conduit(direction).is_empty() {
            self.can_send(direction, view)
        } else if course.has_ended {
            !course.is_shut
        } else {
            shell.socket(direction.source()).is_some_and(|fd| kernel.look(fd).has_news())
        }
    }

    fn can_send(&self, direction: Direction, view: View<'_>) -> bool {
        view.shell.socket(direction.sink()).is_some_and(|fd| {
            let socket = view.kernel.look(fd);
            socket.state == State::Standing && socket.is_writable()
        })
    }

    fn is_blocked(&self, direction: Direction) -> bool {
        self.blocked.iter().any(|action| match action {
            Action::Fill(blocked, _) | Action::Drain(blocked) => *blocked == direction,
            Action::Wait
            | Action::ReadHeader
            | Action::Greet
            | Action::Connect
            | Action::Probe(_)
            | Action::Shutdown(_)
            | Action::Discard
            | Action::CheckUnsent(_)
            | Action::Reset(_)
            | Action::Close(_) => false,
        })
    }

    fn course(&self, direction: Direction) -> &Course {
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

/// Returns whether an event of a socket makes an action worth another try.
fn touches(action: Action, side: Side) -> bool {
    match action {
        Action::Fill(direction, _) => direction.source() == side,
        Action::Drain(direction) | Action::Shutdown(direction) => direction.sink() == side,
        Action::Probe(probed) | Action::CheckUnsent(probed) | Action::Reset(probed) => {
            probed == side
        }
        Action::ReadHeader | Action::Discard => side == Side::Client,
        Action::Wait | Action::Greet | Action::Connect | Action::Close(_) => false,
    }
}
