//! Whether an endpoint gets new clients: what they met there, what our checks did, and what an operator said. Who of
//! them is next is chosen in `mod.rs`.
//!
//! ```text
//!           failures in a row                    its time is over
//! in use -----------------------> ejected ------------------------> on trial
//!    ^                               ^------- refused, twice as long -----|
//!    +---------------------- a connect of our own stood ------------------+
//! ```
//!
//! [`Health`] is what all workers and the control plane share, in atomics that change only when something is
//! wrong; [`Ejection`] is the control plane's, who alone lets an endpoint back in. Invariant: who is ejected
//! comes back behind a connect of our own, never by a client's.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What an operator wants of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Health decides.
    Auto,
    /// In use, whatever health says.
    Up,
    /// Not in use.
    Down,
    /// Nobody new; who is there stays.
    Draining,
}

impl Wish {
    /// The word for it in requests and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It gets new clients.
    Up,
    /// Our checks fail, or an operator has said so.
    Down,
    /// Clients' connects have failed.
    Ejected,
    /// An operator wants nobody new there.
    Draining,
}

impl Standing {
    /// The word for it in answers and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

const WISH: u8 = 0b0011;
const EJECTED: u8 = 0b0100;
const FAILS_CHECKS: u8 = 0b1000;

/// What is known of an endpoint, by everybody.
#[derive(Debug, Default)]
pub struct Health {
    flags: AtomicU8,
    /// Connects of clients that failed in a row.
    failures: AtomicU32,
}

impl Health {
    /// Returns how it stands: what an operator wants goes before what our checks met, and that before what clients did.
    pub fn standing(&self) -> Standing {
        let flags = self.flags.load(Ordering::Relaxed);
        match wish(flags) {
            Wish::Up => Standing::Up,
            Wish::Down => Standing::Down,
            Wish::Draining => Standing::Draining,
            Wish::Auto if flags & FAILS_CHECKS != 0 => Standing::Down,
            Wish::Auto if flags & EJECTED != 0 => Standing::Ejected,
            Wish::Auto => Standing::Up,
        }
    }

    /// Whether it gets new clients.
    pub fn is_up(&self) -> bool {
        self.flags.load(Ordering::Relaxed) == 0 || self.standing() == Standing::Up
    }

    /// Whether it may be tried when none is up: unless an operator has said otherwise.
    pub fn may_be_tried(&self) -> bool {
        matches!(self.wish(), Wish::Auto | Wish::Up)
    }

    /// Returns what an operator wants.
    pub fn wish(&self) -> Wish {
        wish(self.flags.load(Ordering::Relaxed))
    }

    /// An operator wants something else.
    pub fn set_wish(&self, wish: Wish) {
        self.change(|flags| flags & !WISH | wish as u8);
    }

    /// A client's connect stood.
    pub fn handle_connected(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A client's connect failed; so many in a row, if any number, eject it. Says whether this one did.
    pub fn handle_failed(&self, failures_max: u32) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures_max > 0 && failures >= failures_max && self.change(|flags| flags | EJECTED)
    }

    /// It is let in again: a connect of our own stood, or nobody is ejected any more.
    /// Says whether it was out.
    pub fn readmit(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.change(|flags| flags & !EJECTED)
    }

    /// Our checks say that it does not work. Says whether they did not before.
    pub fn fail_checks(&self) -> bool {
        self.change(|flags| flags | FAILS_CHECKS)
    }

    /// Our checks say that it works, or nobody checks it any more. Says whether they failed before.
    pub fn pass_checks(&self) -> bool {
        self.change(|flags| flags & !FAILS_CHECKS)
    }

    /// Says whether that has changed anything.
    fn change(&self, new: impl Fn(u8) -> u8) -> bool {
        let changed = self.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
            let new = new(flags);
            (new != flags).then_some(new)
        });
        changed.is_ok()
    }
}

const fn wish(flags: u8) -> Wish {
    match flags & WISH {
        0 => Wish::Auto,
        1 => Wish::Up,
        2 => Wish::Down,
        _ => Wish::Draining,
    }
}

/// How long who is ejected stays out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionTerms {
    /// The first time.
    pub first: Duration,
    /// At most; each time in a row is twice as long.
    pub max: Duration,
}

/// An endpoint that was ejected, as the control plane follows it.
#[derive(Clone, Copy, Debug)]
pub struct Ejection {
    /// How long it is out this time.
    span: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Out {
        until: Instant,
    },
    /// It is back, since then.
    Back {
        since: Instant,
    },
}

impl Ejection {
    /// Begins when it is ejected for the first time.
    pub fn new(terms: EjectionTerms, now: Instant) -> Self {
        let span = terms.first.min(terms.max);
        Self { span, state: State::Out { until: now + span } }
    }

    /// It was ejected once more: for twice as long, unless it was in use for so long that the last time is
    /// forgotten.
    pub fn handle_ejected(&mut self, terms: EjectionTerms, now: Instant) {
        if let State::Back { since } = self.state {
            let is_forgotten = now.saturating_duration_since(since) >= terms.max;
            self.span = if is_forgotten { terms.first } else { 2 * self.span };
        }
        self.stay_out(terms, now);
    }

    /// A connect of our own, made behind [`trial_at`](Self::trial_at), stood or did not.
    pub fn handle_trial(&mut self, has_stood: bool, terms: EjectionTerms, now: Instant) {
        if has_stood {
            self.state = State::Back { since: now };
        } else {
            self.span *= 2;
            self.stay_out(terms, now);
        }
    }

    /// Returns when to try a connect of our own; `None` while it is back.
    pub const fn trial_at(&self) -> Option<Instant> {
        match self.state {
            State::Out { until } => Some(until),
            State::Back { .. } => None,
        }
    }

    fn stay_out(&mut self, terms: EjectionTerms, now: Instant) {
        self.span = self.span.min(terms.max);
        self.state = State::Out { until: now + self.span };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: EjectionTerms =
        EjectionTerms { first: Duration::from_secs(10), max: Duration::from_secs(120) };

    #[test]
    fn failures_in_a_row_eject_and_one_that_stands_between_them_does_not() {
        let health = Health::default();
        assert!(!health.handle_failed(2));
        health.handle_connected();
        assert!(!health.handle_failed(2));
        assert_eq!(health.standing(), Standing::Up);
        assert!(health.handle_failed(2), "the second in a row");
        assert_eq!((health.standing(), health.is_up()), (Standing::Ejected, false));
        assert!(!health.handle_failed(2), "it is out already");
        health.handle_connected();
        assert_eq!(health.standing(), Standing::Ejected, "a client lets nobody in");
        health.readmit();
        assert_eq!(health.standing(), Standing::Up);
        assert!(!health.handle_failed(2), "it begins anew");
    }

    #[test]
    fn without_a_number_of_failures_nobody_is_ejected() {
        let health = Health::default();
        assert!((0..100).all(|_| !health.handle_failed(0)));
        assert!(health.is_up());
    }

    #[test]
    fn an_operator_goes_before_what_clients_met() {
        let health = Health::default();
        health.handle_failed(1);
        for (wish, standing, may_be_tried) in [
            (Wish::Up, Standing::Up, true),
            (Wish::Draining, Standing::Draining, false),
            (Wish::Down, Standing::Down, false),
            (Wish::Auto, Standing::Ejected, true),
        ] {
            health.set_wish(wish);
            assert_eq!((health.wish(), health.standing()), (wish, standing));
            assert_eq!(health.may_be_tried(), may_be_tried, "{wish:?}");
        }
    }

    #[test]
    fn checks_go_before_what_clients_met_and_leave_it_as_it_is() {
        let health = Health::default();
        health.handle_failed(1);
        assert_eq!([health.fail_checks(), health.fail_checks()], [true, false]);
        assert_eq!((health.standing(), health.is_up()), (Standing::Down, false));
        assert!(health.may_be_tried(), "where nobody is up");
        health.set_wish(Wish::Up);
        assert_eq!(health.standing(), Standing::Up);
        health.set_wish(Wish::Auto);
        assert_eq!([health.pass_checks(), health.pass_checks()], [true, false]);
        assert_eq!(health.standing(), Standing::Ejected);
        health.readmit();
        assert_eq!(health.standing(), Standing::Up);
    }

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn who_flaps_stays_out_longer_each_time_and_who_settles_is_forgiven() {
        let begin = start();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut ejection = Ejection::new(TERMS, begin);
        assert_eq!(ejection.trial_at(), Some(at(10)));
        ejection.handle_trial(true, TERMS, at(10));
        assert_eq!(ejection.trial_at(), None);
        ejection.handle_ejected(TERMS, at(11));
        assert_eq!(ejection.trial_at(), Some(at(11 + 20)), "once more, soon");
        ejection.handle_trial(true, TERMS, at(31));
        ejection.handle_ejected(TERMS, at(31 + 120));
        assert_eq!(ejection.trial_at(), Some(at(151 + 10)), "it had settled");
    }

    #[test]
    fn trials_that_fail_become_rare() {
        let mut now = start();
        let mut ejection = Ejection::new(TERMS, now);
        let mut spans = Vec::new();
        for _ in 0..6 {
            let at = ejection.trial_at().expect("it is out");
            spans.push((at - now).as_secs());
            now = at;
            ejection.handle_trial(false, TERMS, now);
        }
        assert_eq!(spans, [10, 20, 40, 80, 120, 120]);
    }
}
