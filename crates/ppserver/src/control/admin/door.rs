//! One door: its connections, within limits.
//!
//! Invariant: at most [`DOOR_CONNECTIONS_MAX`] at a time. The oldest gives way to a new one, so that who holds many
//! and says nothing keeps nobody out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tower_service::Service;

use super::gate;
use super::patient::Patient;
use super::socket::{DoorAddr, Socket, Stream};
use crate::config::DOOR_CONNECTIONS_MAX;

/// How long the head of a request may take, and a connection wait for its next one: more than the usual interval
/// of a scraper, so that it can keep its connection.
const HEAD_TIME: Duration = Duration::from_secs(20);

/// The longest head of a request; the least that hyper can be told, and more than any browser sends.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Fields of a request's head. Browsers send about 20.
const HEAD_FIELDS_MAX: usize = 64;

/// How long accepting pauses when the system has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A door.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) place: DoorAddr,
    pub(super) socket: Socket,
}

impl Door {
    /// Serves until the other end of `closing` is gone, and then what is being answered.
    pub(super) async fn serve(self, router: Router, mut closing: watch::Receiver<()>) {
        let mut connections = JoinSet::new();
        let mut order: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = closing.changed() => break,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    self.handle_error(&error).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            order.retain(|connection| !connection.is_finished());
            if order.len() >= DOOR_CONNECTIONS_MAX
                && let Some(oldest) = order.pop_front()
            {
                oldest.abort();
            }
            let conversation =
                converse(stream, self.place.clone(), router.clone(), closing.clone());
            order.push_back(connections.spawn(conversation));
        }
        // Nobody else is let in, also while the last ones are answered.
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    async fn handle_error(&self, error: &io::Error) {
        // Who has gone before he was accepted is no trouble of ours.
        if error.kind() != io::ErrorKind::ConnectionAborted {
            tracing::warn!(%error, admin = %self.place, "an admin door pauses");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// What an answer without an end needs to find one: the door's other end goes when it closes.
#[derive(Clone, Debug)]
pub(super) struct Closing(pub(super) watch::Receiver<()>);

/// Answers the requests of one connection, until it or the door closes.
pub(super) async fn converse(
    stream: Box<dyn Stream>,
    place: DoorAddr,
    router: Router,
    mut closing: watch::Receiver<()>,
) {
    let is_closing = closing.clone();
    let answer = |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Closing(is_closing.clone()));
        let (gate, mut router) = (gate::admit(&place, &request), router.clone());
        async move {
            let response = match gate {
                Ok(()) => router.call(request.map(Body::new)).await?,
                Err(refusal) => refusal.into_response(),
            };
            Ok::<_, Infallible>(gate::harden(response))
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream)), service_fn(answer));
    let mut connection = pin!(connection);
    // What a peer does wrong, or does not read, is its own affair.
    let is_over = tokio::select! {
        _ = connection.as_mut() => true,
        _ = closing.changed() => false,
    };
    if !is_over {
        connection.as_mut().graceful_shutdown();
        drop(connection.await);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, timeout};

    use super::super::patient::WRITE_TIME;
    use super::*;

    /// More than an answer without a body takes, and less than [`LONG`].
    const PIPE_BYTES: usize = 4096;
    const LONG: &str = match str::from_utf8(&[b'x'; 1 << 16]) {
        Ok(text) => text,
        Err(_) => panic!("it is ASCII"),
    };
    const REQUEST: &[u8] = b"GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// A conversation on a clock that only moves when all wait, and the peer's end of it.
    fn conversation() -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
        let (ours, peer) = duplex(PIPE_BYTES);
        let (closing, is_closing) = watch::channel(());
        let router =
            Router::new().route("/short", get(async || "ok")).route("/long", get(async || LONG));
        let place = DoorAddr::Unix("admin.sock".into());
        (peer, tokio::spawn(converse(Box::new(ours), place, router, is_closing)), closing)
    }

    /// Reads an answer whose body is `ok`.
    async fn answered(peer: &mut DuplexStream) {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\nok") {
            assert_ne!(peer.read_buf(&mut text).await.unwrap(), 0, "it ends early");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_by_bytes_is_cut_after_its_time() {
        let (mut peer, over, _closing) = conversation();
        let began = Instant::now();
        let mut bytes = REQUEST.iter().cycle();
        while !over.is_finished() {
            // Who writes to nobody has been cut.
            drop(peer.write_all(&[*bytes.next().unwrap()]).await);
            sleep(Duration::from_millis(600)).await;
        }
        // 40 bytes make a head, in 24 s.
        assert!(began.elapsed() < HEAD_TIME + Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(began.elapsed() >= HEAD_TIME);
        let mut text = Vec::new();
        peer.read_to_end(&mut text).await.unwrap();
        assert!(!text.starts_with(b"HTTP/1.1 200"), "it is no request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_no_more_is_closed_and_one_that_asks_in_time_is_not() {
        let (mut peer, over, _closing) = conversation();
        for _ in 0..3 {
            peer.write_all(REQUEST).await.unwrap();
            answered(&mut peer).await;
            sleep(HEAD_TIME - Duration::from_secs(1)).await;
        }
        assert!(!over.is_finished());
        sleep(Duration::from_secs(2)).await;
        assert!(over.is_finished());
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_left_and_who_is_slow_gets_all() {
        let ask = REQUEST.to_vec();
        let ask = String::from_utf8(ask).unwrap().replace("short", "long");
        let (mut peer, over, _closing) = conversation();
        peer.write_all(ask.as_bytes()).await.unwrap();
        let mut taken = 0;
        while taken < LONG.len() {
            sleep(WRITE_TIME - Duration::from_secs(1)).await;
            taken += peer.read(&mut [0; PIPE_BYTES]).await.unwrap();
        }
        peer.write_all(ask.as_bytes()).await.unwrap();
        sleep(WRITE_TIME + Duration::from_secs(1)).await;
        assert!(over.is_finished(), "nothing of it was taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_door_that_closes_ends_what_waits_and_finishes_what_is_answered() {
        let (mut peer, over, closing) = conversation();
        peer.write_all(REQUEST).await.unwrap();
        answered(&mut peer).await;
        drop(closing);
        timeout(Duration::from_secs(1), over).await.unwrap().unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }
}
