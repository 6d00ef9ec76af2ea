//! One connection: a session, and the two legs it decides about.
//!
//! ```text
//! intro (header) -> intent -> route -> dial (endpoint, our header for it) -> relay
//! ```
//!
//! Performs the session's actions, one system call each, and reports what came of them. It decides
//! nothing itself. Invariant: the session's count of a conduit is what the conduit holds.

mod attempts;
mod refused;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;
use pptrust::{Found, Intro};
use socket2::Socket;

use attempts::{Attempt, Blame};

use super::conduit::{Buffer, Spares};
use super::dial::Dial;
use super::hello::{Hello, Judged};
use super::leg::{self, Leg};
use super::orders::Ejections;
use super::outcome::{failure, first_use, received, sent};
use super::rules::{Choice, Rules, Taken, Target};
use super::source::Source;
use super::table::Key;
use crate::config::LocalPolicy;
use crate::core::addr::Peer;
use crate::core::close_reason::CloseReason;
use crate::core::connect_result::ConnectResult;
use crate::core::connection_id::ConnectionId;
use crate::core::intent::{Intent, Purpose};
use crate::core::limits::{Held, Limited};
use crate::core::schedule::{Stint, Ticket};
use crate::core::session::{
    self, Action, Direction, Failure, FirstBytes, Interest, Method, Policy, Readiness,
    ReceiveResult, SendResult, Session, Side, Verdict,
};
use crate::data::sys::{self, Follow};
use crate::telemetry::access_log::{AccessLog, Record};
use crate::telemetry::cells::WorkerCells;
use crate::telemetry::log::Limiter;
use crate::telemetry::refusals::Refusals;
use crate::telemetry::tlvs::Told;

/// What a connection borrows from its worker while it works.
#[derive(Debug)]
pub(super) struct Ctx<'a> {
    pub(super) registry: &'a Registry,
    pub(super) spares: &'a mut Spares,
    pub(super) cells: &'a WorkerCells,
    /// The worker's last refusals.
    pub(super) refused: &'a Refusals,
    pub(super) access_log: Option<&'a AccessLog>,
    pub(super) refusal_lines: &'a mut Limiter,
    pub(super) failure_lines: &'a mut Limiter,
    pub(super) ejections: &'a Ejections,
    /// Room for the longest header we may send.
    pub(super) scratch: &'a mut [u8],
    pub(super) now: Instant,
    /// Nanoseconds since the origin of all workers; those in which the process stood still count.
    pub(super) elapsed_ns: u64,
    /// Unix time of `now`.
    pub(super) unix_time: Duration,
}

/// What became of a connection that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worked {
    /// It goes on: it waits for readiness or for its deadline, or has used up its share.
    Stint(Stint),
    /// It is over, and has been counted.
    Ended,
}

/// What a connection is about, with what it needs for that.
#[derive(Debug)]
enum Stage {
    /// Reading its header.
    Intro(Intro),
    /// Reaching an endpoint.
    Dial(Dial),
    /// Its header has gone to the one that answered.
    Relay,
}

/// A client's connection and its way upstream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Session,
    /// Where it stands in the worker's schedule.
    pub(super) ticket: Ticket,
    pub(super) id: ConnectionId,
    rules: Arc<Rules>,
    client: Leg,
    upstream: Leg,
    stage: Stage,
    intent: Intent<Peer>,
    /// What it asks for in TLS, where a route goes by that.
    hello: Option<Box<Hello>>,
    /// What counts for it at its listener's limits.
    limited: Option<Held>,
    /// The route that it has taken.
    taken: Option<Taken>,
    /// The last one.
    attempt: Option<Attempt>,
    /// Bytes of our own header for its endpoint, which are not payload.
    header_len: u32,
    /// For the access log; none unless it asks for them.
    tlvs: Told,
    began: Instant,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        rules: &Arc<Rules>,
        policy: &Arc<Policy>,
        client: Socket,
        peer: Peer,
        now: Instant,
    ) -> Self {
        tracing::debug!(listener = rules.name(), %peer, "accepted");
        let is_early = rules.early_receive.is_due();
        Self {
            ticket: Ticket::new(),
            id,
            session: Session::new(Arc::clone(policy), first_use(is_early), now),
            client: Leg::accepted(client, is_early),
            upstream: Leg::absent(),
            stage: match policy.first_bytes {
                FirstBytes::Header | FirstBytes::HeaderOrSilence => Stage::Intro(rules.intro()),
                FirstBytes::Payload => Stage::Dial(Dial::default()),
            },
            intent: Intent::plain(peer),
            hello: None,
            limited: None,
            taken: None,
            attempt: None,
            header_len: 0,
            tlvs: Told::default(),
            rules: Arc::clone(rules),
            began: now,
        }
    }

    /// Notes an event of one of the sockets.
    pub(super) fn note_event(&mut self, side: Side, ready: Readiness, now: Instant) {
        self.leg_mut(side).note_event();
        self.session.handle_ready(side, ready, now);
        self.count_connected(now);
    }

    /// The time may have come for something. Whoever is reminded has stood for seconds: then the upstream
    /// socket's options are worth their system calls.
    pub(super) fn handle_time(&mut self, ctx: &mut Ctx<'_>) {
        if self.upstream.is_untuned() {
            self.tune();
        }
        let failed_before = self.session.failed_attempts();
        self.session.handle_time(ctx.now);
        let (reason, result) = (CloseReason::ConnectTimeout, ConnectResult::Timeout);
        let outcome = (result, Blame::Endpoint);
        self.report_attempt(failed_before, reason, outcome, &"no answer in time", ctx);
    }

    /// Does what the session wants done, until it waits, ends, or has used up its share; each action costs
    /// `action` and the bytes that it moves.
    pub(super) fn work(
        &mut self,
        key: Key,
        share: usize,
        action: usize,
        ctx: &mut Ctx<'_>,
    ) -> Worked {
        let before = self.moved();
        let (mut actions, mut moved) = (0, 0);
        while moved + actions * action < share {
            let now = ctx.now;
            match self.session.next() {
                Action::Wait => {
                    for side in Side::ALL {
                        self.leg_mut(side).conduit.rest(ctx.spares);
                    }
                    let cost = moved + actions * action;
                    return Worked::Stint(Stint { cost, moved, has_more: false });
                }
                Action::ReadHeader => self.read_header(ctx),
                Action::Route => {
                    if matches!(self.stage, Stage::Intro(_)) {
                        // It was silent until the deadline.
                        self.stage = Stage::Dial(Dial::default());
                    }
                    self.route(ctx);
                }
                Action::ReadHello => self.read_hello(ctx),
                Action::Connect => self.connect(key, ctx),
                Action::TakeError(side) => {
                    let pending = self.leg(side).socket().take_error();
                    let pending = pending.unwrap_or_else(Some);
                    let failed_before = self.session.failed_attempts();
                    self.session.handle_error_taken(side, pending.as_ref().map(failure), now);
                    self.count_connected(now);
                    if let Some(error) = pending {
                        self.report_failure(failed_before, &error, ctx);
                    }
                }
                Action::Fill(direction, method) => self.fill(direction, method, ctx),
                Action::Drain(direction) => self.drain(direction, ctx),
                Action::Shutdown(direction) => {
                    let sink = self.leg(direction.sink()).socket();
                    let result = sink.shutdown(std::net::Shutdown::Write);
                    let failed = result.err().as_ref().map(failure);
                    self.session.handle_shut(direction, failed, now);
                }
                Action::Discard => {
                    let mut buffer = ctx.spares.take_buffer();
                    let received = received(buffer.receive(self.client.socket()));
                    ctx.spares.give_buffer(buffer);
                    self.session.handle_discarded(received, now);
                }
                Action::CheckUnsent(side) => {
                    // A socket that cannot tell has nothing more to deliver.
                    let unsent = sys::unsent(self.leg(side).socket()).unwrap_or(0);
                    self.session.handle_unsent(side, unsent, now);
                }
                Action::Watch(side, interest) => {
                    let source = Source::Leg(key, side);
                    let asked = match interest {
                        Interest::All => leg::ALL,
                        Interest::Room => leg::ROOM,
                    };
                    let result = self.leg(side).watch(source, asked, ctx.registry);
                    let failed = result.err().as_ref().map(failure);
                    self.session.handle_watched(side, interest, failed, now);
                }
                Action::Reset(side) => {
                    self.leg_mut(side).reset();
                    self.session.handle_reset(side);
                }
                Action::Close(reason) => {
                    self.close(reason, ctx);
                    return Worked::Ended;
                }
            }
            actions += 1;
            moved = usize::try_from(self.moved() - before).unwrap_or(usize::MAX);
        }
        Worked::Stint(Stint { cost: moved + actions * action, moved, has_more: true })
    }

    /// Returns the payload bytes that went out in a direction.
    fn payload(&self, direction: Direction) -> u64 {
        let header = match direction {
            Direction::Up => self.header_len.into(),
            Direction::Down => 0,
        };
        self.session.moved(direction).saturating_sub(header)
    }

    /// Returns the bytes that went out in either direction.
    fn moved(&self) -> u64 {
        self.session.moved(Direction::Up) + self.session.moved(Direction::Down)
    }

    fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    /// Returns what has come of a header that is not complete.
    fn held(&self) -> &[u8] {
        match &self.stage {
            Stage::Intro(intro) => intro.held(),
            Stage::Dial(_) | Stage::Relay => &[],
        }
    }

    fn read_header(&mut self, ctx: &mut Ctx<'_>) {
        let mut buffer = ctx.spares.take_buffer();
        let mut received = received(buffer.receive(self.client.socket()));
        self.learn_from(received);
        let verdict = match received {
            // The stream is over before its first byte: some health checks end with a reset.
            ReceiveResult::End | ReceiveResult::Failed(Failure::Reset)
                if self.held().is_empty() =>
            {
                received = ReceiveResult::End;
                Verdict::Refuse(CloseReason::Probe)
            }
            ReceiveResult::WouldBlock | ReceiveResult::Failed(_) => Verdict::Incomplete,
            ReceiveResult::Bytes { .. } | ReceiveResult::End => {
                self.judge(received, &mut buffer, ctx)
            }
        };
        match verdict {
            Verdict::Relay { .. } => self.client.conduit.put(buffer, ctx.spares),
            Verdict::Incomplete | Verdict::Answer | Verdict::Refuse(_) => {
                ctx.spares.give_buffer(buffer);
            }
        }
        self.session.handle_header(received, verdict, ctx.now);
    }

    /// Judges what has arrived; a verdict to relay leaves the payload in the buffer.
    fn judge(
        &mut self,
        received: ReceiveResult,
        buffer: &mut Buffer,
        ctx: &mut Ctx<'_>,
    ) -> Verdict {
        let Stage::Intro(intro) = &mut self.stage else {
            unreachable!("a session reads its header first")
        };
        let found = match received {
            ReceiveResult::End => intro.finish(),
            ReceiveResult::Bytes { .. } | ReceiveResult::WouldBlock | ReceiveResult::Failed(_) => {
                intro.push(buffer.held())
            }
        };
        let dial = match found {
            Ok(None) => return Verdict::Incomplete,
            Ok(Some(Found::Header { header, taken })) => {
                self.rules.cells.take_header(&header, self.began, ctx.now);
                self.intent = Intent::of(self.intent.peer, &header);
                tracing::debug!(
                    listener = self.rules.name(),
                    peer = %self.intent.peer,
                    client = %self.intent.client,
                    version = header.version().name(),
                    "header",
                );
                match (self.intent.purpose, self.rules.local_policy()) {
                    (Purpose::HealthCheck, LocalPolicy::Answer) => return Verdict::Answer,
                    (Purpose::HealthCheck, LocalPolicy::Reject) => {
                        return Verdict::Refuse(CloseReason::LocalRejected);
                    }
                    (Purpose::HealthCheck | Purpose::Service, _) => {}
                }
                let bytes = intro.bytes(buffer.held());
                if let Some(log) = ctx.access_log {
                    self.tlvs = log.tell_tlvs(&header, bytes);
                }
                let needed = self.rules.needs_bytes(&header).then_some(bytes);
                let dial = Dial::behind(header, needed, ctx.spares);
                buffer.skip(taken);
                dial
            }
            Ok(Some(Found::Plain { taken })) => {
                tracing::debug!(
                    listener = self.rules.name(),
                    peer = %self.intent.peer,
                    "no header",
                );
                buffer.skip(taken);
                buffer.prepend(intro.held(), ctx.spares);
                Dial::default()
            }
            Err(refusal) => return self.refused(refusal, buffer.held(), ctx),
        };
        self.stage = Stage::Dial(dial);
        Verdict::Relay { buffered: buffer.held().len() }
    }

    /// Finds out where it goes, now that all is known that it goes by.
    fn route(&mut self, ctx: &mut Ctx<'_>) {
        let Stage::Dial(dial) = &self.stage else {
            unreachable!("a session is routed behind its header")
        };
        if let Some(limits) = &self.rules.limits
            && self.limited.is_none()
            && self.intent.purpose == Purpose::Service
        {
            match limits.admit(self.intent.client.ip(), ctx.elapsed_ns) {
                Ok(held) => self.limited = Some(held),
                Err(Limited) => return self.turn_away(CloseReason::Limited, ctx),
            }
        }
        let mut choice = self.rules.route(&self.intent, dial.tlvs(), self.hello.as_deref());
        if choice == Choice::NeedsHello {
            let hello = self.hello.insert(Box::new(Hello::new()));
            if hello.push(self.client.conduit.buffered()) == Judged::NotYet {
                return self.session.handle_hello_needed(ctx.now);
            }
            choice = self.rules.route(&self.intent, dial.tlvs(), self.hello.as_deref());
        }
        if let Choice::Made(taken) = choice {
            self.taken = taken;
        }
        if let Some(hello) = &mut self.hello {
            hello.give_up();
        }
        if self.rules.is_denied(self.taken) {
            return self.turn_away(CloseReason::Denied, ctx);
        }
        self.session.handle_routed(self.target().upstream.attempts_max());
    }

    /// Receives more of the ClientHello, which is payload.
    fn read_hello(&mut self, ctx: &mut Ctx<'_>) {
        let received = received(self.client.receive_more(ctx.spares));
        self.learn_from(received);
        let judged = match &mut self.hello {
            Some(hello) => hello.push(self.client.conduit.buffered()),
            None => Judged::Yes,
        };
        let hello = match judged {
            Judged::NotYet => session::Hello::Incomplete,
            Judged::Yes => session::Hello::Judged,
        };
        self.session.handle_hello(received, hello, ctx.now);
    }

    /// Returns where it goes.
    fn target(&self) -> &Target {
        self.rules.target(self.taken)
    }

    fn fill(&mut self, direction: Direction, method: Method, ctx: &mut Ctx<'_>) {
        let source = self.leg_mut(direction.source());
        let moved = match method {
            Method::Copy => source.receive(ctx.spares),
            Method::Splice => match source.splice(ctx.spares, ctx.now) {
                Some(moved) => moved,
                None => {
                    ctx.cells.pipes_missing.add(1);
                    return self.session.handle_unpiped(direction);
                }
            },
        };
        let received = received(moved);
        if direction == Direction::Up {
            self.learn_from(received);
        }
        self.session.handle_filled(direction, method, received, ctx.now);
    }

    /// Learns from the client's first receive.
    fn learn_from(&mut self, received: ReceiveResult) {
        if self.client.take_early() {
            self.rules.early_receive.handle_tried(received == ReceiveResult::WouldBlock);
        }
    }

    fn drain(&mut self, direction: Direction, ctx: &mut Ctx<'_>) {
        let is_up = direction == Direction::Up;
        if is_up && self.session.moved(direction) > 0 && self.upstream.is_untuned() {
            self.tune();
        }
        let follow = match self.session.is_end_next(direction) {
            true => Follow::End,
            false => Follow::Unknown,
        };
        let (source, sink) = match direction {
            Direction::Up => (&mut self.client, &self.upstream),
            Direction::Down => (&mut self.upstream, &self.client),
        };
        let result = source.conduit.send(sink.socket(), follow, ctx.spares);
        let sent = sent(&result);
        if is_up && self.upstream.take_early() {
            let early_send = &self.target().upstream.early_send;
            early_send.handle_tried(sent == SendResult::WouldBlock);
        }
        let failed_before = self.session.failed_attempts();
        let payload_before = self.payload(direction);
        self.session.handle_drained(direction, sent, ctx.now);
        self.count_connected(ctx.now);
        let payload = self.payload(direction) - payload_before;
        match direction {
            Direction::Up => self.rules.cells.bytes_up.add(payload),
            Direction::Down => self.rules.cells.bytes_down.add(payload),
        }
        match &result {
            Ok(_) if is_up => self.forget_dial(ctx.spares),
            Ok(_) => {}
            Err(error) => self.report_failure(failed_before, error, ctx),
        }
    }

    /// Our header has gone to an endpoint that answered, or will go to none.
    fn forget_dial(&mut self, spares: &mut Spares) {
        if let Stage::Dial(dial) = &mut self.stage {
            dial.release(spares);
            self.stage = Stage::Relay;
        }
    }

    /// Sets the upstream socket's options, at its second write, since Nagle's rule never holds the first
    /// one back (tcp(7), RFC 896), or when it has stood for a while.
    fn tune(&mut self) {
        self.upstream.tune(&self.rules.keepalive, self.rules.nodelay);
    }

    fn close(&mut self, reason: CloseReason, ctx: &mut Ctx<'_>) {
        for leg in [&mut self.client, &mut self.upstream] {
            leg.close();
            leg.conduit.release(ctx.spares);
        }
        if reason == CloseReason::HeaderTimeout {
            self.report_timeout(ctx);
        }
        self.forget_dial(ctx.spares);
        let record = Record {
            id: self.id,
            listener: self.rules.name(),
            intent: &self.intent,
            route: self.taken.map(Taken::number),
            sni: self.hello.as_deref().and_then(Hello::sni),
            upstream: &self.target().upstream.name,
            endpoint: self.endpoint_addr(),
            bytes_in: self.payload(Direction::Up),
            bytes_out: self.payload(Direction::Down),
            duration_ms: ctx.now.saturating_duration_since(self.began).as_millis(),
            end: reason.name(),
            tlvs: &self.tlvs,
        };
        let purpose =
            if reason == CloseReason::Probe { Purpose::HealthCheck } else { self.intent.purpose };
        tell_end(&record, purpose, ctx);
        self.let_go();
        self.rules.cells.close(reason);
        ctx.cells.close();
    }
}

/// Tells of a connection that is over, in both logs.
pub(super) fn tell_end(record: &Record<'_>, purpose: Purpose, ctx: &Ctx<'_>) {
    tracing::debug!(
        listener = record.listener,
        peer = %record.intent.peer,
        client = %record.intent.client,
        upstream = record.upstream,
        endpoint = record.endpoint.map(tracing::field::display),
        reason = record.end,
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        duration_ms = u64::try_from(record.duration_ms).unwrap_or(u64::MAX),
        "closed",
    );
    if let Some(log) = ctx.access_log
        && !log.write(record, purpose, ctx.unix_time)
    {
        ctx.cells.access_lines_dropped.add(1);
    }
}
