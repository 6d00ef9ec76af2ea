//! The listening sockets of one worker: who is let in, and on what terms.
//!
//! Accepts in bounded batches until the queue is empty, as edge-triggered polling demands. When the
//! system has run out of something the edge is remembered and a timer tries again.
//! Invariant: nothing is read from a peer that is refused here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use ppcore::{Crc32cPolicy, Options, TlvFraming};

use super::control::Plan;
use crate::config::{self, Accept, ChecksumPolicy, SpliceMode, Untrusted, Versions};
use crate::metrics::Counters;
use crate::session::{Opening, Policy, Splicing};
use crate::sys;
use crate::upstream::Upstream;

/// Connections accepted from one port before others have their turn.
const BATCH_MAX: usize = 64;
/// How long accepting pauses when descriptors or memory are used up.
const PAUSE: Duration = Duration::from_millis(20);

/// What the connections of a listener are told when they begin; a reload does not change it.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) name: String,
    pub(super) accept: Accept,
    pub(super) options: Options,
    pub(super) upstream: Arc<Upstream>,
    pub(super) nodelay: bool,
    pub(super) keepalive: sys::Keepalive,
    policy: Policy,
}

impl Rules {
    /// Makes the rules of every listener; `worker` spreads the workers over the endpoints.
    pub(super) fn all(plan: &Plan, worker: usize) -> Vec<Arc<Self>> {
        let config = &plan.config;
        let upstreams: Vec<Arc<Upstream>> = config
            .upstreams
            .iter()
            .zip(&plan.endpoints)
            .map(|(upstream, endpoints)| Upstream::new(upstream, endpoints.clone(), worker).into())
            .collect();
        let rules = config.listeners.iter().map(|listener| {
            Self::new(config, listener, Arc::clone(&upstreams[listener.upstream])).into()
        });
        rules.collect()
    }

    fn new(config: &config::Config, listener: &config::Listener, upstream: Arc<Upstream>) -> Self {
        let timeouts = &listener.timeouts;
        Self {
            name: listener.name.clone(),
            options: options(&listener.accept),
            accept: listener.accept.clone(),
            nodelay: config.tcp.nodelay.is_on(),
            keepalive: keepalive(&config.tcp),
            policy: Policy {
                opening: Opening::Header,
                header_timeout: timeouts.header,
                connect_timeout: timeouts.connect,
                idle_timeout: timeouts.idle,
                half_closed_timeout: timeouts.half_closed,
                attempts_max: upstream.attempts_max(),
                splicing: match config.splice.mode {
                    SpliceMode::Auto => Splicing::Auto,
                    SpliceMode::Always => Splicing::Always,
                    SpliceMode::Off => Splicing::Off,
                },
            },
            upstream,
        }
    }

    /// Says on what terms a peer is let in; `None` if it is not.
    pub(super) fn admit(&self, peer: SocketAddr) -> Option<Policy> {
        let opening = match &self.accept {
            Accept::Off => Opening::Payload,
            Accept::Headers(header) if header.trust.contains(peer.ip()) => Opening::Header,
            Accept::Headers(header) => match header.untrusted {
                Untrusted::Reject => return None,
                Untrusted::Plain => Opening::Payload,
            },
        };
        Some(Policy { opening, ..self.policy })
    }
}

/// Translates the keepalive of the configuration.
pub(crate) fn keepalive(tcp: &config::Tcp) -> sys::Keepalive {
    let config::Keepalive { idle, interval, count } = tcp.keepalive;
    sys::Keepalive { idle, interval, count }
}

/// What the decoder is told: strict framing, since a server that does not look at TLVs must not pass
/// broken ones on.
fn options(accept: &Accept) -> Options {
    let options = Options::new().tlv_framing(TlvFraming::Strict);
    let Accept::Headers(header) = accept else { return options };
    let v2_len_max = header.header_bytes_max.saturating_sub(ppcore::V2_FIXED_LEN);
    options
        .versions(match header.versions {
            Versions::V1 => ppcore::Versions::V1,
            Versions::V2 => ppcore::Versions::V2,
            Versions::Both => ppcore::Versions::Both,
        })
        .presence(match header.presence {
            config::Presence::Required => ppcore::Presence::Required,
            config::Presence::Optional => ppcore::Presence::Optional,
        })
        .crc32c(match header.crc32c {
            ChecksumPolicy::Verify => Crc32cPolicy::Verify,
            ChecksumPolicy::Ignore => Crc32cPolicy::Ignore,
        })
        .v2_len_max(u16::try_from(v2_len_max).unwrap_or(u16::MAX))
}

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
