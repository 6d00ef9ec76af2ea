//! A connection's life as a pure machine: readiness and outcomes go in, one [`Action`] comes out.
//!
//! ```text
//! Header [-> Silence] -+---> Lingering (LOCAL answered here) --------+
//!    |                 v <-> Hello (where it is asked for)            v
//!    |              Routing -> Dialing <-> Connecting -> Relaying -> Over
//!    |                 ^          |            |            |         ^
//! Greeting ------------+          |            |            |         |
//!    |                            |            |            |         |
//!    +----------------------------+------------+------------+-> Aborting
//! ```
//!
//! No socket, no clock, no buffer, no allocation: it counts bytes and never holds them, and takes
//! `now` as an argument. The shell in `data/` performs each action (`next`) and says what came of it.
//! Invariants: no payload is moved before our header; a stream that was cut short never ends in a
//! FIN; after [`Action::Close`] nothing happens; `next` changes nothing.

mod action;
mod flow;
mod next;
mod policy;
mod progress;
mod splicing;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::close_reason::CloseReason;

pub use action::{
    Action, Direction, Failure, Hello, Interest, Method, Readiness, ReceiveResult, SendResult,
    Side, Verdict,
};
use flow::Flow;
use progress::{FirstLook, Progress};

pub use policy::{FirstBytes, FirstUse, Policy};
pub use progress::SILENCE_PART;
pub use splicing::Splicing;

/// How long an abort waits for a peer that takes nothing of what was delivered, and a lingering close for
/// one that says nothing more.
pub const LINGER_MAX: Duration = Duration::from_secs(1);
/// How much a lingering close throws away at most: bytes.
pub const LINGER_BYTES_MAX: usize = 64 * 1024;
/// How often an abort looks at first whether the peer has taken everything; no event tells it.
pub const UNSENT_CHECK_MIN: Duration = Duration::from_millis(10);
/// How often it looks at last: each look is a system call, and a slow peer may take minutes.
pub const UNSENT_CHECK_MAX: Duration = Duration::from_millis(250);
/// An abort that has lasted for so long looks again after a part of it.
pub const UNSENT_CHECK_PART: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Reading the client's header.
    Header,
    /// Nothing of it had been read by its deadline, and may be missing: a last look tells whether it has come
    /// meanwhile, since a header must not be taken for payload.
    Silence,
    /// There is no header to read: the first payload is picked up if it is there already, so that
    /// our header leaves together with it.
    Greeting,
    /// Where it goes is to be found out.
    Routing,
    /// Reading the ClientHello, which stays payload.
    Hello,
    /// An endpoint is to be connected to.
    Dialing,
    /// A connect is under way since the deadline was set.
    Connecting,
    /// Both directions move.
    Relaying,
    /// What was taken is delivered, then both sides are reset.
    Aborting(CloseReason),
    /// The answer is out; the client's bytes are thrown away until it ends.
    Lingering { shut: bool, discarded: usize },
    /// All is done but the close.
    Over(CloseReason),
}

/// What is known of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Socket {
    /// Not opened yet, or closed.
    Absent,
    /// Opened, not known to stand.
    Connecting,
    /// It stands.
    Open,
    /// It takes no more bytes, but its last ones may still be read.
    Dying,
    /// Nothing more is to be had from it.
    Failed,
}

#[derive(Clone, Copy, Debug, Hash)]
struct End {
    socket: Socket,
    /// An event announced an error that nobody has fetched.
    suspect: bool,
    /// An event announced that it takes bytes, so it stands unless an error says otherwise.
    announced: bool,
}

impl End {
    const fn new(socket: Socket) -> Self {
        Self { socket, suspect: false, announced: false }
    }

    fn fail(&mut self) {
        if self.socket != Socket::Absent {
            self.socket = Socket::Failed;
        }
    }
}

/// One client's connection, from accept to close.
#[derive(Clone, Debug, Hash)]
pub struct Session {
    /// Shared by all of a listener's, since it is larger than most of what is here.
    policy: Arc<Policy>,
    phase: Phase,
    up: Flow,
    down: Flow,
    client: End,
    upstream: End,
    /// The direction to be served first, for fairness between the two.
    first: Direction,
    attempts: u16,
    /// How many endpoints its route allows to be tried.
    attempts_max: u16,
    /// Bytes of our header for the endpoint that is being connected to.
    header: usize,
    /// Attempts that came to nothing.
    failed_attempts: u16,
    /// An event of the client's has been seen, so its readiness is known.
    met: bool,
    /// Something of the client's has been read.
    heard: bool,
    /// When the phase times out, whatever moves.
    deadline: Instant,
    progress: Progress,
    check_at: Instant,
}

impl Session {
    /// Begins the session of a socket that has just been accepted.
    pub fn new(policy: impl Into<Arc<Policy>>, first_receive: FirstUse, now: Instant) -> Self {
        let policy = policy.into();
        let mut up = Flow::new();
        up.readable = first_receive == FirstUse::AtOnce;
        let phase = match policy.first_bytes {
            FirstBytes::Header | FirstBytes::HeaderOrSilence => Phase::Header,
            FirstBytes::Payload => Phase::Greeting,
        };
        Self {
            phase,
            up,
            down: Flow::new(),
            client: End::new(Socket::Open),
            upstream: End::new(Socket::Absent),
            first: Direction::Up,
            attempts: 0,
            attempts_max: 0,
            header: 0,
            failed_attempts: 0,
            met: false,
            heard: false,
            deadline: now + policy.header_timeout,
            policy,
            progress: Progress::new(now),
            check_at: now,
        }
    }

    /// An event of one socket has been read.
    pub fn handle_ready(&mut self, side: Side, ready: Readiness, now: Instant) {
        self.flow_mut(Direction::from(side)).note_source_ready(ready);
        self.flow_mut(Direction::into(side)).note_sink_ready(ready);
        let end = self.end_mut(side);
        end.suspect |= ready.error;
        end.announced |= ready.writable;
        match side {
            Side::Client => self.met = true,
            Side::Upstream if ready.writable && !ready.error => self.established(now),
            Side::Upstream => {}
        }
    }

    /// [`Action::ReadHeader`] was performed: what was received, and what the decoder made of it.
    pub fn handle_header(&mut self, received: ReceiveResult, verdict: Verdict, now: Instant) {
        if let ReceiveResult::Failed(failure) = received {
            return self.handle_failure(Side::Client, Socket::Failed, failure, now);
        }
        let is_bytes = matches!(received, ReceiveResult::Bytes { .. });
        self.heard |= is_bytes;
        self.up.note_received(received, Method::Copy);
        match verdict {
            // A header that ends early is told by a receive of 0, where the decoder sees it.
            Verdict::Incomplete if self.phase == Phase::Silence && is_bytes => {
                self.abort(CloseReason::HeaderTimeout, now);
            }
            Verdict::Incomplete if self.phase == Phase::Silence => self.phase = Phase::Routing,
            Verdict::Incomplete if self.up.eof && is_bytes => {
                (self.up.eof, self.up.readable) = (false, true);
            }
            Verdict::Incomplete => {}
            Verdict::Relay { buffered } => {
                self.up.buffered = buffered;
                self.phase = Phase::Routing;
            }
            Verdict::Answer => {
                self.phase = Phase::Lingering { shut: false, discarded: 0 };
                self.deadline = now + self.policy.idle_timeout;
                self.progress.handle_moved(now);
            }
            Verdict::Refuse(CloseReason::Probe) => self.phase = Phase::Over(CloseReason::Probe),
            Verdict::Refuse(reason) => self.abort(reason, now),
        }
    }

    /// [`Action::Route`] was performed: so many endpoints may be tried, at least one.
    pub fn handle_routed(&mut self, attempts_max: usize) {
        debug_assert!(attempts_max > 0 && matches!(self.phase, Phase::Routing | Phase::Greeting));
        self.attempts_max = u16::try_from(attempts_max).unwrap_or(u16::MAX);
        self.phase = Phase::Dialing;
    }

    /// [`Action::Route`] was performed: where it goes depends on the ClientHello, of which no more than what has come
    /// with the header is known. It is performed again when there is more to go by, or when it has had its time.
    pub fn handle_hello_needed(&mut self, now: Instant) {
        debug_assert!(matches!(self.phase, Phase::Routing | Phase::Greeting));
        self.phase = if self.up.eof { Phase::Routing } else { Phase::Hello };
        self.deadline = now + self.policy.hello_timeout;
    }

    /// [`Action::ReadHello`] was performed: what was received stands behind the payload before it.
    pub fn handle_hello(&mut self, received: ReceiveResult, hello: Hello, now: Instant) {
        debug_assert_eq!(self.phase, Phase::Hello);
        if let ReceiveResult::Failed(failure) = received {
            return self.handle_failure(Side::Client, Socket::Failed, failure, now);
        }
        self.up.note_received(received, Method::Copy);
        if let ReceiveResult::Bytes { count, .. } = received {
            self.up.buffered += count;
        }
        if hello == Hello::Judged || self.up.eof {
            self.phase = Phase::Routing;
        }
    }

    /// [`Action::Route`] was performed: the client is turned away. Or [`Action::Connect`] was: there is no header we
    /// could send, or nobody to send it to.
    pub fn handle_refused(&mut self, reason: CloseReason, now: Instant) {
        self.abort(reason, now);
    }

    /// [`Action::Connect`] was performed: a connect is under way, and our header of so many bytes stands in
    /// front of the payload.
    pub fn handle_connecting(&mut self, first_send: FirstUse, header: usize, now: Instant) {
        debug_assert_eq!(self.phase, Phase::Dialing);
        self.attempts += 1;
        self.header = header;
        self.up.buffered += header;
        self.upstream = End::new(Socket::Connecting);
        // The attempt before it may have had events until its socket was closed.
        self.down.forget_source();
        self.up.writable = first_send == FirstUse::AtOnce;
        self.phase = Phase::Connecting;
        self.deadline = now + self.policy.connect_timeout;
    }

    /// [`Action::Connect`] was performed: it failed at once.
    pub fn handle_connect_failed(&mut self, reason: CloseReason, now: Instant) {
        debug_assert_eq!(self.phase, Phase::Dialing);
        self.attempts += 1;
        self.retry_or_abort(reason, now);
    }

    /// [`Action::TakeError`] was performed: the error that was pending, if any.
    pub fn handle_error_taken(&mut self, side: Side, failure: Option<Failure>, now: Instant) {
        self.end_mut(side).suspect = false;
        match failure {
            Some(failure) => self.handle_failure(side, Socket::Dying, failure, now),
            None if side == Side::Upstream && self.upstream.announced => self.established(now),
            None => {}
        }
    }

    /// [`Action::Fill`] was not performed: there is no pipe to splice into.
    pub fn handle_unpiped(&mut self, direction: Direction) {
        self.flow_mut(direction).note_unpiped();
    }

    /// [`Action::Fill`] was performed.
    pub fn handle_filled(
        &mut self,
        direction: Direction,
        method: Method,
        received: ReceiveResult,
        now: Instant,
    ) {
        self.flow_mut(direction).note_filled(received, method);
        self.first = direction.other();
        let side = direction.source();
        match received {
            ReceiveResult::Bytes { .. } => self.progress.handle_moved(now),
            ReceiveResult::End if method == Method::Copy => {
                self.progress.handle_moved(now);
                self.salvaged(side);
                self.end_if_carried();
            }
            ReceiveResult::End => {}
            ReceiveResult::WouldBlock => self.salvaged(side),
            ReceiveResult::Failed(failure) => {
                // A receive fails behind the last byte, a splice at an urgent one already.
                let socket = match method {
                    Method::Copy => Socket::Failed,
                    Method::Splice => Socket::Dying,
                };
                self.handle_failure(side, socket, failure, now);
            }
        }
    }

    /// [`Action::Drain`] was performed.
    pub fn handle_drained(&mut self, direction: Direction, sent: SendResult, now: Instant) {
        self.flow_mut(direction).note_drained(sent);
        self.first = direction.other();
        match sent {
            SendResult::Bytes(_) => {
                self.progress.handle_moved(now);
                self.progress.handle_queued(direction.sink());
                if direction == Direction::Up {
                    self.established(now);
                }
                self.end_if_carried();
            }
            SendResult::WouldBlock => {}
            SendResult::Failed(failure) => {
                self.handle_failure(direction.sink(), Socket::Dying, failure, now);
            }
        }
    }

    /// [`Action::Shutdown`] was performed: the sink has been told the end, or was broken already.
    pub fn handle_shut(&mut self, direction: Direction, failure: Option<Failure>, now: Instant) {
        if let Phase::Lingering { discarded, .. } = self.phase {
            self.phase = if self.up.eof || failure.is_some() {
                Phase::Over(CloseReason::LocalAnswered)
            } else {
                Phase::Lingering { shut: true, discarded }
            };
            return;
        }
        if let Some(failure) = failure {
            return self.handle_failure(direction.sink(), Socket::Dying, failure, now);
        }
        self.flow_mut(direction).note_shut();
        self.progress.handle_queued(direction.sink());
        self.end_if_carried();
    }

    /// [`Action::Discard`] was performed.
    pub fn handle_discarded(&mut self, received: ReceiveResult, now: Instant) {
        let Phase::Lingering { shut, discarded } = self.phase else { return };
        self.up.note_received(received, Method::Copy);
        let discarded = match received {
            ReceiveResult::Bytes { count, .. } => {
                self.progress.handle_moved(now);
                discarded + count
            }
            ReceiveResult::WouldBlock => discarded,
            ReceiveResult::End | ReceiveResult::Failed(_) => LINGER_BYTES_MAX,
        };
        self.phase = if self.up.eof || discarded >= LINGER_BYTES_MAX {
            Phase::Over(CloseReason::LocalAnswered)
        } else {
            Phase::Lingering { shut, discarded }
        };
    }

    /// [`Action::CheckUnsent`] was performed: so many bytes are not acknowledged.
    ///
    /// Fewer than before are progress. When it was made nobody can tell, so it is taken for the latest:
    /// who reads on, however slowly, is never silent.
    pub fn handle_unsent(&mut self, side: Side, unsent: usize, now: Instant) {
        let first = match self.phase == Phase::Relaying {
            true => FirstLook::Progress,
            false => FirstLook::Nothing,
        };
        self.progress.handle_unsent(side, unsent, first, now);
        if !self.is_to_be_checked() {
            match self.phase {
                Phase::Relaying if self.progress.is_silent(self.silence_max(), now) => {
                    self.abort(self.silence(), now);
                }
                Phase::Aborting(_) if self.progress.is_silent(LINGER_MAX, now) => self.give_up(),
                Phase::Header
                | Phase::Silence
                | Phase::Greeting
                | Phase::Routing
                | Phase::Hello
                | Phase::Dialing
                | Phase::Connecting
                | Phase::Relaying
                | Phase::Aborting(_)
                | Phase::Lingering { .. }
                | Phase::Over(_) => {}
            }
        }
    }

    /// [`Action::Watch`] was performed; a socket that nobody can watch is as good as broken.
    pub fn handle_watched(
        &mut self,
        side: Side,
        interest: Interest,
        failure: Option<Failure>,
        now: Instant,
    ) {
        match failure {
            Some(failure) => self.handle_failure(side, Socket::Dying, failure, now),
            None => self.flow_mut(Direction::from(side)).note_watched(interest),
        }
    }

    /// [`Action::Reset`] was performed.
    pub fn handle_reset(&mut self, side: Side) {
        self.end_mut(side).socket = Socket::Absent;
        let is_bare = Side::ALL.into_iter().all(|side| self.end(side).socket == Socket::Absent);
        if let Phase::Aborting(reason) = self.phase
            && is_bare
        {
            self.phase = Phase::Over(reason);
        }
    }

    /// The deadline may have passed.
    pub fn handle_time(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        match self.phase {
            Phase::Header
                if self.policy.first_bytes == FirstBytes::HeaderOrSilence && !self.heard =>
            {
                self.phase = Phase::Silence;
            }
            Phase::Header => self.abort(CloseReason::HeaderTimeout, now),
            Phase::Greeting => self.met = true,
            Phase::Hello => self.phase = Phase::Routing,
            // They never wait.
            Phase::Silence | Phase::Routing | Phase::Dialing => {}
            Phase::Connecting => {
                self.upstream.fail();
                self.retry_or_abort(CloseReason::ConnectTimeout, now);
            }
            // Idle is who has nothing to do; behind a leap of the clock the work comes first.
            Phase::Relaying if self.next() != Action::Wait => {}
            Phase::Relaying => {
                self.progress.look();
                if !self.is_to_be_checked() {
                    self.abort(self.silence(), now);
                }
            }
            Phase::Aborting(_) if now >= self.deadline => self.give_up(),
            Phase::Aborting(_) => {
                let since = self.deadline - self.policy.idle_timeout;
                let part = now.saturating_duration_since(since) / UNSENT_CHECK_PART;
                self.check_at = now + part.clamp(UNSENT_CHECK_MIN, UNSENT_CHECK_MAX);
                self.progress.look();
                if !self.is_to_be_checked() && self.progress.is_silent(LINGER_MAX, now) {
                    self.give_up();
                }
            }
            Phase::Lingering { .. } => self.phase = Phase::Over(CloseReason::LocalAnswered),
            Phase::Over(_) => {}
        }
    }

    /// Somebody ends it, as the process that stops: both sides are reset at once.
    pub fn handle_stop(&mut self, reason: CloseReason, now: Instant) {
        self.abort(reason, now);
        self.give_up();
    }

    /// Returns when `handle_time` has something to do, at the latest. It may have passed already
    /// while `next` is not to wait.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Relaying => self.progress.look_at(self.silence_max()),
            Phase::Lingering { .. } => self.deadline.min(self.progress.silent_at(LINGER_MAX)),
            Phase::Aborting(_) => {
                self.deadline.min(self.progress.silent_at(LINGER_MAX)).min(self.check_at)
            }
            Phase::Header
            | Phase::Silence
            | Phase::Greeting
            | Phase::Routing
            | Phase::Hello
            | Phase::Dialing
            | Phase::Connecting
            | Phase::Over(_) => self.deadline,
        }
    }

    /// Returns the bytes that went out in one direction; upwards our own header is among them.
    pub fn moved(&self, direction: Direction) -> u64 {
        self.flow(direction).moved
    }

    /// Returns why it ends, once it is over but for what is still delivered.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Aborting(reason) | Phase::Over(reason) => Some(reason),
            Phase::Header
            | Phase::Silence
            | Phase::Greeting
            | Phase::Routing
            | Phase::Hello
            | Phase::Dialing
            | Phase::Connecting
            | Phase::Relaying
            | Phase::Lingering { .. } => None,
        }
    }

    /// Returns how many attempts to connect have come to nothing.
    pub fn failed_attempts(&self) -> usize {
        self.failed_attempts.into()
    }

    /// Returns whether the last attempt to connect came to stand, whatever became of it then.
    pub fn is_connected(&self) -> bool {
        matches!(self.upstream.socket, Socket::Open | Socket::Dying)
    }

    /// Says whether the end follows at once what a drain sends, so that both can share a segment. An
    /// abort waits until its bytes are acknowledged, so they must leave.
    pub fn is_end_next(&self, direction: Direction) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Relaying) && self.flow(direction).eof
    }

    /// The upstream is known to stand.
    fn established(&mut self, now: Instant) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Relaying;
            self.upstream.socket = Socket::Open;
            self.up.note_established(self.policy.splicing);
            self.down.note_established(self.policy.splicing);
            self.progress.handle_moved(now);
        }
    }

    fn handle_failure(&mut self, side: Side, socket: Socket, failure: Failure, now: Instant) {
        let is_attempt = side == Side::Upstream && self.phase == Phase::Connecting;
        if is_attempt && failure == Failure::Other {
            self.upstream.socket = Socket::Failed;
            return self.retry_or_abort(CloseReason::ConnectFailed, now);
        }
        self.end_mut(side).socket = socket;
        self.flow_mut(Direction::from(side)).note_dying();
        self.abort(
            match side {
                Side::Client => CloseReason::ClientReset,
                Side::Upstream => CloseReason::UpstreamReset,
            },
            now,
        );
    }

    /// An attempt to connect came to nothing: its socket goes, and the next endpoint is tried.
    fn retry_or_abort(&mut self, reason: CloseReason, now: Instant) {
        self.failed_attempts += 1;
        self.up.writable = false;
        if self.attempts < self.attempts_max {
            debug_assert_eq!(self.up.moved, 0, "the header goes to one that answered");
            self.up.buffered -= std::mem::take(&mut self.header);
            self.phase = Phase::Dialing;
        } else {
            self.abort(reason, now);
        }
    }

    /// Ends the session when both directions have ended and one end has been passed on: the close
    /// itself sends the other FIN, behind whatever is still queued, which saves a shutdown(2).
    fn end_if_carried(&mut self) {
        let has_ended = |flow: &Flow| flow.eof && flow.buffered == 0;
        let is_carried = has_ended(&self.up) && has_ended(&self.down);
        if self.phase == Phase::Relaying && is_carried && (self.up.shut || self.down.shut) {
            self.phase = Phase::Over(CloseReason::Done);
        }
    }

    /// The last bytes of a dying socket have been read.
    fn salvaged(&mut self, side: Side) {
        let end = self.end_mut(side);
        if end.socket == Socket::Dying {
            end.socket = Socket::Failed;
        }
    }

    /// Whether a look at what a socket holds is still to come.
    fn is_to_be_checked(&self) -> bool {
        let is_due = |side| self.end(side).socket == Socket::Open && self.progress.is_due(side);
        Side::ALL.into_iter().any(is_due)
    }

    /// How long silence may last.
    fn silence_max(&self) -> Duration {
        match self.is_half_closed() {
            true => self.policy.half_closed_timeout,
            false => self.policy.idle_timeout,
        }
    }

    /// What a silence that lasted for too long is called.
    fn silence(&self) -> CloseReason {
        match self.is_half_closed() {
            true => CloseReason::HalfClosedTimeout,
            false => CloseReason::IdleTimeout,
        }
    }

    fn abort(&mut self, reason: CloseReason, now: Instant) {
        match self.phase {
            Phase::Aborting(_) | Phase::Over(_) => {}
            Phase::Header
            | Phase::Silence
            | Phase::Greeting
            | Phase::Routing
            | Phase::Hello
            | Phase::Dialing
            | Phase::Connecting
            | Phase::Relaying
            | Phase::Lingering { .. } => {
                self.phase = Phase::Aborting(reason);
                self.deadline = now + self.policy.idle_timeout;
                self.progress.handle_moved(now);
                self.check_at = now + UNSENT_CHECK_MIN;
                self.progress.look_first();
            }
        }
    }

    /// What could not be delivered in time is dropped.
    fn give_up(&mut self) {
        for side in Side::ALL {
            self.end_mut(side).fail();
        }
    }

    fn is_half_closed(&self) -> bool {
        self.up.eof || self.down.eof
    }

    fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn flow_mut(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }
}
