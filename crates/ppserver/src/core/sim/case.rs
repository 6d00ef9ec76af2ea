//! One session of a world: its shell, its oracle, its two peers, and what each of them does next.
//!
//! A case moves only when its world says so. Invariant: every byte a peer hears has been judged.

use std::fmt::Arguments;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use super::coverage::Quirk;
use super::kernel::{Fd, Kernel};
use super::oracle::{Oracle, View, hold};
use super::peer::{Heard, Peer, Reading};
use super::plan::Plan;
use super::pool::Pool;
use super::rng::{Rng, Stream, byte_at};
use super::shell::{Outcome, Shell, readiness};
use super::socket::{Errno, Mask};
use super::stage::Stage;
use super::wire::Move;
use crate::core::close_reason::CloseReason;
use crate::core::schedule::Ticket;
use crate::core::session::{Action, Direction, Readiness, Session, Side};

/// What a case meets the rest of its world with.
#[derive(Debug)]
pub(super) struct Env<'a> {
    pub(super) kernel: &'a mut Kernel,
    /// Where connections go; without one it is the plan alone that decides.
    pub(super) pool: Option<&'a Pool>,
    pub(super) rng: &'a mut Rng,
    pub(super) now: Instant,
    pub(super) trace: Trace,
}

/// Tells the story of a run, when it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    pub(super) is_on: bool,
    pub(super) step: usize,
    /// Since the beginning of the world.
    pub(super) at: Duration,
    /// Which session it is of.
    pub(super) case: usize,
}

impl Trace {
    pub(super) fn say(self, text: Arguments<'_>) {
        if self.is_on {
            println!("{:5} {:>12?}  #{} {text}", self.step, self.at, self.case);
        }
    }
}

/// Something that can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The shell performs what is next.
    Act,
    /// The event of a socket is taken from the epoll.
    Harvest(Fd),
    /// The session is told the event at this place of those that were taken.
    Tell(usize),
    Travel(Move),
    /// A peer goes on with its script.
    Send(Side),
    /// A peer reads.
    Read(Side),
}

/// Everything that can happen, by who moves: the shell, the epoll, its events, the network, the
/// client, the upstream.
pub(super) type Choices = [Vec<Choice>; 6];

/// An event that was taken from the epoll and not told yet.
#[derive(Clone, Copy, Debug, Hash)]
struct Event {
    fd: Fd,
    seen: Mask,
    told: Mask,
}

/// What stints have cost, by who was to be expected to need no more than his first share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// Of those who were quiet when their turn came.
    pub(super) quiet: usize,
    /// Of all others.
    pub(super) bulky: usize,
}

/// Who has moved little so often in a row is quiet, whatever he did before.
const SMALL_STINTS: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) plan: Plan,
    pub(super) shell: Shell,
    pub(super) oracle: Oracle,
    pub(super) closed: Option<CloseReason>,
    pub(super) steps: usize,
    /// Where it stands in the world's schedule.
    pub(super) ticket: Ticket,
    /// What all had done when it was filed there last, until it works.
    pub(super) filed_at: Option<Spent>,
    /// How often it has moved little since it moved much.
    pub(super) small_stints: usize,
    client: Peer,
    upstream: Option<Peer>,
    /// Our end of every connection it had.
    sockets: Vec<Fd>,
    events: Vec<Event>,
    /// Events the epoll may still make up.
    spurious: usize,
}

impl Spent {
    pub(super) fn add(&mut self, is_quiet: bool, cost: usize) {
        *if is_quiet { &mut self.quiet } else { &mut self.bulky } += cost;
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { quiet: self.quiet - before.quiet, bulky: self.bulky - before.bulky }
    }
}

impl Case {
    pub(super) fn new(plan: Plan, fd: Fd, now: Instant) -> Self {
        Self {
            shell: Shell::new(Session::new(plan.policy, plan.first_receive, now), fd),
            oracle: Oracle::new(plan.policy, now),
            closed: None,
            steps: 0,
            ticket: Ticket::new(),
            filed_at: None,
            // A session is quiet until it has moved much.
            small_stints: usize::MAX / 2,
            client: Peer::new(fd.other_end(), Stream::Client, plan.client),
            upstream: None,
            sockets: vec![fd],
            events: Vec::new(),
            spurious: plan.spurious,
            plan,
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.shell.session
    }

    /// Returns the bytes that went out in either direction.
    pub(super) fn moved(&self) -> usize {
        let moved = |direction| self.session().moved(direction);
        usize::try_from(Direction::ALL.into_iter().map(moved).sum::<u64>())
            .expect("worlds are small")
    }

    /// Returns whether it is not known to move much.
    pub(super) fn is_quiet(&self) -> bool {
        self.small_stints >= SMALL_STINTS
    }

    /// Returns whether it has something to do.
    pub(super) fn is_busy(&self) -> bool {
        self.closed.is_none() && self.session().next() != Action::Wait
    }

    /// Returns everything that can happen now but the passing of time; it acts only while it is the one that works.
    pub(super) fn choices(&self, is_working: bool, kernel: &Kernel, now: Instant) -> Choices {
        let acts = is_working && self.is_busy();
        let first_of_its_socket = |at: &usize| {
            let fd = self.events[*at].fd;
            // Sockets overtake each other; the events of one keep their order.
            self.events.iter().position(|event| event.fd == fd) == Some(*at)
        };
        let of_peer = |side, peer: Option<&Peer>| {
            let send = peer.is_some_and(|peer| peer.can_send(kernel, now));
            let read = peer.is_some_and(|peer| peer.can_read(kernel, now));
            let deeds = [send.then_some(Choice::Send(side)), read.then_some(Choice::Read(side))];
            deeds.into_iter().flatten().collect()
        };
        [
            acts.then_some(Choice::Act).into_iter().collect(),
            self.armed(kernel).map(Choice::Harvest).collect(),
            (0..self.events.len()).filter(first_of_its_socket).map(Choice::Tell).collect(),
            kernel.moves(&self.sockets, now).into_iter().map(Choice::Travel).collect(),
            of_peer(Side::Client, Some(&self.client)),
            of_peer(Side::Upstream, self.upstream.as_ref()),
        ]
    }

    /// Hashes all that decides what can still happen.
    pub(super) fn hash_state(&self, hasher: &mut impl Hasher) {
        let Self { shell, oracle, client, upstream, events, .. } = self;
        (shell, oracle, client, upstream, events).hash(hasher);
    }

    /// Lets happen what was chosen.
    pub(super) fn take(&mut self, choice: Choice, env: &mut Env<'_>) {
        match choice {
            Choice::Act => self.act(env),
            Choice::Harvest(fd) => self.harvest(fd, env),
            Choice::Tell(at) => self.tell(at, env),
            Choice::Travel(travelling) => self.travel(travelling, env),
            Choice::Send(side) => {
                self.peer_mut(side).send(env.kernel, env.now);
                env.trace.say(format_args!("{side:?} peer goes on"));
            }
            Choice::Read(side) => self.read(side, env),
        }
    }

    fn travel(&mut self, travelling: Move, env: &mut Env<'_>) {
        env.trace.say(format_args!("network: {travelling:?}"));
        let before = self.unsent(env.kernel);
        env.kernel.perform(travelling);
        let after = self.unsent(env.kernel);
        for ((side, before), (_, after)) in before.into_iter().zip(after) {
            if after < before {
                self.oracle.story.note_taken(side, env.now);
            }
        }
    }

    /// Returns how much our sockets hold that is not acknowledged.
    fn unsent(&self, kernel: &Kernel) -> [(Side, usize); 2] {
        Side::ALL.map(|side| (side, self.shell.socket(side).map_or(0, |fd| kernel.look(fd).outq())))
    }

    /// What the plan says happens at this step, whoever is to move.
    pub(super) fn meet_fate(&mut self, env: &mut Env<'_>) {
        self.steps += 1;
        if self.plan.break_at == Some(self.steps) {
            let side = env.rng.pick(&Side::ALL);
            if let Some(fd) = self.shell.socket(side) {
                env.trace.say(format_args!("the path of {side:?} breaks"));
                env.kernel.break_path(fd);
            }
        }
        if let Some((step, side)) = self.plan.reset_at
            && step == self.steps
            && (side == Side::Client || self.upstream.is_some())
        {
            env.trace.say(format_args!("{side:?} peer resets"));
            env.kernel.cover.hit(Quirk::PeerReset);
            self.peer_mut(side).leave(env.kernel, Kernel::reset);
        }
        if let (true, true, Some(peer)) =
            (self.plan.is_impatient, self.oracle.story.is_ending(), &mut self.upstream)
        {
            peer.leave(env.kernel, Kernel::reset);
        }
        self.make_up_event(env);
    }

    /// The process stops.
    pub(super) fn stop(&mut self, env: &mut Env<'_>) {
        env.trace.say(format_args!("the process stops"));
        env.kernel.cover.hit(Quirk::Stop);
        if !matches!(self.session().next(), Action::Close(_)) {
            self.oracle.story.note_stop(env.now);
        }
        self.shell.session.handle_stop(CloseReason::Drained, env.now);
    }

    /// The session is told all there is, as at the beginning of a turn of the loop.
    pub(super) fn tell_all(&mut self, env: &mut Env<'_>) {
        let armed: Vec<Fd> = self.armed(env.kernel).collect();
        armed.into_iter().for_each(|fd| self.harvest(fd, env));
        while !self.events.is_empty() {
            self.tell(0, env);
        }
    }

    /// Nothing else can happen: nothing may be left to do.
    pub(super) fn check_quiet(&mut self, env: &mut Env<'_>) {
        env.kernel.cover.note_action(Action::Wait);
        let is_told = true;
        let view = View { shell: &self.shell, kernel: env.kernel, now: env.now, is_told };
        self.oracle.check_quiet(view);
        self.check_deadline(env);
    }

    pub(super) fn check_deadline(&mut self, env: &Env<'_>) {
        let deadline = self.session().deadline();
        let is_told = self.is_told(env.kernel);
        let view = View { shell: &self.shell, kernel: env.kernel, now: env.now, is_told };
        self.oracle.check_deadline(deadline, view);
    }

    /// Returns when a peer, or a connect, goes on by itself.
    pub(super) fn wakes_at(&self, kernel: &Kernel, now: Instant) -> Option<Instant> {
        let peers = [Some(&self.client), self.upstream.as_ref()];
        let pauses = peers.into_iter().flatten().filter_map(|peer| peer.wakes_at(now));
        let connects = self.sockets.iter().filter_map(|fd| kernel.look(*fd).handshake);
        let held = self.sockets.iter().filter_map(|fd| kernel.look(*fd).held_until());
        pauses.chain(connects.map(|(due, _)| due)).chain(held).min()
    }

    fn check_silence(&mut self, env: &Env<'_>) {
        let is_told = self.is_told(env.kernel);
        let view = View { shell: &self.shell, kernel: env.kernel, now: env.now, is_told };
        self.oracle.check_silence(view);
    }

    /// A timer that is asked too early changes nothing.
    pub(super) fn check_early(&mut self, now: Instant) {
        let session = &mut self.shell.session;
        if now >= session.deadline() {
            // The timers are as late as their ticks.
            return;
        }
        let before = (session.next(), session.deadline());
        session.handle_time(now);
        let after = (session.next(), session.deadline());
        hold!(Deadline, before == after, "too early, and {before:?} is {after:?}");
    }

    /// The deadline has passed, if it still stands.
    pub(super) fn expire(&mut self, env: &mut Env<'_>) {
        self.check_deadline(env);
        let now = env.now;
        let session = &mut self.shell.session;
        if now < session.deadline() {
            return;
        }
        let (next, deadline) = (session.next(), session.deadline());
        session.handle_time(now);
        let after = session.next();
        self.shell.settle(env.pool, now);
        env.trace.say(format_args!("the deadline has passed: {after:?}"));
        self.oracle.note_time();
        if self.oracle.story.is_patient() && next != Action::Wait {
            let is_unmoved = (after, self.session().deadline()) == (next, deadline);
            hold!(Hasty, is_unmoved, "{next:?} was in hand");
            return;
        }
        if matches!(self.oracle.story.stage, Stage::Hello { .. }) {
            env.kernel.cover.hit(Quirk::HelloLate);
        }
        self.oracle.story.note_timeout(now);
        self.check_silence(env);
        let is_ahead = self.session().deadline() > now;
        hold!(Deadline, is_ahead || after != Action::Wait, "it waits for what has passed");
    }

    /// The shell performs one action.
    fn act(&mut self, env: &mut Env<'_>) {
        let action = self.session().next();
        hold!(Purity, action == self.session().next(), "asked twice, answered differently");
        env.kernel.cover.note_action(action);
        let is_told = self.is_told(env.kernel);
        let view = View { shell: &self.shell, kernel: env.kernel, now: env.now, is_told };
        self.oracle.check_action(action, view);
        let outcome = self.shell.perform(action, env.kernel, env.pool, &self.plan, env.now);
        env.trace.say(format_args!("{action:?} -> {outcome:?}"));
        let is_told = self.is_told(env.kernel);
        let view = View { shell: &self.shell, kernel: env.kernel, now: env.now, is_told };
        let was_asked = self.oracle.story.stage == Stage::Silence;
        self.oracle.note_outcome(action, outcome, view);
        if was_asked {
            let story = &self.oracle.story;
            let met =
                [(story.was_silent, Quirk::SilentClient), (story.was_heard, Quirk::LateHeader)];
            let met = met.into_iter().filter(|(is_met, _)| *is_met);
            met.for_each(|(_, quirk)| env.kernel.cover.hit(quirk));
        }
        if matches!(outcome, Outcome::Unsent(_)) {
            self.check_silence(env);
        }
        match outcome {
            Outcome::Connecting => self.meet_upstream(),
            Outcome::Closed => {
                let Action::Close(reason) = action else { unreachable!("only a close closes") };
                self.closed = Some(reason);
                env.kernel.cover.note_closed(reason);
                self.disturb(reason, env.now);
            }
            Outcome::Header(..)
            | Outcome::HelloNeeded
            | Outcome::Hello(..)
            | Outcome::Routed(_)
            | Outcome::Refused(_)
            | Outcome::ConnectFailed(_)
            | Outcome::ErrorTaken(_)
            | Outcome::Filled(..)
            | Outcome::Unpiped
            | Outcome::Drained(_)
            | Outcome::Shut(_)
            | Outcome::Discarded(_)
            | Outcome::Unsent(_)
            | Outcome::Watched
            | Outcome::Reset => {}
        }
    }

    fn meet_upstream(&mut self) {
        let fd = self.shell.upstream.expect("it was just connected");
        let has_spoken = self.upstream.as_ref().is_some_and(|peer| peer.received > 0);
        hold!(Prefix, !has_spoken, "two upstreams are spoken to");
        self.sockets.push(fd);
        self.upstream = Some(Peer::new(fd.other_end(), Stream::Upstream, self.plan.upstream));
    }

    /// One socket's event is taken from the epoll.
    fn harvest(&mut self, fd: Fd, env: &mut Env<'_>) {
        let Some(seen) = env.kernel.harvest(fd) else { return };
        let mut told = seen;
        if self.spurious > 0 && env.rng.one_in(8) {
            self.spurious -= 1;
            if seen.hup {
                env.kernel.cover.hit(Quirk::HupWithoutIn);
                (told.input, told.rdhup) = (false, false);
            } else if env.rng.one_in(2) {
                // As kqueue does, and mio allows: the two halves of one event.
                env.kernel.cover.hit(Quirk::EventSplit);
                let half = Mask { output: seen.output, error: seen.error, ..Mask::default() };
                told.output = false;
                if env.rng.one_in(2) {
                    self.events.push(Event { fd, seen, told });
                    told = half;
                } else {
                    self.events.push(Event { fd, seen, told: half });
                }
            } else if !seen.error {
                env.kernel.cover.hit(Quirk::ErrSpurious);
                told.error = true;
            }
        }
        env.trace.say(format_args!("epoll: {fd:?} {told:?}"));
        self.events.push(Event { fd, seen, told });
    }

    /// The session is told of one event.
    fn tell(&mut self, at: usize, env: &mut Env<'_>) {
        if at > 0 {
            env.kernel.cover.hit(Quirk::EventReordered);
        }
        let Event { fd, seen, told } = self.events.remove(at);
        let Some(side) = self.shell.side_of(fd) else {
            return env.kernel.cover.hit(Quirk::EventForClosed);
        };
        if env.kernel.look(fd).poll() != seen {
            env.kernel.cover.hit(Quirk::EventStale);
        }
        let error = env.kernel.look(fd).error;
        if error == Some(Errno::ConnReset) && side == Side::Upstream && !self.oracle.story.has_stood
        {
            env.kernel.cover.hit(Quirk::ResetAtOnce);
        }
        let ready = readiness(told);
        env.trace.say(format_args!("{side:?} is told {ready:?}"));
        self.oracle.note_event(side, ready, env.now);
        self.shell.session.handle_ready(side, ready, env.now);
        self.shell.settle(env.pool, env.now);
    }

    /// Arms a socket that has nothing new to say.
    fn make_up_event(&mut self, env: &mut Env<'_>) {
        if self.spurious == 0 || !env.rng.one_in(32) {
            return;
        }
        let side = env.rng.pick(&Side::ALL);
        if let Some(fd) = self.shell.socket(side) {
            self.spurious -= 1;
            env.kernel.cover.hit(Quirk::EventSpurious);
            env.kernel.socket(fd).wake();
        }
    }

    fn read(&mut self, side: Side, env: &mut Env<'_>) {
        let peer = self.peer_mut(side);
        let start = peer.received;
        let heard = peer.read(env.kernel, env.now);
        env.trace.say(format_args!("{side:?} peer hears {heard:?}"));
        match heard {
            Some(Heard::Bytes(bytes)) => self.check_bytes(side, start, &bytes),
            Some(Heard::End) => self.check_heard_end(side, env.kernel),
            Some(Heard::Broken) | None => {}
        }
    }

    fn check_bytes(&self, side: Side, start: u64, bytes: &[u8]) {
        let greeting = self.plan.greeting as u64;
        for (at, byte) in (start..).zip(bytes) {
            let expected = match side {
                Side::Client => byte_at(Stream::Upstream, at),
                Side::Upstream if at < greeting => byte_at(Stream::Header, at),
                Side::Upstream => byte_at(Stream::Client, at - greeting + self.header_len()),
            };
            hold!(Prefix, *byte == expected, "byte {at} at the {side:?} is another one");
        }
    }

    /// Returns the bytes of the client that are its header.
    fn header_len(&self) -> u64 {
        if self.oracle.story.was_silent { 0 } else { self.plan.header.len as u64 }
    }

    /// Returns what a peer should have received once all of its stream has come.
    fn whole(&self, side: Side) -> u64 {
        match side {
            Side::Client => self.upstream.as_ref().map_or(0, |peer| peer.sent),
            Side::Upstream => {
                self.plan.greeting as u64 + self.client.sent.saturating_sub(self.header_len())
            }
        }
    }

    fn check_heard_end(&self, side: Side, kernel: &Kernel) {
        let source = match side {
            Side::Client => self.upstream.as_ref(),
            Side::Upstream => Some(&self.client),
        };
        let heard = match side {
            Side::Client => self.client.received,
            Side::Upstream => self.upstream.as_ref().map_or(0, |peer| peer.received),
        };
        let is_over = source.is_some_and(|peer| kernel.look(peer.fd.other_end()).fin_received);
        self.oracle.check_heard_end(side, heard, self.whole(side), is_over);
    }

    /// Whatever still comes, a closed session stays closed.
    fn disturb(&mut self, reason: CloseReason, now: Instant) {
        let session = &mut self.shell.session;
        let all = Readiness {
            readable: true,
            writable: true,
            read_closed: true,
            urgent: true,
            error: true,
        };
        for side in Side::ALL {
            session.handle_ready(side, all, now);
        }
        session.handle_time(now + Duration::from_secs(100));
        session.handle_stop(CloseReason::Drained, now);
        hold!(Close, session.next() == Action::Close(reason), "it lives on: {:?}", session.next());
    }

    /// Everything has come to rest: where both peers were fair, everything has arrived.
    pub(super) fn check_end(&self, kernel: &mut Kernel) {
        kernel.cover.hit(Quirk::Fair);
        let is_silence = [CloseReason::IdleTimeout, CloseReason::HalfClosedTimeout].map(Some);
        // Who has acknowledged everything and goes on reading what lies on his side is silent.
        let may_be_silent = [&self.plan.client, &self.plan.upstream]
            .into_iter()
            .any(|script| matches!(script.reading, Reading::Slow(_)));
        let is_over = may_be_silent && is_silence.contains(&self.closed);
        let is_done = self.closed == Some(CloseReason::Done);
        hold!(Complete, is_done || is_over, "closed with {:?}", self.closed);
        for direction in Direction::ALL {
            let side = direction.sink();
            let peer = match side {
                Side::Client => &self.client,
                Side::Upstream => self.upstream.as_ref().expect("it was connected to"),
            };
            let (got, whole) = (peer.received, self.whole(side));
            hold!(Complete, got == whole, "{side:?} received {got} of {whole}");
            hold!(Complete, peer.has_heard_end || is_over, "{side:?} never heard the end");
        }
        let has_sent_all = self.client.sent == self.plan.client.total;
        hold!(Complete, has_sent_all, "the client could not send everything");
    }

    /// Returns whether the session knows of every event there was.
    fn is_told(&self, kernel: &Kernel) -> bool {
        self.events.is_empty() && self.armed(kernel).next().is_none()
    }

    fn armed(&self, kernel: &Kernel) -> impl Iterator<Item = Fd> {
        let sockets = [self.shell.client, self.shell.upstream]
            .map(|fd| fd.filter(|fd| kernel.look(*fd).is_armed));
        sockets.into_iter().flatten()
    }

    fn peer_mut(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => self.upstream.as_mut().expect("only who is there can move"),
        }
    }
}
