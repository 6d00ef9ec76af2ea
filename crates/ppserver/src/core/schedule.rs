//! Who works next, and how much: a value that a worker's loop and the simulator both run.
//!
//! ```text
//!            file            next                       handle_worked
//! waiting ---------> queued ------> working (a share) ----------------> waiting
//!    ^  fresh, or behind bulk          |  has more: into bulk               |
//!    |                                 +------------> queued               |
//!    +--------------------------- a reminder at its deadline --------------+
//! ```
//!
//! Whoever moves little goes first: a turn serves all who are fresh, then one who is bulky, and then the
//! kernel is asked again who else is ready. So a quiet connection waits for one share of one who is bulky and
//! for the first share of each who is fresh before it, not for everybody's turn. A share is counted in bytes, to which every action adds what a system call
//! costs. Short shares wake sources and sinks more often, which costs a third of the CPU time of bulk
//! (docs/performance.md), so they are dealt only while somebody quiet is there.
//!
//! Invariants: a thing stands in one queue, once, and has one reminder at most; both are gone with it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::timers::{Reminder, Timers};

/// How much may be done at a time.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Of one who is fresh; who moves more is bulky.
    pub fresh: usize,
    /// Of one who is bulky, while somebody quiet is there.
    pub short: usize,
    /// Of one who is bulky, when nobody else is there.
    pub long: usize,
    /// What an action costs beside the bytes that it moves.
    pub action: usize,
}

impl Shares {
    /// Those of a worker, in bytes: 1 MiB is moved in about half a millisecond, and 8 KiB take as long as a
    /// system call that moves nothing.
    pub const WORKER: Self =
        Self { fresh: 128 << 10, short: 1 << 20, long: 16 << 20, action: 8 << 10 };
}

/// So many who are fresh work before one who is bulky.
const FRESH_MAX: usize = 256;
/// Who was bulky is taken for it until so many stints in a row were small: one small piece in the midst of a
/// download makes nobody quiet.
const SMALL_STINTS: u8 = 8;
/// For so long behind its last byte somebody quiet counts as there.
const QUIET_SPAN: Duration = Duration::from_millis(100);

/// What the schedule knows of one thing; kept where the thing is.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    is_queued: bool,
    /// Small stints until it is no longer taken for bulky.
    bulk: u8,
    /// The reminder that stands, and for when.
    reminder: Option<(Reminder, Instant)>,
}

impl Ticket {
    /// A new thing, which nobody expects to be bulky.
    #[expect(clippy::new_without_default, reason = "a thing begins, it has no default")]
    pub const fn new() -> Self {
        Self { is_queued: false, bulk: 0, reminder: None }
    }

    /// Returns when it will be reminded, if it will.
    pub fn remind_at(&self) -> Option<Instant> {
        self.reminder.map(|(_, at)| at)
    }
}

/// What somebody did with a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stint {
    /// Bytes moved, and what the actions cost.
    pub cost: usize,
    /// Bytes moved.
    pub moved: usize,
    /// The share was used up.
    pub has_more: bool,
}

/// Who is to work, in which order, and who is to be reminded when.
#[derive(Clone, Debug)]
pub struct Schedule<K> {
    shares: Shares,
    fresh: VecDeque<K>,
    bulk: VecDeque<K>,
    timers: Timers<K>,
    /// How many who are fresh may still work in this turn.
    fresh_left: usize,
    /// Whether one who is bulky may still work in this turn.
    is_bulk_left: bool,
    quiet_until: Option<Instant>,
}

impl<K: Copy> Schedule<K> {
    /// Begins with nobody.
    pub fn new(shares: Shares, now: Instant) -> Self {
        Self {
            shares,
            fresh: VecDeque::new(),
            bulk: VecDeque::new(),
            timers: Timers::new(now),
            fresh_left: 0,
            is_bulk_left: false,
            quiet_until: None,
        }
    }

    /// Returns what an action costs beside the bytes that it moves.
    pub const fn action_cost(&self) -> usize {
        self.shares.action
    }

    /// There is something to do for a thing.
    pub fn file(&mut self, key: K, ticket: &mut Ticket) {
        if !ticket.is_queued {
            ticket.is_queued = true;
            if ticket.bulk > 0 { &mut self.bulk } else { &mut self.fresh }.push_back(key);
        }
    }

    /// The kernel has been asked who is ready, and they have been filed.
    pub fn begin_turn(&mut self) {
        self.fresh_left = self.fresh.len().min(FRESH_MAX);
        self.is_bulk_left = true;
    }

    /// Takes the next one to work, with its share; `None` ends the turn.
    pub fn next(&mut self, now: Instant) -> Option<(K, usize)> {
        if self.fresh_left > 0
            && let Some(key) = self.fresh.pop_front()
        {
            self.fresh_left -= 1;
            return Some((key, self.shares.fresh));
        }
        if !std::mem::take(&mut self.is_bulk_left) {
            return None;
        }
        let is_quiet_there = self.quiet_until.is_some_and(|until| now < until);
        let share = if is_quiet_there { self.shares.short } else { self.shares.long };
        Some((self.bulk.pop_front()?, share))
    }

    /// One that was taken has worked.
    pub fn handle_worked(&mut self, key: K, ticket: &mut Ticket, stint: Stint, now: Instant) {
        ticket.is_queued = false;
        if stint.cost >= self.shares.fresh {
            ticket.bulk = SMALL_STINTS;
        } else if ticket.bulk > 0 {
            // Who was called for nothing was no less bulky for it.
            ticket.bulk -= u8::from(stint.cost > 0);
        } else if stint.moved > 0 {
            self.quiet_until = Some(now + QUIET_SPAN);
        }
        if stint.has_more {
            self.file(key, ticket);
        }
    }

    /// Sees to it that a thing is reminded by `at`, in the next turn at the earliest. Who is reminded before
    /// its time asks again, so that a deadline which moves ahead with every byte costs nothing.
    pub fn remind(&mut self, key: K, ticket: &mut Ticket, at: Instant, now: Instant) {
        if let Some((reminder, set)) = ticket.reminder {
            if set <= at {
                return;
            }
            self.timers.cancel(reminder);
        }
        ticket.reminder = Some((self.timers.file(at.max(now), key), at));
    }

    /// Takes one whose reminder is due; [`handle_due`](Self::handle_due) comes before anything else.
    pub fn next_due(&mut self, now: Instant) -> Option<K> {
        self.timers.pop(now)
    }

    /// The reminder of a thing was handed out.
    pub fn handle_due(&mut self, ticket: &mut Ticket) {
        ticket.reminder = None;
    }

    /// A thing is gone, behind its last stint.
    pub fn forget(&mut self, ticket: &mut Ticket) {
        if let Some((reminder, _)) = ticket.reminder.take() {
            self.timers.cancel(reminder);
        }
    }

    /// Returns whether somebody is to work.
    pub fn has_work(&self) -> bool {
        !self.fresh.is_empty() || !self.bulk.is_empty()
    }

    /// Returns when the next reminder is due.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Notes the time of a turn, before anybody is filed.
    pub fn catch_up(&mut self, now: Instant) {
        self.timers.catch_up(now);
    }

    /// Returns how many stand in the queues, and how many reminders stand.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.fresh.len() + self.bulk.len(), self.timers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { fresh: 10, short: 20, long: 200, action: 1 };
    const SMALL: Stint = Stint { cost: 3, moved: 2, has_more: false };
    const FULL: Stint = Stint { cost: 200, moved: 190, has_more: true };

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    /// A schedule with things that have each used up a share, and have more.
    fn with_bulk(count: usize, now: Instant) -> (Schedule<usize>, Vec<Ticket>) {
        let mut schedule = Schedule::new(SHARES, now);
        let mut tickets = vec![Ticket::new(); count];
        for (key, ticket) in tickets.iter_mut().enumerate() {
            schedule.file(key, ticket);
        }
        schedule.begin_turn();
        for _ in 0..count {
            let (key, _) = schedule.next(now).expect("all are fresh");
            schedule.handle_worked(key, &mut tickets[key], FULL, now);
        }
        (schedule, tickets)
    }

    #[test]
    fn who_is_fresh_works_before_all_who_are_bulky_and_one_of_these_works_a_turn() {
        let now = start();
        let (mut schedule, mut tickets) = with_bulk(3, now);
        let mut quiet = Ticket::new();
        schedule.file(9, &mut quiet);
        schedule.begin_turn();
        assert_eq!(schedule.next(now), Some((9, SHARES.fresh)));
        schedule.handle_worked(9, &mut quiet, SMALL, now);
        assert_eq!(schedule.next(now), Some((0, SHARES.short)));
        schedule.handle_worked(0, &mut tickets[0], FULL, now);
        assert_eq!(schedule.next(now), None, "the kernel is asked again");
        schedule.begin_turn();
        assert_eq!(schedule.next(now), Some((1, SHARES.short)), "in turn");
    }

    #[test]
    fn who_turns_out_to_be_bulky_has_one_share_before_who_is_fresh_behind_him() {
        let now = start();
        let mut schedule = Schedule::new(SHARES, now);
        let mut tickets = [Ticket::new(); 3];
        for (key, ticket) in tickets.iter_mut().enumerate() {
            schedule.file(key, ticket);
        }
        schedule.begin_turn();
        for (key, ticket) in tickets.iter_mut().enumerate() {
            assert_eq!(schedule.next(now), Some((key, SHARES.fresh)));
            schedule.handle_worked(key, ticket, FULL, now);
        }
        assert_eq!(schedule.next(now), Some((0, SHARES.long)), "the second one comes behind all");
        schedule.handle_worked(0, &mut tickets[0], FULL, now);
        assert_eq!(schedule.next(now), None);
    }

    #[test]
    fn shares_are_long_while_nobody_quiet_is_there() {
        let now = start();
        let (mut schedule, mut tickets) = with_bulk(1, now);
        schedule.begin_turn();
        assert_eq!(schedule.next(now), Some((0, SHARES.long)));
        schedule.handle_worked(0, &mut tickets[0], SMALL, now);
        schedule.file(0, &mut tickets[0]);
        schedule.begin_turn();
        assert_eq!(schedule.next(now), Some((0, SHARES.long)), "a small piece makes nobody quiet");
        schedule.handle_worked(0, &mut tickets[0], FULL, now);
        let mut quiet = Ticket::new();
        schedule.file(9, &mut quiet);
        schedule.begin_turn();
        schedule.next(now);
        schedule.handle_worked(9, &mut quiet, SMALL, now);
        assert_eq!(schedule.next(now), Some((0, SHARES.short)));
        schedule.handle_worked(0, &mut tickets[0], FULL, now);
        schedule.begin_turn();
        assert_eq!(schedule.next(now + QUIET_SPAN), Some((0, SHARES.long)));
    }

    #[test]
    fn who_was_called_for_nothing_stays_bulky() {
        let now = start();
        let (mut schedule, mut tickets) = with_bulk(1, now);
        for _ in 0..=SMALL_STINTS {
            schedule.begin_turn();
            schedule.next(now);
            let stint = Stint { cost: 0, moved: 0, has_more: true };
            schedule.handle_worked(0, &mut tickets[0], stint, now);
        }
        let mut quiet = Ticket::new();
        schedule.file(9, &mut quiet);
        schedule.begin_turn();
        assert_eq!(schedule.next(now), Some((9, SHARES.fresh)), "the quiet one goes first");
    }

    #[test]
    fn a_crowd_of_fresh_ones_does_not_starve_who_is_bulky() {
        let now = start();
        let (mut schedule, _) = with_bulk(1, now);
        let mut tickets = vec![Ticket::new(); 2 * FRESH_MAX];
        for (key, ticket) in tickets.iter_mut().enumerate() {
            schedule.file(100 + key, ticket);
        }
        schedule.begin_turn();
        let turn: Vec<usize> =
            std::iter::from_fn(|| schedule.next(now)).map(|(key, _)| key).collect();
        assert_eq!((turn.len(), turn.last()), (FRESH_MAX + 1, Some(&0)));
    }

    #[test]
    fn a_thing_has_one_reminder_the_earliest_and_none_once_it_is_gone() {
        let now = start();
        let mut schedule = Schedule::new(SHARES, now);
        let mut ticket = Ticket::new();
        let at = |seconds| now + Duration::from_secs(seconds);
        for seconds in [9, 20, 5] {
            schedule.remind(1, &mut ticket, at(seconds), now);
        }
        assert_eq!((schedule.len(), ticket.remind_at()), ((0, 1), Some(at(5))));
        assert_eq!(schedule.next_due(at(6)), Some(1));
        schedule.handle_due(&mut ticket);
        schedule.remind(1, &mut ticket, at(9), at(6));
        schedule.forget(&mut ticket);
        assert_eq!((schedule.len(), schedule.wakes_at()), ((0, 0), None));
    }
}
