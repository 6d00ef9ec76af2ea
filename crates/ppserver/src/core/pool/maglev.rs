//! Which endpoint a client belongs to, the same on every node that knows the same endpoints.
//!
//! Maglev (Eisenbud and others, NSDI 2016, section 3.4): each endpoint has an order of its own in which it
//! prefers the places of a table, and they take places in turn. Who goes away leaves its places to the others,
//! and nearly all other places stay. Invariant: every place belongs to an endpoint, in proportion to weights.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// A prime number of places: with up to 655 endpoints of one weight their shares differ by 1 % at most.
const PLACES: usize = 65_537;
/// How many places are looked at until one who may be chosen is looked for in order.
const LOOKS_MAX: u64 = 16;

/// The places, by the index of their endpoint.
#[derive(Debug)]
pub struct Maglev {
    places: Box<[u16]>,
    seed: u64,
}

impl Maglev {
    /// Gives out the places. `pool` is the pool's name; each of `owners` has an index, a text that tells it, and a
    /// weight. Their order decides who is first where two want one place, so it is to be the same everywhere.
    pub fn new(pool: &str, owners: impl Iterator<Item = (usize, String, u32)>) -> Self {
        let seed = hash(0, pool.as_bytes());
        let places = u64::try_from(PLACES).expect("it is small");
        let mut prefers: Vec<Preference> = owners
            .filter_map(|(index, name, weight)| {
                let index = u16::try_from(index).ok().filter(|_| weight > 0)?;
                let hash = hash(seed, name.as_bytes());
                let skip = usize::try_from(hash % (places - 1) + 1).expect("below PLACES");
                let at = usize::try_from(hash.rotate_left(32) % places).expect("below PLACES");
                Some(Preference { index, at, skip, weight, credit: 0 })
            })
            .collect();
        let heaviest = prefers.iter().map(|it| u64::from(it.weight)).max().unwrap_or(0);
        let mut owners: Vec<Option<u16>> = vec![None; PLACES];
        let mut left = if prefers.is_empty() { 0 } else { PLACES };
        while left > 0 {
            for it in &mut prefers {
                it.credit += u64::from(it.weight);
                if it.credit < heaviest || left == 0 {
                    continue;
                }
                it.credit -= heaviest;
                while owners[it.at].is_some() {
                    it.at = (it.at + it.skip) % PLACES;
                }
                owners[it.at] = Some(it.index);
                left -= 1;
            }
        }
        Self { places: owners.into_iter().flatten().collect(), seed }
    }

    /// Returns the endpoint of a client who is told by these bytes: the first one of his places whose endpoint
    /// `may` be chosen. Without one who is found soon, `None`.
    pub fn choose(&self, client: &[u8], may: impl Fn(usize) -> bool) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let hash = self.hash(client);
        let places = u64::try_from(self.places.len()).expect("it is small");
        let looks = (0..LOOKS_MAX).map(|look| {
            // An odd step leads to another place each time.
            let hash = hash.wrapping_add(look.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            usize::from(self.places[usize::try_from(hash % places).expect("below PLACES")])
        });
        looks.into_iter().find(|index| may(*index))
    }

    /// Returns the number of a client who is told by these bytes.
    pub fn hash(&self, client: &[u8]) -> u64 {
        hash(self.seed, client)
    }
}

/// Where an endpoint wants its next place.
struct Preference {
    index: u16,
    at: usize,
    skip: usize,
    weight: u32,
    credit: u64,
}

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: u32 = 100_000;

    fn owners(endpoints: &[(u8, u32)]) -> impl Iterator<Item = (usize, String, u32)> {
        endpoints.iter().enumerate().map(|(at, (id, weight))| (at, id.to_string(), *weight))
    }

    fn maglev(endpoints: &[(u8, u32)]) -> Maglev {
        Maglev::new("web", owners(endpoints))
    }

    /// The endpoints of all clients, by their ids.
    fn chosen(endpoints: &[(u8, u32)], may: impl Fn(u8) -> bool) -> Vec<Option<u8>> {
        let maglev = maglev(endpoints);
        let choose = |client: u32| {
            let index = maglev.choose(&client.to_be_bytes(), |index| may(endpoints[index].0));
            index.map(|index| endpoints[index].0)
        };
        (0..CLIENTS).map(choose).collect()
    }

    fn moved(one: &[Option<u8>], other: &[Option<u8>]) -> usize {
        one.iter().zip(other).filter(|(one, other)| one != other).count()
    }

    #[test]
    fn shares_follow_weights() {
        let chosen = chosen(&[(1, 1), (2, 2), (3, 1)], |_| true);
        for (id, expected) in [(1, 25_000), (2, 50_000), (3, 25_000)] {
            let count = chosen.iter().filter(|it| **it == Some(id)).count();
            assert!(count.abs_diff(expected) < 1_000, "{id}: {count}");
        }
    }

    #[test]
    fn an_endpoint_that_goes_moves_its_own_clients_and_two_in_a_hundred_others_at_most() {
        for count in [2, 3, 10, 100] {
            let all: Vec<(u8, u32)> = (0..count).map(|id| (id, 1)).collect();
            let before = chosen(&all, |_| true);
            let after = chosen(&all[1..], |_| true);
            let clients = usize::try_from(CLIENTS).unwrap();
            let max = clients / usize::from(count) + clients / 50;
            let moved = moved(&before, &after);
            assert!(moved <= max, "{count}: {moved} > {max}");
        }
    }

    #[test]
    fn an_endpoint_that_is_down_moves_nobody_elses_clients() {
        let all = [(1, 1), (2, 1), (3, 1)];
        let before = chosen(&all, |_| true);
        let after = chosen(&all, |id| id != 2);
        assert!(before.iter().zip(&after).all(|(one, other)| *one == Some(2) || one == other));
        assert!(after.iter().all(|it| it.is_some_and(|id| id != 2)));
    }

    #[test]
    fn the_table_of_a_name_is_the_same_everywhere_and_another_names_is_another() {
        let one = maglev(&[(1, 1), (2, 1)]);
        let two = maglev(&[(1, 1), (2, 1)]);
        assert_eq!(one.places, two.places, "every node chooses alike");
        let other = Maglev::new("mail", owners(&[(1, 1), (2, 1)]));
        assert_ne!(one.places, other.places);
    }

    #[test]
    fn nobody_who_may_is_found_soon_or_not_at_all() {
        assert_eq!(maglev(&[(1, 1)]).choose(b"client", |_| false), None);
    }

    #[test]
    fn who_has_no_weight_has_no_place() {
        assert_eq!(maglev(&[(1, 0)]).choose(b"client", |_| true), None);
        assert!(chosen(&[(1, 0), (2, 1)], |_| true).iter().all(|it| *it == Some(2)));
    }
}
