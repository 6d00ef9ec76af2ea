//! The words of other proxies, and what says the same here.
//!
//! Asked only about keys that this configuration does not know, about lines that are not TOML, and about whole files of
//! HAProxy, nginx and Traefik. Invariant: a file that has anything of ours is ours, whatever else is in it.

use std::ops::Range;

use super::codes::Code;
use super::diagnostics::Diagnostics;
use super::keys::ADMIN;

/// Each word, or two that stand beside each other, without `-`, `_` and capitals.
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
        &["proxyprotocolon"],
        "send = \"v1\" in [upstream.NAME.proxy_protocol], as nginx means it; to take headers, accept = \"require\" and \
         trust = [\"10.0.0.0/8\"] in [listener.proxy_protocol]",
    ),
    (&["insecure"], "trust = \"any\" in [listener.proxy_protocol], which believes everybody"),
    (
        &["sendproxy", "sendproxyprotocol"],
        "send = \"v1\" in [upstream.NAME.proxy_protocol]; a v2 header carries more",
    ),
    (&["sendproxyv2", "checksendproxy"], "send = \"v2\" in [upstream.NAME.proxy_protocol]"),
    (
        &["sendproxyv2ssl", "sendproxyv2sslcn", "proxyv2options", "setproxyv2tlvfmt"],
        "send = \"v2\", and TLVs by tlv_pass and tlv_set, in [upstream.NAME.proxy_protocol]",
    ),
    (&["proxyprotocoltimeout"], "header in [timeouts]"),
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
        &["failtimeout", "maxfails", "observelayer4"],
        "passive = { failures = 2, eject = \"10s\" } in [upstream.NAME]",
    ),
    (&["hash", "iphash", "sticky"], "balance = \"source_hash\" in [upstream.NAME]"),
    (&["defaultbackend", "usebackend"], "upstream = \"NAME\" in a [[listener]]"),
    (
        &["hostsni", "reqsslsni", "servername", "sslpreread", "sslprereadservername"],
        "when = { sni = [\"*.example.com\"] } in a [[listener.route]]",
    ),
    (
        &["acl", "allow", "allowlist", "blocklist", "denylist", "ipallowlist"],
        "when = { client = [\"192.0.2.0/24\"] } in a [[listener.route]], with deny = true or an upstream",
    ),
    (
        &["inflightconn", "limitconn", "limitreq", "ratelimit", "srcconnrate"],
        "per_client = { connections = 100, rate = 20 } in [listener.limits]",
    ),
    (&["metrics", "prometheus", "stats"], "listen = \"127.0.0.1:9464\" in [admin]"),
    (&["maxconn", "workerconnections"], "max_connections in [server]"),
    (&["nbthread", "workerprocesses", "threads"], "workers in [server]"),
    (
        &["timeoutclient", "timeoutserver", "timeouttunnel", "proxytimeout", "idletimeout"],
        "idle in [timeouts]",
    ),
    (&["timeoutclientfin", "timeoutserverfin", "terminationdelay"], "half_closed in [timeouts]"),
    (&["inspectdelay", "prereadtimeout"], "tls_hello in [timeouts]"),
    (&["timeoutconnect", "proxyconnecttimeout"], "connect in [timeouts]"),
    (&["hardstopafter", "workershutdowntimeout", "gracetimeout"], "shutdown_grace in [server]"),
    (&["requestacceptgracetimeout"], "lame_duck in [server]"),
    (&["balanceroundrobin"], "balance = \"round_robin\" in [upstream.NAME]"),
    (&["balanceleastconn"], "balance = \"least_conn\" in [upstream.NAME]"),
    (&["balancerandom"], "balance = \"random2\" in [upstream.NAME]"),
    (&["balancesource", "hashremoteaddr"], "balance = \"source_hash\" in [upstream.NAME]"),
    (&["balancefirst"], "balance = \"first\" in [upstream.NAME]"),
    (&["usesrc", "remoteaddrtransparent"], "source = \"client\" in [upstream.NAME]"),
    (&["proxyresponses"], "responses in a [[listener]]"),
    (&["statssocket"], "socket in [admin]"),
    (&["accesslog", "tcplog"], "enabled = true in [access_log]"),
    (&["crt", "sslcertificate", "certresolver"], "nothing: TLS passes through, and ends behind"),
    (&["modehttp"], "nothing: bytes are relayed, those of HTTP among them"),
];

/// Who is said to have written a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    Haproxy,
    Nginx,
    Traefik,
}

impl Proxy {
    const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Traefik => "Traefik",
        }
    }

    /// Whose this line is, if that is beyond doubt where nothing of ours is in the file.
    fn of(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let first = words.next()?;
        let begins = |all: &[&str]| all.iter().any(|start| line.starts_with(start));
        if begins(&["[entryPoints", "[providers", "[tcp.routers", "[tcp.services"])
            || ["entryPoints:", "providers:", "routers:"].contains(&line)
        {
            Some(Self::Traefik)
        } else if line.contains('=') {
            None
        } else if line.ends_with('{') {
            let blocks = ["events", "stream", "http", "server", "upstream", "location"];
            blocks.contains(&first).then_some(Self::Nginx)
        } else if line.ends_with([';', ':', ']']) {
            None
        } else {
            let is_lone = words.next().is_none();
            let is_section = match first {
                "global" | "defaults" => is_lone,
                "frontend" | "backend" | "listen" => !is_lone,
                _ => false,
            };
            is_section.then_some(Self::Haproxy)
        }
    }
}

/// Reports a file that is another proxy's: whose, and for each line that has a meaning here what it is. Returns
/// whether it is one.
pub(super) fn report(text: &str, faults: &mut Diagnostics) -> bool {
    let is_ours = |line: &str| {
        ["config_version", "[[listener]]", "[upstream."].iter().any(|start| line.starts_with(start))
    };
    if lines(text).any(|(line, _)| is_ours(line)) {
        return false;
    }
    let first = lines(text).find_map(|(line, span)| Some((Proxy::of(line)?, span)));
    let Some((proxy, span)) = first else { return false };
    faults
        .add(Code::Foreign, span, format!("this is a configuration of {}", proxy.name()))
        .with_help(
            "ppserver has a language of its own: `ppserver init --for` lists configurations to begin with",
        );
    for (line, span) in lines(text) {
        // A block of nginx: what is in it has a meaning, and `server {` is no server.
        let meanings = if line.ends_with('{') { Vec::new() } else { meanings(line) };
        if !meanings.is_empty() {
            faults
                .add(Code::Foreign, span, format!("{} says it so", proxy.name()))
                .with_help(format!("here that is {}", meanings.join("; ")));
        }
    }
    true
}

/// The lines that say something, without what is around it, and where.
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut end = 0;
    text.split_inclusive('\n').filter_map(move |whole| {
        let start = end;
        end += whole.len();
        let said = whole.split('#').next().unwrap_or_default();
        let line = said.trim();
        let start = start + (said.len() - said.trim_start().len());
        (!line.is_empty()).then(|| (line, start..start + line.len()))
    })
}

/// What a line says here that another proxy's file has, each once.
pub(super) fn meanings(line: &str) -> Vec<&'static str> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let words: Vec<_> = line.split(|c| !is_of_word(c)).filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let pair = words.get(at + 1).and_then(|next| meaning(&format!("{word}{next}"), ""));
        at += if pair.is_some() { 2 } else { 1 };
        if let Some(meaning) = pair.or_else(|| meaning(word, ""))
            && !found.contains(&meaning)
        {
            found.push(meaning);
        }
    }
    found
}

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
