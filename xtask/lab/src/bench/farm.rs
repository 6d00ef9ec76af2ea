//! A thousand endpoints to be checked: addresses of loopback with one port, and one thread that answers for all.
//!
//! Not a backend: nobody's bytes come here. Invariant: whoever connects is counted and answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::ports;

/// What a check that asks is answered.
const ANSWER: &[u8] = b"+PONG\r\n";
/// A check says what it has to say at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the endpoints of a farm are checked, each of them once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    None,
    /// So many, by a connect.
    Connects(u16),
    /// So many, by a question and its answer.
    Exchanges(u16),
}

/// The endpoints.
pub(super) struct Farm {
    listener: TcpListener,
    answering: Option<JoinHandle<()>>,
    answered: Arc<AtomicU64>,
}

impl Checks {
    /// Our configuration of an upstream that is checked.
    pub(super) fn toml(self) -> String {
        let (count, check) = match self {
            Self::None => return String::new(),
            Self::Connects(count) => (count, "check = \"tcp\""),
            Self::Exchanges(count) => {
                (count, "check = \"exchange\"\nsend = \"PING\\r\\n\"\nexpect = \"+PONG\"")
            }
        };
        let endpoints: Vec<_> = (0..count).map(|nth| format!("\"{}\"", addr(nth))).collect();
        format!(
            "[upstream.farm]\nendpoints = [{}]\nproxy_protocol.send = \"v2\"\n\
             [upstream.farm.health]\n{check}\ninterval = \"1s\"\n",
            endpoints.join(", ")
        )
    }
}

/// The address of one of the endpoints.
fn addr(nth: u16) -> SocketAddr {
    let [high, low] = nth.to_be_bytes();
    (Ipv4Addr::new(127, 1, high, low), ports::FARM).into()
}

impl Farm {
    /// Listens on every address of loopback.
    pub(super) fn start(checks: Checks) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports::FARM));
        let listener = listener.context("the port of the farm")?;
        let answered = Arc::new(AtomicU64::new(0));
        let (accepts, counter) = (listener.try_clone()?, Arc::clone(&answered));
        let answering = thread::spawn(move || {
            while let Ok((stream, _)) = accepts.accept() {
                let is_asked = matches!(checks, Checks::Exchanges(_));
                if !is_asked || answer(&stream).is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { listener, answering: Some(answering), answered })
    }

    /// How many checks have been answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        // accept(2) returns then.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.answering.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one who has said something.
fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = [0; 256];
    if stream.read(&mut said)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    stream.write_all(ANSWER)
}
