//! Why a connection or a datagram was not let in: who broke which rule, and what came instead.

use std::error::Error;
use std::fmt;
use std::io;

use ppcore::{ErrorKind, V1_LEN_MAX};
use pptrust::{Lookalike, Refusal, looks_like};

/// Why a connection never reached the caller, or a datagram is not one, with the first bytes that came.
///
/// It ends that connection and never the listener. What it is displayed as says what those bytes look like and
/// what to do, and tells its cause too, which is therefore no [`source`](Error::source).
///
/// ```
/// use ppnet::{Config, Trust};
///
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?).on_refused(|peer, why| {
///     if !why.is_probe() {
///         eprintln!("{peer}: {why}: {}", why.first_bytes().escape_ascii());
///     }
/// });
///
/// let peer: std::net::SocketAddr = "10.0.0.2:1".parse()?;
/// let refused: ppnet::Refused = ppnet::handshake(&b"EHLO a\r\n"[..], peer, peer, &config).unwrap_err();
/// assert!(refused.to_string().contains("it looks like SMTP"));
/// assert_eq!(refused.looks_like(), Some(ppnet::pptrust::Lookalike::Smtp));
/// assert!(matches!(refused.reason(), ppnet::Reason::Header(_)));
/// assert_eq!(std::io::Error::from(refused).kind(), std::io::ErrorKind::InvalidData);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Refused {
    reason: Reason,
    /// At most [`FIRST_BYTES_MAX`].
    first_bytes: Box<[u8]>,
    looks_like: Option<Lookalike>,
}

/// So much is kept of what came: the longest v1 line.
const FIRST_BYTES_MAX: usize = V1_LEN_MAX;

/// Which rule was broken, and by whom; shown at [`Refused`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The policy denies this peer ([`Policy::Deny`](crate::Policy::Deny)). Nothing was read.
    #[error("the peer is not among those trusted")]
    Denied,
    /// The peer broke the PROXY protocol, or sent none where one is required. The kind
    /// [`Empty`](ErrorKind::Empty) is [no offence](Refused::is_probe).
    #[error("the peer broke the PROXY protocol: {0}")]
    Header(ppcore::Error),
    /// The peer sent a header that its policy forbids
    /// ([`Policy::Reject`](crate::Policy::Reject)).
    #[error("the peer sent a header and may not send one")]
    Forbidden,
    /// The header is a good one, and [`Config::validate`](crate::Config::validate) will not have it.
    #[error("the header is not acceptable: {0}")]
    Invalid(Box<dyn Error + Send + Sync>),
    /// The peer did not complete its header within
    /// [`Config::header_timeout`](crate::Config::header_timeout).
    #[error("the peer's header was not complete in time")]
    TimedOut,
    /// It gave way to a newer one: [`Config::handshakes_max`](crate::Config::handshakes_max) had not completed
    /// their headers, and of the peer with most of them it was the oldest.
    #[error("the peer's header was not complete when its place was needed")]
    Shed,
    /// The header is good, and the TLS handshake behind it failed or did not come in time.
    #[cfg(feature = "rustls")]
    #[error("the TLS handshake behind the header failed: {0}")]
    Tls(io::Error),
    /// The connection failed before its header was complete, mostly because the peer reset it.
    #[error("the connection failed before its header was complete: {0}")]
    Io(io::Error),
}

impl Refused {
    /// `received` begins with the first byte that came.
    pub(crate) fn new(reason: impl Into<Reason>, received: &[u8]) -> Self {
        let reason = reason.into();
        // That a bad header looks like one says nothing.
        let says = |error: ppcore::Error, like| {
            like != Lookalike::Header || error.kind() == ErrorKind::NotProxy
        };
        let looks_like = if let Reason::Header(error) = reason {
            looks_like(received).filter(|like| says(error, *like))
        } else {
            None
        };
        let first_bytes = received.get(..FIRST_BYTES_MAX).unwrap_or(received).into();
        Self { reason, first_bytes, looks_like }
    }

    /// Returns which rule was broken.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Returns the first bytes that came, at most 107: as long as the longest v1 line. What a stranger sent is
    /// written with [`escape_ascii`](slice::escape_ascii), not as it is.
    pub fn first_bytes(&self) -> &[u8] {
        &self.first_bytes
    }

    /// Returns what they look like, if they are no header or a bad one and it can be said.
    pub fn looks_like(&self) -> Option<Lookalike> {
        self.looks_like
    }

    /// Says whether it was a connect and a close without a byte, which is how TCP health checks look and not
    /// worth a line.
    pub fn is_probe(&self) -> bool {
        matches!(self.reason, Reason::Header(error) if error.kind() == ErrorKind::Empty)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.looks_like {
            Some(like) => write!(f, "; it looks like {like}: {}", advice(like)),
            None => Ok(()),
        }
    }
}

impl Error for Refused {}

/// What to do about bytes that look so.
fn advice(like: Lookalike) -> &'static str {
    match like {
        Lookalike::MixedLine => {
            "nginx writes one behind set_real_ip_from, and V1Families::Mixed takes it"
        }
        Lookalike::Header => "of a version that Options::versions leaves out",
        Lookalike::Spp => "it is for datagrams, and datagram::read_spp takes it",
        Lookalike::Tls
        | Lookalike::Http1
        | Lookalike::Http2
        | Lookalike::Ssh
        | Lookalike::Smtp
        | _ => "its sender must send a header first, or may come without one by Policy::Use",
    }
}

impl From<Refused> for io::Error {
    /// An error of the connection is itself; others have the kind that comes nearest, and what is refused
    /// inside.
    fn from(refused: Refused) -> Self {
        let kind = match refused.reason {
            Reason::Io(error) => return error,
            #[cfg(feature = "rustls")]
            Reason::Tls(error) => return error,
            Reason::Denied | Reason::Forbidden | Reason::Invalid(_) => {
                io::ErrorKind::PermissionDenied
            }
            Reason::Header(error)
                if matches!(error.kind(), ErrorKind::Empty | ErrorKind::Truncated) =>
            {
                io::ErrorKind::UnexpectedEof
            }
            Reason::Header(_) => io::ErrorKind::InvalidData,
            Reason::TimedOut => io::ErrorKind::TimedOut,
            Reason::Shed => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, refused)
    }
}

/// Before a byte came.
impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason, &[])
    }
}

/// Before a byte came.
impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::new(error, &[])
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied => Self::Denied,
            Refusal::Header(error) => Self::Header(error),
            Refusal::Forbidden => Self::Forbidden,
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use ppcore::{Decoder, Options};

    use super::*;

    fn refused(received: &[u8]) -> Refused {
        let error = Decoder::new(Options::new()).decode(received).unwrap_err();
        Refused::new(Refusal::Header(error), received)
    }

    #[test]
    fn what_is_no_header_is_named_and_what_to_do_about_it() {
        for (received, words) in [
            (&b"\x16\x03\x01\x02\0"[..], "a TLS ClientHello: its sender must send a header first"),
            (b"GET / HTTP/1.1\r\n", "HTTP: its sender must"),
            (b"SSH-2.0-x\r\n", "SSH: its sender must"),
            (b"EHLO a\r\n", "SMTP: its sender must"),
            (b"\x56\xEC\0\0", "Simple Proxy Protocol: it is for datagrams"),
            (
                b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n",
                "a v1 line that mixes families: nginx writes one behind set_real_ip_from, and V1Families",
            ),
        ] {
            let text = refused(received).to_string();
            assert!(text.starts_with("the peer broke the PROXY protocol: "), "{text}");
            assert!(text.contains("; it looks like ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_bad_header_and_what_is_unknown_look_like_nothing() {
        for received in [&b"PROXY TCP4 256"[..], b"\0\0"] {
            let refused = refused(received);
            assert_eq!(refused.looks_like(), None);
            assert!(!refused.to_string().contains("looks like"));
            assert_eq!(refused.first_bytes(), received);
        }
    }

    #[test]
    fn no_more_is_kept_than_the_longest_line() {
        assert_eq!(refused(&[b'x'; 4096]).first_bytes(), [b'x'; 107]);
    }

    #[test]
    fn an_error_of_the_connection_stays_itself_and_others_have_a_kind() {
        let reset = io::Error::from(Refused::from(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        for (reason, kind) in [
            (Reason::Denied, io::ErrorKind::PermissionDenied),
            (Reason::TimedOut, io::ErrorKind::TimedOut),
            (Reason::Shed, io::ErrorKind::ConnectionAborted),
        ] {
            assert_eq!(io::Error::from(Refused::from(reason)).kind(), kind);
        }
        let mut silent = Decoder::new(Options::new());
        let probe = Refused::from(Reason::Header(silent.finish(b"").unwrap_err()));
        assert!(probe.is_probe());
        assert_eq!(io::Error::from(probe).kind(), io::ErrorKind::UnexpectedEof);
    }
}
