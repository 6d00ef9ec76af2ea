//! A gRPC service on tonic that answers with the caller's address, with TLS behind the header or without TLS.
//!
//! `cargo run -p ppnet --features rustls,tonic --example grpc [CERTIFICATE.pem KEY.pem] ADDR`; its messages are plain
//! text, where generated code has protobuf.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use hyper::http;
use ppnet::Trust;
use ppnet::tls::tokio_rustls::rustls::ServerConfig;
use ppnet::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use ppnet::tls::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ppnet::tokio::Listener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let addr = args.pop().ok_or("usage: grpc [CERTIFICATE KEY] ADDR")?;
    let listener = Listener::bind(addr, Trust::networks(["127.0.0.0/8", "::1"])?).await?;
    println!("listening {}", listener.local_addr()?);
    let server = Server::builder();
    match args.as_slice() {
        [certificate, key] => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
            let mut tls = ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
            tls.alpn_protocols = vec![b"h2".to_vec()];
            let listener = ppnet::tls::Listener::new(listener, Arc::new(tls));
            server.serve_with_incoming(Service, listener).await?;
        }
        _ => server.serve_with_incoming(Service, listener.into_incoming()).await?,
    }
    Ok(())
}

/// What the service is: tonic says who is asking.
struct Whoami;

impl UnaryService<Vec<u8>> for Whoami {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        ready(match request.remote_addr() {
            Some(client) => Ok(Response::new(format!("you are {client}\n").into_bytes())),
            None => Err(Status::unknown("a connection without an address")),
        })
    }
}

/// What is generated elsewhere: a path's method.
#[derive(Clone)]
struct Service;

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(Grpc::new(Text).unary(Whoami, request).await) })
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Text;

impl Codec for Text {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Text {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining()).to_vec()))
    }
}
