//! A backend's address as it is written: numeric, or a name.
//!
//! Nothing is resolved here; the server does that, at start and at a reload. Invariant: the port is not 0, and
//! the printed form reads back as the same endpoint.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// RFC 1035, 2.3.4: the limits of a name and of each of its labels.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A backend: a numeric address, or a name to be resolved at start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `10.0.0.7:8080`, `[fd00::7]:8080`.
    Addr(SocketAddr),
    /// `web.internal:8080`.
    Name {
        /// Letters, digits, `-`, `_` and dots.
        host: String,
        /// 1..=65,535.
        port: u16,
    },
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No colon, or nothing behind it.
    #[error("the port is missing")]
    PortMissing,
    /// Not a number from 1 to 65,535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// More than one colon, and not an address in brackets.
    #[error("an IPv6 address stands in brackets, and this is none: [fd00::7]:8080")]
    Brackets,
    /// All digits and dots, and not an address.
    #[error("it is not an IPv4 address")]
    Ipv4,
    /// Not a host name.
    #[error("it is neither an address nor a host name")]
    Host,
    /// A UNIX socket, by its `unix:`.
    #[error("UNIX sockets are not supported by this version")]
    UnixNotSupported,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.starts_with("unix:") {
            return Err(EndpointError::UnixNotSupported);
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return if addr.port() == 0 { Err(EndpointError::Port) } else { Ok(Self::Addr(addr)) };
        }
        if text.starts_with('[') {
            return Err(EndpointError::Brackets);
        }
        let (host, port) = text.split_once(':').ok_or(EndpointError::PortMissing)?;
        if port.is_empty() {
            return Err(EndpointError::PortMissing);
        }
        if port.contains(':') {
            return Err(EndpointError::Brackets);
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(EndpointError::Port);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(EndpointError::Port)?;
        check_host(host)?;
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

fn check_host(host: &str) -> Result<(), EndpointError> {
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_letter)
    };
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(EndpointError::Ipv4);
    }
    // A dot at the end makes the name absolute.
    let relative = host.strip_suffix('.').unwrap_or(host);
    let is_name = host.len() <= HOST_BYTES_MAX && relative.split('.').all(is_label);
    if is_name { Ok(()) } else { Err(EndpointError::Host) }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_addresses_and_names_are_told_apart() {
        let addr = |text: &str| Endpoint::Addr(text.parse().unwrap());
        assert_eq!("10.0.0.7:80".parse(), Ok(addr("10.0.0.7:80")));
        assert_eq!("[fd00::7]:80".parse(), Ok(addr("[fd00::7]:80")));
        let name = Endpoint::Name { host: "web_1.internal".into(), port: 8080 };
        assert_eq!("web_1.internal:8080".parse(), Ok(name));
        assert!(matches!("web.internal.:80".parse(), Ok(Endpoint::Name { .. })));
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, why) in [
            ("web", EndpointError::PortMissing),
            ("web:", EndpointError::PortMissing),
            ("", EndpointError::PortMissing),
            ("web:0", EndpointError::Port),
            ("10.0.0.7:0", EndpointError::Port),
            ("web:+80", EndpointError::Port),
            ("web:65536", EndpointError::Port),
            ("web:http", EndpointError::Port),
            ("fd00::7:80", EndpointError::Brackets),
            ("[fd00::7]", EndpointError::Brackets),
            ("256.0.0.1:80", EndpointError::Ipv4),
            ("10.0.0:80", EndpointError::Ipv4),
            (":80", EndpointError::Host),
            ("a..b:80", EndpointError::Host),
            ("a b:80", EndpointError::Host),
            ("http//x:80", EndpointError::Host),
            ("unix:/run/a.sock", EndpointError::UnixNotSupported),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_printed_endpoint_reads_back() {
        for text in ["10.0.0.7:80", "[fd00::7]:80", "[fe80::1%2]:80", "web.internal.:8080"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }
}
