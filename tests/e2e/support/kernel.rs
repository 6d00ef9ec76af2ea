//! What the kernel knows: bytes in socket queues (/proc/net/tcp), memory and processor time of a
//! process (/proc/PID, proc(5)). IPv4 only, as all peers here are.
//!
//! A queue that is empty tells for certain that the process has read everything, where a pause
//! would only make it likely.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::common::deadline::{PATIENCE, poll_for};

/// SYN_SENT, as /proc/net/tcp writes it.
const CONNECTING: &str = "02";

/// One socket of this host.
struct Row {
    local: String,
    remote: String,
    state: String,
    unsent: usize,
    unread: usize,
}

/// Waits until the socket at `server` has received, and its process has read, everything that
/// `client` has sent; a socket that is gone has nothing left to read.
#[track_caller]
pub(crate) fn wait_until_taken(client: SocketAddr, server: SocketAddr) {
    let taken = poll_for(PATIENCE, || {
        (unsent(client, server) == 0 && unread(server, client) == 0).then_some(())
    });
    taken.unwrap_or_else(|| panic!("{server} does not read what {client} sends"));
}

/// Bytes sent from `local` that the kernel of `remote` has not acknowledged.
pub(crate) fn unsent(local: SocketAddr, remote: SocketAddr) -> usize {
    row(local, remote).map_or(0, |row| row.unsent)
}

/// Bytes received at `local` that its process has not read.
pub(crate) fn unread(local: SocketAddr, remote: SocketAddr) -> usize {
    row(local, remote).map_or(0, |row| row.unread)
}

/// Whether a socket on this host waits for an answer to its SYN from `remote`.
pub(crate) fn is_connecting(remote: SocketAddr) -> bool {
    let remote = notation(remote);
    rows().iter().any(|row| row.remote == remote && row.state == CONNECTING)
}

/// The resident memory of a process.
#[track_caller]
pub(crate) fn resident_bytes(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("`VmRSS: 1 kB`");
    kib.parse::<usize>().expect("a number") * 1024
}

/// The processor time that a process has used in all its threads.
#[track_caller]
pub(crate) fn cpu_time(pid: i32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let nanos = tasks.map(|task| {
        let task = task.expect("the directory can be read").path();
        let schedstat = fs::read_to_string(task.join("schedstat")).expect("the thread is there");
        let on_cpu = schedstat.split(' ').next().expect("time on a CPU is the first field");
        on_cpu.parse::<u64>().expect("a number")
    });
    Duration::from_nanos(nanos.sum())
}

fn row(local: SocketAddr, remote: SocketAddr) -> Option<Row> {
    let (local, remote) = (notation(local), notation(remote));
    rows().into_iter().find(|row| row.local == local && row.remote == remote)
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc is there");
    let rows = table.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (unsent, unread) = fields[4].split_once(':').expect("tx_queue:rx_queue");
        let bytes = |text| usize::from_str_radix(text, 16).expect("hexadecimal");
        Row {
            local: fields[1].to_owned(),
            remote: fields[2].to_owned(),
            state: fields[3].to_owned(),
            unsent: bytes(unsent),
            unread: bytes(unread),
        }
    });
    rows.collect()
}

/// An address as /proc/net/tcp writes it: the IPv4 address as a number in the host's byte order.
#[track_caller]
fn notation(addr: SocketAddr) -> String {
    let SocketAddr::V4(addr) = addr else { panic!("{addr} is in another table") };
    let number = |addr: SocketAddrV4| u32::from_ne_bytes(addr.ip().octets());
    format!("{:08X}:{:04X}", number(addr), addr.port())
}
