//! The words of other proxies, and what says the same here.
//!
//! Asked only about keys that this configuration does not know, and about lines that are not TOML.

use super::keys::ADMIN;

/// Each word without `-`, `_` and capitals.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["acceptproxy", "acceptproxyprotocol", "expectproxy", "proxyprotocol", "useproxyprotocol"],
        "accept = \"require\" and trust = [\"10.0.0.0/8\"] in [listener.proxy_protocol]",
    ),
    (
        &["realip", "setrealipfrom", "trustedips", "trustedproxies", "trustedcidrs"],
        "trust = [\"10.0.0.0/8\"] in [listener.proxy_protocol]",
    ),
    (
        &["sendproxy", "sendproxyprotocol"],
        "send = \"v1\" in [upstream.NAME.proxy_protocol]; a v2 header carries more",
    ),
    (&["sendproxyv2"], "send = \"v2\" in [upstream.NAME.proxy_protocol]"),
    (
        &[
            "backend",
            "backends",
            "loadbalancer",
            "proxypass",
            "server",
            "servers",
            "target",
            "targets",
        ],
        "endpoints = [\"10.0.0.7:8080\"] in [upstream.NAME]",
    ),
    (
        &["entrypoint", "entrypoints", "frontend", "frontends", "listen", "port"],
        "bind = [\"0.0.0.0:443\"] in a [[listener]]",
    ),
    (
        &["healthcheck", "healthchecks", "activehealthcheck", "tcpcheck"],
        "check = \"tcp\" in [upstream.NAME.health]",
    ),
    (
        &["failtimeout", "maxfails"],
        "passive = { failures = 2, eject = \"10s\" } in [upstream.NAME]",
    ),
    (&["hash", "iphash", "sticky"], "balance = \"source_hash\" in [upstream.NAME]"),
    (&["defaultbackend", "usebackend"], "upstream = \"NAME\" in a [[listener]]"),
    (
        &["hostsni", "reqsslsni", "servername", "sslprereadservername"],
        "when = { sni = [\"*.example.com\"] } in a [[listener.route]]",
    ),
    (
        &["acl", "allow", "allowlist", "blocklist", "denylist", "ipallowlist"],
        "when = { client = [\"192.0.2.0/24\"] } in a [[listener.route]], with deny = true or an upstream",
    ),
    (
        &["inflightconn", "limitconn", "limitreq", "ratelimit"],
        "per_client = { connections = 100, rate = 20 } in [listener.limits]",
    ),
    (&["metrics", "prometheus", "stats"], "listen = \"127.0.0.1:9464\" in [admin]"),
    (&["maxconn", "workerconnections"], "max_connections in [server]"),
    (&["nbthread", "workerprocesses", "threads"], "workers in [server]"),
    (&["timeoutclient", "timeoutserver", "proxytimeout"], "idle in [timeouts]"),
    (&["timeoutconnect", "proxyconnecttimeout"], "connect in [timeouts]"),
    (&["hardstopafter", "workershutdowntimeout"], "shutdown_grace in [server]"),
];

/// What says here what `word` says elsewhere, in the table of this path.
pub(super) fn meaning(word: &str, path: &str) -> Option<&'static str> {
    let plain: String = word.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let plain = plain.to_lowercase();
    if path == ADMIN.path && matches!(plain.as_str(), "addr" | "address" | "bind" | "port") {
        return Some("listen = \"127.0.0.1:9464\"");
    }
    let found = WORDS.iter().find(|(words, _)| words.contains(&plain.as_str()));
    found.map(|(_, meaning)| *meaning)
}
