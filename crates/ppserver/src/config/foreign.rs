//! The words of other proxies, and what says the same here.
//!
//! Asked only about keys that this configuration does not know, and about lines that are not TOML.

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
    (&["defaultbackend", "usebackend"], "upstream = \"NAME\" in a [[listener]]"),
    (&["maxconn", "workerconnections"], "max_connections in [server]"),
    (&["nbthread", "workerprocesses", "threads"], "workers in [server]"),
    (&["timeoutclient", "timeoutserver", "proxytimeout"], "idle in [timeouts]"),
    (&["timeoutconnect", "proxyconnecttimeout"], "connect in [timeouts]"),
    (&["hardstopafter", "workershutdowntimeout"], "shutdown_grace in [server]"),
];

/// What says here what `word` says elsewhere.
pub(super) fn meaning(word: &str) -> Option<&'static str> {
    let plain: String = word.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let plain = plain.to_lowercase();
    let found = WORDS.iter().find(|(words, _)| words.contains(&plain.as_str()));
    found.map(|(_, meaning)| *meaning)
}
