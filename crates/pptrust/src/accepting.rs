//! Which errors of accept(2) are those of one connection.
//!
//! Told by what the standard library makes of them, and by number where it has no word: this crate knows no
//! system library.

use std::io::{Error, ErrorKind};

/// Says whether accept(2) failed for the connection that it took from the queue and not for the socket, or
/// was interrupted: the next try may follow at once. After any other error, mostly the want of descriptors,
/// it would only spin.
///
/// On Linux an accept also passes on what has gone wrong with the new connection's network, and asks for
/// this (accept(2), "Error handling").
///
/// ```no_run
/// use std::net::TcpListener;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let accepted = loop {
///     match listener.accept() {
///         Err(error) if pptrust::is_of_one_accept(&error) => {}
///         other => break other,
///     }
/// };
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_of_one_accept(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
    ) || error.raw_os_error().is_some_and(|number| NAMELESS.contains(&number))
}

/// ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP and EHOSTDOWN, which other systems do not pass on. MIPS and SPARC
/// have numbers of their own (asm-generic/errno.h is the others'), and do without.
const NAMELESS: &[i32] = if cfg!(any(target_os = "linux", target_os = "android"))
    && !cfg!(any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64"
    )) {
    &[64, 71, 92, 95, 112]
} else {
    &[]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_gone_is_not_the_listeners_error() {
        for gone in [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset] {
            assert!(is_of_one_accept(&gone.into()), "{gone}");
        }
        for lasting in [ErrorKind::WouldBlock, ErrorKind::OutOfMemory] {
            assert!(!is_of_one_accept(&lasting.into()), "{lasting}");
        }
    }
}
