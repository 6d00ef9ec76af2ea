//! The listening socket of a door.
//!
//! Invariant: the file of a UNIX socket is its owner's alone from the moment it is there, and goes with the
//! socket.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use socket2::{Domain, SockAddr, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::data::sys::{self, Sharing};

/// The argument of listen(2): who asks at once and is not yet accepted.
const BACKLOG: i32 = 128;

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
                socket.listen(BACKLOG)?;
                Ok((Self::Tcp(TcpListener::from_std(socket.into())?), None))
            }
            DoorAddr::Unix(path) => {
                let (socket, file) = bind_file(path)?;
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
                let file = File { path: path.to_owned(), identity: None };
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

/// The file of a UNIX socket, which is removed with this, unless somebody has put another in its place.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl File {
    /// It is this process's to remove now.
    pub(super) fn own(&mut self) {
        self.identity = identity(&self.path);
    }

    /// It is another one's to remove now.
    pub(super) fn leave(mut self) {
        self.identity = None;
    }
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

/// The right to look whether anybody listens at a path, and to take it: of all processes one has it at a time, so that
/// none removes what another has just bound. It is the lock of a file beside it, which is removed with this.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Claim {
    /// Takes it.
    ///
    /// # Errors
    /// EADDRINUSE where another process has it, or has had it a moment ago; what open(2) knows.
    fn on(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
        let is_held = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        let is_held = is_held.is_ok() && identity(&path) == Some(identity_of(&lock)?);
        if is_held { Ok(Self { path, _lock: lock }) } else { Err(io::ErrorKind::AddrInUse.into()) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the lock goes: who has opened it by then sees that it is no longer the one at its path.
        drop(fs::remove_file(&self.path));
    }
}

fn identity_of(file: &OwnedFd) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

/// Listens at a path: one that nobody listens at any more is replaced.
fn bind_file(path: &Path) -> io::Result<(socket2::Socket, File)> {
    let addr = SockAddr::unix(path)?;
    let _claim = Claim::on(path)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn of_many_who_take_a_stale_socket_at_once_one_gets_it() {
        const RIVALS: usize = 4;
        const ROUNDS: usize = 100;
        let dir = tempfile::tempdir().unwrap();
        for round in 0..ROUNDS {
            let path = dir.path().join(format!("{round}.sock"));
            // Every other round finds none.
            if round % 2 == 0 {
                drop(UnixListener::bind(&path).unwrap());
            }
            let start = Barrier::new(RIVALS);
            let got: Vec<_> = thread::scope(|scope| {
                let take = || {
                    start.wait();
                    bind_file(&path)
                };
                let rivals: Vec<_> = (0..RIVALS).map(|_| scope.spawn(take)).collect();
                rivals.into_iter().map(|rival| rival.join().unwrap()).collect()
            });
            let (got, refused): (Vec<_>, Vec<_>) = got.into_iter().partition(Result::is_ok);
            assert_eq!(got.len(), 1, "round {round}: {refused:?}");
            for error in refused.into_iter().filter_map(Result::err) {
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "round {round}: {error}");
            }
            UnixStream::connect(&path).unwrap();
        }
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        assert!(left.into_iter().all(|path| path.extension().unwrap() == "sock"));
    }
}
