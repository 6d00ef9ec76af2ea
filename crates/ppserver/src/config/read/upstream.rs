//! `[upstream.NAME]` and `[upstream.NAME.proxy_protocol]`.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::{is_name, missing, no_effect, not_empty};
use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::{At, Section, element_number, element_text};
use crate::config::validate::UpstreamDraft;
use crate::config::{Endpoint, EndpointError, SendHeader, TlvPass, Version};
use crate::config::{defaults, keys};

const RETRIES: RangeInclusive<usize> = 0..=255;
const TLV_TYPES: RangeInclusive<usize> = 0..=0xFF;
/// PP2_TYPE_CRC32C (spec 2.2.3).
const TLV_CRC32C: u8 = 0x03;

pub(super) fn upstream(
    name: &At<&str>,
    value: &Spanned<DeValue<'_>>,
    faults: &mut Diagnostics,
) -> UpstreamDraft {
    let name = At::new(name.value.to_owned(), name.span.clone());
    is_name(&name, faults);
    let section = Section::open(&keys::UPSTREAM, value, faults);
    let later = ["least_conn", "random2", "source_hash", "first"];
    section.only_word("balance", defaults::BALANCE, &later, faults);
    let send = section.section("proxy_protocol", &keys::SEND, faults);
    let retries = section.number("retries", RETRIES, defaults::RETRIES, faults);
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
    let version = section.choice::<Option<Version>>("send", defaults::SEND, &["spp"], faults);
    let destination = section.choice("destination", defaults::DESTINATION, &[], faults);
    let tlv_pass = tlv_pass(section, faults).unwrap_or(defaults::TLV_PASS);
    let crc32c = section.toggle("crc32c", defaults::CRC32C_SENT, faults);
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
