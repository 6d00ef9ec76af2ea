//! The tokio listener as one of axum's.

use std::future::poll_fn;
use std::io;

use ::axum::extract::connect_info::Connected;
use ::axum::serve::IncomingStream;
#[cfg(feature = "rustls")]
use ::tokio_rustls::server::TlsStream;

use crate::incoming::{Endpoints, Stream};
#[cfg(feature = "rustls")]
use crate::tls;
use crate::tokio::incoming::poll_patiently;
use crate::tokio::{Listener, Socket};

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
        let mut pause = None;
        let stream = poll_fn(|cx| poll_patiently(self, &mut pause, cx)).await;
        let client = stream.peer_addr();
        (stream, client)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

impl<L: Socket> Connected<IncomingStream<'_, Listener<L>>> for Endpoints<L::Addr> {
    fn connect_info(stream: IncomingStream<'_, Listener<L>>) -> Self {
        stream.io().endpoints().clone()
    }
}

/// As that without TLS; the connection behind a handler is [`TlsStream`].
#[cfg(feature = "rustls")]
impl<L: Socket> ::axum::serve::Listener for tls::Listener<L> {
    type Io = TlsStream<Stream<L::Stream, L::Addr>>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let stream = Self::accept(self).await;
        let client = stream.get_ref().0.peer_addr();
        (stream, client)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener().local_addr()
    }
}

#[cfg(feature = "rustls")]
impl<L: Socket> Connected<IncomingStream<'_, tls::Listener<L>>> for Endpoints<L::Addr> {
    fn connect_info(stream: IncomingStream<'_, tls::Listener<L>>) -> Self {
        stream.io().get_ref().0.endpoints().clone()
    }
}
