//! TLS behind the header, as behind an AWS NLB that passes TCP on: axum over tokio-rustls over the
//! stream. The header comes first and in the clear; the TLS hello follows it.
//!
//! `cargo run -p ppnet --features axum --example tls CERTIFICATE.pem KEY.pem [ADDR]`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use axum::serve::IncomingStream;
use ppnet::{Endpoints, Stream, Trust};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Handshakes in flight, and the time for one: a silent client must not hold up the next one here
/// either, and so they run beside accepting.
const HANDSHAKES_MAX: usize = 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (certificate, key) = args.next().zip(args.next()).ok_or("usage: tls CERTIFICATE KEY")?;
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:8443".to_owned());
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let trust = Trust::networks(["127.0.0.0/8", "::1"])?;
    let listener = TlsListener {
        inner: ppnet::tokio::Listener::bind(addr, trust).await?,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        handshakes: JoinSet::new(),
    };
    println!("listening {}", listener.inner.local_addr()?);
    let app = Router::new().route("/", get(whoami));
    axum::serve(listener, app.into_make_service_with_connect_info::<Client>()).await?;
    Ok(())
}

async fn whoami(ConnectInfo(Client(ends)): ConnectInfo<Client>) -> String {
    format!("you are {}\n", ends.peer_addr())
}

struct TlsListener {
    inner: ppnet::tokio::Listener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<io::Result<TlsStream<Stream<TcpStream>>>>,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<Stream<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                Some(joined) = self.handshakes.join_next() => {
                    if let Ok(Ok(stream)) = joined {
                        let client = stream.get_ref().0.peer_addr();
                        return (stream, client);
                    }
                }
                (stream, _) = axum::serve::Listener::accept(&mut self.inner), if has_room => {
                    let hello = self.acceptor.accept(stream);
                    self.handshakes.spawn(async { timeout(HANDSHAKE_TIME, hello).await? });
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// axum wants a type of this crate here.
#[derive(Clone)]
struct Client(Endpoints);

impl Connected<IncomingStream<'_, TlsListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(stream.io().get_ref().0.endpoints().clone())
    }
}
