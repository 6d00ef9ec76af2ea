//! One of a connection's two sockets: with the bytes that came out of it, and what is known of it alone.
//!
//! Invariant: a stream that was cut short never ends in a FIN, whatever ended its worker: a leg that is
//! dropped with its socket resets it, and who closes in peace takes the socket out first.

use std::io;
use std::time::Instant;

use mio::{Interest, Registry};
use socket2::Socket;

use super::conduit::{Conduit, Moved, Spares};
use super::source::Source;
use crate::data::sys::{self, Keepalive};

/// All that a socket can be asked for.
pub(super) const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
/// That there is room to write into; what the kernel always tells comes with it.
pub(super) const ROOM: Interest = Interest::WRITABLE;

/// A socket, or the place of one.
#[derive(Debug)]
pub(super) struct Leg {
    socket: Option<Socket>,
    /// What came out of it and has not gone into the other one.
    pub(super) conduit: Conduit,
    /// Whether a use of it would come before any event of it.
    is_early: bool,
    /// Whether it has its options: they cost system calls that short connections can do without.
    is_tuned: bool,
}

impl Leg {
    /// One that was accepted, and inherited the options of its listening socket.
    pub(super) const fn accepted(socket: Socket, is_early: bool) -> Self {
        let conduit = Conduit::Empty;
        Self { socket: Some(socket), conduit, is_early, is_tuned: true }
    }

    /// The place of one that is still to be connected.
    pub(super) const fn absent() -> Self {
        let conduit = Conduit::Empty;
        Self { socket: None, conduit, is_early: false, is_tuned: true }
    }

    /// A connect is under way, to a socket that has options or has none.
    pub(super) fn connect(&mut self, socket: Socket, is_early: bool, has_options: bool) {
        self.socket = Some(socket);
        (self.is_early, self.is_tuned) = (is_early, !has_options);
    }

    /// Returns the socket.
    ///
    /// # Panics
    /// Where there is none: a session acts on sockets it has.
    pub(super) fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("a session acts on sockets it has")
    }

    /// An event came: no use of it is early any more.
    pub(super) fn note_event(&mut self) {
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
            .and_then(|()| if nodelay { socket.set_tcp_nodelay(true) } else { Ok(()) });
        if let Err(error) = tuned {
            tracing::debug!(%error, "an upstream socket refused an option");
        }
    }

    /// Asks the kernel for other events of it.
    pub(super) fn watch(
        &self,
        source: Source,
        interest: Interest,
        registry: &Registry,
    ) -> io::Result<()> {
        sys::rewatch(registry, self.socket(), source.token(), interest)
    }

    /// Receives into the empty conduit.
    pub(super) fn receive(&mut self, spares: &mut Spares) -> Moved {
        let socket = self.socket.as_ref().expect("a session acts on sockets it has");
        self.conduit.receive(socket, spares)
    }

    /// Receives behind what the conduit holds.
    pub(super) fn receive_more(&mut self, spares: &mut Spares) -> Moved {
        let socket = self.socket.as_ref().expect("a session acts on sockets it has");
        self.conduit.receive_more(socket, spares)
    }

    /// Splices into the empty conduit; `None` if there is no pipe to be had.
    pub(super) fn splice(&mut self, spares: &mut Spares, now: Instant) -> Option<Moved> {
        let socket = self.socket.as_ref().expect("a session acts on sockets it has");
        self.conduit.splice(socket, spares, now)
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
pub(super) fn register(socket: &Socket, source: Source, registry: &Registry) -> io::Result<()> {
    sys::watch(registry, socket, source.token(), ALL)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_socket_that_a_worker_left_behind_is_reset() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (client, _) = listener.accept().unwrap();
        drop(Leg::accepted(client.into(), false));
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
