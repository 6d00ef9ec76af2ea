//! The listening sockets of one worker.
//!
//! Accepts in bounded batches, as the port's [`AcceptQueue`] decides; whom to let in is decided elsewhere.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use ppcore::canonical;
use pptrust::is_of_one_accept;
use socket2::Socket;

use super::orders::Claim;
use super::rules::Rules;
use crate::core::accept_queue::{AcceptQueue, Accepted, Accepting};
use crate::core::addr::{Addr, Peer};
use crate::data::sys;

/// Connections accepted from one port before others are looked at.
const BATCH_MAX: usize = 64;
/// Without a failure for so long, a shortage is over.
const SHORTAGE_OVER: Duration = Duration::from_secs(1);

/// A listening socket of this worker.
#[derive(Debug)]
pub(super) struct Port {
    // In front of the claim: it is let go before the claim is.
    socket: Arc<Socket>,
    pub(super) claim: Arc<Claim>,
    /// The terms of whoever comes in here.
    pub(super) rules: Arc<Rules>,
    pub(super) queue: AcceptQueue,
    /// When accepting failed last, until that is over and has been said.
    failed_at: Option<Instant>,
}

impl Port {
    pub(super) fn new(socket: Arc<Socket>, claim: Arc<Claim>, rules: Arc<Rules>) -> Self {
        Self { socket, claim, rules, queue: AcceptQueue::new(), failed_at: None }
    }

    /// Has its edges told as those of `token`.
    ///
    /// # Errors
    /// When the system has no room for it (epoll_ctl(2)).
    pub(super) fn watch(&self, registry: &Registry, token: Token) -> io::Result<()> {
        sys::watch(registry, &*self.socket, token, Interest::READABLE)
    }

    /// Lets go of it. Others may hold the socket, whose edges would still be told (epoll(7), Q6).
    pub(super) fn close(self, registry: &Registry) {
        if let Err(error) = sys::unwatch(registry, &*self.socket) {
            tracing::warn!(%error, addr = %self.claim.addr, "the events of a port that is closed go on");
        }
    }

    /// Goes on with other terms, for those who come from now on.
    pub(super) fn follow(&mut self, rules: &Arc<Rules>) {
        self.rules = Arc::clone(rules);
    }

    /// Whether it is to be closed once its queue is empty.
    pub(super) fn is_draining(&self) -> bool {
        self.queue.is_draining()
    }

    /// The queue grows no more; what is in it is still taken. Not of one that is lent.
    pub(super) fn drain(&mut self) {
        debug_assert!(!self.claim.is_lent, "whoever has lent it listens on");
        self.queue.handle_drain();
        if let Err(error) = sys::stop_queueing(&*self.socket) {
            tracing::warn!(%error, "a listening socket does not stop queueing");
        }
    }

    /// Takes a batch from the queue, and says when that begins to fail and when it goes on.
    ///
    /// # Errors
    /// When accepting pauses: why it does.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        connections: &mut Vec<(Socket, Peer)>,
    ) -> io::Result<()> {
        for _ in 0..BATCH_MAX {
            if self.queue.next() != Accepting::Accept {
                break;
            }
            let accepted = match accept(&self.socket, &self.claim.addr) {
                Ok(connection) => {
                    self.handle_taken(now);
                    connections.push(connection);
                    Accepted::Taken
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::Empty,
                Err(error) if is_of_one_accept(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                    Accepted::Taken
                }
                // To try again at once would only spin.
                Err(error) => {
                    self.queue.handle_accepted(Accepted::Failed, now);
                    self.handle_failed(&error, now);
                    return Err(error);
                }
            };
            self.queue.handle_accepted(accepted, now);
        }
        Ok(())
    }

    #[cold]
    fn handle_failed(&mut self, error: &io::Error, now: Instant) {
        if self.failed_at.replace(now).is_none() {
            let (listener, addr) = (self.rules.name(), self.claim.addr);
            tracing::warn!(listener, %addr, %error, "accepting pauses");
        }
    }

    fn handle_taken(&mut self, now: Instant) {
        let Some(failed_at) = self.failed_at else { return };
        if now.saturating_duration_since(failed_at) >= SHORTAGE_OVER {
            self.failed_at = None;
            let (listener, addr) = (self.rules.name(), self.claim.addr);
            tracing::info!(listener, %addr, "accepting goes on");
        }
    }
}

/// Takes a connection, with its peer's address as it is canonical.
fn accept(listener: &Socket, addr: &Addr) -> io::Result<(Socket, Peer)> {
    let (socket, peer) = sys::accept(listener)?;
    let peer = match addr {
        Addr::Inet(_) => {
            let peer = peer.ok_or_else(|| io::Error::other("the peer has no address"))?;
            Peer::Inet(canonical(peer))
        }
        Addr::Unix(_) => Peer::Unix,
    };
    Ok((socket, peer))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_client_of_a_socket_of_both_families_is_told_as_ipv4() {
        let socket = std::net::TcpListener::bind("[::]:0").unwrap();
        let at = SocketAddr::new([127, 0, 0, 1].into(), socket.local_addr().unwrap().port());
        let client = std::net::TcpStream::connect(at).unwrap();
        let (_, peer) = accept(&socket.into(), &at.into()).unwrap();
        assert_eq!(peer, client.local_addr().unwrap().into());
    }
}
