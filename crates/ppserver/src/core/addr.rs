//! Where somebody listens, and who connects: addresses of IP with their ports, and UNIX sockets.
//!
//! A UNIX socket has a name, and who connects to it has none (unix(7)): its rights to the file are all that is known.
//! Invariant: a name reads back as it is written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// unix(7): `sun_path` has 108 bytes, the last of which is a NUL behind a path, and the first in front of an abstract
/// name.
pub const UNIX_NAME_BYTES_MAX: usize = 107;

/// What is in front of the name of a UNIX socket.
pub const UNIX: &str = "unix:";

/// Where somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Addr {
    /// `10.0.0.7:8080`, `[fd00::7]:8080`.
    Inet(SocketAddr),
    /// `unix:/run/web.sock`, `unix:@web`.
    Unix(UnixName),
}

/// The name of a UNIX socket: an absolute path, or `@` and an abstract name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixName {
    /// UTF-8, and zeros behind it.
    bytes: [u8; UNIX_NAME_BYTES_MAX],
    len: u8,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Whoever has this address.
    Inet(SocketAddr),
    /// Whoever may connect to a UNIX socket.
    Unix,
}

/// The text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrError;

impl Addr {
    /// Returns the address of IP, if it is one.
    pub const fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }
}

impl UnixName {
    /// Takes a name as it is written; `None` if it is none.
    pub fn new(name: &str) -> Option<Self> {
        let is_name = name.starts_with(['/', '@'])
            && (2..=UNIX_NAME_BYTES_MAX).contains(&name.len())
            && !name.contains('\0');
        let len = u8::try_from(name.len()).ok().filter(|_| is_name)?;
        let mut bytes = [0; UNIX_NAME_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { bytes, len })
    }

    /// Returns it as it is written.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it was made of text")
    }

    /// Returns the abstract name, if it is one.
    pub fn abstract_name(&self) -> Option<&str> {
        self.as_str().strip_prefix('@')
    }
}

impl Peer {
    /// Returns its address, without the port, if it has one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(addr) => Some(addr.ip()),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self::Inet(addr)
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self::Inet(addr)
    }
}

impl FromStr for Addr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        match text.strip_prefix(UNIX) {
            Some(name) => UnixName::new(name).map(Self::Unix).ok_or(AddrError),
            None => text.parse().map(Self::Inet).map_err(|_| AddrError),
        }
    }
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is neither an address with a port nor `unix:` and a name")
    }
}

impl std::error::Error for AddrError {}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Unix(name) => write!(f, "{UNIX}{}", name.as_str()),
        }
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A UNIX peer is written as `decode` writes an empty name.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Unix => f.write_str(UNIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_is_written() {
        let longest = format!("unix:/{}", "a".repeat(UNIX_NAME_BYTES_MAX - 1));
        for text in
            ["10.0.0.7:80", "[fd00::7]:80", "unix:/a", "unix:@a b", "unix:/\u{e4}", &longest]
        {
            assert_eq!(text.parse::<Addr>().unwrap().to_string(), text);
        }
        let too_long = format!("{longest}a");
        for text in ["", "10.0.0.7", "unix:", "unix:/", "unix:@", "unix:a", "unix:/\0", &too_long] {
            assert_eq!(text.parse::<Addr>(), Err(AddrError), "{text}");
        }
    }

    #[test]
    fn a_unix_peer_has_no_address() {
        let peer = Peer::from(SocketAddr::from(([10, 0, 0, 7], 80)));
        assert_eq!(
            (peer.ip(), peer.to_string()),
            (Some([10, 0, 0, 7].into()), "10.0.0.7:80".into())
        );
        assert_eq!((Peer::Unix.ip(), Peer::Unix.to_string()), (None, "unix:".into()));
    }
}
