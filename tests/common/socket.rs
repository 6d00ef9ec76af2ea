//! Client sockets with a chosen source address, and ports for servers that cannot say which they
//! got.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::common::deadline::PATIENCE;

/// A port of a loopback address that is bound but not listening: connections to it are refused until the
/// server it is kept for listens there.
///
/// A bound socket with `SO_REUSEADDR` leaves the port to another one that also sets it and
/// listens (all our peers do), while the kernel gives the port to nobody who asks for port 0
/// (socket(7), `inet_csk_get_port`). So nothing can slip in between, and nothing is retried.
pub(crate) struct ReservedPort {
    addr: SocketAddr,
    _socket: Socket,
}

impl ReservedPort {
    /// Reserves a free port for as long as the value lives.
    pub(crate) fn new() -> ReservedPort {
        ReservedPort::at(Ipv4Addr::LOCALHOST.into())
    }

    /// The same of another loopback address.
    pub(crate) fn at(ip: IpAddr) -> ReservedPort {
        let socket = bound_to(ip);
        let addr = socket.local_addr().expect("a bound socket has an address");
        ReservedPort { addr: addr.as_socket().expect("the socket is INET"), _socket: socket }
    }

    /// The address to give to the server.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// A connection from a loopback address of our choice.
pub(crate) struct Client {
    /// `None` when the reset was there before `connect` returned, as happens to a peer that is
    /// refused at once.
    stream: Option<TcpStream>,
}

impl Client {
    /// Connects to `to` from the loopback address `source`.
    #[track_caller]
    pub(crate) fn connect(source: IpAddr, to: SocketAddr) -> Client {
        let socket = bound_to(source);
        let stream = match socket.connect_timeout(&to.into(), PATIENCE) {
            Ok(()) => Some(TcpStream::from(socket)),
            Err(error) if is_reset(&error) => None,
            Err(error) => panic!("connecting to {to} from {source}: {error}"),
        };
        if let Some(stream) = &stream {
            stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
            stream.set_write_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        }
        Client { stream }
    }

    /// Its own address, the port included.
    #[track_caller]
    pub(crate) fn addr(&self) -> SocketAddr {
        let stream = self.stream.as_ref().expect("the connection was not reset");
        stream.local_addr().expect("it is connected")
    }

    /// Sends `bytes` and a FIN while reading the answer to its end.
    #[track_caller]
    pub(crate) fn exchange(self, bytes: &[u8]) -> Answer {
        self.converse(|mut sink| {
            sink.write_all(bytes)?;
            sink.shutdown(Shutdown::Write)
        })
    }

    /// Sends `request` and reads the answer to its end: the peer says FIN first, as HTTP servers
    /// do (squid drops a client that does).
    #[track_caller]
    pub(crate) fn ask(self, request: &[u8]) -> Answer {
        self.converse(|mut sink| sink.write_all(request))
    }

    #[track_caller]
    fn converse(self, send: impl FnOnce(&TcpStream) -> io::Result<()> + Send) -> Answer {
        let Some(stream) = self.stream else { return Answer::Reset };
        let mut source = &stream;
        let mut answer = Vec::new();
        let (sent, read) = thread::scope(|scope| {
            let sender = scope.spawn(|| send(&stream));
            let read = source.read_to_end(&mut answer);
            (sender.join().expect("the sender does not panic"), read)
        });
        // A reset is reported once, to whichever of the two met it first.
        match (sent, read) {
            (Ok(()), Ok(_)) => Answer::Complete(answer),
            (Err(error), _) | (Ok(()), Err(error)) if is_reset(&error) => Answer::Reset,
            (Err(error), _) => panic!("sending failed: {error}; {} bytes read", answer.len()),
            (_, Err(error)) => panic!("reading failed after {} bytes: {error}", answer.len()),
        }
    }
}

/// How an exchange ended.
pub(crate) enum Answer {
    /// The peer's bytes up to its FIN.
    Complete(Vec<u8>),
    /// The peer reset the connection.
    Reset,
}

impl Answer {
    /// The bytes of a complete answer.
    #[track_caller]
    pub(crate) fn complete(self) -> Vec<u8> {
        match self {
            Answer::Complete(bytes) => bytes,
            Answer::Reset => panic!("the connection was reset"),
        }
    }

    /// Asserts that there was none.
    #[track_caller]
    pub(crate) fn assert_reset(self) {
        match self {
            Answer::Complete(bytes) => panic!("not reset: {} bytes and a FIN came", bytes.len()),
            Answer::Reset => {}
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    // EPIPE and ENOTCONN are what a call sees once another has taken the ECONNRESET.
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected]
        .contains(&error.kind())
}

fn bound_to(source: IpAddr) -> Socket {
    let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a TCP socket can be made");
    socket.set_reuse_address(true).expect("SO_REUSEADDR can be set");
    socket
        .bind(&SocketAddr::new(source, 0).into())
        .unwrap_or_else(|error| panic!("binding to {source}: {error}"));
    socket
}
