//! Why a connection or a datagram was not let in: who broke which rule.

use std::io;

use pptrust::Refusal;

/// The reason why a connection never reached the caller, or a datagram is not one.
///
/// It ends that connection and never the listener. What it is displayed as tells its cause too, which is
/// therefore no [`source`](std::error::Error::source).
///
/// ```
/// use ppnet::ppcore::ErrorKind;
/// use ppnet::{Config, Refused, Trust};
///
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?).on_refused(|peer, why| match why {
///     Refused::Header(error) if error.kind() == ErrorKind::Empty => {} // a TCP health check
///     why => eprintln!("{peer}: {why}"),
/// });
/// # Ok::<(), ppnet::NetworkError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The policy denies this peer ([`Policy::Deny`](crate::Policy::Deny)). Nothing was read.
    #[error("the peer is not among those trusted")]
    Denied,
    /// The peer broke the PROXY protocol, or sent none where one is required. The kind
    /// [`Empty`](ppcore::ErrorKind::Empty) is no offence but how TCP health checks look: a connect
    /// and a close.
    #[error("the peer broke the PROXY protocol: {0}")]
    Header(ppcore::Error),
    /// The peer sent a header that its policy forbids
    /// ([`Policy::Reject`](crate::Policy::Reject)).
    #[error("the peer sent a header and may not send one")]
    Forbidden,
    /// The header is a good one, and [`Config::validate`](crate::Config::validate) will not have it.
    #[error("the header is not acceptable: {0}")]
    Invalid(Box<dyn std::error::Error + Send + Sync>),
    /// The peer did not complete its header within
    /// [`Config::header_timeout`](crate::Config::header_timeout).
    #[error("the peer's header was not complete in time")]
    TimedOut,
    /// It gave way to a newer one: [`Config::handshakes_max`](crate::Config::handshakes_max) had not completed
    /// their headers, and of the peer with most of them it was the oldest.
    #[error("the peer's header was not complete when its place was needed")]
    Shed,
    /// The connection failed before its header was complete, mostly because the peer reset it.
    #[error("the connection failed before its header was complete: {0}")]
    Io(io::Error),
}

impl From<ppcore::Error> for Refused {
    fn from(error: ppcore::Error) -> Self {
        Self::Header(error)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied => Self::Denied,
            Refusal::Header(error) => Self::Header(error),
            Refusal::Forbidden => Self::Forbidden,
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
