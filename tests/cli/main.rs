//! The command line through the real binary: what it prints, and how it ends.
//!
//! One test binary, one module a subject. Nothing here calls the library.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod decode;
mod encode;
mod generated;
mod golden;
mod pcap;
mod probe;
mod support;
mod terminal;
mod vectors;
