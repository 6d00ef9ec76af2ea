//! Addresses and networks as people write them, behind a flag or in the file: one reading for both.
//!
//! Nothing is resolved here; the server does that while it runs. Invariant: an address that leaves is canonical
//! (v4-mapped is IPv4), one to connect to is that of a single host, and the printed form of an address or of a
//! name with its port reads back as the same endpoint.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use pptrust::{Networks, Peers, parse_network};

use super::codes::Code;
use super::diagnostics::{Diagnostics, Quote};
use super::parse::At;
use super::{Source, Toggle};
use crate::core::addr::{self, Addr, UNIX_NAME_BYTES_MAX, UnixName};

/// RFC 1035, 2.3.4: the limits of a name and of each of its labels.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// What the name of a socket that is passed stands behind, and its most bytes (systemd.socket(5)).
const INHERITED: &str = "fd:";
const SOCKET_NAME_BYTES_MAX: usize = 255;

/// A backend: a numeric address, or what stands for some, which the server follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `10.0.0.7:8080`, `[fd00::7]:8080`, `unix:/run/web.sock`.
    Addr(Addr),
    /// `web.internal:8080`.
    Name {
        /// Letters, digits, `-`, `_` and dots.
        host: String,
        /// 1..=65,535.
        port: u16,
    },
    /// `{ srv = "_pp._tcp.web.internal" }`: a name of the same letters, whose SRV records say where.
    Srv(String),
    /// `{ file = "/etc/pp/web.txt" }`: a line an endpoint.
    File(PathBuf),
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bind {
    /// `0.0.0.0:443`, `[::]:443`, `unix:/run/pp.sock`; port 0 lets the kernel choose.
    Addr(Addr),
    /// `fd:web`: the sockets of this name that a service manager passes, all of them.
    Inherited(String),
}

impl Bind {
    /// Its address, where that is known before a start.
    pub fn addr(&self) -> Option<Addr> {
        match self {
            Self::Addr(addr) => Some(*addr),
            Self::Inherited(_) => None,
        }
    }

    /// Its address of IP, where it has one that is known before a start.
    pub fn inet(&self) -> Option<SocketAddr> {
        self.addr()?.inet()
    }
}

/// Why a text is not the address that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
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
    /// A name, or nothing like an address, where we listen.
    #[error("it is no address in numbers with a port")]
    NotNumeric,
    /// `http://` and the like in front.
    #[error("an address has no scheme")]
    Scheme,
    /// `fe80::1%eth0`.
    #[error("a zone is the number of an interface here, not its name")]
    ZoneName,
    /// `fe80::1` on no interface.
    #[error("a link-local address needs a zone, the interface it is on")]
    ZoneMissing,
    /// `0.0.0.0` or `::`, to connect to.
    #[error("it is the address of no host")]
    Unspecified,
    /// Multicast or broadcast, to connect to.
    #[error("it is the address of many hosts, and a connection has one peer")]
    Group,
    /// IPv4 in the clothes of IPv6, to listen on.
    #[error("it is an IPv4 address")]
    Mapped,
    /// Not the name of a UNIX socket, behind `unix:`.
    #[error("a UNIX socket has an absolute path, or `@` and a name, of at most 107 bytes")]
    UnixName,
    /// Not the name of a socket that is passed, behind `fd:`.
    #[error("the name of a socket has 1 to 255 printable ASCII characters, and no colon")]
    SocketName,
}

impl AddressError {
    /// What to write in place of `text`, if that is not what all such addresses look like.
    fn help(self, text: &str) -> Option<String> {
        match self {
            Self::Scheme => {
                let (scheme, rest) = text.split_once("://")?;
                let host = rest.split('/').next().unwrap_or_default();
                let port = if host.contains(':') { "" } else { ":PORT" };
                Some(format!("drop the \"{scheme}://\": \"{host}{port}\""))
            }
            Self::ZoneName | Self::ZoneMissing => {
                let (_, zone) = text.split_once('%').unwrap_or_default();
                let name = zone.split(']').next().filter(|name| !name.is_empty());
                let name = name.unwrap_or("eth0");
                Some(format!("\"[fe80::1%2]:80\", if `cat /sys/class/net/{name}/ifindex` prints 2"))
            }
            Self::Unspecified => {
                Some("this host is \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned())
            }
            Self::Mapped => {
                let addr = text.parse::<SocketAddr>().ok()?;
                let plain = SocketAddr::new(addr.ip().to_canonical(), addr.port());
                Some(format!("write \"{plain}\"; an IPv6 listener takes no IPv4 connections"))
            }
            Self::SocketName => {
                Some("\"fd:web\", where the .socket unit says FileDescriptorName=web".to_owned())
            }
            // No host is called so, but a service is.
            Self::PortMissing if text.starts_with('_') => {
                let name = text.trim_end_matches(':');
                Some(format!("its SRV records have the port: {{ srv = \"{name}\" }}"))
            }
            Self::PortMissing
            | Self::Port
            | Self::Brackets
            | Self::Ipv4
            | Self::Host
            | Self::NotNumeric
            | Self::Group => None,
            Self::UnixName => Some("\"unix:/run/web.sock\" or \"unix:@web\"".to_owned()),
        }
    }

    fn report(self, text: At<&str>, what: &str, usual: &str, faults: &mut Diagnostics) {
        let shown = text.value;
        let help = self.help(shown).unwrap_or_else(|| usual.to_owned());
        faults.add(Code::BadValue, text.place, format!("`{shown}`{what}: {self}")).with_help(help);
    }
}

/// Reads where a listener listens.
pub(super) fn bind(text: At<&str>, faults: &mut Diagnostics) -> Option<At<Bind>> {
    listened(text, str::parse, faults)
}

/// Reads an address to listen on.
pub(super) fn listen(text: At<&str>, faults: &mut Diagnostics) -> Option<At<SocketAddr>> {
    listened(text, parse_listen, faults)
}

fn listened<T>(
    text: At<&str>,
    parse: impl FnOnce(&str) -> Result<T, AddressError>,
    faults: &mut Diagnostics,
) -> Option<At<T>> {
    match parse(text.value) {
        Ok(value) => Some(At::new(value, text.place)),
        Err(error) => {
            let usual = "numbers, such as \"0.0.0.0:443\", \"127.0.0.1:8080\" or \"[::]:443\"";
            error.report(text, " cannot be listened on", usual, faults);
            None
        }
    }
}

/// Reads where a UNIX socket of ours is to be.
pub(super) fn socket_path(text: At<&str>, faults: &mut Diagnostics) -> Option<At<PathBuf>> {
    let path = text.value;
    let why = if path.starts_with("unix:") {
        "this is a path already, without `unix:`"
    } else if path.len() > UNIX_NAME_BYTES_MAX {
        "the path of a UNIX socket has at most 107 bytes"
    } else if path.contains('\0') {
        "a path has no NUL"
    } else {
        return Some(At::new(PathBuf::from(path), text.place));
    };
    faults
        .add(Code::BadValue, text.place, why)
        .with_help("for example \"/run/ppserver/admin.sock\"");
    None
}

/// Reads an address to connect to.
pub(super) fn endpoint(text: At<&str>, faults: &mut Diagnostics) -> Option<At<Endpoint>> {
    match text.value.parse() {
        Ok(endpoint) => Some(At::new(endpoint, text.place)),
        Err(error) => {
            let usual = "for example \"10.0.0.7:8080\", \"[fd00::7]:8080\" or \"web:8080\"";
            AddressError::report(error, text, " is no endpoint", usual, faults);
            None
        }
    }
}

/// Reads a name whose SRV records are endpoints.
pub(super) fn srv(text: At<&str>, faults: &mut Diagnostics) -> Option<At<Endpoint>> {
    if check_host(text.value).is_ok() {
        return Some(At::new(Endpoint::Srv(text.value.to_owned()), text.place));
    }
    let (name, port) = text.value.rsplit_once(':').unwrap_or_default();
    let help = if check_host(name).is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("SRV records have the port: \"{name}\"")
    } else {
        "for example \"_pp._tcp.web.internal\"".to_owned()
    };
    let message = format!("`{}` is no name", text.value);
    faults.add(Code::BadValue, text.place, message).with_help(help);
    None
}

/// Reads the path of a file with endpoints.
pub(super) fn file(text: At<&str>, faults: &mut Diagnostics) -> Option<At<Endpoint>> {
    if !text.value.is_empty() && !text.value.contains('\0') {
        return Some(At::new(Endpoint::File(PathBuf::from(text.value)), text.place));
    }
    let help = "for example \"/etc/pp/web.txt\"";
    faults.add(Code::BadValue, text.place, "this is no path").with_help(help);
    None
}

/// Reads one entry of a list of networks.
pub(super) fn network(text: At<&str>, faults: &mut Diagnostics) -> Option<At<IpNet>> {
    if text.value == TRUST_ANY {
        faults
            .add(Code::BadValue, text.place, "\"any\" stands alone: it believes everybody already")
            .with_help("\"any\" and nothing else, or only networks");
        return None;
    }
    match parse_network(text.value) {
        Ok(network) => Some(At::new(network, text.place)),
        Err(error) => {
            faults
                .add(Code::BadValue, text.place, error.to_string())
                .with_help("`trust` takes networks and addresses, numbers only, and \"unix\"");
            None
        }
    }
}

/// Reads what connections to endpoints come from.
pub(super) fn source(text: At<&str>, faults: &mut Diagnostics) -> Option<Source> {
    if text.value.is_empty() {
        return Some(Source::Any);
    }
    if text.value == SOURCE_CLIENT {
        return Some(Source::Client);
    }
    let addr = text.value.parse::<IpAddr>().map(|addr| addr.to_canonical());
    // It is told with a port, of which nothing is asked.
    let why = match addr.map(|addr| (addr, single_host(SocketAddr::new(addr, 1)))) {
        Ok((addr, Ok(_))) if !is_link_local(addr) => return Some(Source::Addr(addr)),
        Ok((_, Ok(_))) => "it is an address of one interface alone".to_owned(),
        Ok((_, Err(error))) => error.to_string(),
        Err(_) => "it is no address without a port".to_owned(),
    };
    faults
        .add(Code::BadValue, text.place, format!("`{}` cannot be a source: {why}", text.value))
        .with_help("\"client\", or an address of this host such as \"10.0.0.5\"")
        .with_nearest(text.value, [SOURCE_CLIENT], Quote::Double);
    None
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(_) => false,
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// The word for the client's own address.
pub(super) const SOURCE_CLIENT: &str = "client";

/// The word for trust in everybody.
pub(super) const TRUST_ANY: &str = "any";

/// The word for trust in whoever may connect to a UNIX socket.
pub(super) const TRUST_UNIX: &str = "unix";

/// Puts together what a list of trust says.
pub(super) fn peers(networks: &[At<IpNet>], unix: Toggle) -> Option<Peers> {
    match Networks::new(networks.iter().map(|entry| entry.value)) {
        Ok(networks) => Some(Peers::Networks(networks)),
        Err(_) => unix.is_on().then_some(Peers::Nobody),
    }
}

impl FromStr for Bind {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(name) = text.strip_prefix(INHERITED) else {
            return match unix(text) {
                Some(name) => name.map(Self::Addr),
                None => parse_listen(text).map(|addr| Self::Addr(addr.into())),
            };
        };
        // FileDescriptorName= of systemd.socket(5).
        let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let is_name = (1..=SOCKET_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| is_printable(byte) && byte != b':');
        if is_name { Ok(Self::Inherited(name.to_owned())) } else { Err(AddressError::SocketName) }
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, AddressError> {
    let addr = numeric(text)?.ok_or(AddressError::NotNumeric)?;
    let is_mapped = addr.ip().to_canonical() != addr.ip();
    if is_mapped { Err(AddressError::Mapped) } else { Ok(addr) }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(name) = unix(text) {
            return name.map(Self::Addr);
        }
        if let Some(addr) = numeric(text)? {
            return single_host(addr).map(|addr| Self::Addr(addr.into()));
        }
        if text.starts_with('[') {
            return Err(AddressError::Brackets);
        }
        let (host, port) = text.split_once(':').ok_or(AddressError::PortMissing)?;
        if port.is_empty() {
            return Err(AddressError::PortMissing);
        }
        if port.contains(':') {
            return Err(AddressError::Brackets);
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::Port);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?;
        check_host(host)?;
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

/// Reads the name of a UNIX socket; `None` if it is something else.
fn unix(text: &str) -> Option<Result<Addr, AddressError>> {
    let name = text.strip_prefix(addr::UNIX)?;
    Some(UnixName::new(name).map(Addr::Unix).ok_or(AddressError::UnixName))
}

/// Reads an address in numbers; `None` if it is something else.
fn numeric(text: &str) -> Result<Option<SocketAddr>, AddressError> {
    if text.contains("://") {
        return Err(AddressError::Scheme);
    }
    match text.parse() {
        Ok(SocketAddr::V6(addr)) if addr.ip().is_unicast_link_local() && addr.scope_id() == 0 => {
            Err(AddressError::ZoneMissing)
        }
        Ok(addr) => Ok(Some(addr)),
        Err(_) if text.contains(':') && text.contains('%') => Err(AddressError::ZoneName),
        Err(_) => Ok(None),
    }
}

/// Returns the address as it can be connected to: canonical, and that of a single host.
///
/// # Errors
/// When it is of no host or of many, or has no port.
pub fn single_host(addr: SocketAddr) -> Result<SocketAddr, AddressError> {
    let ip = addr.ip().to_canonical();
    let is_broadcast = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    if addr.port() == 0 {
        Err(AddressError::Port)
    } else if ip.is_unspecified() {
        Err(AddressError::Unspecified)
    } else if ip.is_multicast() || is_broadcast {
        Err(AddressError::Group)
    } else if ip == addr.ip() {
        Ok(addr)
    } else {
        Ok(SocketAddr::new(ip, addr.port()))
    }
}

pub(super) fn check_host(host: &str) -> Result<(), AddressError> {
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_letter)
    };
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(AddressError::Ipv4);
    }
    // A dot at the end makes the name absolute.
    let relative = host.strip_suffix('.').unwrap_or(host);
    let is_name = host.len() <= HOST_BYTES_MAX && relative.split('.').all(is_label);
    if is_name { Ok(()) } else { Err(AddressError::Host) }
}

impl Endpoint {
    /// Whether it stands for endpoints that may become others.
    pub fn is_followed(&self) -> bool {
        match self {
            Self::Addr(_) => false,
            Self::Name { .. } | Self::Srv(_) | Self::File(_) => true,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Inherited(name) => write!(f, "{INHERITED}{name}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Srv(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
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
            ("web", AddressError::PortMissing),
            ("web:", AddressError::PortMissing),
            ("", AddressError::PortMissing),
            ("web:0", AddressError::Port),
            ("10.0.0.7:0", AddressError::Port),
            ("web:+80", AddressError::Port),
            ("web:65536", AddressError::Port),
            ("web:http", AddressError::Port),
            ("fd00::7:80", AddressError::Brackets),
            ("[fd00::7]", AddressError::Brackets),
            ("256.0.0.1:80", AddressError::Ipv4),
            ("10.0.0:80", AddressError::Ipv4),
            (":80", AddressError::Host),
            ("a..b:80", AddressError::Host),
            ("a b:80", AddressError::Host),
            ("http//x:80", AddressError::Host),
            ("unix:run/a.sock", AddressError::UnixName),
            ("http://web:80", AddressError::Scheme),
            ("https://web/", AddressError::Scheme),
            ("0.0.0.0:80", AddressError::Unspecified),
            ("[::]:80", AddressError::Unspecified),
            ("[::ffff:0.0.0.0]:80", AddressError::Unspecified),
            ("224.0.0.1:80", AddressError::Group),
            ("[ff02::1%2]:80", AddressError::Group),
            ("255.255.255.255:80", AddressError::Group),
            ("[fe80::1]:80", AddressError::ZoneMissing),
            ("[fe80::1%eth0]:80", AddressError::ZoneName),
            ("fe80::1%eth0", AddressError::ZoneName),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_listened_on_says_why() {
        for (text, why) in [
            ("localhost:443", AddressError::NotNumeric),
            (":443", AddressError::NotNumeric),
            ("0.0.0.0", AddressError::NotNumeric),
            ("http://0.0.0.0:80", AddressError::Scheme),
            ("[fe80::1]:80", AddressError::ZoneMissing),
            ("[fe80::1%eth0]:80", AddressError::ZoneName),
            ("[::ffff:10.0.0.1]:443", AddressError::Mapped),
            ("unix:run/a.sock", AddressError::UnixName),
            ("fd:", AddressError::SocketName),
            ("fd:a:b", AddressError::SocketName),
            ("fd:\u{e4}", AddressError::SocketName),
            ("fd:a\tb", AddressError::SocketName),
        ] {
            assert_eq!(text.parse::<Bind>(), Err(why), "{text}");
        }
        for text in [
            "0.0.0.0:0",
            "[::]:443",
            "[fe80::1%2]:80",
            "unix:/run/a.sock",
            "unix:@a",
            "fd:web",
            "fd:web.socket",
        ] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        for (len, is_name) in [(255, true), (256, false)] {
            let text = format!("fd:{}", "a".repeat(len));
            assert_eq!(text.parse::<Bind>().is_ok(), is_name, "{len}");
        }
        assert_eq!(parse_listen("fd:web"), Err(AddressError::NotNumeric));
    }

    #[test]
    fn what_to_write_instead_is_made_of_what_was_written() {
        for (error, text, help) in [
            (AddressError::Scheme, "http://web:80/", "drop the \"http://\": \"web:80\""),
            (AddressError::Scheme, "tcp://web", "drop the \"tcp://\": \"web:PORT\""),
            (
                AddressError::ZoneName,
                "[fe80::7%wlan1]:80",
                "\"[fe80::1%2]:80\", if `cat /sys/class/net/wlan1/ifindex` prints 2",
            ),
            (
                AddressError::Mapped,
                "[::ffff:10.0.0.1]:443",
                "write \"10.0.0.1:443\"; an IPv6 listener takes no IPv4 connections",
            ),
        ] {
            assert_eq!(error.help(text).as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn a_v4_mapped_endpoint_is_its_ipv4_address() {
        let endpoint = "[::ffff:10.0.0.7]:80".parse::<Endpoint>();
        assert_eq!(endpoint, Ok(Endpoint::Addr("10.0.0.7:80".parse().unwrap())));
    }

    #[test]
    fn a_printed_endpoint_reads_back() {
        for text in [
            "10.0.0.7:80",
            "[fd00::7]:80",
            "[fe80::1%2]:80",
            "web.internal.:8080",
            "unix:/run/a b.sock",
            "unix:@a",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }
}
