//! The listener and the connector on tokio.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let trust = ppnet::Trust::networks(["10.0.0.0/8"])?;
//! let listener = ppnet::tokio::Listener::bind("0.0.0.0:8080", trust).await?;
//! loop {
//!     match listener.accept().await {
//!         Ok(stream) => println!("{} calls", stream.peer_addr()),
//!         // Mostly for want of descriptors: connections that end give some back.
//!         Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
//!     }
//! }
//! # }
//! ```

pub(crate) mod crowd;
pub(crate) mod incoming;
mod socket;

use std::collections::VecDeque;
use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::mem::MaybeUninit;
#[cfg(unix)]
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use ::tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use ::tokio::net::{UnixListener, UnixStream, unix};
use ::tokio::sync::Mutex;
use ::tokio::time::{Instant, timeout_at};
use pptrust::{AsHeader, is_of_one_accept};

use self::crowd::{Crowd, unless_claimed};
pub use self::incoming::Incoming;
pub use self::socket::Socket;
use crate::incoming::{
    Address, BACKLOG_MAX, Config, Handshake, Opening, READ_LEN, Reason, Refused, Stream,
    header_bytes,
};

/// A listener whose connections have their header behind them; also a
/// [`Stream`](futures_core::Stream) of them, without end.
///
/// Each header is read by a task of its own, so a connection's deadline holds whether or not anybody
/// is accepting. Dropping the listener drops the connections it has not handed out;
/// [`drain`](Self::drain) does not.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
/// let mut listener = ppnet::tokio::Listener::new(socket, ppnet::Trust::any());
/// println!("listening on {}", listener.local_addr()?);
/// let stream = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
/// let (reader, writer) = stream.into_split(); // for two tasks
/// listener.get_ref().set_ttl(64)?;
/// let socket = listener.into_inner();
/// # Ok(())
/// # }
/// ```
///
/// `L` is the socket: a TCP one, or, by [`bind_unix`](Self::bind_unix), a UNIX one.
#[doc(alias = "header")]
#[doc(alias = "accept-proxy")]
pub struct Listener<L: Socket = TcpListener> {
    inner: L,
    config: Config,
    handshakes: Mutex<Handshakes<L>>,
}

/// The connections whose headers are not complete, and those whose have not been handed out.
struct Handshakes<L: Socket>(Crowd<Outcome<L>>);

/// The socket's peer, and what has come of its connection.
type Outcome<L> = (<L as Socket>::Addr, Result<Accepted<L>, Refused>);
type Accepted<L> = Stream<<L as Socket>::Stream, <L as Socket>::Addr>;

impl Listener {
    /// Binds to `addr` and takes connections on these terms: a [`Trust`](crate::Trust) alone, or a
    /// [`Config`].
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub async fn bind(addr: impl ToSocketAddrs, config: impl Into<Config>) -> io::Result<Self> {
        Ok(Self::new(TcpListener::bind(addr).await?, config))
    }
}

#[cfg(unix)]
impl Listener<UnixListener> {
    /// Binds a UNIX socket to `path`. Whom to believe is said by [`Trust::unix`](crate::Trust::unix): its peers are
    /// in no network.
    ///
    /// ```no_run
    /// # async fn serve() -> std::io::Result<()> {
    /// use ppnet::{Policy, Trust, tokio::Listener};
    ///
    /// let listener = Listener::bind_unix("/run/app.sock", Trust::unix(Policy::Require))?;
    /// let stream = listener.accept().await?;
    /// println!("{} calls", stream.peer_addr()); // 203.0.113.7:51820, or unix: of a LOCAL header
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`UnixListener::bind`]: also when the path exists, as it does behind a server that has ended.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn bind_unix(path: impl AsRef<Path>, config: impl Into<Config>) -> io::Result<Self> {
        Ok(Self::new(UnixListener::bind(path)?, config))
    }
}

impl<L: Socket> Listener<L> {
    /// Takes connections of `listener`.
    pub fn new(listener: L, config: impl Into<Config>) -> Self {
        let config = config.into();
        let handshakes = Mutex::new(Handshakes(Crowd::new(config.handshakes_max)));
        Self { inner: listener, config, handshakes }
    }

    /// Waits for the next connection that has completed its header. Several tasks may, and take turns.
    ///
    /// Connections that are refused are not seen here: [`Config::on_refused`] hears of them.
    ///
    /// It is cancel safe: a connection is either returned or still here.
    ///
    /// # Errors
    /// When the system cannot accept, mostly for want of descriptors. The listener stays good and
    /// loses nothing: ask again, after a pause.
    ///
    /// # Panics
    /// If the runtime has no timers: `enable_time` of its builder, or `enable_all`, gives it some.
    pub async fn accept(&self) -> io::Result<Stream<L::Stream, L::Addr>> {
        let mut handshakes = self.handshakes.lock().await;
        poll_fn(|cx| handshakes.poll_accept(&self.inner, &self.config, cx)).await
    }

    /// Polls for the next connection, as [`accept`](Self::accept).
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Stream<L::Stream, L::Addr>>> {
        self.handshakes.get_mut().poll_accept(&self.inner, &self.config, cx)
    }

    /// Stops listening, and hands out who is on the way: those that wait to be accepted, and those whose
    /// header is not complete and comes in time. It ends after [`Config::header_timeout`] at the latest.
    ///
    /// ```no_run
    /// # async fn stop(listener: ppnet::tokio::Listener) {
    /// let mut rest: ppnet::tokio::Drain = listener.drain();
    /// while let Some(stream) = rest.next().await {
    ///     println!("{} is the last but a few", stream.peer_addr());
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a runtime, and as [`accept`](Self::accept).
    pub fn drain(self) -> Drain<L> {
        let Self { inner, config, handshakes } = self;
        let mut drain =
            Drain { config, handshakes: handshakes.into_inner(), ready: VecDeque::new() };
        if let Err(error) = drain.take_queue(inner) {
            drain.config.cannot_accept(&error);
        }
        drain
    }

    /// Turns it into one that never fails, for servers that stop at an error.
    ///
    /// ```no_run
    /// # async fn serve(listener: ppnet::tokio::Listener) {
    /// let stream = listener.into_incoming().next().await;
    /// # }
    /// ```
    pub fn into_incoming(self) -> Incoming<L> {
        Incoming::new(self)
    }

    /// Returns the socket, to set options. Accepting from it directly would take connections whose headers
    /// nobody reads.
    pub fn get_ref(&self) -> &L {
        &self.inner
    }

    /// Returns the socket. Connections that have not been handed out are dropped.
    pub fn into_inner(self) -> L {
        self.inner
    }

    /// Returns the address it is bound to.
    ///
    /// # Errors
    /// As [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.inner.bound()
    }

    /// Polls for a connection among those accepted before; `None` if there is none.
    fn poll_accepted(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stream<L::Stream, L::Addr>>> {
        self.handshakes.get_mut().poll_next(&self.config, cx)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}

impl<L: Socket> fmt::Debug for Listener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local", &self.inner.bound())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The last connections of a listener that has stopped listening, as they complete their headers; made by
/// [`Listener::drain`]. Also a [`Stream`](futures_core::Stream).
pub struct Drain<L: Socket = TcpListener> {
    config: Config,
    handshakes: Handshakes<L>,
    ready: VecDeque<Stream<L::Stream, L::Addr>>,
}

impl<L: Socket> Drain<L> {
    /// Waits for the next one; `None` if there is none any more. It is cancel safe.
    pub async fn next(&mut self) -> Option<Stream<L::Stream, L::Addr>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Stream<L::Stream, L::Addr>>> {
        match self.ready.pop_front() {
            Some(stream) => Poll::Ready(Some(stream)),
            None => self.handshakes.poll_next(&self.config, cx),
        }
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Takes what the kernel holds; the runtime may not have heard of it.
    fn take_queue(&mut self, listener: L) -> io::Result<()> {
        let listener = listener.leave()?;
        for _ in 0..BACKLOG_MAX {
            match L::take(&listener) {
                Ok((Ok(socket), peer)) => {
                    self.ready.extend(self.handshakes.begin(socket, peer, &self.config));
                }
                Ok((Err(error), peer)) => self.config.refused(peer, error.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_of_one_accept(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<L: Socket> fmt::Debug for Drain<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<L: Socket> futures_core::Stream for Drain<L> {
    type Item = Stream<L::Stream, L::Addr>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Self::poll_next(self.get_mut(), cx)
    }
}

impl<L: Socket> Handshakes<L> {
    fn poll_accept(
        &mut self,
        listener: &L,
        config: &Config,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Stream<L::Stream, L::Addr>>> {
        loop {
            if let Poll::Ready(Some(stream)) = self.poll_next(config, cx) {
                return Poll::Ready(Ok(stream));
            }
            if self.0.is_over() {
                // Whoever has to leave is about to, and its end wakes us.
                return Poll::Pending;
            }
            match ready!(listener.poll_next(cx)) {
                Ok((socket, peer)) => {
                    if let Some(stream) = self.begin(socket, peer, config) {
                        return Poll::Ready(Ok(stream));
                    }
                }
                Err(error) if is_of_one_accept(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Polls for a connection that has completed its header; `None` if there is none without.
    fn poll_next(
        &mut self,
        config: &Config,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Stream<L::Stream, L::Addr>>> {
        while let Some((peer, stream)) = ready!(self.0.poll_next(cx)) {
            match stream {
                Ok(stream) => return Poll::Ready(Some(stream)),
                Err(refused) => config.refused(peer, refused),
            }
        }
        Poll::Ready(None)
    }

    /// Starts reading the header; a connection that needs none is there at once.
    fn begin(
        &mut self,
        mut socket: L::Stream,
        peer: L::Addr,
        config: &Config,
    ) -> Option<Stream<L::Stream, L::Addr>> {
        let begun = L::local(&socket)
            .map_err(Refused::from)
            .and_then(|local| Ok((Handshake::begin(config, &peer, &local)?, local)));
        match begun {
            Ok((Some(mut handshake), local)) => {
                let deadline = Instant::now() + config.header_timeout;
                self.0.begin(&peer.clone(), |claimed| async move {
                    let opening =
                        read_opening(&mut socket, &mut handshake, deadline, claimed).await;
                    let stream =
                        opening.map(|opening| Stream::new(socket, opening, peer.clone(), local));
                    (peer, stream)
                });
                None
            }
            Ok((None, local)) => Some(Stream::new(socket, Opening::default(), peer, local)),
            Err(refused) => {
                config.refused(peer, refused);
                None
            }
        }
    }
}

impl<L: Socket> futures_core::Stream for Listener<L> {
    type Item = io::Result<Stream<L::Stream, L::Addr>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx).map(Some)
    }
}

/// Reads the header from any stream: one that a listener of your own accepted, a UNIX socket, or the
/// inside of a TLS connection. `peer` and `local` are its addresses without a header,
/// [`SocketAddr`](std::net::SocketAddr)s or [`Addr`](crate::Addr)s; the policy is that for them. The time counts
/// from the first poll.
///
/// It is not cancel safe: what was read is lost.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ppnet::{Config, Trust};
/// use tokio::io::AsyncWriteExt;
///
/// let (mut balancer, socket) = tokio::io::duplex(1024);
/// balancer.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\nhello").await?;
/// let peer: std::net::SocketAddr = "10.0.0.2:1".parse()?;
/// let local = "10.0.0.1:443".parse()?;
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?);
/// let stream = ppnet::tokio::handshake(socket, peer, local, &config).await?;
/// assert_eq!(stream.peer_addr(), "203.0.113.7:51820".parse()?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the policy, the header or the time says so. [`Config::on_refused`] is not told.
///
/// # Panics
/// If the runtime has no timers, as [`Listener::accept`].
pub async fn handshake<S: AsyncRead + Unpin, A: Address>(
    mut stream: S,
    peer: A,
    local: A,
    config: &Config,
) -> Result<Stream<S, A>, Refused> {
    let opening = match Handshake::begin(config, &peer, &local)? {
        Some(mut handshake) => {
            let deadline = Instant::now() + config.header_timeout;
            read_opening(&mut stream, &mut handshake, deadline, pending::<()>()).await?
        }
        None => Opening::default(),
    };
    Ok(Stream::new(stream, opening, peer, local))
}

/// Reads until the header is complete, the time is up or the place is claimed, by the end of `claimed`.
async fn read_opening<S: AsyncRead + Unpin>(
    socket: &mut S,
    handshake: &mut Handshake,
    deadline: Instant,
    claimed: impl Future,
) -> Result<Opening, Refused> {
    let read = timeout_at(deadline, read_all(socket, handshake));
    match unless_claimed(read, claimed).await {
        Some(Ok(opening)) => opening,
        Some(Err(_)) => handshake.time_out(),
        None => Err(handshake.refuse(Reason::Shed)),
    }
}

async fn read_all<S: AsyncRead + Unpin>(
    socket: &mut S,
    handshake: &mut Handshake,
) -> Result<Opening, Refused> {
    poll_fn(|cx| {
        loop {
            // On the stack of one poll: a connection that is silent holds no buffer.
            let mut buf = [MaybeUninit::uninit(); READ_LEN];
            let mut buf = ReadBuf::uninit(&mut buf);
            let opening = match ready!(Pin::new(&mut *socket).poll_read(cx, &mut buf)) {
                Err(error) => return Poll::Ready(Err(handshake.refuse(error))),
                Ok(()) if buf.filled().is_empty() => handshake.end()?,
                Ok(()) => handshake.push(buf.filled())?,
            };
            if let Some(opening) = opening {
                return Poll::Ready(Ok(opening));
            }
        }
    })
    .await
}

impl<S: AsyncRead + Unpin, A: Unpin> AsyncRead for Stream<S, A> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (inner, leftover) = self.parts();
        let rest = leftover.rest();
        if rest.is_empty() {
            return Pin::new(inner).poll_read(cx, buf);
        }
        let len = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..len).unwrap_or_default());
        leftover.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, A: Unpin> AsyncWrite for Stream<S, A> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.parts().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.parts().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.parts().0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.parts().0).poll_shutdown(cx)
    }
}

impl<A> Stream<TcpStream, A> {
    /// Divides the connection into halves for two tasks; leftovers and addresses stay with the half
    /// to read from. For other sockets, or halves of one task, there is `tokio::io::split`.
    pub fn into_split(self) -> (Stream<OwnedReadHalf, A>, OwnedWriteHalf) {
        self.divide(TcpStream::into_split)
    }
}

#[cfg(unix)]
impl<A> Stream<UnixStream, A> {
    /// Divides the connection, as one of TCP is divided.
    pub fn into_split(self) -> (Stream<unix::OwnedReadHalf, A>, unix::OwnedWriteHalf) {
        self.divide(UnixStream::into_split)
    }
}

/// Connects to `addr` and sends `header` at once: a [`Greeting`](crate::Greeting), a
/// [`Received`](crate::Received) one, or the bytes of one.
///
/// Sets TCP_NODELAY: with Nagle's algorithm the first payload would wait until the header is
/// acknowledged.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ppnet::Greeting;
///
/// let header = Greeting::v1("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let stream = ppnet::tokio::connect("127.0.0.1:8080", &header).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`TcpStream::connect`], and when the header cannot be written
/// ([`InvalidInput`](io::ErrorKind::InvalidInput)) or sent.
#[doc(alias = "dial")]
pub async fn connect<H: AsHeader + ?Sized>(
    addr: impl ToSocketAddrs,
    header: &H,
) -> io::Result<TcpStream> {
    let header = header_bytes(header)?;
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    send(&mut stream, &header).await?;
    Ok(stream)
}

/// Connects to the UNIX socket at `path` and sends `header` at once, as [`connect`].
///
/// ```no_run
/// # async fn call() -> Result<(), Box<dyn std::error::Error>> {
/// use ppnet::Greeting;
///
/// let header = Greeting::v2("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let stream = ppnet::tokio::connect_unix("/run/app.sock", &header).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`UnixStream::connect`], and as for [`connect`].
#[cfg(unix)]
pub async fn connect_unix<H: AsHeader + ?Sized>(
    path: impl AsRef<Path>,
    header: &H,
) -> io::Result<UnixStream> {
    let header = header_bytes(header)?;
    let mut stream = UnixStream::connect(path).await?;
    send(&mut stream, &header).await?;
    Ok(stream)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), header: &[u8]) -> io::Result<()> {
    let mut rest = header;
    while !rest.is_empty() {
        match poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, rest)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            sent => rest = rest.get(sent..).unwrap_or_default(),
        }
    }
    Ok(())
}
