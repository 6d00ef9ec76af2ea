//! An HTTP server on hyper that switches protocols: behind `Upgrade: echo` it names the client and echoes what it says.
//!
//! `cargo run -p ppnet --features tokio --example upgrade [ADDR]`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ppnet::{Stream, Trust};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const ECHO: HeaderValue = HeaderValue::from_static("echo");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let trust = Trust::networks(["127.0.0.0/8", "::1"])?;
    let mut incoming = ppnet::tokio::Listener::bind(addr, trust).await?.into_incoming();
    println!("listening {}", incoming.listener().local_addr()?);
    loop {
        tokio::spawn(serve(incoming.next().await));
    }
}

async fn serve(stream: Stream<TcpStream>) {
    let client = stream.peer_addr();
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(client, request)) });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        eprintln!("{client}: {error}");
    }
}

fn answer(client: SocketAddr, mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    if request.headers().get(UPGRADE) != Some(&ECHO) {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().insert(UPGRADE, ECHO);
        return response;
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Err(error) = echo(client, upgrade).await {
            eprintln!("{client}: echo: {error}");
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, ECHO);
    response
}

/// What came right behind the request is in the upgraded connection, first.
async fn echo(client: SocketAddr, upgrade: OnUpgrade) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgrade.await?));
    writer.write_all(format!("you are {client}\n").as_bytes()).await?;
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(())
}
