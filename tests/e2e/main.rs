//! The whole server from outside: scripted peers, real sockets, real signals.
//!
//! Ports are free ones, and nothing sleeps to synchronise: a test waits for the thing itself.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "shared with the interop tests, which use all of it")]
mod common;

mod admin;
mod life;
mod names;
mod pools;
mod relay;
mod routes;
mod support;
mod systemd;
mod torment;
mod transparent;
mod udp;
mod unix;
