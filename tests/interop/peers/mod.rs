//! The real programs: how each is configured and started, and how it is asked what it saw.
//!
//! All run in the foreground with their files in a temporary directory, as root or not, on a port
//! that is reserved for them.

pub(crate) mod curl;
pub(crate) mod dns;
pub(crate) mod go;
pub(crate) mod haproxy;
pub(crate) mod mail;
pub(crate) mod nginx;
pub(crate) mod openssl;
pub(crate) mod squid;
pub(crate) mod ssh;
pub(crate) mod syslog;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, require_program};

/// What puts every peer on a Debian or Ubuntu machine.
pub(crate) const INSTALL: &str = "apt-get install -y --no-install-recommends haproxy nginx \
     libnginx-mod-stream dnsdist unbound pdns-recursor knot knot-dnsutils dnsperf rsyslog squid postfix dovecot-imapd openssh-server golang-go golang-github-pires-go-proxyproto-dev curl openssl";

#[track_caller]
fn peer(program: &str) -> PathBuf {
    require_program(program, INSTALL)
}

/// A file or directory a package brings, or a failure that says what to install.
#[track_caller]
fn require_path(path: &str) -> PathBuf {
    let path = PathBuf::from(path);
    assert!(path.exists(), "{} is needed and not installed: {INSTALL}", path.display());
    path
}

/// Waits until `proc` listens on `addr`, without a connection that it would see and log.
#[track_caller]
fn wait_for_listener(proc: &mut Proc, addr: SocketAddr) {
    const LISTEN: &str = "0A";
    wait_for_socket(proc, addr, "tcp", LISTEN);
}

/// Waits until `proc` takes datagrams at `addr`.
#[track_caller]
fn wait_for_datagram_socket(proc: &mut Proc, addr: SocketAddr) {
    const UNCONNECTED: &str = "07";
    wait_for_socket(proc, addr, "udp", UNCONNECTED);
}

#[track_caller]
fn wait_for_socket(proc: &mut Proc, addr: SocketAddr, protocol: &str, state: &str) {
    let listening = poll_for(PATIENCE, || match is_there(addr, protocol, state) {
        true => Some(true),
        false => (!proc.is_running()).then_some(false),
    });
    assert_eq!(listening, Some(true), "no listener on {addr}\n{}", proc.transcript());
}

/// Whether the kernel's table has a socket on `addr` in this state (proc(5), `/proc/net/tcp`).
fn is_there(addr: SocketAddr, protocol: &str, state: &str) -> bool {
    let (family, octets) = match addr.ip() {
        IpAddr::V4(ip) => ("", ip.octets().to_vec()),
        IpAddr::V6(ip) => ("6", ip.octets().to_vec()),
    };
    let table = format!("/proc/net/{protocol}{family}");
    // An address is printed four bytes at a time, each a number in the machine's byte order.
    let word = |word: &[u8]| u32::from_ne_bytes(word.try_into().expect("four bytes"));
    let words: String = octets.chunks(4).map(|four| format!("{:08X}", word(four))).collect();
    let local = format!("{words}:{:04X}", addr.port());
    let table = fs::read_to_string(table).expect("/proc is mounted");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some(&local) && fields.nth(1) == Some(state)
    })
}
