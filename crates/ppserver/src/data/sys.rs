//! What the kernel offers beyond the standard library: pipes, splice, queues and limits.
//!
//! Not a place for policy. All `unsafe` of this crate is here and in `datagrams`, one call a block; raw descriptors
//! never leave the file. splice(2) may raise SIGPIPE and has no flag against it: the Rust runtime
//! ignores that signal, which this crate relies on.

pub mod datagrams;

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, SpliceFlags};
use rustix::process::{Pid, Resource, Rlimit};
use rustix::rand::GetRandomFlags;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::core::addr::{Addr, UnixName};

/// Raises the soft limit of descriptors to the hard one and returns it (getrlimit(2)).
///
/// # Errors
/// When the system refuses.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum {
        rustix::process::setrlimit(Resource::Nofile, raised)?;
    }
    Ok(raised.current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Starts a program that is no child of this process, but of whoever takes orphans: the first process, or a
/// subreaper (prctl(2)). Returns its number; that of one which has ended may be another's.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn_orphan(mut command: Command) -> io::Result<Pid> {
    // One that is not found, or may not be read, is another's to refuse.
    if let Ok(program) = File::open(command.get_program()) {
        let mut magic = Vec::new();
        program.take(4).read_to_end(&mut magic)?;
        if !is_program(&magic) {
            return Err(io::Error::from_raw_os_error(libc::ENOEXEC));
        }
    }
    let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let fork = move || {
        // SAFETY: fork(2) takes nothing. This runs in a process that has one thread and is about to exec: what goes
        // on here makes system calls only, on both sides.
        #[expect(unsafe_code, reason = "std knows children only")]
        let pid = unsafe { libc::fork() };
        match pid {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            pid => {
                // Who waits for it learns by the end of the pipe if this fails.
                let _ = rustix::io::write(&tell, &pid.to_ne_bytes());
                // SAFETY: _exit(2) takes a number and does not return; nothing that is the parent's is run down.
                #[expect(unsafe_code, reason = "std runs down what is the parent's")]
                unsafe {
                    libc::_exit(0)
                }
            }
        }
    };
    // SAFETY: CommandExt::pre_exec: what runs between fork and exec allocates nothing and takes no lock.
    #[expect(unsafe_code, reason = "std knows children only")]
    unsafe {
        command.pre_exec(fork);
    }
    // The one in between, which is gone already.
    command.spawn()?.wait()?;
    drop(command);
    let mut number = [0; size_of::<i32>()];
    File::from(told).read_exact(&mut number)?;
    Pid::from_raw(i32::from_ne_bytes(number)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether a file that begins so is for execve(2). What is not is given to a shell by execvp(3), which std calls
/// behind a fork.
fn is_program(magic: &[u8]) -> bool {
    magic.starts_with(b"\x7fELF") || magic.starts_with(b"#!")
}

/// Returns how many pages of pipes one unprivileged user may hold (pipe(7)); 0 means no limit.
pub fn pipe_pages_max() -> usize {
    std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Returns the ports that the kernel gives to sockets which ask for none (ip_local_port_range, ip(7)); all of
/// them where it does not say.
pub fn ephemeral_ports() -> RangeInclusive<u16> {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(first), Some(last)) => first..=last,
        (Some(_) | None, _) => 0..=u16::MAX,
    }
}

/// Creates a non-blocking pipe of about `bytes`, and returns what it really holds: past the user's
/// limit of pages the kernel gives less (pipe(7)).
///
/// # Errors
/// EMFILE and ENFILE when descriptors are used up.
pub fn pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd, usize)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let size = match rustix::pipe::fcntl_setpipe_size(&write, bytes) {
        Ok(size) => size,
        Err(_) => rustix::pipe::fcntl_getpipe_size(&write)?,
    };
    Ok((read, write, size))
}

/// What follows the bytes of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Nobody knows: they leave at once.
    Unknown,
    /// The end of the stream, at once: the bytes wait for the FIN and share its segment (MSG_MORE).
    End,
}

/// Sends from a buffer, without SIGPIPE (send(2)).
///
/// # Errors
/// EAGAIN when the socket takes nothing; its own errors.
pub fn send(socket: impl AsFd, bytes: &[u8], follow: Follow) -> io::Result<usize> {
    let flags = match follow {
        Follow::Unknown => SendFlags::NOSIGNAL,
        Follow::End => SendFlags::NOSIGNAL | SendFlags::MORE,
    };
    Ok(rustix::net::send(socket, bytes, flags)?)
}

/// Moves up to `len` bytes between a socket and a pipe without blocking (splice(2)).
///
/// # Errors
/// EAGAIN when the source is empty or the sink full; the socket's own errors.
pub fn splice(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(rustix::pipe::splice(from, None, to, None, len, flags)?)
}

/// Returns the bytes a TCP socket has sent, or is to send, that its peer has not acknowledged
/// (SIOCOUTQ, tcp(7)).
///
/// # Errors
/// When the descriptor is no socket.
pub fn unsent(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: tcp(7): SIOCOUTQ stores an int through its argument; `bytes` is one and outlives the
    // call, and `fd` is open while `socket` is borrowed.
    #[expect(unsafe_code, reason = "rustix has no SIOCOUTQ")]
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Makes the next close of a socket send a reset (SO_LINGER of 0, socket(7)).
pub fn reset_on_close(socket: &impl AsFd) {
    // A socket that refuses it is broken already.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// The options of a listening socket; accepted ones inherit them.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// SO_KEEPALIVE with its idle time, interval and count.
    pub keepalive: Keepalive,
    /// TCP_DEFER_ACCEPT, for one second.
    pub defer_accept: bool,
    /// The argument of listen(2).
    pub backlog: u32,
}

/// The times of TCP keepalive (tcp(7)).
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// TCP_KEEPIDLE.
    pub idle: Duration,
    /// TCP_KEEPINTVL.
    pub interval: Duration,
    /// TCP_KEEPCNT.
    pub count: u32,
}

/// Turns on keepalive.
///
/// # Errors
/// When the system refuses a value.
pub fn set_keepalive(socket: &impl AsFd, keepalive: &Keepalive) -> io::Result<()> {
    let params = socket2::TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.count);
    SockRef::from(socket).set_tcp_keepalive(&params)
}

/// Whether several sockets may share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// SO_REUSEPORT: one socket a worker.
    Port,
    /// None: fails while anybody else listens there.
    Exclusive,
}

/// Binds a TCP socket; it does not listen yet. IPv6 sockets are v6-only, so that `[::]` stands
/// beside `0.0.0.0`.
///
/// # Errors
/// EADDRINUSE, EACCES, EADDRNOTAVAIL and what else bind(2) knows.
pub fn bind(addr: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Begins to listen; of a socket that does, only the options change (listen(2)). A UNIX socket has those of TCP not.
///
/// # Errors
/// EADDRINUSE when another socket listens on the same address.
pub fn listen(socket: &Socket, options: &ListenOptions) -> io::Result<()> {
    if !socket.local_addr()?.is_unix() {
        socket.set_tcp_nodelay(options.nodelay)?;
        set_keepalive(socket, &options.keepalive)?;
        let seconds = if options.defer_accept { 1 } else { 0 };
        set_int(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)?;
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
}

/// Sets an option that is a number, and that neither socket2 nor rustix has.
fn set_int(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&value)).expect("an int is 4 bytes");
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: setsockopt(2): an option reads `size` bytes, an int of tcp(7), udp(7), ip(7) or ipv6(7); `value` is one
    // and outlives the call, and the descriptor is open while `socket` is borrowed.
    #[expect(unsafe_code, reason = "neither socket2 nor rustix has these options")]
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns what nobody else may know.
///
/// # Errors
/// When the system has none (getrandom(2)).
pub fn random_keys() -> io::Result<(u64, u64)> {
    let mut keys = [[0; 8]; 2];
    for key in &mut keys {
        rustix::rand::getrandom(&mut key[..], GetRandomFlags::empty())?;
    }
    let [one, other] = keys.map(u64::from_ne_bytes);
    Ok((one, other))
}

/// Has the edges of a socket told; closing it ends that, unless others hold it too (epoll(7)).
///
/// # Errors
/// When the system has no room for it (epoll_ctl(2)).
pub fn watch(
    registry: &Registry,
    socket: impl AsFd,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    registry.register(&mut SourceFd(&socket.as_fd().as_raw_fd()), token, interest)
}

/// Has other edges of a socket told.
///
/// # Errors
/// When none were told.
pub fn rewatch(
    registry: &Registry,
    socket: impl AsFd,
    token: Token,
    interest: Interest,
) -> io::Result<()> {
    registry.reregister(&mut SourceFd(&socket.as_fd().as_raw_fd()), token, interest)
}

/// Has none of its edges told any more, though others hold it.
///
/// # Errors
/// When they were not told.
pub fn unwatch(registry: &Registry, socket: impl AsFd) -> io::Result<()> {
    registry.deregister(&mut SourceFd(&socket.as_fd().as_raw_fd()))
}

/// Takes a connection from the queue of a listening socket, with its peer's address, if it has one (accept4(2)).
///
/// # Errors
/// EAGAIN when the queue is empty; what else accept(2) knows.
pub fn accept(listener: impl AsFd) -> io::Result<(Socket, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((socket.into(), peer.and_then(|peer| peer.try_into().ok())))
}

/// What a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An address and a port of ours, which the kernel chooses.
    Any,
    /// An address of ours; the kernel chooses the port.
    Addr(IpAddr),
    /// An address that need not be ours, and its port, or another one where that pair is taken.
    Foreign(SocketAddr),
}

impl Origin {
    /// Returns its address, if it is given.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Any => None,
            Self::Addr(ip) => Some(ip),
            Self::Foreign(addr) => Some(addr.ip()),
        }
    }
}

/// Begins to connect, without waiting for it (connect(2)).
///
/// # Errors
/// What socket(2), bind(2) and connect(2) know, but EINPROGRESS: EADDRNOTAVAIL when there is no port left, EPERM where
/// an address that is not ours is not allowed.
#[inline]
pub fn connect(to: &Addr, origin: Origin) -> io::Result<Socket> {
    match (origin, to) {
        (Origin::Any, Addr::Inet(addr)) => connect_anyhow(*addr),
        // A UNIX socket sees no address.
        (_, Addr::Unix(_)) => {
            let addr = sock_addr(to)?;
            connect_socket(stream_of(&addr)?, &addr)
        }
        (Origin::Addr(ip), Addr::Inet(addr)) => {
            let addr = (*addr).into();
            connect_socket(bound_to(ip, &addr)?, &addr)
        }
        (Origin::Foreign(from), Addr::Inet(addr)) => connect_from(from, &(*addr).into()),
    }
}

/// From wherever the kernel chooses. Nearly every connection goes this way: no address is made that holds any kind.
fn connect_anyhow(to: SocketAddr) -> io::Result<Socket> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}

fn stream_of(addr: &SockAddr) -> io::Result<Socket> {
    Socket::new(addr.domain(), Type::STREAM.nonblocking().cloexec(), None)
}

fn connect_socket(socket: Socket, addr: &SockAddr) -> io::Result<Socket> {
    match socket.connect(addr) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        result => result.map(|()| socket),
    }
}

/// A socket whose port is chosen when it connects, so that there are as many as endpoints have (ip(7)).
fn bound_to(ip: IpAddr, to: &SockAddr) -> io::Result<Socket> {
    let socket = stream_of(to)?;
    set_int(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    Ok(socket)
}

/// Connects from somebody's address and port. Where that pair is taken, as by a connection of his that ended a moment
/// ago, or is not for us, as a low port may be, the kernel chooses another port.
#[cold]
fn connect_from(from: SocketAddr, to: &SockAddr) -> io::Result<Socket> {
    let socket = transparent(to.domain())?;
    socket.set_reuse_address(true)?;
    let connected = socket.bind(&from.into()).and_then(|()| connect_socket(socket, to));
    let is_kept = |error: &io::Error| {
        let kept = [libc::EADDRINUSE, libc::EADDRNOTAVAIL, libc::EACCES];
        error.raw_os_error().is_some_and(|number| kept.contains(&number))
    };
    match connected {
        Err(error) if is_kept(&error) => {
            let socket = transparent(to.domain())?;
            set_int(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
            socket.bind(&SocketAddr::new(from.ip(), 0).into())?;
            connect_socket(socket, to)
        }
        connected => connected,
    }
}

/// A socket that may be bound to an address which is not of this host (IP_TRANSPARENT, ip(7)).
///
/// # Errors
/// EPERM without CAP_NET_RAW or CAP_NET_ADMIN.
pub fn transparent(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
    let (level, option) = match domain == Domain::IPV6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
        false => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    };
    set_int(&socket, level, option, 1)?;
    Ok(socket)
}

/// Returns an address as the kernel takes it; an abstract name has a NUL where it is written with `@` (unix(7)).
///
/// # Errors
/// None: a name that is one fits.
pub fn sock_addr(addr: &Addr) -> io::Result<SockAddr> {
    match addr {
        Addr::Inet(addr) => Ok((*addr).into()),
        Addr::Unix(name) => match name.abstract_name() {
            Some(name) => SockAddr::unix(format!("\0{name}")),
            None => SockAddr::unix(name.as_str()),
        },
    }
}

/// Returns a socket's own address of IP.
///
/// # Errors
/// When it has none, or is broken.
pub fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| io::Error::other("the socket has no address"))
}

/// Returns where a socket listens.
///
/// # Errors
/// When it has no address, or one that has no text.
pub fn listening_at(socket: &Socket) -> io::Result<Addr> {
    let addr = socket.local_addr()?;
    let path = || addr.as_pathname().and_then(Path::to_str).and_then(UnixName::new);
    let name = || {
        let name = str::from_utf8(addr.as_abstract_namespace()?).ok()?;
        UnixName::new(&format!("@{name}"))
    };
    let inet = addr.as_socket().map(Addr::Inet);
    let found = inet.or_else(|| path().or_else(name).map(Addr::Unix));
    found.ok_or_else(|| io::Error::other("the socket has no address"))
}

/// Binds a UNIX socket; it does not listen yet. The file of one with a path gets `mode` less the umask as soon as it
/// is there (unix_bind, net/unix/af_unix.c), so that there is no moment at which others could connect.
///
/// # Errors
/// EADDRINUSE where there is a file, or somebody has the abstract name; what else bind(2) knows.
pub fn bind_unix(addr: &SockAddr, mode: Mode) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    rustix::fs::fchmod(&socket, mode)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Takes a socket that whoever started this process left open for it (execve(2)), and closes it on exec from now
/// on. To be called once for a number.
///
/// # Errors
/// When the number is of no such socket.
pub fn inherited(number: RawFd, kind: SocketType) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: close(2): a descriptor is given up once, by whoever owns it. What was open at exec is nobody's in
    // this process, and the kernel gives its number to nobody else; one of another kind is left alone below.
    #[expect(unsafe_code, reason = "what was inherited is known by its number only")]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    match rustix::net::sockopt::socket_type(&socket) {
        Ok(found) if found == kind => {
            rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
            Ok(socket)
        }
        Ok(_) | Err(_) => {
            let _ = socket.into_raw_fd();
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}

/// Stops a listening socket from queueing more connections; those queued can still be accepted
/// (listen(2) on a listening socket sets its backlog anew).
///
/// # Errors
/// When the descriptor does not listen.
pub fn stop_queueing(listener: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::listen(listener, 0)?)
}

/// Says whether an error means that the process or the system has run out of something, which time
/// may cure.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC)
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use rustix::process::WaitOptions;

    use super::*;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    // By number, which is the system's word (accept(2), "Error handling"); pptrust, which judges, has none.
    #[test]
    fn the_errors_that_accept_passes_on_from_the_network_are_of_one_connection() {
        for number in [
            libc::ECONNABORTED,
            libc::EHOSTDOWN,
            libc::EHOSTUNREACH,
            libc::EINTR,
            libc::ENETDOWN,
            libc::ENETUNREACH,
            libc::ENONET,
            libc::ENOPROTOOPT,
            libc::EOPNOTSUPP,
            libc::EPROTO,
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert!(pptrust::is_of_one_accept(&error), "{error}");
        }
        for number in [libc::EAGAIN, libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let error = io::Error::from_raw_os_error(number);
            assert!(!pptrust::is_of_one_accept(&error), "{error}");
        }
    }

    #[test]
    fn an_exclusive_bind_fails_beside_a_shared_listener() {
        let first = bind(loopback(), Sharing::Port).unwrap();
        first.listen(1).unwrap();
        let addr = first.local_addr().unwrap().as_socket().unwrap();
        bind(addr, Sharing::Port).expect("shared");
        let error = bind(addr, Sharing::Exclusive).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// Takes the first of two connections, one silent and one behind it that speaks; says whether that
    /// is the second one.
    fn accept_one_of_two(options: &ListenOptions) -> (Socket, bool) {
        let socket = bind(loopback(), Sharing::Port).unwrap();
        listen(&socket, options).unwrap();
        socket.set_nonblocking(false).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let _silent = TcpStream::connect(addr).unwrap();
        let mut second = TcpStream::connect(addr).unwrap();
        second.write_all(b"x").unwrap();
        let (accepted, peer) = socket.accept().unwrap();
        (accepted, peer.as_socket().unwrap() == second.local_addr().unwrap())
    }

    #[test]
    fn accepted_sockets_have_the_options_of_their_listener() {
        let [idle, interval] = [5, 7].map(Duration::from_secs);
        let keepalive = Keepalive { idle, interval, count: 3 };
        for is_on in [true, false] {
            let options =
                ListenOptions { nodelay: is_on, keepalive, defer_accept: is_on, backlog: 2 };
            let (accepted, mut is_second) = accept_one_of_two(&options);
            assert_eq!(accepted.tcp_nodelay().unwrap(), is_on);
            assert!(accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap(), idle);
            assert_eq!(accepted.tcp_keepalive_interval().unwrap(), interval);
            assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
            // Silence is deferred for a second, which may go by on a busy machine, but not each time.
            for _ in 0..2 {
                is_second |= accept_one_of_two(&options).1;
            }
            assert_eq!(is_second, is_on, "defer_accept");
        }
    }

    #[test]
    fn unsent_bytes_stay_counted_until_the_peer_takes_them() {
        let listener = TcpListener::bind(loopback()).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        assert_eq!(unsent(&client).unwrap(), 0);
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 65_536]).is_ok() {}
        assert!(unsent(&client).unwrap() > 0);
    }

    #[test]
    fn an_orphan_runs_and_is_nobody_of_ours() {
        let mut command = Command::new("cat");
        let (mut input, mut output) = (io::pipe().unwrap(), io::pipe().unwrap());
        command.stdin(input.0).stdout(output.1);
        let orphan = spawn_orphan(command).unwrap();
        assert!(rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG).is_err());
        input.1.write_all(b"to the orphan").unwrap();
        drop(input.1);
        let mut back = Vec::new();
        output.0.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"to the orphan");
        let error = spawn_orphan(Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "exit 0\n").unwrap();
        let error = spawn_orphan(Command::new(text.path())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "no shell is asked");
    }

    #[test]
    fn a_pipe_tells_its_size() {
        let (_read, _write, size) = pipe(64 * 1024).unwrap();
        assert!(size >= 4096);
    }
}
