//! The listening sockets of one worker.
//!
//! Accepts in bounded batches, as the port's [`AcceptQueue`] decides; whom to let in is decided elsewhere.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};
use ppcore::canonical;

use crate::core::accept_queue::{AcceptQueue, Accepted, Accepting};
use crate::data::sys;

/// Connections accepted from one port before others have their turn.
const BATCH_MAX: usize = 64;

/// A listening socket of this worker.
#[derive(Debug)]
pub(super) struct Port {
    socket: TcpListener,
    /// Index of its listener in the plan.
    pub(super) listener: usize,
    pub(super) queue: AcceptQueue,
}

impl Port {
    pub(super) fn new(socket: TcpListener, listener: usize) -> Self {
        Self { socket, listener, queue: AcceptQueue::new() }
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    /// The queue grows no more; what is in it is still taken.
    pub(super) fn drain(&mut self) {
        self.queue.handle_drain();
        if let Err(error) = sys::stop_queueing(&self.socket) {
            tracing::warn!(%error, "a listening socket does not stop queueing");
        }
    }

    /// Takes a batch from the queue, each with its peer's address as it is canonical.
    ///
    /// # Errors
    /// When accepting pauses: why it does.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        connections: &mut Vec<(TcpStream, SocketAddr)>,
    ) -> io::Result<()> {
        for _ in 0..BATCH_MAX {
            if self.queue.next() != Accepting::Accept {
                break;
            }
            let accepted = match self.socket.accept() {
                Ok((socket, peer)) => {
                    connections.push((socket, canonical(peer)));
                    Accepted::Taken
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::Empty,
                Err(error) if sys::is_of_one_accept(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                    Accepted::Taken
                }
                // To try again at once would only spin.
                Err(error) => {
                    self.queue.handle_accepted(Accepted::Failed, now);
                    return Err(error);
                }
            };
            self.queue.handle_accepted(accepted, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_a_socket_of_both_families_is_told_as_ipv4() {
        let socket = std::net::TcpListener::bind("[::]:0").unwrap();
        let at = SocketAddr::new([127, 0, 0, 1].into(), socket.local_addr().unwrap().port());
        let client = std::net::TcpStream::connect(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut port = Port::new(TcpListener::from_std(socket), 0);
        let mut accepted = Vec::new();
        port.queue.handle_ready();
        #[expect(clippy::disallowed_methods, reason = "a moment to begin with")]
        port.accept(Instant::now(), &mut accepted).unwrap();
        let peers: Vec<SocketAddr> = accepted.into_iter().map(|(_, peer)| peer).collect();
        assert_eq!(peers, [client.local_addr().unwrap()]);
    }
}
