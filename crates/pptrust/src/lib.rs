//! Whom to believe, and what a PROXY protocol header is worth: rules without a socket.
//!
//! `ppcore` says what bytes mean. This crate says what follows from it for a connection: whether its
//! peer may speak for a client at all, and what is sent on. Addresses and bytes go in, answers come
//! out; it opens nothing, waits for nothing and reads no clock.
//!
//! | names | what for |
//! |---|---|
//! | [`Networks`], [`Peers`] | a set of networks, and those whose word counts |
//! | [`Trust`], [`Policy`], [`Admission`] | whom to believe, and what no header means |
//! | [`Intro`] | how a connection begins: a header, from pieces, or none |
//! | [`datagram`] | one datagram's header, or its flow's |
//! | [`Received`] | a header with its bytes |
//! | [`Outgoing`] | the header that is sent for a connection or a datagram, made of the one that came with it |
//! | [`Greeting`], [`AsHeader`] | a header to be sent, made of nothing but words; whatever else is one |
//! | [`looks_like`] | what bytes look like that are no header |
//! | [`is_of_one_accept`] | which errors of accept(2) are one connection's and not the listener's |
//!
//! What may grow is `#[non_exhaustive]`: [`Policy`], [`Lookalike`] and [`NetworkError`]. Answers that a caller
//! must all handle ([`Admission`], [`Found`], [`Refusal`]) are not.
//!
//! Section numbers are those of HAProxy's `doc/proxy-protocol.txt`.

#![forbid(unsafe_code)]

mod accepting;
pub mod datagram;
mod greeting;
mod intro;
mod looks_like;
mod networks;
mod outgoing;
mod peers;
mod policy;
mod received;

pub use accepting::is_of_one_accept;
pub use greeting::{AsHeader, Greeting};
pub use intro::{Found, Intro};
pub use looks_like::{Lookalike, looks_like};
pub use networks::{NetworkError, Networks, parse_network};
pub use outgoing::{
    ChecksumSent, Destination, Facts, Outgoing, SocketAddrs, TlvPass, TlvSet, TlvSource, TlvValue,
};
pub use peers::{Peers, Shortest, is_public};
pub use policy::{Admission, Policy, Refusal, Trust};
pub use received::Received;

/// The decoder underneath: what a [`Received`] header says, and what a decoder accepts.
pub use ppcore;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
