//! The pools, as the control plane knows them: what is known of each endpoint, by its upstream's name and its address,
//! through reloads and over all workers.
//!
//! Invariant: there is one [`Shared`] for an endpoint as long as a worker or a configuration has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::names::Member;
use super::requests::{Answer, EndpointChange, EndpointSet, Refusal, Why};
use crate::config::{self, Config};
use crate::core::pool::Pool;
use crate::core::pool::balance::Balance;
use crate::core::pool::endpoint::{self, Endpoint, Shared};
use crate::core::pool::health::{Ejection, EjectionTerms, Standing, Wish};

/// An endpoint's name: its upstream's, and its address.
pub(super) type Name = (String, SocketAddr);

/// What is known of all endpoints. Workers have their part of it and never come here: the lock is the control plane's.
#[derive(Debug)]
pub(super) struct Pools {
    workers: usize,
    entries: Mutex<BTreeMap<Name, Entry>>,
}

/// What is known of an endpoint.
#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    /// Whether it stands in the configuration; others are held by connections only.
    is_followed: bool,
    /// What it weighs by the configuration, and by an operator.
    weight: u32,
    weight_set: Option<u32>,
    is_backup: bool,
    /// The name or file that it came from, if it is not written in the configuration.
    from: Option<Arc<str>>,
    terms: EjectionTerms,
    /// Since it was ejected first.
    ejection: Option<Ejection>,
    is_on_trial: bool,
    /// Why it was ejected.
    why: Option<String>,
    /// When it came to stand as it does.
    since: SystemTime,
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
}

impl Pools {
    /// Begins for so many workers.
    pub(super) const fn new(workers: usize) -> Self {
        Self { workers, entries: Mutex::new(BTreeMap::new()) }
    }

    /// Returns what the upstreams of a configuration, with these members, are to be.
    pub(super) fn follow(&self, config: &Config, members: &[Vec<Member>]) -> Vec<Pool> {
        let mut entries = self.entries();
        entries.values_mut().for_each(|entry| entry.is_followed = false);
        let pools = config.upstreams.iter().zip(members);
        let pools = pools.map(|(upstream, members)| self.pool(&mut entries, upstream, members));
        let pools = pools.collect();
        entries.retain(|_, entry| entry.is_followed || Arc::strong_count(&entry.shared) > 1);
        pools
    }

    fn pool(
        &self,
        entries: &mut BTreeMap<Name, Entry>,
        upstream: &config::Upstream,
        members: &[Member],
    ) -> Pool {
        let endpoint = |member: &Member| {
            let entry = entries.entry((upstream.name.clone(), member.addr()));
            let entry = entry.or_insert_with(|| Entry::new(self.workers));
            entry.follow(member, &upstream.passive);
            let member = endpoint::Member { weight: entry.weight_now(), ..member.member };
            Endpoint { member, shared: Arc::clone(&entry.shared) }
        };
        let endpoints: Vec<_> = members.iter().map(endpoint).collect();
        let balance = match upstream.balance {
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::LeastConnections => Balance::LeastConnections,
            config::Balance::RandomOfTwo => Balance::RandomOfTwo,
            config::Balance::SourceHash => Balance::source_hash(&upstream.name, &endpoints),
            config::Balance::First => Balance::First,
        };
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
        let mut entries = self.entries();
        let entry = entries.get_mut(&name)?;
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
        let mut entries = self.entries();
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
        self.entries().values().filter_map(Entry::trial_at).min()
    }

    /// Takes those that are to be tried now, so many at most.
    pub(super) fn take_due(&self, count_max: usize, now: Instant) -> Vec<Name> {
        let mut entries = self.entries();
        let is_due = |entry: &Entry| entry.trial_at().is_some_and(|at| at <= now);
        let due = entries.iter_mut().filter(|(_, entry)| is_due(entry)).take(count_max);
        let take = |(name, entry): (&Name, &mut Entry)| {
            entry.is_on_trial = true;
            name.clone()
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
        let mut entries = self.entries();
        let entry = entries.get_mut(&name)?;
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
        Some(entry.change(name))
    }

    /// Returns what is shown of an endpoint.
    pub(super) fn look(&self, name: &Name) -> Option<Shown> {
        self.entries().get(name).map(Entry::shown)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Name, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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
            ejection: None,
            is_on_trial: false,
            why: None,
            since: SystemTime::now(),
        }
    }

    /// It stands in the configuration.
    fn follow(&mut self, member: &Member, passive: &config::Passive) {
        let config::Passive { failures, eject, max } = *passive;
        let endpoint::Member { weight, is_backup, .. } = member.member;
        self.is_followed = true;
        (self.weight, self.is_backup, self.from) = (weight, is_backup, member.from.clone());
        self.terms = EjectionTerms { first: eject, max };
        if failures == 0 && self.shared.health.readmit() {
            (self.ejection, self.why, self.since) = (None, None, SystemTime::now());
        }
    }

    fn weight_now(&self) -> u32 {
        self.weight_set.unwrap_or(self.weight)
    }

    fn trial_at(&self) -> Option<Instant> {
        let ejection = self.ejection.filter(|_| self.is_followed && !self.is_on_trial)?;
        ejection.trial_at()
    }

    fn shown(&self) -> Shown {
        let standing = self.shared.health.standing();
        let why = match standing {
            Standing::Up => None,
            Standing::Ejected => self.why.clone(),
            Standing::Down | Standing::Draining => Some("an operator has said so".to_owned()),
        };
        let is_set = self.shared.health.wish() != Wish::Auto || self.weight_set.is_some();
        let (weight, is_backup, since) = (self.weight_now(), self.is_backup, self.since);
        Shown { standing, weight, is_backup, from: self.from.clone(), is_set, why, since }
    }

    fn change(&self, (upstream, address): Name) -> EndpointChange {
        let Shown { standing, weight, is_set, why, .. } = self.shown();
        EndpointChange { upstream, address, state: standing.name(), is_set, weight, why }
    }
}
