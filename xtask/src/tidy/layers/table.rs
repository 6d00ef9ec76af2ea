//! The layers of ppserver and the borders of ppcore, as constants.
//!
//! A new module, or a new edge between two, is a design change: it is a line here and a line in
//! docs/architecture.md.

/// A module of ppserver and what it may know.
pub(super) struct Layer {
    /// `module`, or `plane::module` for the parts of a plane.
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

/// From the top down; a module uses only what stands further down.
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
        uses: &["control::server", "telemetry::log", "config", "trust"],
        world: World::Open,
        why: "a subcommand reads a configuration and hands it to the server",
    },
    Layer {
        name: "control",
        uses: &[],
        world: World::Open,
        why: "a plane only declares its modules",
    },
    Layer {
        name: "control::server",
        uses: &[
            "control::names",
            "control::watch",
            "data",
            "data::orders",
            "data::worker",
            "data::sys",
            "telemetry::access_log",
            "telemetry::log",
            "telemetry::metrics",
            "config",
            "trust",
        ],
        world: World::Open,
        why: "the server starts, feeds and stops workers; connections are theirs",
    },
    Layer {
        name: "control::watch",
        uses: &[],
        world: World::Open,
        why: "what to wait for is told to it; what to do about it is the server's",
    },
    Layer {
        name: "control::names",
        uses: &["config"],
        world: World::Open,
        why: "names become addresses off the data path, and know nothing that runs",
    },
    Layer {
        name: "data::conformance",
        uses: &[
            "data::worker",
            "data::conduit",
            "data::pipes",
            "core::sim",
            "core::session",
            "data::sys",
        ],
        world: World::Open,
        why: "a test: the simulator's kernel held against the real one, through the worker's own calls",
    },
    Layer {
        name: "data::worker",
        uses: &[
            "data::clock",
            "data::conn",
            "data::conduit",
            "data::orders",
            "data::pipes",
            "data::port",
            "data::rules",
            "data::source",
            "data::table",
            "telemetry::access_log",
            "telemetry::log",
            "telemetry::metrics",
            "core::accept_queue",
            "core::session",
            "core::close_reason",
            "config",
            "data::sys",
            "core::schedule",
        ],
        world: World::Open,
        why: "the loop knows nothing of the control plane or the command line above it",
    },
    Layer {
        name: "data::conn",
        uses: &[
            "data::conduit",
            "data::rules",
            "data::table",
            "telemetry::access_log",
            "telemetry::log",
            "telemetry::metrics",
            "core::session",
            "core::close_reason",
            "config",
            "data::sys",
            "core::schedule",
            "data::source",
        ],
        world: World::Open,
        why: "a connection joins a session with what the worker lends it",
    },
    Layer {
        name: "data::port",
        uses: &["core::accept_queue", "data::sys"],
        world: World::Open,
        why: "accepting ends with a socket; whether it is let in is decided by the rules",
    },
    Layer {
        name: "data",
        uses: &["data::rules", "data::pipes"],
        world: World::Open,
        why: "a plane only declares its modules",
    },
    Layer {
        name: "data::rules",
        uses: &[
            "data::orders",
            "core::pool",
            "core::early",
            "core::session",
            "config",
            "trust",
            "data::sys",
        ],
        world: World::Open,
        why: "the terms of a listener are made of the configuration and hold no socket",
    },
    Layer {
        name: "data::source",
        uses: &["data::table", "core::session"],
        world: World::Open,
        why: "a token says whose an event is, and nothing of what to do about it",
    },
    Layer {
        name: "data::orders",
        uses: &["config"],
        world: World::Open,
        why: "table, clock, conduit and orders know neither session nor each other",
    },
    Layer {
        name: "data::conduit",
        uses: &["data::buffers", "data::pipes", "data::sys"],
        world: World::Open,
        why: "table, clock, conduit and orders know neither session nor each other",
    },
    Layer {
        name: "data::pipes",
        uses: &["data::buffers", "data::sys"],
        world: World::Open,
        why: "a stock of pipes knows nothing of what flows through them",
    },
    Layer {
        name: "data::buffers",
        uses: &[],
        world: World::Open,
        why: "a stock of buffers knows nothing of what is in them",
    },
    Layer {
        name: "data::table",
        uses: &[],
        world: World::Open,
        why: "table, clock, conduit and orders know neither session nor each other",
    },
    Layer {
        name: "data::clock",
        uses: &[],
        world: World::Open,
        why: "table, clock, conduit and orders know neither session nor each other",
    },
    Layer {
        name: "telemetry",
        uses: &[],
        world: World::Open,
        why: "a plane only declares its modules",
    },
    Layer {
        name: "telemetry::access_log",
        uses: &["core::close_reason", "config"],
        world: World::Open,
        why: "a line is written from what a closed session tells",
    },
    Layer {
        name: "telemetry::metrics",
        uses: &["core::close_reason"],
        world: World::Open,
        why: "counters are indexed by the close reasons and know nothing else",
    },
    Layer {
        name: "telemetry::log",
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
        name: "core",
        uses: &["core::sim"],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::sim",
        uses: &[
            "core::session",
            "core::schedule",
            "core::timers",
            "core::close_reason",
            "core::accept_queue",
        ],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::session",
        uses: &["core::close_reason"],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::schedule",
        uses: &["core::timers"],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::timers",
        uses: &[],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::accept_queue",
        uses: &[],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::pool",
        uses: &["core::early"],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::early",
        uses: &[],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "core::close_reason",
        uses: &[],
        world: World::Pure,
        why: "what decides is pure: it knows ppcore and std types only, time and outcomes go in",
    },
    Layer {
        name: "data::sys",
        uses: &[],
        world: World::Open,
        why: "sys wraps system calls and knows nothing of ours",
    },
];

/// The modules that have layers of their own below them.
pub(super) const PLANES: [&str; 4] = ["control", "data", "telemetry", "core"];

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
