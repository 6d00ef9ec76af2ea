//! Orders from the process to a worker, and the wake-up that comes with them.
//!
//! Knows no connection. Invariant: an order is sent before the worker is woken, so none is missed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::{Registry, Token, Waker};

use crate::config::Config;

/// A configuration whose names have been resolved.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// The addresses of each upstream, by its index in the configuration; none is empty.
    pub endpoints: Vec<Vec<SocketAddr>>,
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum Order {
    /// New connections follow this plan; its listeners are those of the old one.
    Reload(Arc<Plan>),
    /// Accept what is queued, close the ports, and end with the last connection.
    Drain,
    /// Reset what is left, and end.
    Stop,
}

/// The process's end of the line.
#[derive(Debug)]
pub struct Control {
    orders: Sender<Order>,
    waker: Waker,
}

impl Control {
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
