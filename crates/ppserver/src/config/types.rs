//! The vocabulary of a configuration: one type a table of the file, one enum a choice.
//!
//! Not the defaults, which `defaults` has, nor the words of the file, which `choice` has.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use ppcore::V1Families;
pub use pptrust::{ChecksumSent, Destination, Outgoing, TlvPass, TlvSet, TlvSource, TlvValue};

pub use crate::core::route::{Route, Way, When};

use super::{Bind, Datagrams, Endpoint, LoggedTlv, Protocol, Udp, defaults};
use pptrust::Peers;

/// The only `config_version` there is.
pub const CONFIG_VERSION: usize = 1;

/// Everything the server is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The process.
    pub server: Server,
    /// The doors of the control plane.
    pub admin: Admin,
    /// The log on stderr.
    pub log: Log,
    /// One line per closed connection.
    pub access_log: AccessLog,
    /// Options of the sockets.
    pub tcp: Tcp,
    /// Moving payload inside the kernel.
    pub splice: Splice,
    /// The ports, at least one, in the order of the file; names are unique.
    pub listeners: Vec<Listener>,
    /// The backends, in the order of the file; names are unique.
    pub upstreams: Vec<Upstream>,
}

/// `[server]`: the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Event loops; `auto` is one per CPU this process may use. 1..=256.
    pub workers: Count,
    /// Connections at a time; `auto` follows the descriptor limit. 1..=262,144.
    pub max_connections: Count,
    /// How long a drain waits before it resets what is left.
    pub shutdown_grace: Duration,
    /// How long a server that is told to end still accepts before it drains.
    pub lame_duck: Duration,
}

/// A number, or the one that fits the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Found out at start.
    Auto,
    /// This many.
    Fixed(usize),
}

impl Count {
    /// Returns the number, which is `fitting` where none is given.
    pub const fn or(self, fitting: usize) -> usize {
        match self {
            Self::Auto => fitting,
            Self::Fixed(count) => count,
        }
    }
}

/// `[admin]`: the doors of the control plane; none by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    /// Where HTTP is answered that changes nothing; port 0 lets the kernel choose.
    pub listen: Option<SocketAddr>,
    /// The UNIX socket that also takes changes. 1..=107 bytes.
    pub socket: Option<PathBuf>,
}

/// `[log]`: the log on stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least severe line that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the levels everybody knows")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `[access_log]`: one line per closed connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Whether it is written at all.
    pub state: Toggle,
    /// Where to.
    pub output: Output,
    /// How a line looks.
    pub format: AccessLogFormat,
    /// What becomes of bare connects and LOCAL connections.
    pub probes: Probes,
    /// The TLVs that are written, each once.
    pub tlvs: Vec<LoggedTlv>,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// An object.
    Json,
    /// `key=value` with spaces between.
    Logfmt,
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toggle {
    /// `false`.
    Off,
    /// `true`.
    On,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to this file.
    File(PathBuf),
}

/// What the access log does with a connection that is only a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probes {
    /// It is counted, and gets no line.
    Counted,
    /// It gets a line like any other.
    Logged,
}

/// `[tcp]`: options of the listening sockets, inherited by accepted ones, and of upstream sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// TCP_NODELAY.
    pub nodelay: Toggle,
    /// SO_KEEPALIVE and its times.
    pub keepalive: Keepalive,
    /// TCP_DEFER_ACCEPT.
    pub defer_accept: Toggle,
    /// The argument of listen(2). 1..=65,535.
    pub backlog: u32,
}

/// When a silent peer is asked whether it lives. The kernel counts in whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// TCP_KEEPIDLE: silence before the first keepalive probe. 1 s..=32,767 s.
    pub idle: Duration,
    /// TCP_KEEPINTVL: between keepalive probes. 1 s..=32,767 s.
    pub interval: Duration,
    /// TCP_KEEPCNT: unanswered keepalive probes until the connection is dropped. 1..=127.
    pub count: u32,
}

/// `[splice]`: moving payload inside the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// When to do it.
    pub mode: SpliceMode,
    /// Bytes a pipe holds while there are few. 4 KiB..=1 MiB.
    pub pipe_bytes: usize,
    /// Pipes at a time, over all workers. 1..=65,536.
    pub max_pipes: Count,
}

/// When a direction is spliced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpliceMode {
    /// Once it turns bulky.
    Auto,
    /// From its first payload byte.
    Always,
    /// Never.
    Off,
}

/// The times of a connection, or of a flow of datagrams, each 1 ms..=366 d.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole header, counted from accept.
    pub header: Duration,
    /// The ClientHello, from when a route asks for it.
    pub tls_hello: Duration,
    /// One attempt to reach one endpoint.
    pub connect: Duration,
    /// No byte in either direction.
    pub idle: Duration,
    /// No byte for this long after the first FIN.
    pub half_closed: Duration,
    /// UDP: no datagram of a flow either way.
    pub flow: Duration,
    /// UDP: the same of a flow that never had an answer.
    pub flow_unanswered: Duration,
}

/// `[[listener]]`: a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The label in logs: 1..=64 letters, digits, `-`, `_`.
    pub name: String,
    /// Where it listens: at least one place.
    pub bind: Vec<Bind>,
    /// What it relays.
    pub protocol: Protocol,
    /// What it does with datagrams.
    pub udp: Udp,
    /// The index of its upstream in [`Config::upstreams`].
    pub upstream: usize,
    /// The mode of the files of its UNIX sockets. 0o600..=0o777.
    pub unix_mode: u32,
    /// Whether its peers send PROXY headers.
    pub accept: HeaderMode,
    /// The times of its connections: `[timeouts]` with `[listener.timeouts]` over it.
    pub timeouts: Timeouts,
    /// How much its clients may have.
    pub limits: Limits,
    /// The first whose condition holds is taken; without one, a connection goes to `upstream`. 0..=1,000.
    pub routes: Vec<Route>,
}

/// `[listener.limits]`: how much clients may have; 0 is no limit. A flow of datagrams is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, of all clients together. 0..=262,144.
    pub connections: u32,
    /// UDP: flows at a time, beyond which others give way. 1..=1,048,576.
    pub flows: u32,
    /// New connections a second, of all clients together. 0..=1,000,000.
    pub rate: u32,
    /// How much each of them may have.
    pub per_client: PerClient,
}

/// `listener.limits.per_client`: how much a client may have; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerClient {
    /// Connections at a time. 0..=262,144.
    pub connections: u32,
    /// New connections a second. 0..=1,000,000.
    pub rate: u32,
    /// New connections at once, behind a quiet time; 0 is as many as `rate`. 0..=1,000,000.
    pub burst: u32,
    /// So many bits of an IPv6 address are one client. 1..=128.
    pub ipv6_prefix: u8,
}

/// `[listener.proxy_protocol]`: whether peers send PROXY headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderMode {
    /// They do not: the first byte is payload.
    Off,
    /// They do.
    Headers(HeaderPolicy),
}

/// What is taken for a header, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPolicy {
    /// Whether a trusted peer may do without.
    pub presence: Presence,
    /// The versions taken.
    pub versions: Versions,
    /// What a v1 line may hold.
    pub v1_families: V1Families,
    /// What becomes of a peer that may speak plainly and says nothing.
    pub silent: Silent,
    /// Whose word is taken, of those who have an address.
    pub trust: Peers,
    /// Whether that of peers at UNIX sockets is.
    pub trust_unix: Toggle,
    /// What becomes of the others.
    pub untrusted: Untrusted,
    /// What becomes of LOCAL connections.
    pub local: LocalPolicy,
    /// The longest v2 header taken, in bytes. 16..=65,551.
    pub header_bytes_max: usize,
    /// What becomes of a checksum.
    pub crc32c: ChecksumPolicy,
    /// UDP, v2: which datagrams carry one.
    pub datagrams: Datagrams,
}

/// Whether a trusted peer must send a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It may speak plainly.
    Optional,
}

/// What becomes of a peer that may speak plainly and is silent until the header's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silent {
    /// It is reset.
    Refuse,
    /// It is one without a header, which waits for the server's first word.
    Plain,
}

/// A version of the protocol; the later one holds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The text line.
    V1,
    /// Cloudflare's Simple Proxy Protocol, of datagrams.
    Spp,
    /// The binary header.
    V2,
}

/// The versions a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// The text line only.
    V1,
    /// The binary header only.
    V2,
    /// Either.
    Both,
    /// SPP, which nothing tells from payload.
    Spp,
}

/// What becomes of a peer whose word is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// It is reset before a byte is read.
    Reject,
    /// Its bytes are payload, a header included.
    Plain,
}

/// What becomes of a LOCAL connection, as health checks send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalPolicy {
    /// It goes upstream.
    Forward,
    /// It is closed here with a FIN.
    Answer,
    /// It is reset.
    Reject,
}

/// What becomes of a CRC32C TLV that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// A wrong one refuses the header.
    Verify,
    /// Nobody looks.
    Ignore,
    /// A wrong one refuses the header, and none a v2 header.
    Require,
}

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

impl Listener {
    /// The indices of all upstreams that its connections may go to; one may come more than once.
    pub fn upstreams(&self) -> impl Iterator<Item = usize> {
        let of_route = |route: &Route| match route.way {
            Way::To(upstream) => Some(upstream),
            Way::Deny => None,
        };
        std::iter::once(self.upstream).chain(self.routes.iter().filter_map(of_route))
    }
}

impl Admin {
    /// Returns how many doors there are.
    pub fn doors(&self) -> usize {
        usize::from(self.listen.is_some()) + usize::from(self.socket.is_some())
    }
}

impl Toggle {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl Versions {
    /// The versions of a list; `None` if it is empty, or holds what cannot be told apart.
    pub fn of(list: &[Version]) -> Option<Self> {
        match [Version::V1, Version::V2, Version::Spp].map(|version| list.contains(&version)) {
            [true, true, false] => Some(Self::Both),
            [true, false, false] => Some(Self::V1),
            [false, true, false] => Some(Self::V2),
            [false, false, true] => Some(Self::Spp),
            [false, false, false] | [true, _, true] | [_, true, true] => None,
        }
    }

    /// Whether `version` is taken.
    pub fn contains(self, version: Version) -> bool {
        match self {
            Self::Both => version != Version::Spp,
            Self::V1 => version == Version::V1,
            Self::V2 => version == Version::V2,
            Self::Spp => version == Version::Spp,
        }
    }
}
