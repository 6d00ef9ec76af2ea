//! `ppnet` over real sockets: what go-proxyproto promises, crowds, the examples as processes, and
//! real peers.
//!
//! Every case of the listeners runs on the blocking one and on that of tokio. A program that is
//! missing fails the tests with the line that installs it. None is skipped.

#[allow(dead_code, reason = "shared with tests that use more of it")]
mod common;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../interop/peers/mod.rs"]
mod peers;

mod crowd;
mod examples;
mod interop;
mod rig;
mod semantics;
mod streams;
mod tls;
mod unix;
