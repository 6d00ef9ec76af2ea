//! Where connections go: endpoints taken in turn, and the header they are sent.
//!
//! No socket here. Names were resolved before, at start or at a reload. Invariant: there is an endpoint.

pub mod greeting;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{self, Endpoint, SendHeader};
use crate::early::Early;

/// An upstream as one worker uses it.
#[derive(Debug)]
pub struct Upstream {
    /// What `[upstream.NAME]` is called.
    pub name: String,
    /// The header it is sent.
    pub send: SendHeader,
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
    pub fn new(config: &config::Upstream, endpoints: Vec<SocketAddr>, turn: usize) -> Self {
        Self {
            name: config.name.clone(),
            send: config.send.clone(),
            attempts_max: (1 + config.retries).min(endpoints.len()),
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

/// Resolves the endpoints of an upstream; a name may stand for several addresses. Blocks.
///
/// # Errors
/// When a name has no address; the error says which.
pub fn resolve(upstream: &config::Upstream) -> io::Result<Vec<SocketAddr>> {
    let mut addrs = Vec::new();
    for endpoint in &upstream.endpoints {
        match endpoint {
            Endpoint::Addr(addr) => addrs.push(*addr),
            Endpoint::Name { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
                    io::Error::other(format!(
                        "upstream `{}`: cannot resolve `{host}`: {error}",
                        upstream.name
                    ))
                })?;
                let before = addrs.len();
                addrs.extend(found);
                if addrs.len() == before {
                    return Err(io::Error::other(format!(
                        "upstream `{}`: `{host}` has no address",
                        upstream.name
                    )));
                }
            }
        }
    }
    Ok(addrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(endpoints: &[&str], retries: usize) -> Upstream {
        let config = config::Upstream {
            name: "web".to_owned(),
            endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
            retries,
            send: SendHeader::Off,
        };
        let addrs = resolve(&config).unwrap();
        Upstream::new(&config, addrs, 0)
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

    #[test]
    fn a_name_without_an_address_is_named_in_the_error() {
        let config = config::Upstream {
            name: "web".to_owned(),
            endpoints: vec!["no-such-host.invalid:80".parse().unwrap()],
            retries: 0,
            send: SendHeader::Off,
        };
        assert!(resolve(&config).unwrap_err().to_string().contains("no-such-host.invalid"));
    }
}
