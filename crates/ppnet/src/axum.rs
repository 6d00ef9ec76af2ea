//! The tokio listener as one of axum's.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ::axum::extract::connect_info::Connected;
use ::axum::serve::IncomingStream;
use ::tokio::time::sleep;

use crate::incoming::{Endpoints, Stream};
use crate::tokio::{Listener, Socket};

/// Until the next try when the system cannot accept, mostly for want of descriptors (EMFILE): long
/// enough for connections to end and not to spin, short for those in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `axum::serve` takes the listener as it is. It never ends: when the system cannot accept, it tries
/// again every 100 ms, and goes on with the connections it has;
/// [`Config::on_accept_error`](crate::Config::on_accept_error) hears of it. A graceful shutdown drops the
/// listener, and with it whoever has not been handed out.
///
/// Handlers get the [`Endpoints`] as `ConnectInfo<Endpoints>`, and behind a UNIX socket as
/// `ConnectInfo<Endpoints<ppnet::Addr>>`:
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use ppnet::{Endpoints, Trust, tokio::Listener};
///
/// let whoami = |ConnectInfo(client): ConnectInfo<Endpoints>| async move {
///     format!("you are {}\n", client.peer_addr())
/// };
/// let app = Router::new().route("/", get(whoami));
/// let listener = Listener::bind("0.0.0.0:8080", Trust::networks(["10.0.0.0/8"])?).await?;
/// axum::serve(listener, app.into_make_service_with_connect_info::<Endpoints>()).await?;
/// # Ok(())
/// # }
/// ```
///
/// Handlers written for `ConnectInfo<SocketAddr>` stay as they are: put axum's
/// `ListenerExt::tap_io` around the listener, which has that implementation.
impl<L: Socket> ::axum::serve::Listener for Listener<L> {
    type Io = Stream<L::Stream, L::Addr>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let stream = match Self::accept(self).await {
                Ok(stream) => stream,
                Err(error) => {
                    self.config().cannot_accept(&error);
                    match self.pause().await {
                        Some(stream) => stream,
                        None => continue,
                    }
                }
            };
            let client = stream.peer_addr();
            return (stream, client);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

impl<L: Socket> Listener<L> {
    /// Waits, or until a connection that was accepted before has its header.
    async fn pause(&mut self) -> Option<Stream<L::Stream, L::Addr>> {
        let mut over = pin!(sleep(ACCEPT_PAUSE));
        poll_fn(|cx| match self.poll_accepted(cx) {
            Poll::Ready(Some(stream)) => Poll::Ready(Some(stream)),
            Poll::Ready(None) | Poll::Pending => over.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

impl<L: Socket> Connected<IncomingStream<'_, Listener<L>>> for Endpoints<L::Addr> {
    fn connect_info(stream: IncomingStream<'_, Listener<L>>) -> Self {
        stream.io().endpoints().clone()
    }
}
