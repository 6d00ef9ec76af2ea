//! The listening socket of a door.
//!
//! Invariant: the file of a UNIX socket is its owner's alone from the moment it is there, and goes with the
//! socket.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::data::sys::{self, Sharing};

/// The argument of listen(2): who asks at once and is not yet accepted.
const BACKLOG: i32 = 128;

/// Where a door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Place {
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
    Unix(UnixListener, File),
}

/// A connection that was accepted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Socket {
    /// Listens at a place.
    ///
    /// # Errors
    /// EADDRINUSE where somebody listens; what else bind(2) knows.
    pub(super) fn bind(place: &Place) -> io::Result<Self> {
        match place {
            Place::Tcp(addr) => {
                let socket = sys::bind(*addr, Sharing::Exclusive)?;
                socket.listen(BACKLOG)?;
                TcpListener::from_std(socket.into()).map(Self::Tcp)
            }
            Place::Unix(path) => {
                let (socket, file) = bind_file(path)?;
                UnixListener::from_std(socket.into()).map(|socket| Self::Unix(socket, file))
            }
        }
    }

    /// Where it is; the kernel may have chosen the port.
    pub(super) fn place(&self) -> io::Result<Place> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Place::Tcp),
            Self::Unix(_, file) => Ok(Place::Unix(file.path.clone())),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(socket) => Box::new(socket.accept().await?.0),
            Self::Unix(socket, _) => Box::new(socket.accept().await?.0),
        })
    }
}

/// The file of a UNIX socket, which is removed with this, unless somebody has put another in its place.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Drop for File {
    fn drop(&mut self) {
        if self.identity.is_some() && self.identity == identity(&self.path) {
            // Where it cannot be removed, the next start finds it stale.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Listens at a path: one that nobody listens at any more is replaced.
fn bind_file(path: &Path) -> io::Result<(socket2::Socket, File)> {
    let addr = SockAddr::unix(path)?;
    let new = || socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is no socket"));
        }
        match new()?.connect(&addr) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            // Also one whose queue is full.
            Ok(()) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = new()?;
    // The file gets the mode of the socket, less the umask (unix_bind, net/unix/af_unix.c): there is no moment at
    // which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&addr)?;
    let file = File { path: path.to_owned(), identity: identity(path) };
    socket.listen(BACKLOG)?;
    Ok((socket, file))
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
