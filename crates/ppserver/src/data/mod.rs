//! The data plane: event loops that perform what `core` decides.
//!
//! `worker` is the loop, `port` a listening socket, `conn` a session with its two sockets, `conduit`
//! and `pipes` the bytes in transit, `table` and `wheel` where connections and reminders are kept,
//! `rules` the terms of a listener, `orders` what the control plane says, `sys` the system calls.

pub mod orders;
pub mod sys;
pub mod worker;

mod clock;
mod conduit;
#[cfg(test)]
mod conformance;
mod conn;
mod pipes;
mod port;
mod rules;
mod table;
mod wheel;

pub use pipes::PipeLimits;
pub(crate) use rules::listen_options;
