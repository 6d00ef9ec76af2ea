//! Addresses of connections whose socket may be a UNIX one.
//!
//! A UNIX socket's peer has no IP address, and none is made up for it: what a connection's addresses are told
//! in is a type of its own there.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ppcore::canonical;

/// An address of a connection over any socket: an IP address with its port, or the name of a UNIX socket.
///
/// ```
/// use ppnet::Addr;
///
/// let client = Addr::from(std::net::SocketAddr::from(([203, 0, 113, 7], 51820)));
/// assert_eq!((client.to_string().as_str(), client.ip()), ("203.0.113.7:51820", "203.0.113.7:51820".parse().ok()));
/// assert_eq!((Addr::Unnamed.to_string().as_str(), Addr::Unnamed.ip()), ("unix:", None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a UNIX socket.
    Path(Arc<Path>),
    /// The name of one in Linux's abstract namespace, without the NUL in front (unix(7)).
    Abstract(Arc<[u8]>),
    /// A UNIX socket without a name, as those of clients mostly are.
    Unnamed,
}

impl Addr {
    /// Returns the IP address and port, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Path(_) | Self::Abstract(_) | Self::Unnamed => None,
        }
    }
}

/// `203.0.113.7:51820`, `unix:/run/a.sock`, `unix:@name` or `unix:`; a name's bytes are escaped where they are
/// not printable ASCII.
impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Path(path) => {
                write!(f, "unix:{}", path.as_os_str().as_encoded_bytes().escape_ascii())
            }
            Self::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Self::Unnamed => f.write_str("unix:"),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(addr)
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::SocketAddr> for Addr {
    fn from(addr: std::os::unix::net::SocketAddr) -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = abstract_name(&addr) {
            return Self::Abstract(name.into());
        }
        addr.as_pathname().map_or(Self::Unnamed, |path| Self::Path(path.into()))
    }
}

#[cfg(target_os = "android")]
fn abstract_name(addr: &std::os::unix::net::SocketAddr) -> Option<&[u8]> {
    std::os::android::net::SocketAddrExt::as_abstract_name(addr)
}

#[cfg(target_os = "linux")]
fn abstract_name(addr: &std::os::unix::net::SocketAddr) -> Option<&[u8]> {
    std::os::linux::net::SocketAddrExt::as_abstract_name(addr)
}

#[cfg(all(unix, feature = "tokio"))]
impl From<::tokio::net::unix::SocketAddr> for Addr {
    fn from(addr: ::tokio::net::unix::SocketAddr) -> Self {
        std::os::unix::net::SocketAddr::from(addr).into()
    }
}

/// What the addresses of a connection are told in: [`SocketAddr`] where every socket has one, and [`Addr`] where
/// it may be a UNIX socket.
///
/// ```
/// fn log<A: ppnet::Address>(ends: &ppnet::Endpoints<A>) {
///     println!("{} calls", ends.peer_addr());
/// }
/// ```
#[expect(private_bounds, reason = "no other type can be one")]
pub trait Address:
    Canonical
    + Clone
    + fmt::Debug
    + fmt::Display
    + From<SocketAddr>
    + Into<Addr>
    + Send
    + Sync
    + 'static
{
}

impl Address for SocketAddr {}
impl Address for Addr {}

pub(crate) trait Canonical {
    /// Returns the IPv4 address of a v4-mapped one, and any other as it is.
    fn canonical(self) -> Self;
}

impl Canonical for SocketAddr {
    fn canonical(self) -> Self {
        canonical(self)
    }
}

impl Canonical for Addr {
    fn canonical(self) -> Self {
        match self {
            Self::Ip(addr) => Self::Ip(canonical(addr)),
            named @ (Self::Path(_) | Self::Abstract(_) | Self::Unnamed) => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_unix_sockets_are_shown_in_printable_ascii() {
        let path = Addr::Path(Path::new("/run/a\nb").into());
        assert_eq!(path.to_string(), "unix:/run/a\\nb");
        assert_eq!(Addr::Abstract((*b"a\0b").into()).to_string(), "unix:@a\\x00b");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_kind_of_name_has_its_own_form() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

        let path = UnixAddr::from_pathname("/run/a").unwrap();
        assert_eq!(Addr::from(path), Addr::Path(Path::new("/run/a").into()));
        let name = UnixAddr::from_abstract_name("a").unwrap();
        assert_eq!(Addr::from(name), Addr::Abstract((*b"a").into()));
        let nameless = UnixDatagram::unbound().unwrap().local_addr().unwrap();
        assert_eq!(Addr::from(nameless), Addr::Unnamed);
    }
}
