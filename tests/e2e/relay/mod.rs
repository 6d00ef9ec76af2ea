//! The life of a connection: header, trust, upstream, payload, ends and resets.

mod bulk;
mod half_close;
mod header;
mod local;
mod malformed;
mod outgoing;
mod presence;
mod reset;
mod timeouts;
mod trust;
mod upstream;
mod urgent;
