//! The way that a packet would take, as the kernel finds it (rtnetlink(7), RTM_GETROUTE).
//!
//! One question and one answer on a socket of its own. Invariant: an answer that is not understood is an error, whatever
//! it holds.

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Of netlink(7): a header, its types and flags.
const HEADER_LEN: usize = 16;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// Of rtnetlink(7): a route, its types and attributes.
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const ROUTE_LEN: usize = 12;
const TYPE_AT: usize = HEADER_LEN + 7;
const LOCAL: u8 = 2;
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const CAME_IN: u16 = 3;
const GOES_OUT: u16 = 4;

/// More than an answer about one route takes.
const ANSWER_BYTES_MAX: usize = 4096;

/// Where a packet would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To this host.
    Local,
    /// Elsewhere.
    Out,
}

/// A route that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) way: Way,
    /// The interface that it goes out by, by number; 0 where it does not.
    pub(super) interface: u32,
}

/// Finds the route of a packet, which comes from an address if one is given, and came in by an interface if one is;
/// otherwise this host sends it. `None` if there is none.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) fn route(
    from: Option<IpAddr>,
    to: IpAddr,
    came_in: Option<u32>,
) -> io::Result<Option<Route>> {
    let flags = SocketFlags::CLOEXEC;
    // No protocol is NETLINK_ROUTE.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    rustix::net::send(&socket, &question(from, to, came_in), SendFlags::empty())?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    let (len, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    understand(answer.get(..len).unwrap_or_default())
}

/// Returns the name of an interface.
///
/// # Errors
/// When there is none of this number.
pub(super) fn name_of(interface: u32) -> io::Result<String> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    Ok(rustix::net::netdevice::index_to_name(&socket, interface)?)
}

fn question(from: Option<IpAddr>, to: IpAddr, came_in: Option<u32>) -> Vec<u8> {
    let family: u8 = if to.is_ipv4() { 2 } else { 10 };
    let bits = |addr: IpAddr| if addr.is_ipv4() { 32 } else { 128 };
    // Family, lengths of both addresses, and the rest is the kernel's to find.
    let mut body = vec![family, bits(to), from.map_or(0, bits), 0, 0, 0, 0, 0, 0, 0, 0, 0];
    put(&mut body, DESTINATION, &octets(to));
    if let Some(from) = from {
        put(&mut body, SOURCE, &octets(from));
    }
    if let Some(interface) = came_in {
        put(&mut body, CAME_IN, &interface.to_ne_bytes());
    }
    let len = u32::try_from(HEADER_LEN + body.len()).expect("it is short");
    let mut question = len.to_ne_bytes().to_vec();
    question.extend(GET_ROUTE.to_ne_bytes());
    question.extend(REQUEST.to_ne_bytes());
    // A number and a port, of which nothing is asked.
    question.extend([0; 8]);
    question.extend(body);
    question
}

/// Puts an attribute, whose length is a multiple of 4.
fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(4 + value.len()).expect("it is short");
    body.extend(len.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// Takes an answer apart.
///
/// # Errors
/// When it is none.
fn understand(answer: &[u8]) -> io::Result<Option<Route>> {
    let none = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is none");
    match number(answer, 4).ok_or_else(none)? {
        // No route to it, or none that may be used: whatever the reason, nothing goes there.
        ERROR => Ok(None),
        NEW_ROUTE => {
            let kind = *answer.get(TYPE_AT).ok_or_else(none)?;
            let way = if kind == LOCAL { Way::Local } else { Way::Out };
            let mut rest = answer.get(HEADER_LEN + ROUTE_LEN..).ok_or_else(none)?;
            let mut interface = 0;
            while let (Some(len), Some(kind)) = (number(rest, 0), number(rest, 2)) {
                let len = usize::from(len);
                if kind == GOES_OUT
                    && let Some(value) = rest.get(4..8)
                {
                    interface = u32::from_ne_bytes(value.try_into().map_err(|_| none())?);
                }
                // The next one begins at a multiple of 4.
                let next = len.max(4).next_multiple_of(4);
                rest = rest.get(next..).unwrap_or_default();
            }
            Ok(Some(Route { way, interface }))
        }
        _ => Err(none()),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn loopback_is_local_and_answers_of_it_to_strangers_go_out_or_nowhere() {
        let route_to = |to| route(None, to, None).unwrap();
        let loopback = route_to(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(loopback.way, Way::Local);
        assert_eq!(name_of(loopback.interface).unwrap(), "lo");
        if let Some(stranger) = route_to([203, 0, 113, 1].into()) {
            assert_eq!(stranger.way, Way::Out);
        }
        let back = route(Some(Ipv4Addr::LOCALHOST.into()), [203, 0, 113, 1].into(), None).unwrap();
        assert!(back.is_none_or(|back| back.way == Way::Out));
    }

    #[test]
    fn what_is_no_answer_is_an_error_at_any_length() {
        let whole = question(Some(Ipv6Addr::LOCALHOST.into()), Ipv6Addr::LOCALHOST.into(), Some(1));
        assert_eq!(usize::from(number(&whole, 0).unwrap()), whole.len());
        let mut answer = whole.clone();
        answer[4..6].copy_from_slice(&NEW_ROUTE.to_ne_bytes());
        for len in 0..answer.len() {
            let understood = understand(&answer[..len]);
            assert_eq!(understood.is_ok(), len >= HEADER_LEN + ROUTE_LEN, "{len}");
        }
        assert!(understand(&whole).is_err(), "a question");
    }
}
