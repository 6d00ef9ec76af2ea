//! Where connections go: an upstream's endpoints, and who of them is next.
//!
//! ```text
//! pick (an attempt) -> connected -> closed
//!            \-> failed (and perhaps ejected), or cancelled
//! ```
//!
//! No socket here, and no name: what those stand for is found out elsewhere. What every worker must know of an endpoint (its
//! health, its load) is shared, by its address, also from one configuration to the next; whose turn it is and
//! who is being waited for is each worker's own. Invariants: an endpoint that is not up is chosen only while
//! nobody is; one that is full never; every pick is given back once.

pub mod balance;
pub mod check;
pub mod endpoint;
pub mod health;
pub mod maglev;
pub mod ramp;
pub mod resolution;
mod round;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use balance::{Balance, with_client};
use endpoint::{Endpoint, HeaderSent};
use ramp::WHOLE;
use round::Round;

use crate::core::early::Early;

/// An endpoint that leaves connects without an answer for so long gets nobody new until one stands.
const UNANSWERED_MAX: Duration = Duration::from_secs(1);

/// The most endpoints that one connection tries, each at most once.
pub const ATTEMPTS_MAX: usize = 16;

/// What an upstream is to be.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where its connections go.
    pub endpoints: Vec<Endpoint>,
    /// `retries` more than one.
    pub attempts_max: usize,
    /// So many failed connects in a row eject an endpoint; 0 is never.
    pub failures_max: u32,
    /// How one is chosen.
    pub balance: Balance,
}

/// An upstream as one worker uses it.
#[derive(Debug)]
pub struct Upstream {
    /// What `[upstream.NAME]` is called.
    pub name: String,
    pool: Pool,
    /// Of each endpoint, also through reloads: connects that began before one are answered behind it.
    unanswered: Box<[Arc<Unanswered>]>,
    worker: usize,
    /// Shared by what it was before a reload and what it is since, where endpoints are the same.
    round: Arc<Round>,
    /// The state of a generator (splitmix64).
    random: AtomicU64,
    epoch: Instant,
    /// Whether to send right behind the connect. Across a network that is always too early.
    pub early_send: Arc<Early>,
}

/// Connects of this worker to an endpoint that nobody has answered yet. Written by one worker only; atomic, as the
/// rest is, because connections share the upstream.
#[derive(Debug, Default)]
struct Unanswered {
    count: AtomicU32,
    /// Since when, in ns from the upstream's epoch.
    since: AtomicU64,
}

/// Why there is nobody to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// There is no endpoint, or none that was not tried yet.
    None,
    /// Those that are there have as many connections as they may.
    Full,
}

/// The endpoints that a connection has tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tried {
    places: [u16; ATTEMPTS_MAX],
    count: u8,
}

impl Tried {
    fn places(&self) -> &[u16] {
        &self.places[..usize::from(self.count)]
    }

    /// The one at this place alone.
    pub fn only(at: usize) -> Self {
        let mut tried = Self::default();
        tried.add(at);
        tried
    }

    /// Whether the endpoint at a place is among them.
    pub fn contains(&self, at: usize) -> bool {
        self.places().iter().any(|place| usize::from(*place) == at)
    }

    fn add(&mut self, at: usize) {
        let count = usize::from(self.count);
        if let (Some(place), Ok(at)) = (self.places.get_mut(count), u16::try_from(at)) {
            *place = at;
            self.count += 1;
        }
    }
}

impl Upstream {
    /// Prepares an upstream for the worker of this number.
    pub fn new(name: String, pool: Pool, worker: usize, now: Instant) -> Self {
        Self {
            name,
            unanswered: pool.endpoints.iter().map(|_| Arc::default()).collect(),
            round: Arc::new(Round::new(pool.endpoints.len(), worker)),
            pool,
            worker,
            random: AtomicU64::new(u64::try_from(worker).unwrap_or(0)),
            epoch: now,
            early_send: Arc::new(Early::new()),
        }
    }

    /// Returns the upstream as it goes on after a reload: what was learned stays, and so does whose turn it is.
    #[must_use]
    pub fn reloaded(&self, pool: Pool) -> Self {
        let old = &self.pool.endpoints;
        let place = |new: &Endpoint| old.iter().position(|old| old.member.addr == new.member.addr);
        let places: Vec<_> = pool.endpoints.iter().map(place).collect();
        let is_same = places.iter().copied().eq((0..old.len()).map(Some));
        let unanswered = |at: &Option<usize>| match at {
            Some(at) => Arc::clone(&self.unanswered[*at]),
            None => Arc::default(),
        };
        Self {
            name: self.name.clone(),
            unanswered: places.iter().map(unanswered).collect(),
            round: match is_same {
                true => Arc::clone(&self.round),
                false => Arc::new(self.round.reloaded(places.into_iter())),
            },
            pool,
            worker: self.worker,
            random: AtomicU64::new(self.random.load(Ordering::Relaxed)),
            epoch: self.epoch,
            early_send: Arc::clone(&self.early_send),
        }
    }

    /// Returns how many endpoints one connection may try, each at most once: one at least, which is asked for also
    /// where there is none.
    pub fn attempts_max(&self) -> usize {
        self.pool.attempts_max.min(self.pool.endpoints.len()).clamp(1, ATTEMPTS_MAX)
    }

    /// Returns the header that holds most of those that its endpoints are sent.
    pub fn most_sent(&self) -> HeaderSent {
        let sent = self.pool.endpoints.iter().map(|endpoint| endpoint.member.header);
        sent.max().unwrap_or(HeaderSent::Off)
    }

    /// Returns the endpoint at a place.
    pub fn endpoint(&self, at: usize) -> &Endpoint {
        &self.pool.endpoints[at]
    }

    /// Takes the place of the next endpoint for a client, out of those which he has not tried and which are reached
    /// from an address, if one is given; and counts an attempt there.
    ///
    /// # Errors
    /// When there is none.
    pub fn pick(
        &self,
        tried: &mut Tried,
        client: Option<IpAddr>,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<usize, Unavailable> {
        let mut was_full = false;
        for _ in 0..ATTEMPTS_MAX {
            let found = match &self.pool.endpoints[..] {
                [one] => self.find_only(one, tried, from),
                _ => self.find(tried, client, from, now),
            };
            let Some(at) = found else { break };
            tried.add(at);
            if self.pool.endpoints[at].take(self.worker) {
                self.handle_connecting(at, now);
                return Ok(at);
            }
            // Another worker was faster.
            was_full = true;
        }
        Err(if was_full { Unavailable::Full } else { self.why_nobody(tried, from, now) })
    }

    #[cold]
    fn why_nobody(&self, tried: &Tried, from: Option<IpAddr>, now: Instant) -> Unavailable {
        let is_full = |at| {
            !tried.contains(at)
                && self.is_in_use(at, now)
                && self.is_reached(at, from)
                && !self.pool.endpoints[at].has_room()
        };
        if (0..self.pool.endpoints.len()).any(is_full) {
            Unavailable::Full
        } else {
            Unavailable::None
        }
    }

    /// An attempt stands.
    pub fn handle_connected(&self, at: usize, now: Instant) {
        self.answered(at);
        let Unanswered { count, since } = &*self.unanswered[at];
        if count.load(Ordering::Relaxed) > 0 {
            since.store(self.nanos(now), Ordering::Relaxed);
        }
        self.pool.endpoints[at].shared.health.handle_connected();
    }

    /// An attempt has failed. Says whether that has ejected the endpoint.
    pub fn handle_failed(&self, at: usize) -> bool {
        self.handle_cancelled(at);
        self.pool.endpoints[at].shared.health.handle_failed(self.pool.failures_max)
    }

    /// An attempt is not awaited any more, and the endpoint is not to blame.
    pub fn handle_cancelled(&self, at: usize) {
        self.answered(at);
        self.handle_closed(at);
    }

    /// A connection is gone.
    pub fn handle_closed(&self, at: usize) {
        self.pool.endpoints[at].give(self.worker);
    }

    /// A flow of datagrams has begun: an endpoint owes it no answer, so nobody waits for one.
    pub fn handle_flow_begun(&self, at: usize) {
        self.answered(at);
    }

    /// A flow had its first answer.
    pub fn handle_flow_answered(&self, at: usize) {
        self.pool.endpoints[at].shared.health.handle_connected();
    }

    /// Nobody listens where a flow was sent to, which has gone from there. Says whether that has ejected the endpoint.
    pub fn handle_flow_refused(&self, at: usize) -> bool {
        self.handle_closed(at);
        self.pool.endpoints[at].shared.health.handle_failed(self.pool.failures_max)
    }

    fn handle_connecting(&self, at: usize, now: Instant) {
        let Unanswered { count, since } = &*self.unanswered[at];
        let before = count.load(Ordering::Relaxed);
        // Of one, nobody asks; with others beside it behind a reload, it counts as late until it has answered what it owes.
        if before == 0 && self.pool.endpoints.len() > 1 {
            since.store(self.nanos(now), Ordering::Relaxed);
        }
        count.store(before + 1, Ordering::Relaxed);
    }

    fn answered(&self, at: usize) {
        let count = &self.unanswered[at].count;
        count.store(count.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }

    /// Whether an endpoint is to be chosen as long as it has room.
    fn is_in_use(&self, at: usize, now: Instant) -> bool {
        let Endpoint { member, shared } = &self.pool.endpoints[at];
        member.weight > 0 && shared.health.is_up() && self.is_answering(at, now)
    }

    /// Whether a connection from an address can go there, which has one family; at a UNIX socket it has none.
    fn is_reached(&self, at: usize, from: Option<IpAddr>) -> bool {
        let Some(from) = from else { return true };
        let addr = self.pool.endpoints[at].member.addr.inet();
        addr.is_none_or(|addr| addr.is_ipv4() == from.is_ipv4())
    }

    fn is_answering(&self, at: usize, now: Instant) -> bool {
        let Unanswered { count, since } = &*self.unanswered[at];
        count.load(Ordering::Relaxed) == 0
            || self.nanos(now).saturating_sub(since.load(Ordering::Relaxed)) < nanos(UNANSWERED_MAX)
    }

    /// Finds whether the only one is to be tried. As most pools have one: nothing is chosen, and whoever is up may be tried.
    fn find_only(
        &self,
        Endpoint { member, shared }: &Endpoint,
        tried: &Tried,
        from: Option<IpAddr>,
    ) -> Option<usize> {
        let may = member.weight > 0
            && self.is_left(0, tried)
            && self.is_reached(0, from)
            && shared.health.may_be_tried();
        may.then_some(0)
    }

    fn is_left(&self, at: usize, tried: &Tried) -> bool {
        !tried.contains(at) && self.pool.endpoints[at].has_room()
    }

    /// Finds the one of several that is to be tried next.
    #[inline(never)]
    fn find(
        &self,
        tried: &Tried,
        client: Option<IpAddr>,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Option<usize> {
        let is_left = |at: usize| self.is_left(at, tried);
        let is_reached = |at: usize| self.is_reached(at, from);
        let tier = |is_backup: bool| {
            self.choose(client, now, |at| {
                self.pool.endpoints[at].member.is_backup == is_backup
                    && is_left(at)
                    && self.is_in_use(at, now)
                    && is_reached(at)
            })
        };
        tier(false).or_else(|| tier(true)).or_else(|| {
            if (0..self.pool.endpoints.len()).any(|at| self.is_in_use(at, now) && is_reached(at)) {
                return None;
            }
            // Better one of those that failed than nobody.
            self.choose(client, now, |at| {
                let Endpoint { member, shared } = &self.pool.endpoints[at];
                member.weight > 0 && is_left(at) && is_reached(at) && shared.health.may_be_tried()
            })
        })
    }

    /// Chooses one of those that may be chosen.
    fn choose(
        &self,
        client: Option<IpAddr>,
        now: Instant,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut places = (0..self.pool.endpoints.len()).filter(|at| may(*at));
        let weight = |at: usize| self.pool.endpoints[at].weight(now);
        let load = |at: usize| self.pool.endpoints[at].load_key(now);
        match (&self.pool.balance, client) {
            // Nobody can tell those clients from each other that have no address.
            (Balance::RoundRobin, _) | (Balance::SourceHash(_), None) => {
                self.round.next(|at| if may(at) { weight(at) } else { 0 })
            }
            (Balance::First, _) => places.next(),
            (Balance::LeastConnections, _) => {
                // Among those who are equally loaded each has his turn.
                let least = places.map(load).min()?;
                self.round.next(|at| if may(at) && load(at) <= least { weight(at) } else { 0 })
            }
            (Balance::RandomOfTwo, _) => {
                let one = self.draw(|at| if may(at) { weight(at) } else { 0 })?;
                let other = self.draw(|at| if at != one && may(at) { weight(at) } else { 0 });
                let other = other.unwrap_or(one);
                Some(if load(other) < load(one) { other } else { one })
            }
            (Balance::SourceHash(maglev), Some(client)) => with_client(client, |id| {
                let hash = maglev.hash(id);
                // Of one that starts slowly the clients come back one after the other, each for good.
                let is_due =
                    |at: usize| hash % WHOLE < self.pool.endpoints[at].shared.ramp.part(now);
                maglev.choose(id, |at| may(at) && is_due(at)).or_else(|| {
                    // Where those who own places are down, whoever is left shares their clients.
                    let count = u64::try_from(places.clone().count()).unwrap_or(0);
                    let nth = hash.checked_rem(count)?;
                    places.nth(usize::try_from(nth).ok()?)
                })
            }),
        }
    }

    /// Draws one by weight.
    fn draw(&self, weight: impl Fn(usize) -> u64) -> Option<usize> {
        let total: u64 = (0..self.pool.endpoints.len()).map(&weight).sum();
        let mut left = self.next_random().checked_rem(total)?;
        (0..self.pool.endpoints.len()).find(|at| {
            let weight = weight(*at);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        })
    }

    fn next_random(&self) -> u64 {
        let state = self.random.load(Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.store(state, Ordering::Relaxed);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

/// Returns the nanoseconds of a span, which is shorter than 584 years.
const fn nanos(span: Duration) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    span.as_secs().wrapping_mul(SECOND).wrapping_add(span.subsec_nanos() as u64)
}
