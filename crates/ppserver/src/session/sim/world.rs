//! One session, from accept to close: who moves next, and what time it is.
//!
//! Everything that happens is one step, chosen by the seed among all that could happen now. The
//! clock creeps while there is something to do and leaps to the next timer when there is not.

use std::time::{Duration, Instant};

use super::super::{Action, CloseReason, Direction, Readiness, Session, Side};
use super::coverage::{Coverage, Quirk};
use super::kernel::{Fd, Kernel};
use super::oracle::{Oracle, Rule, hold, view};
use super::peer::{Heard, Peer};
use super::plan::Plan;
use super::rng::{Rng, Stream, byte_at};
use super::shell::{Outcome, Shell, readiness};
use super::socket::{Errno, Mask};

/// A session that takes more steps than this never ends.
const STEPS_MAX: usize = 500_000;
/// How late a timer may be.
const TICK: Duration = Duration::from_millis(1);

/// Who may move.
#[derive(Clone, Copy, Debug)]
enum Mover {
    Shell,
    Epoll,
    Event,
    Network,
    Client,
    Upstream,
    Clock,
}

impl Mover {
    const ALL: [Self; 7] = [
        Self::Shell,
        Self::Epoll,
        Self::Event,
        Self::Network,
        Self::Client,
        Self::Upstream,
        Self::Clock,
    ];
}

/// An event that was taken from the epoll and not told yet.
#[derive(Clone, Copy, Debug)]
struct Event {
    fd: Fd,
    seen: Mask,
    told: Mask,
}

#[derive(Debug)]
pub(super) struct World {
    plan: Plan,
    rng: Rng,
    kernel: Kernel,
    shell: Shell,
    oracle: Oracle,
    client: Peer,
    upstream: Option<Peer>,
    events: Vec<Event>,
    now: Instant,
    begin: Instant,
    steps: usize,
    spurious: usize,
    closed: Option<CloseReason>,
    is_traced: bool,
}

macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.is_traced {
            let at = $world.now - $world.begin;
            println!("{:5} {at:>12?}  {}", $world.steps, format_args!($($text)*));
        }
    };
}

impl World {
    /// Runs one session to its end and returns what it came across.
    pub(super) fn run(rng: &mut Rng, begin: Instant, is_traced: bool) -> Coverage {
        let plan = Plan::draw(rng);
        let mut kernel = Kernel::new(Rng::new(rng.next()), plan.sizes, plan.budget);
        let fd = kernel.accept();
        let mut world = Self {
            shell: Shell::new(Session::new(plan.policy, begin), fd),
            oracle: Oracle::new(plan.policy, begin),
            client: Peer::new(fd.other_end(), Stream::Client, plan.client),
            upstream: None,
            events: Vec::new(),
            rng: Rng::new(rng.next()),
            kernel,
            now: begin,
            begin,
            steps: 0,
            spurious: plan.spurious,
            closed: None,
            is_traced,
            plan,
        };
        trace!(world, "{:#?}", world.plan);
        while world.closed.is_none() {
            world.step();
        }
        world.settle();
        world.check_end();
        world.kernel.cover.steps = world.steps as u64;
        world.kernel.cover
    }

    fn step(&mut self) {
        self.steps += 1;
        hold!(Deadline, self.steps < STEPS_MAX, "it never ends");
        let is_at = |at: Option<usize>, step| at == Some(step);
        if is_at(self.plan.stop_at, self.steps) {
            trace!(self, "the process stops");
            self.kernel.cover.hit(Quirk::Stop);
            if !matches!(self.shell.session.next(), Action::Close(_)) {
                self.oracle.story.note_stop(self.now);
            }
            self.shell.session.handle_stop(self.now);
        }
        if is_at(self.plan.break_at, self.steps) {
            let side = self.rng.pick(&Side::ALL);
            if let Some(fd) = self.shell.socket(side) {
                trace!(self, "the path of {side:?} breaks");
                self.kernel.break_path(fd);
            }
        }
        if is_at(self.plan.jump_at, self.steps) {
            self.kernel.cover.hit(Quirk::TimeJump);
            let leap = Duration::from_secs(self.rng.between(1, 20) as u64);
            return self.advance(leap);
        }
        if let (true, true, Some(peer)) =
            (self.plan.is_impatient, self.oracle.story.is_ending(), &mut self.upstream)
        {
            peer.leave(&mut self.kernel, Kernel::reset);
        }
        self.make_up_event();
        let weights = Mover::ALL
            .map(|mover| if self.can_move(mover) { self.plan.speeds[mover as usize] } else { 0 });
        let Some(mover) = self.choose(&weights) else { return self.leap() };
        match mover {
            Mover::Shell => self.act(),
            Mover::Epoll => self.harvest(),
            Mover::Event => {
                // Sockets overtake each other; the events of one keep their order.
                let fd = self.events[self.rng.below(self.events.len())].fd;
                let first = self.events.iter().position(|event| event.fd == fd);
                self.tell(first.expect("it is one of them"));
            }
            Mover::Network => self.travel(),
            Mover::Client | Mover::Upstream => self.play(mover),
            Mover::Clock => {
                let creep = Duration::from_micros(self.rng.between(1, 50) as u64);
                self.advance(creep);
            }
        }
    }

    /// Returns whom the seed chooses; nobody if only the clock could.
    fn choose(&mut self, weights: &[usize; 7]) -> Option<Mover> {
        let clock = weights[Mover::Clock as usize];
        let total: usize = weights.iter().sum();
        if total == clock {
            return None;
        }
        let mut ticket = self.rng.below(total);
        for (mover, weight) in Mover::ALL.into_iter().zip(weights) {
            match ticket.checked_sub(*weight) {
                Some(rest) => ticket = rest,
                None => return Some(mover),
            }
        }
        unreachable!("the ticket is below the sum of all weights")
    }

    fn can_move(&self, mover: Mover) -> bool {
        match mover {
            Mover::Shell => self.closed.is_none() && self.shell.session.next() != Action::Wait,
            Mover::Epoll => self.armed().next().is_some(),
            Mover::Event => !self.events.is_empty(),
            Mover::Network => !self.kernel.moves(self.now).is_empty(),
            Mover::Client => {
                self.client.can_read(&self.kernel, self.now)
                    || self.client.can_send(&self.kernel, self.now)
            }
            Mover::Upstream => self.upstream.as_ref().is_some_and(|peer| {
                peer.can_read(&self.kernel, self.now) || peer.can_send(&self.kernel, self.now)
            }),
            Mover::Clock => true,
        }
    }

    fn armed(&self) -> impl Iterator<Item = Fd> + '_ {
        let sockets = [self.shell.client, self.shell.upstream];
        sockets.into_iter().flatten().filter(|fd| self.kernel.look(*fd).is_armed)
    }

    /// The shell performs one action.
    fn act(&mut self) {
        let action = self.shell.session.next();
        hold!(Purity, action == self.shell.session.next(), "asked twice, answered differently");
        self.kernel.cover.note_action(action);
        self.oracle.check_action(action, view!(self));
        let outcome = self.shell.perform(action, &mut self.kernel, &self.plan, self.now);
        trace!(self, "{action:?} -> {outcome:?}");
        self.oracle.note_outcome(action, outcome, view!(self));
        match outcome {
            Outcome::Connecting => self.meet_upstream(),
            Outcome::Closed => {
                let Action::Close(reason) = action else { unreachable!("only a close closes") };
                self.closed = Some(reason);
            }
            Outcome::Header(..)
            | Outcome::Greeted
            | Outcome::ConnectFailed(_)
            | Outcome::Probed(_)
            | Outcome::Filled(..)
            | Outcome::Drained(_)
            | Outcome::Shut(_)
            | Outcome::Discarded(_)
            | Outcome::Unsent(_)
            | Outcome::Reset => {}
        }
    }

    fn meet_upstream(&mut self) {
        let fd = self.shell.upstream.expect("it was just connected");
        let has_spoken = self.upstream.as_ref().is_some_and(|peer| peer.received > 0);
        hold!(Prefix, !has_spoken, "two upstreams are spoken to");
        self.upstream = Some(Peer::new(fd.other_end(), Stream::Upstream, self.plan.upstream));
    }

    /// One socket's event is taken from the epoll.
    fn harvest(&mut self) {
        let armed: Vec<Fd> = self.armed().collect();
        let fd = self.rng.pick(&armed);
        let Some(seen) = self.kernel.harvest(fd) else { return };
        let mut told = seen;
        if self.spurious > 0 && self.rng.one_in(8) {
            self.spurious -= 1;
            if seen.hup {
                self.kernel.cover.hit(Quirk::HupWithoutIn);
                (told.input, told.rdhup) = (false, false);
            } else if self.rng.one_in(2) {
                // As kqueue does, and mio allows: the two halves of one event.
                self.kernel.cover.hit(Quirk::EventSplit);
                let half = Mask { output: seen.output, error: seen.error, ..Mask::default() };
                told.output = false;
                if self.rng.one_in(2) {
                    self.events.push(Event { fd, seen, told });
                    told = half;
                } else {
                    self.events.push(Event { fd, seen, told: half });
                }
            } else if !seen.error {
                self.kernel.cover.hit(Quirk::ErrSpurious);
                told.error = true;
            }
        }
        trace!(self, "epoll: {fd:?} {told:?}");
        self.events.push(Event { fd, seen, told });
    }

    /// The session is told of one event.
    fn tell(&mut self, index: usize) {
        if index > 0 {
            self.kernel.cover.hit(Quirk::EventReordered);
        }
        let Event { fd, seen, told } = self.events.remove(index);
        let Some(side) = self.shell.side_of(fd) else {
            return self.kernel.cover.hit(Quirk::EventForClosed);
        };
        if self.kernel.look(fd).poll() != seen {
            self.kernel.cover.hit(Quirk::EventStale);
        }
        let error = self.kernel.look(fd).error;
        if error == Some(Errno::ConnReset) && side == Side::Upstream && !self.oracle.story.has_stood
        {
            self.kernel.cover.hit(Quirk::ResetAtOnce);
        }
        let ready = readiness(told);
        trace!(self, "{side:?} {ready:?}");
        self.oracle.note_event(side, ready, self.now);
        self.shell.session.handle_ready(side, ready, self.now);
    }

    /// Arms a socket that has nothing new to say.
    fn make_up_event(&mut self) {
        if self.spurious == 0 || !self.rng.one_in(32) {
            return;
        }
        let side = self.rng.pick(&Side::ALL);
        if let Some(fd) = self.shell.socket(side) {
            self.spurious -= 1;
            self.kernel.cover.hit(Quirk::EventSpurious);
            self.kernel.socket(fd).wake();
        }
    }

    fn travel(&mut self) {
        let moves = self.kernel.moves(self.now);
        let travelling = self.rng.pick(&moves);
        trace!(self, "network: {travelling:?}");
        self.kernel.perform(travelling);
    }

    /// A peer reads or goes on with its script.
    fn play(&mut self, mover: Mover) {
        let side = if matches!(mover, Mover::Client) { Side::Client } else { Side::Upstream };
        let peer = match side {
            Side::Client => &mut self.client,
            Side::Upstream => self.upstream.as_mut().expect("only who is there can move"),
        };
        let can_send = peer.can_send(&self.kernel, self.now);
        if can_send && (self.rng.one_in(2) || !peer.can_read(&self.kernel, self.now)) {
            peer.send(&mut self.kernel, self.now);
            return trace!(self, "{side:?} peer goes on");
        }
        let start = peer.received;
        let heard = peer.read(&mut self.kernel, self.now);
        trace!(self, "{side:?} peer hears {heard:?}");
        match heard {
            Some(Heard::Bytes(bytes)) => self.check_bytes(side, start, &bytes),
            Some(Heard::End) => self.check_heard_end(side),
            Some(Heard::Broken) | None => {}
        }
    }

    fn check_bytes(&self, side: Side, start: u64, bytes: &[u8]) {
        let greeting = self.plan.greeting as u64;
        for (at, byte) in (start..).zip(bytes) {
            let expected = match side {
                Side::Client => byte_at(Stream::Upstream, at),
                Side::Upstream if at < greeting => byte_at(Stream::Header, at),
                Side::Upstream => {
                    byte_at(Stream::Client, at - greeting + self.plan.header.len as u64)
                }
            };
            hold!(Prefix, *byte == expected, "byte {at} at the {side:?} is another one");
        }
    }

    /// Returns what a peer should have received once all of its stream has come.
    fn whole(&self, side: Side) -> u64 {
        match side {
            Side::Client => self.upstream.as_ref().map_or(0, |peer| peer.sent),
            Side::Upstream => {
                let header = self.plan.header.len as u64;
                self.plan.greeting as u64 + self.client.sent.saturating_sub(header)
            }
        }
    }

    fn check_heard_end(&self, side: Side) {
        let source = match side {
            Side::Client => self.upstream.as_ref(),
            Side::Upstream => Some(&self.client),
        };
        let heard = match side {
            Side::Client => self.client.received,
            Side::Upstream => self.upstream.as_ref().map_or(0, |peer| peer.received),
        };
        let is_over = source.is_some_and(|peer| self.kernel.look(peer.fd.other_end()).fin_received);
        self.oracle.check_heard_end(side, heard, self.whole(side), is_over);
    }

    /// Nothing else can happen: the next timer is awaited.
    fn leap(&mut self) {
        self.kernel.cover.note_action(Action::Wait);
        self.oracle.check_quiet(view!(self));
        self.check_deadline();
        let deadline = self.shell.session.deadline();
        let late = TICK.mul_f64(0.001) * u32::try_from(self.rng.below(1_000)).expect("small");
        let pauses = [Some(&self.client), self.upstream.as_ref()];
        let pauses = pauses.into_iter().flatten().filter_map(|peer| peer.wakes_at(self.now));
        let others = pauses.chain(self.kernel.handshake_due()).min();
        let until = match others {
            Some(other) if other <= deadline => other,
            Some(_) | None => deadline + late,
        };
        self.advance(until.saturating_duration_since(self.now));
    }

    fn check_deadline(&mut self) {
        let deadline = self.shell.session.deadline();
        self.oracle.check_deadline(deadline, view!(self));
    }

    /// Time passes; past the deadline a turn of the loop begins: events first, then timers.
    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.check_deadline();
        let session = &mut self.shell.session;
        if self.now < session.deadline() {
            let before = (session.next(), session.deadline());
            session.handle_time(self.now);
            let after = (session.next(), session.deadline());
            hold!(Deadline, before == after, "too early, and {before:?} is {after:?}");
            return;
        }
        while self.armed().next().is_some() {
            self.harvest();
        }
        while !self.events.is_empty() {
            self.tell(0);
        }
        self.expire();
    }

    fn expire(&mut self) {
        self.check_deadline();
        let session = &mut self.shell.session;
        if self.now < session.deadline() {
            return;
        }
        let (next, deadline) = (session.next(), session.deadline());
        session.handle_time(self.now);
        let after = session.next();
        trace!(self, "the deadline has passed: {after:?}");
        self.oracle.note_time();
        if self.oracle.story.is_patient() && next != Action::Wait {
            let is_unmoved = (after, self.shell.session.deadline()) == (next, deadline);
            hold!(Hasty, is_unmoved, "{next:?} was in hand");
            return;
        }
        self.oracle.story.note_timeout(self.now);
        let is_ahead = self.shell.session.deadline() > self.now;
        hold!(Deadline, is_ahead || after != Action::Wait, "it waits for what has passed");
    }

    /// The session is over: what is under way arrives, whatever the peers' scripts still hold.
    fn settle(&mut self) {
        let reason = self.closed.expect("it was closed");
        self.kernel.cover.note_closed(reason);
        self.disturb(reason);
        for _ in 0..STEPS_MAX {
            let movers = [Mover::Network, Mover::Client, Mover::Upstream];
            let able: Vec<Mover> =
                movers.into_iter().filter(|mover| self.can_move(*mover)).collect();
            if able.is_empty() {
                let pauses = [Some(&self.client), self.upstream.as_ref()];
                let wakes = pauses.into_iter().flatten().filter_map(|peer| peer.wakes_at(self.now));
                let Some(until) = wakes.min() else { return };
                self.now = until;
                continue;
            }
            let mover = self.rng.pick(&able);
            if matches!(mover, Mover::Network) {
                self.travel();
            } else {
                self.play(mover);
            }
        }
        panic!("{}: the peers never come to rest", Rule::Close);
    }

    /// Whatever still comes, a closed session stays closed.
    fn disturb(&mut self, reason: CloseReason) {
        let session = &mut self.shell.session;
        let all = Readiness {
            readable: true,
            writable: true,
            read_closed: true,
            urgent: true,
            error: true,
        };
        for side in Side::ALL {
            session.handle_ready(side, all, self.now);
        }
        session.handle_time(self.now + Duration::from_secs(100));
        session.handle_stop(self.now);
        hold!(Close, session.next() == Action::Close(reason), "it lives on: {:?}", session.next());
    }

    fn check_end(&mut self) {
        hold!(Close, self.kernel.budget == self.plan.budget, "not all is returned");
        if !self.plan.is_fair() {
            return;
        }
        self.kernel.cover.hit(Quirk::Fair);
        hold!(Complete, self.closed == Some(CloseReason::Done), "closed with {:?}", self.closed);
        for direction in Direction::ALL {
            let side = direction.sink();
            let peer = match side {
                Side::Client => &self.client,
                Side::Upstream => self.upstream.as_ref().expect("it was connected to"),
            };
            let (got, whole) = (peer.received, self.whole(side));
            hold!(Complete, got == whole, "{side:?} received {got} of {whole}");
            hold!(Complete, peer.has_heard_end, "{side:?} never heard the end");
        }
        let has_sent_all = self.client.sent == self.plan.client.total;
        hold!(Complete, has_sent_all, "the client could not send everything");
    }
}
