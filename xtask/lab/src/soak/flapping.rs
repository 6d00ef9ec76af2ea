//! An endpoint that comes and goes: for a moment it serves, for the next its port refuses.
//!
//! A port that closes resets the connections in its queue, which no proxy can mend once it has sent
//! them a request. So a session through it may be reset, but only before the first byte of its answer
//! and only by a closing that fell into its time. Invariant: the port is never anybody else's.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ppload::Pattern;
use socket2::{Domain, SockRef, Socket, Type};

use super::faults::Faults;
use super::plan::Rng;
use super::upstream;
use crate::host;

const SEED: u64 = 1;
/// How long it serves, and how long it does not: from the first, less than the sum.
const SPAN_MIN: u64 = 50;
const SPAN_RANGE: u64 = 200;
const BACKLOG: i32 = 128;

/// Where it is, and how often it has gone.
pub(super) struct Flapping {
    pub(super) addr: SocketAddr,
    closings: Arc<AtomicU64>,
    /// Bound and not listening: while nobody else does, connecting is refused.
    _port: Socket,
}

impl Flapping {
    /// Starts it on a free port; it ends with the process.
    ///
    /// # Errors
    /// When no port is to be had.
    pub(super) fn start(pattern: &Arc<Pattern>, faults: &Arc<Faults>) -> Result<Self> {
        let port = bound((Ipv4Addr::LOCALHOST, 0).into()).context("a port that comes and goes")?;
        let addr = port.local_addr()?.as_socket().context("a bound socket has an address")?;
        let (pattern, faults) = (Arc::clone(pattern), Arc::clone(faults));
        let closings = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&closings);
        thread::spawn(move || {
            let mut rng = Rng::new(SEED);
            let mut span = || Duration::from_millis(SPAN_MIN + rng.below(SPAN_RANGE));
            loop {
                if let Err(error) = serve_for(addr, span(), &counted, &pattern, &faults) {
                    faults.note("the endpoint that comes and goes", &error);
                    return;
                }
                host::pause(span());
            }
        });
        Ok(Self { addr, closings, _port: port })
    }

    /// How often its port has closed.
    pub(super) fn closings(&self) -> u64 {
        self.closings.load(Ordering::Relaxed)
    }

    /// Whether a session that began after so many closings may end like this.
    pub(super) fn excuses(&self, error: &io::Error, closings: u64) -> bool {
        error.kind() == ErrorKind::ConnectionAborted && self.closings() > closings
    }
}

fn serve_for(
    addr: SocketAddr,
    span: Duration,
    closings: &AtomicU64,
    pattern: &Arc<Pattern>,
    faults: &Arc<Faults>,
) -> io::Result<()> {
    let socket = bound(addr)?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    thread::scope(|scope| {
        scope.spawn(|| upstream::serve_all(&listener, pattern, faults));
        host::pause(span);
        // Counted first: who is reset by it finds it counted.
        closings.fetch_add(1, Ordering::Relaxed);
        SockRef::from(&listener).shutdown(Shutdown::Both)
    })
}

/// Several may be bound to one port as long as all say so and none listens (socket(7)).
fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn its_port_answers_and_refuses_in_turn_and_only_a_closing_excuses() {
        let faults = Arc::new(Faults::default());
        let flapping = Flapping::start(&Arc::new(Pattern::new()), &faults).unwrap();
        let patience = Duration::from_secs(30);
        for is_wanted in [true, false, true, false] {
            let seen = host::poll_for(patience, || {
                let is_open = TcpStream::connect(flapping.addr).is_ok();
                Ok((is_open == is_wanted).then_some(()))
            });
            assert_eq!(seen.unwrap(), Some(()), "open: {is_wanted}");
        }
        let early = io::Error::new(ErrorKind::ConnectionAborted, "early");
        assert!(flapping.excuses(&early, 0));
        assert!(!flapping.excuses(&early, u64::MAX), "nothing closed since");
        assert!(!flapping.excuses(&ErrorKind::ConnectionReset.into(), 0), "in mid-answer");
    }
}
