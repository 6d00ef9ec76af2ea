//! The slow oracle of typed TLV values, from docs/protocol.md alone: a value in words, or which rule
//! it breaks.

use ppcore::tlv::{Ssl, ValueError, View};

/// What a value says, or the name of the rule it breaks.
pub(crate) type Said = Result<String, &'static str>;

/// Reads a value as its type demands.
pub(crate) fn read(kind: u8, value: &[u8]) -> Said {
    match (kind, value) {
        (0x02, text) => String::from_utf8(text.to_vec()).map_err(|_| "text"),
        (0x03 | 0xE0, number) => big_endian(number, if kind == 0x03 { 4 } else { 8 }),
        (0x05, id) if id.len() > 128 => Err("length"),
        (0x20, ssl) => read_ssl(ssl),
        (0x30, name) => ascii(name, |_| true),
        (0xEA | 0xEE, []) => Err("length"),
        (0xEA, [1, id @ ..]) => {
            ascii(id, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-'))
        }
        (0xEE, [1, id @ ..]) => {
            let backwards: Vec<u8> = id.iter().rev().copied().collect();
            big_endian(&backwards, 4)
        }
        (_, bytes) => Ok(format!("{bytes:02x?}")),
    }
}

fn read_ssl(value: &[u8]) -> Said {
    let Some((fixed, mut rest)) = value.split_at_checked(5) else { return Err("length") };
    let mut inner = Vec::new();
    while !rest.is_empty() {
        let [kind, high, low, behind @ ..] = rest else { return Err("tlv_header_truncated") };
        let len = 256 * usize::from(*high) + usize::from(*low);
        if len > behind.len() {
            return Err("tlv_value_overrun");
        }
        inner.push((*kind, behind[..len].to_vec()));
        rest = &behind[len..];
    }
    if fixed[0] % 2 == 1 && !inner.iter().any(|(kind, _)| *kind == 0x21) {
        return Err("no_ssl_version");
    }
    let texts: Vec<_> = (0x21..=0x28).map(|kind| read_inner(kind, &inner)).collect();
    let verify = big_endian(&fixed[1..], 4)?;
    let is_verified = fixed[0] & 6 != 0 && verify == "0";
    Ok(format!("{} {verify} {is_verified} {inner:02x?} {texts:?}", fixed[0]))
}

/// The text of the first inner TLV of a type: a common name is UTF-8, the rest ASCII.
fn read_inner(kind: u8, inner: &[(u8, Vec<u8>)]) -> Option<Said> {
    let (_, value) = inner.iter().find(|(other, _)| *other == kind)?;
    Some(match kind {
        0x22 => String::from_utf8(value.clone()).map_err(|_| "text"),
        _ => ascii(value, |_| true),
    })
}

fn big_endian(bytes: &[u8], len: usize) -> Said {
    if bytes.len() != len {
        return Err("length");
    }
    Ok(bytes.iter().fold(0_u64, |number, byte| 256 * number + u64::from(*byte)).to_string())
}

fn ascii(bytes: &[u8], is_good: impl Fn(u8) -> bool) -> Said {
    let is_text = bytes.iter().all(|byte| *byte < 0x80 && is_good(*byte));
    if is_text { Ok(bytes.iter().copied().map(char::from).collect()) } else { Err("text") }
}

/// ppcore's answer in the same words.
pub(crate) fn words(view: Result<View<'_>, ValueError>) -> Said {
    let view = view.map_err(rule)?;
    Ok(match view {
        View::Authority(text) | View::Netns(text) | View::AwsVpcEndpoint(text) => text.to_owned(),
        View::Crc32c(number) | View::AzureLinkId(number) => number.to_string(),
        View::Gcp(number) => number.to_string(),
        View::Ssl(ssl) => ssl_words(&ssl),
        View::Alpn(bytes) | View::Noop(bytes) | View::UniqueId(bytes) | View::Other(bytes) => {
            format!("{bytes:02x?}")
        }
        other => panic!("a view without an oracle: {other:?}"),
    })
}

fn ssl_words(ssl: &Ssl<'_>) -> String {
    let inner: Vec<_> = ssl
        .tlvs()
        .map(|tlv| tlv.map(|tlv| (tlv.kind(), tlv.value().to_vec())).expect("it was well framed"))
        .collect();
    let text = |kind| ssl.text(kind).map(|text| text.map(str::to_owned)).map_err(rule).transpose();
    let texts: Vec<Option<Said>> = (0x21..=0x28).map(text).collect();
    format!("{} {} {} {inner:02x?} {texts:?}", ssl.client(), ssl.verify(), ssl.is_verified())
}

fn rule(error: ValueError) -> &'static str {
    match error {
        ValueError::Length => "length",
        ValueError::Text => "text",
        ValueError::NoSslVersion => "no_ssl_version",
        ValueError::Framing(kind) => kind.name(),
        other => panic!("a rule without an oracle: {other:?}"),
    }
}
