//! A handover: another process gets the listening sockets themselves, and serves.
//!
//! ```text
//! upgrade -> candidate (a program is started, given everything, waited for) --\
//! start   -> legacy    (what a process finds that another one has started) ----> channel -> words
//! serve   -> keeper    (what a process says to its supervisor later) -----------/
//! ```
//!
//! Both have the same sockets for a while, and either takes who comes. Whoever has handed over only lets go of its own:
//! listen(2) and shutdown(2) would act on the other's too. Invariant: until the other one says that it serves,
//! nothing has changed here.

mod candidate;
mod channel;
mod keeper;
mod legacy;
mod words;

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use candidate::{Candidate, End, Heir, Parent, Process, Terms, give};
pub(super) use channel::Channel;
pub(super) use keeper::{Keeper, Verdict};
pub(super) use legacy::Legacy;
pub(super) use words::Word;

/// Names the descriptor of the channel to the program that is started.
const VARIABLE: &str = "PPSERVER_HANDOVER";

/// How long the other process may take until it serves, or says that it does not.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sockets that go over.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) name: Name,
    /// All its sockets, each once.
    pub(super) sockets: Vec<OwnedFd>,
}

/// A process that serves in the place of this one.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) pid: u32,
    pub(super) generation: u32,
    /// What it has.
    pub(super) names: Vec<Name>,
}

impl Parcel {
    /// Adds what came with a word.
    pub(super) fn add(parcels: &mut Vec<Self>, name: Name, sockets: Vec<OwnedFd>) {
        match parcels.iter_mut().find(|parcel| parcel.name == name) {
            Some(parcel) => parcel.sockets.extend(sockets),
            None => parcels.push(Self { name, sockets }),
        }
    }
}

/// What sockets are known by on both sides: as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Name {
    /// An address of a listener.
    Port { listener: String, asked: String },
    /// A door of the admin interface.
    Door { asked: String },
    /// What a service manager has passed by this name.
    Activated { name: String },
}
