//! `[[listener.route]]` and its `when`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use ppcore::tlv;
use pptrust::Networks;
use toml::Spanned;
use toml::de::DeValue;

use super::{TLV_TYPES, missing, not_empty, required};
use crate::config::codes::Code;
use crate::config::diagnostics::{Diagnostics, Quote};
use crate::config::parse::{At, Section, element_text, wrong_type};
use crate::config::validate::{RouteDraft, WayDraft};
use crate::config::{LoggedTlv, Toggle, address, keys};
use crate::core::route::{Name, Pattern, When};

/// They are tried one after the other.
const ROUTES_MAX: usize = 1_000;
const WHEN_EXAMPLE: &str = "when = { client = [\"192.0.2.0/24\"] }";
const TLV_EXAMPLE: &str = "tlv = { \"0xEA\" = \"vpce-0123*\" }";

pub(super) fn routes(listener: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<RouteDraft> {
    let example = "a [[listener.route]] header, in double brackets";
    let list = listener.list("route", example, faults).unwrap_or_default();
    if let Some(more) = list.get(ROUTES_MAX) {
        let message = format!("a listener has at most {ROUTES_MAX} routes");
        let help = "networks, names and patterns of one way can be lists of one route";
        faults.add(Code::BadValue, more.span(), message).with_help(help);
    }
    list.iter().take(ROUTES_MAX).map(|value| route(value, faults)).collect()
}

fn route(value: &Spanned<DeValue<'_>>, faults: &mut Diagnostics) -> RouteDraft {
    let section = Section::open(&keys::ROUTE, value, faults);
    // Left out by mistake it would hold for everybody.
    if section.is_lacking("when") {
        let help = format!("add {WHEN_EXAMPLE}, or when = {{}} if it is for everybody");
        let message = "`when` is missing: who takes this route?";
        faults.add(Code::MissingKey, section.span(), message).with_help(help);
    }
    let when = section.section("when", &keys::WHEN, faults);
    let client = networks(when, "client", faults);
    let peer = networks(when, "peer", faults);
    let tlvs = tlvs(when, faults);
    let sni = texts(when, "sni", "sni = [\"*.example.com\"]", sni, faults);
    let alpn = texts(when, "alpn", "alpn = [\"h2\"]", alpn, faults);
    let is_good = section.get("when").is_some_and(|it| !faults.has_error_at(&it.span().into()));
    let set = |networks: &Option<Vec<At<IpNet>>>| {
        let networks = networks.iter().flatten().map(|entry| entry.value);
        Networks::new(networks).ok()
    };
    let (client_set, peer_set) = (set(&client), set(&peer));
    let condition = When { client: client_set, peer: peer_set, tlvs, sni, alpn };
    RouteDraft {
        place: value.span().into(),
        when: when.written(is_good.then_some(condition)),
        networks: [client, peer].into_iter().flatten().flatten().collect(),
        way: way(section, faults),
    }
}

/// `None` after a fault.
fn way(section: Section<'_, '_>, faults: &mut Diagnostics) -> Option<WayDraft> {
    let deny = section.toggle("deny", Toggle::Off, faults);
    match (section.get("upstream"), deny) {
        (None, Toggle::On) => Some(WayDraft::Deny),
        (None, Toggle::Off) => {
            if section.has("deny") || section.is_lacking("upstream") {
                missing(section, "upstream", "upstream = \"web\", or deny = true", faults);
            }
            None
        }
        (Some(_), Toggle::Off) => {
            required(section, "upstream", "upstream = \"web\"", faults).map(WayDraft::To)
        }
        (Some(upstream), Toggle::On) => {
            let message = "a route leads to an upstream or is denied, not both";
            faults
                .add(Code::BadValue, upstream.span(), message)
                .with_help("remove `upstream`, or `deny`");
            None
        }
    }
}

/// The entries that can be read; `None` without the key.
fn networks(when: Section<'_, '_>, key: &str, faults: &mut Diagnostics) -> Option<Vec<At<IpNet>>> {
    let example = format!("{key} = [\"192.0.2.0/24\"]");
    let list = when.list(key, &example, faults)?;
    not_empty(when, key, list, &example, faults);
    let network = |value| {
        let text = element_text(value, key, &example, faults)?;
        address::network(text, faults)
    };
    Some(list.iter().filter_map(network).collect())
}

/// What can be read of a list of texts.
fn texts<T>(
    when: Section<'_, '_>,
    key: &str,
    example: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
    faults: &mut Diagnostics,
) -> Vec<T> {
    let Some(list) = when.list(key, example, faults) else { return Vec::new() };
    not_empty(when, key, list, example, faults);
    let mut text = |value| {
        let text = element_text(value, key, example, faults)?;
        let outcome = read(text.value);
        if let Err(why) = outcome {
            let help = format!("for example {example}");
            faults.add(Code::BadValue, text.place, why).with_help(help);
        }
        outcome.ok()
    };
    list.iter().filter_map(&mut text).collect()
}

/// A name of TLS, in lower case, or all below one.
fn sni(text: &str) -> Result<Name, &'static str> {
    let (host, is_below) = match text.strip_prefix("*.") {
        Some(apex) => (apex, true),
        None => (text, false),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.contains('*') {
        return Err("`*` stands for all names below one, in front of it");
    }
    if host.parse::<IpAddr>().is_ok() {
        return Err("TLS asks for names, never for addresses");
    }
    address::check_host(&host).map_err(|_| "this is not a host name")?;
    Ok(if is_below { Name::Below(host) } else { Name::Exact(host) })
}

fn alpn(text: &str) -> Result<String, &'static str> {
    // RFC 7301 3.1.
    let is_name = (1..=255).contains(&text.len());
    is_name.then(|| text.to_owned()).ok_or("a protocol has a name of 1 to 255 bytes")
}

fn tlvs(when: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<(u8, Vec<Pattern>)> {
    let mut tlvs: Vec<(u8, Vec<Pattern>)> = Vec::new();
    for (name, value) in when.entries("tlv", TLV_EXAMPLE, faults) {
        let Some(kind) = kind(&name, faults) else { continue };
        if tlvs.iter().any(|(other, _)| *other == kind) {
            let message = format!("the TLV 0x{kind:02X} is named twice");
            let help = "give its values as one list, of which one is enough";
            faults.add(Code::Duplicate, name.place, message).with_help(help);
            continue;
        }
        let values = match value.get_ref().as_array() {
            Some(list) => list.as_ref(),
            None => std::slice::from_ref(value),
        };
        if values.is_empty() {
            let message = format!("`{}` is empty", name.value);
            let help = format!("for example {TLV_EXAMPLE}; \"*\" is any value");
            faults.add(Code::BadValue, value.span(), message).with_help(help);
        }
        let patterns = values.iter().filter_map(|value| pattern(kind, value, faults)).collect();
        tlvs.push((kind, patterns));
    }
    tlvs
}

/// A number, as TOML has them, or a name.
fn kind(name: &At<&str>, faults: &mut Diagnostics) -> Option<u8> {
    let number = match name.value.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16),
        None => name.value.parse(),
    };
    match (number, LoggedTlv::of_name(name.value)) {
        (Ok(number), _) if TLV_TYPES.contains(&number) => return u8::try_from(number).ok(),
        (_, Some(LoggedTlv::Type(kind))) => return Some(kind),
        (_, Some(LoggedTlv::InSsl(_)) | None) => {}
    }
    let is_type = |name: &&str| matches!(LoggedTlv::of_name(name), Some(LoggedTlv::Type(_)));
    let names: Vec<_> = LoggedTlv::names().filter(is_type).collect();
    faults
        .add(Code::BadValue, name.place.clone(), format!("`{}` is no type of a TLV", name.value))
        .with_help(format!("there are {}, and the numbers 0x00 to 0xFF", names.join(", ")))
        .with_nearest(name.value, names, Quote::Bare);
    None
}

/// What an id of this kind may be where it is a number.
fn numbers(kind: u8) -> Option<RangeInclusive<u64>> {
    match kind {
        tlv::AZURE => Some(0..=u32::MAX.into()),
        tlv::GCP => Some(0..=u64::MAX),
        _ => None,
    }
}

fn pattern(kind: u8, value: &Spanned<DeValue<'_>>, faults: &mut Diagnostics) -> Option<Pattern> {
    let number =
        value.get_ref().as_integer().map(|it| u64::from_str_radix(it.as_str(), it.radix()));
    let text = value.get_ref().as_str();
    let (why, help) = match (number, text, numbers(kind)) {
        (_, Some("*"), _) => return Some(Pattern::Present),
        (_, Some(text), _) if text.starts_with("hex:") => match bytes(text) {
            Some(pattern) => return Some(pattern),
            None => {
                ("this is not hexadecimal", "for example \"hex:0a0b\", or \"hex:0a*\"".to_owned())
            }
        },
        (Some(number), _, Some(range)) => match number.ok().filter(|it| range.contains(it)) {
            Some(number) => return Some(Pattern::Number(number)),
            None => {
                ("this is out of range", format!("between {} and {}", range.start(), range.end()))
            }
        },
        (None, Some(text), Some(range)) => {
            match text.parse().ok().filter(|it| range.contains(it)) {
                Some(number) => return Some(Pattern::Number(number)),
                None => {
                    ("this id is a number", "a number, \"hex:...\", or \"*\" for any".to_owned())
                }
            }
        }
        (None, Some(text), None) => match self::text(text) {
            Some(pattern) => return Some(pattern),
            None => (
                "`*` stands alone or at the end, behind what the value begins with",
                "for example \"vpce-0123*\"; \"*\" is any value, and \"hex:\" tells bytes"
                    .to_owned(),
            ),
        },
        (Some(_), _, None) | (None, None, _) => {
            wrong_type(value, "a TLV is compared with a string", TLV_EXAMPLE, faults);
            return None;
        }
    };
    faults.add(Code::BadValue, value.span(), why).with_help(help);
    None
}

fn text(text: &str) -> Option<Pattern> {
    let (own, prefix) = (text.to_owned(), text.strip_suffix('*').map(str::to_owned));
    let pattern = prefix.clone().map_or(Pattern::Id(own), Pattern::IdPrefix);
    let is_literal = |text: &str| !text.is_empty() && !text.contains('*');
    is_literal(prefix.as_deref().unwrap_or(text)).then_some(pattern)
}

fn bytes(text: &str) -> Option<Pattern> {
    let digits = text.strip_prefix("hex:")?;
    let prefix = digits.strip_suffix('*');
    let digits = prefix.unwrap_or(digits);
    let is_whole =
        digits.len().is_multiple_of(2) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    let pairs = digits.as_bytes().chunks(2).filter(|_| is_whole);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = pairs.map(byte).collect::<Option<_>>()?;
    match prefix {
        _ if !is_whole => None,
        Some(_) if bytes.is_empty() => Some(Pattern::Present),
        Some(_) => Some(Pattern::BytesPrefix(bytes)),
        None => Some(Pattern::Bytes(bytes)),
    }
}
