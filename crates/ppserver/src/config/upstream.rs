//! The vocabulary of `[upstream.NAME]`: backends, who of them is next, and what they are sent.
//!
//! Not how one is chosen, which `core/pool` decides; the other tables stand in `types`.

use std::net::IpAddr;
use std::time::Duration;

pub use pptrust::{ChecksumSent, Destination, Outgoing, TlvPass, TlvSet, TlvSource, TlvValue};

use super::{Datagrams, Endpoint, Toggle, Version, defaults};

/// `[upstream.NAME]`: backends, and who of them is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The label in logs: 1..=64 letters, digits, `-`, `_`.
    pub name: String,
    /// At least one.
    pub endpoints: Vec<Entry>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// Further endpoints tried after a failed connect. 0..=15.
    pub retries: usize,
    /// What they see connections come from.
    pub source: Source,
    /// Who gets nobody for a while.
    pub passive: Passive,
    /// How often names among the endpoints are asked for.
    pub dns: Dns,
    /// The header sent to them.
    pub send: Sending,
    /// What our own connects say of them, and what follows from it.
    pub health: Health,
}

/// `[upstream.NAME.proxy_protocol]`: the header that endpoints are sent. What no version that is sent has is as
/// by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The version, for endpoints that have none of their own; `None` is no header.
    pub version: Option<Version>,
    /// What it says the client connected to.
    pub destination: Destination,
    /// v2: the TLVs that are copied; types ascend and are not 0x03.
    pub tlv_pass: TlvPass,
    /// v2: those that are added; they fit a header.
    pub tlv_set: Vec<TlvSet>,
    /// v2: when it carries a checksum.
    pub crc32c: ChecksumSent,
    /// UDP, v2: which datagrams carry it.
    pub datagrams: Datagrams,
}

/// What the endpoints of an upstream see connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An address of this host that the kernel chooses.
    Any,
    /// This address.
    Addr(IpAddr),
    /// That of the client (IP_TRANSPARENT, ip(7)).
    Client,
}

impl Source {
    /// Returns what connects of our own come from, if it is given: they are no client's.
    pub const fn of_ours(self) -> Option<IpAddr> {
        match self {
            Self::Addr(addr) => Some(addr),
            Self::Any | Self::Client => None,
        }
    }
}

/// The most that an endpoint weighs.
pub const WEIGHT_MAX: u32 = 1_000;

/// An entry of `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its part of the connections, beside others' weights; 0 is none. 0..=[`WEIGHT_MAX`].
    pub weight: u32,
    /// Whether it is chosen only while no other is up.
    pub backup: Toggle,
    /// Connections at a time; 0 is no limit. 0..=262,144.
    pub connections_max: u32,
    /// Of which version the header is that it is sent.
    pub send: EntrySend,
}

/// Of which version the header is that an endpoint is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrySend {
    /// The upstream's.
    Inherited,
    /// Its own; `None` is no header.
    Own(Option<Version>),
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The less loaded of two that are drawn.
    RandomOfTwo,
    /// By the real client's address.
    SourceHash,
    /// The first that is up and has room.
    First,
}

/// `upstream.NAME.passive`: endpoints whose connects fail get nobody for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// So many failed connects in a row eject an endpoint; 0 is never. 0..=1,000.
    pub failures: u32,
    /// For how long, the first time. 100 ms..=1 d.
    pub eject: Duration,
    /// For how long at most: each time in a row is twice as long. `eject`..=1 d.
    pub max: Duration,
}

/// `[upstream.NAME.health]`: connects of our own to its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether they are checked, and how.
    pub check: Check,
    /// How long it takes until all of the weight counts of one that is back. 0..=1 d.
    pub slow_start: Duration,
    /// What becomes of the connections of one that goes down, or that no name stands for any more.
    pub on_down: OnDown,
}

/// Whether endpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// They are not.
    Off,
    /// They are.
    On(CheckPolicy),
}

/// How endpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPolicy {
    /// What is said behind the connect; `None` if that is enough.
    pub exchange: Option<Exchange>,
    /// The header in front.
    pub proxy: CheckHeader,
    /// From the beginning of one to that of the next. 100 ms..=1 d.
    pub interval: Duration,
    /// For all of one. 1 ms..=10 m.
    pub timeout: Duration,
    /// So many that pass in a row, and one that is down is up. 1..=1,000.
    pub rise: u32,
    /// So many that fail in a row, and one that is up is down. 1..=1,000.
    pub fall: u32,
}

/// The most bytes that a check sends, or expects.
pub const EXCHANGE_BYTES_MAX: usize = 4096;

/// What a check says, and what is to be answered; at most [`EXCHANGE_BYTES_MAX`] bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Behind our header.
    pub send: Vec<u8>,
    /// The first bytes of the answer; empty: any.
    pub expect: Vec<u8>,
}

/// The header in front of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckHeader {
    /// LOCAL where v2 is sent, UNKNOWN where v1, none where none.
    Auto,
    /// None.
    Off,
    /// Of the version that is sent, with the addresses of the check's own connection.
    Proxy,
}

/// What becomes of connections to an endpoint that goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// They stay.
    Keep,
    /// They are reset.
    Reset,
}

impl Sending {
    /// A header of this version, and the defaults of the rest.
    pub fn of(version: Option<Version>) -> Self {
        Self {
            version,
            destination: defaults::DESTINATION,
            tlv_pass: defaults::TLV_PASS,
            tlv_set: Vec::new(),
            crc32c: defaults::CRC32C_SENT,
            datagrams: defaults::DATAGRAMS,
        }
    }

    /// What is sent to an endpoint of whose header the version is this one.
    pub fn outgoing(&self, version: Option<Version>) -> Outgoing {
        let destination = self.destination;
        match version {
            None => Outgoing::Off,
            Some(Version::V1) => Outgoing::V1 { destination },
            Some(Version::Spp) => Outgoing::Spp { destination },
            Some(Version::V2) => Outgoing::V2 {
                destination,
                tlv_pass: self.tlv_pass.clone(),
                tlv_set: self.tlv_set.clone(),
                crc32c: self.crc32c,
            },
        }
    }
}

impl EntrySend {
    /// Returns the version, which is the upstream's unless it is its own.
    pub fn or(self, upstream: Option<Version>) -> Option<Version> {
        match self {
            Self::Inherited => upstream,
            Self::Own(version) => version,
        }
    }
}

impl Upstream {
    /// Returns the version that holds most of those that are sent.
    pub fn most_sent(&self) -> Option<Version> {
        let sent = self.endpoints.iter().map(|entry| entry.send.or(self.send.version));
        sent.max().unwrap_or(self.send.version)
    }
}

impl Entry {
    /// One with nothing but its address.
    pub fn plain(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            weight: defaults::WEIGHT,
            backup: defaults::BACKUP,
            connections_max: defaults::ENDPOINT_CONNECTIONS_MAX,
            send: EntrySend::Inherited,
        }
    }
}

/// `dns`: bounds of how long an answer counts, and of the pause behind a failure; 1 s..=366 d, `min <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dns {
    /// At least so long, whatever the time to live.
    pub min: Duration,
    /// At most so long.
    pub max: Duration,
}
