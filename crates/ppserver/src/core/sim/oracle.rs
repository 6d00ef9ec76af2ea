//! The judge of a run: what must hold at each step, said without the machine's own words for it.
//!
//! It sees actions, outcomes, events and the modelled kernel, never the inside of the session.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::shell::{Conduit, Outcome, Shell};
use super::socket::{Socket, State};
use super::stage::{Stage, Story};
use crate::core::close_reason::CloseReason;
use crate::core::session::{
    Action, Direction, Interest, LINGER_BYTES_MAX, LINGER_MAX, Method, Policy, Readiness,
    ReceiveResult, SILENCE_PART, SendResult, Side, UNSENT_CHECK_MAX, UNSENT_CHECK_MIN,
    UNSENT_CHECK_PART,
};

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
    /// A process that stops waits for nobody.
    Stop,
    /// Nothing happens after the close; all is returned by then.
    Close,
    /// Asking what is next changes nothing.
    Purity,
    /// An action can be performed: its socket is there, its conduit is as it says.
    Contract,
    /// Who is queued at the listening socket is let in: soon behind a shortage, all in a drain.
    Queue,
    /// Who is quiet and has something to do waits for a share of somebody else's, not for everybody's.
    Latency,
    /// Who is down is not chosen while somebody is up, nor who is full, nor who was tried; and nobody is refused while
    /// somebody is left.
    Choice,
    /// Whoever counts at an endpoint is given back once.
    Counts,
    /// What is read to choose a route is read where it is asked for, and before anybody is connected to. That it stays
    /// payload, and has its time, is for the other rules.
    Route,
    /// What is kept of sessions is that of those which stand: one place in a queue each, one reminder.
    Memory,
    /// A datagram goes to whom it is for, and says whose it is.
    Addressee,
    /// A header and a payload that leave together came together, and whole.
    Whole,
    /// The datagrams of a flow leave in the order they came.
    Order,
    /// Each datagram that comes in leaves, or is dropped and counted.
    Balance,
    /// None is dropped that could have left, and none is cut off from an answer that is to come.
    Lost,
    /// Those who had an answer do not give way to a flood, and of others the longest silent goes first.
    Flood,
    /// There are never more flows than there may be, and nobody gives way without need.
    Bounded,
}

impl Display for Rule {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

macro_rules! hold {
    ($rule:ident, $holds:expr, $($text:tt)*) => {
        assert!($holds, "{}: {}", $crate::core::sim::oracle::Rule::$rule, format_args!($($text)*))
    };
}
pub(super) use hold;

/// What there is to be seen of a run at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) shell: &'a Shell,
    pub(super) kernel: &'a Kernel,
    pub(super) now: Instant,
    /// The session knows of every event there was.
    pub(super) is_told: bool,
}

/// How late a timer may be: a tick of the timers, and of the world.
const TICK: Duration = Duration::from_millis(12);

#[derive(Clone, Debug, Hash)]
pub(super) struct Oracle {
    pub(super) story: Story,
    /// Actions that were of no use, since something new was last heard of their socket.
    blocked: Vec<Action>,
    useless: usize,
    /// How often one direction was served while the other could have been.
    streak: (Direction, usize),
    /// Since when an abort has nothing left to deliver.
    settled_at: Option<Instant>,
}

impl Oracle {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            story: Story::new(policy, now),
            blocked: Vec::new(),
            useless: 0,
            streak: (Direction::Up, 0),
            settled_at: None,
        }
    }

    /// An event is about to be told to the session.
    pub(super) fn note_event(&mut self, side: Side, ready: Readiness, now: Instant) {
        self.useless = 0;
        self.blocked.retain(|action| !touches(*action, side));
        self.story.note_event(side, ready, now);
    }

    /// An action is about to be performed.
    pub(super) fn check_action(&mut self, action: Action, view: View<'_>) {
        hold!(Spin, !self.blocked.contains(&action), "{action:?} again, nothing new");
        hold!(Spin, self.useless < 8, "nothing came of the last {} actions", self.useless);
        let is_farewell = matches!(action, Action::Reset(_) | Action::Close(_));
        hold!(Stop, is_farewell || !self.story.is_stopped, "{action:?} after the stop");
        match action {
            Action::Fill(direction, _) | Action::Drain(direction) => {
                self.check_fairness(direction, view);
            }
            Action::Reset(side) => self.check_reset(side, view),
            Action::Close(reason) => self.check_close(reason, view),
            Action::ReadHello => {
                let stage = self.story.stage;
                let is_asked = matches!(stage, Stage::Hello { .. });
                hold!(Route, is_asked, "a hello is read in {stage:?}");
                hold!(
                    Route,
                    !self.story.course(Direction::Up).has_ended,
                    "a hello is read behind the client's end"
                );
                hold!(Route, view.shell.upstream.is_none(), "a hello is read behind a connect");
            }
            Action::Wait
            | Action::ReadHeader
            | Action::Route
            | Action::Connect
            | Action::TakeError(_)
            | Action::Shutdown(_)
            | Action::Discard
            | Action::CheckUnsent(_)
            | Action::Watch(..) => {}
        }
    }

    fn check_fairness(&mut self, direction: Direction, view: View<'_>) {
        let rival = direction.other();
        let is_rivalled = matches!(self.story.stage, Stage::Relaying)
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
        let Stage::Ending { since, reason } = self.story.stage else {
            hold!(
                Reason,
                self.story.stage == Stage::Dialing,
                "a reset in the midst of {:?}",
                self.story.stage
            );
            return;
        };
        let View { shell, kernel, now, .. } = view;
        let is_late = now >= since + self.story.ending_max();
        // What was taken before the first look is not noticed.
        let is_silent = now + UNSENT_CHECK_MIN >= self.story.seen_at + LINGER_MAX;
        let is_vague = self.story.has_leapt || !self.story.has_stood;
        if self.story.is_stopped || is_late || is_silent || is_vague {
            return;
        }
        let inward = Direction::into(side);
        let socket_of = |side| shell.socket(side).map(|fd| kernel.look(fd));
        let stands = |side| socket_of(side).is_some_and(|it| it.state == State::Established);
        if stands(side) {
            let is_empty = shell.conduit(inward).is_empty();
            hold!(Tail, is_empty, "{side:?} is reset, {inward:?} still holds bytes for it");
            let unsent = socket_of(side).map_or(0, Socket::outq);
            let has_sent = self.story.course(inward).moved > 0;
            hold!(Tail, unsent == 0 || !has_sent, "{side:?} is reset, {unsent} are unsent");
        }
        let is_clients = reason == CloseReason::ClientReset;
        let culprit = if is_clients { Side::Client } else { Side::Upstream };
        let is_culprit = [CloseReason::ClientReset, CloseReason::UpstreamReset].contains(&reason);
        let has_tail = is_culprit && socket_of(culprit).is_some_and(Socket::has_data);
        let is_heard = stands(Direction::from(culprit).sink());
        hold!(Tail, !(has_tail && is_heard), "{side:?} is reset, {culprit:?}'s tail is unread");
    }

    fn check_close(&self, reason: CloseReason, view: View<'_>) {
        let View { shell, kernel, .. } = view;
        if let Stage::Lingering { .. } = self.story.stage {
            let is_over = shell.client.is_some_and(|fd| {
                let client = kernel.look(fd);
                client.fin_received && !client.has_data()
                    || self.story.discarded >= LINGER_BYTES_MAX
            });
            hold!(Reason, is_over, "the client is not given its time to end");
            hold!(Reason, reason == CloseReason::LocalAnswered, "closed with {reason:?}");
            return;
        }
        let Stage::Ending { reason: expected, .. } = self.story.stage else {
            panic!("{}: {reason:?} in the midst of {:?}", Rule::Reason, self.story.stage);
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
            let (told, counted) =
                (shell.session.moved(direction), self.story.course(direction).moved);
            hold!(Close, told == counted, "{direction:?} moved {counted}, it says {told}");
        }
    }

    /// An action was performed.
    pub(super) fn note_outcome(&mut self, action: Action, outcome: Outcome, view: View<'_>) {
        let now = view.now;
        let is_useless = match outcome {
            Outcome::Header(received, _)
            | Outcome::Hello(received, _)
            | Outcome::Filled(Method::Copy, received)
            | Outcome::Discarded(received) => received == ReceiveResult::WouldBlock,
            Outcome::Filled(Method::Splice, received) => {
                matches!(received, ReceiveResult::WouldBlock | ReceiveResult::End)
            }
            Outcome::Drained(sent) => sent == SendResult::WouldBlock,
            Outcome::ErrorTaken(failure) => failure.is_none(),
            Outcome::Unsent(unsent) => unsent > 0,
            Outcome::Unpiped => true,
            Outcome::HelloNeeded
            | Outcome::Routed(_)
            | Outcome::Refused(_)
            | Outcome::Connecting
            | Outcome::ConnectFailed(_)
            | Outcome::Shut(_)
            | Outcome::Watched
            | Outcome::Reset
            | Outcome::Closed => false,
        };
        self.useless = if is_useless { self.useless + 1 } else { 0 };
        // A pipe may be had the next time, and of that there is no news.
        if is_useless && outcome != Outcome::Unpiped || outcome == Outcome::Watched {
            self.blocked.push(action);
        }
        if let Outcome::Header(ReceiveResult::Bytes { .. }, _)
        | Outcome::Hello(ReceiveResult::Bytes { .. }, _)
        | Outcome::Filled(_, ReceiveResult::Bytes { .. }) = outcome
        {
            self.story.note_bytes(action, view);
        }
        let stage = self.story.stage;
        self.story.note_outcome(action, outcome, now);
        let is_done = view.shell.session.next() == Action::Close(CloseReason::Done);
        if is_done && matches!(self.story.stage, Stage::Relaying) && self.is_carried(view) {
            self.story.end(CloseReason::Done, now);
        }
        if std::mem::discriminant(&stage) != std::mem::discriminant(&self.story.stage) {
            self.blocked.clear();
        }
    }

    /// Time is news.
    pub(super) fn note_time(&mut self) {
        self.useless = 0;
        self.blocked.clear();
    }

    /// Checks what the session says of its deadline, and learns what it inferred.
    pub(super) fn check_deadline(&mut self, deadline: Instant, view: View<'_>) {
        let is_waiting = view.shell.session.next() == Action::Wait;
        let moved_at = self.story.moved_at;
        match self.story.stage {
            Stage::Ending { since, .. } if is_waiting => {
                let look_at = moved_at + LINGER_MAX + unsent_check(since, view.now);
                let is_prompt = deadline <= look_at || self.story.has_leapt;
                let is_last = deadline <= since + self.story.ending_max();
                hold!(Deadline, is_prompt && is_last, "the end takes too long");
            }
            Stage::Relaying if is_waiting => {
                let limit = self.story.silences().map(|(limit, _)| limit).max().unwrap_or_default();
                // When what was taken was taken, only two looks in a row can tell, the first of which may be late.
                let late = if self.story.was_taken { limit + TICK } else { limit / 4 };
                let is_right = deadline <= moved_at + limit + late || self.story.has_leapt;
                hold!(Deadline, is_right, "{:?} of silence", deadline - moved_at);
            }
            // All that is left is the close.
            Stage::Lingering { .. } if !is_waiting => return,
            Stage::Header
            | Stage::Silence
            | Stage::Greeting
            | Stage::Hello { .. }
            | Stage::Dialing
            | Stage::Connecting { .. }
            | Stage::Relaying
            | Stage::Lingering { .. }
            | Stage::Ending { .. } => {}
        }
        let Some(expected) = self.story.deadline() else { return };
        let late = deadline.saturating_duration_since(expected);
        let early = expected.saturating_duration_since(deadline);
        let is_right = deadline == expected;
        hold!(Deadline, is_right, "late by {late:?}, early by {early:?}: {:?}", self.story.stage);
    }

    /// The session may have ended a silence: did it last for so long?
    pub(super) fn check_silence(&mut self, view: View<'_>) {
        let Some(reason) = view.shell.session.close_reason() else { return };
        if self.story.stage != Stage::Relaying {
            return;
        }
        let silence = view.now.saturating_duration_since(self.story.seen_at);
        let limit = self.story.silences().find(|(_, name)| *name == reason).map(|(limit, _)| limit);
        // What was taken before the first look is not noticed.
        let unseen = self.story.looked_late.max(TICK);
        let is_right = self.story.has_leapt
            || limit.is_some_and(|limit| silence + limit / SILENCE_PART + unseen >= limit);
        hold!(Deadline, is_right, "{reason:?} after {silence:?} of silence");
        for side in Side::ALL {
            let unsent = view.shell.socket(side).map_or(0, |fd| view.kernel.look(fd).outq());
            let has_looked = self.story.has_looked(side);
            hold!(Complete, unsent == 0 || has_looked, "nobody looked whether {side:?} takes more");
        }
        self.story.end(reason, view.now);
    }

    /// Nothing is to be done, nothing travels, nobody acts: could something move all the same?
    pub(super) fn check_quiet(&mut self, view: View<'_>) {
        let View { shell, kernel, .. } = view;
        let client = shell.client.map(|fd| kernel.look(fd));
        let upstream = shell.upstream.map(|fd| kernel.look(fd));
        match self.story.stage {
            Stage::Header | Stage::Hello { .. } | Stage::Lingering { .. } => {
                let has_news = client.is_some_and(|client| client.has_news());
                hold!(LostWakeup, !has_news, "the client is not read in {:?}", self.story.stage);
            }
            Stage::Silence | Stage::Greeting | Stage::Dialing => {
                panic!("{}: nothing holds it in {:?}", Rule::LostWakeup, self.story.stage)
            }
            Stage::Connecting { .. } | Stage::Relaying => {
                for socket in [client, upstream].into_iter().flatten() {
                    hold!(LostWakeup, socket.error.is_none(), "an error is not fetched");
                    let is_held = socket.held.is_some();
                    hold!(LostWakeup, !is_held, "bytes are held back for an end that follows not");
                }
                if upstream.is_none_or(|upstream| upstream.state == State::Handshake) {
                    return;
                }
                for direction in Direction::ALL {
                    let can_move = self.can_move(direction, view);
                    hold!(
                        LostWakeup,
                        !can_move,
                        "{direction:?} could move in {:?}",
                        self.story.stage
                    );
                    let source = shell.socket(direction.source()).map(|fd| kernel.look(fd));
                    let is_told = source.is_some_and(|source| source.interest == Interest::All);
                    let is_piped = matches!(shell.conduit(direction), Conduit::Pipe(_));
                    hold!(Spin, !(is_piped && is_told), "a pipe waits, its source is listened to");
                }
            }
            Stage::Ending { .. } => self.check_quiet_end(view),
        }
    }

    /// An abort waits: for what?
    fn check_quiet_end(&mut self, view: View<'_>) {
        let View { shell, kernel, now, .. } = view;
        hold!(Stop, !self.story.is_stopped, "it waits after the stop");
        for direction in Direction::ALL {
            let is_stuck = !shell.conduit(direction).is_empty();
            let can_send = self.can_send(direction, view);
            hold!(LostWakeup, !(is_stuck && can_send), "{direction:?} could be flushed");
        }
        let mut left =
            Side::ALL.into_iter().filter_map(|side| Some((side, kernel.look(shell.socket(side)?))));
        let are_dead = left.clone().all(|(_, socket)| socket.state == State::Closed);
        hold!(LostWakeup, !are_dead, "nothing is left to wait for");
        let is_settled = left.all(|(side, socket)| {
            let is_flushed = shell.conduit(Direction::into(side)).is_empty();
            socket.state == State::Established && is_flushed && socket.outq() == 0
        });
        if !is_settled {
            return;
        }
        let since = *self.settled_at.get_or_insert(now);
        let Stage::Ending { since: ending, .. } = self.story.stage else { return };
        let is_prompt = now <= since + unsent_check(ending, now) + TICK;
        hold!(LostWakeup, is_prompt, "all is delivered since {:?}", now - since);
    }

    /// Checks that the end of a stream, as a peer heard it, is the end of what was sent.
    pub(super) fn check_heard_end(&self, side: Side, heard: u64, sent: u64, is_over: bool) {
        let is_probe = matches!(self.story.stage, Stage::Ending { reason: CloseReason::Probe, .. });
        if (is_probe || self.story.was_answered) && side == Side::Client {
            hold!(Fin, heard == 0, "an answer holds {heard} bytes of payload");
            return;
        }
        let is_whole = is_over && heard == sent;
        hold!(Fin, is_whole, "{side:?} heard the end after {heard} of {sent}, over: {is_over}");
    }

    /// Returns whether bytes, or their end, could move one step on.
    fn can_move(&self, direction: Direction, view: View<'_>) -> bool {
        let View { shell, kernel, .. } = view;
        let course = self.story.course(direction);
        if !shell.conduit(direction).is_empty() {
            self.can_send(direction, view)
        } else if course.has_ended {
            !course.is_shut
        } else {
            shell.socket(direction.source()).is_some_and(|fd| kernel.look(fd).has_news())
        }
    }

    /// Both streams have ended, and one end has been passed on: the close passes on the other.
    fn is_carried(&self, view: View<'_>) -> bool {
        let has_ended = |direction: Direction| {
            let source = view.shell.socket(direction.source()).map(|fd| view.kernel.look(fd));
            self.story.course(direction).is_shut
                || source.is_some_and(|socket| socket.fin_received && socket.received.is_empty())
        };
        let is_shut = |direction| self.story.course(direction).is_shut;
        Direction::ALL.into_iter().all(has_ended) && Direction::ALL.into_iter().any(is_shut)
    }

    fn can_send(&self, direction: Direction, view: View<'_>) -> bool {
        view.shell.socket(direction.sink()).is_some_and(|fd| {
            let socket = view.kernel.look(fd);
            socket.state == State::Established && socket.is_writable()
        })
    }

    fn is_blocked(&self, direction: Direction) -> bool {
        self.blocked.iter().any(|action| match action {
            Action::Fill(blocked, _) | Action::Drain(blocked) => *blocked == direction,
            Action::Wait
            | Action::ReadHeader
            | Action::ReadHello
            | Action::Route
            | Action::Connect
            | Action::TakeError(_)
            | Action::Shutdown(_)
            | Action::Discard
            | Action::CheckUnsent(_)
            | Action::Watch(..)
            | Action::Reset(_)
            | Action::Close(_) => false,
        })
    }
}

/// Returns how long an end that began at `since` may wait for its next look at what is unsent.
fn unsent_check(since: Instant, now: Instant) -> Duration {
    let part = now.saturating_duration_since(since) / UNSENT_CHECK_PART;
    part.clamp(UNSENT_CHECK_MIN, UNSENT_CHECK_MAX) + TICK
}

/// Returns whether an event of a socket makes an action worth another try.
fn touches(action: Action, side: Side) -> bool {
    match action {
        Action::Fill(direction, _) => direction.source() == side,
        Action::Drain(direction) | Action::Shutdown(direction) => direction.sink() == side,
        Action::TakeError(at)
        | Action::CheckUnsent(at)
        | Action::Watch(at, _)
        | Action::Reset(at) => at == side,
        Action::ReadHeader | Action::ReadHello | Action::Discard => side == Side::Client,
        Action::Wait | Action::Route | Action::Connect | Action::Close(_) => false,
    }
}
