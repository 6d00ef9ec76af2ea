//! Connections that come from addresses of clients: whether that is allowed, and whether what is answered comes back.
//!
//! Answers go to an address that is not of this host, and only routes bring them here. What those are is asked of the
//! kernel for one client that stands for all; a mark that a firewall sets is not seen. Invariant: routes are only warned
//! of.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::Domain;

use super::error::ServerError;
use super::routes::{self, Way};
use crate::config::{Config, Endpoint, Source};
use crate::data::orders::Plan;
use crate::data::sys;

/// Endpoints that are looked at; there are as many lines at most.
const ENDPOINTS_MAX: usize = 16;

/// The table that is proposed.
const TABLE: u32 = 123;

/// Clients of documentation (RFC 5737, RFC 3849), which stand for all.
const CLIENTS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 1), Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1));

/// Whether any upstream sees connections come from clients.
pub(super) fn is_asked_for(config: &Config) -> bool {
    config.upstreams.iter().any(|upstream| upstream.source == Source::Client)
}

/// Finds out whether it is allowed, where it is asked for.
///
/// # Errors
/// When it is not.
pub(super) fn check(config: &Config) -> Result<(), ServerError> {
    let asks = config.upstreams.iter().find(|upstream| upstream.source == Source::Client);
    let Some(upstream) = asks else { return Ok(()) };
    let refused = |error| ServerError::NoSpoofing { upstream: upstream.name.clone(), error };
    sys::transparent(Domain::IPV4).map(drop).map_err(refused)
}

/// What connections from clients lack on this host.
#[derive(Debug)]
pub struct Lacking {
    /// In words.
    pub text: String,
    /// The lines that mend it.
    pub mend: Vec<String>,
}

/// Finds what connections from clients, or from an address, lack on this host.
pub fn lacking(config: &Config) -> Vec<Lacking> {
    let mut found = Vec::new();
    if let Err(error) = check(config) {
        let mend = ["AmbientCapabilities=CAP_NET_RAW", "CapabilityBoundingSet=CAP_NET_RAW"];
        let mend = mend.map(|line| format!("{line}    # in [Service] of the unit")).into();
        found.push(Lacking { text: error.to_string(), mend });
    }
    for upstream in &config.upstreams {
        let name = &upstream.name;
        let addrs = upstream.endpoints.iter().filter_map(|entry| match &entry.endpoint {
            Endpoint::Addr(addr) => addr.inet(),
            Endpoint::Name { .. } | Endpoint::Srv(_) | Endpoint::File(_) => None,
        });
        match upstream.source {
            Source::Any => {}
            Source::Addr(source) => {
                if let Err(error) = bind(source) {
                    let text = format!("`{name}`: no connection can come from {source}: {error}");
                    let mend = vec![format!("ip addr add {source} dev eth0")];
                    found.push(Lacking { text, mend });
                }
            }
            Source::Client => {
                for endpoint in addrs.take(ENDPOINTS_MAX) {
                    if let Ok(Some(lines)) = lines(endpoint.ip()) {
                        let text = format!(
                            "`{name}`: answers of {endpoint} to clients do not come back here"
                        );
                        found.push(Lacking { text, mend: lines.into() });
                    }
                }
            }
        }
    }
    found
}

/// Warns of answers that would not come back, and of addresses that this host does not have.
pub(super) fn warn(plan: &Plan) {
    for (upstream, pool) in plan.config.upstreams.iter().zip(&plan.pools) {
        let endpoints = || pool.endpoints.iter().filter_map(|endpoint| endpoint.member.addr.inet());
        match upstream.source {
            Source::Any => {}
            Source::Addr(source) => {
                if let Err(error) = bind(source) {
                    let upstream = &upstream.name;
                    tracing::warn!(upstream, %source, %error, "no connection can come from `source`");
                }
            }
            Source::Client => {
                for endpoint in endpoints().take(ENDPOINTS_MAX) {
                    if let Ok(Some(lines)) = lines(endpoint.ip()) {
                        let upstream = &upstream.name;
                        tracing::warn!(
                            upstream,
                            %endpoint,
                            lines = lines.join("; "),
                            "answers to clients do not come back here, unless a firewall marks them"
                        );
                    }
                }
            }
        }
    }
}

fn bind(source: IpAddr) -> io::Result<()> {
    let addr = SocketAddr::new(source, 0);
    let socket = socket2::Socket::new(Domain::for_address(addr), socket2::Type::STREAM, None)?;
    socket.bind(&addr.into())
}

/// Returns what would bring answers of an endpoint back; `None` if they come back as it is.
///
/// # Errors
/// When the kernel does not say.
fn lines(endpoint: IpAddr) -> io::Result<Option<[String; 2]>> {
    let client = match endpoint {
        IpAddr::V4(_) => CLIENTS.0.into(),
        IpAddr::V6(_) => CLIENTS.1.into(),
    };
    let (there, interface) = match routes::route(None, endpoint, None)? {
        Some(route) => (route.way, route.interface),
        // Nobody gets there at all.
        None => return Ok(None),
    };
    // What this host answers to itself has come from nowhere; what others do comes in where they are reached.
    let came_in = if there == Way::Local { None } else { Some(interface) };
    let back = routes::route(Some(endpoint), client, came_in)?;
    if back.is_some_and(|back| back.way == Way::Local) {
        return Ok(None);
    }
    let interface = match came_in {
        Some(interface) => routes::name_of(interface)?,
        None => "lo".to_owned(),
    };
    let (ip, all) = if endpoint.is_ipv4() { ("ip", "0.0.0.0/0") } else { ("ip -6", "::/0") };
    Ok(Some([
        format!("{ip} rule add from {endpoint} iif {interface} lookup {TABLE}"),
        format!("{ip} route add local {all} dev lo table {TABLE}"),
    ]))
}
