//! Peers that follow a script, on either side of the server: send, pause, end, reset, read.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use socket2::{Domain, SockRef, Socket, Type};

use super::kernel::unread;
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::End;
use crate::common::payload::assert_same;

/// One end of a connection. Its segments leave at once (TCP_NODELAY).
pub(crate) struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Connects from a loopback address of its own, so that the server's account of a connection
    /// is never that of an earlier one, whose port the kernel gave out again.
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Peer {
        Peer::connect_from(fresh_address(), to)
    }

    /// Connects from an address of our choice.
    #[track_caller]
    pub(crate) fn connect_from(source: IpAddr, to: SocketAddr) -> Peer {
        Peer::connect_with(source, to, |_| {})
    }

    /// Connects with a socket that was prepared first: buffer sizes count from the handshake on.
    #[track_caller]
    pub(crate) fn connect_with(
        source: IpAddr,
        to: SocketAddr,
        prepare: impl FnOnce(&Socket),
    ) -> Peer {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)
            .expect("a TCP socket can be made");
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .unwrap_or_else(|error| panic!("binding to {source}: {error}"));
        prepare(&socket);
        socket
            .connect_timeout(&to.into(), PATIENCE)
            .unwrap_or_else(|error| panic!("connecting to {to} from {source}: {error}"));
        Peer::new(socket.into())
    }

    fn new(stream: TcpStream) -> Peer {
        stream.set_nonblocking(false).expect("a socket can block");
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        stream.set_nodelay(true).expect("a TCP socket has the option");
        Peer { stream }
    }

    /// Its own address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is bound")
    }

    /// The address at its other end.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.stream.peer_addr().expect("it is connected")
    }

    /// The socket, for what a script cannot say.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends all of it.
    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) {
        (&self.stream).write_all(bytes).expect("the other end takes it");
    }

    /// Sends all of it in chunks of 1 byte to 100,000, then a FIN.
    #[track_caller]
    pub(crate) fn pour(&self, bytes: &[u8], seed: u64) {
        let (mut rest, mut state) = (bytes, seed | 1);
        while !rest.is_empty() {
            // The MINSTD sequence: any will do, as long as a failure can be repeated.
            state = state * 48_271 % 0x7FFF_FFFF;
            let most = if state % 5 == 0 { 100 } else { 100_000 };
            let len = usize::try_from(1 + state % most).expect("small").min(rest.len());
            let (chunk, behind) = rest.split_at(len);
            self.send(chunk);
            rest = behind;
        }
        self.fin();
    }

    /// Sends `bytes` and a FIN in one segment: MSG_MORE holds the bytes back until the FIN joins
    /// them (send(2)).
    #[track_caller]
    pub(crate) fn send_with_fin(&self, bytes: &[u8]) {
        let sent = rustix::net::send(&self.stream, bytes, SendFlags::MORE);
        assert_eq!(sent.expect("the socket has room"), bytes.len());
        self.fin();
    }

    /// Sends until nothing on the way has room any more, which shows in the other end's queue: its
    /// process has stopped reading. Returns how many of the bytes were taken.
    #[track_caller]
    pub(crate) fn send_until_full(&self, bytes: &[u8]) -> usize {
        /// Looks in a row, 5 ms apart, at which nothing moved.
        const QUIET_LOOKS: usize = 10;
        self.stream.set_nonblocking(true).expect("a socket need not block");
        let (mut sent, mut quiet) = (0, 0);
        poll_for(PATIENCE, || {
            let before = sent;
            loop {
                assert!(sent < bytes.len(), "{sent} bytes did not fill the way");
                match (&self.stream).write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("sending failed after {sent} bytes: {error}"),
                }
            }
            quiet = if sent == before { quiet + 1 } else { 0 };
            if quiet < QUIET_LOOKS {
                return None;
            }
            quiet = 0;
            (unread(self.remote(), self.addr()) > 0).then_some(())
        })
        .expect("the way fills up");
        self.stream.set_nonblocking(false).expect("a socket can block");
        sent
    }

    /// Sends one urgent byte.
    #[track_caller]
    pub(crate) fn send_urgent(&self, byte: u8) {
        let sent = SockRef::from(&self.stream).send_out_of_band(&[byte]);
        assert_eq!(sent.expect("the other end takes it"), 1);
    }

    /// Says that nothing more will come.
    #[track_caller]
    pub(crate) fn fin(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Breaks the connection off.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket has the option");
    }

    /// Reads exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        (&self.stream).read_exact(&mut got).expect("as many bytes come");
        assert_same(&got, bytes);
    }

    /// Reads to the end, whichever it is.
    #[track_caller]
    pub(crate) fn rest(&self) -> (Vec<u8>, End) {
        let mut got = Vec::new();
        match (&self.stream).read_to_end(&mut got) {
            Ok(_) => (got, End::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (got, End::Reset),
            Err(error) => panic!("reading failed after {} bytes: {error}", got.len()),
        }
    }

    /// Reads exactly these bytes, then the FIN.
    #[track_caller]
    pub(crate) fn expect_last(&self, bytes: &[u8]) {
        let (mut at, mut buf) = (0, vec![0; 128 * 1024]);
        loop {
            let count = match (&self.stream).read(&mut buf) {
                Ok(count) => count,
                Err(error) => panic!("reading failed after {at} bytes: {error}"),
            };
            if count == 0 {
                break;
            }
            let expected = bytes.get(at..at + count);
            assert!(expected == Some(&buf[..count]), "not what was sent, from byte {at} on");
            at += count;
        }
        assert_eq!(at, bytes.len(), "bytes before the FIN");
    }

    /// Reads a reset, and nothing before it.
    #[track_caller]
    pub(crate) fn expect_reset(&self) {
        let (got, end) = self.rest();
        assert_eq!((got.len(), end), (0, End::Reset), "bytes, and the end behind them");
    }

    /// Whether nothing has come from the other end so far: no byte, no FIN, no reset. Looking takes
    /// nothing away, as a read would take the error of a reset.
    #[track_caller]
    pub(crate) fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).expect("a socket can be polled") == 0
    }
}

/// The next address of 127.16.0.0 and above.
pub(crate) fn fresh_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0x7F10_0001);
    Ipv4Addr::from_bits(NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// An upstream whose every connection follows a script of its own.
pub(crate) struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Listens on a free port of 127.0.0.1.
    #[track_caller]
    pub(crate) fn start() -> Listener {
        Listener::start_with(1024, |_| {})
    }

    /// Listens with a backlog and a socket that was prepared first: what is accepted inherits its
    /// buffer sizes.
    #[track_caller]
    pub(crate) fn start_with(backlog: i32, prepare: impl FnOnce(&Socket)) -> Listener {
        let socket =
            Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket can be made");
        prepare(&socket);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&addr.into()).expect("a port is free");
        socket.listen(backlog).expect("a bound socket can listen");
        socket.set_nonblocking(true).expect("a socket need not block");
        Listener { socket: socket.into() }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Waits for the next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Peer {
        poll_for(PATIENCE, || self.try_accept()).expect("a connection comes")
    }

    /// Takes the next connection if there is one.
    #[track_caller]
    pub(crate) fn try_accept(&self) -> Option<Peer> {
        match self.socket.accept() {
            Ok((stream, _)) => Some(Peer::new(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accepting: {error}"),
        }
    }
}

/// An endpoint that answers no SYN: it listens, its queue is full, and so the kernel drops what
/// comes (listen(2)).
pub(crate) struct BlackHole {
    listener: Listener,
    queued: Vec<TcpStream>,
}

impl BlackHole {
    #[track_caller]
    pub(crate) fn new() -> BlackHole {
        let listener = Listener::start_with(0, |_| {});
        let mut queued = Vec::new();
        // One more than fits shows that it is full.
        while let Ok(stream) =
            TcpStream::connect_timeout(&listener.addr(), Duration::from_millis(150))
        {
            queued.push(stream);
            assert!(queued.len() < 10, "the queue does not fill up");
        }
        BlackHole { listener, queued }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Takes what is queued, so that the next SYN is answered; gives what came after it.
    pub(crate) fn open(&self) -> Peer {
        let strangers = self.queued.len();
        for _ in 0..strangers {
            drop(self.listener.accept());
        }
        self.listener.accept()
    }
}

/// A connection through the server to the listener: both of its outer ends. Nobody else may connect
/// to either at the same time.
#[track_caller]
pub(crate) fn link(server: SocketAddr, listener: &Listener) -> (Peer, Peer) {
    let client = Peer::connect(server);
    (client, listener.accept())
}
