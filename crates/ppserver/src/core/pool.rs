//! Where connections go: an upstream's endpoints, one after the other, round and round.
//!
//! No socket here, and no name: those are resolved before. Invariant: there is an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::early::Early;

/// An upstream as one worker uses it.
#[derive(Debug)]
pub struct Upstream {
    /// What `[upstream.NAME]` is called.
    pub name: String,
    endpoints: Vec<SocketAddr>,
    attempts_max: usize,
    /// The next endpoint of the round. Written by one worker only; atomic because connections share
    /// the upstream, and shared by what it was before a reload and what it is since.
    next: Arc<AtomicUsize>,
    /// Whether to send right behind the connect. Across a network that is always too early.
    pub early_send: Arc<Early>,
}

impl Upstream {
    /// Prepares an upstream for one worker; `first` spreads the workers over the endpoints.
    pub fn new(name: String, retries: usize, endpoints: Vec<SocketAddr>, first: usize) -> Self {
        Self {
            name,
            attempts_max: attempts_max(retries, &endpoints),
            endpoints,
            next: Arc::new(AtomicUsize::new(first)),
            early_send: Arc::new(Early::new()),
        }
    }

    /// Returns the upstream as it goes on after a reload: what was learned stays, and so does which
    /// endpoint is next, if it is still there, or else the next one of the round that is.
    #[must_use]
    pub fn reloaded(&self, retries: usize, endpoints: Vec<SocketAddr>) -> Self {
        let next = if endpoints == self.endpoints {
            Arc::clone(&self.next)
        } else {
            let old = self.next.load(Ordering::Relaxed);
            let place = |addr| endpoints.iter().position(|other| *other == addr);
            let next =
                (0..self.endpoints.len()).find_map(|at| place(self.addr(self.place(old, at))));
            Arc::new(AtomicUsize::new(next.unwrap_or(old)))
        };
        Self {
            name: self.name.clone(),
            attempts_max: attempts_max(retries, &endpoints),
            endpoints,
            next,
            early_send: Arc::clone(&self.early_send),
        }
    }

    /// Returns how many endpoints one connection may try, each at most once.
    pub fn attempts_max(&self) -> usize {
        self.attempts_max
    }

    /// Takes the next place in the round.
    pub fn next_in_round(&self) -> usize {
        let first = self.next.load(Ordering::Relaxed);
        self.next.store(first.wrapping_add(1), Ordering::Relaxed);
        first
    }

    /// Returns the place of the endpoint for an attempt (0 is the first) of a connection that took this place in the round.
    pub fn place(&self, first: usize, attempt: usize) -> usize {
        first.wrapping_add(attempt) % self.endpoints.len()
    }

    /// Returns the address of the endpoint at a place.
    pub fn addr(&self, place: usize) -> SocketAddr {
        self.endpoints[place]
    }
}

fn attempts_max(retries: usize, endpoints: &[SocketAddr]) -> usize {
    (1 + retries).min(endpoints.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(endpoints: &[&str]) -> Vec<SocketAddr> {
        endpoints.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn upstream(endpoints: &[&str], retries: usize) -> Upstream {
        Upstream::new("web".to_owned(), retries, addrs(endpoints), 0)
    }

    fn port(upstream: &Upstream, first: usize, attempt: usize) -> u16 {
        upstream.addr(upstream.place(first, attempt)).port()
    }

    #[test]
    fn endpoints_are_taken_round_and_round_and_retried_at_the_next() {
        let upstream = upstream(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], 1);
        let ports: Vec<_> = (0..4)
            .map(|_| upstream.next_in_round())
            .map(|first| (port(&upstream, first, 0), port(&upstream, first, 1)))
            .collect();
        assert_eq!(ports, [(1, 2), (2, 3), (3, 1), (1, 2)]);
    }

    #[test]
    fn no_endpoint_is_tried_twice() {
        assert_eq!(upstream(&["127.0.0.1:1", "127.0.0.1:2"], 9).attempts_max(), 2);
    }

    #[test]
    fn a_reload_goes_on_with_the_endpoint_that_is_next() {
        const OLD: [&str; 3] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
        for (new, expected) in [
            (&OLD[..], 2),
            (&["127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:1"], 2),
            (&["127.0.0.1:9", "127.0.0.1:8", "127.0.0.1:2"], 2),
            (&["127.0.0.1:1", "127.0.0.1:3"], 3),
            (&["127.0.0.1:9", "127.0.0.1:1"], 1),
            (&["127.0.0.1:7", "127.0.0.1:8"], 8),
        ] {
            let old = upstream(&OLD, 1);
            old.next_in_round();
            let new = old.reloaded(1, addrs(new));
            assert_eq!(port(&new, new.next_in_round(), 0), expected);
        }
    }

    #[test]
    fn connections_from_before_a_reload_share_the_round_with_those_behind_it() {
        let old = upstream(&["127.0.0.1:1", "127.0.0.1:2"], 0);
        let new = old.reloaded(1, addrs(&["127.0.0.1:1", "127.0.0.1:2"]));
        assert_eq!(new.attempts_max(), 2);
        assert_eq!([old.next_in_round(), new.next_in_round(), old.next_in_round()], [0, 1, 2]);
    }
}
