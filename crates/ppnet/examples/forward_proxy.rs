//! An HTTP forward proxy (CONNECT, and GET with an absolute URI) that logs the real client.
//!
//! `cargo run -p ppnet --features tokio --example forward_proxy [ADDR]`, then
//! `curl --haproxy-protocol --proxy http://ADDR URL`
//!
//! Not a product: it has no access rules, so it listens on loopback unless told otherwise.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use ppnet::{Config, Stream, Trust};
use tokio::net::TcpStream;

type Body = BoxBody<Bytes, hyper::Error>;

/// Headers that belong to one hop (RFC 9110 section 7.6.1); hyper frames the bodies itself.
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3128".to_owned());
    let trust = Trust::networks(["127.0.0.0/8", "::1"])?;
    let config = Config::new(trust).on_accept_error(|error| eprintln!("accepting: {error}"));
    let mut incoming = ppnet::tokio::Listener::bind(addr, config).await?.into_incoming();
    println!("listening {}", incoming.listener().local_addr()?);
    loop {
        tokio::spawn(serve(incoming.next().await));
    }
}

async fn serve(stream: Stream<TcpStream>) {
    let client = stream.peer_addr();
    let service = service_fn(move |request| answer(client, request));
    let connection = hyper::server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        eprintln!("{client}: {error}");
    }
}

async fn answer(
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let outcome = match (&method, uri.authority()) {
        (&Method::CONNECT, Some(target)) => tunnel(client, target, request).await,
        (_, Some(target)) if uri.scheme_str() == Some("http") => forward(target, request).await,
        (_, _) => Ok(status(StatusCode::BAD_REQUEST)),
    };
    let response = outcome.unwrap_or_else(|error| {
        eprintln!("{client}: {uri}: {error}");
        status(StatusCode::BAD_GATEWAY)
    });
    println!("{client} {method} {uri} {}", response.status().as_u16());
    Ok(response)
}

/// CONNECT: bytes both ways, with each side's half-close. What the client sent behind its request is
/// in `upgraded`, first.
async fn tunnel(
    client: SocketAddr,
    target: &Authority,
    request: Request<Incoming>,
) -> Result<Response<Body>, Box<dyn Error + Send + Sync>> {
    if target.port().is_none() {
        return Ok(status(StatusCode::BAD_REQUEST));
    }
    let mut upstream = TcpStream::connect(target.as_str()).await?;
    tokio::spawn(async move {
        let relayed = async {
            let mut upgraded = TokioIo::new(hyper::upgrade::on(request).await?);
            tokio::io::copy_bidirectional(&mut upgraded, &mut upstream).await?;
            Ok::<(), Box<dyn Error + Send + Sync>>(())
        };
        if let Err(error) = relayed.await {
            eprintln!("{client}: tunnel: {error}");
        }
    });
    Ok(status(StatusCode::OK))
}

/// A request with an absolute URI, sent on in origin form.
async fn forward(
    target: &Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Box<dyn Error + Send + Sync>> {
    let host = target.host().trim_start_matches('[').trim_end_matches(']');
    let upstream = TcpStream::connect((host, target.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(upstream))
        .await?;
    tokio::spawn(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let (uri, host) = (path.parse::<Uri>()?, HeaderValue::from_str(target.as_str())?);
    *request.uri_mut() = uri;
    drop_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(HOST, host);
    let mut response = sender.send_request(request).await?;
    drop_hop_by_hop(response.headers_mut());
    Ok(response.map(BodyExt::boxed))
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let empty = Empty::new().map_err(|never| match never {}).boxed();
    let mut response = Response::new(empty);
    *response.status_mut() = status;
    response
}
