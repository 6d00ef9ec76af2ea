//! The listening sockets of one worker.
//!
//! Accepts in bounded batches until the queue is empty, as edge-triggered polling demands; whom to
//! let in is decided elsewhere. Invariant: an edge is remembered until the queue was found empty,
//! also while the system has nothing to accept with: a timer then tries again.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};

use crate::metrics::Counters;
use crate::sys;

/// Connections accepted from one port before others have their turn.
const BATCH_MAX: usize = 64;
/// How long accepting pauses when descriptors or memory are used up.
const PAUSE: Duration = Duration::from_millis(20);

/// A listening socket of this worker.
#[derive(Debug)]
pub(super) struct Port {
    socket: TcpListener,
    /// Index of its listener in the plan.
    pub(super) listener: usize,
    state: Readiness,
    is_draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// The queue was found empty.
    Quiet,
    /// There may be something in the queue.
    Ready,
    /// Something is in the queue, but the system had nothing to take it with.
    Paused(Instant),
}

impl Port {
    pub(super) fn new(socket: TcpListener, listener: usize) -> Self {
        Self { socket, listener, state: Readiness::Ready, is_draining: false }
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    /// An edge was reported. A pause goes on: its end will find what the edge told of.
    pub(super) fn handle_ready(&mut self) {
        if self.state == Readiness::Quiet {
            self.state = Readiness::Ready;
        }
    }

    pub(super) fn handle_time(&mut self, now: Instant) {
        if self.retry_at().is_some_and(|at| at <= now) {
            self.state = Readiness::Ready;
        }
    }

    /// The queue grows no more; what is in it is still taken.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        self.state = Readiness::Ready;
        if let Err(error) = sys::stop_queueing(&self.socket) {
            tracing::warn!(%error, "a listening socket does not stop queueing");
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state == Readiness::Ready
    }

    /// Says whether a drain has taken everything, so that the port can be closed.
    pub(super) fn is_drained(&self) -> bool {
        self.is_draining && self.state == Readiness::Quiet
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self.state {
            Readiness::Quiet | Readiness::Ready => None,
            Readiness::Paused(at) => Some(at),
        }
    }

    /// Takes a batch from the queue.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        counters: &Counters,
        accepted: &mut Vec<(TcpStream, SocketAddr)>,
    ) {
        for _ in 0..BATCH_MAX {
            match self.socket.accept() {
                Ok(connection) => accepted.push(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.state = Readiness::Quiet;
                    return;
                }
                Err(error) if sys::is_exhaustion(&error) => {
                    counters.accept_pauses.add(1);
                    self.state = Readiness::Paused(now + PAUSE);
                    return;
                }
                // accept(2): errors of the connection that was taken, not of the socket.
                Err(error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted")
                }
            }
        }
    }
}
