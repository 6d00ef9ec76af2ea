//! `[upstream.NAME]`, its endpoints, `passive`, `proxy_protocol` and `tlv_set`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use ppcore::tlv;
use toml::Spanned;
use toml::de::DeValue;

use super::{DNS, TLV_TYPES, is_name, missing, not_empty};
use crate::config::address;
use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::{At, Section, Written, element_number, element_text, unread};
use crate::config::units::{format_duration, parse_bytes};
use crate::config::validate::{EntryDraft, HealthDraft, UpstreamDraft, most_sent};
use crate::config::{
    CheckPolicy, Datagrams, Dns, EXCHANGE_BYTES_MAX, Endpoint, Entry, EntrySend, Exchange, Passive,
    Sending, Source, TlvPass, TlvSet, TlvSource, TlvValue, Version, WEIGHT_MAX, defaults, keys,
};

/// One less than the most attempts of a connection.
const RETRIES: RangeInclusive<usize> = 0..=15;
const WEIGHT: RangeInclusive<usize> = 0..=WEIGHT_MAX as usize;
/// As many as a process may have.
const CONNECTIONS: RangeInclusive<usize> = 0..=262_144;
const FAILURES: RangeInclusive<usize> = 0..=1_000;
/// Who tries again sooner tries all the time.
const EJECT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);
const CHECKS: RangeInclusive<usize> = 1..=1_000;
/// Who checks more often measures the network.
const CHECK_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);
const CHECK_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);
const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
const ENDPOINTS_EXAMPLE: &str = "endpoints = [\"127.0.0.1:8080\"]";
/// What a header has room for behind the addresses of IPv6 and a checksum (spec 2.2).
const TLV_SET_BYTES_MAX: usize = 65_535 - 36 - 7;
/// A name of DNS (RFC 1035 2.3.4), as text.
const SNI_BYTES_MAX: usize = 253;
/// RFC 7301 3.1.
const ALPN_BYTES_MAX: usize = 255;
const SOURCE_EXAMPLE: &str = "source = \"client\" or source = \"10.0.0.5\"";
const TLV_SET_EXAMPLE: &str = "tlv_set = [{ type = 0xE1, value = \"edge-1\" }]";
const TLV_PASS_EXAMPLE: &str = "tlv_pass = \"all\" or tlv_pass = [0xEA, 0xEE]";

pub(super) fn upstream(
    name: &At<&str>,
    value: &Spanned<DeValue<'_>>,
    faults: &mut Diagnostics,
) -> UpstreamDraft {
    let name = At::new(name.value.to_owned(), name.place.clone());
    is_name(&name, faults);
    let section = Section::open(&keys::UPSTREAM, value, faults);
    let endpoints = endpoints(section, faults);
    let send = section.section("proxy_protocol", &keys::SEND, faults);
    let passed = passed(send, faults);
    let health = section.section("health", &keys::HEALTH, faults);
    let retries = section.number("retries", RETRIES, defaults::RETRIES, faults);
    let passive = section.section("passive", &keys::PASSIVE, faults);
    UpstreamDraft {
        name,
        balance: section.choice("balance", defaults::BALANCE, faults),
        passive: passive.written(self::passive(passive, faults)),
        retries: At::new(retries, section.get("retries").map(Spanned::span)),
        source: source(section, faults),
        dns: dns(section.section("dns", &keys::DNS, faults), faults),
        send: send.written(self::send(send, &passed, &endpoints, faults)),
        passed,
        health: health.written(self::health(health, faults)),
        endpoints,
    }
}

fn endpoints(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<EntryDraft> {
    if section.is_lacking("endpoints") {
        missing(section, "endpoints", ENDPOINTS_EXAMPLE, faults);
    }
    let list = section.list("endpoints", ENDPOINTS_EXAMPLE, faults);
    let Some(list) = list else { return Vec::new() };
    not_empty(section, "endpoints", list, ENDPOINTS_EXAMPLE, faults);
    list.iter().filter_map(|value| entry(value, faults)).collect()
}

/// An address of this host, or the client's; nothing leaves it to the kernel.
fn source(section: Section<'_, '_>, faults: &mut Diagnostics) -> At<Source> {
    let place = section.get("source").map(Spanned::span);
    let text = section.text("source", SOURCE_EXAMPLE, faults);
    let found = text.and_then(|text| address::source(text, faults));
    At::new(found.unwrap_or(defaults::SOURCE), place)
}

/// An address, or a table with one and what else is said of it.
fn entry(value: &Spanned<DeValue<'_>>, faults: &mut Diagnostics) -> Option<EntryDraft> {
    if !value.get_ref().is_table() {
        let text = element_text(value, "endpoints", ENDPOINTS_EXAMPLE, faults)?;
        return Some(EntryDraft::plain(address::endpoint(text, faults)?));
    }
    let section = Section::open(&keys::ENDPOINT, value, faults);
    let found = origin(section, faults);
    let weight = number(section, "weight", WEIGHT, defaults::WEIGHT, faults);
    let backup = section.toggle("backup", defaults::BACKUP, faults);
    let most = defaults::ENDPOINT_CONNECTIONS_MAX;
    let connections_max = number(section, "max_connections", CONNECTIONS, most, faults);
    let own = section.choice::<Option<Version>>("send", defaults::SEND, faults);
    let send = if section.has("send") { EntrySend::Own(own) } else { EntrySend::Inherited };
    let At { value: endpoint, place } = found?;
    let entry = Entry { endpoint, weight, backup, connections_max, send };
    Some(EntryDraft { entry: section.written(entry), place })
}

/// What an entry stands for.
fn origin(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<At<Endpoint>> {
    let address = section.text("address", keys::ENDPOINT.example, faults);
    let srv = section.text("srv", "srv = \"_pp._tcp.web.internal\"", faults);
    let file = section.text("file", "file = \"/etc/pp/web.txt\"", faults);
    let written = ["address", "srv", "file"].into_iter().filter(|key| section.has(key)).count();
    match (address, srv, file) {
        _ if written > 1 => {
            let help = "make an entry of each: { srv = \"...\" }, { file = \"...\" }";
            faults
                .add(Code::BadValue, section.span(), "an entry is one thing, and this is several")
                .with_help(help);
            None
        }
        (Some(text), ..) => address::endpoint(text, faults),
        (_, Some(name), _) => address::srv(name, faults),
        (.., Some(path)) => address::file(path, faults),
        (None, None, None) => {
            if written == 0 {
                missing(section, "address", keys::ENDPOINT.example, faults);
            }
            None
        }
    }
}

fn passive(section: Section<'_, '_>, faults: &mut Diagnostics) -> Passive {
    let default = Passive::default();
    let passive = Passive {
        failures: number(section, "failures", FAILURES, default.failures, faults),
        eject: section.duration("eject", EJECT, default.eject, faults),
        max: section.duration("max", EJECT, default.max, faults),
    };
    if passive.max < passive.eject {
        let key = if section.has("max") { "max" } else { "eject" };
        let (eject, max) = (format_duration(passive.eject), format_duration(passive.max));
        faults
            .add(
                Code::BadValue,
                section.get(key).map(Spanned::span),
                format!("`max` is {max}, and `eject` is longer: {eject}"),
            )
            .with_help(format!("for example max = \"{eject}\""));
    }
    passive
}

fn health(section: Section<'_, '_>, faults: &mut Diagnostics) -> HealthDraft {
    let HealthDraft { kind, policy, slow_start, on_down, .. } = HealthDraft::default();
    HealthDraft {
        kind: section.choice("check", kind, faults),
        exchange: Exchange {
            send: exchanged(section, "send", "send = \"PING\\r\\n\"", faults),
            expect: exchanged(section, "expect", "expect = \"+PONG\"", faults),
        },
        policy: CheckPolicy {
            exchange: None,
            proxy: section.choice("proxy", policy.proxy, faults),
            interval: section.duration("interval", CHECK_INTERVAL, policy.interval, faults),
            timeout: section.duration("timeout", CHECK_TIMEOUT, policy.timeout, faults),
            rise: number(section, "rise", CHECKS, policy.rise, faults),
            fall: number(section, "fall", CHECKS, policy.fall, faults),
        },
        slow_start: section.duration("slow_start", SLOW_START, slow_start, faults),
        on_down: section.choice("on_down", on_down, faults),
    }
}

/// What a check says, or hears.
fn exchanged(
    section: Section<'_, '_>,
    key: &str,
    example: &str,
    faults: &mut Diagnostics,
) -> Vec<u8> {
    let Some(text) = section.text(key, example, faults) else { return Vec::new() };
    let bytes = parse_bytes(text.value).unwrap_or_else(|misread| {
        unread(key, &text, misread, example, faults);
        Vec::new()
    });
    if bytes.len() > EXCHANGE_BYTES_MAX {
        faults
            .add(Code::BadValue, text.place, format!("`{key}` is too long"))
            .with_help(format!("{EXCHANGE_BYTES_MAX} bytes at most"));
    }
    bytes
}

/// A whole number that fits.
fn number(
    section: Section<'_, '_>,
    key: &str,
    range: RangeInclusive<usize>,
    default: u32,
    faults: &mut Diagnostics,
) -> u32 {
    let fallback = usize::try_from(default).unwrap_or(usize::MAX);
    u32::try_from(section.number(key, range, fallback, faults)).unwrap_or(default)
}

fn dns(section: Section<'_, '_>, faults: &mut Diagnostics) -> Written<Dns> {
    let default = Dns::default();
    let min = section.duration("min", DNS, default.min, faults);
    // Who gives one of them means the other to go with it.
    let max = section.duration("max", DNS, default.max.max(min), faults);
    let min = if section.has("min") { min } else { min.min(max) };
    if min > max {
        let message = format!("`max` is less than `min`, {}", format_duration(min));
        let help = format!("for example max = \"{}\"", format_duration(default.max.max(min)));
        faults.add(Code::BadValue, section.get("max").map(Spanned::span), message).with_help(help);
    }
    section.written(Dns { min, max })
}

fn send(
    section: Section<'_, '_>,
    passed: &[At<u8>],
    endpoints: &[EntryDraft],
    faults: &mut Diagnostics,
) -> Sending {
    let version = section.choice::<Option<Version>>("send", defaults::SEND, faults);
    let destination = section.choice("destination", defaults::DESTINATION, faults);
    let tlv_pass = tlv_pass(section, passed, faults).unwrap_or(defaults::TLV_PASS);
    let tlv_set = tlv_set(section, faults);
    let crc32c = section.toggle("crc32c", defaults::CRC32C_SENT, faults);
    let datagrams = section.choice::<Datagrams>("datagrams", defaults::DATAGRAMS, faults);
    let none = Sending::of(version);
    match most_sent(version, endpoints) {
        None => none,
        Some(Version::V1 | Version::Spp) => Sending { destination, ..none },
        Some(Version::V2) => Sending { version, destination, tlv_pass, tlv_set, crc32c, datagrams },
    }
}

/// The TLVs that are set, as far as they can be read.
fn tlv_set(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<TlvSet> {
    let list = section.list("tlv_set", TLV_SET_EXAMPLE, faults).unwrap_or_default();
    let set: Vec<_> = list.iter().filter_map(|value| tlv(value, faults)).collect();
    let lens = set.iter().map(|tlv| match &tlv.value {
        TlvValue::Bytes(bytes) => bytes.len(),
        TlvValue::From(TlvSource::Id) => tlv::UNIQUE_ID_LEN_MAX,
        TlvValue::From(TlvSource::Sni) => SNI_BYTES_MAX,
        TlvValue::From(TlvSource::Alpn) => ALPN_BYTES_MAX,
    });
    if lens.map(|len| tlv::TLV_HEADER_LEN + len).sum::<usize>() > TLV_SET_BYTES_MAX {
        let place = section.get("tlv_set").map(Spanned::span);
        faults
            .add(Code::BadValue, place, "`tlv_set` does not fit a header")
            .with_help(format!("{TLV_SET_BYTES_MAX} bytes at most, with 3 in front of each value"));
    }
    set
}

/// `None` after a fault.
fn tlv(value: &Spanned<DeValue<'_>>, faults: &mut Diagnostics) -> Option<TlvSet> {
    let section = Section::open(&keys::TLV_SET, value, faults);
    let example = keys::TLV_SET.example;
    if section.is_lacking("type") {
        missing(section, "type", example, faults);
    }
    if section.is_lacking("value") && section.is_lacking("from") {
        missing(section, "value", example, faults);
    }
    if let (Some(_), Some(from)) = (section.get("value"), section.get("from")) {
        faults
            .add(Code::BadValue, from.span(), "`value` and `from` both say what the TLV holds")
            .with_help("remove one of them");
    }
    let kind = section.get("type").and_then(|value| kind(value, faults));
    let source = section.choice("from", TlvSource::Id, faults);
    if let (Some(tlv::UNIQUE_ID), TlvSource::Sni | TlvSource::Alpn) = (kind, source) {
        faults
            .add(Code::BadValue, section.get("from").map(Spanned::span), "this is no unique id")
            .with_help("type = 0x02 is meant for sni, 0x01 for alpn");
    }
    let value = match section.text("value", "value = \"edge-1\" or value = \"hex:0a0b\"", faults) {
        Some(text) => TlvValue::Bytes(bytes(&text, kind, faults)?),
        None => section.get("from").map(|_| TlvValue::From(source))?,
    };
    Some(TlvSet { kind: kind?, value })
}

/// A type that may be set: of the others a value says nothing, or what nobody has seen.
fn kind(value: &Spanned<DeValue<'_>>, faults: &mut Diagnostics) -> Option<u8> {
    let kind = element_number(value, "type", &TLV_TYPES, "type = 0xE1", faults)?;
    let kind = u8::try_from(kind).ok()?;
    let (message, help) = match kind {
        tlv::CRC32C => ("a checksum is computed, not set", "crc32c = true sends one"),
        tlv::NOOP => ("a NOOP is skipped by who receives it", "remove it"),
        tlv::SSL..=tlv::SSL_CLIENT_CERT => {
            ("this says that TLS ended here, which it does not", "remove it; 0xE0 to 0xEF are free")
        }
        _ => return Some(kind),
    };
    faults.add(Code::BadValue, value.span(), message).with_help(help);
    None
}

/// The value of a TLV of this type, as far as that is known.
fn bytes(text: &At<&str>, kind: Option<u8>, faults: &mut Diagnostics) -> Option<Vec<u8>> {
    let bytes = match parse_bytes(text.value) {
        Ok(bytes) => bytes,
        Err(misread) => {
            unread("value", text, misread, "value = \"hex:0a0b\"", faults);
            return None;
        }
    };
    if kind == Some(tlv::UNIQUE_ID) && bytes.len() > tlv::UNIQUE_ID_LEN_MAX {
        let message = format!("a unique id has at most {} bytes", tlv::UNIQUE_ID_LEN_MAX);
        faults
            .add(Code::BadValue, text.place.clone(), message)
            .with_help("from = \"id\" sends the connection's");
        return None;
    }
    Some(bytes)
}

/// The entries of a list of types that can be read.
fn passed(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<At<u8>> {
    let is_word = section.get("tlv_pass").is_some_and(|value| value.get_ref().is_str());
    let list = if is_word { None } else { section.list("tlv_pass", TLV_PASS_EXAMPLE, faults) };
    let kind = |value| {
        let number = element_number(value, "tlv_pass", &TLV_TYPES, TLV_PASS_EXAMPLE, faults)?;
        Some(At::new(u8::try_from(number).ok()?, value.span()))
    };
    list.unwrap_or_default().iter().filter_map(kind).collect()
}

fn tlv_pass(
    section: Section<'_, '_>,
    passed: &[At<u8>],
    faults: &mut Diagnostics,
) -> Option<TlvPass> {
    let value = section.get("tlv_pass")?;
    if let Some(word) = value.get_ref().as_str() {
        if word == "all" {
            return Some(TlvPass::All);
        }
        faults
            .add(Code::BadValue, value.span(), format!("`tlv_pass` cannot be \"{word}\""))
            .with_help(format!("for example {TLV_PASS_EXAMPLE}"));
        return None;
    }
    Some(types_passed(passed))
}

/// The types that were written: ascending, each once, and without that of the checksum.
pub(in crate::config) fn types_passed(passed: &[At<u8>]) -> TlvPass {
    let types = passed.iter().map(|kind| kind.value).filter(|kind| *kind != tlv::CRC32C);
    let types: BTreeSet<_> = types.collect();
    TlvPass::Types(types.into_iter().collect())
}
