//! One connection: a session, and the sockets and conduits it decides about.
//!
//! Performs the session's actions, one system call each, and reports what came of them. It decides
//! nothing itself. Invariant: the session's count of a conduit is what the conduit holds.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry};
use ppcore::{Command, ErrorKind, Header, Transport};
use pptrust::{Found, Intro, Refusal, SocketAddrs};

use super::conduit::{Buffer, Conduit, Moved, Pool};
use super::rules::Rules;
use super::source::Source;
use super::table::Key;
use crate::config::{Accept, LocalPolicy};
use crate::core::close_reason::CloseReason;
use crate::core::schedule::{Place, Stint};
use crate::core::session::{
    Action, Direction, Failure, FirstUse, Method, Policy, Readiness, Received, Sent, Session, Side,
    Verdict,
};
use crate::data::sys::{self, Follow};
use crate::telemetry::access_log::{AccessLog, Purpose, Record};
use crate::telemetry::log::{self, Limiter};
use crate::telemetry::metrics::Counters;

/// What a connection borrows from its worker while it works.
#[derive(Debug)]
pub(super) struct Ctx<'a> {
    pub(super) registry: &'a Registry,
    pub(super) pool: &'a mut Pool,
    pub(super) counters: &'a Counters,
    pub(super) access_log: Option<&'a AccessLog>,
    pub(super) refusals: &'a mut Limiter,
    pub(super) failures: &'a mut Limiter,
    /// Room for the longest header we may send.
    pub(super) scratch: &'a mut [u8],
    pub(super) now: Instant,
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

/// The sockets a session knows by their side.
#[derive(Debug)]
struct Sockets {
    client: Option<TcpStream>,
    upstream: Option<TcpStream>,
}

impl Sockets {
    fn get(&self, side: Side) -> &TcpStream {
        let socket = match side {
            Side::Client => &self.client,
            Side::Upstream => &self.upstream,
        };
        socket.as_ref().expect("a session acts on sockets it has")
    }

    fn get_mut(&mut self, side: Side) -> &mut Option<TcpStream> {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }
}

/// A stream that was cut short never ends in a FIN, whatever ended its worker: who closes in peace takes the
/// sockets out first.
impl Drop for Sockets {
    fn drop(&mut self) {
        [&self.client, &self.upstream].into_iter().flatten().for_each(sys::reset_on_close);
    }
}

/// The conduits a session knows by their direction.
#[derive(Debug)]
struct Conduits {
    up: Conduit,
    down: Conduit,
}

impl Conduits {
    fn get_mut(&mut self, direction: Direction) -> &mut Conduit {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

/// A client's connection and its way upstream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Session,
    /// Where it stands in the worker's schedule.
    pub(super) place: Place,
    rules: Arc<Rules>,
    sockets: Sockets,
    conduits: Conduits,
    intro: Intro,
    peer: SocketAddr,
    /// The client's address if a header carried it.
    carried: Option<SocketAddr>,
    /// Service, until a LOCAL header says otherwise.
    purpose: Purpose,
    endpoint: Option<SocketAddr>,
    turn: usize,
    attempt: usize,
    /// Bytes of our own header: not payload.
    greeting_len: usize,
    /// Whether the upstream socket has its options: they cost system calls that short connections
    /// can do without.
    is_tuned: bool,
    /// Whether a receive from the client would come before any event of it.
    receives_early: bool,
    /// Whether a send upstream would come before any event of it.
    sends_early: bool,
    /// Whether the source of a direction, up and down, is not asked for more to read.
    muted: [bool; 2],
    began: Instant,
}

impl Connection {
    pub(super) fn new(
        rules: &Arc<Rules>,
        policy: Policy,
        client: TcpStream,
        peer: SocketAddr,
        now: Instant,
    ) -> Self {
        let receives_early = rules.early_receive.is_due();
        let session = Session::new(policy, first_use(receives_early), now);
        Self {
            place: Place::new(),
            session,
            sockets: Sockets { client: Some(client), upstream: None },
            conduits: Conduits { up: Conduit::Empty, down: Conduit::Empty },
            intro: rules.intro(),
            peer,
            carried: None,
            purpose: Purpose::Service,
            endpoint: None,
            turn: 0,
            attempt: 0,
            greeting_len: 0,
            is_tuned: false,
            receives_early,
            sends_early: false,
            muted: [false; 2],
            rules: Arc::clone(rules),
            began: now,
        }
    }

    /// Refuses a peer that is not let in: a reset, before a byte is read.
    pub(super) fn refuse(
        rules: &Rules,
        client: &TcpStream,
        peer: SocketAddr,
        reason: CloseReason,
        ctx: &mut Ctx<'_>,
    ) {
        sys::reset_on_close(client);
        if let Some(suppressed) = ctx.refusals.allow(ctx.now) {
            let (listener, reason) = (&rules.name, reason.name());
            tracing::warn!(listener, %peer, reason, suppressed, "refused");
        }
        let record = Record {
            listener: &rules.name,
            client: peer,
            peer,
            upstream: &rules.upstream.name,
            endpoint: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0,
            end: reason.name(),
        };
        write_access_log(&record, Purpose::Service, ctx);
        ctx.counters.close(reason);
    }

    /// Notes an event of one of the sockets.
    pub(super) fn handle_ready(&mut self, side: Side, ready: Readiness, now: Instant) {
        match side {
            Side::Client => self.receives_early = false,
            Side::Upstream => self.sends_early = false,
        }
        self.session.handle_ready(side, ready, now);
    }

    /// The time may have come for something. Whoever is reminded has stood for seconds: then the upstream
    /// socket's options are worth their system calls.
    pub(super) fn handle_time(&mut self, ctx: &mut Ctx<'_>) {
        if !self.is_tuned && self.sockets.upstream.is_some() {
            self.tune();
        }
        let failed_before = self.session.failed_attempts();
        self.session.handle_time(ctx.now);
        self.report_attempt(failed_before, &"no answer in time", ctx);
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
                    self.mute(key, ctx.registry);
                    self.conduits.up.rest(ctx.pool);
                    self.conduits.down.rest(ctx.pool);
                    let cost = moved + actions * action;
                    return Worked::Stint(Stint { cost, moved, has_more: false });
                }
                Action::ReadHeader => self.read_header(ctx),
                Action::Greet => match self.compose(None, ctx) {
                    Ok(len) => {
                        self.greeting_len = len;
                        self.conduits.up.prepend(&ctx.scratch[..len], ctx.pool);
                        self.session.handle_greeted(len);
                    }
                    Err(reason) => self.session.handle_refused(reason, now),
                },
                Action::Connect => self.connect(key, ctx),
                Action::Probe(side) => {
                    let pending = self.sockets.get(side).take_error();
                    let pending = pending.unwrap_or_else(Some);
                    let failed_before = self.session.failed_attempts();
                    self.session.handle_probed(side, pending.as_ref().map(failure), now);
                    if let Some(error) = pending {
                        self.report_attempt(failed_before, &error, ctx);
                    }
                }
                Action::Fill(direction, method) => self.fill(direction, method, ctx),
                Action::Drain(direction) => self.drain(direction, ctx),
                Action::Shutdown(direction) => {
                    let result =
                        self.sockets.get(direction.sink()).shutdown(std::net::Shutdown::Write);
                    let failed = result.err().as_ref().map(failure);
                    self.session.handle_shut(direction, failed, now);
                }
                Action::Discard => {
                    let mut buffer = ctx.pool.take_buffer();
                    let received = received(buffer.receive(self.sockets.get(Side::Client)));
                    ctx.pool.give_buffer(buffer);
                    self.session.handle_discarded(received, now);
                }
                Action::CheckUnsent(side) => {
                    // A socket that cannot tell has nothing more to deliver.
                    let unsent = sys::unsent(self.sockets.get(side)).unwrap_or(0);
                    self.session.handle_unsent(side, unsent, now);
                }
                Action::Reset(side) => {
                    if let Some(socket) = self.sockets.get_mut(side).take() {
                        sys::reset_on_close(&socket);
                    }
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
            Direction::Up => self.greeting_len as u64,
            Direction::Down => 0,
        };
        self.session.moved(direction).saturating_sub(header)
    }

    /// Returns the bytes that went out in either direction.
    fn moved(&self) -> u64 {
        self.session.moved(Direction::Up) + self.session.moved(Direction::Down)
    }

    fn read_header(&mut self, ctx: &mut Ctx<'_>) {
        let mut buffer = ctx.pool.take_buffer();
        let mut received = received(buffer.receive(self.sockets.get(Side::Client)));
        self.learn_from(received);
        let verdict = match received {
            // The stream is over before its first byte: some health checks end with a reset.
            Received::End | Received::Failed(Failure::Reset) if self.intro.held().is_empty() => {
                received = Received::End;
                Verdict::Refuse(CloseReason::Probe)
            }
            Received::WouldBlock | Received::Failed(_) => Verdict::Incomplete,
            Received::Bytes { .. } | Received::End => self.judge(received, &mut buffer, ctx),
        };
        match verdict {
            Verdict::Relay { .. } => self.conduits.up.put(buffer, ctx.pool),
            Verdict::Incomplete | Verdict::Answer | Verdict::Refuse(_) => {
                ctx.pool.give_buffer(buffer);
            }
        }
        self.session.handle_header(received, verdict, ctx.now);
    }

    /// Judges what has arrived; a verdict to relay leaves in the buffer what goes upstream first.
    fn judge(&mut self, received: Received, buffer: &mut Buffer, ctx: &mut Ctx<'_>) -> Verdict {
        let found = match received {
            Received::End => self.intro.finish(),
            Received::Bytes { .. } | Received::WouldBlock | Received::Failed(_) => {
                self.intro.push(buffer.held())
            }
        };
        let result = match found {
            Ok(None) => return Verdict::Incomplete,
            Ok(Some(Found::Header { header, taken })) => {
                let local = self.local_policy();
                if header.command() == Command::Local {
                    self.purpose = Purpose::Probe;
                }
                match (header.command(), local) {
                    (Command::Local, LocalPolicy::Answer) => return Verdict::Answer,
                    (Command::Local, LocalPolicy::Reject) => {
                        return Verdict::Refuse(CloseReason::LocalRejected);
                    }
                    (Command::Local | Command::Proxy | Command::Unknown, _) => {}
                }
                self.carried = header.addresses_for(Transport::Stream).map(|(client, _)| client);
                let bytes = self.intro.bytes(buffer.held());
                let composed = self.compose(Some((&header, bytes)), ctx);
                buffer.skip(taken);
                composed
            }
            Ok(Some(Found::Plain { taken })) => {
                let composed = self.compose(None, ctx);
                buffer.skip(taken);
                buffer.prepend(self.intro.held(), ctx.pool);
                composed
            }
            Err(refusal) => return self.refused(refusal, self.intro.bytes(buffer.held()), ctx),
        };
        match result {
            Ok(len) => {
                self.greeting_len = len;
                buffer.prepend(&ctx.scratch[..len], ctx.pool);
                // What it held is not needed any more.
                self.intro = self.rules.intro();
                Verdict::Relay { buffered: buffer.held().len() }
            }
            Err(reason) => Verdict::Refuse(reason),
        }
    }

    fn local_policy(&self) -> LocalPolicy {
        match &self.rules.accept {
            Accept::Headers(header) => header.local,
            Accept::Off => LocalPolicy::Forward,
        }
    }

    /// Writes our header into the scratch space.
    fn compose(
        &self,
        received: Option<(&Header, &[u8])>,
        ctx: &mut Ctx<'_>,
    ) -> Result<usize, CloseReason> {
        let send = &self.rules.send;
        let local = if send.needs_local(received.map(|(header, _)| header)) {
            self.sockets.get(Side::Client).local_addr().map_err(|_| CloseReason::ClientReset)?
        } else {
            self.peer
        };
        let socket = SocketAddrs { peer: self.peer, local };
        let len = send.compose(ctx.scratch, received, socket);
        len.map_err(|_| CloseReason::HeaderTooLong)
    }

    /// Says why a header is refused.
    fn refused(&self, refusal: Refusal, bytes: &[u8], ctx: &mut Ctx<'_>) -> Verdict {
        let error = match refusal {
            Refusal::Header(error) => error,
            Refusal::Denied | Refusal::Forbidden => return Verdict::Refuse(CloseReason::Untrusted),
        };
        let kind = error.kind();
        let reason = if kind == ErrorKind::Truncated {
            CloseReason::HeaderTruncated
        } else if kind == ErrorKind::NotProxy {
            CloseReason::HeaderAbsent
        } else {
            CloseReason::HeaderInvalid
        };
        if let Some(suppressed) = ctx.refusals.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name,
                peer = %self.peer,
                reason = reason.name(),
                error = error.kind().name(),
                offset = error.offset(),
                bytes = log::first_bytes(bytes),
                suppressed,
                why = self.rules.why(error),
                "refused",
            );
        }
        Verdict::Refuse(reason)
    }

    /// Says that no header came in time, and what came instead.
    fn report_timeout(&self, ctx: &mut Ctx<'_>) {
        if let Some(suppressed) = ctx.refusals.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name,
                peer = %self.peer,
                reason = CloseReason::HeaderTimeout.name(),
                offset = self.intro.held().len(),
                bytes = log::first_bytes(self.intro.held()),
                suppressed,
                why = "the header was not complete in time",
                "refused",
            );
        }
    }

    fn connect(&mut self, key: Key, ctx: &mut Ctx<'_>) {
        if self.attempt == 0 {
            // Not before: a probe goes nowhere, and takes nobody's turn.
            self.turn = self.rules.upstream.next_turn();
        }
        let endpoint = self.rules.upstream.endpoint(self.turn, self.attempt);
        self.attempt += 1;
        self.endpoint = Some(endpoint);
        self.is_tuned = false;
        let connected = TcpStream::connect(endpoint).and_then(|mut socket| {
            if self.rules.may_meet_itself(endpoint) && socket.local_addr()? == endpoint {
                // Or the port stays in use, and the backend cannot bind to it.
                sys::reset_on_close(&socket);
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    "it met itself: nobody listens there",
                ));
            }
            register(&mut socket, key, Side::Upstream, ctx.registry)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                self.sockets.upstream = Some(socket);
                self.sends_early = self.rules.upstream.early_send.is_due();
                self.session.handle_connecting(first_use(self.sends_early), ctx.now);
            }
            Err(error) => {
                let failed_before = self.session.failed_attempts();
                let reason = match sys::is_exhaustion(&error) {
                    true => CloseReason::Resources,
                    false => CloseReason::ConnectFailed,
                };
                self.session.handle_connect_failed(reason, ctx.now);
                self.report_attempt(failed_before, &error, ctx);
            }
        }
    }

    /// Counts an attempt to connect that has failed just now, and says why it did.
    #[cold]
    fn report_attempt(&self, failed_before: usize, why: &dyn fmt::Display, ctx: &mut Ctx<'_>) {
        if self.session.failed_attempts() == failed_before {
            return;
        }
        ctx.counters.connect_failures.add(1);
        if let (Some(suppressed), Some(endpoint)) = (ctx.failures.allow(ctx.now), self.endpoint) {
            tracing::warn!(
                listener = self.rules.name,
                upstream = self.rules.upstream.name,
                %endpoint,
                error = %why,
                suppressed,
                "cannot connect",
            );
        }
    }

    fn fill(&mut self, direction: Direction, method: Method, ctx: &mut Ctx<'_>) {
        let source = self.sockets.get(direction.source());
        let conduit = self.conduits.get_mut(direction);
        let spliced = match method {
            Method::Splice => conduit.fill_by_splice(source, ctx.pool, ctx.now),
            Method::Copy => None,
        };
        let (done, moved) = match spliced {
            Some(moved) => (Method::Splice, moved),
            None => (Method::Copy, conduit.fill_by_copy(source, ctx.pool)),
        };
        if done != method {
            ctx.counters.pipes_missing.add(1);
        }
        let received = received(moved);
        if direction == Direction::Up {
            self.learn_from(received);
        }
        self.session.handle_filled(direction, done, received, ctx.now);
    }

    /// Asks for nothing more to read where a pipe waits for its sink, until it has been emptied: a source
    /// that goes on would raise an edge with each segment, which nobody can use. What came meanwhile, and
    /// an end, the kernel tells when it is asked again (epoll_ctl(2), EPOLL_CTL_MOD); errors it always tells.
    fn mute(&mut self, key: Key, registry: &Registry) {
        for (direction, muted) in [Direction::Up, Direction::Down].into_iter().zip(&mut self.muted)
        {
            // Held by a session that waits, it waits for its sink.
            let is_piped = matches!(self.conduits.get_mut(direction), Conduit::Pipe(_));
            let side = direction.source();
            if *muted != is_piped
                && let Some(socket) = self.sockets.get_mut(side)
            {
                let interest = if is_piped { Interest::WRITABLE } else { ALL };
                let token = Source::Leg(key, side).token();
                // Where it fails, the next wait tries it again.
                *muted ^= registry.reregister(socket, token, interest).is_ok();
            }
        }
    }

    /// Learns from the client's first receive.
    fn learn_from(&mut self, received: Received) {
        if std::mem::take(&mut self.receives_early) {
            self.rules.early_receive.handle_tried(received == Received::WouldBlock);
        }
    }

    fn drain(&mut self, direction: Direction, ctx: &mut Ctx<'_>) {
        if direction == Direction::Up && !self.is_tuned && self.session.moved(direction) > 0 {
            self.tune();
        }
        let sink = self.sockets.get(direction.sink());
        let conduit = self.conduits.get_mut(direction);
        let follow = match self.session.is_end_next(direction) {
            true => Follow::End,
            false => Follow::Unknown,
        };
        let result = conduit.drain(sink, follow, ctx.pool);
        let sent = sent(&result);
        if direction == Direction::Up && std::mem::take(&mut self.sends_early) {
            self.rules.upstream.early_send.handle_tried(sent == Sent::WouldBlock);
        }
        let failed_before = self.session.failed_attempts();
        let payload_before = self.payload(direction);
        self.session.handle_drained(direction, sent, ctx.now);
        let payload = self.payload(direction) - payload_before;
        match direction {
            Direction::Up => ctx.counters.bytes_up.add(payload),
            Direction::Down => ctx.counters.bytes_down.add(payload),
        }
        if let Err(error) = &result {
            self.report_attempt(failed_before, error, ctx);
        }
    }

    /// Sets the upstream socket's options, at its second write, since Nagle's rule never holds the first
    /// one back (tcp(7), RFC 896), or when it has stood for a while.
    fn tune(&mut self) {
        self.is_tuned = true;
        let socket = self.sockets.get(Side::Upstream);
        let tuned = sys::set_keepalive(socket, &self.rules.keepalive)
            .and_then(|()| if self.rules.nodelay { socket.set_nodelay(true) } else { Ok(()) });
        if let Err(error) = tuned {
            tracing::debug!(%error, "an upstream socket refused an option");
        }
    }

    fn close(&mut self, reason: CloseReason, ctx: &mut Ctx<'_>) {
        (self.sockets.client, self.sockets.upstream) = (None, None);
        self.conduits.up.release(ctx.pool);
        self.conduits.down.release(ctx.pool);
        if reason == CloseReason::HeaderTimeout {
            self.report_timeout(ctx);
        }
        let record = Record {
            listener: &self.rules.name,
            client: self.carried.unwrap_or(self.peer),
            peer: self.peer,
            upstream: &self.rules.upstream.name,
            endpoint: self.endpoint,
            bytes_in: self.payload(Direction::Up),
            bytes_out: self.payload(Direction::Down),
            duration_ms: ctx.now.saturating_duration_since(self.began).as_millis(),
            end: reason.name(),
        };
        let purpose = if reason == CloseReason::Probe { Purpose::Probe } else { self.purpose };
        write_access_log(&record, purpose, ctx);
        ctx.counters.close(reason);
    }
}

fn first_use(is_early: bool) -> FirstUse {
    if is_early { FirstUse::AtOnce } else { FirstUse::WhenReady }
}

fn received(Moved { asked, result }: Moved) -> Received {
    match result {
        Ok(0) => Received::End,
        Ok(count) => Received::Bytes { count, asked },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::WouldBlock,
        Err(error) => Received::Failed(failure(&error)),
    }
}

fn sent(result: &io::Result<usize>) -> Sent {
    match result {
        Ok(0) => Sent::WouldBlock,
        Ok(count) => Sent::Bytes(*count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::WouldBlock,
        Err(error) => Sent::Failed(failure(error)),
    }
}

/// Tells a reset from the rest.
fn failure(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::EPIPE) => Failure::Reset,
        Some(_) | None => Failure::Other,
    }
}

/// All that is asked of a socket.
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

/// Registers a socket: closing it takes it out (epoll(7)).
pub(super) fn register(
    socket: &mut TcpStream,
    key: Key,
    side: Side,
    registry: &Registry,
) -> io::Result<()> {
    registry.register(socket, Source::Leg(key, side).token(), ALL)
}

fn write_access_log(record: &Record<'_>, purpose: Purpose, ctx: &Ctx<'_>) {
    if let Some(log) = ctx.access_log
        && !log.write(record, purpose, ctx.unix_time)
    {
        ctx.counters.access_lines_dropped.add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn sockets_that_a_worker_left_behind_are_reset() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (client, _) = listener.accept().unwrap();
        drop(Sockets { client: Some(TcpStream::from_std(client)), upstream: None });
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
