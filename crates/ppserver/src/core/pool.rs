//! Where connections go: an upstream's endpoints, taken in turn.
//!
//! No socket here, and no name: those are resolved before. Invariant: there is an endpoint.

use std::net::SocketAddr;
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
    /// the upstream.
    turn: AtomicUsize,
    /// Whether to send right behind the connect. Across a network that is always too early.
    pub early_send: Early,
}

impl Upstream {
    /// Prepares an upstream for one worker; `turn` spreads the workers over the endpoints.
    pub fn new(name: String, retries: usize, endpoints: Vec<SocketAddr>, turn: usize) -> Self {
        Self {
            name,
            attempts_max: (1 + retries).min(endpoints.len()),
            endpoints,
            turn: AtomicUsize::new(turn),
            early_send: Early::new(),
        }
    }

    /// Returns how many endpoints one connection may try, each at most once.
    pub fn attempts_max(&self) -> usize {
        self.attempts_max
    }

    /// Takes the next place in the round.
    pub fn next_turn(&self) -> usize {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        turn
    }

    /// Returns the endpoint for an attempt (0 is the first) of a connection that took this turn.
    pub fn endpoint(&self, turn: usize, attempt: usize) -> SocketAddr {
        self.endpoints[turn.wrapping_add(attempt) % self.endpoints.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(endpoints: &[&str], retries: usize) -> Upstream {
        let addrs = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        Upstream::new("web".to_owned(), retries, addrs, 0)
    }

    #[test]
    fn endpoints_are_taken_in_turn_and_retried_at_the_next() {
        let upstream = upstream(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], 1);
        let ports: Vec<_> = (0..4)
            .map(|_| upstream.next_turn())
            .map(|turn| (upstream.endpoint(turn, 0).port(), upstream.endpoint(turn, 1).port()))
            .collect();
        assert_eq!(ports, [(1, 2), (2, 3), (3, 1), (1, 2)]);
    }

    #[test]
    fn no_endpoint_is_tried_twice() {
        assert_eq!(upstream(&["127.0.0.1:1", "127.0.0.1:2"], 9).attempts_max(), 2);
    }
}
