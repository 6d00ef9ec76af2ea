//! A connection behind its header: the payload alone, and who is really calling.
//!
//! Invariant: `leftover` holds what was read behind the header and not yet handed on; it goes first.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::sync::Arc;

use ppcore::{Command, Transport};

use super::{Address, Opening};
use crate::{Greeting, Received};

/// The four addresses of a connection and the header that told them. Cheap to clone; shown at
/// [`Stream`].
///
/// Handlers can be tested without a connection: with axum by `MockConnectInfo(Endpoints::new(..))`.
///
/// ```
/// use ppnet::{Endpoints, Greeting, Received, ppcore::Options};
///
/// let (client, service) = ("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let (balancer, own) = ("10.0.0.2:4711".parse()?, "10.0.0.1:8080".parse()?);
/// let sent = Greeting::v2(client, service).to_bytes()?;
/// let header = Received::decode(Options::new(), &sent)?.expect("it is whole");
/// let ends = Endpoints::new(balancer, own).with_header(header);
/// assert_eq!((ends.peer_addr(), ends.local_addr()), (client, service));
/// assert_eq!((ends.socket_peer_addr(), ends.socket_local_addr()), (balancer, own));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoints<A = SocketAddr> {
    socket_peer: A,
    socket_local: A,
    header: Option<Arc<Received>>,
}

impl<A: Address> Endpoints<A> {
    /// The addresses of a connection without a header: `socket_peer` calls and `socket_local` is our own. A
    /// v4-mapped address is the IPv4 one.
    pub fn new(socket_peer: A, socket_local: A) -> Self {
        let (socket_peer, socket_local) = (socket_peer.canonical(), socket_local.canonical());
        Self { socket_peer, socket_local, header: None }
    }

    /// The same behind this header.
    #[must_use]
    pub fn with_header(self, header: Received) -> Self {
        Self { header: Some(Arc::new(header)), ..self }
    }

    /// Returns the client's address: that in the header, or the socket's peer if there is no header,
    /// it is LOCAL or UNKNOWN, or it carries no IP address of a byte stream: one of datagrams is no
    /// connection's, and is found in the [`header`](Self::header) alone, as names of UNIX sockets are. A v4-mapped
    /// address is the IPv4 one, wherever it comes from.
    #[doc(alias = "remote_addr")]
    #[doc(alias = "client")]
    pub fn peer_addr(&self) -> A {
        self.carried().map_or_else(|| self.socket_peer.clone(), |(client, _)| client.into())
    }

    /// Returns the address the client connected to, as [`peer_addr`](Self::peer_addr) has its own.
    pub fn local_addr(&self) -> A {
        self.carried().map_or_else(|| self.socket_local.clone(), |(_, own)| own.into())
    }

    fn carried(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.header.as_ref()?.addresses_for(Transport::Stream)
    }

    /// Returns the socket's peer, the balancer; as IPv4 if it is v4-mapped.
    pub fn socket_peer_addr(&self) -> A {
        self.socket_peer.clone()
    }

    /// Returns the socket's own address, as IPv4 if it is v4-mapped.
    pub fn socket_local_addr(&self) -> A {
        self.socket_local.clone()
    }
}

/// Who the client is, for the next hop, as a v2 header; LOCAL where the one that came is. Its TLVs stay here:
/// a [`Received`] header is sent on with them as it is.
///
/// ```
/// use ppnet::{Endpoints, Greeting};
///
/// # fn relay(stream: ppnet::Stream<std::net::TcpStream>) -> std::io::Result<()> {
/// let onward = ppnet::connect("10.0.0.9:8080", &Greeting::from(stream.endpoints()).crc32c())?;
/// # Ok(())
/// # }
/// ```
impl From<&Endpoints> for Greeting {
    fn from(ends: &Endpoints) -> Self {
        match ends.header.as_ref().map(|header| header.command()) {
            Some(Command::Local) => Self::local(),
            Some(Command::Proxy | Command::Unknown) | None => {
                Self::v2(ends.peer_addr(), ends.local_addr())
            }
        }
    }
}

impl<A> Endpoints<A> {
    /// Returns the header with its TLVs, if one came and the policy lets it count.
    pub fn header(&self) -> Option<&Received> {
        self.header.as_deref()
    }
}

/// A connection whose header has been read: what is read from it is payload, and its addresses are
/// the carried ones. `S` is the socket, or whatever the header came through; `A` is what addresses are told in,
/// which for UNIX sockets is [`Addr`](crate::Addr).
///
/// ```no_run
/// # fn serve(mut stream: ppnet::Stream<std::net::TcpStream>) -> std::io::Result<()> {
/// use ppnet::Endpoints;
///
/// println!("{} called {}", stream.peer_addr(), stream.local_addr());
/// println!("through {} to {}", stream.socket_peer_addr(), stream.socket_local_addr());
/// if let Some(header) = stream.header() {
///     println!("by {:?} with {} TLVs", header.version(), header.tlvs().count());
/// }
/// let kept: Endpoints = stream.endpoints().clone(); // outlives the connection
/// stream.get_ref().set_nodelay(true)?;
/// stream.get_mut().set_nonblocking(false)?;
/// let (socket, payload_read_already) = stream.into_inner();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Stream<S, A = SocketAddr> {
    inner: S,
    leftover: Leftover,
    endpoints: Endpoints<A>,
}

impl<S, A: Address> Stream<S, A> {
    pub(crate) fn new(inner: S, opening: Opening, socket_peer: A, socket_local: A) -> Self {
        let endpoints = Endpoints::new(socket_peer, socket_local);
        let endpoints = match opening.header {
            Some(header) => endpoints.with_header(header),
            None => endpoints,
        };
        Self { inner, leftover: Leftover { bytes: opening.leftover, at: 0 }, endpoints }
    }

    /// Returns the client's address, as [`Endpoints::peer_addr`].
    #[doc(alias = "remote_addr")]
    #[doc(alias = "client")]
    pub fn peer_addr(&self) -> A {
        self.endpoints.peer_addr()
    }

    /// Returns the address the client connected to, as [`Endpoints::local_addr`].
    pub fn local_addr(&self) -> A {
        self.endpoints.local_addr()
    }

    /// Returns the socket's peer: the balancer.
    pub fn socket_peer_addr(&self) -> A {
        self.endpoints.socket_peer_addr()
    }

    /// Returns the socket's own address.
    pub fn socket_local_addr(&self) -> A {
        self.endpoints.socket_local_addr()
    }
}

impl<S, A> Stream<S, A> {
    /// Returns the header with its TLVs, if one came and the policy lets it count.
    pub fn header(&self) -> Option<&Received> {
        self.endpoints.header()
    }

    /// Returns all of the above, to be kept beyond the connection.
    pub fn endpoints(&self) -> &Endpoints<A> {
        &self.endpoints
    }

    /// Returns the socket, to set options or to shut it down. Reading from it directly would
    /// overtake bytes that came with the header.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the socket, as [`get_ref`](Self::get_ref).
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the connection apart: the socket, and payload that was read from it and not handed on,
    /// which comes before anything read from it later. It is what `hyper::upgrade` calls `read_buf`:
    /// `bytes::Bytes` takes it without a copy.
    pub fn into_inner(self) -> (S, Vec<u8>) {
        (self.inner, self.leftover.into_rest())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn divide<R, W>(self, divide: impl FnOnce(S) -> (R, W)) -> (Stream<R, A>, W) {
        let (inner, other) = divide(self.inner);
        (Stream { inner, leftover: self.leftover, endpoints: self.endpoints }, other)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn parts(&mut self) -> (&mut S, &mut Leftover) {
        (&mut self.inner, &mut self.leftover)
    }
}

/// Payload that came with the header.
#[derive(Debug)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    /// `at <= bytes.len()`; what is before it has been handed on.
    at: usize,
}

impl Leftover {
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Passes over `len` bytes; the memory goes with the last one.
    pub(crate) fn consume(&mut self, len: usize) {
        self.at += len;
        debug_assert!(self.at <= self.bytes.len());
        if self.at == self.bytes.len() {
            *self = Self { bytes: Vec::new(), at: 0 };
        }
    }

    fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.at);
        self.bytes
    }
}

impl<S: Read, A> Read for Stream<S, A> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.leftover.rest();
        if rest.is_empty() {
            return self.inner.read(buf);
        }
        let len = rest.read(buf)?;
        self.leftover.consume(len);
        Ok(len)
    }

    fn read_vectored(&mut self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let mut rest = self.leftover.rest();
        if rest.is_empty() {
            return self.inner.read_vectored(bufs);
        }
        let len = rest.read_vectored(bufs)?;
        self.leftover.consume(len);
        Ok(len)
    }
}

impl<S: Write, A> Write for Stream<S, A> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.inner.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// To set options; reading from it directly would overtake bytes that came with the header.
#[cfg(unix)]
impl<S: AsFd, A> AsFd for Stream<S, A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// To set options, as on UNIX.
#[cfg(windows)]
impl<S: AsSocket, A> AsSocket for Stream<S, A> {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.inner.as_socket()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;

    use super::*;

    fn stream(leftover: &[u8], inner: &'static [u8]) -> Stream<&'static [u8]> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let opening = Opening { header: None, leftover: leftover.to_vec() };
        Stream::new(inner, opening, addr, addr)
    }

    #[test]
    fn leftovers_come_first_in_reads_of_any_size() {
        for size in 1..12 {
            let mut stream = stream(b"left over", b" and fresh");
            let (mut all, mut buf) = (Vec::new(), vec![0; size]);
            while let len @ 1.. = stream.read(&mut buf).unwrap() {
                all.extend_from_slice(&buf[..len]);
            }
            assert_eq!(all, b"left over and fresh", "{size} bytes at a time");
        }
    }

    #[test]
    fn a_vectored_read_fills_slice_after_slice() {
        let mut stream = stream(b"left over", b" and fresh");
        let (mut one, mut two) = ([0; 4], [0; 9]);
        let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(stream.read_vectored(&mut slices).unwrap(), 9);
        assert_eq!((&one, &two[..5]), (b"left", &b" over"[..]));
        let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(stream.read_vectored(&mut slices).unwrap(), 10);
        assert_eq!((&one, &two[..6]), (b" and", &b" fresh"[..]));
    }

    #[test]
    fn taking_it_apart_hands_over_what_was_not_read() {
        let mut stream = stream(b"left over", b" and fresh");
        stream.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(stream.into_inner(), (&b" and fresh"[..], b"over".to_vec()));
    }

    #[test]
    fn a_v4_mapped_client_is_ipv4_whether_a_header_or_the_socket_tells_it() {
        let [peer, local] =
            ["[::ffff:1.2.3.4]:5", "[::ffff:6.7.8.9]:10"].map(|a| a.parse().unwrap());
        let [client, server] = ["1.2.3.4:5", "6.7.8.9:10"].map(|a| a.parse().unwrap());
        let line = b"PROXY TCP6 ::ffff:1.2.3.4 ::ffff:6.7.8.9 5 10\r\n";
        let header = Received::decode(ppcore::Options::new(), line).unwrap();
        for header in [None, header] {
            let socket = Endpoints::<SocketAddr>::new(peer, local);
            let endpoints = header.map_or(socket.clone(), |header| socket.with_header(header));
            assert_eq!((endpoints.peer_addr(), endpoints.local_addr()), (client, server));
            assert_eq!(
                (endpoints.socket_peer_addr(), endpoints.socket_local_addr()),
                (client, server)
            );
        }
    }

    #[test]
    fn the_next_hop_is_told_the_client_or_that_there_is_none() {
        let [peer, local] = ["10.0.0.2:1", "10.0.0.1:2"].map(|a| a.parse().unwrap());
        let [client, service] = ["1.2.3.4:5", "6.7.8.9:10"].map(|a| a.parse().unwrap());
        let direct = Endpoints::<SocketAddr>::new(peer, local);
        let behind = |greeting: Greeting| {
            let sent = greeting.to_bytes().unwrap();
            let header = Received::decode(ppcore::Options::new(), &sent).unwrap().unwrap();
            Greeting::from(&direct.clone().with_header(header))
        };
        assert_eq!(Greeting::from(&direct), Greeting::v2(peer, local));
        assert_eq!(behind(Greeting::v1(client, service)), Greeting::v2(client, service));
        assert_eq!(behind(Greeting::unknown()), Greeting::v2(peer, local));
        assert_eq!(behind(Greeting::local()), Greeting::local());
    }

    #[test]
    fn an_empty_read_takes_nothing() {
        let mut stream = stream(b"x", b"");
        assert_eq!(stream.read(&mut []).unwrap(), 0);
        assert_eq!(stream.into_inner().1, b"x");
    }
}
