//! The terms on which a listener takes connections.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ppcore::{Options, TlvFraming, V2_FIXED_LEN};

use super::{Addr, Address, Refused};
use crate::{Policy, Received, Trust};

/// The least that the specification lets a header take: it covers one lost segment (spec 2).
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// 136 years: an instant that is still in range.
const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// A silent connection costs a descriptor and a few hundred bytes until its deadline.
const HANDSHAKES_MAX: usize = 1024;

/// The longest header that is taken, in bytes. What balancers send stays below 1 KiB, unless they
/// pass a client certificate on.
const HEADER_LEN_MAX: u16 = 4096;

/// The terms of a listener. A [`Trust`] alone is one with every default:
///
/// ```
/// use std::time::Duration;
/// use ppnet::{Config, Trust};
/// use ppnet::ppcore::Versions;
///
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?)
///     .options(|options| options.versions(Versions::V2))
///     .header_timeout(Duration::from_secs(5))
///     .handshakes_max(4096)
///     .on_refused(|peer, why| eprintln!("{peer}: {why}"));
/// # Ok::<(), ppnet::NetworkError>(())
/// ```
#[derive(Clone)]
pub struct Config {
    trust: Trust,
    pub(crate) options: Options,
    pub(crate) header_timeout: Duration,
    pub(crate) handshakes_max: usize,
    pub(crate) silence: Silence,
    validate: Option<Arc<Validate>>,
    on_refused: Option<Arc<OnRefused>>,
    on_accept_error: Option<Arc<OnAcceptError>>,
}

/// What it means that a peer sends nothing until its time is up.
///
/// ```
/// use std::time::Duration;
/// use ppnet::{Config, Policy, Silence, Trust};
///
/// // SMTP: the server greets first, and a client that comes without a balancer waits for it.
/// let trust = Trust::rules([("10.0.0.1", Policy::Require), ("10.0.0.0/8", Policy::Use)])?;
/// let config = Config::new(trust)
///     .silence(Silence::Absent)
///     .header_timeout(Duration::from_millis(500)); // so long it waits
/// # Ok::<(), ppnet::NetworkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Silence {
    /// It is closed.
    Refuse,
    /// It sends no header, and is let in if it may come without: under [`Policy::Use`], [`Policy::Ignore`] and
    /// [`Policy::Reject`]. For protocols where the server speaks first. A header that comes later is payload,
    /// so the time must be longer than a balancer ever takes. A header that is begun is no silence.
    Absent,
}

pub(crate) type Validate = dyn Fn(&Received) -> Result<(), BoxError> + Send + Sync;
type BoxError = Box<dyn Error + Send + Sync>;
type OnRefused = dyn Fn(&Addr, Refused) + Send + Sync;
type OnAcceptError = dyn Fn(&io::Error) + Send + Sync;

impl Config {
    /// Every default with this trust: headers of at most 4 KiB, checksums and TLV framing checked,
    /// 3 s for each, 1,024 at a time.
    pub fn new(trust: Trust) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "V2_FIXED_LEN is 16")]
        let v2_len_max = HEADER_LEN_MAX - V2_FIXED_LEN as u16;
        Self {
            trust,
            options: Options::new().tlv_framing(TlvFraming::Strict).v2_len_max(v2_len_max),
            header_timeout: HEADER_TIMEOUT,
            handshakes_max: HANDSHAKES_MAX,
            silence: Silence::Refuse,
            validate: None,
            on_refused: None,
            on_accept_error: None,
        }
    }

    /// Changes what the decoder accepts: `change` is given what is accepted so far. Whether a header must
    /// be there is the policy's to say, so [`Options::presence`] has no effect.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.options = change(self.options);
        self
    }

    /// Sets how long after its accept a connection may take to complete its header: 3 s unless set,
    /// and the specification wants no less (spec 2). The deadline ends with the header: it is not left
    /// on the connection. [`Duration::MAX`] is as good as none.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout.min(HEADER_TIMEOUT_MAX);
        self
    }

    /// Sets what it means that a peer has sent nothing until then: [`Silence::Refuse`] unless set.
    #[must_use]
    pub fn silence(mut self, silence: Silence) -> Self {
        self.silence = silence;
        self
    }

    /// Sets a function that judges each header that counts, before the connection is handed out; an error
    /// refuses it ([`Reason::Invalid`](crate::Reason::Invalid)). It runs while connections are accepted and so must not block.
    ///
    /// ```
    /// use ppnet::{Config, Trust};
    ///
    /// const OURS: &str = "vpce-08d2bf15fac5001c9";
    /// let config = Config::new(Trust::networks(["10.0.0.0/8"])?).validate(|header| {
    ///     let id = header.aws_vpc_endpoint_id();
    ///     if id == Some(OURS) { Ok(()) } else { Err("from another VPC endpoint") }
    /// });
    /// # Ok::<(), ppnet::NetworkError>(())
    /// ```
    #[must_use]
    pub fn validate<E: Into<BoxError>>(
        mut self,
        judge: impl Fn(&Received) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.validate = Some(Arc::new(move |header| judge(header).map_err(Into::into)));
        self
    }

    /// Sets how many connections may be without their header at a time: 1,024 unless set, at least 1. Each
    /// takes a descriptor.
    ///
    /// Nobody waits for a place. A newcomer that finds none takes that of another, which is
    /// [shed](crate::Reason::Shed): the oldest of the peer that holds the most, so that a peer with a crowd of silent
    /// connections sheds its own. Where no header is looked for ([`Policy::Skip`], [`Policy::Deny`]) none is
    /// taken.
    #[must_use]
    pub fn handshakes_max(mut self, count: usize) -> Self {
        self.handshakes_max = count.max(1);
        self
    }

    /// Sets a function to be told of each connection that is refused, with the socket's peer, or, where TLS
    /// fails behind a good header, its client; it runs while connections are accepted and so must not block.
    #[must_use]
    pub fn on_refused(mut self, told: impl Fn(&Addr, Refused) + Send + Sync + 'static) -> Self {
        self.on_refused = Some(Arc::new(told));
        self
    }

    /// Sets a function to be told when the system cannot accept, mostly for want of descriptors, and nobody
    /// else would hear of it: by the axum listener, which may not fail, and while a listener drains. Elsewhere
    /// `accept` returns such an error.
    ///
    /// ```
    /// use ppnet::{Config, Trust};
    ///
    /// let config = Config::new(Trust::any())
    ///     .on_accept_error(|error| eprintln!("cannot accept: {error}")); // every 100 ms
    /// ```
    #[must_use]
    pub fn on_accept_error(mut self, told: impl Fn(&io::Error) + Send + Sync + 'static) -> Self {
        self.on_accept_error = Some(Arc::new(told));
        self
    }

    /// The policy for a connection of `peer` to `local`.
    pub(crate) fn policy<A: Address>(&self, peer: &A, local: &A) -> Policy {
        match (peer.clone().into(), local.clone().into()) {
            (Addr::Ip(peer), Addr::Ip(local)) => self.trust.policy_for_both(peer, local),
            (_, _) => self.trust.policy_for_unix(),
        }
    }

    pub(crate) fn policy_for_datagrams(&self, peer: SocketAddr) -> Policy {
        self.trust.policy(peer)
    }

    pub(crate) fn validator(&self) -> Option<&Arc<Validate>> {
        self.validate.as_ref()
    }

    pub(crate) fn refused(&self, peer: impl Address, refused: Refused) {
        if let Some(told) = &self.on_refused {
            told(&peer.into(), refused);
        }
    }

    pub(crate) fn cannot_accept(&self, error: &io::Error) {
        if let Some(told) = &self.on_accept_error {
            told(error);
        }
    }
}

impl From<Trust> for Config {
    fn from(trust: Trust) -> Self {
        Self::new(trust)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("trust", &self.trust)
            .field("options", &self.options)
            .field("header_timeout", &self.header_timeout)
            .field("handshakes_max", &self.handshakes_max)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}
