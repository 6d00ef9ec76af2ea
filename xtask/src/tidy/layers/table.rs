//! The layers of ppserver and the borders of ppcore, as constants.
//!
//! A new module, or a new edge between two, is a design change: it is a line here and a line in
//! docs/architecture.md.

use super::control::CONTROL;

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
    Async,
    /// Any but an async runtime.
    Open,
    /// Crates that are pure themselves and the types of std: no socket, file, thread or clock.
    Pure,
}

/// A module that decides.
const fn pure(name: &'static str, uses: &'static [&'static str]) -> Layer {
    let why =
        "what decides is pure: it knows pure crates and std types only, time and outcomes go in";
    Layer { name, uses, world: World::Pure, why }
}

/// All of them, from the top down; a module uses only what stands further down.
pub(super) fn layers() -> impl Iterator<Item = &'static Layer> {
    [ABOVE, CONTROL, BELOW].into_iter().flatten()
}

/// Above the control plane.
const ABOVE: &[Layer] = &[
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
        uses: &[
            "control::process",
            "control::prepare",
            "control::limits",
            "control::lookup",
            "control::supervise",
            "control::transparent",
            "control::error",
            "telemetry::hex",
            "telemetry::log",
            "config",
            "control::client",
            "core::addr",
        ],
        world: World::Open,
        why: "a subcommand says what is to be served and hands it to the server",
    },
];

/// Below the control plane.
const BELOW: &[Layer] = &[
    Layer {
        name: "data::conformance",
        uses: &[
            "data::worker",
            "data::leg",
            "data::source",
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
            "data::datagrams",
            "data::conduit",
            "data::orders",
            "data::pipes",
            "data::port",
            "data::rules",
            "data::source",
            "data::table",
            "telemetry::access_log",
            "telemetry::log",
            "core::accept_queue",
            "core::session",
            "core::udp",
            "core::close_reason",
            "core::connection_id",
            "config",
            "data::sys",
            "core::schedule",
            "data::leg",
            "telemetry::cells",
            "data::listing",
            "telemetry::refusals",
            "core::addr",
        ],
        world: World::Open,
        why: "the loop knows nothing of the control plane or the command line above it",
    },
    Layer {
        name: "data",
        uses: &["data::rules", "data::pipes", "data::hello", "data::datagrams"],
        world: World::Open,
        why: "a plane only declares its modules",
    },
    Layer {
        name: "data::datagrams",
        uses: &[
            "data::conn",
            "data::orders",
            "data::outcome",
            "data::rules",
            "data::source",
            "data::listing",
            "data::sys",
            "config",
            "core::addr",
            "core::close_reason",
            "core::connect_result",
            "core::connection_id",
            "core::intent",
            "core::limits",
            "core::pool",
            "core::schedule",
            "core::session",
            "core::udp",
            "telemetry::access_log",
            "telemetry::log",
            "telemetry::refusals",
            "telemetry::log_throttle",
        ],
        world: World::Open,
        why: "a port of datagrams joins the flows that core decides about with what the worker lends it",
    },
    Layer {
        name: "data::conn",
        uses: &[
            "data::orders",
            "data::conduit",
            "data::rules",
            "data::table",
            "telemetry::access_log",
            "telemetry::log",
            "telemetry::log_throttle",
            "telemetry::tlvs",
            "core::session",
            "core::close_reason",
            "core::connection_id",
            "config",
            "data::sys",
            "core::schedule",
            "data::source",
            "data::dial",
            "data::hello",
            "data::leg",
            "data::outcome",
            "core::intent",
            "core::limits",
            "telemetry::cells",
            "core::connect_result",
            "data::listing",
            "telemetry::refusals",
            "core::addr",
        ],
        world: World::Open,
        why: "a connection joins a session with what the worker lends it",
    },
    Layer {
        name: "data::port",
        uses: &["data::orders", "data::rules", "core::accept_queue", "data::sys", "core::addr"],
        world: World::Open,
        why: "accepting ends with a socket; whether it is let in is decided by the rules",
    },
    Layer {
        name: "data::rules",
        uses: &[
            "data::hello",
            "data::orders",
            "core::pool",
            "core::early",
            "core::session",
            "core::udp",
            "config",
            "data::sys",
            "core::intent",
            "core::limits",
            "core::route",
            "telemetry::cells",
            "data::listing",
            "telemetry::refusals",
            "core::addr",
        ],
        world: World::Open,
        why: "the terms of a listener are made of the configuration and hold no socket",
    },
    Layer {
        name: "data::orders",
        uses: &[
            "data::pipes",
            "telemetry::access_log",
            "config",
            "telemetry::cells",
            "data::listing",
            "core::connection_id",
            "core::limits",
            "core::pool",
            "core::addr",
        ],
        world: World::Open,
        why: "an order says what is to be followed, and knows nobody who does",
    },
    Layer {
        name: "data::listing",
        uses: &["core::connection_id", "core::addr"],
        world: World::Open,
        why: "what is shown of a connection is a value",
    },
    Layer {
        name: "data::hello",
        uses: &["core::route"],
        world: World::Open,
        why: "a ClientHello is read from bytes: it knows no socket and no session",
    },
    Layer {
        name: "data::dial",
        uses: &["data::conduit", "core::pool", "core::close_reason"],
        world: World::Open,
        why: "a dial knows who is next and what he is sent, and opens no socket",
    },
    Layer {
        name: "data::leg",
        uses: &["data::conduit", "data::source", "data::sys"],
        world: World::Open,
        why: "a leg is one socket: it knows neither the session nor the other one",
    },
    Layer {
        name: "data::outcome",
        uses: &["data::conduit", "core::connect_result", "core::session"],
        world: World::Open,
        why: "an answer of the system has one meaning, whoever asked",
    },
    Layer {
        name: "data::conduit",
        uses: &["data::buffers", "data::pipes", "data::sys"],
        world: World::Open,
        why: "table, clock and conduit know neither session nor each other",
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
        why: "table, clock and conduit know neither session nor each other",
    },
    Layer {
        name: "data::source",
        uses: &["data::table", "core::session"],
        world: World::Open,
        why: "a token says whose an event is, and nothing of what to do about it",
    },
    Layer {
        name: "data::table",
        uses: &[],
        world: World::Open,
        why: "table, clock and conduit know neither session nor each other",
    },
    Layer {
        name: "data::clock",
        uses: &["telemetry::cells"],
        world: World::Open,
        why: "table, clock and conduit know neither session nor each other",
    },
    Layer {
        name: "telemetry",
        uses: &[],
        world: World::Open,
        why: "a plane only declares its modules",
    },
    Layer {
        name: "telemetry::access_log",
        uses: &[
            "core::close_reason",
            "core::connection_id",
            "config",
            "core::intent",
            "telemetry::timestamp",
            "telemetry::tlvs",
            "core::addr",
        ],
        world: World::Open,
        why: "a line is written from what a closed session tells",
    },
    Layer {
        name: "telemetry::addrs",
        uses: &["core::addr"],
        world: World::Open,
        why: "how an address is written is the same in every answer",
    },
    Layer {
        name: "telemetry::refusals",
        uses: &["core::close_reason", "core::addr"],
        world: World::Open,
        why: "a note says who was refused and why, and knows nothing that runs",
    },
    Layer {
        name: "telemetry::log",
        uses: &["config", "telemetry::hex", "telemetry::summary", "telemetry::timestamp"],
        world: World::Open,
        why: "everyone may log, so the log knows nobody but the values that it writes",
    },
    Layer {
        name: "telemetry::summary",
        uses: &["core::close_reason", "telemetry::ledger"],
        world: World::Open,
        why: "what is written of the counters is what the ledger sums up",
    },
    Layer {
        name: "telemetry::exposition",
        uses: &[
            "telemetry::ledger",
            "telemetry::cells",
            "telemetry::build",
            "core::check_result",
            "core::close_reason",
            "core::connect_result",
            "core::pool",
            "core::resolution_result",
            "core::udp",
            "config",
        ],
        world: World::Open,
        why: "what scrapers read is what the ledger sums up",
    },
    Layer {
        name: "telemetry::ledger",
        uses: &[
            "telemetry::cells",
            "core::check_result",
            "core::close_reason",
            "core::connect_result",
            "core::pool",
            "core::resolution_result",
            "core::udp",
            "core::words",
            "config",
            "core::addr",
        ],
        world: World::Open,
        why: "cells are kept by name and summed up; what is followed is the control plane's",
    },
    Layer {
        name: "telemetry::cells",
        uses: &[
            "core::check_result",
            "core::close_reason",
            "core::connect_result",
            "core::resolution_result",
            "core::session",
            "core::udp",
        ],
        world: World::Open,
        why: "a cell is counted in by one worker, and knows nobody who reads it",
    },
    Layer {
        name: "telemetry::build",
        uses: &[],
        world: World::Open,
        why: "which program this is was settled when it was built",
    },
    Layer {
        name: "telemetry::log_throttle",
        uses: &[],
        world: World::Open,
        why: "who is named again is decided by the time alone",
    },
    Layer {
        name: "telemetry::timestamp",
        uses: &[],
        world: World::Open,
        why: "a moment is written alike wherever it is",
    },
    Layer {
        name: "telemetry::tlvs",
        uses: &["config", "telemetry::hex"],
        world: World::Open,
        why: "what a header says is told by its bytes alone",
    },
    Layer {
        name: "telemetry::hex",
        uses: &[],
        world: World::Open,
        why: "bytes are written alike wherever they are",
    },
    Layer {
        name: "config",
        uses: &["core::addr", "core::route"],
        world: World::Open,
        why: "a configuration is a value: it knows addresses, and nothing that runs",
    },
    pure("core", &["core::sim"]),
    pure(
        "core::sim",
        &[
            "core::session",
            "core::schedule",
            "core::timers",
            "core::close_reason",
            "core::accept_queue",
            "core::pool",
            "core::udp",
            "core::intent",
        ],
    ),
    pure("core::udp", &["core::session", "core::intent", "core::words"]),
    pure("core::session", &["core::close_reason"]),
    pure("core::schedule", &["core::timers"]),
    pure("core::timers", &[]),
    pure("core::intent", &[]),
    pure("core::limits", &[]),
    pure("core::route", &[]),
    pure("core::connection_id", &[]),
    pure("core::accept_queue", &[]),
    pure("core::pool", &["core::addr", "core::early"]),
    pure("core::resolution_result", &["core::words"]),
    pure("core::early", &[]),
    pure("core::check_result", &["core::words"]),
    pure("core::connect_result", &["core::words"]),
    pure("core::close_reason", &["core::words"]),
    pure("core::words", &[]),
    Layer {
        name: "data::sys",
        uses: &["core::addr"],
        world: World::Open,
        why: "sys wraps system calls and knows nothing of ours but addresses",
    },
    pure("core::addr", &[]),
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

/// Async runtimes, and what stands on them: for the control plane.
pub(super) const ASYNC_CRATES: [&str; 6] =
    ["axum", "hickory_resolver", "hyper", "hyper_util", "tokio", "tower_service"];

pub(super) const STD: [&str; 3] = ["std", "core", "alloc"];

/// Crates that only compute.
pub(super) const PURE_CRATES: [&str; 3] = ["ppcore", "pptrust", "siphasher"];

/// The crates ppcore may name and depend on.
pub(super) const CORE_CRATES: [&str; 2] = ["crc", "thiserror"];
