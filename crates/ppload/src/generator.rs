//! The generator: one thread that opens connections, keeps them busy and counts what becomes of
//! them.
//!
//! Made to cost less than what it measures: a slot a connection and no allocation once they are
//! there, one epoll_ctl a socket for its life, the request sent right after connect, the end taken
//! from the event. Invariant: every started connection is counted under exactly one end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use crate::args::{Case, LoadArgs};
use crate::client::{BUFFER, Cause, Conn, End, Moved, Plan, Progress, Step};
use crate::host;
use crate::report::{Connections, Latency, Report, count_failure, error_name};
use crate::schedule::Schedule;
use crate::timer::{TIMER, Timer};
use crate::wire::{After, Request};

/// How often timeouts and the interrupt are looked at.
const TICK: Duration = Duration::from_millis(100);
const EVENTS: usize = 1024;
/// How many connections that only open may be on their way at a time: a burst of thousands would overrun
/// queues that are not what is measured.
const OPENING_BURST: usize = 64;
/// How long the connections of `keepalive` stand before they are put to work: who measures their
/// target looks at it then.
const REST: Duration = Duration::from_millis(200);
/// Latencies are kept up to this, with three digits.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

enum Slot {
    Empty,
    /// In an exchange.
    Busy(Conn),
    /// Open between two exchanges, or held.
    Ready(Conn),
}

pub(super) struct Generator<'a> {
    args: &'a LoadArgs,
    plan: Plan,
    poll: Poll,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots without a connection.
    empty: Vec<usize>,
    /// Slots whose connection waits for its next exchange.
    ready: Vec<usize>,
    /// Slots with a piece of a header to send in the next turn.
    piecemeal: Vec<usize>,
    busy: usize,
    /// Whether connections open, exchange one request and stand.
    is_opening: bool,
    schedule: Schedule,
    /// Whether a start that was due has found no room.
    was_full: bool,
    moved: Moved,
    exchanges: u64,
    connections: Connections,
    latency: Histogram<u64>,
    start: Instant,
    last_end: Instant,
    /// Of an open loop.
    timer: Option<Timer>,
}

impl<'a> Generator<'a> {
    /// # Errors
    /// When the system gives no poll or timer.
    pub(super) fn new(args: &'a LoadArgs) -> Result<Self> {
        let (up, down) = args.bodies();
        let after = match args.case {
            Case::Keepalive | Case::Idle => After::Keep,
            Case::Short | Case::Down | Case::Up | Case::Both => After::Close,
            // They have a generator of their own.
            Case::UdpGame | Case::UdpBulk | Case::UdpDns => After::Close,
        };
        let request = Request { up, down, after, check: args.check };
        let plan = Plan::new(args.header(), args.pieces, request);
        let slots = usize::try_from(args.connections)?;
        let poll = Poll::new().context("a poll")?;
        let latency_max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        let latency = Histogram::new_with_bounds(1, latency_max, 3)?;
        // Last, so that the first starts are not late already.
        let start = host::now();
        let schedule = Schedule::new(start, args.run_for, args.count_max(), args.rate);
        let timer = schedule.period().map(|period| Timer::start(&poll, period)).transpose()?;
        Ok(Self {
            args,
            plan,
            poll,
            buffer: vec![0; BUFFER],
            slots: (0..slots).map(|_| Slot::Empty).collect(),
            empty: (0..slots).rev().collect(),
            ready: Vec::with_capacity(slots),
            piecemeal: Vec::new(),
            busy: 0,
            is_opening: args.case == Case::Idle,
            schedule,
            was_full: false,
            moved: Moved::default(),
            exchanges: 0,
            connections: Connections::default(),
            latency,
            start,
            last_end: start,
            timer,
        })
    }

    /// Runs to the end; `held` is told how many connections stand once all of `idle` or `keepalive`
    /// do.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub(super) fn run(mut self, stop: &AtomicBool, held: impl Fn(usize)) -> Result<Report> {
        let mut events = Events::with_capacity(EVENTS);
        let opened = match self.args.case {
            Case::Keepalive => self.open_all(&mut events, stop, &held)?,
            Case::Short | Case::Down | Case::Up | Case::Both | Case::Idle => 0,
            Case::UdpGame | Case::UdpBulk | Case::UdpDns => 0,
        };
        let cpu = host::thread_cpu();
        self.work(&mut events, stop)?;
        let (seconds, cpu) = (self.last_end - self.start, host::thread_cpu() - cpu);
        if self.args.case == Case::Idle {
            held(self.standing().count());
            self.rest(self.args.hold(), &mut events, stop)?;
        }
        self.connections.completed += crate::client::size(self.standing().count());
        let mut report = Report {
            seconds: seconds.as_secs_f64(),
            connections: self.connections,
            opened,
            exchanges: self.exchanges,
            bytes_sent: self.moved.sent,
            bytes_received: self.moved.received,
            cpu_seconds: cpu.as_secs_f64(),
            latency: Latency::read(&self.latency),
            schedule: self.schedule.lag().map(Into::into),
            bottleneck: Vec::new(),
        };
        report.judge();
        Ok(report)
    }

    /// Opens all connections and exchanges one request on each; returns how many exchanges that
    /// were. All that is counted of time begins behind it.
    fn open_all(
        &mut self,
        events: &mut Events,
        stop: &AtomicBool,
        held: impl Fn(usize),
    ) -> Result<u64> {
        let (run_for, count_max) = (self.args.run_for, self.args.count_max());
        let connections = count_max.min(self.args.connections.into());
        self.schedule = Schedule::new(self.start, run_for, connections, None);
        self.is_opening = true;
        self.work(events, stop)?;
        self.is_opening = false;
        self.ready = self.standing().collect();
        held(self.ready.len());
        self.rest(REST, events, stop)?;
        self.latency.reset();
        self.start = host::now();
        self.last_end = self.start;
        self.schedule = Schedule::new(self.start, run_for, count_max, self.args.rate);
        Ok(std::mem::take(&mut self.exchanges))
    }

    /// Begins all that the schedule has, and sees it end.
    fn work(&mut self, events: &mut Events, stop: &AtomicBool) -> Result<()> {
        let mut next_tick = self.start + TICK;
        self.start_due();
        while self.busy > 0 || !self.schedule.is_over(host::now()) {
            self.turn(events)?;
            let now = host::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.expire(now);
            }
            if stop.load(Ordering::Relaxed) {
                self.schedule.stop();
                self.abandon();
            }
        }
        Ok(())
    }

    /// Leaves what stands alone for a while.
    fn rest(&mut self, span: Duration, events: &mut Events, stop: &AtomicBool) -> Result<()> {
        let end = host::now() + span;
        while host::now() < end && !stop.load(Ordering::Relaxed) {
            self.turn(events)?;
        }
        Ok(())
    }

    /// The slots of connections that are open without an exchange.
    fn standing(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| matches!(slot, Slot::Ready(_))).map(|(index, _)| index)
    }

    fn turn(&mut self, events: &mut Events) -> Result<()> {
        let wait = if self.piecemeal.is_empty() { TICK } else { Duration::ZERO };
        match self.poll.poll(events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("polling"),
        }
        for event in events.iter() {
            match (event.token(), &self.timer) {
                (TIMER, Some(timer)) => timer.rewind().context("reading a timer")?,
                (_, _) => self.handle_event(event),
            }
            self.start_due();
        }
        for index in std::mem::take(&mut self.piecemeal) {
            self.send_piece(index);
        }
        Ok(())
    }

    fn send_piece(&mut self, index: usize) {
        let Slot::Busy(conn) = &mut self.slots[index] else { return };
        match conn.send(&self.plan, &mut self.moved) {
            Ok(Progress::Piece) => self.piecemeal.push(index),
            Ok(Progress::Sent | Progress::Full) => {}
            Err(error) => self.fail(index, &Cause::System(error)),
        }
    }

    /// Begins what is due and has room.
    fn start_due(&mut self) {
        loop {
            let now = host::now();
            if !self.has_room() {
                self.was_full |= self.schedule.is_due(now);
                return;
            }
            let Some(meant) = self.schedule.take(now, self.was_full) else {
                self.was_full = false;
                return;
            };
            self.begin(meant, now + self.args.timeout);
        }
    }

    fn has_room(&self) -> bool {
        match self.is_opening {
            true => !self.empty.is_empty() && self.busy < OPENING_BURST,
            false => !self.ready.is_empty() || !self.empty.is_empty(),
        }
    }

    fn begin(&mut self, meant: Instant, deadline: Instant) {
        self.busy += 1;
        if let Some(index) = self.ready.pop()
            && let Slot::Ready(mut conn) = std::mem::replace(&mut self.slots[index], Slot::Empty)
        {
            conn.restart(meant, deadline);
            let sent = conn.send(&self.plan, &mut self.moved);
            let sent = sent.and_then(|progress| match progress {
                Progress::Sent => Ok(()),
                Progress::Full | Progress::Piece => {
                    self.poll.registry().reregister(&mut conn.socket, Token(index), BOTH)
                }
            });
            self.slots[index] = Slot::Busy(conn);
            return self.fail_on_error(index, sent);
        }
        let index = self.empty.pop().expect("there is room, and it is not in `ready`");
        self.connections.started += 1;
        let opened = Conn::open(self.args.to, meant, deadline).and_then(|mut conn| {
            let progress = conn.send(&self.plan, &mut self.moved)?;
            let interest = if progress == Progress::Sent { Interest::READABLE } else { BOTH };
            self.poll.registry().register(&mut conn.socket, Token(index), interest)?;
            self.slots[index] = Slot::Busy(conn);
            if progress == Progress::Piece {
                self.piecemeal.push(index);
            }
            Ok(())
        });
        self.fail_on_error(index, opened);
    }

    fn fail_on_error(&mut self, index: usize, result: io::Result<()>) {
        if let Err(error) = result {
            self.fail(index, &Cause::System(error));
        }
    }

    fn handle_event(&mut self, event: &Event) {
        let Token(index) = event.token();
        // An error may hide behind the last bytes: then the end is read, not concluded.
        let is_whole = !event.is_error() && !event.is_write_closed();
        let end = if event.is_read_closed() && is_whole { End::Seen } else { End::Unknown };
        let step = match &mut self.slots[index] {
            Slot::Empty => return,
            // Held or between two requests: nothing may come but an end.
            Slot::Ready(_) => {
                if event.is_readable() {
                    self.ready.retain(|other| *other != index);
                    self.busy += 1;
                    self.fail(index, &Cause::Wrong("closed between requests"));
                }
                return;
            }
            Slot::Busy(conn) => {
                let sent = match event.is_writable() {
                    true => conn.send(&self.plan, &mut self.moved),
                    false => Ok(Progress::Full),
                };
                if matches!(sent, Ok(Progress::Piece)) && !self.piecemeal.contains(&index) {
                    self.piecemeal.push(index);
                }
                match sent {
                    Err(error) => Step::Failed(Cause::System(error)),
                    Ok(_) if event.is_readable() || event.is_error() => {
                        conn.receive(&self.plan, &mut self.buffer, end, &mut self.moved)
                    }
                    Ok(_) => Step::Waits,
                }
            }
        };
        match step {
            Step::Waits => {}
            Step::Answered => {
                self.note_exchange(index);
                self.busy -= 1;
                let Slot::Busy(conn) = std::mem::replace(&mut self.slots[index], Slot::Empty)
                else {
                    unreachable!("it was busy above");
                };
                self.slots[index] = Slot::Ready(conn);
                if !self.is_opening {
                    self.ready.push(index);
                }
            }
            Step::Ended => {
                self.note_exchange(index);
                self.connections.completed += 1;
                self.clear(index);
            }
            Step::Failed(cause) => self.fail(index, &cause),
        }
    }

    fn note_exchange(&mut self, index: usize) {
        let Slot::Busy(conn) = &self.slots[index] else { return };
        self.last_end = host::now();
        self.exchanges += 1;
        let nanos = (self.last_end - conn.since).as_nanos();
        self.latency.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    fn fail(&mut self, index: usize, cause: &Cause) {
        match cause {
            Cause::System(error) => {
                count_failure(&mut self.connections.failed, &error_name(error));
            }
            Cause::Wrong(what) => count_failure(&mut self.connections.failed, what),
        }
        self.last_end = host::now();
        self.clear(index);
    }

    /// Closes a busy slot's connection, which also takes it out of the poll (epoll(7)).
    fn clear(&mut self, index: usize) {
        self.busy -= 1;
        self.slots[index] = Slot::Empty;
        self.empty.push(index);
    }

    fn expire(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            if matches!(&self.slots[index], Slot::Busy(conn) if conn.deadline <= now) {
                self.connections.timed_out += 1;
                self.last_end = now;
                self.clear(index);
            }
        }
        self.start_due();
    }

    fn abandon(&mut self) {
        for index in 0..self.slots.len() {
            if matches!(&self.slots[index], Slot::Busy(_)) {
                self.connections.abandoned += 1;
                self.clear(index);
            }
        }
    }
}

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
