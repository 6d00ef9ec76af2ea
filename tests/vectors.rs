//! The conformance vectors: through the oracle, and through ppcore however they are cut.

#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/cuts.rs"]
mod cuts;
mod naive;
#[path = "support/subject.rs"]
mod subject;

use std::iter;

use conformance::{Expect, Outcome, load};
use naive::{Answer, Input, Options};
use ppcore::{Collector, Decoded, ErrorKind};
use serde_json::Value;

/// The vectors that break an earlier rule than the one they are named for.
const OTHER_KINDS: [(&str, &str); 3] = [
    ("v1_address_with_port_glued", "v1_bad_src_addr"),
    ("v1_tcp4_padded_out", "v1_extra_field"),
    ("v1_tcp4_long_digits", "v1_bad_src_addr"),
];

#[test]
fn oracle_answers_every_vector_as_expected() {
    for vector in load() {
        let answer = naive::decode(&vector.bytes(), &vector.options());
        check(&vector.name, &vector.expect, &answer);
    }
}

/// What "eager" means, asked of the oracle itself: a prefix it calls incomplete has a next byte
/// that leaves it hope, and following such bytes makes `need` come true to the byte.
#[test]
fn oracle_calls_incomplete_only_what_a_next_byte_can_save() {
    // Most likely first; a dead end tries them all.
    let bytes: Vec<u8> = b"0: \r\n.!\0\x04PROXYUNKWTC46QI".iter().copied().chain(0..=255).collect();
    let mut saved = 0_usize;
    for vector in load() {
        let options = Options { input: Input::Open, ..vector.options() };
        for n in 0..vector.bytes().len() {
            let mut prefix = vector.bytes()[..n].to_vec();
            let Answer::Incomplete { need, .. } = naive::decode(&prefix, &options) else { break };
            let next = bytes.iter().any(|byte| {
                prefix.push(*byte);
                let answer = naive::decode(&prefix, &options);
                prefix.pop();
                match answer {
                    // The checksum is judged last; a wrong one is not the fault of this byte.
                    Answer::Error { kind: "crc_mismatch", .. } | Answer::Ok(_) => need == 1,
                    // The rest of a v2 header shows only when its length does.
                    Answer::Incomplete { version: Some("2"), .. } if n < 16 => true,
                    Answer::Incomplete { need: after, .. } => after + 1 == need,
                    Answer::Error { .. } | Answer::NotProxy { .. } | Answer::Absent => false,
                }
            });
            assert!(next, "{}: nothing continues its first {n} bytes", vector.name);
            saved += 1;
        }
    }
    assert!(saved > 7_000, "only {saved} prefixes were tried");
}

/// What a receiver is configured for beside the defaults.
type With = fn(&mut Options);

const LAZY: With = |_| {};
const MIXED: With = |options| options.mixed_v1 = true;
const REQUIRE: With = |options| options.require_crc = true;
const STRICT: With = |options| options.strict_tlv = true;

fn v2(rest: &[u8]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n", rest].concat()
}

fn inet(length: u16, tlvs: &[u8]) -> Vec<u8> {
    v2(&[&[0x21, 0x11], &length.to_be_bytes()[..], &[1; 12], tlvs].concat())
}

/// The rule, the offset, the options and the input.
type Case = (&'static str, usize, With, Vec<u8>);

/// The offsets that this project decided on, by hand; the vectors carry none.
#[test]
fn the_first_byte_without_a_good_continuation_is_refused() {
    let cases: Vec<Case> = vec![
        ("not_proxy", 0, LAZY, b"GET".to_vec()),
        ("not_proxy", 4, LAZY, b"PROXIED".to_vec()),
        ("not_proxy", 0, |options| options.v1 = false, b"PROXY TCP4".to_vec()),
        ("not_proxy", 0, |options| options.v2 = false, b"\r\n\r\n".to_vec()),
        ("v1_expected_space", 5, LAZY, b"PROXY\t".to_vec()),
        ("v1_bad_protocol", 9, LAZY, b"PROXY TCP5 ".to_vec()),
        ("v1_bad_src_addr", 13, LAZY, b"PROXY TCP4 256.".to_vec()),
        ("v1_bad_src_addr", 12, LAZY, b"PROXY TCP6 :1".to_vec()),
        ("v1_bad_src_addr", 26, LAZY, b"PROXY TCP6 1:2:3:4:5:6:7:8:".to_vec()),
        ("v1_bad_src_addr", 26, LAZY, b"PROXY TCP6 1:2:3:4:5:6:7::8".to_vec()),
        ("v1_bad_src_addr", 25, LAZY, b"PROXY TCP6 1:2:3:4:5:6::7.".to_vec()),
        ("v1_bad_dst_addr", 20, LAZY, b"PROXY TCP6 ::1 1::2::".to_vec()),
        ("v1_bad_dst_addr", 21, LAZY, b"PROXY TCP4 192.0.2.7 ::1 ".to_vec()),
        ("v1_bad_src_addr", 11, MIXED, b"PROXY TCP4 a::1 192.0.2.1 ".to_vec()),
        ("v1_bad_dst_addr", 18, MIXED, b"PROXY TCP6 ::1 256.".to_vec()),
        ("v1_bad_dst_addr", 22, MIXED, b"PROXY TCP6 ::1 1.2.3.4.5".to_vec()),
        ("v1_bad_dst_addr", 24, MIXED, b"PROXY TCP4 192.0.2.7 1:1.2.3 ".to_vec()),
        ("v1_bad_src_port", 31, LAZY, b"PROXY TCP4 1.2.3.4 1.2.3.4 65536".to_vec()),
        ("v1_too_long", 105, LAZY, [&b"PROXY UNKNOWN "[..], &[b'x'; 92]].concat()),
        ("v2_bad_version", 12, LAZY, v2(&[0x31])),
        ("v2_bad_command", 12, LAZY, v2(&[0x22])),
        ("v2_bad_family", 13, LAZY, v2(&[0x21, 0x41])),
        ("v2_bad_family", 13, |options| options.reject_unspec = true, v2(&[0x21, 0x41])),
        ("v2_bad_family", 13, |options| options.max_v2_len = 11, v2(&[0x21, 0x41])),
        ("v2_bad_transport", 13, LAZY, v2(&[0x21, 0x13])),
        ("v2_unspec_rejected", 13, |options| options.reject_unspec = true, v2(&[0x21, 0x01])),
        (
            "v2_too_long",
            12,
            |options| (options.reject_unspec, options.max_v2_len) = (true, 11),
            v2(&[0x21]),
        ),
        ("v2_too_long", 13, |options| options.max_v2_len = 35, v2(&[0x21, 0x21])),
        ("v2_too_long", 14, |options| options.max_v2_len = 511, v2(&[0x20, 0x00, 2])),
        ("v2_too_long", 15, |options| options.max_v2_len = 510, v2(&[0x20, 0x00, 1, 0xFF])),
        ("v2_addr_too_short", 15, LAZY, v2(&[0x21, 0x11, 0, 11])),
        ("tlv_header_truncated", 15, STRICT, v2(&[0x21, 0x11, 0, 13])),
        ("tlv_value_overrun", 30, STRICT, inet(16, &[1, 0, 2])),
        ("tlv_value_overrun", 29, STRICT, inet(16, &[1, 1])),
        ("tlv_header_truncated", 30, STRICT, inet(17, &[1, 0, 1])),
        ("crc_bad_length", 30, LAZY, inet(20, &[3, 0, 5])),
        ("crc_bad_length", 28, STRICT, inet(20, &[3])),
        ("crc_duplicate", 37, LAZY, inet(22, &[3, 0, 4, 0, 0, 0, 0, 3, 0, 0])),
        ("crc_bad_length", 29, LAZY, inet(15 + 511, &[3, 1])),
        ("crc_duplicate", 36, LAZY, inet(22 + 255, &[3, 0, 4, 0, 0, 0, 0, 3, 0])),
        ("crc_duplicate", 35, STRICT, inet(22, &[3, 0, 4, 0, 0, 0, 0, 3])),
        ("crc_missing", 28, REQUIRE, inet(12, &[])),
        ("crc_missing", 31, REQUIRE, inet(15, &[4, 0, 0])),
        ("crc_missing", 16, REQUIRE, v2(&[0x20, 0, 0, 0])),
        ("crc_mismatch", 31, REQUIRE, inet(19, &[3, 0, 4, 0, 0, 0, 0])),
        ("crc_mismatch", 31, LAZY, inet(19, &[3, 0, 4, 0, 0, 0, 0])),
        ("crc_bad_length", 18, LAZY, v2(&[0x20, 0, 0, 3, 3, 0, 0])),
        ("crc_duplicate", 23, LAZY, v2(&[0x20, 0, 0, 10, 3, 0, 4, 0, 0, 0, 0, 3, 0, 0])),
    ];
    for (kind, offset, with, input) in cases {
        let mut options = Options::default();
        with(&mut options);
        let found = match naive::decode(&input, &options) {
            Answer::NotProxy { offset } => ("not_proxy", offset),
            Answer::Error { kind, offset, .. } => (kind, offset),
            other @ (Answer::Ok(_) | Answer::Incomplete { .. } | Answer::Absent) => {
                panic!("{input:02x?}: {other:?}")
            }
        };
        assert_eq!((kind, offset), found, "{input:02x?}");
        cuts::check_prefixes(&input, &options, 0..=input.len());
        let before = naive::decode(&input[..offset], &options);
        let live = matches!(before, Answer::Incomplete { .. });
        assert!(live || matches!(kind, "crc_mismatch" | "crc_missing"), "{input:02x?}: {before:?}");
    }
}

/// Headers that just pass what refuses their neighbours, at every byte of theirs.
#[test]
fn at_the_border_of_a_rule_a_header_is_good() {
    let cases: Vec<(With, Vec<u8>)> = vec![
        (|options| options.max_v2_len = 12, inet(12, &[])),
        (|options| (options.reject_unspec, options.max_v2_len) = (true, 12), inet(12, &[])),
        (|options| options.max_v2_len = 11, v2(&[0x21, 0, 0, 0])),
        (|options| (options.reject_unspec, options.max_v2_len) = (true, 11), v2(&[0x20, 0, 0, 0])),
        (MIXED, b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n".to_vec()),
        (MIXED, b"PROXY TCP4 192.0.2.7 2001:db8::ffff:192.0.2.1 51820 443\r\n".to_vec()),
        (MIXED, b"PROXY TCP4 0.0.0.0 :: 0 0\r\n".to_vec()),
        (MIXED, b"PROXY TCP4 192.0.2.7 192.0.2.1 51820 443\r\n".to_vec()),
        (MIXED, b"PROXY TCP6 ::1 a::1.2.3.4 51820 443\r\n".to_vec()),
        (STRICT, inet(15, &[5, 0, 0])),
        (STRICT, inet(15 + 256, &[&[5, 1, 0][..], &[0; 256]].concat())),
        // A checksum that overruns is none.
        (LAZY, inet(15 + 510, &[&[3, 1, 255][..], &[0; 510]].concat())),
    ];
    for (with, input) in cases {
        let mut options = Options::default();
        with(&mut options);
        let whole = naive::decode(&input, &options);
        assert!(matches!(whole, Answer::Ok(_)), "{input:02x?}: {whole:?}");
        cuts::check_prefixes(&input, &options, 0..=input.len());
    }
}

#[test]
fn every_vector_decodes_as_expected_in_one_piece() {
    for vector in load() {
        let answer = subject::decode(&vector.bytes(), &vector.options());
        check(&vector.name, &vector.expect, &answer);
    }
}

#[test]
fn every_vector_decodes_the_same_when_it_is_split_in_two_anywhere() {
    for vector in load() {
        let (input, options) = (vector.bytes(), vector.options());
        for cut in 0..=input.len() {
            cuts::check_prefixes(&input, &options, [cut, input.len()]);
            cuts::check_collector(&input, &options, [cut]);
        }
    }
}

#[test]
fn every_vector_decodes_the_same_byte_by_byte() {
    for vector in load() {
        let (input, options) = (vector.bytes(), vector.options());
        cuts::check_prefixes(&input, &options, 0..=input.len());
        cuts::check_collector(&input, &options, iter::repeat(1));
    }
}

#[test]
fn reading_what_is_needed_never_takes_payload() {
    for vector in load() {
        let input = [vector.bytes(), b"the payload".to_vec()].concat();
        cuts::check_need(&input, &vector.options());
    }
}

#[test]
fn every_prefix_of_every_vector_may_be_the_end() {
    for vector in load() {
        let (input, options) = (vector.bytes(), vector.options());
        for n in 0..=input.len() {
            cuts::check_ends(&input[..n], &options);
        }
    }
}

/// A collector's size is a limit on the length field.
#[test]
fn a_collector_refuses_what_it_cannot_hold_as_soon_as_it_knows() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x70";
    let mut collector = Collector::<128>::new(ppcore::Options::new());
    assert_eq!(collector.push(header).map(|collected| collected.decoded), Ok(Decoded::Need(112)));
    let header = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x71";
    let error = Collector::<128>::new(ppcore::Options::new()).push(header).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::V2TooLong, 15));
}

/// Compares an answer with all that a vector says about it.
fn check(name: &str, expect: &Expect, answer: &Answer) {
    let (outcome, version) = match answer {
        Answer::Ok(header) => (Outcome::Ok, Some(header.version)),
        Answer::Incomplete { version, .. } => (Outcome::Incomplete, *version),
        Answer::NotProxy { .. } => (Outcome::NotProxy, None),
        Answer::Error { version, .. } => (Outcome::Error, *version),
        Answer::Absent => panic!("{name}: no vector is optional"),
    };
    if expect.early {
        assert_eq!((expect.result, outcome), (Outcome::Incomplete, Outcome::Error), "{name}");
        return;
    }
    assert_eq!(expect.result, outcome, "{name}: {answer:?}");
    let version = match version {
        Some("1") => Value::from(1),
        Some("2") => Value::from(2),
        other => Value::from(other),
    };
    if name != "spp_magic_only" {
        assert_eq!(expect.version, version, "{name}");
    }
    match answer {
        Answer::Ok(header) => {
            assert_eq!(expect.command.as_deref(), Some(header.command), "{name}");
            assert_eq!(expect.family.as_deref(), Some(header.family), "{name}");
            assert_eq!(expect.transport.as_deref(), Some(header.transport), "{name}");
            assert_eq!(expect.src, header.src, "{name}");
            assert_eq!(expect.dst, header.dst, "{name}");
            assert_eq!(expect.consumed, Some(header.consumed), "{name}");
            let tlvs = expect.tlvs.as_ref().expect("all good vectors list them");
            let tlvs: Vec<_> = tlvs.iter().map(|tlv| (tlv.kind, tlv.value())).collect();
            assert_eq!(tlvs, header.tlvs, "{name}");
            assert_eq!(expect.tlv_error.as_deref(), header.tlv_error, "{name}");
            assert!(expect.crc.is_none() || expect.crc.as_deref() == Some(header.crc), "{name}");
        }
        Answer::Incomplete { need, .. } => {
            assert!(expect.need.is_none_or(|least| least == *need), "{name}: {answer:?}");
        }
        Answer::Error { kind, .. } => {
            let other = OTHER_KINDS.into_iter().find(|(vector, _)| *vector == name);
            let expected = other.map(|(_, kind)| kind).or(expect.error_kind.as_deref());
            assert_eq!(expected, Some(*kind), "{name}");
        }
        Answer::NotProxy { .. } | Answer::Absent => {}
    }
}
