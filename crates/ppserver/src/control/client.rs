//! The other side of the admin doors: one request of a command, and its answer.
//!
//! Also GET of any HTTP address, for health checks. Not for what listens for ever. Invariant: it takes no longer
//! and no more memory than its bounds.

use std::io;
use std::net::ToSocketAddrs;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::config::Door;

/// The most that an answer may hold: ten thousand connections are 4 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// What is.
    Get,
    /// For a change.
    Post,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("{0}")]
    Connect(io::Error),
    /// The connection ended, or what came is not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// What was to be asked cannot be.
    #[error("{0}")]
    Path(#[from] hyper::http::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// More than anybody wants.
    #[error("the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20)]
    Long,
}

/// Asks, and waits for the whole answer, for so long at most.
///
/// # Errors
/// See [`ClientError`]; an answer of whatever status is none.
pub fn ask(door: &Door, verb: Verb, path: &str, time: Duration) -> Result<Answer, ClientError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ClientError::Connect)?;
    let answered = async { timeout(time, exchange(door, verb, path)).await };
    runtime.block_on(answered).unwrap_or(Err(ClientError::Late(time)))
}

async fn exchange(door: &Door, verb: Verb, path: &str) -> Result<Answer, ClientError> {
    match door {
        Door::Address(host) => {
            let stream = connect(host).await.map_err(ClientError::Connect)?;
            converse(stream, host, verb, path).await
        }
        Door::Socket(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(ClientError::Connect)?;
            converse(stream, "localhost", verb, path).await
        }
    }
}

/// Connects to the first address behind a name that takes it.
async fn connect(host: &str) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for addr in host.to_socket_addrs()? {
        match TcpStream::connect(addr).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    verb: Verb,
    path: &str,
) -> Result<Answer, ClientError> {
    let method = match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
    };
    let request = Request::builder().method(method).uri(path).header(HOST, host);
    let request = request.header(CONNECTION, "close").body(Body::empty())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: read(response.into_body()).await? })
    };
    let (mut connection, mut answer) = (pin!(connection), pin!(answer));
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}

async fn read(body: Incoming) -> Result<Vec<u8>, ClientError> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Some(data) = frame?.data_ref() {
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Long);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}
