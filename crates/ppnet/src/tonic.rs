//! The connections as ones of tonic's.

use ::tonic::transport::server::{Connected, TcpConnectInfo};

use crate::incoming::{Address, Stream};

/// `Request::remote_addr()` is the client. Serve what never fails: tonic ends with the first error of a listener,
/// and the want of descriptors is one.
///
/// ```no_run
/// # async fn serve<S, B>(service: S) -> Result<(), Box<dyn std::error::Error>>
/// # where S: tower_service::Service<
/// #     hyper::http::Request<tonic::body::Body>, Response = hyper::http::Response<tonic::body::Body>,
/// #     Error = std::convert::Infallible, Future: Send> + Clone + Send + 'static {
/// use ppnet::{Trust, tokio::Listener};
///
/// let listener = Listener::bind("0.0.0.0:50051", Trust::networks(["10.0.0.0/8"])?).await?;
/// let server = tonic::transport::Server::builder();
/// server.serve_with_incoming(service, listener.into_incoming()).await?;
/// # Ok(())
/// # }
/// ```
///
/// With TLS, serve a [`tls::Listener`](crate::tls::Listener); `remote_addr()` then wants one of tonic's own features
/// for TLS, as `tls-ring`. A client of a UNIX socket has an address here only if its header says so.
impl<S, A: Address> Connected for Stream<S, A> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let (own, client) = (self.local_addr().into(), self.peer_addr().into());
        TcpConnectInfo { local_addr: own.ip(), remote_addr: client.ip() }
    }
}
