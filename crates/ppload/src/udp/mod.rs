//! Datagrams: flows that ask and are answered, flows that only send, and the sink behind the proxy.
//!
//! Headers stand in front of datagrams and not of connections, so nothing is shared with those but the clock, the schedule and
//! the pattern. Invariant: every datagram that was sent is answered, or lost, or told why not; the sink holds each
//! header against the payload behind it.

mod generator;
mod report;
mod sink;
mod sys;
mod wire;

pub(super) use self::generator::Generator;
pub use self::report::{DatagramReport, DatagramSinkReport};
pub(super) use self::sink::Sink;
pub use self::wire::Framing;
pub(super) use self::wire::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MIN};

/// What the flows of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They stay, and each datagram is answered.
    Game,
    /// They stay, and nothing is answered.
    Bulk,
    /// Each is of one question and its answer.
    Dns,
}

/// The socket buffers that are asked for; the kernel gives net.core.rmem_max and wmem_max at most.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// What one receive may bring: an aggregate of UDP_GRO.
const RECEIVE_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests;
