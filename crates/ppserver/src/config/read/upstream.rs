//! `[upstream.NAME]` and `[upstream.NAME.proxy_protocol]`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ppcore::tlv;
use toml::Spanned;
use toml::de::DeValue;

use super::{TLV_TYPES, is_name, missing, not_empty};
use crate::config::address;
use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::{At, Section, element_number, element_text};
use crate::config::validate::UpstreamDraft;
use crate::config::{Endpoint, Outgoing, TlvPass, Version};
use crate::config::{defaults, keys};

const RETRIES: RangeInclusive<usize> = 0..=255;
const TLV_PASS_EXAMPLE: &str = "tlv_pass = \"all\" or tlv_pass = [0xEA, 0xEE]";

pub(super) fn upstream(
    name: &At<&str>,
    value: &Spanned<DeValue<'_>>,
    faults: &mut Diagnostics,
) -> UpstreamDraft {
    let name = At::new(name.value.to_owned(), name.place.clone());
    is_name(&name, faults);
    let section = Section::open(&keys::UPSTREAM, value, faults);
    let later = ["least_conn", "random2", "source_hash", "first"];
    section.only_word("balance", defaults::BALANCE, &later, faults);
    let send = section.section("proxy_protocol", &keys::SEND, faults);
    let passed = passed(send, faults);
    let retries = section.number("retries", RETRIES, defaults::RETRIES, faults);
    UpstreamDraft {
        name,
        endpoints: endpoints(section, faults),
        retries: At::new(retries, section.get("retries").map(Spanned::span)),
        send: send.written(self::send(send, &passed, faults)),
        passed,
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
    address::endpoint(text, faults)
}

fn send(section: Section<'_, '_>, passed: &[At<u8>], faults: &mut Diagnostics) -> Outgoing {
    let version = section.choice::<Option<Version>>("send", defaults::SEND, &["spp"], faults);
    let destination = section.choice("destination", defaults::DESTINATION, &[], faults);
    let tlv_pass = tlv_pass(section, passed, faults).unwrap_or(defaults::TLV_PASS);
    let crc32c = section.toggle("crc32c", defaults::CRC32C_SENT, faults);
    match version {
        None => Outgoing::Off,
        Some(Version::V1) => Outgoing::V1 { destination },
        Some(Version::V2) => Outgoing::V2 { destination, tlv_pass, crc32c },
    }
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
