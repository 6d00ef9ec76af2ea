//! One of a connection's two sockets: with the bytes that came out of it, and what is known of it alone.
//!
//! Invariant: a stream that was cut short never ends in a FIN, whatever ended its worker: a leg that is
//! dropped with its socket resets it, and who closes in peace takes the socket out first.

use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry};

use super::conduit::{Conduit, Moved, Pool};
use super::source::Source;
use crate::data::sys::{self, Keepalive};

/// All that is asked of a socket.
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

/// A socket, or the place of one.
#[derive(Debug)]
pub(super) struct Leg {
    socket: Option<TcpStream>,
    /// What came out of it and has not gone into the other one.
    pub(super) conduit: Conduit,
    /// Whether a use of it would come before any event of it.
    is_early: bool,
    /// Whether it has its options: they cost system calls that short connections can do without.
    is_tuned: bool,
    /// Whether it is not asked for more to read.
    is_muted: bool,
}

impl Leg {
    /// One that was accepted, and inherited the options of its listening socket.
    pub(super) const fn accepted(socket: TcpStream, is_early: bool) -> Self {
        let conduit = Conduit::Empty;
        Self { socket: Some(socket), conduit, is_early, is_tuned: true, is_muted: false }
    }

    /// The place of one that is still to be connected.
    pub(super) const fn absent() -> Self {
        let conduit = Conduit::Empty;
        Self { socket: None, conduit, is_early: false, is_tuned: true, is_muted: false }
    }

    /// A connect is under way.
    pub(super) fn connect(&mut self, socket: TcpStream, is_early: bool) {
        self.socket = Some(socket);
        (self.is_early, self.is_tuned, self.is_muted) = (is_early, false, false);
    }

    /// Returns the socket.
    ///
    /// # Panics
    /// Where there is none: a session acts on sockets it has.
    pub(super) fn socket(&self) -> &TcpStream {
        self.socket.as_ref().expect("a session acts on sockets it has")
    }

    /// An event came: no use of it is early any more.
    pub(super) fn handle_ready(&mut self) {
        self.is_early = false;
    }

    /// It is used: returns whether that came before any event of it, which it can only once.
    pub(super) fn take_early(&mut self) -> bool {
        std::mem::take(&mut self.is_early)
    }

    /// Returns whether it stands without its options.
    pub(super) fn is_untuned(&self) -> bool {
        !self.is_tuned && self.socket.is_some()
    }

    /// Sets its options.
    pub(super) fn tune(&mut self, keepalive: &Keepalive, nodelay: bool) {
        self.is_tuned = true;
        let socket = self.socket();
        let tuned = sys::set_keepalive(socket, keepalive)
            .and_then(|()| if nodelay { socket.set_nodelay(true) } else { Ok(()) });
        if let Err(error) = tuned {
            tracing::debug!(%error, "an upstream socket refused an option");
        }
    }

    /// Asks for nothing more to read where a pipe waits for its sink, until it has been emptied: a source
    /// that goes on would raise an edge with each segment, which nobody can use. What came meanwhile, and
    /// an end, the kernel tells when it is asked again (epoll_ctl(2), EPOLL_CTL_MOD); errors it always tells.
    pub(super) fn mute(&mut self, source: Source, registry: &Registry) {
        // Held by a session that waits, it waits for its sink.
        let is_piped = matches!(self.conduit, Conduit::Pipe(_));
        if self.is_muted != is_piped
            && let Some(socket) = &mut self.socket
        {
            let interest = if is_piped { Interest::WRITABLE } else { ALL };
            // Where it fails, the next wait tries it again.
            self.is_muted ^= registry.reregister(socket, source.token(), interest).is_ok();
        }
    }

    /// Receives into the empty conduit.
    pub(super) fn fill_by_copy(&mut self, pool: &mut Pool) -> Moved {
        let socket = self.socket.as_ref().expect("a session acts on sockets it has");
        self.conduit.fill_by_copy(socket, pool)
    }

    /// Splices into the empty conduit; `None` if there is no pipe to be had.
    pub(super) fn fill_by_splice(&mut self, pool: &mut Pool, now: Instant) -> Option<Moved> {
        let socket = self.socket.as_ref().expect("a session acts on sockets it has");
        self.conduit.fill_by_splice(socket, pool, now)
    }

    /// Closes it so that its peer sees a reset.
    pub(super) fn reset(&mut self) {
        if let Some(socket) = self.socket.take() {
            sys::reset_on_close(&socket);
        }
    }

    /// Closes it in peace.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.reset();
    }
}

/// Registers a socket: closing it takes it out (epoll(7)).
pub(super) fn register(
    socket: &mut TcpStream,
    source: Source,
    registry: &Registry,
) -> std::io::Result<()> {
    registry.register(socket, source.token(), ALL)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_socket_that_a_worker_left_behind_is_reset() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (client, _) = listener.accept().unwrap();
        drop(Leg::accepted(TcpStream::from_std(client), false));
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
