//! The doors of the control plane: HTTP for operators, scrapers and probes.
//!
//! ```text
//! Doors -> socket                    bound with the ports, or the reload is refused
//!      \-> door -> patient           connections, within limits
//!             \-> gate -> routes     what is asked, and whether it may be at this door
//!                           \-> answers, chunks, events
//! ```
//!
//! Two kinds: a TCP port answers what changes nothing, and beyond loopback only what names no client; a UNIX
//! socket is its owner's, and takes changes. Invariant: nothing here waits for a worker without a bound, and no
//! worker waits for anything here.

mod answers;
mod chunks;
mod door;
mod events;
#[cfg(fuzzing)]
pub mod fuzzed;
mod gate;
mod patient;
mod routes;
mod socket;
mod status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::error::ServerError;
use crate::config;
use door::Door;
pub(super) use routes::Reception;
pub(super) use socket::Place;
use socket::Socket;

/// How long the end of the process waits until the last answers are out, as that to a drain.
const FINISH_MAX: Duration = Duration::from_millis(15);

/// The doors that are open.
#[derive(Debug, Default)]
pub(super) struct Doors {
    open: Vec<Open>,
}

/// A door that is open, until this is dropped.
#[derive(Debug)]
struct Open {
    /// What the configuration says.
    asked: Place,
    place: Place,
    closing: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// The doors of a configuration, those that are new among them bound.
#[derive(Debug)]
pub(super) struct Bound(Vec<(Place, Option<Socket>)>);

impl Doors {
    /// Finds or binds the doors of a configuration; nothing is changed.
    ///
    /// # Errors
    /// When one of them is not to be had.
    pub(super) fn bind(&self, config: &config::Admin) -> Result<Bound, ServerError> {
        let listen = config.listen.map(Place::Tcp);
        let socket = config.socket.clone().map(Place::Unix);
        let bind = |asked: Place| {
            let is_open = self.open.iter().any(|open| open.asked == asked);
            let socket = (!is_open).then(|| Socket::bind(&asked)).transpose();
            let failed = |error| ServerError::Door { place: asked.to_string(), error };
            let socket = socket.map_err(failed)?;
            Ok((asked, socket))
        };
        listen.into_iter().chain(socket).map(bind).collect::<Result<_, _>>().map(Bound)
    }

    /// Opens what was bound, and closes what is not among it.
    pub(super) fn adopt(&mut self, bound: Bound, reception: &Arc<Reception>) {
        let mut old = std::mem::take(&mut self.open);
        for (asked, socket) in bound.0 {
            let kept = old.iter().position(|open| open.asked == asked);
            match (socket, kept) {
                (Some(socket), _) => self.open.push(Open::new(asked, socket, reception)),
                (None, Some(kept)) => self.open.push(old.swap_remove(kept)),
                (None, None) => {}
            }
        }
        for open in old {
            tracing::info!(admin = %open.place, "admin door closes");
        }
    }

    /// Closes all, and waits until what is being answered is out, for a bounded time.
    pub(super) async fn finish(&mut self) {
        let open = std::mem::take(&mut self.open);
        let finish = async {
            let tasks: Vec<_> = open.into_iter().map(|open| open.task_of_closed()).collect();
            for task in tasks {
                // A panic has been told.
                drop(task.await);
            }
        };
        // Who does not read loses the rest.
        drop(timeout(FINISH_MAX, finish).await);
    }
}

impl Open {
    fn new(asked: Place, socket: Socket, reception: &Arc<Reception>) -> Self {
        let place = socket.place().unwrap_or_else(|_| asked.clone());
        let door = Door { place: place.clone(), socket };
        let router: Router = routes::router(Arc::clone(reception));
        let (closing, is_closing) = watch::channel(());
        let task = tokio::spawn(door.serve(router, is_closing));
        tracing::info!(admin = %place, "admin door opens");
        Self { asked, place, closing, task }
    }

    /// Closes it; the task ends once everything is answered.
    fn task_of_closed(self) -> JoinHandle<()> {
        drop(self.closing);
        self.task
    }
}
