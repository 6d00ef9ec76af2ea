//! What every way in shares: the terms, one header's reading, and the connection behind it.
//!
//! No socket, no clock and no runtime: those are the listeners'.

use std::borrow::Cow;
use std::io;

use pptrust::AsHeader;

mod addr;
mod config;
pub mod datagram;
mod error;
mod handshake;
mod places;
mod stream;

pub(crate) use addr::Canonical;
pub use addr::{Addr, Address};
pub use config::{Config, Silence};
pub use error::{Reason, Refused};
pub(crate) use handshake::{Handshake, Opening, READ_LEN};
pub(crate) use places::Places;
pub use stream::{Endpoints, Stream};

/// The bytes of a header that a connector sends first.
pub(crate) fn header_bytes<H: AsHeader + ?Sized>(header: &H) -> io::Result<Cow<'_, [u8]>> {
    header.header_bytes().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// How many connections that wait to be accepted are taken along when a listener drains: as many as Linux
/// lets wait unless told otherwise (net.core.somaxconn). A flood must not keep it from closing.
pub(crate) const BACKLOG_MAX: usize = 4096;
