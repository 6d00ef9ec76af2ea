//! UNIX sockets on both sides.

mod life;
mod relay;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::deadline::PATIENCE;

/// A directory, and the path of a socket in it.
fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("s.sock");
    (dir, path)
}

/// One end of a connection.
struct End(UnixStream);

impl End {
    #[track_caller]
    fn connect(to: &Path) -> End {
        let stream = UnixStream::connect(to);
        End::of(stream.unwrap_or_else(|error| panic!("{}: {error}", to.display())))
    }

    #[track_caller]
    fn accept(listener: &UnixListener) -> End {
        End::of(listener.accept().expect("somebody connects").0)
    }

    fn of(stream: UnixStream) -> End {
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        End(stream)
    }

    #[track_caller]
    fn send(&self, bytes: &[u8]) {
        (&self.0).write_all(bytes).expect("the other end takes it");
    }

    #[track_caller]
    fn fin(&self) {
        self.0.shutdown(Shutdown::Write).expect("it is connected");
    }

    #[track_caller]
    fn expect(&self, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        (&self.0).read_exact(&mut found).expect("the other end sends it");
        assert_eq!(found, bytes);
    }

    /// Reads to the end; whether that was a reset, as of one that was closed with something unread (unix(7)).
    #[track_caller]
    fn rest(&self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        match (&self.0).read_to_end(&mut bytes) {
            Ok(_) => (bytes, false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, true),
            Err(error) => panic!("no end after {} bytes: {error}", bytes.len()),
        }
    }
}
