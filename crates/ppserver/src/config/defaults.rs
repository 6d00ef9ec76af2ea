//! What holds where nothing is said: every default there is, for the file, for flags and for a table
//! or key that is left out.

use std::time::Duration;

use super::{
    AccessLog, AccessLogFormat, Balance, Check, CheckHeader, CheckPolicy, ChecksumPolicy,
    ChecksumSent, Count, Datagrams, Destination, Dns, DontFragment, HeaderPolicy, Health,
    Keepalive, Limits, LocalPolicy, Log, LogFormat, LogLevel, OnDown, Output, Passive, PerClient,
    Presence, Probes, Protocol, Server, Silent, Source, Splice, SpliceMode, Tcp, Timeouts, TlvPass,
    Toggle, Udp, Untrusted, V1Families, Version, Versions,
};
use pptrust::Peers;

/// How an endpoint is chosen.
pub(super) const BALANCE: Balance = Balance::RoundRobin;
/// What connections to endpoints come from.
pub(super) const SOURCE: Source = Source::Any;
/// Other endpoints that are tried after a failed connect.
pub(super) const RETRIES: usize = 1;

/// The one word so far.
pub(super) const LOG_OUTPUT: &str = "stderr";

/// What a listener relays.
pub(super) const PROTOCOL: Protocol = Protocol::Tcp;
/// Of datagrams, which carry a header.
pub(super) const DATAGRAMS: Datagrams = Datagrams::Each;

/// Whether peers send headers: they do not.
pub(super) const ACCEPT: Option<Presence> = None;
/// The header that is sent: none.
pub(super) const SEND: Option<Version> = None;
/// Of the header that is sent.
pub(super) const DESTINATION: Destination = Destination::Original;
pub(super) const TLV_PASS: TlvPass = TlvPass::Types(Vec::new());
pub(super) const CRC32C_SENT: ChecksumSent = ChecksumSent::WhenReceived;

/// Of an endpoint with nothing but its address.
pub(super) const WEIGHT: u32 = 1;
pub(super) const BACKUP: Toggle = Toggle::Off;
pub(super) const ENDPOINT_CONNECTIONS_MAX: u32 = 0;

impl Default for Passive {
    fn default() -> Self {
        let (eject, max) = (Duration::from_secs(10), Duration::from_secs(120));
        Self { failures: 2, eject, max }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 0, flows: 65_536, rate: 0, per_client: PerClient::default() }
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self { responses: 0, dont_fragment: DontFragment::Kernel }
    }
}

impl Default for PerClient {
    fn default() -> Self {
        Self { connections: 0, rate: 0, burst: 0, ipv6_prefix: 64 }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: Count::Auto,
            max_connections: Count::Auto,
            shutdown_grace: Duration::from_secs(25),
            lame_duck: Duration::ZERO,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Auto }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            state: Toggle::Off,
            output: Output::Stdout,
            format: AccessLogFormat::Json,
            probes: Probes::Counted,
            tlvs: Vec::new(),
        }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            nodelay: Toggle::On,
            keepalive: Keepalive::default(),
            defer_accept: Toggle::Off,
            backlog: 4096,
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 }
    }
}

impl Default for Splice {
    fn default() -> Self {
        Self { mode: SpliceMode::Auto, pipe_bytes: 1 << 20, max_pipes: Count::Auto }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(3),
            tls_hello: Duration::from_secs(3),
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            half_closed: Duration::from_secs(60),
            flow: Duration::from_secs(60),
            flow_unanswered: Duration::from_secs(5),
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { min: Duration::from_secs(5), max: Duration::from_secs(300) }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { check: Check::Off, slow_start: Duration::ZERO, on_down: OnDown::Keep }
    }
}

/// A connect, and nothing behind it.
impl Default for CheckPolicy {
    fn default() -> Self {
        Self {
            exchange: None,
            proxy: CheckHeader::Auto,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }
    }
}

/// The owner and the group may connect.
pub(super) const UNIX_MODE: u32 = 0o660;

impl HeaderPolicy {
    /// The defaults where headers are taken; nobody is trusted by default, so `trust` is an argument.
    pub fn new(presence: Presence, trust: Peers) -> Self {
        Self {
            presence,
            versions: Versions::Both,
            v1_families: V1Families::Strict,
            silent: Silent::Refuse,
            trust_unix: if trust == Peers::Any { Toggle::On } else { Toggle::Off },
            trust,
            untrusted: Untrusted::Reject,
            local: LocalPolicy::Forward,
            header_bytes_max: 4096,
            crc32c: ChecksumPolicy::Verify,
            datagrams: DATAGRAMS,
        }
    }
}
