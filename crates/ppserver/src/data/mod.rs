//! The data plane: event loops that perform what `core` decides.
//!
//! `worker` is the loop, `port` a listening socket, `conn` a session with its two sockets (`leg`) and
//! the attempts to reach an upstream (`dial`), `datagrams` a socket that datagrams come to with their flows, `conduit`,
//! `buffers` and `pipes` the bytes in transit, `table` where connections are kept, `source` who an event is for, `rules` the
//! terms of a listener, `orders` what the control plane says, `sys` the system calls, `outcome` what they
//! answered.

pub mod listing;
pub mod orders;
pub mod sys;
pub mod worker;

mod buffers;
mod clock;
mod conduit;
#[cfg(test)]
mod conformance;
mod conn;
mod datagrams;
mod dial;
mod hello;
mod leg;
mod outcome;
mod pipes;
mod port;
mod rules;
mod source;
mod table;

#[cfg(fuzzing)]
pub use datagrams::fuzzed as datagrams_fuzzed;
#[cfg(fuzzing)]
pub use hello::asked;
pub use pipes::PipeLimits;
pub(crate) use rules::listen_options;
