//! Sockets of datagrams: several messages a call in, several datagrams a message out.
//!
//! Not a place for policy. What the kernel tells of a message (recvmsg(2), cmsg(3)) is read from bytes. Invariant: a
//! message lies in the room that it was received into until the room is cleared.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Sharing, set_int};

/// The most messages that there is room for.
pub const MESSAGES_MAX: usize = 16;
/// What an aggregate of UDP_GRO has at most.
const MESSAGE_BYTES: usize = 1 << 16;
/// For an address of either family (sockaddr_in6). A u8, since a length in a msghdr is of another type with each C library.
const NAME_LEN: u8 = 28;
const NAME_BYTES: usize = NAME_LEN as usize;
/// For IPV6_PKTINFO and UDP_GRO, with room to spare.
const CONTROL_LEN: u8 = 128;
const CONTROL_BYTES: usize = CONTROL_LEN as usize;
/// Of a cmsghdr as the kernel has it: a length of the size of a pointer, a level and a type.
const CONTROL_HEADER: usize = size_of::<usize>() + 8;
/// What a listening socket asks for: the default holds 256 small datagrams. The kernel gives net.core.rmem_max at most.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The most messages that wait at a socket: the kernel doubles what is asked for (socket(7)), and counts more than so much for the smallest.
pub const WAITING_MAX: usize = 2 * RECEIVE_BUFFER_BYTES / 512;

/// Whether datagrams that leave may be fragmented (IP_MTU_DISCOVER, ip(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragments {
    /// As the system is set.
    Kernel,
    /// They may not, whatever is known of the path.
    Never,
    /// They may.
    Always,
}

/// Binds a socket of datagrams, which tells where its messages were sent to. IPv6 sockets are v6-only.
///
/// # Errors
/// As of [`bind`](super::bind).
pub fn bind(addr: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = socket(addr)?;
    if sharing == Sharing::Port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
        set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    } else {
        set_int(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Connects a socket of datagrams, from an address of ours if one is given: it gets what its peer sends alone, and
/// hears of refusals (udp(7)).
///
/// # Errors
/// EMFILE and the like, EAGAIN where no port is left, ENETUNREACH.
pub fn connect(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
    let socket = socket(addr)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect(&addr.into())?;
    Ok(socket)
}

/// Connects a socket of datagrams that is bound beside those at one of our addresses, and gets what this peer sends there
/// in their place. Between the two calls it gets what others send.
///
/// # Errors
/// EMFILE and the like, EADDRINUSE where those do not share the address, EACCES.
pub fn connect_beside(local: SocketAddr, peer: SocketAddr) -> io::Result<Socket> {
    let socket = socket(local)?;
    socket.set_reuse_port(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&local.into())?;
    socket.connect(&peer.into())?;
    Ok(socket)
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    Socket::new(Domain::for_address(addr), kind, Some(Protocol::UDP))
}

/// Has datagrams of one sender and one length received as one message (UDP_GRO); a kernel that cannot do that gives each of its
/// own.
pub fn aggregate(socket: &impl AsFd) {
    let _ = set_int(socket, libc::IPPROTO_UDP, libc::UDP_GRO, 1);
}

/// Says whether what leaves may be fragmented.
///
/// # Errors
/// When the system refuses.
pub fn set_fragments(socket: &impl AsFd, is_ipv4: bool, fragments: Fragments) -> io::Result<()> {
    let (level, name) = match is_ipv4 {
        true => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        false => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    match fragments {
        Fragments::Kernel => Ok(()),
        Fragments::Never => set_int(socket, level, name, libc::IP_PMTUDISC_PROBE),
        Fragments::Always => set_int(socket, level, name, libc::IP_PMTUDISC_DONT),
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Our own address that it was sent to, where the socket tells that.
    pub local: Option<IpAddr>,
    /// Each of its datagrams but the last has so many bytes, where it may hold several.
    pub segment: Option<usize>,
    /// It was longer than there is room for.
    pub is_cut: bool,
    /// What it says.
    pub bytes: &'a [u8],
}

/// Room for messages.
pub struct Messages {
    bytes: Box<[u8]>,
    slots: Box<[Slot]>,
    len: usize,
}

/// What the kernel writes beside the bytes of a message.
#[derive(Clone, Copy)]
struct Slot {
    len: usize,
    flags: libc::c_int,
    name: Aligned<NAME_BYTES>,
    control: Aligned<CONTROL_BYTES>,
}

#[derive(Clone, Copy)]
#[repr(align(8))]
struct Aligned<const LEN: usize>([u8; LEN]);

impl Slot {
    const EMPTY: Self = Self {
        len: 0,
        flags: 0,
        name: Aligned([0; NAME_BYTES]),
        control: Aligned([0; CONTROL_BYTES]),
    };
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Messages {
    /// Makes the room.
    #[expect(clippy::new_without_default, reason = "a megabyte is no default")]
    pub fn new() -> Self {
        let bytes = vec![0; MESSAGES_MAX * MESSAGE_BYTES].into_boxed_slice();
        Self { bytes, slots: vec![Slot::EMPTY; MESSAGES_MAX].into_boxed_slice(), len: 0 }
    }

    /// Forgets what there is.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Returns how many more there is room for.
    pub fn room(&self) -> usize {
        MESSAGES_MAX - self.len
    }

    /// Receives as many as there are, and room for (recvmmsg(2)). Returns which they are; fewer than there was room for
    /// says that there are no more.
    ///
    /// # Errors
    /// EAGAIN when there is none; ECONNREFUSED and others of the socket's.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<Range<usize>> {
        // SAFETY: recvmsg(2): a msghdr of zeros asks for nothing: no pointer in it is followed whose length is 0.
        #[expect(unsafe_code, reason = "musl has private fields in it")]
        let mut headers: [libc::mmsghdr; MESSAGES_MAX] = unsafe { std::mem::zeroed() };
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut buffers = [nothing; MESSAGES_MAX];
        let first = self.len;
        let room = self.room();
        let bytes = self.bytes.chunks_exact_mut(MESSAGE_BYTES).skip(first);
        let slots = self.slots.iter_mut().skip(first).zip(bytes);
        for (((slot, bytes), header), buffer) in slots.zip(&mut headers).zip(&mut buffers) {
            *slot = Slot::EMPTY;
            *buffer = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let header = &mut header.msg_hdr;
            header.msg_iov = buffer;
            header.msg_iovlen = 1;
            header.msg_name = slot.name.0.as_mut_ptr().cast();
            header.msg_namelen = NAME_LEN.into();
            header.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_LEN.into();
        }
        let count = libc::c_uint::try_from(room).expect("there are few");
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: recvmmsg(2): the first `count` headers point to buffers, names and controls of the lengths they say,
        // which nobody else has while `self` is borrowed; the descriptor is open while `socket` is. It does not wait.
        #[expect(unsafe_code, reason = "neither rustix nor socket2 has recvmmsg")]
        let received =
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, 0, std::ptr::null_mut()) };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (slot, header) in self.slots.iter_mut().skip(first).zip(&headers).take(received) {
            slot.len = usize::try_from(header.msg_len).unwrap_or(MESSAGE_BYTES).min(MESSAGE_BYTES);
            slot.flags = header.msg_hdr.msg_flags;
        }
        self.len += received;
        Ok(first..self.len)
    }

    /// Returns one that was received; `None` if nobody can be told to have sent it.
    pub fn get(&self, at: usize) -> Option<Message<'_>> {
        let Slot { flags, name, control, .. } = self.slots[..self.len].get(at)?;
        let (mut local, mut segment) = (None, None);
        for (level, kind, data) in controls(&control.0) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // Behind the interface: the address that an answer comes from.
                    let octets = data.get(4..8).and_then(|octets| octets.first_chunk::<4>());
                    local = octets.map(|octets| IpAddr::from(*octets));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    local = data.first_chunk::<16>().map(|octets| IpAddr::from(*octets));
                }
                (libc::IPPROTO_UDP, libc::UDP_GRO) => {
                    let size = data.first_chunk::<4>().map(|size| i32::from_ne_bytes(*size));
                    segment = size.and_then(|size| usize::try_from(size).ok());
                }
                _ => {}
            }
        }
        let is_cut = flags & libc::MSG_TRUNC != 0;
        Some(Message { peer: named(&name.0)?, local, segment, is_cut, bytes: self.bytes(at) })
    }

    /// Returns what one says.
    pub fn bytes(&self, at: usize) -> &[u8] {
        let start = at * MESSAGE_BYTES;
        self.bytes.get(start..start + self.slots[at].len).unwrap_or_default()
    }
}

/// Reads a sockaddr of either family.
fn named(name: &[u8; NAME_BYTES]) -> Option<SocketAddr> {
    let family = libc::c_int::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let ip = name.get(4..)?.first_chunk::<4>()?;
            Some(SocketAddr::new(Ipv4Addr::from(*ip).into(), port))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?);
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => None,
    }
}

/// Reads control messages: their levels, types and data. Zeros end them.
fn controls(mut bytes: &[u8]) -> impl Iterator<Item = (libc::c_int, libc::c_int, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from_ne_bytes(*bytes.first_chunk()?);
        let int = |at: usize| Some(i32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let (level, kind) = (int(size_of::<usize>())?, int(size_of::<usize>() + 4)?);
        let data = bytes.get(..len)?.get(CONTROL_HEADER..)?;
        bytes = bytes.get(len.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// Control messages that are sent.
struct Controls {
    bytes: Aligned<CONTROL_BYTES>,
    len: usize,
}

impl Controls {
    const fn new() -> Self {
        Self { bytes: Aligned([0; CONTROL_BYTES]), len: 0 }
    }

    fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let len = CONTROL_HEADER + data.len();
        let parts: [&[u8]; 4] =
            [&len.to_ne_bytes(), &level.to_ne_bytes(), &kind.to_ne_bytes(), data];
        let mut at = self.len;
        for part in parts {
            self.bytes.0[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.len = at.next_multiple_of(size_of::<usize>());
    }
}

/// Where an answer goes, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// To whom.
    pub to: SocketAddr,
    /// From which of our own addresses, where the socket has several.
    pub from: Option<SocketAddr>,
}

/// What is sent as one message.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// Its bytes.
    pub parts: &'a [IoSlice<'a>],
    /// It is several datagrams of so many bytes each but the last (UDP_SEGMENT, udp(7)).
    pub segment: Option<u16>,
    /// Where it goes; to the socket's peer without (IP_PKTINFO).
    pub way: Option<Way>,
}

impl Sending<'_> {
    fn controls(&self) -> Controls {
        let mut controls = Controls::new();
        if let Some(segment) = self.segment {
            controls.push(libc::IPPROTO_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        match self.way.and_then(|way| way.from) {
            Some(SocketAddr::V4(from)) => {
                // No interface, the source, and nothing.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&from.ip().octets());
                controls.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(SocketAddr::V6(from)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&from.ip().octets());
                info[16..].copy_from_slice(&from.scope_id().to_ne_bytes());
                controls.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        controls
    }
}

/// Sends messages in their order, `MESSAGES_MAX` at most, in one call (sendmmsg(2)). Returns how many were sent: what
/// keeps the next one says another call.
///
/// # Errors
/// What keeps the first one.
pub fn send(socket: &impl AsFd, sendings: &[Sending<'_>]) -> io::Result<usize> {
    match sendings {
        // What is not there need not be cleared.
        [_] => send_all::<1>(socket, sendings),
        _ => send_all::<MESSAGES_MAX>(socket, sendings),
    }
}

fn send_all<const MAX: usize>(socket: &impl AsFd, sendings: &[Sending<'_>]) -> io::Result<usize> {
    // SAFETY: sendmsg(2): a msghdr of zeros says nothing: no pointer in it is followed whose length is 0.
    #[expect(unsafe_code, reason = "musl has private fields in it")]
    let mut headers: [libc::mmsghdr; MAX] = unsafe { std::mem::zeroed() };
    let mut names: [Option<SockAddr>; MAX] = [const { None }; MAX];
    let mut controls = [const { Controls::new() }; MAX];
    let mut count = 0;
    let rooms = headers.iter_mut().zip(&mut names).zip(&mut controls);
    for (sending, ((header, name), control)) in sendings.iter().zip(rooms) {
        let header = &mut header.msg_hdr;
        if let Some(way) = sending.way {
            let name = name.insert(way.to.into());
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
        }
        header.msg_iov = sending.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = u8::try_from(sending.parts.len()).expect("PARTS_MAX").into();
        *control = sending.controls();
        header.msg_control = control.bytes.0.as_mut_ptr().cast();
        header.msg_controllen = u8::try_from(control.len).expect("there are CONTROL_LEN").into();
        count += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: sendmmsg(2): the first `count` headers point to buffers, names and controls of the lengths they say, which are
    // borrowed or stand above; an IoSlice is an iovec; the descriptor is open while `socket` is. Datagrams raise no SIGPIPE.
    #[expect(unsafe_code, reason = "neither rustix nor socket2 has sendmmsg")]
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::time::Duration;

    use super::*;

    /// Waits until something has come. A receive that waits does so until it has all that there is room for (recvmmsg(2)).
    fn receive(messages: &mut Messages, socket: &Socket) -> Range<usize> {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.peek(&mut [MaybeUninit::uninit()]).unwrap();
        socket.set_nonblocking(true).unwrap();
        messages.receive(socket).unwrap()
    }

    fn pair(at: &str) -> (Socket, Socket, SocketAddr) {
        let listening = bind(at.parse().unwrap(), Sharing::Exclusive).unwrap();
        let port = listening.local_addr().unwrap().as_socket().unwrap().port();
        let ip: IpAddr = if at.starts_with('[') {
            [0, 0, 0, 0, 0, 0, 0, 1].into()
        } else {
            [127, 0, 0, 5].into()
        };
        let addr = SocketAddr::new(ip, port);
        let client = connect(addr, None).unwrap();
        (listening, client, addr)
    }

    fn say(socket: &Socket, parts: &[IoSlice<'_>], segment: Option<u16>, way: Option<Way>) {
        assert_eq!(send(socket, &[Sending { parts, segment, way }]).unwrap(), 1);
    }

    #[test]
    fn messages_to_several_are_one_call_up_to_the_one_that_fails() {
        let (listening, one, addr) = pair("0.0.0.0:0");
        let other = connect(addr, None).unwrap();
        let way = |socket: &Socket| {
            let to = socket.local_addr().unwrap().as_socket().unwrap();
            Some(Way { to, from: Some(addr) })
        };
        let (parts, long) = ([IoSlice::new(b"answer")], vec![0; 65_508]);
        let long = [IoSlice::new(&long)];
        let to = |socket, parts| Sending { parts, segment: None, way: way(socket) };
        let all = [to(&one, &parts[..]), to(&other, &parts), to(&one, &long), to(&one, &parts)];
        assert_eq!(send(&listening, &all).unwrap(), 2);
        let error = send(&listening, &all[2..]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        let mut messages = Messages::new();
        for (at, client) in [&one, &other].into_iter().enumerate() {
            assert_eq!(receive(&mut messages, client), at..at + 1);
            assert_eq!(messages.get(at).unwrap().bytes, b"answer");
        }
        let many = vec![to(&one, &parts[..]); MESSAGES_MAX + 1];
        assert_eq!(send(&listening, &many).unwrap(), MESSAGES_MAX);
    }

    #[test]
    fn a_message_tells_who_sent_it_and_where_to_and_is_answered_from_there() {
        for at in ["0.0.0.0:0", "[::]:0"] {
            let (listening, client, addr) = pair(at);
            say(&client, &[IoSlice::new(b"que"), IoSlice::new(b"ry")], None, None);
            let mut messages = Messages::new();
            assert_eq!(receive(&mut messages, &listening), 0..1);
            let message = messages.get(0).unwrap();
            let peer = client.local_addr().unwrap().as_socket().unwrap();
            assert_eq!((message.peer, message.local), (peer, Some(addr.ip())));
            assert_eq!(
                (message.bytes, message.segment, message.is_cut),
                (&b"query"[..], None, false)
            );
            let way = Way { to: peer, from: Some(addr) };
            say(&listening, &[IoSlice::new(b"answer")], None, Some(way));
            // A connected client takes nothing from another address.
            assert_eq!(receive(&mut messages, &client), 1..2);
            assert_eq!(messages.get(1).unwrap().bytes, b"answer");
            assert_eq!(messages.room(), MESSAGES_MAX - 2);
        }
    }

    #[test]
    fn segments_of_one_call_are_datagrams_and_come_together_where_that_is_asked_for() {
        let (listening, client, _) = pair("0.0.0.0:0");
        let mut messages = Messages::new();
        for is_asked in [false, true] {
            if is_asked {
                aggregate(&listening);
            }
            messages.clear();
            say(&client, &[IoSlice::new(b"onetwothr")], Some(3), None);
            say(&client, &[], None, None);
            let mut all = Vec::new();
            while all.last().is_none_or(|last: &Vec<u8>| !last.is_empty()) {
                for at in receive(&mut messages, &listening) {
                    let message = messages.get(at).unwrap();
                    let size = message.segment.unwrap_or(message.bytes.len()).max(1);
                    let parts = message.bytes.chunks(size).map(<[u8]>::to_vec);
                    all.extend(parts);
                    all.extend(message.bytes.is_empty().then(Vec::new));
                }
            }
            assert_eq!(all, [&b"one"[..], b"two", b"thr", b""]);
        }
    }

    #[test]
    fn a_refusal_is_told_by_the_next_call() {
        let (listening, client, _) = pair("0.0.0.0:0");
        drop(listening);
        say(&client, &[IoSlice::new(b"x")], None, None);
        client.set_nonblocking(false).unwrap();
        let refused = Messages::new().receive(&client).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn of_control_messages_none_that_is_cut_is_read() {
        let mut sent = Controls::new();
        sent.push(1, 2, b"data");
        sent.push(3, 4, b"");
        let all = [(1, 2, &b"data"[..]), (3, 4, b"")];
        assert_eq!(controls(&sent.bytes.0[..sent.len]).collect::<Vec<_>>(), all);
        for len in 0..sent.len {
            let whole = controls(&sent.bytes.0[..len]).collect::<Vec<_>>();
            assert_eq!(whole, all[..whole.len()], "{len}");
        }
        assert_eq!(controls(&[0xFF; CONTROL_BYTES]).count(), 0);
        assert_eq!(named(&[0; NAME_BYTES]), None);
    }
}
