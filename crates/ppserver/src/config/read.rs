//! Sections to a draft: which keys there are, of what type, with which default and range.
//!
//! One function a table. Invariant: every key of the schema is read exactly here, and a value that
//! leaves here is within the range its field documents.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::{Code, Diagnostics};
use super::endpoint::EndpointError;
use super::parse::{self, At, Section, element_number, element_text};
use super::schema;
use super::validate::{self, Draft, ListenerDraft, UpstreamDraft};
use super::{
    Accept, AccessLog, CONFIG_VERSION, ChecksumPolicy, ChecksumSent, Config, Destination, Endpoint,
    HeaderPolicy, Host, Keepalive, LocalPolicy, Log, Output, Presence, Probes, SendHeader, Server,
    Splice, Tcp, Timeouts, TlvPass, Toggle, Untrusted, Version, Versions,
};
use crate::trust::{Networks, Shortest, Trust, TrustError, parse_network};

/// A loop a CPU is enough, and no machine this runs on has more.
const WORKERS: RangeInclusive<usize> = 1..=256;
/// What `auto` stops at too.
const CONNECTIONS: RangeInclusive<usize> = 1..=262_144;
/// Longer than anybody waits; keeps every deadline within what a clock can add.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=DURATION_MAX;
/// The kernel's own limits, tcp(7): MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT.
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);
const KEEPALIVE_COUNT: RangeInclusive<usize> = 1..=127;
const BACKLOG: RangeInclusive<usize> = 1..=65_535;
/// One page to what an unprivileged process may ask for, /proc/sys/fs/pipe-max-size.
const PIPE_BYTES: RangeInclusive<usize> = 4 << 10..=1 << 20;
const PIPES: RangeInclusive<usize> = 1..=65_536;
/// The fixed part of a v2 header alone, to the most its length field can say (spec 2.2).
const HEADER_BYTES: RangeInclusive<usize> = 16..=65_551;
/// The receiver's least patience (spec 2).
const HEADER_TIMEOUT_MIN: Duration = Duration::from_secs(3);
const RETRIES: RangeInclusive<usize> = 0..=255;
const TLV_TYPES: RangeInclusive<usize> = 0..=0xFF;
/// PP2_TYPE_CRC32C (spec 2.2.3).
const TLV_CRC32C: u8 = 0x03;
/// Long enough for a name, short enough for a label.
const NAME_BYTES_MAX: usize = 64;

/// Reads and checks the text of a file. An answer is of use only if no fault is an error.
pub(super) fn config(text: &str, host: Host, faults: &mut Diagnostics) -> Option<Config> {
    parse::document(text, faults, |top, faults| {
        // Of another version not even the keys are known.
        if !is_known_version(top, faults) {
            return None;
        }
        top.check_keys(faults);
        let draft = draft(top, faults);
        validate::config(draft, host, faults)
    })
}

fn is_known_version(top: Section<'_, '_>, faults: &mut Diagnostics) -> bool {
    let example = format!("config_version = {CONFIG_VERSION}");
    let Some(value) = top.get("config_version") else {
        faults
            .add(Code::MissingKey, 0..0, "`config_version` is missing")
            .with_help(format!("put `{example}` at the top"));
        return true;
    };
    let any = 0..=usize::MAX;
    match element_number(value, "config_version", &any, &example, faults) {
        Some(CONFIG_VERSION) => true,
        Some(_) => {
            let message = "this version of ppserver reads config_version 1 only";
            faults
                .add(Code::NotSupported, value.span(), message)
                .with_help("nothing else in the file was looked at");
            false
        }
        None => false,
    }
}

fn draft(top: Section<'_, '_>, faults: &mut Diagnostics) -> Draft {
    let server = top.section("server", &schema::SERVER, faults);
    let timeouts = top.section("timeouts", &schema::TIMEOUTS, faults);
    let timeouts = self::timeouts(timeouts, &Timeouts::default(), faults);
    let log = top.section("log", &schema::LOG, faults);
    let access_log = top.section("access_log", &schema::ACCESS_LOG, faults);
    let tcp = top.section("tcp", &schema::TCP, faults);
    let splice = top.section("splice", &schema::SPLICE, faults);
    let example = "a [[listener]] header, in double brackets";
    let listeners = top.list("listener", example, faults).unwrap_or_default();
    // Something else than a list has been reported as such.
    let is_none = top.get("listener").is_none_or(|value| value.get_ref().is_array());
    if listeners.is_empty() && is_none {
        faults
            .add(Code::MissingKey, 0..0, "there is no [[listener]], so nothing would be served")
            .with_help("add one with name, bind and upstream");
    }
    let upstreams = top.entries("upstream", faults);
    Draft {
        server: self::server(server, faults),
        max_connections_span: server.get("max_connections").map(Spanned::span),
        log: self::log(log, faults),
        access_log: self::access_log(access_log, faults),
        tcp: self::tcp(tcp, faults),
        splice: self::splice(splice, faults),
        listeners: listeners.iter().map(|value| listener(value, &timeouts, faults)).collect(),
        upstreams: upstreams
            .into_iter()
            .map(|(name, value)| upstream(&name, value, faults))
            .collect(),
    }
}

fn server(section: Section<'_, '_>, faults: &mut Diagnostics) -> Server {
    let default = Server::default();
    let grace = Duration::ZERO..=DURATION_MAX;
    Server {
        workers: section.count("workers", WORKERS, faults),
        max_connections: section.count("max_connections", CONNECTIONS, faults),
        shutdown_grace: section.duration("shutdown_grace", grace, default.shutdown_grace, faults),
    }
}

fn log(section: Section<'_, '_>, faults: &mut Diagnostics) -> Log {
    let default = Log::default();
    section.only_word("output", "stderr", &["syslog", "journald", "file:"], faults);
    Log {
        level: section.choice("level", default.level, &[], faults),
        format: section.choice("format", default.format, &[], faults),
    }
}

fn access_log(section: Section<'_, '_>, faults: &mut Diagnostics) -> AccessLog {
    let default = AccessLog::default();
    section.only_word("format", "json", &["logfmt"], faults);
    let probes = match section.toggle("log_probes", Toggle::Off, faults) {
        Toggle::Off => Probes::Counted,
        Toggle::On => Probes::Logged,
    };
    AccessLog {
        state: section.toggle("enabled", default.state, faults),
        output: access_output(section, faults).unwrap_or(default.output),
        probes,
    }
}

fn access_output(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<Output> {
    let text = section.text("output", "output = \"stdout\"", faults)?;
    match (text.value, text.value.strip_prefix("file:")) {
        ("stdout", _) => Some(Output::Stdout),
        ("stderr", _) => Some(Output::Stderr),
        (_, Some(path)) if !path.is_empty() && !path.contains('\0') => {
            Some(Output::File(PathBuf::from(path)))
        }
        (other, _) => {
            let message = format!("`output` cannot be \"{other}\"");
            faults
                .add(Code::BadValue, text.span, message)
                .with_help("one of \"stdout\", \"stderr\", \"file:PATH\"");
            None
        }
    }
}

fn tcp(section: Section<'_, '_>, faults: &mut Diagnostics) -> Tcp {
    let default = Tcp::default();
    let keepalive = section.section("keepalive", &schema::KEEPALIVE, faults);
    Tcp {
        nodelay: section.toggle("nodelay", default.nodelay, faults),
        keepalive: self::keepalive(keepalive, &default.keepalive, faults),
        defer_accept: section.toggle("defer_accept", default.defer_accept, faults),
        backlog: small(section, "backlog", BACKLOG, default.backlog, faults),
    }
}

fn keepalive(section: Section<'_, '_>, default: &Keepalive, faults: &mut Diagnostics) -> Keepalive {
    let mut seconds = |key: &str, default: Duration| {
        let duration = section.duration(key, KEEPALIVE, default, faults);
        if duration.subsec_nanos() != 0 {
            let span = section.get(key).map(Spanned::span);
            faults
                .add(Code::BadValue, span, format!("`{key}` is counted in whole seconds"))
                .with_help(format!("for example {key} = \"{}s\"", duration.as_secs().max(1)));
        }
        duration
    };
    Keepalive {
        idle: seconds("idle", default.idle),
        interval: seconds("interval", default.interval),
        count: small(section, "count", KEEPALIVE_COUNT, default.count, faults),
    }
}

/// A number whose range fits a `u32`.
fn small(
    section: Section<'_, '_>,
    key: &str,
    range: RangeInclusive<usize>,
    default: u32,
    faults: &mut Diagnostics,
) -> u32 {
    let wide = usize::try_from(default).expect("Linux has no 16-bit usize");
    let number = section.number(key, range, wide, faults);
    u32::try_from(number).expect("the range ends below 2^32")
}

fn splice(section: Section<'_, '_>, faults: &mut Diagnostics) -> Splice {
    let default = Splice::default();
    Splice {
        mode: section.choice("mode", default.mode, &[], faults),
        pipe_bytes: section.size("pipe_size", PIPE_BYTES, default.pipe_bytes, faults),
        max_pipes: section.count("max_pipes", PIPES, faults),
    }
}

fn timeouts(section: Section<'_, '_>, base: &Timeouts, faults: &mut Diagnostics) -> Timeouts {
    let timeouts = Timeouts {
        header: section.duration("header", TIMEOUT, base.header, faults),
        connect: section.duration("connect", TIMEOUT, base.connect, faults),
        idle: section.duration("idle", TIMEOUT, base.idle, faults),
        half_closed: section.duration("half_closed", TIMEOUT, base.half_closed, faults),
    };
    let header = section.get("header").filter(|_| timeouts.header < HEADER_TIMEOUT_MIN);
    if let Some(header) = header {
        let message = "a header deadline below 3s refuses peers whose first segment was lost";
        faults
            .add(Code::ShortHeaderTimeout, header.span(), message)
            .with_help("the protocol asks for at least 3 seconds (section 2): header = \"3s\"");
    }
    timeouts
}

fn listener(
    value: &Spanned<DeValue<'_>>,
    base: &Timeouts,
    faults: &mut Diagnostics,
) -> ListenerDraft {
    let section = Section::open(&schema::LISTENER, value, faults);
    section.only_word("protocol", "tcp", &["udp"], faults);
    let timeouts = section.section("timeouts", &schema::LISTENER_TIMEOUTS, faults);
    let accept = section.section("proxy_protocol", &schema::ACCEPT, faults);
    ListenerDraft {
        name: required(section, "name", "name = \"edge\"", faults)
            .filter(|name| is_name(name, faults)),
        bind: bind(section, faults),
        upstream: required(section, "upstream", "upstream = \"web\"", faults),
        accept: self::accept(accept, faults),
        trust_span: accept.get("trust").map(Spanned::span),
        timeouts: self::timeouts(timeouts, base, faults),
    }
}

/// A string that must be there.
fn required(
    section: Section<'_, '_>,
    key: &str,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<At<String>> {
    if section.is_lacking(key) {
        missing(section, key, example, faults);
    }
    let text = section.text(key, example, faults)?;
    Some(At::new(text.value.to_owned(), text.span))
}

fn missing(section: Section<'_, '_>, key: &str, example: &str, faults: &mut Diagnostics) {
    faults
        .add(Code::MissingKey, section.span(), format!("`{key}` is missing"))
        .with_help(format!("add {example}"));
}

/// Names go into logs and into `[upstream.NAME]`, so they need no quoting in either.
fn is_name(name: &At<String>, faults: &mut Diagnostics) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name =
        (1..=NAME_BYTES_MAX).contains(&name.value.len()) && name.value.bytes().all(is_plain);
    if !is_name {
        faults
            .add(Code::BadValue, name.span.clone(), "this cannot be a name")
            .with_help(format!("1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`"));
    }
    is_name
}

fn bind(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<At<SocketAddr>> {
    let example = "bind = [\"0.0.0.0:443\", \"[::]:443\"]";
    if section.is_lacking("bind") {
        missing(section, "bind", example, faults);
    }
    let Some(list) = section.list("bind", example, faults) else { return Vec::new() };
    not_empty(section, "bind", list, example, faults);
    list.iter()
        .filter_map(|value| {
            let text = element_text(value, "bind", example, faults)?;
            bind_addr(text, faults)
        })
        .collect()
}

fn bind_addr(text: At<&str>, faults: &mut Diagnostics) -> Option<At<SocketAddr>> {
    if let Some(kind) = ["unix:", "fd:"].into_iter().find(|kind| text.value.starts_with(kind)) {
        let message = format!("`{kind}` addresses are not supported by this version");
        faults.add(Code::NotSupported, text.span, message).with_help("for example \"0.0.0.0:443\"");
        return None;
    }
    let Ok(addr) = text.value.parse::<SocketAddr>() else {
        faults
            .add(Code::BadValue, text.span, "this is not an address with a port")
            .with_help("numbers, such as \"0.0.0.0:443\", \"127.0.0.1:8080\" or \"[::]:443\"");
        return None;
    };
    if addr.ip().to_canonical() != addr.ip() {
        let plain = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        faults
            .add(Code::BadValue, text.span, "an IPv6 listener takes no IPv4 connections")
            .with_help(format!("write the IPv4 address: \"{plain}\""));
        return None;
    }
    Some(At::new(addr, text.span))
}

fn not_empty(
    section: Section<'_, '_>,
    key: &str,
    list: &[Spanned<DeValue<'_>>],
    example: &str,
    faults: &mut Diagnostics,
) {
    if list.is_empty() {
        let span = section.get(key).map(Spanned::span);
        faults
            .add(Code::BadValue, span, format!("`{key}` is empty"))
            .with_help(format!("for example {example}"));
    }
}

/// `None` after a fault in `trust`.
fn accept(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<Accept> {
    let presence = section.choice::<Option<Presence>>("accept", None, &[], faults);
    let trust = trust(section, faults);
    let template = HeaderPolicy::new(Presence::Required, Trust::Any);
    let versions = versions(section, faults).unwrap_or(template.versions);
    let untrusted = section.choice::<Untrusted>("untrusted", template.untrusted, &[], faults);
    let local = section.choice::<LocalPolicy>("local", template.local, &[], faults);
    let header_bytes_max =
        section.size("header_max", HEADER_BYTES, template.header_bytes_max, faults);
    let crc32c = section.choice::<ChecksumPolicy>("crc32c", template.crc32c, &["require"], faults);
    let Some(presence) = presence else {
        let help = "add accept = \"require\" or \"optional\", or remove the key";
        no_effect(section, "accept", help, faults);
        return Some(Accept::Off);
    };
    if !section.has("trust") {
        let span = section.get("accept").map(Spanned::span);
        faults
            .add(Code::MissingKey, span, "`trust` is missing: who may set client addresses?")
            .with_help(
                "add trust = [\"10.0.0.0/8\"] with the networks of your load balancers; \
                 trust = \"any\" believes everybody who can connect",
            );
    }
    Some(Accept::Headers(HeaderPolicy {
        presence,
        versions,
        trust: trust?,
        untrusted,
        local,
        header_bytes_max,
        crc32c,
    }))
}

/// Warns about every key but the switch that turned them off; a switch with a fault did not.
fn no_effect(section: Section<'_, '_>, switch: &str, help: &str, faults: &mut Diagnostics) {
    let is_off = |value: &Spanned<DeValue<'_>>| value.get_ref().as_str() == Some("off");
    if !section.get(switch).is_none_or(is_off) {
        return;
    }
    for (key, span) in section.present().filter(|(key, _)| *key != switch) {
        let message = format!("`{key}` has no effect: `{switch}` is \"off\"");
        faults.add(Code::NoEffect, span, message).with_help(help);
    }
}

fn versions(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<Versions> {
    let example = "versions = [\"v1\", \"v2\"]";
    let list = section.list("versions", example, faults)?;
    not_empty(section, "versions", list, example, faults);
    let versions: Vec<_> = list
        .iter()
        .filter_map(|value| {
            let text = element_text(value, "versions", example, faults)?;
            parse::word::<Version>(&text, "versions", &["spp"], faults)
        })
        .collect();
    Versions::of(&versions)
}

/// `None` if it is absent or faulty.
fn trust(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<Trust> {
    let value = section.get("trust")?;
    let example = "trust = [\"10.0.0.0/8\"]";
    if let Some(word) = value.get_ref().as_str() {
        if word == "any" {
            return Some(Trust::Any);
        }
        faults
            .add(Code::BadValue, value.span(), format!("`trust` cannot be \"{word}\""))
            .with_help(format!("\"any\", or a list: {example}"));
        return None;
    }
    let list = section.list("trust", example, faults)?;
    if list.is_empty() {
        faults
            .add(Code::BadValue, value.span(), "`trust` is empty: nobody would be believed")
            .with_help(format!("for example {example}; to take no headers, accept = \"off\""));
    }
    let mut networks = Vec::new();
    for value in list {
        let Some(text) = element_text(value, "trust", example, faults) else { continue };
        match parse_network(text.value) {
            Ok(network) => {
                if network.addr() != network.network() {
                    let meant = Shortest(network.trunc());
                    let message = format!("`{network}` has bits set behind its prefix");
                    faults
                        .add(Code::HostBits, text.span, message)
                        .with_help(format!("it is taken for \"{meant}\""))
                        .with_suggestion(format!("\"{meant}\""));
                }
                networks.push(network);
            }
            Err(error @ (TrustError::Network(_) | TrustError::Empty)) => {
                faults
                    .add(Code::BadValue, text.span, error.to_string())
                    .with_help("`trust` takes networks and addresses, numbers only");
            }
        }
    }
    Networks::new(networks).ok().map(Trust::Networks)
}

fn upstream(
    name: &At<&str>,
    value: &Spanned<DeValue<'_>>,
    faults: &mut Diagnostics,
) -> UpstreamDraft {
    let name = At::new(name.value.to_owned(), name.span.clone());
    is_name(&name, faults);
    let section = Section::open(&schema::UPSTREAM, value, faults);
    let later = ["least_conn", "random2", "source_hash", "first"];
    section.only_word("balance", "round_robin", &later, faults);
    let send = section.section("proxy_protocol", &schema::SEND, faults);
    let retries = section.number("retries", RETRIES, 1, faults);
    UpstreamDraft {
        name,
        endpoints: endpoints(section, faults),
        retries: At::new(retries, section.get("retries").map(Spanned::span)),
        send: self::send(send, faults),
        tlv_pass_span: send.get("tlv_pass").map(Spanned::span),
    }
}

fn endpoints(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<At<Endpoint>> {
    let example = "endpoints = [\"127.0.0.1:8080\"]";
    if section.is_lacking("endpoints") {
        missing(section, "endpoints", example, faults);
    }
    let Some(list) = section.list("endpoints", example, faults) else { return Vec::new() };
    not_empty(section, "endpoints", list, example, faults);
    list.iter().filter_map(|value| endpoint(value, example, faults)).collect()
}

fn endpoint(
    value: &Spanned<DeValue<'_>>,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<At<Endpoint>> {
    if value.get_ref().is_table() {
        let message = "endpoints with options are not supported by this version";
        faults.add(Code::NotSupported, value.span(), message).with_help("write \"host:port\"");
        return None;
    }
    let text = element_text(value, "endpoints", example, faults)?;
    match text.value.parse() {
        Ok(endpoint) => Some(At::new(endpoint, text.span)),
        Err(error) => {
            let code = match error {
                EndpointError::UnixNotSupported => Code::NotSupported,
                EndpointError::PortMissing
                | EndpointError::Port
                | EndpointError::Brackets
                | EndpointError::Ipv4
                | EndpointError::Host => Code::BadValue,
            };
            faults
                .add(code, text.span, format!("not an endpoint: {error}"))
                .with_help("for example \"10.0.0.7:8080\", \"[fd00::7]:8080\" or \"web:8080\"");
            None
        }
    }
}

fn send(section: Section<'_, '_>, faults: &mut Diagnostics) -> SendHeader {
    let version = section.choice::<Option<Version>>("send", None, &["spp"], faults);
    let destination = section.choice("destination", Destination::Original, &[], faults);
    let tlv_pass = tlv_pass(section, faults).unwrap_or(TlvPass::Types(Vec::new()));
    let crc32c = match section.toggle("crc32c", Toggle::Off, faults) {
        Toggle::Off => ChecksumSent::WhenReceived,
        Toggle::On => ChecksumSent::Always,
    };
    match version {
        None => {
            let help = "add send = \"v1\" or \"v2\", or remove the key";
            no_effect(section, "send", help, faults);
            SendHeader::Off
        }
        Some(Version::V1) => {
            for key in ["tlv_pass", "crc32c"] {
                if let Some(span) = section.key_span(key) {
                    let message = format!("`{key}` has no effect: a v1 line carries no TLVs");
                    faults.add(Code::NoEffect, span, message).with_help("send = \"v2\" does");
                }
            }
            SendHeader::V1 { destination }
        }
        Some(Version::V2) => SendHeader::V2 { destination, tlv_pass, crc32c },
    }
}

fn tlv_pass(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<TlvPass> {
    let example = "tlv_pass = \"all\" or tlv_pass = [0xEA, 0xEE]";
    let value = section.get("tlv_pass")?;
    if let Some(word) = value.get_ref().as_str() {
        if word == "all" {
            return Some(TlvPass::All);
        }
        faults
            .add(Code::BadValue, value.span(), format!("`tlv_pass` cannot be \"{word}\""))
            .with_help(format!("for example {example}"));
        return None;
    }
    let mut types = Vec::new();
    for value in section.list("tlv_pass", example, faults)? {
        let number = element_number(value, "tlv_pass", &TLV_TYPES, example, faults);
        let Some(number) = number.and_then(|number| u8::try_from(number).ok()) else { continue };
        if number == TLV_CRC32C {
            faults
                .add(Code::NoEffect, value.span(), "a CRC32C TLV is computed anew, never copied")
                .with_help("remove it; crc32c = true sends one even if none came in");
        } else {
            types.push(number);
        }
    }
    types.sort_unstable();
    types.dedup();
    Some(TlvPass::Types(types))
}
