//! The ports of a bench: fixed, below those the kernel gives away, and checked before each run.
//!
//! The check is there because a server that binds with SO_REUSEPORT shares a port with a forgotten
//! one without a word, and each then gets half of the connections.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

/// The proxy under test.
pub(crate) const PROXY: u16 = 18_401;
/// The server behind it.
pub(crate) const BACKEND: u16 = 18_402;
/// Where the proxy tells its counts, if over HTTP.
pub(crate) const PROXY_STATUS: u16 = 18_403;
/// Where the server behind it tells its counts, if over HTTP.
pub(crate) const BACKEND_STATUS: u16 = 18_404;

/// Endpoints that are checked; who listens there shares it with nobody.
pub(crate) const FARM: u16 = 18_405;

const ALL: [u16; 4] = [PROXY, BACKEND, PROXY_STATUS, BACKEND_STATUS];
/// TCP_LISTEN in the kernel's tables (proc(5)).
const LISTEN: &str = "0A";
/// TCP_CLOSE there, which a socket of datagrams has until it is connected.
const UNCONNECTED: &str = "07";

/// The addresses of so many servers that are one, at the port of the backend.
pub(crate) fn backends(count: u8) -> impl Iterator<Item = SocketAddr> {
    (1..=count).map(|last| ([127, 0, 0, last], BACKEND).into())
}

/// The address of a port here.
pub(crate) fn addr(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Checks that nobody listens on any of them.
///
/// # Errors
/// The port that is taken.
pub(crate) fn all_free() -> Result<()> {
    for port in ALL {
        if is_taken(port)? || is_bound(port)? {
            bail!(
                "somebody listens on port {port} already: another bench, or what an earlier one \
                 left behind (`ss -ltunp` shows it). Its connections would be shared in silence"
            );
        }
    }
    Ok(())
}

/// Whether somebody listens on `port`, on whatever address.
pub(crate) fn is_taken(port: u16) -> Result<bool> {
    let tcp = std::fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
    // Absent where IPv6 is off.
    let tcp6 = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Ok(listens(&tcp, port) || listens(&tcp6, port))
}

/// Whether somebody takes datagrams at `port`, on whatever address.
pub(crate) fn is_bound(port: u16) -> Result<bool> {
    let udp = std::fs::read_to_string("/proc/net/udp").context("reading /proc/net/udp")?;
    let udp6 = std::fs::read_to_string("/proc/net/udp6").unwrap_or_default();
    Ok([udp, udp6].iter().any(|table| has(table, port, UNCONNECTED)))
}

fn listens(table: &str, port: u16) -> bool {
    has(table, port, LISTEN)
}

fn has(table: &str, port: u16, state: &str) -> bool {
    let end = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&end)) && fields.nth(1) == Some(state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_seen_and_a_connection_is_not() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:47E1 00000000:0000 0A 0:0\n\
            1: 0100007F:47E2 0100007F:1234 01 0:0\n";
        assert!(listens(table, 0x47E1));
        assert!(!listens(table, 0x47E2));
        assert!(!listens(table, 0x1234));
    }

    #[test]
    fn a_real_listener_takes_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_taken(listener.local_addr().unwrap().port()).unwrap());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(is_bound(port).unwrap());
        drop(socket);
        assert!(!is_bound(port).unwrap());
    }
}
