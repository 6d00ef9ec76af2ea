//! From names to addresses, by the system's resolver.

use std::io;
use std::net::ToSocketAddrs;

use crate::config::{self, Endpoint};
use crate::core::pool::endpoint::Member;

/// Resolves the endpoints of an upstream; a name may stand for several addresses. Blocks.
///
/// # Errors
/// When a name has no address; the error says which.
pub(super) fn resolve(upstream: &config::Upstream) -> io::Result<Vec<Member>> {
    let mut members = Vec::new();
    for endpoint in &upstream.endpoints {
        match endpoint {
            Endpoint::Addr(addr) => members.push(Member::at(*addr)),
            Endpoint::Name { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
                    io::Error::other(format!(
                        "upstream `{}`: cannot resolve `{host}`: {error}",
                        upstream.name
                    ))
                })?;
                let before = members.len();
                members.extend(found.map(Member::at));
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
    use crate::config::Outgoing;

    #[test]
    fn a_name_without_an_address_is_named_in_the_error() {
        let config = config::Upstream {
            name: "web".to_owned(),
            endpoints: vec!["no-such-host.invalid:80".parse().unwrap()],
            retries: 0,
            send: Outgoing::Off,
        };
        assert!(resolve(&config).unwrap_err().to_string().contains("no-such-host.invalid"));
    }
}
