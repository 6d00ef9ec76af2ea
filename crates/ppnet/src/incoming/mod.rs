//! What every way in shares: the terms, one header's reading, and the connection behind it.
//!
//! No socket, no clock and no runtime: those are the listeners'.

mod config;
pub mod datagram;
mod error;
mod handshake;
mod places;
mod stream;

pub use config::Config;
pub use error::Refused;
pub(crate) use handshake::{Handshake, Opening, READ_LEN};
pub(crate) use places::Places;
pub use stream::{Endpoints, Stream};
