//! Orders from the control plane to a worker, the wake-up that comes with them, and the replies.
//!
//! Knows no connection. Invariant: an order is sent before the worker is woken, so none is missed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::{Registry, Token, Waker};
use socket2::Socket;

use super::listing::{Filter, Listing};
use super::pipes::PipeLimits;
use crate::config::{Config, Protocol};
use crate::core::addr::Addr;
use crate::core::connection_id::ConnectionId;
use crate::core::limits::Limits;
use crate::core::pool::Pool;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::Cells;

/// A configuration, and what its names stand for.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// What each upstream is to be, by its index in the configuration; without an endpoint as long as its names stand for nothing.
    pub pools: Vec<Pool>,
    /// How much each listener's clients may have, if that is limited, by its index in the configuration.
    pub limits: Vec<Option<Limits>>,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// New connections follow this; the reply comes once they do, and the ports that go are closed.
    Follow(Box<Setup>, Reply<io::Result<()>>),
    /// Accept what is queued, close the ports, and end with the last connection; the reply comes once the ports
    /// are closed.
    Drain(Reply<io::Result<()>>),
    /// Give each flow of datagrams a socket of its own, since another process is about to serve the ports; the reply comes once
    /// what waited there is taken.
    Part(Reply<io::Result<()>>),
    /// It does not: flows that begin need none.
    Stay,
    /// Let go of these ports as they are, since another process takes who is queued there; as a drain otherwise.
    Leave(Vec<Arc<Claim>>),
    /// Show these connections.
    List(Filter, Reply<Listing>),
    /// Reset this connection; the reply says whether there is one.
    Close(ConnectionId, Reply<bool>),
    /// Reset the connections that stand at this endpoint of this upstream.
    ResetAt(Arc<str>, Addr),
    /// Reset what is left, and end.
    Stop,
}

/// What a worker is to follow from now on.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// Its ports. Those that the worker has besides go: what is in their queues is still taken.
    pub ports: Vec<Share>,
    /// Where the worker counts, by the plan's indexes.
    pub cells: Cells,
    /// Where closed connections are logged.
    pub access_log: Option<AccessLog>,
    /// Connections of all workers at a time.
    pub connections_max: usize,
    /// Pipes of this worker.
    pub pipes: PipeLimits,
}

/// A worker's share of a port.
#[derive(Debug)]
pub struct Share {
    /// The address it has.
    pub claim: Arc<Claim>,
    /// Index of its listener in the plan.
    pub listener: usize,
    /// Its sockets, which listen already, or are bound; none where the worker has them from an earlier order.
    pub sockets: Vec<Arc<Socket>>,
}

/// An address that this process listens at. It is given up when nobody holds its claim any more: who has a
/// socket there does, and lets go of that before.
#[derive(Debug)]
pub struct Claim {
    /// The address; its port is never 0.
    pub addr: Addr,
    /// Whose port it is.
    pub protocol: Protocol,
    /// Whether its sockets are a service manager's too, who has the next start serve their queues: they are let go of
    /// as they are.
    pub is_lent: bool,
}

impl Claim {
    /// Whether it is this address of this protocol.
    pub fn is_at(&self, addr: Addr, protocol: Protocol) -> bool {
        (self.addr, self.protocol) == (addr, protocol)
    }
}

/// Where the outcome of an order goes. One that is dropped says that there will be none.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// Has the outcome given to `tell`, on the worker's thread.
    pub fn new(tell: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// Gives the outcome.
    pub(super) fn send(self, outcome: T) {
        (self.0)(outcome);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// An endpoint that clients' connects have taken out.
#[derive(Debug)]
pub struct Ejected {
    /// Its upstream's name.
    pub upstream: String,
    /// Where it is.
    pub addr: Addr,
    /// What the last connect came to.
    pub why: String,
}

/// Where a worker tells of endpoints that it has ejected.
#[derive(Clone)]
pub struct Ejections(Arc<dyn Fn(Ejected) + Send + Sync>);

impl Ejections {
    /// Has each given to `tell`, on the worker's thread.
    pub fn new(tell: impl Fn(Ejected) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells of one.
    pub(super) fn tell(&self, ejected: Ejected) {
        (self.0)(ejected);
    }
}

impl fmt::Debug for Ejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ejections").finish_non_exhaustive()
    }
}

/// The control plane's end of the line to a worker.
#[derive(Debug)]
pub struct Line {
    orders: Sender<Order>,
    waker: Waker,
}

impl Line {
    /// Opens a line to the worker whose poll this registry belongs to.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<(Self, Receiver<Order>)> {
        let (orders, inbox) = channel();
        let waker = Waker::new(registry, token)?;
        Ok((Self { orders, waker }, inbox))
    }

    /// Sends an order; a worker that has ended takes no notice.
    pub fn send(&self, order: Order) {
        if self.orders.send(order).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker could not be woken");
        }
    }
}
