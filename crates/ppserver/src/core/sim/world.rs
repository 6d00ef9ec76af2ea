//! One world: a listening socket, its sessions, one kernel, one clock; who moves next.
//!
//! Everything that happens is one step, chosen by the seed among all that could happen now; which session
//! acts, and when one is reminded, its schedule says. The clock creeps while there is something to do and
//! leaps to the next timer when there is not. Invariant: a session keeps the terms it was accepted under.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::{Case, Choice, Choices, Env, Spent, Trace};
use super::coverage::{Coverage, Quirk};
use super::kernel::Kernel;
use super::oracle::hold;
use super::plan::{CROWDED_CONDUIT_MAX, GREETING_MAX, Plan, Setting, draw_terms};
use super::pool::Pool;
use super::rng::Rng;
use super::socket::Errno;
use crate::core::accept_queue::{AcceptQueue, Accepted, Accepting};
use crate::core::schedule::{Schedule, Shares, Stint};
use crate::core::session::Policy;

/// A world that takes more steps than this never ends.
const STEPS_MAX: usize = 500_000;
/// How late a timer may be.
const TICK_MICROS: usize = 1_000;
/// Shares of a world whose sessions move some thousand bytes at most.
const SHARES: Shares = Shares { fresh: 64, short: 96, long: 192, action: 4 };
/// One action in a crowd costs so much at most, whatever is left of a share: our header goes out with a buffer
/// behind it, which is more than the four buffers of a pipe.
const ACTION_MAX: usize = SHARES.action + GREETING_MAX + CROWDED_CONDUIT_MAX;
/// How long a queued client waits at most once there is something to accept it with.
const ACCEPT_MAX: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) kernel: Kernel,
    /// None in a world whose every course is followed: what a pool counts would be that of all courses.
    pool: Option<Arc<Pool>>,
    pub(super) cases: Vec<Case>,
    pub(super) now: Instant,
    setting: Setting,
    rng: Rng,
    begin: Instant,
    steps: usize,
    is_traced: bool,
    /// What the next session is told.
    terms: Policy,
    accept_queue: AcceptQueue,
    /// Our end of the listening socket is open.
    is_listening: bool,
    /// It is to be closed once nobody is queued.
    is_draining: bool,
    /// Nothing new was heard of the queue since an accept was of no use.
    is_blocked: bool,
    /// When the next client comes.
    arrives_at: Instant,
    /// How many have come.
    arrived: usize,
    schedule: Schedule<usize>,
    working: Option<Working>,
    /// What everybody's stints have cost.
    spent: Spent,
}

/// Who works.
#[derive(Clone, Copy, Debug)]
struct Working {
    at: usize,
    share: usize,
    actions: usize,
    moved_before: usize,
}

impl Working {
    /// Returns what has come of it by now, given the bytes that the session has moved in all.
    fn stint(self, moved: usize, has_more: bool) -> Stint {
        let moved = moved - self.moved_before;
        Stint { moved, cost: moved + self.actions * SHARES.action, has_more }
    }
}

impl World {
    /// Runs one world to its end and returns what it came across.
    pub(super) fn run(rng: &mut Rng, begin: Instant, is_traced: bool) -> Coverage {
        let setting = Setting::draw(rng);
        let terms = draw_terms(rng);
        let kernel = Kernel::new(rng.fork(), setting.budget);
        let mut world = Self::new(setting, terms, kernel, rng.fork(), begin);
        world.pool = Some(Arc::new(Pool::draw(rng.clone(), begin)));
        world.is_traced = is_traced;
        world.trace(0).say(format_args!("{:#?}", world.setting));
        while !world.is_over() {
            world.step();
        }
        world.check_end();
        world.kernel.cover.steps = world.steps as u64;
        world.kernel.cover
    }

    pub(super) fn new(
        setting: Setting,
        terms: Policy,
        kernel: Kernel,
        rng: Rng,
        begin: Instant,
    ) -> Self {
        Self {
            cases: Vec::new(),
            now: begin,
            begin,
            steps: 0,
            is_traced: false,
            terms,
            accept_queue: AcceptQueue::new(),
            is_listening: true,
            is_draining: false,
            is_blocked: false,
            arrives_at: begin + setting.clients.first().copied().unwrap_or_default(),
            arrived: 0,
            schedule: Schedule::new(SHARES, begin),
            working: None,
            spent: Spent::default(),
            setting,
            kernel,
            pool: None,
            rng,
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        hold!(Deadline, self.steps < STEPS_MAX, "it never ends");
        self.meet_fate();
        let now = self.now;
        self.pool.iter().for_each(|pool| pool.meet_fate(now));
        if self.setting.jump_at == Some(self.steps) {
            self.kernel.cover.hit(Quirk::TimeJump);
            let leap = Duration::from_secs(self.rng.between(1, 20) as u64);
            self.cases.iter_mut().for_each(|case| case.oracle.story.note_leap());
            return self.advance(leap);
        }
        self.elect();
        self.check_memory();
        let case = self.choose_case();
        if self.can_accept() && (case.is_none() || self.rng.one_in(4)) {
            return self.take_in();
        }
        let Some((at, choices)) = case else { return self.leap() };
        let [movers @ .., clock] = self.cases[at].plan.speeds;
        let weight = |choices: &Vec<Choice>, speed| if choices.is_empty() { 0 } else { speed };
        let weights = choices.iter().zip(movers).map(|(choices, speed)| weight(choices, speed));
        let mut ticket = self.rng.below(weights.clone().sum::<usize>() + clock);
        for (choices, weight) in choices.iter().zip(weights) {
            match ticket.checked_sub(weight) {
                Some(rest) => ticket = rest,
                None => {
                    let choice = self.rng.pick(choices);
                    self.with(at, |case, env| case.take(choice, env));
                    return match choice {
                        Choice::Act => self.note_act(),
                        Choice::Tell(_) => self.file(at),
                        Choice::Harvest(_)
                        | Choice::Travel(_)
                        | Choice::Send(_)
                        | Choice::Read(_) => {}
                    };
                }
            }
        }
        let creep = Duration::from_micros(self.rng.between(1, 50) as u64);
        self.advance(creep);
    }

    /// There may be something to do for a session.
    fn file(&mut self, at: usize) {
        let case = &mut self.cases[at];
        if case.closed.is_none() {
            self.schedule.file(at, &mut case.ticket);
            case.filed_at.get_or_insert(self.spent);
        }
    }

    /// Finds out who works.
    fn elect(&mut self) {
        if let Some(working) = self.working
            && !self.cases[working.at].is_busy()
        {
            self.finish(working, false);
        }
        while self.working.is_none() {
            match self.schedule.next(self.now) {
                Some((at, share)) => {
                    self.check_latency(at);
                    let moved_before = self.cases[at].moved();
                    let working = Working { at, share, actions: 0, moved_before };
                    self.working = Some(working);
                    if !self.cases[at].is_busy() {
                        self.finish(working, false);
                    }
                }
                None if self.schedule.has_work() => self.schedule.begin_turn(),
                None => return,
            }
        }
    }

    /// The session that works has acted.
    fn note_act(&mut self) {
        let working = self.working.as_mut().expect("only it acts");
        working.actions += 1;
        let working = *working;
        let case = &mut self.cases[working.at];
        let stint = working.stint(case.moved(), true);
        if case.closed.is_some() {
            self.spent.add(case.is_quiet(), stint.cost);
            self.schedule.forget(&mut case.ticket);
            self.working = None;
        } else if stint.cost >= working.share {
            self.finish(working, true);
        }
    }

    /// A stint is over: the session waits, or its share is used up.
    fn finish(&mut self, working: Working, has_more: bool) {
        let case = &mut self.cases[working.at];
        let stint = working.stint(case.moved(), has_more);
        self.spent.add(case.is_quiet(), stint.cost);
        case.small_stints = match stint.cost {
            0 => case.small_stints,
            cost if cost >= SHARES.fresh => 0,
            _ => case.small_stints + 1,
        };
        case.filed_at = has_more.then_some(self.spent);
        self.schedule.handle_worked(working.at, &mut case.ticket, stint, self.now);
        let deadline = case.session().deadline();
        self.schedule.remind(working.at, &mut case.ticket, deadline, self.now);
        self.working = None;
    }

    /// Somebody begins to work: while he was quiet and waited, one who is bulky had one share at most, and
    /// everybody who was quiet himself one stint at most. Asked in a crowd, where one action moves little.
    fn check_latency(&mut self, at: usize) {
        let Some(before) = self.cases[at].filed_at.take() else { return };
        if !self.setting.is_crowded || !self.cases[at].is_quiet() {
            return;
        }
        let Spent { quiet, bulky } = self.spent.since(before);
        let bulky_max = SHARES.long + ACTION_MAX;
        hold!(Latency, bulky <= bulky_max, "it is quiet, and who is bulky did {bulky} before it");
        let quiet_max = (self.cases.len() - 1) * (SHARES.fresh + ACTION_MAX);
        hold!(
            Latency,
            quiet <= quiet_max,
            "it is quiet, and other quiet ones did {quiet} before it"
        );
        self.kernel.cover.hit(Quirk::QuietInACrowd);
    }

    fn check_memory(&self) {
        let open = self.cases.iter().filter(|case| case.closed.is_none()).count();
        let (queued, reminders) = self.schedule.len();
        hold!(Memory, queued <= open, "{queued} are queued of {open}");
        hold!(Memory, reminders <= open, "{reminders} reminders stand for {open}");
    }

    /// Returns a session to which something can happen, and what; none if only the clock can move.
    fn choose_case(&mut self) -> Option<(usize, Choices)> {
        let count = self.cases.len();
        let first = if count > 1 { self.rng.below(count) } else { 0 };
        for at in (first..count).chain(0..first) {
            if self.cases[at].closed.is_none() {
                self.with(at, Case::meet_fate);
            }
            let is_working = self.working.is_some_and(|working| working.at == at);
            let choices = self.cases[at].choices(is_working, &self.kernel, self.now);
            if choices.iter().any(|choices| !choices.is_empty()) {
                return Some((at, choices));
            }
        }
        None
    }

    /// What the setting says happens at this step.
    fn meet_fate(&mut self) {
        let is_now = |at: Option<usize>| at == Some(self.steps);
        let (reloads, drains, stops) = (
            is_now(self.setting.reload_at),
            is_now(self.setting.drain_at),
            is_now(self.setting.stop_at),
        );
        if reloads {
            self.trace(0).say(format_args!("a reload: other terms for new sessions"));
            self.terms = draw_terms(&mut self.rng);
            if !self.cases.is_empty() && self.arrived < self.setting.clients.len() {
                self.kernel.cover.hit(Quirk::Reload);
            }
        }
        if drains && self.is_listening {
            self.trace(0).say(format_args!("a drain: nobody new is queued"));
            self.kernel.cover.hit(Quirk::Drain);
            if self.kernel.listener.queued > 0 {
                self.kernel.cover.hit(Quirk::Queued);
            }
            self.kernel.listener.is_queueing = false;
            self.is_draining = true;
            self.accept_queue.handle_drain();
            self.is_blocked = false;
        }
        if stops {
            self.close_listener();
            for at in 0..self.cases.len() {
                if self.cases[at].closed.is_none() {
                    self.with(at, Case::stop);
                    self.file(at);
                }
            }
        }
    }

    /// Returns whether something can happen at the listening socket.
    fn can_accept(&self) -> bool {
        let is_due = self.arrived < self.setting.clients.len() && self.arrives_at <= self.now;
        let is_busy = self.kernel.listener.is_armed || self.accept_queue.next() != Accepting::Wait;
        is_due || self.is_listening && is_busy
    }

    /// Something happens at the listening socket.
    fn take_in(&mut self) {
        let is_due = self.arrived < self.setting.clients.len() && self.arrives_at <= self.now;
        if is_due && (!self.is_listening || self.rng.one_in(2)) {
            return self.arrive();
        }
        if self.kernel.listener.is_armed && self.is_listening {
            return self.note_edge();
        }
        match self.accept_queue.next() {
            Accepting::Accept if self.is_listening => self.accept(),
            Accepting::Close if self.is_listening => {
                let queued = self.kernel.listener.queued;
                hold!(Queue, queued == 0, "the port is closed, {queued} are queued");
                self.close_listener();
            }
            Accepting::Accept | Accepting::Close | Accepting::Wait => {
                if is_due {
                    self.arrive();
                }
            }
        }
    }

    fn arrive(&mut self) {
        self.trace(self.cases.len()).say(format_args!("a client comes"));
        self.arrived += 1;
        self.kernel.arrive();
        if let Some(wait) = self.setting.clients.get(self.arrived) {
            self.arrives_at = self.now + *wait;
        }
    }

    fn note_edge(&mut self) {
        self.kernel.listener.is_armed = false;
        self.accept_queue.handle_ready();
        self.is_blocked = false;
    }

    fn accept(&mut self) {
        hold!(Spin, !self.is_blocked, "an accept again, nothing new");
        let plan = Plan::draw(&mut self.rng, self.terms, self.setting.is_crowded);
        let answer = self.kernel.accept(plan.sizes);
        self.trace(self.cases.len()).say(format_args!("accept -> {answer:?}"));
        let accepted = match answer {
            Ok(fd) => {
                self.trace(self.cases.len()).say(format_args!("{plan:#?}"));
                self.add(Case::new(plan, fd, self.now));
                if self.cases.iter().filter(|case| case.closed.is_none()).count() > 1 {
                    self.kernel.cover.hit(Quirk::Crowd);
                }
                Accepted::Taken
            }
            Err(Errno::Again) => Accepted::Empty,
            Err(Errno::TooManyFiles) => Accepted::Failed,
            Err(_) => Accepted::Taken,
        };
        self.is_blocked = accepted != Accepted::Taken;
        self.accept_queue.handle_accepted(accepted, self.now);
        if let Some(deadline) = self.accept_queue.deadline() {
            let is_soon = self.now < deadline && deadline <= self.now + ACCEPT_MAX;
            hold!(Deadline, is_soon, "it tries again after {:?}", deadline - self.now);
        }
    }

    /// A session begins.
    pub(super) fn add(&mut self, case: Case) {
        let at = self.cases.len();
        let deadline = case.session().deadline();
        self.cases.push(case);
        self.schedule.remind(at, &mut self.cases[at].ticket, deadline, self.now);
        if self.cases[at].is_busy() {
            self.file(at);
        }
    }

    fn close_listener(&mut self) {
        self.is_listening = false;
        self.kernel.listener.is_queueing = false;
        self.kernel.listener.is_armed = false;
        self.kernel.listener.queued = 0;
    }

    /// Nothing else can happen: the next timer is awaited.
    pub(super) fn leap(&mut self) {
        for at in 0..self.cases.len() {
            if self.cases[at].closed.is_none() {
                self.with(at, Case::check_quiet);
            }
        }
        let queued = self.kernel.listener.queued;
        let retry_at = if self.is_listening { self.accept_queue.deadline() } else { None };
        let is_stuck = self.is_listening && queued > 0 && retry_at.is_none();
        hold!(Queue, !is_stuck, "{queued} are queued, nobody will look");
        let deadline = self.wakes_at().into_iter().chain(retry_at).min();
        let arrival = (self.arrived < self.setting.clients.len()).then_some(self.arrives_at);
        let wakes = self.cases.iter().filter_map(|case| case.wakes_at(&self.kernel, self.now));
        let other = wakes.chain(arrival).min();
        let late = Duration::from_micros(self.rng.below(TICK_MICROS) as u64);
        let until = match (deadline, other) {
            (Some(deadline), Some(other)) if other <= deadline => other,
            (Some(deadline), _) => deadline + late,
            (None, Some(other)) => other,
            (None, None) => {
                hold!(Queue, self.is_over(), "the drain never ends");
                return;
            }
        };
        self.advance(until.saturating_duration_since(self.now));
    }

    /// Time passes; past a deadline a turn of the loop begins: events first, then timers.
    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        let open: Vec<usize> =
            (0..self.cases.len()).filter(|at| self.cases[*at].closed.is_none()).collect();
        for at in &open {
            self.with(*at, |case, env| case.check_deadline(env));
        }
        let retries = self.accept_queue.deadline().is_some_and(|at| at <= self.now);
        if !retries && self.wakes_at().is_none_or(|at| at > self.now) {
            let now = self.now;
            open.iter().for_each(|at| self.cases[*at].check_early(now));
            return;
        }
        if self.kernel.listener.is_armed {
            self.note_edge();
        }
        for at in &open {
            self.with(*at, Case::tell_all);
            self.file(*at);
        }
        if retries {
            self.accept_queue.handle_time(self.now);
            self.is_blocked = false;
        }
        while let Some(at) = self.schedule.next_due(self.now) {
            self.schedule.handle_due(&mut self.cases[at].ticket);
            self.with(at, Case::expire);
            self.file(at);
            let deadline = self.cases[at].session().deadline();
            self.schedule.remind(at, &mut self.cases[at].ticket, deadline, self.now);
        }
    }

    /// Returns when somebody is reminded: each who waits is, by his deadline.
    fn wakes_at(&self) -> Option<Instant> {
        for (at, case) in self.cases.iter().enumerate() {
            let is_to_work = case.filed_at.is_some() || self.working.is_some_and(|it| it.at == at);
            let is_waiting = case.closed.is_none() && !case.is_busy() && !is_to_work;
            let deadline = case.session().deadline();
            let is_reminded = case.ticket.remind_at().is_some_and(|at| at <= deadline);
            hold!(Deadline, !is_waiting || is_reminded, "nobody reminds it");
        }
        self.schedule.wakes_at()
    }

    /// The session at this place waits, if it did.
    pub(super) fn remind(&mut self, at: usize) {
        let case = &mut self.cases[at];
        if case.closed.is_none() {
            let deadline = case.session().deadline();
            self.schedule.remind(at, &mut case.ticket, deadline, self.now);
        }
    }

    /// The deadline of the session at this place passes, and its reminder comes.
    pub(super) fn expire(&mut self, at: usize) {
        if self.cases[at].is_busy() {
            self.cases[at].oracle.story.note_leap();
        }
        let deadline = self.cases[at].session().deadline();
        while let Some(wakes_at) = self.schedule.wakes_at()
            && self.now < deadline
        {
            self.advance(wakes_at.saturating_duration_since(self.now));
        }
    }

    /// Nobody is to come, nobody is queued, every session is closed and every peer at rest.
    pub(super) fn is_over(&self) -> bool {
        let is_settled = |case: &Case| {
            case.closed.is_some()
                && case.choices(true, &self.kernel, self.now).iter().all(Vec::is_empty)
                && case.wakes_at(&self.kernel, self.now).is_none()
        };
        self.arrived == self.setting.clients.len()
            && !self.can_accept()
            && (!self.is_listening || !self.is_draining && self.kernel.listener.queued == 0)
            && self.cases.iter().all(is_settled)
    }

    pub(super) fn check_end(&mut self) {
        hold!(Close, self.kernel.budget == self.setting.budget, "not all is returned");
        if let Some(pool) = &self.pool {
            pool.check_end();
            pool.met().into_iter().for_each(|quirk| self.kernel.cover.hit(quirk));
        }
        if self.setting.is_roomy() {
            let is_fair = |case: &&Case| case.plan.is_fair() && !case.shell.is_cut;
            for case in self.cases.iter().filter(is_fair) {
                case.check_end(&mut self.kernel);
            }
        }
    }

    /// Lets a session act in this world.
    pub(super) fn with<T>(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Case, &mut Env<'_>) -> T,
    ) -> T {
        let (trace, now) = (self.trace(at), self.now);
        let pool = self.pool.as_deref();
        let mut env = Env { kernel: &mut self.kernel, pool, rng: &mut self.rng, now, trace };
        act(&mut self.cases[at], &mut env)
    }

    fn trace(&self, case: usize) -> Trace {
        Trace { is_on: self.is_traced, step: self.steps, at: self.now - self.begin, case }
    }
}
