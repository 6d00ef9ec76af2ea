//! The names of every table and key.
//!
//! Not the types of the keys, which `read` has, nor their defaults, which `defaults` has.
//! Invariant: a key that is read is listed here (`Section` asserts it), and docs/operations.md has
//! each.

/// The keys of one table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableKeys {
    /// How messages call the table, `listener.proxy_protocol`; empty for the top of the file.
    pub(super) path: &'static str,
    /// Its keys.
    pub(super) known: &'static [&'static str],
    /// What may stand in it.
    pub(super) example: &'static str,
}

pub(super) const TOP: TableKeys = TableKeys {
    path: "",
    known: &[
        "config_version",
        "server",
        "admin",
        "log",
        "access_log",
        "timeouts",
        "tcp",
        "splice",
        "listener",
        "upstream",
    ],
    example: "",
};

pub(super) const SERVER: TableKeys = TableKeys {
    path: "server",
    known: &["workers", "max_connections", "shutdown_grace", "lame_duck"],
    example: "workers = 4",
};

pub(super) const ADMIN: TableKeys = TableKeys {
    path: "admin",
    known: &["listen", "socket"],
    example: "socket = \"/run/ppserver/admin.sock\"",
};

pub(super) const LOG: TableKeys =
    TableKeys { path: "log", known: &["level", "format", "output"], example: "level = \"warn\"" };

pub(super) const ACCESS_LOG: TableKeys = TableKeys {
    path: "access_log",
    known: &["enabled", "output", "format", "log_probes", "tlvs"],
    example: "enabled = true",
};

pub(super) const TIMEOUTS: TableKeys = TableKeys {
    path: "timeouts",
    known: &["header", "tls_hello", "connect", "idle", "half_closed", "flow", "flow_unanswered"],
    example: "idle = \"10m\"",
};

pub(super) const TCP: TableKeys = TableKeys {
    path: "tcp",
    known: &["nodelay", "keepalive", "defer_accept", "backlog"],
    example: "backlog = 1024",
};

pub(super) const KEEPALIVE: TableKeys = TableKeys {
    path: "tcp.keepalive",
    known: &["idle", "interval", "count"],
    example: "idle = \"1m\"",
};

pub(super) const SPLICE: TableKeys = TableKeys {
    path: "splice",
    known: &["mode", "pipe_size", "max_pipes"],
    example: "mode = \"off\"",
};

pub(super) const LISTENER: TableKeys = TableKeys {
    path: "listener",
    known: &[
        "name",
        "bind",
        "protocol",
        "upstream",
        "unix_mode",
        "proxy_protocol",
        "timeouts",
        "limits",
        "route",
        "responses",
        "dont_fragment",
    ],
    example: "name, bind and upstream",
};

pub(super) const LISTENER_TIMEOUTS: TableKeys =
    TableKeys { path: "listener.timeouts", known: TIMEOUTS.known, example: "idle = \"10m\"" };

pub(super) const ACCEPT: TableKeys = TableKeys {
    path: "listener.proxy_protocol",
    known: &[
        "accept",
        "versions",
        "v1_families",
        "silent",
        "trust",
        "untrusted",
        "local",
        "header_max",
        "crc32c",
        "datagrams",
    ],
    example: "accept = \"require\" and trust = [\"10.0.0.0/8\"]",
};

pub(super) const LIMITS: TableKeys = TableKeys {
    path: "listener.limits",
    known: &["connections", "rate", "per_client", "flows"],
    example: "per_client = { connections = 100 }",
};

pub(super) const PER_CLIENT: TableKeys = TableKeys {
    path: "listener.limits.per_client",
    known: &["connections", "rate", "burst", "ipv6_prefix"],
    example: "connections = 100",
};

pub(super) const ROUTE: TableKeys = TableKeys {
    path: "listener.route",
    known: &["when", "upstream", "deny"],
    example: "when = { client = [\"192.0.2.0/24\"] } and upstream = \"web\"",
};

pub(super) const WHEN: TableKeys = TableKeys {
    path: "listener.route.when",
    known: &["client", "peer", "tlv", "sni", "alpn"],
    example: "client = [\"192.0.2.0/24\"]",
};

pub(super) const UPSTREAM: TableKeys = TableKeys {
    path: "upstream.NAME",
    known: &[
        "endpoints",
        "balance",
        "retries",
        "source",
        "passive",
        "dns",
        "proxy_protocol",
        "health",
    ],
    example: "endpoints = [\"127.0.0.1:8080\"]",
};

pub(super) const ENDPOINT: TableKeys = TableKeys {
    path: "upstream.NAME.endpoints",
    known: &["address", "srv", "file", "weight", "backup", "max_connections", "send"],
    example: "address = \"127.0.0.1:8080\"",
};

pub(super) const PASSIVE: TableKeys = TableKeys {
    path: "upstream.NAME.passive",
    known: &["failures", "eject", "max"],
    example: "failures = 2",
};

pub(super) const DNS: TableKeys = TableKeys {
    path: "upstream.NAME.dns",
    known: &["min", "max"],
    example: "min = \"5s\" and max = \"5m\"",
};

pub(super) const SEND: TableKeys = TableKeys {
    path: "upstream.NAME.proxy_protocol",
    known: &["send", "destination", "tlv_pass", "tlv_set", "crc32c", "datagrams"],
    example: "send = \"v2\"",
};

pub(super) const TLV_SET: TableKeys = TableKeys {
    path: "upstream.NAME.proxy_protocol.tlv_set",
    known: &["type", "value", "from"],
    example: "type = 0xE1, value = \"edge-1\"",
};

pub(super) const HEALTH: TableKeys = TableKeys {
    path: "upstream.NAME.health",
    known: &[
        "check",
        "send",
        "expect",
        "proxy",
        "interval",
        "timeout",
        "rise",
        "fall",
        "slow_start",
        "on_down",
    ],
    example: "check = \"tcp\"",
};

/// Every table.
pub(super) const TABLES: [&TableKeys; 23] = [
    &TOP,
    &SERVER,
    &ADMIN,
    &LOG,
    &ACCESS_LOG,
    &TIMEOUTS,
    &TCP,
    &KEEPALIVE,
    &SPLICE,
    &LISTENER,
    &LISTENER_TIMEOUTS,
    &ACCEPT,
    &LIMITS,
    &PER_CLIENT,
    &ROUTE,
    &WHEN,
    &UPSTREAM,
    &ENDPOINT,
    &PASSIVE,
    &DNS,
    &SEND,
    &TLV_SET,
    &HEALTH,
];

impl TableKeys {
    /// How a message calls the table.
    pub(super) fn title(&self) -> String {
        match self.path {
            "" => "the top of the file".to_owned(),
            "listener" | "listener.route" => format!("[[{}]]", self.path),
            path => format!("[{path}]"),
        }
    }
}

/// The table in which `key` has its place; one below `path`, if there is one.
pub(super) fn home_of(key: &str, path: &str) -> Option<&'static TableKeys> {
    let homes = TABLES.into_iter().filter(|table| table.known.contains(&key));
    homes.min_by_key(|table| !table.path.starts_with(path))
}
