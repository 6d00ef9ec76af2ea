//! The pool of a world: a real upstream, with an operator, trials and reloads that come when the seed says so.
//!
//! It keeps an account of its own of who is up and who is where, and holds each choice against it. Draws of its own
//! decide, so that what else happens in a world does not depend on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::coverage::Quirk;
use super::oracle::hold;
use super::rng::Rng;
use crate::core::close_reason::CloseReason;
use crate::core::pool::balance::Balance;
use crate::core::pool::check::{CheckTerms, Checks};
use crate::core::pool::endpoint::{Endpoint, Member, Shared};
use crate::core::pool::health::Wish;
use crate::core::pool::ramp::WHOLE;
use crate::core::pool::{self, Tried, Unavailable, Upstream};

/// Who leaves a connect without an answer for so long gets nobody new.
const UNANSWERED_MAX: Duration = Duration::from_secs(1);
/// How rarely something happens to an endpoint, in picks and steps of sessions.
const FATE_TIMES: usize = 48;

/// The pool that the sessions of a world share.
#[derive(Debug)]
pub(super) struct Pool {
    upstream: Mutex<Upstream>,
    endpoints: Vec<Endpoint>,
    known: Mutex<Vec<Known>>,
    checks: Mutex<Vec<Checks>>,
    failures_max: u32,
    /// Nothing ever happens to its endpoints.
    is_calm: bool,
    rng: Mutex<Rng>,
    met: Mutex<Vec<Quirk>>,
}

/// What is known of an endpoint without asking the pool.
#[derive(Clone, Copy, Debug)]
struct Known {
    wish: Wish,
    /// Connects that failed in a row.
    failures: u32,
    is_out: bool,
    fails_checks: bool,
    /// Results of checks in a row that were alike, and which; none before the first.
    row: (u32, Option<bool>),
    /// A slow start, and how long it takes.
    ramp: Option<(Instant, Duration)>,
    /// Attempts without an answer, and since when: the first of them, or the last answer.
    waiting: usize,
    since: Instant,
    /// Connections and attempts.
    users: u64,
}

/// How many checks in a row bring an endpoint back, and take it out.
const CHECKS: CheckTerms = CheckTerms { rise: 2, fall: 3 };

impl Known {
    /// Takes the result of a check. The first decides, and then so many in a row.
    fn handle_checked(&mut self, has_passed: bool) {
        let is_first = self.row.1.is_none();
        let alike = if self.row.1 == Some(has_passed) { self.row.0 } else { 0 };
        self.row = (alike + 1, Some(has_passed));
        let needed = if has_passed { CHECKS.rise } else { CHECKS.fall };
        if is_first || self.row.0 >= needed {
            self.fails_checks = !has_passed;
        }
    }

    /// Returns how much of its weight counts.
    fn part(&self, now: Instant) -> u64 {
        let Some((began, span)) = self.ramp else { return WHOLE };
        let over = now.saturating_duration_since(began);
        if over >= span {
            return WHOLE;
        }
        let part = over.as_nanos() * u128::from(WHOLE) / span.as_nanos();
        u64::try_from(part).unwrap_or(WHOLE).max(1)
    }

    fn is_up(self, now: Instant) -> bool {
        let is_answering = self.waiting == 0 || now < self.since + UNANSWERED_MAX;
        let is_in = match self.wish {
            Wish::Auto => !self.is_out && !self.fails_checks,
            Wish::Up => true,
            Wish::Down | Wish::Draining => false,
        };
        is_in && is_answering
    }
}

impl Pool {
    pub(super) fn draw(mut rng: Rng, now: Instant) -> Self {
        let is_calm = rng.one_in(2);
        let count = if is_calm { 4 } else { rng.pick(&[1, 1, 2, 3, 4]) };
        let member = |at: usize, rng: &mut Rng| {
            let port = u16::try_from(at + 1).expect("there are few");
            if is_calm {
                return Member::at((Ipv4Addr::LOCALHOST, port).into());
            }
            let is_ipv4 = !rng.one_in(3);
            let ip = if is_ipv4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let plain = Member::at(SocketAddr::new(ip, port));
            let connections_max = if rng.one_in(4) { rng.between(1, 2) as u64 } else { 0 };
            Member {
                weight: rng.pick(&[1, 2, 5]),
                is_backup: rng.one_in(4),
                connections_max,
                ..plain
            }
        };
        let endpoints: Vec<_> =
            (0..count).map(|at| Endpoint::new(member(at, &mut rng), 1)).collect();
        let failures_max = if is_calm { 0 } else { rng.pick(&[0, 1, 1, 2]) };
        let pool = terms(&endpoints, failures_max, &mut rng);
        // What happened before this world did.
        let is_out = failures_max > 0 && rng.one_in(3);
        if is_out {
            endpoints.iter().for_each(|endpoint| assert!(endpoint.shared.health.handle_failed(1)));
        }
        let (failures, wish) = (u32::from(is_out), Wish::Auto);
        let known = Known {
            wish,
            failures,
            is_out,
            fails_checks: false,
            row: (0, None),
            ramp: None,
            waiting: 0,
            since: now,
            users: 0,
        };
        Self {
            upstream: Mutex::new(Upstream::new("web".to_owned(), pool, 0, now)),
            known: Mutex::new(vec![known; count]),
            checks: Mutex::new(vec![Checks::default(); count]),
            endpoints,
            failures_max,
            is_calm,
            rng: Mutex::new(rng),
            met: Mutex::default(),
        }
    }

    pub(super) fn attempts_max(&self) -> usize {
        lock(&self.upstream).attempts_max()
    }

    /// Returns what it has come across.
    pub(super) fn met(&self) -> Vec<Quirk> {
        std::mem::take(&mut lock(&self.met))
    }

    /// Something may happen to an endpoint.
    pub(super) fn meet_fate(&self, now: Instant) {
        let mut rng = lock(&self.rng);
        if self.is_calm || !rng.one_in(FATE_TIMES) {
            return;
        }
        let at = rng.below(self.endpoints.len());
        let Shared { health, ramp, .. } = &*self.endpoints[at].shared;
        let mut known = lock(&self.known);
        let known = &mut known[at];
        match rng.below(5) {
            0 => {
                let wish =
                    rng.pick(&[Wish::Auto, Wish::Auto, Wish::Up, Wish::Down, Wish::Draining]);
                health.set_wish(wish);
                known.wish = wish;
                lock(&self.met).push(Quirk::OperatorSets);
            }
            1 if known.is_out => {
                health.readmit();
                (known.is_out, known.failures) = (false, 0);
                lock(&self.met).push(Quirk::TrialStands);
            }
            2 => {
                let has_passed = rng.one_in(2);
                let (before, results) = (known.fails_checks, rng.between(1, 4));
                for _ in 0..results {
                    known.handle_checked(has_passed);
                    match lock(&self.checks)[at].handle_result(has_passed, CHECKS) {
                        Some(true) => _ = health.pass_checks(),
                        Some(false) => _ = health.fail_checks(),
                        None => {}
                    }
                }
                if known.fails_checks && !before {
                    lock(&self.met).push(Quirk::CheckFails);
                }
            }
            3 => {
                let span = Duration::from_millis(rng.between(0, 3_000) as u64);
                ramp.begin(span, now);
                known.ramp = Some((now, span));
                lock(&self.met).push(Quirk::SlowStart);
            }
            _ => {
                let pool = terms(&self.endpoints, self.failures_max, &mut rng);
                let reloaded = lock(&self.upstream).reloaded(pool);
                *lock(&self.upstream) = reloaded;
            }
        }
    }

    /// Takes an endpoint for a client, or says why there is none.
    pub(super) fn pick(&self, tried: &mut Tried, now: Instant) -> Result<usize, CloseReason> {
        let before = *tried;
        let (client, from) = self.draw_client();
        let picked = lock(&self.upstream).pick(tried, Some(client), from, now);
        let known = lock(&self.known);
        let is_up = |at: usize| known[at].is_up(now);
        let has_room = |at: usize| {
            let max = self.endpoints[at].member.connections_max;
            max == 0 || known[at].users < max
        };
        let is_reached = |at: usize| {
            let addr = self.endpoints[at].member.addr.inet().expect("each has an address");
            from.is_none_or(|from| from.is_ipv4() == addr.is_ipv4())
        };
        let is_left =
            |at: usize| is_up(at) && is_reached(at) && has_room(at) && !before.contains(at);
        let all = || 0..known.len();
        if !all().all(is_reached) {
            lock(&self.met).push(Quirk::OtherFamily);
        }
        let at = match picked {
            Ok(at) => at,
            Err(why) => {
                hold!(Choice, !all().any(is_left), "nobody is chosen, and somebody is left");
                let is_of_use = |at: usize| is_up(at) && is_reached(at);
                let may_be_tried = |at: usize| {
                    let by_operator = matches!(known[at].wish, Wish::Down | Wish::Draining);
                    !by_operator && is_reached(at) && has_room(at) && !before.contains(at)
                };
                hold!(
                    Choice,
                    all().any(is_of_use) || !all().any(may_be_tried),
                    "nobody is chosen, nobody is up, and somebody may be tried"
                );
                return Err(match why {
                    Unavailable::None => CloseReason::NoEndpoint,
                    Unavailable::Full => CloseReason::EndpointsFull,
                });
            }
        };
        let by_operator = matches!(known[at].wish, Wish::Down | Wish::Draining);
        hold!(Choice, !before.contains(at), "{at} is tried twice");
        hold!(Choice, has_room(at), "{at} is full");
        hold!(Choice, is_reached(at), "{at} is chosen, nobody gets there from {from:?}");
        hold!(Choice, !by_operator, "{at} is chosen, an operator took it out");
        hold!(
            Choice,
            is_up(at) || !all().any(|other| is_up(other) && is_reached(other)),
            "{at} is chosen, it is down and another is up"
        );
        for (at, known) in known.iter().enumerate() {
            let (part, due) = (self.endpoints[at].shared.ramp.part(now), known.part(now));
            hold!(Choice, part == due, "{part} parts of {at} count, and {due} should");
        }
        let is_backup = |at: usize| self.endpoints[at].member.is_backup;
        let is_owner_left = all().any(|at| is_left(at) && !is_backup(at));
        hold!(Choice, !(is_up(at) && is_backup(at) && is_owner_left), "{at} is a backup");
        if !is_up(at) {
            lock(&self.met).push(Quirk::NobodyUp);
        }
        drop(known);
        self.change(at, |known| {
            if known.waiting == 0 {
                known.since = now;
            }
            (known.waiting, known.users) = (known.waiting + 1, known.users + 1);
        });
        Ok(at)
    }

    /// Returns a client, and what his connection comes from where that is himself.
    fn draw_client(&self) -> (IpAddr, Option<IpAddr>) {
        let mut rng = lock(&self.rng);
        let last = u8::try_from(rng.below(250)).expect("it is below 250");
        let ipv4 = Ipv4Addr::new(10, 0, 0, last);
        if self.is_calm || !rng.one_in(2) {
            return (ipv4.into(), None);
        }
        let client = if rng.one_in(2) { ipv4.into() } else { ipv4.to_ipv6_compatible().into() };
        (client, Some(client))
    }

    /// An attempt stands.
    pub(super) fn handle_connected(&self, at: usize, now: Instant) {
        lock(&self.upstream).handle_connected(at, now);
        self.change(at, |known| {
            (known.waiting, known.since, known.failures) = (known.waiting - 1, now, 0);
        });
    }

    /// An attempt has failed.
    pub(super) fn handle_failed(&self, at: usize) {
        let has_ejected = lock(&self.upstream).handle_failed(at);
        let failures_max = self.failures_max;
        let mut was_due = false;
        self.change(at, |known| {
            (known.waiting, known.users) = (known.waiting - 1, known.users - 1);
            known.failures += 1;
            was_due = failures_max > 0 && known.failures >= failures_max && !known.is_out;
            known.is_out |= was_due;
        });
        hold!(Choice, has_ejected == was_due, "{at} is ejected: {has_ejected}, due: {was_due}");
        if has_ejected {
            lock(&self.met).push(Quirk::EndpointEjected);
        }
    }

    /// An attempt is not awaited any more.
    pub(super) fn handle_cancelled(&self, at: usize) {
        lock(&self.upstream).handle_cancelled(at);
        self.change(at, |known| {
            (known.waiting, known.users) = (known.waiting - 1, known.users - 1);
        });
    }

    /// A connection is gone.
    pub(super) fn handle_closed(&self, at: usize) {
        lock(&self.upstream).handle_closed(at);
        self.change(at, |known| known.users -= 1);
    }

    /// Everybody has gone.
    pub(super) fn check_end(&self) {
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            let active = endpoint.shared.active();
            hold!(Counts, active == 0, "{active} are counted at {at}, and everybody has gone");
        }
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Known)) {
        let mut known = lock(&self.known);
        let known = &mut known[at];
        change(known);
        let active = self.endpoints[at].shared.active();
        hold!(Counts, active == known.users, "{active} are counted at {at}: {}", known.users);
    }
}

/// A rule that is broken ends the world, and what it has locked with it.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn terms(endpoints: &[Endpoint], failures_max: u32, rng: &mut Rng) -> pool::Pool {
    let balance = match rng.below(5) {
        0 => Balance::RoundRobin,
        1 => Balance::LeastConnections,
        2 => Balance::RandomOfTwo,
        // The table takes long to make.
        3 if rng.one_in(16) => Balance::source_hash("web", endpoints),
        _ => Balance::First,
    };
    pool::Pool { endpoints: endpoints.to_vec(), attempts_max: 3, failures_max, balance }
}
