//! The generator of datagrams: one thread, a connected socket a flow.
//!
//! Open loop for flows that stay: a constant rate over all of them, in turn. Flows of one question come as
//! connections do, also by how many there is room for. A socket is told of once and a datagram is composed in one
//! buffer, so that nothing is allocated once the flows stand. Invariant: `answered + lost <= sent`.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::report::DatagramReport;
use super::wire::{Framing, Mark, Payload, Wrong, plain};
use super::{Kind, RECEIVE_BYTES, SOCKET_BUFFER_BYTES, sys};
use crate::args::LoadArgs;
use crate::client::size;
use crate::host;
use crate::pattern::Pattern;
use crate::report::{Latency, count_failure, error_name};
use crate::schedule::Schedule;
use crate::timer::{TIMER, Timer};

/// How often timeouts and the interrupt are looked at.
const TICK: Duration = Duration::from_millis(100);
const EVENTS: usize = 1024;
const LATENCY_MAX: Duration = Duration::from_secs(3600);
/// The clients that headers name: 198.18.0.0/15, for benchmarks (RFC 2544).
const CLIENTS: u32 = 0xC612_0000;
const CLIENTS_BITS: u32 = 17;
/// Where their ports begin.
const CLIENT_PORT: u16 = 20_000;

struct Flow {
    socket: UdpSocket,
    number: u32,
    /// Whom its header names; itself where none is sent.
    client: SocketAddr,
    header: Vec<u8>,
    /// The header has gone.
    has_begun: bool,
    /// When its question has waited too long.
    deadline: Instant,
}

pub(crate) struct Generator<'a> {
    args: &'a LoadArgs,
    kind: Kind,
    framing: Framing,
    poll: Poll,
    pattern: Pattern,
    /// What is sent.
    out: Vec<u8>,
    buffer: Vec<u8>,
    flows: Vec<Option<Flow>>,
    /// Where no flow stands, of those that come and go.
    empty: Vec<usize>,
    schedule: Schedule,
    /// Whether a start that was due has found no room.
    was_full: bool,
    timer: Option<Timer>,
    /// Of the next datagram.
    number: u64,
    /// A bit each datagram of flows that stay: it was answered.
    answered: Vec<u64>,
    latency: Histogram<u64>,
    start: Instant,
    last: Instant,
    counts: DatagramReport,
}

impl<'a> Generator<'a> {
    /// # Errors
    /// When the system gives no poll, timer or socket.
    pub(crate) fn new(args: &'a LoadArgs, kind: Kind) -> Result<Self> {
        let poll = Poll::new().context("a poll")?;
        let latency_max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        let slots = usize::try_from(args.connections)?;
        let start = host::now();
        let (turns, rate) = (args.count_max().div_ceil(args.gso.into()), args.rate_of_turns());
        let mut this = Self {
            args,
            kind,
            framing: args.framing(),
            poll,
            pattern: Pattern::new(),
            out: Vec::with_capacity(RECEIVE_BYTES),
            buffer: vec![0; RECEIVE_BYTES],
            flows: (0..slots).map(|_| None).collect(),
            empty: (0..slots).rev().collect(),
            schedule: Schedule::new(start, args.run_for, turns, rate),
            was_full: false,
            timer: None,
            number: 0,
            answered: Vec::new(),
            latency: Histogram::new_with_bounds(1, latency_max, 3)?,
            start,
            last: start,
            counts: DatagramReport::default(),
        };
        if kind != Kind::Dns {
            for at in 0..slots {
                this.open(at, u32::try_from(at)?, start).context("a flow's socket")?;
            }
        }
        // Last, so that the first starts are not late already.
        this.start = host::now();
        this.last = this.start;
        this.schedule = Schedule::new(this.start, args.run_for, turns, rate);
        let period = this.schedule.period();
        this.timer = period.map(|period| Timer::start(&this.poll, period)).transpose()?;
        Ok(this)
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<DatagramReport> {
        let cpu = host::thread_cpu();
        let mut events = Events::with_capacity(EVENTS);
        let mut next_tick = self.start + TICK;
        self.send_due();
        while !self.is_over(host::now()) && !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("polling"),
            }
            for event in events.iter() {
                match (event.token(), &self.timer) {
                    (TIMER, Some(timer)) => timer.rewind().context("reading a timer")?,
                    (Token(at), _) => self.receive(at),
                }
                self.send_due();
            }
            let now = host::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.expire(now);
                self.send_due();
            }
        }
        if stop.load(Ordering::Relaxed) {
            self.schedule.stop();
        }
        let mut counts = self.counts;
        counts.seconds = (self.last - self.start).as_secs_f64();
        counts.cpu_seconds = (host::thread_cpu() - cpu).as_secs_f64();
        counts.latency = Latency::read(&self.latency);
        counts.schedule = self.schedule.lag().map(Into::into);
        counts.lost = match self.kind {
            Kind::Game | Kind::Dns => counts.sent - counts.answered,
            Kind::Bulk => 0,
        };
        counts.judge();
        Ok(counts)
    }

    /// Whether nothing will be sent any more, and nothing is waited for.
    fn is_over(&self, now: Instant) -> bool {
        self.schedule.is_over(now)
            && match self.kind {
                Kind::Bulk => true,
                Kind::Dns => self.empty.len() == self.flows.len(),
                Kind::Game => {
                    self.counts.answered == self.counts.sent || now >= self.last + self.args.timeout
                }
            }
    }

    fn open(&mut self, at: usize, number: u32, deadline: Instant) -> io::Result<()> {
        let to = self.args.to;
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::UDP))?;
        if self.kind == Kind::Bulk {
            socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        }
        socket.connect(&to.into())?;
        let told = client_of(number);
        let header = self.framing.header(told);
        if self.args.gso > 1 {
            let bytes = u16::try_from(header.len() + self.args.datagram_bytes());
            sys::segment(&socket, bytes.expect("the arguments were looked at"))?;
        }
        let mut socket = UdpSocket::from_std(socket.into());
        let client = match self.framing {
            Framing::None => plain(socket.local_addr()?),
            Framing::V2 | Framing::V2First | Framing::Spp => told.into(),
        };
        self.poll.registry().register(&mut socket, Token(at), Interest::READABLE)?;
        self.counts.flows += 1;
        self.flows[at] = Some(Flow { socket, number, client, header, has_begun: false, deadline });
        Ok(())
    }

    /// Sends what is due and has room.
    fn send_due(&mut self) {
        loop {
            let now = host::now();
            if self.kind == Kind::Dns && self.empty.is_empty() {
                self.was_full |= self.schedule.is_due(now);
                return;
            }
            let Some(meant) = self.schedule.take(now, self.was_full) else {
                self.was_full = false;
                return;
            };
            if let Err(error) = self.send(meant, now) {
                count_failure(&mut self.counts.failed, &error_name(&error));
            }
            self.last = now;
        }
    }

    /// Sends a flow's next datagram, or so many as leave at a time.
    fn send(&mut self, meant: Instant, now: Instant) -> io::Result<()> {
        let at = match self.kind {
            Kind::Dns => {
                let at = self.empty.pop().expect("there is room");
                let number = u32::try_from(self.number & u64::from(u32::MAX)).expect("32 bits");
                if let Err(error) = self.open(at, number, now + self.args.timeout) {
                    self.empty.push(at);
                    self.number += 1;
                    return Err(error);
                }
                at
            }
            Kind::Game | Kind::Bulk => {
                let turn = self.number / u64::from(self.args.gso);
                usize::try_from(turn % size(self.flows.len())).expect("below the number of flows")
            }
        };
        let count = u64::from(self.args.gso);
        let first = self.number;
        self.number += count;
        let Some(flow) = &mut self.flows[at] else { return Ok(()) };
        self.out.clear();
        for number in first..first + count {
            if self.framing != Framing::V2First || !flow.has_begun {
                self.out.extend_from_slice(&flow.header);
            }
            let payload = Payload {
                mark: if self.kind == Kind::Bulk { Mark::Statement } else { Mark::Question },
                len: self.args.datagram_bytes(),
                client: flow.client,
                flow: flow.number,
                number,
                meant: u64::try_from((meant - self.start).as_nanos()).unwrap_or(u64::MAX),
            };
            payload.write(&mut self.out, &self.pattern);
        }
        if let Err(error) = flow.socket.send(&self.out) {
            self.close(at);
            return Err(error);
        }
        flow.has_begun = true;
        self.counts.sent += count;
        self.counts.bytes_sent += count * size(self.args.datagram_bytes());
        Ok(())
    }

    /// Takes the answers that a flow has.
    fn receive(&mut self, at: usize) {
        while let Some(flow) = self.flows.get(at).and_then(Option::as_ref) {
            match flow.socket.recv(&mut self.buffer) {
                Ok(len) => self.take(at, len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    count_failure(&mut self.counts.broken, &error_name(&error));
                    return self.close(at);
                }
            }
        }
    }

    fn take(&mut self, at: usize, len: usize) {
        let Some(flow) = &self.flows[at] else { return };
        let header: &[u8] = if self.framing == Framing::Spp { &flow.header } else { &[] };
        let bytes = &self.buffer[..len];
        let read = match bytes.strip_prefix(header) {
            Some(bytes) => Payload::read(bytes, self.args.check, &self.pattern)
                .map(|payload| (payload, bytes.len())),
            None => Err(Wrong::Foreign),
        };
        let broken = &mut self.counts.broken;
        match read {
            Err(Wrong::Foreign) => self.counts.foreign += 1,
            Err(Wrong::Cut) => count_failure(broken, "a part of an answer"),
            Err(Wrong::Bytes) => count_failure(broken, "wrong bytes in an answer"),
            Ok((payload, len)) if payload.len != len => {
                count_failure(broken, "more than an answer");
            }
            Ok((payload, _)) if payload.flow != flow.number => {
                count_failure(broken, "another flow's answer");
            }
            Ok((payload, _)) => self.handle_answer(at, &payload),
        }
    }

    fn handle_answer(&mut self, at: usize, payload: &Payload) {
        let was_answered = match self.kind {
            Kind::Dns => false,
            Kind::Game | Kind::Bulk => self.answered_before(payload.number),
        };
        if was_answered {
            self.counts.doubled += 1;
            return;
        }
        self.last = host::now();
        self.counts.answered += 1;
        let since = nanos(self.last - self.start).saturating_sub(payload.meant);
        self.latency.saturating_record(since);
        self.close(at);
    }

    /// Says whether a datagram was answered already; from now on it was.
    fn answered_before(&mut self, number: u64) -> bool {
        let place = usize::try_from(number / 64).expect("fewer than the bits of memory");
        if self.answered.len() <= place {
            self.answered.resize(place + 1, 0);
        }
        let bit = 1 << (number % 64);
        let before = self.answered[place] & bit != 0;
        self.answered[place] |= bit;
        before
    }

    /// Ends a flow of one question; others stay.
    fn close(&mut self, at: usize) {
        if self.kind == Kind::Dns && self.flows[at].take().is_some() {
            self.empty.push(at);
        }
    }

    /// Gives up on questions that have waited too long.
    fn expire(&mut self, now: Instant) {
        if self.kind != Kind::Dns {
            return;
        }
        for at in 0..self.flows.len() {
            if matches!(&self.flows[at], Some(flow) if flow.deadline <= now) {
                self.close(at);
            }
        }
    }
}

/// The client that a flow's header names.
fn client_of(flow: u32) -> SocketAddrV4 {
    let ip = Ipv4Addr::from_bits(CLIENTS | (flow & ((1 << CLIENTS_BITS) - 1)));
    let port = u16::try_from(flow >> CLIENTS_BITS).expect("15 bits are left");
    SocketAddrV4::new(ip, CLIENT_PORT + port)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
