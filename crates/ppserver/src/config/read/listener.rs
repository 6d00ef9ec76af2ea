//! `[[listener]]`, `[listener.proxy_protocol]`, `[listener.timeouts]` and `[listener.limits]`; its routes stand beside this.

use std::fmt::Display;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use pptrust::parse_network;
use toml::Spanned;
use toml::de::DeValue;

use super::{is_name, missing, not_empty, required, route, small};
use crate::config::address::{self, TRUST_ANY, TRUST_UNIX};
use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::{self, At, Section, element_text, is_on};
use crate::config::validate::ListenerDraft;
use crate::config::{
    Bind, ChecksumPolicy, Choice, Datagrams, DontFragment, HeaderMode, HeaderPolicy, Limits,
    LocalPolicy, PerClient, Presence, Protocol, Silent, Timeouts, Toggle, Udp, Untrusted,
    V1Families, Version, Versions,
};
use crate::config::{defaults, keys};
use pptrust::{Peers, Shortest};

/// The fixed part of a v2 header alone, to the most its length field can say (spec 2.2).
const HEADER_BYTES: RangeInclusive<usize> = 16..=65_551;
/// As many as a process may have; 0 is no limit.
const CONNECTIONS: RangeInclusive<usize> = 0..=262_144;
/// A flow is 200 bytes, and a socket.
const FLOWS: RangeInclusive<usize> = 1..=1_048_576;
/// More answers to one question are a stream; 0 is no limit.
const RESPONSES: RangeInclusive<usize> = 0..=65_535;
/// More than a machine takes; 0 is no limit.
const RATE: RangeInclusive<usize> = 0..=1_000_000;
/// One client for all of IPv6 is no client.
const IPV6_PREFIX: RangeInclusive<usize> = 1..=128;

/// Whoever owns the file may connect.
const UNIX_MODE: RangeInclusive<u32> = 0o600..=0o777;

pub(super) fn listener(
    value: &Spanned<DeValue<'_>>,
    base: &Timeouts,
    faults: &mut Diagnostics,
) -> ListenerDraft {
    let section = Section::open(&keys::LISTENER, value, faults);
    let protocol = section.choice::<Protocol>("protocol", defaults::PROTOCOL, faults);
    let timeouts = section.section("timeouts", &keys::LISTENER_TIMEOUTS, faults);
    let accept = section.section("proxy_protocol", &keys::ACCEPT, faults);
    let trusted = trusted(accept, faults);
    let limits = section.section("limits", &keys::LIMITS, faults);
    let per_client = limits.section("per_client", &keys::PER_CLIENT, faults);
    ListenerDraft {
        name: required(section, "name", "name = \"edge\"", faults)
            .filter(|name| is_name(name, faults)),
        bind: bind(section, faults),
        upstream: required(section, "upstream", "upstream = \"web\"", faults),
        unix_mode: unix_mode(section, faults),
        protocol: At::new(protocol, section.get("protocol").map(Spanned::span)),
        udp: section.written(udp(section, faults)),
        accept: accept.written(self::accept(accept, protocol, &trusted, faults)),
        trusted,
        timeouts: super::timeouts(timeouts, base, faults),
        limits: limits.written(self::limits(limits, faults)),
        per_client: per_client.written(self::per_client(per_client, faults)),
        routes: route::routes(section, faults),
    }
}

fn udp(section: Section<'_, '_>, faults: &mut Diagnostics) -> Udp {
    let default = Udp::default();
    let dont_fragment = default.dont_fragment;
    Udp {
        responses: small(section, "responses", RESPONSES, default.responses, faults),
        dont_fragment: section.choice::<DontFragment>("dont_fragment", dont_fragment, faults),
    }
}

fn limits(section: Section<'_, '_>, faults: &mut Diagnostics) -> Limits {
    let default = Limits::default();
    Limits {
        connections: small(section, "connections", CONNECTIONS, default.connections, faults),
        flows: small(section, "flows", FLOWS, default.flows, faults),
        rate: small(section, "rate", RATE, default.rate, faults),
        per_client: default.per_client,
    }
}

fn per_client(section: Section<'_, '_>, faults: &mut Diagnostics) -> PerClient {
    let default = PerClient::default();
    let prefix = section.number("ipv6_prefix", IPV6_PREFIX, default.ipv6_prefix.into(), faults);
    PerClient {
        connections: small(section, "connections", CONNECTIONS, default.connections, faults),
        rate: small(section, "rate", RATE, default.rate, faults),
        burst: small(section, "burst", RATE, default.burst, faults),
        ipv6_prefix: u8::try_from(prefix).expect("the range ends below 256"),
    }
}

fn bind(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<At<Bind>> {
    let example = "bind = [\"0.0.0.0:443\", \"[::]:443\"]";
    if section.is_lacking("bind") {
        missing(section, "bind", example, faults);
    }
    let Some(list) = section.list("bind", example, faults) else { return Vec::new() };
    not_empty(section, "bind", list, example, faults);
    list.iter()
        .filter_map(|value| {
            let text = element_text(value, "bind", example, faults)?;
            address::bind(text, faults)
        })
        .collect()
}

/// The mode of a file, in octal digits.
fn unix_mode(section: Section<'_, '_>, faults: &mut Diagnostics) -> At<u32> {
    let place = section.get("unix_mode").map(Spanned::span);
    let example = "unix_mode = \"0660\"";
    let Some(text) = section.text("unix_mode", example, faults) else {
        return At::new(defaults::UNIX_MODE, place);
    };
    let is_octal = text.value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text.value, 8).ok().filter(|_| is_octal);
    let mode = mode.filter(|mode| UNIX_MODE.contains(mode));
    if mode.is_none() {
        faults
            .add(Code::BadValue, text.place, format!("`unix_mode` cannot be \"{}\"", text.value))
            .with_help(format!("the mode of a file, from \"0600\" to \"0777\": {example}"));
    }
    At::new(mode.unwrap_or(defaults::UNIX_MODE), place)
}

/// `None` after a fault in `accept` or `trust`.
fn accept(
    section: Section<'_, '_>,
    protocol: Protocol,
    trusted: &[At<IpNet>],
    faults: &mut Diagnostics,
) -> Option<HeaderMode> {
    let presence = presence(section, faults);
    let trust = trust(section, trusted, faults);
    let template = HeaderPolicy::new(Presence::Required, Peers::Any);
    let versions = versions(section, protocol, faults).unwrap_or(match protocol {
        Protocol::Tcp => template.versions,
        Protocol::Udp => Versions::V2,
    });
    let v1_families = section.choice::<V1Families>("v1_families", template.v1_families, faults);
    let silent = section.choice::<Silent>("silent", template.silent, faults);
    let untrusted = section.choice::<Untrusted>("untrusted", template.untrusted, faults);
    let local = section.choice::<LocalPolicy>("local", template.local, faults);
    let header_bytes_max =
        section.size("header_max", HEADER_BYTES, template.header_bytes_max, faults);
    let crc32c = section.choice::<ChecksumPolicy>("crc32c", template.crc32c, faults);
    let datagrams = section.choice::<Datagrams>("datagrams", template.datagrams, faults);
    // What is meant by a word that cannot be read is not known.
    if section.get("accept").is_some_and(|value| faults.has_error_at(&value.span().into())) {
        return None;
    }
    let Some(presence) = presence else { return Some(HeaderMode::Off) };
    if !section.has("trust") {
        let span = section.get("accept").map(Spanned::span);
        faults
            .add(Code::MissingKey, span, "`trust` is missing: who may set client addresses?")
            .with_help(
                "add trust = [\"10.0.0.0/8\"] with the networks of your load balancers; \
                 trust = \"any\" believes everybody who can connect",
            );
    }
    Some(HeaderMode::Headers(HeaderPolicy {
        presence,
        versions,
        v1_families,
        silent,
        trust: trust?,
        trust_unix: trust_unix(section),
        untrusted,
        local,
        header_bytes_max,
        crc32c,
        datagrams,
    }))
}

/// Whether a header must come; what is written for that elsewhere, a version or a switch, is told apart.
fn presence(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<Presence> {
    let Some(value) = section.get("accept") else { return defaults::ACCEPT };
    let says = "`accept` says whether there must be a header";
    let (message, help) = if let Some(versions) = named_versions(value) {
        let versions: Vec<_> = versions.iter().map(|version| quoted(version.word())).collect();
        let versions = versions.join(", ");
        (
            format!("{says}, not of which version"),
            format!("accept = \"require\" and versions = [{versions}]"),
        )
    } else if is_on(value) {
        let help = "\"require\", or \"optional\" where a trusted peer may also do without";
        (says.to_owned(), help.to_owned())
    } else if value.get_ref().is_bool() {
        (says.to_owned(), "\"off\" takes no headers".to_owned())
    } else {
        return section.choice("accept", defaults::ACCEPT, faults);
    };
    faults.add(Code::BadValue, value.span(), message).with_help(help);
    defaults::ACCEPT
}

/// The versions, if they are named and nothing else is.
fn named_versions(value: &Spanned<DeValue<'_>>) -> Option<Vec<Version>> {
    let named: Vec<&str> = match value.get_ref().as_array() {
        Some(list) => list.iter().map(|word| word.get_ref().as_str()).collect::<Option<_>>()?,
        None => value.get_ref().as_str()?.split(',').map(str::trim).collect(),
    };
    let is_version = |word: &&str| Version::WORDS.iter().any(|(version, _)| version == word);
    let versions = Version::WORDS.iter().filter(|(version, _)| named.contains(version));
    let is_all = !named.is_empty() && named.iter().all(is_version);
    is_all.then(|| versions.map(|(_, version)| *version).collect())
}

fn quoted(text: impl Display) -> String {
    format!("\"{text}\"")
}

fn versions(
    section: Section<'_, '_>,
    protocol: Protocol,
    faults: &mut Diagnostics,
) -> Option<Versions> {
    let example = "versions = [\"v1\", \"v2\"]";
    let list = section.list("versions", example, faults)?;
    not_empty(section, "versions", list, example, faults);
    let versions: Vec<_> = list
        .iter()
        .filter_map(|value| {
            let text = element_text(value, "versions", example, faults)?;
            let version = parse::word::<Version>(&text, "versions", faults)?;
            let (message, help) = match (protocol, version) {
                (Protocol::Tcp, Version::Spp) => {
                    ("SPP is of datagrams", "protocol = \"udp\" takes them")
                }
                (Protocol::Udp, Version::V1) => {
                    ("v1 is of connections", "versions = [\"v2\"], or [\"spp\"]")
                }
                (Protocol::Tcp | Protocol::Udp, _) => return Some(version),
            };
            faults.add(Code::BadValue, text.place, message).with_help(help);
            None
        })
        .collect();
    let found = Versions::of(&versions);
    if found.is_none() && !versions.is_empty() {
        let span = section.get("versions").map(Spanned::span);
        faults
            .add(Code::BadValue, span, "nothing tells SPP from v2 but this key")
            .with_help("versions = [\"v2\"], or [\"spp\"]");
    }
    found
}

/// The entries of a list of networks that can be read.
fn trusted(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<At<IpNet>> {
    let is_word = section.get("trust").is_some_and(|value| value.get_ref().is_str());
    let example = "trust = [\"10.0.0.0/8\"]";
    let list = if is_word { None } else { section.list("trust", example, faults) };
    let network = |value| {
        let text = element_text(value, "trust", example, faults)?;
        if text.value == TRUST_UNIX { None } else { address::network(text, faults) }
    };
    list.unwrap_or_default().iter().filter_map(network).collect()
}

/// Whether UNIX peers are among those trusted.
fn trust_unix(section: Section<'_, '_>) -> Toggle {
    let value = section.get("trust").map(|value| value.get_ref());
    let is_unix = |entry: &Spanned<DeValue<'_>>| entry.get_ref().as_str() == Some(TRUST_UNIX);
    let is_listed = value.and_then(DeValue::as_array).is_some_and(|list| list.iter().any(is_unix));
    let is_any = value.and_then(DeValue::as_str) == Some(TRUST_ANY);
    if is_listed || is_any { Toggle::On } else { Toggle::Off }
}

/// `None` if it is absent or faulty.
fn trust(
    section: Section<'_, '_>,
    trusted: &[At<IpNet>],
    faults: &mut Diagnostics,
) -> Option<Peers> {
    let value = section.get("trust")?;
    let example = "trust = [\"10.0.0.0/8\"]";
    if let Some(word) = value.get_ref().as_str() {
        if word == TRUST_ANY {
            return Some(Peers::Any);
        }
        let networks: Result<Vec<_>, _> =
            word.split(',').map(|entry| parse_network(entry.trim())).collect();
        let (message, help) = match networks {
            Ok(networks) => {
                let list: Vec<_> =
                    networks.into_iter().map(|network| quoted(Shortest(network))).collect();
                let list = list.join(", ");
                ("`trust` is a list of networks".to_owned(), format!("trust = [{list}]"))
            }
            Err(_) => {
                let help = format!("\"any\", or a list: {example}");
                (format!("`trust` cannot be \"{word}\""), help)
            }
        };
        faults.add(Code::BadValue, value.span(), message).with_help(help);
        return None;
    }
    if value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        faults
            .add(Code::BadValue, value.span(), "`trust` is empty: nobody would be believed")
            .with_help(format!("for example {example}; to take no headers, accept = \"off\""));
    }
    address::peers(trusted, trust_unix(section))
}
