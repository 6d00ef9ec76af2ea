//! The doors without sockets, for tests/fuzz: what strangers send, through parser, gate and routes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::door::converse;
use super::routes::{self, Reception};
use super::socket::DoorAddr;
use crate::config::{self, Host};
use crate::control::board::{Board, Readiness, Shown};
use crate::control::pools::Pools;
use crate::control::requests::{self, Request};
use crate::data::orders::Plan;
use crate::telemetry::ledger::Ledger;
use crate::telemetry::refusals::Refusals;

/// Has a door answer these bytes, and returns what it answers: a UNIX socket, or a port beyond loopback or on it.
///
/// # Panics
/// When something is changed through TCP.
pub fn answer(input: &[u8]) -> Vec<u8> {
    let (place, bytes) = match input.split_first() {
        Some((0, bytes)) => (DoorAddr::Unix("/admin.sock".into()), bytes),
        Some((1, bytes)) => (DoorAddr::Tcp(([192, 0, 2, 1], 1).into()), bytes),
        Some((_, bytes)) => (DoorAddr::Tcp(([127, 0, 0, 1], 1).into()), bytes),
        None => return Vec::new(),
    };
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a thread is all it needs");
    runtime.block_on(async {
        let is_tcp = matches!(place, DoorAddr::Tcp(_));
        let (desk, mut requests) = requests::channel();
        let ledger = Arc::new(Ledger::new(1));
        let refusals = [Refusals::new()].into();
        let reception =
            Arc::new(Reception::new(desk, board(), ledger, Arc::new(Pools::new(1)), refusals));
        let (closing, is_closing) = watch::channel(());
        // What has no end, as events, is ended at once.
        drop(closing);
        let refuse = async {
            loop {
                let request = requests.next().await;
                let is_read = matches!(request, Request::Connections(..));
                assert!(!is_tcp || is_read, "{request:?} came through TCP");
            }
        };
        let written = Arc::default();
        let stream = Canned { input: bytes.to_vec(), at: 0, written: Arc::clone(&written) };
        let router = routes::router(reception);
        tokio::select! {
            () = converse(Box::new(stream), place, router, is_closing) => {}
            () = refuse => {}
        }
        std::mem::take(&mut *written.lock().expect("nobody panics"))
    })
}

fn board() -> Board {
    const FILE: &[u8] = b"config_version = 1\n[[listener]]\nname='a'\nbind=['127.0.0.1:1']\n\
        upstream='u'\n[upstream.u]\nendpoints=['127.0.0.1:2']\n";
    let loaded = config::from_bytes("f".into(), FILE, Host::default());
    let plan = Plan {
        config: loaded.expect("it has no error").config,
        pools: Vec::new(),
        limits: Vec::new(),
    };
    Board::new(Shown {
        plan: Arc::new(plan),
        file: None,
        ports: Vec::new(),
        connections_max: 1,
        generation: 1,
        readiness: Readiness::Serving,
    })
}

/// A peer that has said everything already, and reads all.
struct Canned {
    input: Vec<u8>,
    at: usize,
    written: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl AsyncRead for Canned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.input.len().min(self.at + buf.remaining());
        buf.put_slice(&self.input[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Canned {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().expect("nobody panics").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
