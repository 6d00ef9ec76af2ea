//! Whom to believe, and what a PROXY protocol header is worth: rules without a socket.
//!
//! `ppcore` says what bytes mean. This crate says what follows from it for a connection: whether its
//! peer may speak for a client at all, and what is sent on. Addresses and bytes go in, answers come
//! out; it opens nothing, waits for nothing and reads no clock.
//!
//! | module | holds |
//! |---|---|
//! | [`Networks`], [`Peers`] | a set of networks, and those whose word counts |
//! | [`Received`] | a header with its bytes |
//! | [`Greeting`] | a header to be sent |
//!
//! Section numbers are those of HAProxy's `doc/proxy-protocol.txt`.

#![forbid(unsafe_code)]

mod greeting;
mod networks;
mod peers;
mod received;

pub use greeting::Greeting;
pub use networks::{NetworkError, Networks, parse_network};
pub use peers::{Peers, Shortest, is_public};
pub use received::Received;

/// The decoder underneath: what a [`Received`] header says, and what a decoder accepts.
pub use ppcore;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
