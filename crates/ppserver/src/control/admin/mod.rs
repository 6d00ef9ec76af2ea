//! The doors of the control plane: HTTP for operators, scrapers and probes.
//!
//! ```text
//! Doors -> socket                    bound with the ports, or the reload is refused
//!      \-> door -> patient           connections, within limits
//!             \-> gate -> routes     what is asked, and whether it may be at this door
//!                           \-> answers, chunks, events, dashboard
//! ```
//!
//! Two kinds: a TCP port answers what changes nothing, and beyond loopback only what names no client; a UNIX
//! socket is its owner's, and takes changes. Invariant: nothing here waits for a worker without a bound, and no
//! worker waits for anything here.

mod answers;
mod chunks;
mod dashboard;
mod door;
mod events;
#[cfg(fuzzing)]
pub mod fuzzed;
mod gate;
mod patient;
mod routes;
mod socket;
mod status;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::error::ServerError;
use super::handover::{Name, Parcel};
use super::unix_socket::File;
use crate::config;
use door::Door;
pub(super) use routes::Reception;
pub(super) use socket::DoorAddr;
use socket::{New, Socket};

/// How long the end of the process waits until the last answers are out, as that to a drain.
const FINISH_MAX: Duration = Duration::from_millis(15);

/// The doors that are open.
#[derive(Debug, Default)]
pub(super) struct Doors {
    open: Vec<Open>,
    /// Left by another process, which serves them too.
    left: Vec<(DoorAddr, OwnedFd)>,
    /// Of doors that another process has: what is being answered.
    going: Vec<JoinHandle<()>>,
}

/// A door that is open, until this is dropped.
#[derive(Debug)]
struct Open {
    /// What the configuration says.
    asked: DoorAddr,
    place: DoorAddr,
    /// A duplicate, to be handed over.
    socket: Option<OwnedFd>,
    /// Of a UNIX socket.
    file: Option<File>,
    closing: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// The doors of a configuration, those that are new among them bound.
#[derive(Debug)]
pub(super) struct Bound(Vec<(DoorAddr, Option<New>)>);

impl Doors {
    /// Begins with what another process has left.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn new(parcels: &[Parcel]) -> io::Result<Self> {
        let mut left = Vec::new();
        for Parcel { name, sockets } in parcels {
            if let Name::Door { asked } = name
                && let Some(place) = DoorAddr::parse(asked)
            {
                for socket in sockets {
                    left.push((place.clone(), socket.try_clone()?));
                }
            }
        }
        Ok(Self { left, ..Self::default() })
    }

    /// Returns duplicates of all, to be handed over: those that are open, or those of a configuration.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn parcels(&self, bound: Option<&Bound>) -> io::Result<Vec<Parcel>> {
        let mut parcels = Vec::new();
        let mut add = |asked: &DoorAddr, socket: OwnedFd| {
            let name = Name::Door { asked: asked.to_string() };
            parcels.push(Parcel { name, sockets: vec![socket] });
        };
        let stays = |open: &Open| match bound {
            Some(Bound(doors)) => {
                doors.iter().any(|(asked, socket)| *asked == open.asked && socket.is_none())
            }
            None => true,
        };
        for open in self.open.iter().filter(|open| stays(open)) {
            if let Some(socket) = &open.socket {
                add(&open.asked, socket.try_clone()?);
            }
        }
        for (asked, socket) in bound.into_iter().flat_map(|Bound(doors)| doors) {
            if let Some((socket, _)) = socket {
                add(asked, socket.duplicate()?);
            }
        }
        Ok(parcels)
    }

    /// Closes all; those that another process has under these names are its own from now on.
    pub(super) fn leave(&mut self, names: &[Name]) {
        for mut open in self.open.drain(..) {
            let name = Name::Door { asked: open.asked.to_string() };
            if let Some(file) = open.file.take_if(|_| names.contains(&name)) {
                file.leave();
            }
            self.going.push(open.task_of_closed());
        }
    }

    /// Finds or binds the doors of a configuration; nothing is changed.
    ///
    /// # Errors
    /// When one of them is not to be had.
    pub(super) fn bind(&self, config: &config::Admin) -> Result<Bound, ServerError> {
        let listen = config.listen.map(DoorAddr::Tcp);
        let socket = config.socket.clone().map(DoorAddr::Unix);
        let bind = |asked: DoorAddr| {
            let is_open = self.open.iter().any(|open| open.asked == asked);
            let left = self.left.iter().find(|(place, _)| *place == asked);
            let new = || match left {
                Some((place, socket)) => Socket::left(place, socket.try_clone()?),
                None => Socket::bind(&asked),
            };
            let socket = (!is_open).then(new).transpose();
            let failed = |error| ServerError::Door { place: asked.to_string(), error };
            let socket = socket.map_err(failed)?;
            Ok((asked, socket))
        };
        listen.into_iter().chain(socket).map(bind).collect::<Result<_, _>>().map(Bound)
    }

    /// Opens what was bound, and closes what is not among it.
    pub(super) fn adopt(&mut self, bound: Bound, reception: &Arc<Reception>) {
        self.left.clear();
        let mut old = std::mem::take(&mut self.open);
        for (asked, socket) in bound.0 {
            let kept = old.iter().position(|open| open.asked == asked);
            match (socket, kept) {
                (Some((socket, file)), _) => {
                    self.open.push(Open::new(asked, socket, file, reception));
                }
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
        let going = std::mem::take(&mut self.going);
        let finish = async {
            let tasks = open.into_iter().map(|open| open.task_of_closed());
            let tasks: Vec<_> = tasks.chain(going).collect();
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
    fn new(
        asked: DoorAddr,
        socket: Socket,
        mut file: Option<File>,
        reception: &Arc<Reception>,
    ) -> Self {
        let place = socket.place(&asked);
        // Without it the door is not handed over, and whoever takes over finds it taken.
        let duplicate = socket.duplicate().ok();
        if let Some(file) = &mut file {
            file.own();
        }
        let door = Door { place: place.clone(), socket };
        let router: Router = routes::router(Arc::clone(reception));
        let (closing, is_closing) = watch::channel(());
        let task = tokio::spawn(door.serve(router, is_closing));
        tracing::info!(admin = %place, "admin door opens");
        Self { asked, place, socket: duplicate, file, closing, task }
    }

    /// Closes it; the task ends once everything is answered.
    fn task_of_closed(self) -> JoinHandle<()> {
        drop(self.closing);
        self.task
    }
}
