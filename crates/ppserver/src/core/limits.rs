//! How many connections a client, and a listener, may have at a time, and how often they may come, over all workers.
//!
//! ```text
//! admit --> counted, until release       a bucket: `burst` at once, `rate` a second from then on (GCRA)
//!      \--> limited
//! ```
//!
//! A client is judged before the listener is, so that who has too much takes nothing of what is left for others. Times
//! count from an epoch that all workers share. A table of fixed size, in sets of eight slots; a client's set is told by a
//! keyed hash, so that nobody can choose his neighbours. A slot is two atomics, changed by compare-and-swap: workers share it without a lock.
//! Invariant: a new client is never refused for want of room; where his set is full, the one who is limited
//! least gives way, and is counted from nothing when he comes again.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;

/// Slots of a set: they fill two cache lines.
const WAYS: usize = 8;
/// The bits of a slot's owner that count his connections; the rest is his hash.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// Clients that there is room for: a million, with sets of which few are full.
pub const CLIENTS_MAX: usize = 1 << 21;
/// How often a change is tried while other workers change the same slot. Then the client is let in uncounted,
/// since somebody else's haste is not his fault.
const TRIES_MAX: usize = 64;
const NS_A_SECOND: u64 = 1_000_000_000;

/// What a client, or all of a listener's, may have; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Connections at a time.
    pub connections: u32,
    /// New connections a second.
    pub rate: u32,
    /// New connections at once, behind a quiet time; at least 1 where there is a rate.
    pub burst: u32,
}

impl Terms {
    /// Whether nothing is limited.
    pub const fn are_none(&self) -> bool {
        self.connections == 0 && self.rate == 0
    }

    /// How many ns a connection takes to be forgotten.
    fn interval(&self) -> u64 {
        NS_A_SECOND.checked_div(self.rate.into()).unwrap_or_default()
    }
}

/// The limits of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of all its clients together.
    pub terms: Terms,
    /// What they have.
    pub total: Arc<Total>,
    /// Of each of its clients.
    pub per_client: Option<PerClient>,
}

/// The limits of each client of a listener.
#[derive(Clone, Debug)]
pub struct PerClient {
    /// What one of them may have.
    pub terms: Terms,
    /// So many bits of an IPv6 address are one client. 1..=128.
    pub ipv6_prefix: u8,
    /// What they have; also those of other listeners.
    pub clients: Arc<Clients>,
}

/// What all clients of a listener have.
#[derive(Debug)]
pub struct Total {
    /// Tells its clients from those of other listeners.
    number: u32,
    slot: Slot,
}

/// What counts for a connection that was admitted, to be given back with it: its client's hash, which is never 0, where
/// the client counts; below that whether the listener's total does, and a bit that is always set. Each connection has
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(NonZeroU64);

/// A client who was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Admitted {
    hash: u64,
}

/// There is as much as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited;

/// The clients that are counted.
#[derive(Debug)]
pub struct Clients {
    sets: Box<[Set]>,
    seed: [u64; 2],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

#[derive(Debug, Default)]
struct Slot {
    /// `hash << COUNT_BITS | connections`; 0 is nobody.
    owner: AtomicU64,
    /// When the bucket will be full, in ns from the epoch.
    full_at: AtomicU64,
}

impl Limits {
    /// Counts a connection, if its client and the listener may have one more. Of an IPv6 address so many bits are the
    /// client; an IPv4 address is one, also when it is mapped into IPv6. Who has no address is nobody's client, and
    /// counts among all. `now` is in ns from an epoch that all share.
    ///
    /// # Errors
    /// [`Limited`] when there is as much as may be.
    pub fn admit(&self, client: impl Into<Option<IpAddr>>, now: u64) -> Result<Held, Limited> {
        let client = match self.per_client.as_ref().zip(client.into()) {
            Some((PerClient { terms, ipv6_prefix, clients }, client)) => {
                Some(clients.admit((self.total.number, key(client, *ipv6_prefix)), *terms, now)?)
            }
            None => None,
        };
        self.total.admit(self.terms, now).map(|total| Held::new(client, total)).inspect_err(|_| {
            self.release(Held::new(client, false));
        })
    }

    /// A connection that was admitted is gone.
    pub fn release(&self, held: Held) {
        if let (Some(admitted), Some(per_client)) = (held.client(), &self.per_client) {
            per_client.clients.release(admitted);
        }
        if held.is_of_total() {
            self.total.release();
        }
    }
}

impl Held {
    const TOTAL: u64 = 2;

    fn new(client: Option<Admitted>, is_of_total: bool) -> Self {
        let hash = client.map_or(0, |admitted| admitted.hash);
        let total = if is_of_total { Self::TOTAL } else { 0 };
        Self(NonZeroU64::MIN | hash << COUNT_BITS | total)
    }

    fn client(self) -> Option<Admitted> {
        let hash = self.0.get() >> COUNT_BITS;
        (hash != 0).then_some(Admitted { hash })
    }

    fn is_of_total(self) -> bool {
        self.0.get() & Self::TOTAL != 0
    }
}

impl Total {
    /// Begins with nothing, for the listener of this number.
    pub fn new(number: u32) -> Self {
        Self { number, slot: Slot::default() }
    }

    /// Says whether it is to be released.
    fn admit(&self, terms: Terms, now: u64) -> Result<bool, Limited> {
        let is_counted = terms.connections > 0;
        if is_counted {
            let owner = self.slot.owner.load(Ordering::Acquire);
            count(&self.slot, owner, 0, terms.connections)?;
        }
        if terms.rate > 0 && !take(&self.slot, terms, now) {
            if is_counted {
                self.release();
            }
            return Err(Limited);
        }
        Ok(is_counted)
    }

    fn release(&self) {
        let release = |owner: u64| owner.checked_sub(1);
        // One that was not counted for haste is none to be taken back.
        let _ = self.slot.owner.fetch_update(Ordering::AcqRel, Ordering::Relaxed, release);
    }
}

impl Clients {
    /// Prepares room for at least so many clients. `seed` is what nobody else may know.
    pub fn new(clients: usize, seed: [u64; 2]) -> Self {
        let sets = clients.div_ceil(WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect(), seed }
    }

    /// Counts a connection of a client, if he may have one more.
    fn admit(&self, client: impl Hash, terms: Terms, now: u64) -> Result<Admitted, Limited> {
        let hash = self.hash(client);
        let admitted = Admitted { hash };
        let Some((slot, owner)) = self.find(hash, now) else { return Ok(admitted) };
        count(slot, owner, hash, terms.connections)?;
        if terms.rate > 0 && !take(slot, terms, now) {
            self.release(admitted);
            return Err(Limited);
        }
        Ok(admitted)
    }

    /// A connection that was admitted is gone.
    fn release(&self, Admitted { hash }: Admitted) {
        for slot in &self.set(hash).0 {
            let release = |owner: u64| {
                let is_his = owner >> COUNT_BITS == hash && owner & COUNT_MAX > 0;
                is_his.then(|| owner - 1)
            };
            if slot.owner.fetch_update(Ordering::AcqRel, Ordering::Relaxed, release).is_ok() {
                return;
            }
        }
    }

    /// Finds a client's slot, or makes one his; with what stood in it then. `None` when others were quicker
    /// again and again.
    fn find(&self, hash: u64, now: u64) -> Option<(&Slot, u64)> {
        let set = &self.set(hash).0;
        for _ in 0..TRIES_MAX {
            let owners = set.each_ref().map(|slot| slot.owner.load(Ordering::Acquire));
            if let Some(at) = owners.iter().position(|owner| owner >> COUNT_BITS == hash) {
                return Some((&set[at], owners[at]));
            }
            // Nobody has a count of 0, and a bucket that is full.
            let limited = |at: &usize| {
                let full_at = set[*at].full_at.load(Ordering::Relaxed);
                (owners[*at] & COUNT_MAX, full_at.saturating_sub(now), owners[*at] != 0)
            };
            let at = (0..WAYS).min_by_key(limited)?;
            let owner = hash << COUNT_BITS;
            let claimed = set[at].owner.compare_exchange(
                owners[at],
                owner,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if claimed.is_ok() {
                set[at].full_at.store(0, Ordering::Release);
                return Some((&set[at], owner));
            }
        }
        None
    }

    fn set(&self, hash: u64) -> &Set {
        // As many as a power of two; the bits that a slot keeps tell two of one set apart.
        let mask = self.sets.len() - 1;
        &self.sets[usize::try_from(hash).unwrap_or(usize::MAX) & mask]
    }

    /// Never 0, so that nobody is taken for an empty slot.
    fn hash(&self, client: impl Hash) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed[0], self.seed[1]);
        client.hash(&mut hasher);
        (hasher.finish() >> COUNT_BITS).max(1)
    }
}

/// Counts one more, if he may have it.
fn count(slot: &Slot, mut owner: u64, hash: u64, connections_max: u32) -> Result<(), Limited> {
    for _ in 0..TRIES_MAX {
        if owner >> COUNT_BITS != hash {
            // Others have pushed him out: he goes uncounted.
            return Ok(());
        }
        let connections = owner & COUNT_MAX;
        if connections_max > 0 && connections >= u64::from(connections_max) {
            return Err(Limited);
        }
        if connections == COUNT_MAX {
            return Ok(());
        }
        let counted =
            slot.owner.compare_exchange(owner, owner + 1, Ordering::AcqRel, Ordering::Acquire);
        match counted {
            Ok(_) => return Ok(()),
            Err(other) => owner = other,
        }
    }
    Ok(())
}

/// Takes one from the bucket, if there is one.
fn take(slot: &Slot, terms: Terms, now: u64) -> bool {
    let interval = terms.interval();
    let room = interval.saturating_mul(u64::from(terms.burst.max(1)));
    let take = |full_at: u64| {
        let full_at = full_at.max(now).saturating_add(interval);
        (full_at - now <= room).then_some(full_at)
    };
    slot.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
}

/// Who an address belongs to.
fn key(client: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(addr) => IpAddr::V4(addr),
        IpAddr::V6(addr) => {
            let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const NONE: Terms = Terms { connections: 0, rate: 0, burst: 0 };
    const ROOM: usize = 1 << 10;

    fn nanos(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos()).unwrap()
    }

    /// Clients who are counted by their /64, of one listener.
    struct Counted(Clients);

    impl Counted {
        fn admit(
            &self,
            client: IpAddr,
            ipv6_prefix: u8,
            terms: Terms,
            now: Duration,
        ) -> Result<Admitted, Limited> {
            self.0.admit((0, key(client, ipv6_prefix)), terms, nanos(now))
        }

        fn release(&self, admitted: Admitted) {
            self.0.release(admitted);
        }

        fn connections(&self) -> u64 {
            let slots = self.0.sets.iter().flat_map(|set| &set.0);
            slots.map(|slot| slot.owner.load(Ordering::Relaxed) & COUNT_MAX).sum()
        }
    }

    fn clients(room: usize) -> (Counted, Duration) {
        (Counted(Clients::new(room, [1, 2])), Duration::from_secs(7))
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ipv4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_client_has_as_many_connections_as_he_may_and_his_neighbour_too() {
        let (clients, now) = clients(ROOM);
        let terms = Terms { connections: 2, ..NONE };
        let admit = |client: &str| clients.admit(addr(client), 64, terms, now);
        let first = admit("192.0.2.1").unwrap();
        admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1"), Err(Limited));
        assert_eq!(admit("::ffff:192.0.2.1"), Err(Limited), "mapped, it is the same client");
        assert!(admit("192.0.2.2").is_ok());
        clients.release(first);
        assert!(admit("192.0.2.1").is_ok());
        assert_eq!(admit("192.0.2.1"), Err(Limited));
    }

    #[test]
    fn an_ipv6_client_is_his_network() {
        let (clients, now) = clients(ROOM);
        let terms = Terms { connections: 1, ..NONE };
        let admit = |client: &str, prefix| clients.admit(addr(client), prefix, terms, now).is_ok();
        assert!(admit("2001:db8::1", 64));
        assert!(!admit("2001:db8::2:3", 64));
        assert!(admit("2001:db8:0:1::1", 64));
        assert!(admit("2001:db8::2:3", 128));
        assert!(admit("2001:db8::2:4", 128));
        assert!(admit("::1", 0) && !admit("fe80::1", 0));
    }

    #[test]
    fn a_burst_comes_at_once_and_then_as_many_a_second_as_may() {
        let (clients, now) = clients(ROOM);
        let terms = Terms { rate: 10, burst: 3, ..NONE };
        let admit =
            |millis| clients.admit(ipv4(1), 64, terms, now + Duration::from_millis(millis)).is_ok();
        assert_eq!([0, 0, 0, 0].map(admit), [true, true, true, false]);
        assert_eq!([99, 100, 100, 200].map(admit), [false, true, false, true]);
        assert_eq!(
            [5000; 4].map(admit),
            [true, true, true, false],
            "no more than a burst is saved"
        );
    }

    #[test]
    fn who_is_refused_by_the_rate_holds_no_connection() {
        let (clients, now) = clients(ROOM);
        let terms = Terms { connections: 2, rate: 1, burst: 1 };
        let admit = |seconds| clients.admit(ipv4(1), 64, terms, now + Duration::from_secs(seconds));
        admit(0).unwrap();
        assert_eq!([admit(0), admit(0)], [Err(Limited); 2]);
        assert!(admit(1).is_ok());
    }

    #[test]
    fn in_a_full_table_the_least_limited_gives_way_and_nobody_new_is_refused() {
        let (clients, now) = clients(WAYS);
        let terms = Terms { connections: 2, ..NONE };
        let admit = |number| clients.admit(ipv4(number), 64, terms, now);
        // One who has all he may have, and others with one each.
        for number in [0, 0, 1, 2, 3, 4, 5, 6, 7] {
            admit(number).unwrap();
        }
        for number in 8..1000 {
            assert!(admit(number).is_ok(), "{number} is new");
            assert_eq!(admit(0), Err(Limited), "he who is limited most is remembered");
        }
    }

    #[test]
    fn who_was_pushed_out_takes_nothing_from_others_when_he_goes() {
        let (clients, now) = clients(1);
        let terms = Terms { connections: 1, ..NONE };
        let admitted: Vec<_> = (0..100)
            .map(|number| clients.admit(ipv4(number), 64, terms, now).expect("it is new"))
            .collect();
        admitted.iter().for_each(|it| clients.release(*it));
        assert_eq!(clients.connections(), 0);
    }

    #[test]
    fn a_million_clients_fit_into_64_mib() {
        let (clients, now) = clients(CLIENTS_MAX);
        assert!(size_of_val(&*clients.0.sets) <= 64 << 20);
        let terms = Terms { connections: 1, ..NONE };
        let counted = (0..1_000_000).filter(|number| {
            clients.admit(ipv4(*number), 64, terms, now).expect("it is new");
            clients.admit(ipv4(*number), 64, terms, now).is_err()
        });
        // A set may be full though the table is not.
        assert_eq!(counted.count(), 1_000_000, "each is counted while nobody else comes");
    }

    /// The limits of a listener, and of each of its clients.
    fn limits(number: u32, terms: Terms, of_client: Terms, clients: &Arc<Clients>) -> Limits {
        let clients = Arc::clone(clients);
        let per_client = Some(PerClient { terms: of_client, ipv6_prefix: 64, clients });
        Limits { terms, total: Arc::new(Total::new(number)), per_client }
    }

    #[test]
    fn who_has_too_much_takes_nothing_of_what_is_left_for_others() {
        let clients = Arc::new(Clients::new(ROOM, [1, 2]));
        let terms = Terms { connections: 3, rate: 100, burst: 3 };
        let limits = limits(1, terms, Terms { connections: 1, ..NONE }, &clients);
        let admit = |number| limits.admit(ipv4(number), 0);
        let greedy = admit(1).unwrap();
        assert!((0..1000).all(|_| admit(1) == Err(Limited)));
        let others = [admit(2).unwrap(), admit(3).unwrap()];
        assert_eq!(admit(4), Err(Limited), "the listener has three");
        [greedy, others[0], others[1]].into_iter().for_each(|held| limits.release(held));
        let second = NS_A_SECOND;
        assert!(limits.admit(ipv4(4), second).is_ok(), "nothing is left of who was refused");
        assert_eq!(limits.total.slot.owner.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_listeners_rate_is_that_of_all_clients_together() {
        let clients = Arc::new(Clients::new(ROOM, [1, 2]));
        let limits = limits(1, Terms { rate: 2, burst: 2, ..NONE }, NONE, &clients);
        let admit = |number, millis| {
            limits.admit(ipv4(number), nanos(Duration::from_millis(millis))).is_ok()
        };
        assert_eq!([admit(1, 0), admit(2, 0), admit(3, 0)], [true, true, false]);
        assert_eq!([admit(3, 499), admit(3, 500), admit(4, 500)], [false, true, false]);
    }

    #[test]
    fn a_client_is_counted_apart_at_each_listener() {
        let clients = Arc::new(Clients::new(ROOM, [1, 2]));
        let [one, other] =
            [1, 2].map(|number| limits(number, NONE, Terms { connections: 1, ..NONE }, &clients));
        let admit = |limits: &Limits| limits.admit(ipv4(1), 0);
        assert!(admit(&one).is_ok() && admit(&other).is_ok());
        assert_eq!([admit(&one), admit(&other)], [Err(Limited); 2]);
    }
}
