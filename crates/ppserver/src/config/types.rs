//! The vocabulary of a configuration: one type a table of the file, one enum a choice.
//!
//! Not the defaults, which `defaults` has, nor the words of the file, which `choice` has. What upstreams and
//! datagrams have of their own stands in `upstream` and `udp`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use ppcore::V1Families;

pub use crate::core::route::{Route, Way, When};

use super::{Bind, Datagrams, LoggedTlv, Protocol, Udp, Upstream};
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
    /// The times of listeners that say nothing else.
    pub timeouts: Timeouts,
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

/// `[timeouts]`: the times of a connection, or of a flow of datagrams, each 1 ms..=366 d.
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

impl Timeouts {
    /// Returns every key, what it is about, and its time.
    pub(super) fn by_key(&self) -> [(&'static str, Protocol, Duration); 7] {
        let Self { header, tls_hello, connect, idle, half_closed, flow, flow_unanswered } = *self;
        [
            ("header", Protocol::Tcp, header),
            ("tls_hello", Protocol::Tcp, tls_hello),
            ("connect", Protocol::Tcp, connect),
            ("idle", Protocol::Tcp, idle),
            ("half_closed", Protocol::Tcp, half_closed),
            ("flow", Protocol::Udp, flow),
            ("flow_unanswered", Protocol::Udp, flow_unanswered),
        ]
    }
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
