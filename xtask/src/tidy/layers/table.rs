//! The layers of ppserver and the borders of ppcore, as constants.
//!
//! A new module, or a new edge between two, is a design change: it is a line here and a line in
//! docs/architecture.md.

/// A module of ppserver and what it may know.
pub(super) struct Layer {
    /// `module`, or `worker::module` for the parts of the worker.
    pub(super) name: &'static str,
    /// The modules it may name. It may always name itself and what is below it.
    pub(super) uses: &'static [&'static str],
    pub(super) world: World,
    /// The rule in words, for whoever breaks it.
    pub(super) why: &'static str,
}

/// What a module may name outside this crate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum World {
    /// Any crate in the manifest.
    Open,
    /// ppcore and the types of std: no socket, file, thread or clock.
    Pure,
}

/// From the top down; a module uses only what stands further down (`worker::conn` and `worker`
/// excepted: the worker lends its parts to a connection).
pub(super) const LAYERS: &[Layer] = &[
    Layer {
        name: "main",
        uses: &["cli"],
        world: World::Open,
        why: "main is arguments in, an exit code out",
    },
    Layer {
        name: "lib",
        uses: &[],
        world: World::Open,
        why: "the root only declares modules: a name has one home, the module it lives in",
    },
    Layer {
        name: "cli",
        uses: &["server", "log", "config", "trust"],
        world: World::Open,
        why: "a subcommand reads a configuration and hands it to the server",
    },
    Layer {
        name: "server",
        uses: &[
            "worker",
            "watch",
            "access_log",
            "log",
            "metrics",
            "upstream",
            "config",
            "trust",
            "sys",
        ],
        world: World::Open,
        why: "the server starts, feeds and stops workers; connections are theirs",
    },
    Layer {
        name: "watch",
        uses: &[],
        world: World::Open,
        why: "what to wait for is told to it; what to do about it is the server's",
    },
    Layer {
        name: "worker::conformance",
        uses: &["worker", "worker::conduit", "worker::pipes", "session", "sys"],
        world: World::Open,
        why: "a test: the simulator's kernel held against the real one, through the worker's own calls",
    },
    Layer {
        name: "worker",
        uses: &[
            "worker::accept",
            "worker::clock",
            "worker::conn",
            "worker::conduit",
            "worker::control",
            "worker::pipes",
            "worker::rules",
            "worker::table",
            "worker::wheel",
            "access_log",
            "log",
            "metrics",
            "upstream",
            "session",
            "config",
            "trust",
            "sys",
        ],
        world: World::Open,
        why: "the loop knows nothing of the server or the command line above it",
    },
    Layer {
        name: "worker::conn",
        uses: &[
            "worker",
            "worker::conduit",
            "worker::rules",
            "worker::table",
            "worker::wheel",
            "access_log",
            "log",
            "metrics",
            "upstream",
            "session",
            "config",
            "trust",
            "sys",
        ],
        world: World::Open,
        why: "a connection joins a session with what the worker lends it",
    },
    Layer {
        name: "worker::accept",
        uses: &["metrics", "session", "sys"],
        world: World::Open,
        why: "accepting ends with a socket; whether it is let in is decided by the rules",
    },
    Layer {
        name: "worker::rules",
        uses: &["worker::control", "upstream", "early", "session", "config", "trust", "sys"],
        world: World::Open,
        why: "the terms of a listener are made of the configuration and hold no socket",
    },
    Layer {
        name: "worker::control",
        uses: &["config"],
        world: World::Open,
        why: "table, wheel, clock, conduit and control know neither session nor each other",
    },
    Layer {
        name: "worker::conduit",
        uses: &["worker::pipes", "sys"],
        world: World::Open,
        why: "table, wheel, clock, conduit and control know neither session nor each other",
    },
    Layer {
        name: "worker::pipes",
        uses: &["sys"],
        world: World::Open,
        why: "a stock of pipes knows nothing of what flows through them",
    },
    Layer {
        name: "worker::table",
        uses: &[],
        world: World::Open,
        why: "table, wheel, clock, conduit and control know neither session nor each other",
    },
    Layer {
        name: "worker::clock",
        uses: &[],
        world: World::Open,
        why: "table, wheel, clock, conduit and control know neither session nor each other",
    },
    Layer {
        name: "worker::wheel",
        uses: &[],
        world: World::Open,
        why: "table, wheel, clock, conduit and control know neither session nor each other",
    },
    Layer {
        name: "access_log",
        uses: &["session", "config"],
        world: World::Open,
        why: "a line is written from what a closed session tells",
    },
    Layer {
        name: "metrics",
        uses: &["session"],
        world: World::Open,
        why: "counters are indexed by the session's close reasons and know nothing else",
    },
    Layer {
        name: "upstream",
        uses: &["early", "config"],
        world: World::Open,
        why: "choosing an endpoint needs the configuration and nothing that runs",
    },
    Layer {
        name: "early",
        uses: &[],
        world: World::Open,
        why: "what is tried before its event is not its business, only whether that pays",
    },
    Layer {
        name: "log",
        uses: &["config"],
        world: World::Open,
        why: "everyone may log, so the log knows nobody",
    },
    Layer {
        name: "config",
        uses: &["trust"],
        world: World::Open,
        why: "a configuration is a value: it knows nothing that runs",
    },
    Layer {
        name: "trust",
        uses: &[],
        world: World::Open,
        why: "trust is a set of networks: it knows nothing that runs",
    },
    Layer {
        name: "session",
        uses: &[],
        world: World::Pure,
        why: "the session is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "sys",
        uses: &[],
        world: World::Open,
        why: "sys wraps system calls and knows nothing of ours",
    },
];

/// The modules that have layers of their own below them.
pub(super) const SPLIT: &str = "worker";

/// Parts of std that do something rather than name something.
pub(super) const IMPURE_STD: [&[&str]; 11] = [
    &["env"],
    &["fs"],
    &["io"],
    &["net"],
    &["os"],
    &["process"],
    &["thread"],
    &["time", "Instant", "now"],
    &["time", "Instant", "elapsed"],
    &["time", "SystemTime"],
    &["time", "UNIX_EPOCH"],
];

/// Parts of `std::net` that only name something.
pub(super) const PURE_NET: [&str; 8] = [
    "AddrParseError",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "Ipv6MulticastScope",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

/// What the tests of a pure module need all the same: a first `Instant` to count from (std has no
/// other way to make one) and a seed from the environment.
pub(super) const PURE_TESTS_MAY: [&[&str]; 2] = [&["env"], &["time", "Instant", "now"]];

pub(super) const STD: [&str; 3] = ["std", "core", "alloc"];

/// The crates ppcore may name and depend on.
pub(super) const CORE_CRATES: [&str; 2] = ["crc", "thiserror"];
