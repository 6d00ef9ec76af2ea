//! Connections without end and without an error, for servers that stop at one.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::net::TcpListener;
use ::tokio::time::{Sleep, sleep};

use super::{Listener, Socket};
use crate::incoming::Stream;

/// Until the next try when the system cannot accept, mostly for want of descriptors (EMFILE): long
/// enough for connections to end and not to spin, short for those in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections of a listener, without end: when the system cannot accept, it tries again every 100 ms, and
/// goes on with the connections it has; [`Config::on_accept_error`](crate::Config::on_accept_error) hears of it.
/// A [`Stream`](futures_core::Stream) too, as tonic takes one; made by [`Listener::into_incoming`].
///
/// ```no_run
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// use ppnet::{Trust, tokio::{Incoming, Listener}};
///
/// let listener = Listener::bind("0.0.0.0:8080", Trust::networks(["10.0.0.0/8"])?).await?;
/// let mut incoming: Incoming = listener.into_incoming();
/// println!("listening on {}", incoming.listener().local_addr()?);
/// loop {
///     let stream = incoming.next().await;
///     println!("{} calls", stream.peer_addr());
/// }
/// # }
/// ```
pub struct Incoming<L: Socket = TcpListener> {
    listener: Listener<L>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<L: Socket> Incoming<L> {
    pub(super) fn new(listener: Listener<L>) -> Self {
        Self { listener, pause: None }
    }

    /// Waits for the next connection. It is cancel safe.
    pub async fn next(&mut self) -> Stream<L::Stream, L::Addr> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Polls for the next connection, as [`next`](Self::next).
    ///
    /// ```no_run
    /// # async fn serve(mut incoming: ppnet::tokio::Incoming) {
    /// let stream = std::future::poll_fn(|cx| incoming.poll_accept(cx)).await;
    /// # }
    /// ```
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Stream<L::Stream, L::Addr>> {
        poll_patiently(&mut self.listener, &mut self.pause, cx)
    }

    /// Returns the listener.
    pub fn listener(&self) -> &Listener<L> {
        &self.listener
    }

    /// Returns the listener, as to drain it.
    ///
    /// ```no_run
    /// # fn stop(incoming: ppnet::tokio::Incoming) {
    /// let rest = incoming.into_inner().drain();
    /// # }
    /// ```
    pub fn into_inner(self) -> Listener<L> {
        self.listener
    }
}

/// Polls for a connection, with pauses between failures.
pub(crate) fn poll_patiently<L: Socket>(
    listener: &mut Listener<L>,
    pause: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Stream<L::Stream, L::Addr>> {
    loop {
        if let Some(over) = pause {
            if let Poll::Ready(Some(stream)) = listener.poll_accepted(cx) {
                return Poll::Ready(stream);
            }
            ready!(over.as_mut().poll(cx));
            *pause = None;
        }
        match ready!(listener.poll_accept(cx)) {
            Ok(stream) => return Poll::Ready(stream),
            Err(error) => {
                listener.config().cannot_accept(&error);
                *pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
            }
        }
    }
}

impl<L: Socket> futures_core::Stream for Incoming<L> {
    type Item = Result<Stream<L::Stream, L::Addr>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx).map(|stream| Some(Ok(stream)))
    }
}

impl<L: Socket> fmt::Debug for Incoming<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("listener", &self.listener).finish_non_exhaustive()
    }
}
