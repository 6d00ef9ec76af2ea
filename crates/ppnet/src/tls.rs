//! TLS behind the header, as behind a balancer that passes TCP on: the header comes first and in the clear.
//!
//! Handshakes run beside accepting, as headers are read: a client that is silent in the middle of one holds up
//! nobody, and a crowd of them is bounded.
//!
//! ```no_run
//! # async fn serve(tls: std::sync::Arc<ppnet::tls::tokio_rustls::rustls::ServerConfig>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let trust = ppnet::Trust::networks(["10.0.0.0/8"])?;
//! let listener = ppnet::tokio::Listener::bind("0.0.0.0:8443", trust).await?;
//! let mut listener = ppnet::tls::Listener::new(listener, tls);
//! loop {
//!     let stream = listener.accept().await;
//!     let (connection, session) = stream.get_ref();
//!     println!("{} speaks {:?}", connection.peer_addr(), session.alpn_protocol());
//! }
//! # }
//! ```

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::net::TcpListener;
use ::tokio::time::timeout;
/// With what is needed to configure it.
pub use ::tokio_rustls;
use ::tokio_rustls::TlsAcceptor;
use ::tokio_rustls::rustls::ServerConfig;
use ::tokio_rustls::server::TlsStream;

use crate::incoming::{Config, Reason, Refused, Stream};
use crate::tokio::crowd::{Crowd, unless_claimed};
use crate::tokio::{self, Incoming, Socket};

/// Two round trips and a signature, with a lost segment or two. nginx has 60 s (`ssl_handshake_timeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener whose connections have their header and their TLS handshake behind them. What it hands out is
/// [`TlsStream`] over our [`Stream`], for hyper, tonic or by hand; `axum::serve` takes the listener as it is. Also
/// a [`Stream`](futures_core::Stream), as tonic takes one.
///
/// It never ends, and goes on when the system cannot accept, as [`Incoming`] does. A handshake that fails is told
/// to [`Config::on_refused`](crate::Config::on_refused), with the real client.
pub struct Listener<L: Socket = TcpListener> {
    incoming: Incoming<L>,
    handshakes: Handshakes<L>,
}

/// The connections whose handshakes are not complete, and those whose have not been handed out.
struct Handshakes<L: Socket> {
    acceptor: TlsAcceptor,
    timeout: Duration,
    crowd: Crowd<Outcome<L>>,
}

/// A connection behind its handshake, or whose has failed and why.
type Outcome<L> = Result<Accepted<L>, (<L as Socket>::Addr, Refused)>;
type Accepted<L> = TlsStream<Stream<<L as Socket>::Stream, <L as Socket>::Addr>>;

impl<L: Socket> Listener<L> {
    /// Takes connections of `listener`. As many as may be without their header at a time
    /// ([`Config::handshakes_max`](crate::Config::handshakes_max)) may be without their handshake too, and beyond
    /// them the oldest of the client that holds the most gives way.
    pub fn new(listener: tokio::Listener<L>, tls: Arc<ServerConfig>) -> Self {
        let crowd = Crowd::new(listener.config().handshakes_max);
        let handshakes = Handshakes { acceptor: tls.into(), timeout: HANDSHAKE_TIMEOUT, crowd };
        Self { incoming: listener.into_incoming(), handshakes }
    }

    /// Sets how long behind its header a connection may take to complete its handshake: 10 s unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn patient(listener: ppnet::tls::Listener) -> ppnet::tls::Listener {
    /// listener.handshake_timeout(Duration::from_secs(30))
    /// # }
    /// ```
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshakes.timeout = timeout;
        self
    }

    /// Waits for the next connection that has completed its handshake. It is cancel safe.
    ///
    /// # Panics
    /// As [`tokio::Listener::accept`].
    pub async fn accept(&mut self) -> TlsStream<Stream<L::Stream, L::Addr>> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Polls for the next connection, as [`accept`](Self::accept).
    ///
    /// ```no_run
    /// # async fn serve(mut listener: ppnet::tls::Listener) {
    /// let stream = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
    /// # }
    /// ```
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TlsStream<Stream<L::Stream, L::Addr>>> {
        loop {
            let config = self.incoming.listener().config();
            if let Poll::Ready(Some(stream)) = self.handshakes.poll_next(config, cx) {
                return Poll::Ready(stream);
            }
            if self.handshakes.crowd.is_over() {
                return Poll::Pending;
            }
            let stream = ready!(self.incoming.poll_accept(cx));
            self.handshakes.begin(stream);
        }
    }

    /// Stops listening, and hands out who is on the way: those whose header or handshake is not complete and comes
    /// in time. It ends when the time for both is over at the latest.
    ///
    /// ```no_run
    /// # async fn stop(listener: ppnet::tls::Listener) {
    /// let mut rest: ppnet::tls::Drain = listener.drain();
    /// while let Some(stream) = rest.next().await {
    ///     println!("{} is the last but a few", stream.get_ref().0.peer_addr());
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`tokio::Listener::drain`].
    pub fn drain(self) -> Drain<L> {
        let Self { incoming, handshakes } = self;
        Drain { behind_header: incoming.into_inner().drain(), handshakes }
    }

    /// Returns the listener below.
    ///
    /// ```
    /// # fn show(listener: ppnet::tls::Listener) -> std::io::Result<()> {
    /// println!("listening on {}", listener.listener().local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn listener(&self) -> &tokio::Listener<L> {
        self.incoming.listener()
    }
}

impl<L: Socket> futures_core::Stream for Listener<L> {
    type Item = Result<TlsStream<Stream<L::Stream, L::Addr>>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx).map(|stream| Some(Ok(stream)))
    }
}

impl<L: Socket> fmt::Debug for Listener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("incoming", &self.incoming)
            .field("timeout", &self.handshakes.timeout)
            .finish_non_exhaustive()
    }
}

/// The last connections of a listener that has stopped listening, as they complete their handshakes; made by
/// [`Listener::drain`]. Also a [`Stream`](futures_core::Stream).
pub struct Drain<L: Socket = TcpListener> {
    behind_header: tokio::Drain<L>,
    handshakes: Handshakes<L>,
}

impl<L: Socket> Drain<L> {
    /// Waits for the next one; `None` if there is none any more. It is cancel safe.
    pub async fn next(&mut self) -> Option<TlsStream<Stream<L::Stream, L::Addr>>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Accepted<L>>> {
        loop {
            let complete = self.handshakes.poll_next(self.behind_header.config(), cx);
            if matches!(complete, Poll::Ready(Some(_))) || self.handshakes.crowd.is_over() {
                return complete;
            }
            match ready!(self.behind_header.poll_next(cx)) {
                Some(stream) => self.handshakes.begin(stream),
                None => return complete,
            }
        }
    }
}

impl<L: Socket> futures_core::Stream for Drain<L> {
    type Item = TlsStream<Stream<L::Stream, L::Addr>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Self::poll_next(self.get_mut(), cx)
    }
}

impl<L: Socket> fmt::Debug for Drain<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("behind_header", &self.behind_header)
            .field("timeout", &self.handshakes.timeout)
            .finish_non_exhaustive()
    }
}

impl<L: Socket> Handshakes<L> {
    /// Polls for a connection that has completed its handshake; `None` if there is none without.
    fn poll_next(&mut self, config: &Config, cx: &mut Context<'_>) -> Poll<Option<Accepted<L>>> {
        while let Some(outcome) = ready!(self.crowd.poll_next(cx)) {
            match outcome {
                Ok(stream) => return Poll::Ready(Some(stream)),
                Err((client, refused)) => config.refused(client, refused),
            }
        }
        Poll::Ready(None)
    }

    fn begin(&mut self, stream: Stream<L::Stream, L::Addr>) {
        let client = stream.peer_addr();
        let handshake = timeout(self.timeout, self.acceptor.accept(stream));
        self.crowd.begin(&client.clone(), |claimed| async move {
            let error = match unless_claimed(handshake, claimed).await {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => error,
                Some(Err(_)) => {
                    io::Error::new(io::ErrorKind::TimedOut, "it was not complete in time")
                }
                None => io::Error::new(io::ErrorKind::ConnectionAborted, "its place was needed"),
            };
            Err((client, Reason::Tls(error).into()))
        });
    }
}
