//! The PROXY protocol: decoded from any cut of the stream, encoded into a caller's slice.
//!
//! Behind a load balancer a server sees the balancer's address. The PROXY protocol carries the
//! client's address in front of the payload: v1 as a line of text, v2 as a binary block with TLVs.
//! This crate turns bytes into a [`Header`] and a header into bytes. It has no clock, no socket and
//! no opinion on whom to trust; it does not allocate, contains no `unsafe` and does not panic,
//! whatever the input.
//!
//! ```
//! use ppcore::{Decoded, Decoder, Options};
//!
//! let received = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\nGET / HTTP/1.1\r\n";
//! let mut decoder = Decoder::new(Options::new());
//! // Nothing is lost when the header arrives in pieces: ask again with more bytes.
//! assert_eq!(decoder.decode(&received[..9]), Ok(Decoded::Need(13)));
//! let Ok(Decoded::Header(header)) = decoder.decode(received) else { panic!() };
//! assert_eq!(header.source(), Some("203.0.113.7:51820".parse().unwrap()));
//! assert_eq!(&received[header.len()..], b"GET / HTTP/1.1\r\n");
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`Decoder`], [`Collector`], [`decode_datagram`] | the way in: from bytes to a [`Header`] |
//! | [`Header`], [`Addresses`], [`canonical`] | what a header says, free of lifetimes |
//! | [`tlv`] | the v2 extensions: a lazy walk and typed views |
//! | [`encode`] | the way out: v1, v2, LOCAL, TLVs, padding and CRC32C |
//! | [`spp`] | Cloudflare's Simple Proxy Protocol for UDP |
//!
//! | feature | brings |
//! |---|---|
//! | (none) | there are no features: everything above is always here, without std and without an allocator |
//!
//! Rust 1.85 or later. It is linked without panics and allocator for a Cortex-M4, WebAssembly and x86-64
//! by `cargo xtask embed` in its repository, which prints the sizes.
//!
//! **What may grow** is `#[non_exhaustive]`: kinds of errors, views of TLVs, policies in [`Options`],
//! and [`Collected`]. What the wire fixes ([`Version`], [`Command`], [`Family`], [`Transport`],
//! [`Addresses`], [`UnixAddr`]) and answers that a caller must all handle ([`Decoded`],
//! [`Crc32cStatus`]) are not: another one there should stop a build, not fall into a `_`.
//!
//! Section numbers in the documentation are those of HAProxy's `doc/proxy-protocol.txt`.
//!
//! **Trust is the caller's.** Whoever may reach the port may set the client's address (spec 2):
//! look at the peer's address before you believe a header.

#![no_std]
#![forbid(unsafe_code)]

mod collector;
mod crc32c;
mod decode;
pub mod encode;
mod error;
mod header;
pub mod spp;
pub mod tlv;
mod v1;
mod v2;

pub use collector::{Collected, Collector};
pub use crc32c::Crc32cStatus;
pub use decode::{
    Crc32cPolicy, Decoded, Decoder, Options, Presence, TlvFraming, Unspec, V1Families, Versions,
    decode_datagram,
};
pub use error::{Error, ErrorKind};
pub use header::{Addresses, Command, Family, Header, Transport, UnixAddr, Version, canonical};

/// The longest v1 line in bytes, CRLF included (spec 2.1).
pub const V1_LEN_MAX: usize = 107;
/// The fixed part of a v2 header in bytes (spec 2.2).
pub const V2_FIXED_LEN: usize = 16;
/// The longest v2 header in bytes: the fixed part and a length field of all ones (spec 2.2).
pub const V2_LEN_MAX: usize = V2_FIXED_LEN + 65_535;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
