//! UNIX sockets with a file: a stale one is replaced, and the file goes with the socket.
//!
//! Invariant: nobody whom the file's mode keeps out can connect at any moment, and nobody's file is removed but one's
//! own.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::data::sys;

/// The file of a UNIX socket, which is removed with this, unless somebody has put another in its place.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl File {
    /// That of a socket which another process has left; it is that one's to remove until it is owned.
    pub(super) fn left(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: None }
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It is this process's to remove now.
    pub(super) fn own(&mut self) {
        self.identity = identity(&self.path);
    }

    /// Sets its mode.
    ///
    /// # Errors
    /// When the system refuses, as where it is gone.
    pub(super) fn set_mode(&self, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::chmod(&self.path, mode)?)
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

/// Listens at a path, with a file of this mode: one that nobody listens at any more is replaced.
///
/// # Errors
/// EADDRINUSE where somebody listens, EEXIST where there is another file; what else bind(2) knows.
pub(super) fn bind(path: &Path, mode: Mode, backlog: u32) -> io::Result<(Socket, File)> {
    let addr = SockAddr::unix(path)?;
    let _claim = Claim::on(path)?;
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is no socket"));
        }
        let kind = Type::STREAM.nonblocking().cloexec();
        match Socket::new(Domain::UNIX, kind, None)?.connect(&addr) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            // Also one whose queue is full.
            Ok(()) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = sys::bind_unix(&addr, mode)?;
    let file = File { path: path.to_owned(), identity: identity(path) };
    // The umask has taken from it.
    rustix::fs::chmod(path, mode)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((socket, file))
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
                    bind(&path, Mode::RUSR | Mode::WUSR, 128)
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
