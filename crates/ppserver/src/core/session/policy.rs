//! What a session is told when it begins.

use std::time::Duration;

use super::splicing::Splicing;

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstBytes {
    /// With a header from the client.
    Header,
    /// With a header from the client; or, where nothing has come by the header's deadline, with its payload.
    HeaderOrSilence,
    /// With its payload.
    Payload,
}

/// When a new socket is used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUse {
    /// Before any event: a receive right behind the accept finds what came meanwhile, a send right
    /// behind the connect succeeds where the handshake is over by then, as on loopback.
    AtOnce,
    /// When an event says that it is ready.
    WhenReady,
}

/// What a session is told when it begins; a reload does not change it.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Policy {
    /// How the client begins.
    pub first_bytes: FirstBytes,
    /// For the whole header, from accept.
    pub header_timeout: Duration,
    /// For the ClientHello, from when it is asked for.
    pub hello_timeout: Duration,
    /// For each attempt to connect.
    pub connect_timeout: Duration,
    /// Without a byte either way.
    pub idle_timeout: Duration,
    /// Without a byte, once one side has ended.
    pub half_closed_timeout: Duration,
    /// When bytes are spliced.
    pub splicing: Splicing,
}
