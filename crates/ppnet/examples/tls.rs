//! TLS behind the header, as behind an AWS NLB that passes TCP on: axum on a listener whose TLS handshakes run beside
//! accepting. The header comes first and in the clear; the TLS hello follows it.
//!
//! `cargo run -p ppnet --features axum,rustls --example tls CERTIFICATE.pem KEY.pem [ADDR]`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use ppnet::tls::tokio_rustls::rustls::ServerConfig;
use ppnet::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use ppnet::tls::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ppnet::{Config, Endpoints, Trust};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (certificate, key) = args.next().zip(args.next()).ok_or("usage: tls CERTIFICATE KEY")?;
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:8443".to_owned());
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let config = Config::new(Trust::networks(["127.0.0.0/8", "::1"])?)
        .on_refused(|client, why| eprintln!("{client} refused: {why}"));
    let listener = ppnet::tokio::Listener::bind(addr, config).await?;
    println!("listening {}", listener.local_addr()?);
    let listener = ppnet::tls::Listener::new(listener, Arc::new(tls));
    let app = Router::new().route("/", get(whoami));
    axum::serve(listener, app.into_make_service_with_connect_info::<Endpoints>()).await?;
    Ok(())
}

async fn whoami(ConnectInfo(ends): ConnectInfo<Endpoints>) -> String {
    format!("you are {}\n", ends.peer_addr())
}
