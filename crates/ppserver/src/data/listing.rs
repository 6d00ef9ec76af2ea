//! What the control plane is shown of the connections of a worker: small copies of those it asks for.
//!
//! Invariant: what is copied is bounded by the filter's limit, whatever there is.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::core::addr::{Addr, Peer};
use crate::core::connection_id::ConnectionId;

/// Which connections are asked for.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of clients in this network.
    pub client: Option<IpNet>,
    /// Of the listener of this name.
    pub listener: Option<String>,
    /// To the upstream of this name.
    pub upstream: Option<String>,
    /// So many at most.
    pub limit: usize,
}

/// The connections of a worker that were asked for.
#[derive(Debug, Default)]
pub struct Listing {
    /// As many as the limit allows.
    pub connections: Vec<View>,
    /// How many there are.
    pub matching: usize,
}

/// A connection as it was when it was asked for.
#[derive(Debug)]
pub struct View {
    /// What it is called.
    pub id: ConnectionId,
    /// The client: the carried address, or the peer if none was carried.
    pub client: Peer,
    /// The socket's peer.
    pub peer: Peer,
    /// That of the last attempt.
    pub endpoint: Option<Addr>,
    /// Payload bytes from the client that went upstream.
    pub bytes_in: u64,
    /// Payload bytes that went to the client.
    pub bytes_out: u64,
    /// Since it was accepted.
    pub age: Duration,
    /// Since a byte moved.
    pub idle: Duration,
    /// Where it is on its way.
    pub phase: &'static str,
    /// The names of where it came in, and where it goes.
    pub labels: Labels,
}

/// The names of a listener, and of the upstream that its connections go to.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The listener's.
    pub listener: Arc<str>,
    /// The upstream's.
    pub upstream: Arc<str>,
}

impl Filter {
    /// Says whether a connection is asked for.
    pub(super) fn holds(&self, view: &View) -> bool {
        let is =
            |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|asked| asked == name);
        let client = view.client.ip();
        self.client.is_none_or(|network| client.is_some_and(|client| network.contains(&client)))
            && is(&self.listener, &view.labels.listener)
            && is(&self.upstream, &view.labels.upstream)
    }
}

impl Listing {
    /// Adds a connection, if there is room.
    pub(super) fn add(&mut self, view: View, filter: &Filter) {
        self.matching += 1;
        if self.connections.len() < filter.limit {
            self.connections.push(view);
        }
    }
}
