//! Trials: connects of our own to endpoints that clients have ejected, off every client's path.
//!
//! ```text
//! a worker ejects -> told -> out, for a while -> on trial -it stands-> told, back in
//!                              ^------ refused, twice as long ----/
//! ```
//!
//! Invariant: so many at a time, however many endpoints are out; each has a bound.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::moment;
use super::pools::{Name, Pools};
use super::requests::EndpointChange;
use crate::data::orders::{Ejected, Ejections};

/// Trials at a time: descriptors that no connection can have.
const TRIALS_MAX: usize = 16;

/// How long a connect may take: as long as a client's by default.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// The trials that are on their way, and what is told of ejections.
#[derive(Debug)]
pub(super) struct Trials {
    pools: Arc<Pools>,
    ejected: mpsc::UnboundedReceiver<Ejected>,
    trials: JoinSet<(Name, Result<(), String>)>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Step {
    /// A worker has ejected an endpoint.
    Ejected(Ejected),
    /// The time of some endpoints is over.
    Due,
    /// A trial has ended.
    Ended(Name, Result<(), String>),
}

impl Trials {
    /// Begins with none, and returns where workers tell of what they eject. No endpoint is ejected again before it
    /// was let in, so no more than there are endpoints wait to be heard of.
    pub(super) fn new(pools: Arc<Pools>) -> (Self, Ejections) {
        let (teller, ejected) = mpsc::unbounded_channel();
        // The process may be over.
        let ejections = Ejections::new(move |ejected| drop(teller.send(ejected)));
        (Self { pools, ejected, trials: JoinSet::new() }, ejections)
    }

    /// Waits for what is to be done; for ever, if there is nothing.
    pub(super) async fn next(&mut self) -> Step {
        let is_full = self.trials.len() >= TRIALS_MAX;
        let due = self.pools.trial_at().filter(|_| !is_full);
        tokio::select! {
            Some(ejected) = self.ejected.recv() => Step::Ejected(ejected),
            Some(Ok((name, outcome))) = self.trials.join_next() => Step::Ended(name, outcome),
            () = moment::reached(due.map(Instant::from_std)) => Step::Due,
        }
    }

    /// Does it, and returns how an endpoint stands now, if that is otherwise than before.
    pub(super) fn handle(&mut self, step: Step) -> Option<EndpointChange> {
        let now = Instant::now().into_std();
        match step {
            Step::Ejected(Ejected { upstream, addr, why }) => {
                self.pools.handle_ejected((upstream, addr), why, now)
            }
            Step::Due => {
                let room = TRIALS_MAX.saturating_sub(self.trials.len());
                for name in self.pools.take_due(room, now) {
                    self.trials.spawn(async move {
                        let outcome = connect(name.1).await.map_err(|error| error.to_string());
                        (name, outcome)
                    });
                }
                None
            }
            Step::Ended(name, outcome) => self.pools.handle_trial(name, outcome, now),
        }
    }
}

/// Connects, and closes at once.
async fn connect(addr: SocketAddr) -> io::Result<()> {
    let connected = timeout(CONNECT_TIME, TcpStream::connect(addr)).await;
    let socket = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if socket.local_addr()? == addr {
        // Or the port stays in use, and the backend cannot bind to it.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "it met itself"));
    }
    Ok(())
}
