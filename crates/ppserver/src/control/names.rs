//! From names to addresses, by the system's resolver.

use std::io;
use std::net::ToSocketAddrs;

use crate::config::{self, Endpoint, Entry};
use crate::core::pool::endpoint::Member;

/// Resolves the endpoints of an upstream; a name may stand for several addresses. Blocks.
///
/// # Errors
/// When a name has no address; the error says which.
pub(super) fn resolve(upstream: &config::Upstream) -> io::Result<Vec<Member>> {
    let mut members = Vec::new();
    for Entry { endpoint, weight, backup, connections_max } in &upstream.endpoints {
        let member = |addr| Member {
            addr,
            weight: *weight,
            is_backup: backup.is_on(),
            connections_max: u64::from(*connections_max),
        };
        match endpoint {
            Endpoint::Addr(addr) => members.push(member(*addr)),
            Endpoint::Name { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
                    io::Error::other(format!(
                        "upstream `{}`: cannot resolve `{host}`: {error}",
                        upstream.name
                    ))
                })?;
                let before = members.len();
                members.extend(found.map(member));
                if members.len() == before {
                    return Err(io::Error::other(format!(
                        "upstream `{}`: `{host}` has no address",
                        upstream.name
                    )));
                }
            }
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Balance, Outgoing, Passive};

    #[test]
    fn a_name_without_an_address_is_named_in_the_error() {
        let config = config::Upstream {
            name: "web".to_owned(),
            endpoints: vec![Entry::plain("no-such-host.invalid:80".parse().unwrap())],
            balance: Balance::RoundRobin,
            retries: 0,
            passive: Passive::default(),
            send: Outgoing::Off,
        };
        assert!(resolve(&config).unwrap_err().to_string().contains("no-such-host.invalid"));
    }
}
