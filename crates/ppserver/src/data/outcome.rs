//! What system calls answered, in the words of the session and of the counters.
//!
//! Knows no connection. Invariant: an answer has one meaning, whoever asked.

use std::io;

use super::conduit::Moved;
use crate::core::connect_result::ConnectResult;
use crate::core::session::{Failure, FirstUse, ReceiveResult, SendResult};

/// Says when a socket is used first that may be tried before any event of it.
pub(super) fn first_use(is_early: bool) -> FirstUse {
    if is_early { FirstUse::AtOnce } else { FirstUse::WhenReady }
}

pub(super) fn received(Moved { asked, result }: Moved) -> ReceiveResult {
    match result {
        Ok(0) => ReceiveResult::End,
        Ok(count) => ReceiveResult::Bytes { count, asked },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReceiveResult::WouldBlock,
        Err(error) => ReceiveResult::Failed(failure(&error)),
    }
}

pub(super) fn sent(result: &io::Result<usize>) -> SendResult {
    match result {
        Ok(0) => SendResult::WouldBlock,
        Ok(count) => SendResult::Bytes(*count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => SendResult::WouldBlock,
        Err(error) => SendResult::Failed(failure(error)),
    }
}

/// Tells a reset from the rest.
pub(super) fn failure(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::EPIPE) => Failure::Reset,
        Some(_) | None => Failure::Other,
    }
}

/// An attempt to connect that met itself.
pub(super) fn met_itself() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "it met itself: nobody listens there")
}

/// Says what an attempt to connect came to that failed in this way.
pub(super) fn connect_result(error: &io::Error) -> ConnectResult {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => ConnectResult::Refused,
        Some(libc::ETIMEDOUT) => ConnectResult::Timeout,
        Some(libc::EADDRNOTAVAIL) => ConnectResult::NoPort,
        Some(_) => ConnectResult::Error,
        // The only one that no system call answers.
        None => ConnectResult::Itself,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_failed_has_one_result() {
        for (number, expected) in [
            (libc::ECONNREFUSED, ConnectResult::Refused),
            (libc::ETIMEDOUT, ConnectResult::Timeout),
            (libc::EHOSTUNREACH, ConnectResult::Error),
            (libc::EMFILE, ConnectResult::Error),
            (libc::EADDRNOTAVAIL, ConnectResult::NoPort),
        ] {
            assert_eq!(connect_result(&io::Error::from_raw_os_error(number)), expected);
        }
        assert_eq!(connect_result(&met_itself()), ConnectResult::Itself);
    }
}
