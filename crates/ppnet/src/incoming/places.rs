//! Who is without a header, and who gives way when there are too many.
//!
//! A newcomer always gets a place: where there is none left, the peer that holds the most gives up its
//! oldest, and of those that hold as many the one whose oldest is the oldest of all. So a peer alone may have
//! every place, a crowd of one peer sheds its own, and nobody waits for the silent.
//! Invariant: `ranks` has one entry for each peer of `by_peer`, and no peer there has no place.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::Address;

/// How many places a peer holds, and the oldest of them.
type Rank = (usize, Reverse<usize>);

/// Who holds a place: an address, or all that have none, those on UNIX sockets.
type Peer = Option<IpAddr>;

/// The places of those without a header. Their numbers ascend.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    next: usize,
    peers: HashMap<usize, Peer>,
    by_peer: HashMap<Peer, BTreeSet<usize>>,
    ranks: BTreeSet<Rank>,
}

impl Places {
    /// `max` places, which are at least 1.
    pub(crate) fn new(max: usize) -> Self {
        let (peers, by_peer) = (HashMap::new(), HashMap::new());
        Self { max, next: 0, peers, by_peer, ranks: BTreeSet::new() }
    }

    /// Takes a place for a connection of `peer`: its number, and that of the one which must leave.
    pub(crate) fn take<A: Address>(&mut self, peer: &A) -> (usize, Option<usize>) {
        self.take_for(peer.clone().into().ip().map(|addr| addr.ip()))
    }

    fn take_for(&mut self, peer: Peer) -> (usize, Option<usize>) {
        let place = self.next;
        self.next += 1;
        self.peers.insert(place, peer);
        self.change(peer, |held| held.insert(place));
        let (_, Reverse(oldest)) = self.ranks.last().copied().unwrap_or((1, Reverse(place)));
        (place, self.is_over().then_some(oldest))
    }

    /// A place is free again; nothing happens if it is so already.
    pub(crate) fn leave(&mut self, place: usize) {
        if let Some(peer) = self.peers.remove(&place) {
            self.change(peer, |held| held.remove(&place));
        }
    }

    /// Whether somebody who must leave has not.
    pub(crate) fn is_over(&self) -> bool {
        self.peers.len() > self.max
    }

    fn change(&mut self, peer: Peer, change: impl FnOnce(&mut BTreeSet<usize>) -> bool) {
        let held = self.by_peer.entry(peer).or_default();
        if let Some(rank) = rank(held) {
            self.ranks.remove(&rank);
        }
        change(held);
        match rank(held) {
            Some(rank) => {
                self.ranks.insert(rank);
            }
            None => {
                self.by_peer.remove(&peer);
            }
        }
        debug_assert_eq!(self.ranks.len(), self.by_peer.len());
    }
}

fn rank(held: &BTreeSet<usize>) -> Option<Rank> {
    held.first().map(|oldest| (held.len(), Reverse(*oldest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Some([10, 0, 0, last].into())
    }

    #[test]
    fn the_oldest_of_the_peer_with_most_gives_way() {
        let mut places = Places::new(3);
        assert_eq!(places.take_for(peer(1)), (0, None));
        assert_eq!(places.take_for(peer(2)), (1, None));
        assert_eq!(places.take_for(peer(2)), (2, None));
        // Whoever it is that comes.
        assert_eq!(places.take_for(peer(3)), (3, Some(1)));
        places.leave(1);
        assert_eq!(places.take_for(peer(1)), (4, Some(0)));
        places.leave(0);
        // One place each: the oldest of all.
        assert_eq!(places.take_for(peer(4)), (5, Some(2)));
    }

    #[test]
    fn a_peer_alone_may_have_every_place_and_a_place_that_is_left_is_free() {
        let mut places = Places::new(2);
        let all = [places.take_for(peer(1)), places.take_for(peer(1))];
        assert_eq!(all, [(0, None), (1, None)]);
        places.leave(0);
        places.leave(0);
        assert_eq!(places.take_for(peer(1)), (2, None));
        assert_eq!(places.take_for(peer(1)), (3, Some(1)));
        assert!(places.is_over());
        places.leave(1);
        assert!(!places.is_over());
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_left() {
        let mut places = Places::new(8);
        for last in 0..100 {
            let (place, shed) = places.take_for(peer(last % 7));
            assert_eq!(shed, None);
            places.leave(place);
        }
        assert!(places.peers.is_empty() && places.by_peer.is_empty() && places.ranks.is_empty());
    }
}
