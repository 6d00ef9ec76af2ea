//! Socket activation: what a service manager has passed at the start (sd_listen_fds(3)).
//!
//! Which listener has it is decided elsewhere. Invariant: what was passed is taken once, by the process that it was
//! passed to; another one gets it in a handover, as all that listens.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::net::SocketType;
use socket2::{Domain, SockRef};

use super::handover::{Name, Parcel};
use crate::data::sys;

/// Takes what was passed to this process, by name; nothing, if nobody has. To be called once.
///
/// # Errors
/// When it is said in vain, or one of them is no stream socket that listens.
pub(super) fn take() -> io::Result<Vec<Parcel>> {
    let mut parcels = Vec::new();
    // Said to another process they are not worth a look, nor are their names.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(parcels);
    }
    for (number, name) in sd_notify::listen_fds_with_names()? {
        let socket = listening(number).map_err(|error| {
            let why = format!("`{name}` is no socket of TCP or UNIX that listens");
            io::Error::new(error.kind(), why)
        })?;
        Parcel::add(&mut parcels, Name::Activated { name }, vec![socket]);
    }
    Ok(parcels)
}

fn listening(number: RawFd) -> io::Result<OwnedFd> {
    let socket = sys::inherited(number, SocketType::STREAM)?;
    let asked = SockRef::from(&socket);
    let is_known = [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&asked.domain()?);
    let is_ours = is_known && asked.is_listener()?;
    if is_ours { Ok(socket) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
