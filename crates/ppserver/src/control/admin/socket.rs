//! The listening socket of a door.
//!
//! Invariant: the file of a UNIX socket is its owner's alone from the moment it is there.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::Mode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::control::unix_socket::{self, File};
use crate::data::sys::{self, Sharing};

/// The argument of listen(2): who asks at once and is not yet accepted.
const BACKLOG: u32 = 128;

/// Where a door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum DoorAddr {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for DoorAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl DoorAddr {
    /// Reads what is displayed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => Some(Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }

    /// Says whether only this host reaches it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket that is new here, and the file of a UNIX socket, which is removed with this.
pub(super) type New = (Socket, Option<File>);

/// A connection that was accepted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Socket {
    /// Listens at a place; the file of a UNIX socket is removed with what is returned of it.
    ///
    /// # Errors
    /// EADDRINUSE where somebody listens; what else bind(2) knows.
    pub(super) fn bind(place: &DoorAddr) -> io::Result<New> {
        match place {
            DoorAddr::Tcp(addr) => {
                let socket = sys::bind(*addr, Sharing::Exclusive)?;
                socket.listen(128)?;
                Ok((Self::Tcp(TcpListener::from_std(socket.into())?), None))
            }
            DoorAddr::Unix(path) => {
                let (socket, file) = unix_socket::bind(path, Mode::RUSR | Mode::WUSR, BACKLOG)?;
                Ok((Self::Unix(UnixListener::from_std(socket.into())?), Some(file)))
            }
        }
    }

    /// Takes a socket that another process has left, which listens at a place; its file is removed with what is
    /// returned of it, once it is owned.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn left(place: &DoorAddr, socket: OwnedFd) -> io::Result<New> {
        let socket = socket2::Socket::from(socket);
        socket.set_nonblocking(true)?;
        match place {
            DoorAddr::Tcp(_) => Ok((Self::Tcp(TcpListener::from_std(socket.into())?), None)),
            DoorAddr::Unix(path) => {
                let file = File::left(path);
                Ok((Self::Unix(UnixListener::from_std(socket.into())?), Some(file)))
            }
        }
    }

    /// Where it is, which was asked for at this place; the kernel may have chosen the port.
    pub(super) fn place(&self, asked: &DoorAddr) -> DoorAddr {
        match self {
            Self::Tcp(socket) => socket.local_addr().map_or_else(|_| asked.clone(), DoorAddr::Tcp),
            Self::Unix(_) => asked.clone(),
        }
    }

    /// Duplicates it.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(socket) => Box::new(socket.accept().await?.0),
            Self::Unix(socket) => Box::new(socket.accept().await?.0),
        })
    }
}

/// Says whether a `Host` header names this host itself: a page that a browser got from elsewhere cannot.
pub(super) fn is_own_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || ip.parse::<IpAddr>().is_ok()
}
