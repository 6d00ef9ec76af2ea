//! Conditions of routes, made of choices, and a reading of them that is slow and obvious.

use arbitrary::{Result, Unstructured};
use ppcore::tlv::Tlvs;
use ppserver::core::route::{Hello, Known, Name, Pattern, When};

/// Few of each, so that they meet.
const KINDS: [u8; 4] = [0xEA, 0xEE, 0xE0, 0x02];
const WORDS: [&str; 6] = ["a", "a.test", "b.a.test", "*", "vpce-1", "vpce-12"];
const PROTOCOLS: [&str; 3] = ["h2", "h3", "http/1.1"];

/// Two conditions meet a connection; the TLVs are what is left of the input.
pub(crate) fn compared(u: &mut Unstructured<'_>) -> Result<()> {
    let (one, other) = (when(u)?, when(u)?);
    let sni = u.arbitrary::<bool>()?.then_some(*u.choose(&WORDS)?);
    let alpn: Vec<Vec<u8>> = protocols(u)?.into_iter().map(String::into_bytes).collect();
    let hello = u.arbitrary::<bool>()?.then_some(Hello { sni, alpn: &alpn });
    let has_header = u.ratio(7, 8)?;
    let bytes = u.bytes(u.len())?;
    let known = Known {
        client: Some([192, 0, 2, 1].into()),
        peer: Some([10, 0, 0, 1].into()),
        tlvs: has_header.then(|| Tlvs::new(bytes, 16)),
        hello,
    };
    let tlvs = if has_header { tlvs(bytes) } else { Vec::new() };
    for when in [&one, &other] {
        let (may_hold, holds) = (may_hold(when, &tlvs), holds(when, &tlvs, hello));
        assert_eq!(
            (when.may_hold(&known), when.holds(&known)),
            (may_hold, holds),
            "{when:?} {known:?}"
        );
    }
    let is_sound = !one.covers(&other) || !other.holds(&known) || one.holds(&known);
    assert!(is_sound, "{one:?} is to cover {other:?}, and does not for {known:?}");
    Ok(())
}

fn when(u: &mut Unstructured<'_>) -> Result<When> {
    let mut when = When::default();
    for _ in 0..u.int_in_range(0..=2_u8)? {
        let kind = *u.choose(&KINDS)?;
        let patterns = (0..u.int_in_range(1..=2_u8)?).map(|_| pattern(u)).collect::<Result<_>>()?;
        when.tlvs.push((kind, patterns));
    }
    for _ in 0..u.int_in_range(0..=2_u8)? {
        let name = (*u.choose(&WORDS)?).to_owned();
        when.sni.push(if u.arbitrary()? { Name::Exact(name) } else { Name::Below(name) });
    }
    when.alpn = protocols(u)?;
    Ok(when)
}

fn protocols(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    (0..u.int_in_range(0..=2_u8)?).map(|_| Ok((*u.choose(&PROTOCOLS)?).to_owned())).collect()
}

fn pattern(u: &mut Unstructured<'_>) -> Result<Pattern> {
    let word = *u.choose(&WORDS)?;
    Ok(match u.int_in_range(0..=5_u8)? {
        0 => Pattern::Present,
        1 => Pattern::Id(word.to_owned()),
        2 => Pattern::IdPrefix(word.to_owned()),
        3 => Pattern::Number(u.int_in_range(0..=300)?),
        4 => Pattern::Bytes(u.arbitrary::<[u8; 2]>()?.to_vec()),
        _ => Pattern::BytesPrefix(vec![u.arbitrary()?]),
    })
}

/// Every TLV up to the first that is cut short.
fn tlvs(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut tlvs = Vec::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let len = usize::from(*high) * 256 + usize::from(*low);
        let Some((value, behind)) = rest.split_at_checked(len) else { break };
        tlvs.push((*kind, value));
        bytes = behind;
    }
    tlvs
}

fn may_hold(when: &When, tlvs: &[(u8, &[u8])]) -> bool {
    when.tlvs.iter().all(|(kind, patterns)| {
        let of_kind = tlvs.iter().filter(|(other, _)| other == kind);
        of_kind.clone().any(|(_, value)| patterns.iter().any(|it| fits(it, *kind, value)))
    })
}

fn holds(when: &When, tlvs: &[(u8, &[u8])], hello: Option<Hello<'_>>) -> bool {
    let sni = hello.and_then(|hello| hello.sni);
    let is_asked = |name: &Name| match name {
        Name::Exact(name) => sni == Some(name),
        Name::Below(apex) => sni.is_some_and(|sni| {
            sni.strip_suffix(apex.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
        }),
    };
    let offered = hello.map_or(&[][..], |hello| hello.alpn);
    may_hold(when, tlvs)
        && (when.sni.is_empty() || when.sni.iter().any(is_asked))
        && (when.alpn.is_empty()
            || when.alpn.iter().any(|name| offered.contains(&name.as_bytes().to_vec())))
}

fn fits(pattern: &Pattern, kind: u8, value: &[u8]) -> bool {
    let without_subtype = || match value.first() {
        Some(1) if kind == 0xEA => value[1..].to_vec(),
        _ => value.to_vec(),
    };
    match pattern {
        Pattern::Present => true,
        Pattern::Id(id) => without_subtype() == id.as_bytes(),
        Pattern::IdPrefix(id) => without_subtype().starts_with(id.as_bytes()),
        Pattern::Number(number) => {
            let digits: Vec<u8> = match (kind, value.len()) {
                (0xEE, 5) if value[0] == 1 => value[1..].iter().rev().copied().collect(),
                (0xE0, 8) => value.to_vec(),
                _ => return false,
            };
            digits.iter().fold(0, |sum, digit| sum * 256 + u64::from(*digit)) == *number
        }
        Pattern::Bytes(bytes) => value == bytes,
        Pattern::BytesPrefix(bytes) => value.starts_with(bytes),
    }
}
