//! The options of a socket of datagrams that no crate wraps.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has what is sent at a time leave as datagrams of so many bytes each, but for the last (UDP_SEGMENT, udp(7)).
pub(super) fn segment(socket: &impl AsFd, bytes: u16) -> io::Result<()> {
    set(socket, libc::UDP_SEGMENT, bytes.into())
}

/// Has datagrams of one sender and one length received together (UDP_GRO, udp(7)).
pub(super) fn aggregate(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::UDP_GRO, 1)
}

fn set(socket: &impl AsFd, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    const { assert!(size_of::<libc::c_int>() == 4, "what setsockopt(2) is told below") };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: setsockopt(2): it reads an int of the given length, which is a local; the descriptor is borrowed for the call.
    #[expect(unsafe_code, reason = "no crate has UDP_SEGMENT and UDP_GRO")]
    let result =
        unsafe { libc::setsockopt(fd, libc::IPPROTO_UDP, name, (&raw const value).cast(), LEN) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
