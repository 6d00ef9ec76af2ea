//! The pools, as the control plane knows them: what is known of each endpoint, by its upstream's name and its address,
//! through reloads and over all workers.
//!
//! Invariant: there is one [`Shared`] for an endpoint as long as a worker or a configuration has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::names::Member;
use super::reach::{Attempt, Unreached};
use super::requests::{Answer, EndpointChange, EndpointSet, Refusal, Why};
use crate::config::{self, Check, Config, OnDown, Protocol, Timeouts};
use crate::core::addr::Addr;
use crate::core::check_result::CheckResult;
use crate::core::pool::Pool;
use crate::core::pool::balance::Balance;
use crate::core::pool::check::{CheckTerms, Checks};
use crate::core::pool::endpoint::{self, Endpoint, Shared};
use crate::core::pool::health::{Ejection, EjectionTerms, Standing, Wish};
use crate::telemetry::cells::CheckCells;

/// An endpoint's name: its upstream's, and its address.
pub(super) type Name = (String, Addr);

/// Endpoints that are remembered though they are nobody's now, because an operator has set them.
const AWAY_MAX: usize = 1024;

/// What is known of all endpoints. Workers have their part of it and never come here: the lock is the control plane's.
#[derive(Debug)]
pub(super) struct Pools {
    workers: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<Name, Entry>,
    /// How upstreams chose last, which takes long to make of a hash, and over whom.
    balances: BTreeMap<String, (Vec<endpoint::Member>, Balance)>,
}

/// What is known of an endpoint.
#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    /// Whether it stands in the configuration; others are held by connections, or by what an operator set.
    is_followed: bool,
    /// What it weighs by the configuration, and by an operator.
    weight: u32,
    weight_set: Option<u32>,
    is_backup: bool,
    /// The name or file that it came from, if it is not written in the configuration.
    from: Option<Arc<str>>,
    terms: EjectionTerms,
    trial: TrialTerms,
    /// How long it takes until all of its weight counts when it is back.
    slow_start: Duration,
    on_down: OnDown,
    /// Since it was ejected first.
    ejection: Option<Ejection>,
    is_on_trial: bool,
    /// Why it was ejected.
    why: Option<String>,
    /// While it is checked.
    checked: Option<CheckedEntry>,
    /// When it came to stand as it does.
    since: SystemTime,
}

/// How an endpoint is tried: as a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrialTerms {
    /// What it comes from, if that is given.
    pub(super) from: Option<IpAddr>,
    pub(super) attempt: Attempt,
}

/// What is known of an endpoint by its checks.
#[derive(Debug)]
struct CheckedEntry {
    checks: Checks,
    terms: CheckTerms,
    /// Why it is down.
    why: Option<String>,
    /// How long the last check took that passed.
    latency: Option<Duration>,
    cells: Arc<CheckCells>,
}

/// An endpoint that our checks found to be up, or down, as it was not before.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) change: EndpointChange,
    /// Whether its connections are to be reset.
    pub(super) is_reset: bool,
}

/// What is shown of an endpoint.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) standing: Standing,
    pub(super) weight: u32,
    pub(super) is_backup: bool,
    pub(super) from: Option<Arc<str>>,
    /// Whether an operator has set its state or its weight.
    pub(super) is_set: bool,
    /// Why it is not up.
    pub(super) why: Option<String>,
    pub(super) since: SystemTime,
    /// How long the last check took that passed.
    pub(super) check_latency: Option<Duration>,
}

impl Pools {
    /// Begins for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, known: Mutex::default() }
    }

    /// Returns what the upstreams of a configuration, with these members, are to be.
    pub(super) fn follow(&self, config: &Config, members: &[Vec<Member>]) -> Vec<Pool> {
        let mut known = self.known();
        known.entries.values_mut().for_each(|entry| entry.is_followed = false);
        let attempt = |upstream: usize| {
            if config.takes_datagrams_alone(upstream) {
                return Attempt::Datagram;
            }
            let users = config.users(upstream).filter(|it| it.protocol == Protocol::Tcp);
            let longest = users.map(|listener| listener.timeouts.connect).max();
            Attempt::Connect(longest.unwrap_or(Timeouts::default().connect))
        };
        let pools = config.upstreams.iter().zip(members).enumerate();
        let pools = pools
            .map(|(at, (upstream, members))| self.pool(&mut known, upstream, members, attempt(at)));
        let pools = pools.collect();
        let is_upstream = |name: &str| config.upstreams.iter().any(|it| it.name == name);
        known.balances.retain(|name, _| is_upstream(name));
        let mut away = 0;
        known.entries.retain(|(upstream, _), entry| {
            // A name may lose an address and have it again, and what an operator set holds.
            let is_away = entry.is_set() && is_upstream(upstream) && away < AWAY_MAX;
            let is_held = entry.is_followed || Arc::strong_count(&entry.shared) > 1;
            away += usize::from(is_away && !is_held);
            is_held || is_away
        });
        pools
    }

    fn pool(
        &self,
        known: &mut Known,
        upstream: &config::Upstream,
        members: &[Member],
        attempt: Attempt,
    ) -> Pool {
        let Known { entries, balances } = known;
        let endpoint = |member: &Member| {
            let entry = entries.entry((upstream.name.clone(), member.addr()));
            let entry = entry.or_insert_with(|| Entry::new(self.workers));
            entry.follow(member, upstream, attempt);
            let member = endpoint::Member { weight: entry.weight_now(), ..member.member };
            Endpoint { member, shared: Arc::clone(&entry.shared) }
        };
        let endpoints: Vec<_> = members.iter().map(endpoint).collect();
        let last = balances.get(&upstream.name);
        let members = || endpoints.iter().map(|endpoint| endpoint.member);
        let balance = match upstream.balance {
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::LeastConnections => Balance::LeastConnections,
            config::Balance::RandomOfTwo => Balance::RandomOfTwo,
            config::Balance::SourceHash => match last {
                Some((over, balance @ Balance::SourceHash(_)))
                    if members().eq(over.iter().copied()) =>
                {
                    balance.clone()
                }
                Some(_) | None => Balance::source_hash(&upstream.name, &endpoints),
            },
            config::Balance::First => Balance::First,
        };
        balances.insert(upstream.name.clone(), (members().collect(), balance.clone()));
        Pool {
            endpoints,
            attempts_max: 1 + upstream.retries,
            failures_max: upstream.passive.failures,
            balance,
        }
    }

    /// An endpoint has been ejected by a worker.
    pub(super) fn handle_ejected(
        &self,
        name: Name,
        why: String,
        now: Instant,
    ) -> Option<EndpointChange> {
        let mut known = self.known();
        let entry = known.entries.get_mut(&name)?;
        let terms = entry.terms;
        let ejection = entry.ejection.get_or_insert_with(|| Ejection::new(terms, now));
        if ejection.trial_at().is_none() {
            ejection.handle_ejected(terms, now);
        }
        let span = ejection.trial_at().map(|at| at.saturating_duration_since(now));
        let (upstream, endpoint) = &name;
        let span = humantime::format_duration(span.unwrap_or(Duration::ZERO));
        tracing::warn!(upstream, %endpoint, why, "endpoint ejected, for {span} at least");
        (entry.why, entry.since) = (Some(why), SystemTime::now());
        Some(entry.change(name))
    }

    /// Has an endpoint as an operator wants it, until he says `auto`. What it weighs is followed with the next plan.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub(super) fn set(&self, set: EndpointSet) -> Answer<EndpointChange> {
        let EndpointSet { upstream, addr, wish, weight } = set;
        let entries = &mut self.known().entries;
        let mut followed = entries.iter().filter(|(_, entry)| entry.is_followed);
        let has_upstream = followed.any(|((name, _), _)| *name == upstream);
        let name = (upstream, addr);
        let entry = entries.get_mut(&name).filter(|entry| entry.is_followed).ok_or_else(|| {
            Refusal::new(
                Why::Unknown,
                match has_upstream {
                    true => "the upstream has no endpoint at this address",
                    false => "there is no upstream of this name",
                },
            )
        })?;
        let before = entry.shared.health.standing();
        if let Some(wish) = wish {
            entry.shared.health.set_wish(wish);
        }
        if weight.is_some() || wish == Some(Wish::Auto) {
            entry.weight_set = weight;
        }
        if entry.shared.health.standing() != before {
            entry.since = SystemTime::now();
        }
        let state = wish.map(Wish::name);
        tracing::info!(upstream = name.0, endpoint = %addr, state, weight, "endpoint set");
        Ok(entry.change(name))
    }

    /// Returns when the next endpoint is to be tried.
    pub(super) fn trial_at(&self) -> Option<Instant> {
        self.known().entries.values().filter_map(Entry::trial_at).min()
    }

    /// Takes those that are to be tried now, so many at most, each with how that is done.
    pub(super) fn take_due(&self, count_max: usize, now: Instant) -> Vec<(Name, TrialTerms)> {
        let entries = &mut self.known().entries;
        let is_due = |entry: &Entry| entry.trial_at().is_some_and(|at| at <= now);
        let due = entries.iter_mut().filter(|(_, entry)| is_due(entry)).take(count_max);
        let take = |(name, entry): (&Name, &mut Entry)| {
            entry.is_on_trial = true;
            (name.clone(), entry.trial)
        };
        due.map(take).collect()
    }

    /// A trial has come to an end: it stood, or why it did not.
    pub(super) fn handle_trial(
        &self,
        name: Name,
        outcome: Result<(), String>,
        now: Instant,
    ) -> Option<EndpointChange> {
        let mut known = self.known();
        let entry = known.entries.get_mut(&name)?;
        entry.is_on_trial = false;
        let (upstream, endpoint) = &name;
        let terms = entry.terms;
        entry.ejection.as_mut()?.handle_trial(outcome.is_ok(), terms, now);
        if let Err(why) = outcome {
            tracing::debug!(upstream, %endpoint, why, "endpoint stays out");
            return None;
        }
        tracing::info!(upstream, %endpoint, "endpoint up: a connect of ours stood");
        (entry.why, entry.since) = (None, SystemTime::now());
        entry.shared.health.readmit();
        entry.begin_slowly(now);
        Some(entry.change(name))
    }

    /// A check has come to an end, after so long, or why it failed. Returns what has become of the endpoint, if that is something else.
    pub(super) fn handle_checked(
        &self,
        name: &Name,
        outcome: Result<Duration, Unreached>,
        now: Instant,
    ) -> Option<Checked> {
        let mut known = self.known();
        let entry = known.entries.get_mut(name)?;
        // It may have begun when it was checked still.
        let checked = entry.checked.as_mut()?;
        let result =
            outcome.as_ref().map_or_else(|unreached| unreached.result, |_| CheckResult::Ok);
        checked.cells.count(result);
        checked.latency = outcome.as_ref().ok().copied().or(checked.latency);
        checked.checks.handle_result(outcome.is_ok(), checked.terms)?;
        let health = &entry.shared.health;
        let (upstream, endpoint) = name;
        let is_down = outcome.is_err();
        checked.why = outcome.err().map(|unreached| unreached.why);
        if is_down {
            // First: who reads the line finds it so.
            health.fail_checks();
            let why = checked.why.as_deref();
            tracing::warn!(upstream, %endpoint, why, "endpoint down: our checks fail");
        } else if health.pass_checks() {
            tracing::info!(upstream, %endpoint, "endpoint up: our checks pass");
            entry.begin_slowly(now);
        } else {
            // It was taken for up.
            return None;
        }
        entry.since = SystemTime::now();
        // Who an operator wants up is up, and keeps whom he has.
        let is_reset = is_down && entry.on_down == OnDown::Reset && health.wish() != Wish::Up;
        Some(Checked { change: entry.change(name.clone()), is_reset })
    }

    /// Returns where the checks of each endpoint are counted that is checked.
    pub(super) fn check_cells(&self) -> Vec<(Name, Arc<CheckCells>)> {
        let known = self.known();
        let cells = known.entries.iter().filter(|(_, entry)| entry.is_followed);
        let cells = cells.filter_map(|(name, entry)| {
            Some((name.clone(), Arc::clone(&entry.checked.as_ref()?.cells)))
        });
        cells.collect()
    }

    /// Returns what is shown of an endpoint.
    pub(super) fn look(&self, name: &Name) -> Option<Shown> {
        self.known().entries.get(name).map(Entry::shown)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckedEntry {
    fn new(terms: CheckTerms) -> Self {
        let (checks, cells) = (Checks::default(), Arc::default());
        Self { checks, terms, why: None, latency: None, cells }
    }
}

impl Entry {
    fn new(workers: usize) -> Self {
        Self {
            shared: Arc::new(Shared::new(workers)),
            is_followed: false,
            weight: 0,
            weight_set: None,
            is_backup: false,
            from: None,
            terms: EjectionTerms { first: Duration::ZERO, max: Duration::ZERO },
            trial: TrialTerms { from: None, attempt: Attempt::Datagram },
            slow_start: Duration::ZERO,
            on_down: OnDown::Keep,
            ejection: None,
            is_on_trial: false,
            why: None,
            checked: None,
            since: SystemTime::now(),
        }
    }

    /// It stands in the configuration.
    fn follow(&mut self, member: &Member, upstream: &config::Upstream, attempt: Attempt) {
        let config::Passive { failures, eject, max } = upstream.passive;
        let config::Health { check, slow_start, on_down } = &upstream.health;
        let endpoint::Member { weight, is_backup, .. } = member.member;
        self.is_followed = true;
        (self.weight, self.is_backup, self.from) = (weight, is_backup, member.from.clone());
        self.terms = EjectionTerms { first: eject, max };
        if failures == 0 && self.shared.health.readmit() {
            (self.ejection, self.why, self.since) = (None, None, SystemTime::now());
        }
        self.trial = TrialTerms { from: upstream.source.of_ours(), attempt };
        (self.slow_start, self.on_down) = (*slow_start, *on_down);
        match check {
            Check::Off => {
                self.checked = None;
                if self.shared.health.pass_checks() {
                    self.since = SystemTime::now();
                }
            }
            Check::On(policy) => {
                let terms = CheckTerms { rise: policy.rise, fall: policy.fall };
                self.checked.get_or_insert_with(|| CheckedEntry::new(terms)).terms = terms;
            }
        }
    }

    /// It is back: of its weight ever more counts, if that is wanted.
    fn begin_slowly(&self, now: Instant) {
        if !self.slow_start.is_zero() {
            self.shared.ramp.begin(self.slow_start, now);
        }
    }

    /// Whether an operator has set its state or its weight.
    fn is_set(&self) -> bool {
        self.shared.health.wish() != Wish::Auto || self.weight_set.is_some()
    }

    fn weight_now(&self) -> u32 {
        self.weight_set.unwrap_or(self.weight)
    }

    fn trial_at(&self) -> Option<Instant> {
        let ejection = self.ejection.filter(|_| self.is_followed && !self.is_on_trial)?;
        ejection.trial_at()
    }

    fn shown(&self) -> Shown {
        let health = &self.shared.health;
        let checked = self.checked.as_ref();
        let why = match (health.standing(), health.wish()) {
            (Standing::Up, _) => None,
            (Standing::Ejected, _) => self.why.clone(),
            (Standing::Down, Wish::Auto) => checked.and_then(|checked| checked.why.clone()),
            (Standing::Down | Standing::Draining, _) => Some("an operator has said so".to_owned()),
        };
        Shown {
            standing: health.standing(),
            weight: self.weight_now(),
            is_backup: self.is_backup,
            from: self.from.clone(),
            is_set: self.is_set(),
            why,
            since: self.since,
            check_latency: checked.and_then(|checked| checked.latency),
        }
    }

    fn change(&self, (upstream, address): Name) -> EndpointChange {
        let Shown { standing, weight, is_set, why, .. } = self.shown();
        EndpointChange { upstream, address, state: standing.name(), is_set, weight, why }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{Host, from_bytes};
    use crate::core::pool::ramp::WHOLE;

    const SECOND: Duration = Duration::from_secs(1);
    const TRIAL: TrialTerms =
        TrialTerms { from: None, attempt: Attempt::Connect(Duration::from_secs(7)) };

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    /// A configuration whose upstream `web` has these lines.
    fn config(lines: &str) -> Config {
        let text = format!(
            "config_version = 1\n[[listener]]\nname = 'a'\nbind = ['127.0.0.1:1']\nupstream = 'web'\n\
             timeouts.connect = '7s'\n[upstream.web]\nendpoints = ['10.0.0.1:80']\n{lines}\n"
        );
        let loaded = from_bytes("f".into(), text.as_bytes(), Host::default());
        loaded.unwrap_or_else(|report| panic!("{}", report.summary())).config
    }

    fn addr(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    fn name(last: u8) -> Name {
        ("web".to_owned(), addr(last).into())
    }

    /// Members at these addresses, as of one upstream.
    fn members(lasts: &[u8]) -> Vec<Vec<Member>> {
        let member = |last: &u8| Member { member: endpoint::Member::at(addr(*last)), from: None };
        vec![lasts.iter().map(member).collect()]
    }

    fn followed(lines: &str, lasts: &[u8]) -> (Pools, Vec<Pool>) {
        let pools = Pools::new(1);
        let followed = pools.follow(&config(lines), &members(lasts));
        (pools, followed)
    }

    fn set(wish: Option<Wish>, weight: Option<u32>) -> EndpointSet {
        EndpointSet { upstream: "web".to_owned(), addr: addr(1).into(), wish, weight }
    }

    fn standing(pools: &Pools, last: u8) -> (&'static str, bool, Option<String>) {
        let shown = pools.look(&name(last)).expect("it is known");
        (shown.standing.name(), shown.is_set, shown.why)
    }

    fn outcome(result: CheckResult, why: &str) -> Result<Duration, Unreached> {
        if result == CheckResult::Ok {
            return Ok(Duration::from_millis(3));
        }
        Err(Unreached { result, why: why.to_owned() })
    }

    #[test]
    fn one_that_is_ejected_is_tried_when_its_time_is_over_and_back_when_that_stood() {
        let (pools, followed) = followed("", &[1, 2]);
        let (health, begin) = (&followed[0].endpoints[0].shared.health, start());
        health.handle_failed(1);
        let change = pools.handle_ejected(name(1), "refused".to_owned(), begin).unwrap();
        assert_eq!((change.state, change.why.as_deref()), ("ejected", Some("refused")));
        assert_eq!(pools.trial_at(), Some(begin + 10 * SECOND));
        assert_eq!(pools.take_due(9, begin + 9 * SECOND), []);
        let due = begin + 10 * SECOND;
        assert_eq!(pools.take_due(9, due), [(name(1), TRIAL)], "as long as a client waits");
        assert_eq!((pools.trial_at(), pools.take_due(9, due)), (None, Vec::new()), "once");
        assert!(pools.handle_trial(name(1), Err("refused".to_owned()), due).is_none());
        assert_eq!(pools.trial_at(), Some(due + 20 * SECOND));
        pools.take_due(9, due + 20 * SECOND);
        let change = pools.handle_trial(name(1), Ok(()), due + 20 * SECOND).unwrap();
        assert_eq!((change.state, change.why), ("up", None));
        assert!(health.is_up());
        assert_eq!(pools.trial_at(), None);
    }

    #[test]
    fn no_more_are_tried_than_there_is_room_for_and_nobody_who_is_not_followed() {
        let (pools, held) = followed("source = '10.0.0.9'", &[1, 2, 3]);
        let begin = start();
        for last in 1..=3 {
            pools.handle_ejected(name(last), String::new(), begin);
        }
        let due = begin + 10 * SECOND;
        assert_eq!(pools.take_due(2, due).len(), 2);
        assert_eq!(
            pools.take_due(2, due),
            [(name(3), TrialTerms { from: Some([10, 0, 0, 9].into()), ..TRIAL })]
        );
        pools.follow(&config(""), &members(&[1]));
        pools.handle_trial(name(2), Err(String::new()), due);
        assert_eq!(pools.trial_at(), None, "connections hold it, and nobody else");
        drop(held);
        pools.follow(&config(""), &members(&[1]));
        assert!(pools.look(&name(2)).is_none());
    }

    #[test]
    fn where_nobody_is_ejected_any_more_who_was_is_back() {
        let (pools, followed) = followed("", &[1]);
        followed[0].endpoints[0].shared.health.handle_failed(1);
        pools.handle_ejected(name(1), "refused".to_owned(), start());
        let again = pools.follow(&config("passive.failures = 0"), &members(&[1]));
        assert!(Arc::ptr_eq(&followed[0].endpoints[0].shared, &again[0].endpoints[0].shared));
        assert_eq!(standing(&pools, 1), ("up", false, None));
        assert_eq!(pools.trial_at(), None);
    }

    #[test]
    fn an_operator_says_what_is_there_and_takes_it_back() {
        let (pools, _held) = followed("", &[1]);
        let change = pools.set(set(Some(Wish::Draining), Some(9))).unwrap();
        assert_eq!((change.state, change.is_set, change.weight), ("draining", true, 9));
        let weight =
            |pools: &Pools| pools.follow(&config(""), &members(&[1]))[0].endpoints[0].member.weight;
        assert_eq!(weight(&pools), 9);
        let change = pools.set(set(Some(Wish::Auto), None)).unwrap();
        assert_eq!((change.state, change.is_set, change.weight), ("up", false, 1));
        assert_eq!(weight(&pools), 1);
        for (upstream, last) in [("web", 2), ("west", 1)] {
            let there = EndpointSet {
                upstream: upstream.to_owned(),
                addr: addr(last).into(),
                ..set(Some(Wish::Down), None)
            };
            assert_eq!(pools.set(there).unwrap_err().why, Why::Unknown);
        }
    }

    #[test]
    fn what_an_operator_set_holds_while_a_name_has_lost_the_address() {
        let (pools, _) = followed("", &[1, 2]);
        pools.set(set(Some(Wish::Down), None)).unwrap();
        pools.follow(&config(""), &members(&[2]));
        assert!(pools.set(set(Some(Wish::Up), None)).is_err(), "it is nobody's now");
        pools.follow(&config(""), &members(&[1, 2]));
        let why = Some("an operator has said so".to_owned());
        assert_eq!(standing(&pools, 1), ("down", true, why));
        // Of an upstream that is gone nothing is remembered.
        let mut other = config("");
        other.upstreams[0].name = "west".to_owned();
        pools.follow(&other, &members(&[1]));
        pools.follow(&config(""), &members(&[1]));
        assert_eq!(standing(&pools, 1), ("up", false, None));
    }

    #[test]
    fn those_that_are_remembered_for_an_operator_are_bounded() {
        let pools = Pools::new(1);
        let config = config("");
        for last in 0..=u16::try_from(AWAY_MAX).unwrap() {
            let [high, low] = last.to_be_bytes();
            let addr = SocketAddr::from(([10, 1, high, low], 80));
            let member = Member { member: endpoint::Member::at(addr), from: None };
            pools.follow(&config, &[vec![member]]);
            pools.set(EndpointSet { addr: addr.into(), ..set(Some(Wish::Down), None) }).unwrap();
        }
        pools.follow(&config, &members(&[1]));
        assert_eq!(pools.known().entries.len(), 1 + AWAY_MAX);
    }

    #[test]
    fn the_table_of_a_hash_is_made_anew_only_for_others() {
        let table = |pools: &[Pool]| {
            let Balance::SourceHash(table) = &pools[0].balance else { panic!("it is a hash") };
            Arc::clone(table)
        };
        let lines = "balance = 'source_hash'";
        let (pools, first) = followed(lines, &[1, 2]);
        let again = pools.follow(&config(&format!("{lines}\nretries = 0")), &members(&[1, 2]));
        assert!(Arc::ptr_eq(&table(&first), &table(&again)));
        let turned = pools.follow(&config(lines), &members(&[2, 1]));
        assert!(!Arc::ptr_eq(&table(&first), &table(&turned)), "places are those of the order");
        pools.set(set(None, Some(5))).unwrap();
        let weighed = pools.follow(&config(lines), &members(&[2, 1]));
        assert!(!Arc::ptr_eq(&table(&turned), &table(&weighed)));
    }

    #[test]
    fn checks_say_once_that_one_is_down_or_up_and_why() {
        let lines = "health = { check = 'tcp', rise = 2, fall = 2, on_down = 'reset' }";
        let (pools, followed) = followed(lines, &[1]);
        let now = start();
        let shared = &followed[0].endpoints[0].shared;
        let check = |result, why: &str| pools.handle_checked(&name(1), outcome(result, why), now);
        assert!(check(CheckResult::Ok, "").is_none(), "it was taken for up");
        let latency = pools.look(&name(1)).unwrap().check_latency;
        assert_eq!(latency, Some(Duration::from_millis(3)));
        assert!(check(CheckResult::Refused, "refused").is_none());
        let Checked { change, is_reset } = check(CheckResult::Timeout, "late").unwrap();
        assert_eq!((change.state, change.why.as_deref(), is_reset), ("down", Some("late"), true));
        assert!(!shared.health.is_up());
        assert_eq!(standing(&pools, 1), ("down", false, Some("late".to_owned())));
        assert!(check(CheckResult::Refused, "refused").is_none(), "it is told once");
        assert!(check(CheckResult::Ok, "").is_none());
        let Checked { change, is_reset } = check(CheckResult::Ok, "").unwrap();
        assert_eq!((change.state, change.why, is_reset), ("up", None, false));
        assert!(shared.health.is_up());
        let cells = pools.check_cells();
        let counts: Vec<_> = cells.iter().map(|(name, cells)| (name, cells.counts())).collect();
        assert_eq!(counts, [(&name(1), [3, 2, 1, 0, 0, 0, 0])]);
        // Who an operator wants up keeps whom he has.
        pools.set(set(Some(Wish::Up), None)).unwrap();
        check(CheckResult::Refused, "refused");
        let Checked { change, is_reset } = check(CheckResult::Refused, "refused").unwrap();
        assert_eq!((change.state, is_reset), ("up", false));
    }

    #[test]
    fn a_reload_forgets_no_check_and_one_without_checks_all_of_them() {
        let lines = "health = { check = 'tcp', rise = 1, fall = 1 }";
        let (pools, _) = followed(lines, &[1]);
        let fail = || {
            let failed = outcome(CheckResult::Refused, "refused");
            pools.handle_checked(&name(1), failed, start()).is_some()
        };
        assert!(fail(), "the first decides");
        pools.follow(&config(&lines.replace("fall = 1", "fall = 9")), &members(&[1]));
        assert_eq!(standing(&pools, 1).0, "down");
        pools.follow(&config(""), &members(&[1]));
        assert_eq!(standing(&pools, 1), ("up", false, None));
        assert!(!fail(), "one that was on its way");
        assert_eq!(pools.check_cells().len(), 0);
    }

    #[test]
    fn one_that_is_back_starts_slowly_whoever_brings_it_back() {
        let lines = "health = { check = 'tcp', rise = 1, fall = 1, slow_start = '10s' }";
        let (pools, followed) = followed(lines, &[1]);
        let (shared, begin) = (&followed[0].endpoints[0].shared, start());
        let part = |seconds: u32| shared.ramp.part(begin + seconds * SECOND);
        let check = |result, seconds: u32| {
            pools.handle_checked(&name(1), outcome(result, ""), begin + seconds * SECOND)
        };
        check(CheckResult::Ok, 0);
        assert_eq!(part(0), WHOLE, "not at a start");
        check(CheckResult::Refused, 1);
        check(CheckResult::Ok, 2);
        assert_eq!([part(2), part(7), part(12)], [1, WHOLE / 2, WHOLE]);
        pools.handle_ejected(name(1), String::new(), begin + 20 * SECOND);
        pools.handle_trial(name(1), Ok(()), begin + 30 * SECOND);
        assert_eq!([part(30), part(35), part(40)], [1, WHOLE / 2, WHOLE]);
    }
}
