//! The model shell: performs each action of a session against the modelled kernel.
//!
//! It does exactly what `action.rs` says of each action and keeps no opinion on the order of them.
//! Invariant: a conduit is attached only while it holds bytes.

use std::time::Instant;

use super::coverage::Quirk;
use super::kernel::{Fd, Kernel, Pipe};
use super::oracle::{Rule, hold};
use super::plan::Plan;
use super::pool::Pool;
use super::rng::{Stream, byte_at};
use super::socket::{Errno, Mask};
use crate::core::close_reason::CloseReason;
use crate::core::pool::Tried;
use crate::core::session::{
    Action, Direction, Failure, Hello, Method, Readiness, ReceiveResult, SendResult, Session, Side,
    Verdict,
};

/// What holds the bytes of a direction between its two sockets.
#[derive(Clone, Debug, Hash)]
pub(super) enum Conduit {
    Nowhere,
    Buffer(Vec<u8>),
    Pipe(Pipe),
}

/// What an action came to, as the session was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Header(ReceiveResult, Verdict),
    /// It goes by what the client says first.
    HelloNeeded,
    Hello(ReceiveResult, Hello),
    /// So many endpoints may be tried.
    Routed(usize),
    /// There is no header we could send, or nobody it may go to.
    Refused(CloseReason),
    Connecting,
    ConnectFailed(CloseReason),
    ErrorTaken(Option<Failure>),
    Filled(Method, ReceiveResult),
    /// There was no pipe to splice into.
    Unpiped,
    Drained(SendResult),
    Shut(Option<Failure>),
    Discarded(ReceiveResult),
    Unsent(usize),
    Watched,
    Reset,
    Closed,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Shell {
    pub(super) session: Session,
    pub(super) client: Option<Fd>,
    pub(super) upstream: Option<Fd>,
    up: Conduit,
    down: Conduit,
    /// What was read of the client's header.
    header: Vec<u8>,
    /// How much of the upward conduit is our header.
    our_header: usize,
    is_routed: bool,
    has_asked_hello: bool,
    /// Bytes of payload that came while it was read.
    hello: usize,
    attempts: usize,
    /// The endpoints that were tried.
    tried: Tried,
    hold: Hold,
    /// Attempts that have failed.
    failed: usize,
    /// The pool has let it try fewer endpoints than the plan.
    pub(super) is_cut: bool,
}

/// What it counts for at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hold {
    Nothing,
    Attempt(usize),
    Connection(usize),
}

impl Shell {
    pub(super) fn new(session: Session, client: Fd) -> Self {
        Self {
            session,
            client: Some(client),
            upstream: None,
            up: Conduit::Nowhere,
            down: Conduit::Nowhere,
            header: Vec::new(),
            our_header: 0,
            is_routed: false,
            has_asked_hello: false,
            hello: 0,
            attempts: 0,
            tried: Tried::default(),
            hold: Hold::Nothing,
            failed: 0,
            is_cut: false,
        }
    }

    pub(super) fn perform(
        &mut self,
        action: Action,
        kernel: &mut Kernel,
        pool: Option<&Pool>,
        plan: &Plan,
        now: Instant,
    ) -> Outcome {
        let outcome = self.act(action, kernel, pool, plan, now);
        self.settle(pool, now);
        if outcome == Outcome::Closed {
            self.let_go(pool);
        }
        outcome
    }

    /// Tells the pool what has come of an attempt, if something has.
    pub(super) fn settle(&mut self, pool: Option<&Pool>, now: Instant) {
        let has_failed = self.session.failed_attempts() > self.failed;
        self.failed = self.session.failed_attempts();
        let (Hold::Attempt(at), Some(pool)) = (self.hold, pool) else { return };
        if has_failed {
            self.hold = Hold::Nothing;
            pool.handle_failed(at);
        } else if self.session.is_connected() {
            self.hold = Hold::Connection(at);
            pool.handle_connected(at, now);
        }
    }

    fn let_go(&mut self, pool: Option<&Pool>) {
        let hold = std::mem::replace(&mut self.hold, Hold::Nothing);
        match (hold, pool) {
            (Hold::Attempt(at), Some(pool)) => pool.handle_cancelled(at),
            (Hold::Connection(at), Some(pool)) => pool.handle_closed(at),
            (Hold::Nothing, _) | (_, None) => {}
        }
    }

    fn act(
        &mut self,
        action: Action,
        kernel: &mut Kernel,
        pool: Option<&Pool>,
        plan: &Plan,
        now: Instant,
    ) -> Outcome {
        match action {
            Action::Wait => unreachable!("the shell sleeps instead"),
            Action::ReadHeader => self.read_header(kernel, plan, now),
            Action::ReadHello => self.read_hello(kernel, plan, now),
            Action::Route => {
                hold!(Contract, !self.is_routed, "it is routed twice");
                if plan.hello > 0 && !self.has_asked_hello {
                    self.has_asked_hello = true;
                    self.session.handle_hello_needed(now);
                    return Outcome::HelloNeeded;
                }
                self.is_routed = true;
                if let Some(reason) = plan.turned_away {
                    self.session.handle_refused(reason, now);
                    return Outcome::Refused(reason);
                }
                let planned = plan.connects.len();
                let attempts_max = pool.map_or(planned, |pool| planned.min(pool.attempts_max()));
                self.is_cut = attempts_max < planned;
                self.session.handle_routed(attempts_max);
                Outcome::Routed(attempts_max)
            }
            Action::Connect => self.connect(kernel, pool, plan, now),
            Action::TakeError(side) => {
                let failure = kernel.take_error(self.fd(side)).map(failure_of);
                self.session.handle_error_taken(side, failure, now);
                Outcome::ErrorTaken(failure)
            }
            Action::Fill(direction, method) => {
                let Some(received) = self.fill(direction, method, kernel, plan) else {
                    self.session.handle_unpiped(direction);
                    return Outcome::Unpiped;
                };
                self.session.handle_filled(direction, method, received, now);
                Outcome::Filled(method, received)
            }
            Action::Drain(direction) => {
                let sent = self.drain(direction, kernel, now);
                self.session.handle_drained(direction, sent, now);
                Outcome::Drained(sent)
            }
            Action::Shutdown(direction) => {
                let failure = kernel.shutdown(self.fd(direction.sink())).err().map(failure_of);
                self.session.handle_shut(direction, failure, now);
                Outcome::Shut(failure)
            }
            Action::Discard => {
                let answer = kernel.recv(self.fd(Side::Client), plan.conduit);
                let received = received(answer.map(|bytes| bytes.len()), plan.conduit);
                self.session.handle_discarded(received, now);
                Outcome::Discarded(received)
            }
            Action::CheckUnsent(side) => {
                let unsent = kernel.unsent(self.fd(side));
                self.session.handle_unsent(side, unsent, now);
                Outcome::Unsent(unsent)
            }
            Action::Watch(side, interest) => {
                kernel.modify(self.fd(side), interest);
                self.session.handle_watched(side, interest, None, now);
                Outcome::Watched
            }
            Action::Reset(side) => {
                kernel.reset(self.fd(side));
                // The conduits stay: an attempt that failed is repeated with the same bytes.
                self.forget(side);
                self.session.handle_reset(side);
                Outcome::Reset
            }
            Action::Close(_) => {
                for side in Side::ALL {
                    if self.socket(side).is_some() {
                        kernel.close(self.fd(side));
                        self.forget(side);
                    }
                    self.empty(Direction::into(side), kernel);
                }
                Outcome::Closed
            }
        }
    }

    fn read_header(&mut self, kernel: &mut Kernel, plan: &Plan, now: Instant) -> Outcome {
        let answer = kernel.recv(self.fd(Side::Client), plan.conduit);
        let received = received(answer.as_ref().map(Vec::len).map_err(|e| *e), plan.conduit);
        self.header.extend(answer.unwrap_or_default());
        let verdict = match received {
            ReceiveResult::End if self.header.is_empty() => Verdict::Refuse(CloseReason::Probe),
            ReceiveResult::End => Verdict::Refuse(CloseReason::HeaderTruncated),
            ReceiveResult::WouldBlock | ReceiveResult::Failed(_) => Verdict::Incomplete,
            ReceiveResult::Bytes { .. } if self.header.len() < plan.header.len => {
                kernel.cover.hit(Quirk::HeaderSplit);
                Verdict::Incomplete
            }
            ReceiveResult::Bytes { .. } => match plan.header.verdict {
                Verdict::Relay { .. } => {
                    let payload = self.header.split_off(plan.header.len);
                    let buffered = payload.len();
                    self.up = Conduit::of(payload);
                    Verdict::Relay { buffered }
                }
                verdict @ (Verdict::Answer | Verdict::Refuse(_) | Verdict::Incomplete) => verdict,
            },
        };
        self.session.handle_header(received, verdict, now);
        Outcome::Header(received, verdict)
    }

    fn read_hello(&mut self, kernel: &mut Kernel, plan: &Plan, now: Instant) -> Outcome {
        hold!(Contract, self.has_asked_hello && !self.is_routed, "nobody asks for a hello");
        let answer = kernel.recv(self.fd(Side::Client), plan.conduit);
        let received = received(answer.as_ref().map(Vec::len).map_err(|e| *e), plan.conduit);
        let bytes = answer.unwrap_or_default();
        self.hello += bytes.len();
        let mut held = match std::mem::replace(&mut self.up, Conduit::Nowhere) {
            Conduit::Nowhere => Vec::new(),
            Conduit::Buffer(held) => held,
            Conduit::Pipe(_) => {
                panic!("{}: nothing is spliced before it is routed", Rule::Contract)
            }
        };
        held.extend(bytes);
        self.up = Conduit::of(held);
        let hello = if self.hello < plan.hello { Hello::Incomplete } else { Hello::Judged };
        match (received, hello) {
            (ReceiveResult::Bytes { .. }, Hello::Incomplete) => {
                kernel.cover.hit(Quirk::HelloSplit);
            }
            (ReceiveResult::End, _) => kernel.cover.hit(Quirk::HelloEnds),
            (
                ReceiveResult::Bytes { .. } | ReceiveResult::WouldBlock | ReceiveResult::Failed(_),
                _,
            ) => {}
        }
        self.session.handle_hello(received, hello, now);
        Outcome::Hello(received, hello)
    }

    /// Puts our header in front of the payload, in place of the one for an endpoint before.
    fn put_header(&mut self, plan: &Plan) {
        let payload = match std::mem::replace(&mut self.up, Conduit::Nowhere) {
            Conduit::Nowhere => Vec::new(),
            Conduit::Buffer(mut held) => held.split_off(self.our_header),
            Conduit::Pipe(_) => panic!("{}: nothing can be put in front of a pipe", Rule::Contract),
        };
        let header = (0..plan.greeting as u64).map(|at| byte_at(Stream::Header, at));
        self.up = Conduit::of(header.chain(payload).collect());
        self.our_header = plan.greeting;
    }

    fn connect(
        &mut self,
        kernel: &mut Kernel,
        pool: Option<&Pool>,
        plan: &Plan,
        now: Instant,
    ) -> Outcome {
        hold!(Contract, self.is_routed, "nobody has asked where it goes");
        if let Some(pool) = pool {
            match pool.pick(&mut self.tried, now) {
                Ok(at) => self.hold = Hold::Attempt(at),
                Err(why) => {
                    let reason = if self.attempts == 0 { why } else { CloseReason::ConnectFailed };
                    self.is_cut = true;
                    self.session.handle_refused(reason, now);
                    return Outcome::Refused(reason);
                }
            }
        }
        if let Verdict::Refuse(reason) = plan.header.verdict {
            self.session.handle_refused(reason, now);
            return Outcome::Refused(reason);
        }
        let due = plan.connects[self.attempts].map(|(delay, outcome)| (now + delay, outcome));
        self.attempts += 1;
        match kernel.connect(due, plan.sizes, now) {
            Ok(fd) => {
                self.upstream = Some(fd);
                self.put_header(plan);
                self.session.handle_connecting(plan.first_send, plan.greeting, now);
                Outcome::Connecting
            }
            Err(error) => {
                let reason = if error == Errno::TooManyFiles {
                    // The endpoint is not to blame.
                    self.let_go(pool);
                    CloseReason::Resources
                } else {
                    CloseReason::ConnectFailed
                };
                self.session.handle_connect_failed(reason, now);
                Outcome::ConnectFailed(reason)
            }
        }
    }

    /// Fills an empty conduit; `None` if there is no pipe to be had.
    fn fill(
        &mut self,
        direction: Direction,
        method: Method,
        kernel: &mut Kernel,
        plan: &Plan,
    ) -> Option<ReceiveResult> {
        hold!(Contract, self.conduit(direction).is_empty(), "only an empty conduit is filled");
        let fd = self.fd(direction.source());
        Some(match method {
            Method::Copy => {
                let answer = kernel.recv(fd, plan.conduit);
                let received =
                    received(answer.as_ref().map(Vec::len).map_err(|e| *e), plan.conduit);
                *self.conduit_mut(direction) = Conduit::of(answer.unwrap_or_default());
                received
            }
            Method::Splice => {
                let mut pipe = kernel.pipe()?;
                // More than a buffer would hold: that is what it is for.
                let asked = plan.conduit * 4;
                let answer = kernel.splice_in(fd, &mut pipe, asked);
                if pipe.is_empty() {
                    kernel.close_pipe(pipe);
                } else {
                    *self.conduit_mut(direction) = Conduit::Pipe(pipe);
                }
                received(answer, asked)
            }
        })
    }

    fn drain(&mut self, direction: Direction, kernel: &mut Kernel, now: Instant) -> SendResult {
        let fd = self.fd(direction.sink());
        let is_end_next = self.session.is_end_next(direction);
        let conduit = self.conduit_mut(direction);
        let answer = match conduit {
            Conduit::Nowhere => panic!("{}: an empty conduit is drained", Rule::Contract),
            Conduit::Buffer(bytes) => {
                let sent = match is_end_next {
                    true => kernel.send_more(fd, bytes, now),
                    false => kernel.send(fd, bytes),
                };
                sent.inspect(|count| {
                    bytes.drain(..*count);
                })
            }
            Conduit::Pipe(pipe) => kernel.splice_out(pipe, fd),
        };
        if conduit.is_empty() {
            self.empty(direction, kernel);
        }
        match answer {
            Ok(count) => SendResult::Bytes(count),
            Err(Errno::Again) => SendResult::WouldBlock,
            Err(error) => SendResult::Failed(failure_of(error)),
        }
    }

    /// Gives a conduit back, whatever it holds.
    fn empty(&mut self, direction: Direction, kernel: &mut Kernel) {
        if let Conduit::Pipe(pipe) =
            std::mem::replace(self.conduit_mut(direction), Conduit::Nowhere)
        {
            kernel.close_pipe(pipe);
        }
    }

    fn forget(&mut self, side: Side) {
        match side {
            Side::Client => self.client = None,
            Side::Upstream => self.upstream = None,
        }
    }

    pub(super) fn socket(&self, side: Side) -> Option<Fd> {
        match side {
            Side::Client => self.client,
            Side::Upstream => self.upstream,
        }
    }

    pub(super) fn side_of(&self, fd: Fd) -> Option<Side> {
        Side::ALL.into_iter().find(|side| self.socket(*side) == Some(fd))
    }

    fn fd(&self, side: Side) -> Fd {
        let socket = self.socket(side);
        socket.unwrap_or_else(|| panic!("{}: {side:?} has no socket", Rule::Contract))
    }

    pub(super) fn conduit(&self, direction: Direction) -> &Conduit {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn conduit_mut(&mut self, direction: Direction) -> &mut Conduit {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Conduit {
    fn of(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Nowhere } else { Self::Buffer(bytes) }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Nowhere => true,
            Self::Buffer(bytes) => bytes.is_empty(),
            Self::Pipe(pipe) => pipe.is_empty(),
        }
    }
}

fn received(answer: Result<usize, Errno>, asked: usize) -> ReceiveResult {
    match answer {
        Ok(0) => ReceiveResult::End,
        Ok(count) => ReceiveResult::Bytes { count, asked },
        Err(Errno::Again) => ReceiveResult::WouldBlock,
        Err(error) => ReceiveResult::Failed(failure_of(error)),
    }
}

fn failure_of(error: Errno) -> Failure {
    match error {
        Errno::ConnReset | Errno::Pipe => Failure::Reset,
        Errno::Again
        | Errno::ConnRefused
        | Errno::NotConn
        | Errno::TimedOut
        | Errno::HostUnreachable
        | Errno::AddrNotAvailable
        | Errno::TooManyFiles
        | Errno::ConnAborted => Failure::Other,
    }
}

/// Reads an epoll event as mio does.
pub(crate) fn readiness(mask: Mask) -> Readiness {
    Readiness {
        readable: mask.input || mask.urgent,
        writable: mask.output,
        // The trap: an RST whose error was eaten looks like two FINs.
        read_closed: mask.hup || mask.input && mask.rdhup,
        urgent: mask.urgent,
        error: mask.error,
    }
}
