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
/// When it is said in vain, or one of them is no listening TCP socket.
pub(super) fn take() -> io::Result<Vec<Parcel>> {
    let mut parcels = Vec::new();
    // Said to another process they are not worth a look, nor are their names.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(parcels);
    }
    for (number, name) in sd_notify::listen_fds_with_names()? {
        let socket = listening(number).map_err(|error| {
            io::Error::new(error.kind(), format!("`{name}` is no TCP socket that listens"))
        })?;
        Parcel::add(&mut parcels, Name::Activated { name }, vec![socket]);
    }
    Ok(parcels)
}

fn listening(number: RawFd) -> io::Result<OwnedFd> {
    let socket = sys::inherited(number, SocketType::STREAM)?;
    let asked = SockRef::from(&socket);
    let is_ip = [Domain::IPV4, Domain::IPV6].contains(&asked.domain()?);
    if is_ip && asked.is_listener()? { Ok(socket) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
