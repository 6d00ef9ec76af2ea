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

use crate::incoming::{Reason, Refused, Stream};
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
    acceptor: TlsAcceptor,
    timeout: Duration,
    handshakes: Crowd<Outcome<L>>,
}

/// A connection behind its handshake, or whose has failed and why.
type Outcome<L> = Result<Accepted<L>, (<L as Socket>::Addr, Refused)>;
type Accepted<L> = TlsStream<Stream<<L as Socket>::Stream, <L as Socket>::Addr>>;

impl<L: Socket> Listener<L> {
    /// Takes connections of `listener`. As many as may be without their header at a time
    /// ([`Config::handshakes_max`](crate::Config::handshakes_max)) may be without their handshake too, and beyond
    /// them the oldest of the client that holds the most gives way.
    pub fn new(listener: tokio::Listener<L>, tls: Arc<ServerConfig>) -> Self {
        let handshakes = Crowd::new(listener.config().handshakes_max);
        let (incoming, acceptor) = (listener.into_incoming(), tls.into());
        Self { incoming, acceptor, timeout: HANDSHAKE_TIMEOUT, handshakes }
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
        self.timeout = timeout;
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
            while let Poll::Ready(Some(outcome)) = self.handshakes.poll_next(cx) {
                match outcome {
                    Ok(stream) => return Poll::Ready(stream),
                    Err((client, refused)) => self.listener().config().refused(client, refused),
                }
            }
            if self.handshakes.is_over() {
                return Poll::Pending;
            }
            let stream = ready!(self.incoming.poll_accept(cx));
            self.begin(stream);
        }
    }

    fn begin(&mut self, stream: Stream<L::Stream, L::Addr>) {
        let client = stream.peer_addr();
        let handshake = timeout(self.timeout, self.acceptor.accept(stream));
        self.handshakes.begin(&client.clone(), |claimed| async move {
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
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
