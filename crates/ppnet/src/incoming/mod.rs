//! What every way in shares: the terms, one header's reading, and the connection behind it.
//!
//! No socket, no clock and no runtime: those are the listeners'.

mod config;
pub mod datagram;
mod error;
mod handshake;
mod stream;

pub use config::Config;
pub use error::Refused;
pub(crate) use error::is_of_one_connection;
pub(crate) use handshake::{Handshake, Opening, READ_LEN};
pub use stream::{Endpoints, Stream};
