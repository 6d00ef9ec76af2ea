//! Connects of our own to endpoints, off every client's path: for trials and for checks.
//!
//! Says nothing there, and decides nothing of what came of it. Invariant: each has a bound, and one that met itself
//! was refused.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::check_result::CheckResult;

/// Why an endpoint was not reached, or did not answer as it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreached {
    pub(super) result: CheckResult,
    pub(super) why: String,
}

impl Unreached {
    /// It was not over in time.
    pub(super) fn late() -> Self {
        Self { result: CheckResult::Timeout, why: "no answer in time".to_owned() }
    }

    pub(super) fn of(error: &io::Error) -> Self {
        const RESULTS: [(io::ErrorKind, CheckResult); 2] = [
            (io::ErrorKind::ConnectionRefused, CheckResult::Refused),
            (io::ErrorKind::TimedOut, CheckResult::Timeout),
        ];
        let result = RESULTS.iter().find(|(kind, _)| *kind == error.kind());
        let result = result.map_or(CheckResult::Error, |(_, result)| *result);
        Self { result, why: error.to_string() }
    }
}

/// Connects, in a span.
pub(super) async fn connect(addr: SocketAddr, span: Duration) -> Result<TcpStream, Unreached> {
    let connected = timeout(span, TcpStream::connect(addr)).await;
    let connected = connected.map_err(|_| Unreached::late())?;
    let socket = connected.map_err(|error| Unreached::of(&error))?;
    if socket.local_addr().map_err(|error| Unreached::of(&error))? == addr {
        // Or the port stays in use, and the backend cannot bind to it.
        let reset = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        reset.map_err(|error| Unreached::of(&error))?;
        let why = "it met itself: nobody listens there".to_owned();
        return Err(Unreached { result: CheckResult::Itself, why });
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_refuses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = connect(addr, Duration::from_secs(10)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), addr);
        drop(listener);
        // Nobody else is given the port while a connection of it is there.
        let unreached = connect(addr, Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(unreached.result, CheckResult::Refused, "{unreached:?}");
    }
}
