//! Who was turned away for being outside `trust`, so that the log names a peer once in ten minutes.
//!
//! Not a limit of lines, which a [`Limiter`](super::log::Limiter) is: many peers are many lines. All workers
//! share one table, since a peer comes to any of them. The line itself is the connection's (`data/conn/refused.rs`).
//! Invariant: it holds a bounded number of peers, and of those it has
//! forgotten the next line counts anew.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Peers that are remembered, at about 100 B each; beyond them the least recently seen is forgotten.
const PEERS_MAX: usize = 1024;

/// For how long a peer that was named is not named again.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// Taken by those who turn a stranger away, for a look into the table and a line.
static SEEN: LazyLock<Mutex<Strangers>> = LazyLock::new(Mutex::default);

/// Notes a connection of a peer that was turned away, for all workers (peers without an address are one): where it is to be named, and `may` allows the
/// line, how many there were since it was named, and what `may` said.
pub fn note<T>(
    peer: Option<IpAddr>,
    now: Instant,
    may: impl FnOnce() -> Option<T>,
) -> Option<(u64, T)> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).note(peer, now, may)
}

/// Peers outside `trust`, and when they were named.
#[derive(Debug, Default)]
struct Strangers {
    peers: HashMap<Option<IpAddr>, Stranger>,
    /// Each of them by the number of its last connection.
    by_age: BTreeMap<u64, Option<IpAddr>>,
    connections: u64,
}

#[derive(Debug)]
struct Stranger {
    named_at: Option<Instant>,
    /// Connections since then.
    count: u64,
    /// The number of the last one.
    seen: u64,
}

impl Strangers {
    /// Notes a connection. Where its peer is to be named, and `may` allows the line, returns how many there
    /// were since it was named, this one with them, and what `may` said.
    fn note<T>(
        &mut self,
        peer: Option<IpAddr>,
        now: Instant,
        may: impl FnOnce() -> Option<T>,
    ) -> Option<(u64, T)> {
        self.connections += 1;
        if self.peers.len() == PEERS_MAX
            && !self.peers.contains_key(&peer)
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.peers.remove(&oldest);
        }
        let new = Stranger { named_at: None, count: 0, seen: 0 };
        let stranger = self.peers.entry(peer).or_insert(new);
        self.by_age.remove(&stranger.seen);
        self.by_age.insert(self.connections, peer);
        stranger.seen = self.connections;
        stranger.count += 1;
        let is_quiet = |at| now.saturating_duration_since(at) < QUIET;
        if stranger.named_at.is_some_and(is_quiet) {
            return None;
        }
        let allowed = may()?;
        stranger.named_at = Some(now);
        Some((std::mem::take(&mut stranger.count), allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn epoch() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        Instant::now()
    }

    fn peer(number: usize) -> Option<IpAddr> {
        Some(IpAddr::from(u128::try_from(number).unwrap().to_be_bytes()))
    }

    /// How many connections the line for this one tells, if there is one.
    fn told(strangers: &mut Strangers, number: usize, now: Instant) -> Option<u64> {
        strangers.note(peer(number), now, || Some(())).map(|(count, ())| count)
    }

    #[test]
    fn a_peer_is_named_at_first_and_every_ten_minutes_with_the_count_since() {
        let (mut strangers, start) = (Strangers::default(), epoch());
        // A probe every 5 s.
        let told = (0..=240u32).map(|nth| told(&mut strangers, 1, start + 5 * nth * SECOND));
        let told: Vec<_> = told.enumerate().filter(|(_, count)| count.is_some()).collect();
        assert_eq!(told, [(0, Some(1)), (120, Some(120)), (240, Some(120))]);
    }

    #[test]
    fn each_peer_is_named_for_itself() {
        let (mut strangers, start) = (Strangers::default(), epoch());
        for number in [1, 2] {
            assert_eq!(told(&mut strangers, number, start), Some(1));
            assert_eq!(told(&mut strangers, number, start), None);
        }
    }

    #[test]
    fn a_line_that_was_not_allowed_is_due_with_the_next_connection() {
        let (mut strangers, start) = (Strangers::default(), epoch());
        assert_eq!(strangers.note(peer(1), start, || None::<()>), None);
        assert_eq!(told(&mut strangers, 1, start), Some(2));
        assert_eq!(told(&mut strangers, 1, start), None);
    }

    #[test]
    fn the_least_recently_seen_peer_is_forgotten_and_no_other() {
        let (mut strangers, start) = (Strangers::default(), epoch());
        for number in 0..PEERS_MAX {
            assert_eq!(told(&mut strangers, number, start), Some(1));
        }
        assert_eq!(told(&mut strangers, 0, start), None, "it was first, and is seen again");
        assert_eq!(told(&mut strangers, PEERS_MAX, start), Some(1));
        for number in (2..=PEERS_MAX).chain([0]) {
            assert_eq!(told(&mut strangers, number, start), None, "{number} is remembered");
        }
        assert_eq!(told(&mut strangers, 1, start), Some(1), "forgotten");
        assert_eq!((strangers.peers.len(), strangers.by_age.len()), (PEERS_MAX, PEERS_MAX));
    }
}
