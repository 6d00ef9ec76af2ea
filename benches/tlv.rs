//! TLVs and checksums, beside every other crate that reads them.
//!
//! Decoding and looking at every TLV is one cell, because crates do the work at different times:
//! some when they decode, some when asked. What is missing: `proxy-protocol` and `haproxy-protocol`
//! drop the TLVs; `haprox-rs` walks into SSL as well, and takes CRC-32 for CRC32C; with a checksum also
//! `ppp`, `proxy-header` and `proxy-protocol-codec`, which do not verify it.

mod timed;

use std::hint::black_box;

use benches::{input, input::Input, ours};
use criterion::{Criterion, criterion_group, criterion_main};
use ppcore::tlv::View;
use ppcore::{Crc32cPolicy, Crc32cStatus, Decoded, Header, Options};
use timed::cell;

/// How many TLVs, and the sum of their types: all that every crate tells.
type Walked = (usize, usize);

fn add((count, sum): Walked, kind: u8) -> Walked {
    (count + 1, sum + usize::from(kind))
}

fn decode_and_walk(criterion: &mut Criterion, input: &Input) {
    let bytes = input.bytes;
    let group = &mut criterion.benchmark_group(format!("{}, TLV walk", input.name));
    let verified = Options::new();
    let want = ours::decode_and_walk(bytes, verified).expect("the input is whole and valid");
    assert_eq!(want.0, input.tlvs);
    let same = |walked: &Walked| *walked;
    let walk = |options| move || ours::decode_and_walk(black_box(bytes), options);
    cell(group, "ppcore", &Ok(want), walk(verified), Clone::clone);
    if input.tlvs == input::V2_SSL.tlvs {
        // As its peers do: no checksum is looked for.
        let unverified = verified.crc32c(Crc32cPolicy::Ignore);
        cell(group, "ppcore, unverified", &Ok(want), walk(unverified), Clone::clone);
        cell(group, "ppp", &want, || ppp(black_box(bytes)), same);
        cell(group, "proxy-header", &want, || proxy_header(black_box(bytes)), same);
        cell(group, "proxy-protocol-codec", &want, || codec(black_box(bytes)), same);
        cell(group, "proxyproto", &want, || proxyproto(black_box(bytes)), same);
    } else {
        cell(group, "proxyproto", &want, || proxyproto_verified(black_box(bytes)), same);
    }
    // It verifies whenever there is a checksum.
    cell(group, "proxy-protocol-rs", &want, || proxy_protocol_rs(black_box(bytes)), same);
}

fn ppp(bytes: &[u8]) -> Walked {
    let header = ppp::v2::Header::try_from(bytes).expect("a header");
    header.tlvs().fold((0, 0), |walked, tlv| add(walked, tlv.expect("a TLV").kind))
}

fn proxy_header(bytes: &[u8]) -> Walked {
    use proxy_header::{ParseConfig, ProxyHeader};
    let (header, _) = ProxyHeader::parse(bytes, ParseConfig::default()).expect("a header");
    header.tlvs().fold((0, 0), |walked, tlv| add(walked, tlv.expect("a TLV").kind()))
}

fn codec(bytes: &[u8]) -> Walked {
    use proxy_protocol_codec::v2::{Decoded, Header};
    let Ok(Decoded::Some(decoded)) = Header::decode(bytes) else { panic!("no header") };
    decoded.extensions.into_iter().fold((0, 0), |walked, extension| {
        let kind = extension.expect("a TLV").typ();
        add(walked, kind.map_or_else(|kind| kind, |kind| kind as u8))
    })
}

fn proxyproto(bytes: &[u8]) -> Walked {
    let (_, header) = proxyproto::v2::Header::try_from_bytes(bytes).expect("a header");
    header.tlvs().fold((0, 0), |walked, (kind, _)| add(walked, kind))
}

fn proxyproto_verified(bytes: &[u8]) -> Walked {
    let (_, header) = proxyproto::v2::Header::try_from_bytes(bytes).expect("a header");
    assert_eq!(header.validate_crc32c_tlv(), Some(true));
    header.tlvs().fold((0, 0), |walked, (kind, _)| add(walked, kind))
}

fn proxy_protocol_rs(bytes: &[u8]) -> Walked {
    let (info, _) = proxy_protocol_rs::parse(bytes).expect("a header");
    info.tlvs.raw.iter().fold((0, 0), |walked, (kind, _)| add(walked, *kind))
}

/// Our own parts, each alone.
fn parts(criterion: &mut Criterion) {
    let bytes = input::V2_SSL_CRC.bytes;
    let Ok(Decoded::Header(header)) = ours::decode(bytes) else { panic!("a whole header") };
    let group = &mut criterion.benchmark_group(input::V2_SSL_CRC.name);
    cell(
        group,
        "walk alone",
        &input::V2_SSL_CRC.tlvs,
        || black_box(&header).tlvs(black_box(bytes)).count(),
        |count| *count,
    );
    cell(
        group,
        "SSL view and its TLVs",
        &5,
        || ssl_parts(black_box(&header), black_box(bytes)),
        |count| *count,
    );
    cell(
        group,
        "CRC32C alone",
        &Crc32cStatus::Valid,
        || black_box(&header).crc32c(black_box(bytes)),
        |status| *status,
    );
}

fn ssl_parts(header: &Header, bytes: &[u8]) -> usize {
    let views = header.tlvs(bytes).flatten().filter_map(|tlv| tlv.view().ok());
    views.map(|view| if let View::Ssl(ssl) = view { ssl.tlvs().count() } else { 0 }).sum()
}

fn all(criterion: &mut Criterion) {
    decode_and_walk(criterion, &input::V2_SSL);
    decode_and_walk(criterion, &input::V2_SSL_CRC);
    parts(criterion);
}

criterion_group!(tlvs, all);
criterion_main!(tlvs);
