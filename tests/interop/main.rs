//! `ppserver` between real peers: HAProxy, nginx, curl, openssl, squid, mail servers, Go programs, and the bytes that AWS
//! load balancers put on the wire.
//!
//! Every case checks the addresses where they end up, in the far end's own words, and the payload
//! byte for byte. Every case has a twin that must fail: an untrusted sender, no header, a broken
//! checksum. A twin ends with a good connection through the same rig, and only that one may have
//! reached the far end: so nothing came late, and the check is able to see a connection.
//!
//! A program that is missing fails the tests with the line that installs it. None is skipped.

#[path = "../common/mod.rs"]
mod common;
mod peers;
mod rig;

mod aws;
mod checks;
mod curl;
mod dns;
mod go;
mod haproxy;
mod nginx;
mod probe;
mod quic;
mod squid;
mod syslog;
mod tls;
mod unix;
