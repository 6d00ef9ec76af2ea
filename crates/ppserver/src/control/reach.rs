//! Connects of our own to endpoints, off every client's path: for trials and for checks.
//!
//! Says nothing there, and decides nothing of what came of it. Invariant: each has a bound, one that met itself
//! was refused, and one that panics has failed.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pptrust::SocketAddrs;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::time::timeout;

use crate::core::addr::Addr;
use crate::core::check_result::CheckResult;
use crate::data::sys::{self, Origin};

/// How an endpoint is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// By a connect, of so long at most.
    Connect(Duration),
    /// By a datagram.
    Datagram,
}

/// So long behind a datagram nobody has refused it: a refusal takes a round trip.
const REFUSAL_SPAN: Duration = Duration::from_secs(1);

/// Why an endpoint was not reached, or did not answer as it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreached {
    pub(super) result: CheckResult,
    pub(super) why: String,
}

impl Unreached {
    /// It was not over in time.
    pub(super) fn late() -> Self {
        Self { result: CheckResult::Timeout, why: "no answer in time".to_owned() }
    }

    fn of_the_other_family() -> Self {
        let why = "it is of the other family than `source`".to_owned();
        Self { result: CheckResult::Error, why }
    }

    fn itself() -> Self {
        let why = "it met itself: nobody listens there".to_owned();
        Self { result: CheckResult::Itself, why }
    }

    pub(super) fn of(error: &io::Error) -> Self {
        const RESULTS: [(io::ErrorKind, CheckResult); 2] = [
            (io::ErrorKind::ConnectionRefused, CheckResult::Refused),
            (io::ErrorKind::TimedOut, CheckResult::Timeout),
        ];
        let result = RESULTS.iter().find(|(kind, _)| *kind == error.kind());
        let result = result.map_or(CheckResult::Error, |(_, result)| *result);
        Self { result, why: error.to_string() }
    }
}

/// A connection of ours that stands.
#[derive(Debug)]
pub(super) enum Reached {
    Inet(TcpStream),
    Unix(UnixStream),
}

/// What is said and answered there.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Reached {
    /// Returns its addresses, ours as the client's and the endpoint's as what it connected to; a UNIX socket has none.
    ///
    /// # Errors
    /// When they are not to be had.
    pub(super) fn addrs(&self) -> io::Result<Option<SocketAddrs>> {
        Ok(match self {
            Self::Inet(socket) => {
                let (peer, local) = (socket.local_addr()?, socket.peer_addr()?);
                Some(SocketAddrs { peer, local })
            }
            Self::Unix(_) => None,
        })
    }

    /// Returns the stream.
    pub(super) fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Inet(socket) => socket,
            Self::Unix(socket) => socket,
        }
    }
}

/// Connects, in a span, from this address if one is given.
pub(super) async fn connect(
    addr: Addr,
    from: Option<IpAddr>,
    span: Duration,
) -> Result<Reached, Unreached> {
    match addr {
        Addr::Inet(addr) => connect_inet(addr, from, span).await.map(Reached::Inet),
        // It stands at once, or not at all (unix(7)).
        Addr::Unix(_) => sys::connect(&addr, Origin::Any)
            .and_then(|socket| UnixStream::from_std(socket.into()))
            .map(Reached::Unix)
            .map_err(|error| Unreached::of(&error)),
    }
}

async fn connect_inet(
    addr: SocketAddr,
    from: Option<IpAddr>,
    span: Duration,
) -> Result<TcpStream, Unreached> {
    if from.is_some_and(|from| from.is_ipv4() != addr.is_ipv4()) {
        return Err(Unreached::of_the_other_family());
    }
    let connected = timeout(span, stands(addr, from)).await;
    let connected = connected.map_err(|_| Unreached::late())?;
    let socket = connected.map_err(|error| Unreached::of(&error))?;
    if socket.local_addr().map_err(|error| Unreached::of(&error))? == addr {
        // Or the port stays in use, and the backend cannot bind to it.
        let reset = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        reset.map_err(|error| Unreached::of(&error))?;
        return Err(Unreached::itself());
    }
    Ok(socket)
}

async fn stands(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = sys::connect(&addr.into(), from.map_or(Origin::Any, Origin::Addr))?;
    let socket = TcpStream::from_std(socket.into())?;
    // Or has failed (connect(2), EINPROGRESS).
    socket.writable().await?;
    socket.take_error()?.map_or(Ok(socket), Err)
}

/// Waits for what was begun. If it panics it has failed: whoever waits for it would wait for ever.
pub(super) async fn ended<T>(
    attempt: impl Future<Output = Result<T, Unreached>>,
) -> Result<T, Unreached> {
    let mut attempt = pin!(attempt);
    let poll = poll_fn(|context| {
        // It is not polled again, so nobody meets what it left half done.
        let polled = catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            let why = "a fault of ours: it panicked, as stderr says".to_owned();
            Poll::Ready(Err(Unreached { result: CheckResult::Error, why }))
        })
    });
    poll.await
}

/// Opens a socket of datagrams to an endpoint, from this address if one is given.
pub(super) fn open(addr: Addr, from: Option<IpAddr>) -> Result<UdpSocket, Unreached> {
    let Addr::Inet(addr) = addr else {
        let why = "no datagram goes to a UNIX socket".to_owned();
        return Err(Unreached { result: CheckResult::Error, why });
    };
    if from.is_some_and(|from| from.is_ipv4() != addr.is_ipv4()) {
        return Err(Unreached::of_the_other_family());
    }
    let opened = || {
        let socket = sys::datagrams::connect(addr, from)?;
        let is_itself = sys::local_addr(&socket)? == addr;
        Ok((UdpSocket::from_std(socket.into())?, is_itself))
    };
    match opened().map_err(|error| Unreached::of(&error))? {
        (_, true) => Err(Unreached::itself()),
        (socket, false) => Ok(socket),
    }
}

/// Sends a datagram without a byte. Whoever takes datagrams owes it no answer: not to be refused is all that is asked for.
pub(super) async fn knock(addr: SocketAddr, from: Option<IpAddr>) -> Result<(), Unreached> {
    let failed = |error: io::Error| Unreached::of(&error);
    let socket = open(addr.into(), from)?;
    socket.send(&[]).await.map_err(failed)?;
    match timeout(REFUSAL_SPAN, socket.recv(&mut [0])).await {
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_refuses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let connect = |from| connect(addr.into(), from, Duration::from_secs(10));
        let socket = connect(None).await.unwrap();
        assert_eq!(socket.addrs().unwrap().unwrap().local, addr);
        drop(listener);
        // Nobody else is given the port while a connection of it is there.
        let unreached = connect(None).await.unwrap_err();
        assert_eq!(unreached.result, CheckResult::Refused, "{unreached:?}");
    }

    #[tokio::test]
    async fn it_comes_from_the_address_that_is_given_and_reaches_nobody_of_the_other_family() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let connect =
            |from: &str| connect(addr.into(), Some(from.parse().unwrap()), Duration::from_secs(10));
        let _socket = connect("127.0.0.9").await.unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), IpAddr::from([127, 0, 0, 9]));
        // RFC 5737: nobody's, nor ours.
        for from in ["::1", "192.0.2.1"] {
            assert_eq!(connect(from).await.unwrap_err().result, CheckResult::Error, "{from}");
        }
    }

    #[tokio::test]
    async fn a_unix_socket_is_reached_while_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let addr: Addr = format!("unix:{}", path.display()).parse().unwrap();
        let connect = || connect(addr, None, Duration::from_secs(10));
        assert_eq!(connect().await.unwrap_err().result, CheckResult::Error, "no file");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(connect().await.unwrap().addrs().unwrap(), None);
        drop(listener);
        assert_eq!(connect().await.unwrap_err().result, CheckResult::Refused, "stale");
    }

    #[tokio::test]
    async fn what_panics_has_failed_and_what_does_not_ends_as_it_does() {
        assert_eq!(ended(async { Ok(7) }).await, Ok(7));
        assert_eq!(ended::<()>(async { Err(Unreached::late()) }).await, Err(Unreached::late()));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("a test's")
        };
        assert_eq!(ended::<()>(panics).await.unwrap_err().result, CheckResult::Error);
    }

    #[tokio::test]
    async fn a_datagram_that_nobody_refuses_is_enough() {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = socket.local_addr().unwrap();
        let from = IpAddr::from([127, 0, 0, 9]);
        let server = std::thread::spawn(move || {
            let (_, peer) = socket.recv_from(&mut []).unwrap();
            assert_eq!(peer.ip(), from);
            socket.send_to(b"whatever", peer).unwrap();
        });
        knock(addr, Some(from)).await.unwrap();
        server.join().unwrap();
        let unreached = knock(addr, None).await.unwrap_err();
        assert_eq!(unreached.result, CheckResult::Refused, "{unreached:?}");
    }
}
