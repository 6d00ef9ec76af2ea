//! What the kernel knows of sockets: bytes in their queues, and connects under way.
//!
//! Asked by sock_diag(7), which finds one socket by its addresses; /proc/net/tcp would list all of
//! them, closed ones too, at milliseconds a look. IPv4 only, as the peers here are. A queue that is
//! empty tells for certain that the process has read everything, where a pause would only make it
//! likely.

use std::io::{Read, Write};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::common::deadline::{PATIENCE, poll_for};

/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
/// NLM_F_ROOT | NLM_F_MATCH.
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_INFO: u16 = 2;
const TCP_SYN_SENT: u8 = 2;
const TCP_LISTEN: u8 = 10;
/// `idiag_timer` of a socket that waits to send its next keepalive probe.
const TIMER_KEEPALIVE: u8 = 2;
const ANY_STATE: u32 = u32::MAX;

/// One socket of this host.
struct Found {
    state: u8,
    timer: u8,
    remote: [u8; 6],
    unread: usize,
    unsent: usize,
    /// Two fields of struct tcp_info.
    segs_in: usize,
    data_segs_in: usize,
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
    connection(local, remote).map_or(0, |found| found.unsent)
}

/// Bytes received at `local` that its process has not read.
pub(crate) fn unread(local: SocketAddr, remote: SocketAddr) -> usize {
    connection(local, remote).map_or(0, |found| found.unread)
}

/// Segments with data that have arrived at `local`.
#[track_caller]
pub(crate) fn segments_received(local: SocketAddr, remote: SocketAddr) -> usize {
    connection(local, remote).expect("the connection is there").data_segs_in
}

/// Segments that have arrived at `local`, those without data among them.
#[track_caller]
pub(crate) fn all_segments_received(local: SocketAddr, remote: SocketAddr) -> usize {
    connection(local, remote).expect("the connection is there").segs_in
}

/// Connections that wait to be accepted from the socket that listens at `local`.
pub(crate) fn queued(local: SocketAddr) -> usize {
    // Of a listening socket that is what its receive queue holds.
    listening(local).map_or(0, |found| found.unread)
}

/// Connections that may wait there (the argument of listen(2)).
#[track_caller]
pub(crate) fn backlog(local: SocketAddr) -> usize {
    // Of a listening socket that is what its send queue holds.
    listening(local).expect("it listens").unsent
}

fn listening(local: SocketAddr) -> Option<Found> {
    let found = ask(0, ANY_STATE, notation(local), [0; 6]);
    found.into_iter().find(|found| found.state == TCP_LISTEN)
}

/// Whether the socket at `local` will probe a silent peer (SO_KEEPALIVE).
pub(crate) fn has_keepalive(local: SocketAddr, remote: SocketAddr) -> bool {
    connection(local, remote).is_some_and(|found| found.timer == TIMER_KEEPALIVE)
}

/// Whether a socket on this host waits for an answer to its SYN from `remote`.
pub(crate) fn is_connecting(remote: SocketAddr) -> bool {
    let (remote, state) = (notation(remote), 1 << TCP_SYN_SENT);
    ask(NLM_F_DUMP, state, [0; 6], [0; 6]).iter().any(|found| found.remote == remote)
}

fn connection(local: SocketAddr, remote: SocketAddr) -> Option<Found> {
    let found = ask(0, ANY_STATE, notation(local), notation(remote));
    // Where there is no such connection the kernel answers with the listening socket.
    found.into_iter().next().filter(|found| found.state != TCP_LISTEN)
}

/// Sends a `struct inet_diag_req_v2` and returns the sockets of the answer.
fn ask(flags: u16, states: u32, local: [u8; 6], remote: [u8; 6]) -> Vec<Found> {
    const REQUEST_BYTES: usize = 72;
    let mut request = Vec::with_capacity(REQUEST_BYTES);
    // struct nlmsghdr: length, type, flags, sequence, port.
    request.extend(u32::try_from(REQUEST_BYTES).expect("small").to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    request.extend([0; 8]);
    // AF_INET, IPPROTO_TCP, the extension INET_DIAG_INFO, padding, states.
    request.extend([2, 6, 1 << (INET_DIAG_INFO - 1), 0]);
    request.extend(states.to_ne_bytes());
    // struct inet_diag_sockid: ports, addresses of 16 bytes, interface, INET_DIAG_NOCOOKIE.
    request.extend([&local[4..], &remote[4..]].concat());
    request.extend([&local[..4], &[0; 12], &remote[..4], &[0; 12]].concat());
    request.extend([0; 4]);
    request.extend([0xff; 8]);
    let mut socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
    )
    .expect("the kernel has sock_diag");
    socket.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    socket.write_all(&request).expect("the kernel takes a request");
    let mut answer = vec![0; 64 * 1024];
    let mut found = Vec::new();
    loop {
        let len = socket.read(&mut answer).expect("the kernel answers");
        let is_last = messages(&answer[..len], &mut found);
        if is_last || flags & NLM_F_DUMP == 0 {
            return found;
        }
    }
}

/// Reads the messages of one answer; says whether the last of a dump was among them.
fn messages(mut answer: &[u8], found: &mut Vec<Found>) -> bool {
    while !answer.is_empty() {
        let len = number(answer, 0);
        let (message, behind) = answer.split_at(len);
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        match kind {
            NLMSG_DONE => return true,
            NLMSG_ERROR => {
                let error = u32::from_ne_bytes(message[16..20].try_into().expect("4 bytes"));
                let not_found = 0_u32.wrapping_sub(libc::ENOENT.unsigned_abs());
                assert_eq!(error, not_found, "sock_diag refuses the question");
            }
            // struct inet_diag_msg: state at 1, timer at 2, the socket's id at 4, its queues at 56.
            _ => {
                let socket = &message[16..];
                let mut remote = [0; 6];
                remote[..4].copy_from_slice(&socket[24..28]);
                remote[4..].copy_from_slice(&socket[6..8]);
                let (unread, unsent) = (number(socket, 56), number(socket, 60));
                // What is no full socket has no tcp_info, as in TIME_WAIT.
                let info = attribute(&socket[72..], INET_DIAG_INFO);
                let field = |at| info.map_or(0, |info| number(info, at));
                let (segs_in, data_segs_in) = (field(140), field(152));
                let (state, timer) = (socket[1], socket[2]);
                found.push(Found { state, timer, remote, unread, unsent, segs_in, data_segs_in });
            }
        }
        answer = behind;
    }
    false
}

/// The value of the first attribute of this kind: each has a length, its kind, and is padded.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [low, high, kind, kind_high, ..] = attributes {
        let len = usize::from(u16::from_ne_bytes([*low, *high]));
        if u16::from_ne_bytes([*kind, *kind_high]) == wanted {
            return Some(&attributes[4..len]);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> usize {
    let number = u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    usize::try_from(number).expect("Linux has no 16-bit processors")
}

/// Address and port as sock_diag writes them: in network byte order.
#[track_caller]
fn notation(addr: SocketAddr) -> [u8; 6] {
    let SocketAddr::V4(addr) = addr else { panic!("{addr} is not IPv4") };
    let ([a, b, c, d], [high, low]) = (addr.ip().octets(), addr.port().to_be_bytes());
    [a, b, c, d, high, low]
}
