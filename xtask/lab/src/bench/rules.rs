//! The rules of the case of that name, in our language and in HAProxy's: a list of networks that are denied, routes that
//! lead elsewhere, a limit of each client, and a hundred endpoints.
//!
//! Invariant: the client of the load meets every rule and none holds for it, so that each connection costs all of
//! them and goes where it would without.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::ports;

/// Endpoints, at addresses of their own.
pub(super) const ENDPOINTS: u8 = 100;
/// Networks in the list that is asked first.
const NETWORKS: u32 = 100_000;
/// Routes behind it.
const ROUTES: u8 = 49;

/// What is decided on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    None,
    Many,
}

impl Rules {
    fn backends(self) -> impl Iterator<Item = SocketAddr> {
        ports::backends(if self == Self::None { 1 } else { ENDPOINTS })
    }

    /// Returns the value of our `endpoints`.
    pub(super) fn ppserver_endpoints(self) -> String {
        let addrs: Vec<_> = self.backends().map(|addr| format!("\"{addr}\"")).collect();
        format!("[{}]", addrs.join(", "))
    }

    /// Returns our `[listener.limits]` and `[[listener.route]]`.
    pub(super) fn ppserver(self) -> String {
        if self == Self::None {
            return String::new();
        }
        let networks: Vec<_> = networks().map(|network| format!("\"{network}\"")).collect();
        let mut text = format!(
            "  [listener.limits]\n  per_client = {{ connections = 100000, rate = 1000000 }}\n\
             [[listener.route]]\nwhen = {{ client = [{}] }}\ndeny = true\n",
            networks.join(",")
        );
        for route in routes() {
            let _ = write!(
                text,
                "[[listener.route]]\nwhen = {{ client = [\"{route}\"] }}\nupstream = \"backend\"\n"
            );
        }
        text
    }

    /// Returns the file of networks that HAProxy's lines name.
    pub(super) fn haproxy_networks(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Many => networks().map(|network| format!("{network}\n")).collect(),
        }
    }

    /// Returns HAProxy's lines below `bind`, and the backend that its routes lead to.
    pub(super) fn haproxy(self, dir: &Path) -> String {
        let servers: String = self
            .backends()
            .enumerate()
            .map(|(at, addr)| format!("    server backend{at} {addr} send-proxy-v2\n"))
            .collect();
        if self == Self::None {
            return servers;
        }
        let routes: String = routes()
            .map(|route| format!("    use_backend elsewhere if {{ src {route} }}\n"))
            .collect();
        // Of the client behind the header, which `connection` rules do not know.
        format!(
            "    stick-table type ip size 1m expire 10s store conn_cur,conn_rate(1s)
    tcp-request session track-sc0 src
    tcp-request session reject if {{ sc0_conn_cur gt 100000 }} or {{ sc0_conn_rate gt 1000000 }}
    tcp-request session reject if {{ src -f {dir}/networks }}
{routes}{servers}backend elsewhere
{servers}",
            dir = dir.display(),
        )
    }
}

/// Every second /24 of 11.0.0.0 and on, so that none can be joined with another.
fn networks() -> impl Iterator<Item = String> {
    (0..NETWORKS).map(|at| format!("{}/24", Ipv4Addr::from_bits(0x0B00_0000 + (at << 9))))
}

fn routes() -> impl Iterator<Item = String> {
    (1..=ROUTES).map(|second| format!("10.{second}.0.0/16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_the_load_is_in_no_network_of_the_rules() {
        let last = networks().last().unwrap();
        assert_eq!(networks().count(), 100_000);
        assert_eq!(last, "14.13.62.0/24", "and 203.0.113.7 lies behind it");
    }
}
