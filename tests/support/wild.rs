//! Headers as the wild sends them: good ones, nearly good ones, and what is left after an accident.
//!
//! Strategies for proptest. Most fields are good most of the time, so that a fault deep in a header
//! is reached, and every rule is broken by some case.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::naive::{self, Input, Options};

/// One stream, a receiver's configuration, and where the stream is cut.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) input: Vec<u8>,
    pub(crate) options: Options,
    /// Sorted lengths of prefixes; the last is the whole input.
    pub(crate) cuts: Vec<usize>,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    (stream(), options(), vec(any::<Index>(), 0..8)).prop_map(|(input, options, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|at| at.index(input.len() + 1)).collect();
        cuts.push(input.len());
        cuts.sort_unstable();
        Case { input, options, cuts }
    })
}

fn options() -> impl Strategy<Value = Options> {
    let versions =
        prop_oneof![6 => Just((true, true)), 1 => Just((true, false)), 1 => Just((false, true))];
    let max_v2_len = prop_oneof![
        8 => Just(65_535),
        1 => 0_usize..300,
        1 => 0_usize..65_536,
    ];
    let flag = || prop::bool::weighted(0.3);
    let crc = prop_oneof![
        3 => Just((true, false)),
        1 => Just((true, true)),
        1 => Just((false, false)),
    ];
    (versions, (flag(), flag()), crc, flag(), flag(), max_v2_len).prop_map(
        |(
            (v1, v2),
            (mixed_v1, optional),
            (verify_crc, require_crc),
            strict_tlv,
            reject_unspec,
            max_v2_len,
        )| Options {
            input: Input::Open,
            v1,
            v2,
            mixed_v1,
            optional,
            verify_crc,
            require_crc,
            strict_tlv,
            reject_unspec,
            max_v2_len,
        },
    )
}

/// A header with an accident, and payload behind it.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let header = || prop_oneof![5 => v1(), 5 => v2()];
    let spliced =
        (header(), header(), any::<Index>(), any::<Index>()).prop_map(|(a, b, to, from)| {
            [&a[..to.index(a.len() + 1)], &b[from.index(b.len() + 1)..]].concat()
        });
    let garbage = vec(any::<u8>(), 0..40);
    let bytes = prop_oneof![12 => header(), 2 => spliced, 1 => garbage];
    let payload = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..30), 1 => v2()];
    (bytes, edits(), payload, option::weighted(0.15, any::<Index>())).prop_map(
        |(mut bytes, edits, payload, end)| {
            for edit in edits {
                edit.apply(&mut bytes);
            }
            bytes.extend(payload);
            if let Some(end) = end {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

/// A small accident.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match *self {
            Edit::Set(at, byte) => *at.get_mut(bytes) = byte,
            Edit::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
            Edit::Insert(at, byte) => bytes.insert(at.index(bytes.len()), byte),
            Edit::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Edit::Repeat(at) => {
                let at = at.index(bytes.len());
                bytes.insert(at, bytes[at]);
            }
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let byte = || prop_oneof![select(b" \r\n:.0159afF\0\x03\x04".as_slice()), any::<u8>()];
    let edit = prop_oneof![
        (any::<Index>(), byte()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        any::<Index>().prop_map(Edit::Remove),
        any::<Index>().prop_map(Edit::Repeat),
    ];
    prop_oneof![6 => Just(Vec::new()), 4 => vec(edit, 1..4)]
}

type Text = BoxedStrategy<String>;

/// `good` nearly always, else one of `bad`.
fn mostly(good: impl Strategy<Value = String> + 'static, bad: &'static [&'static str]) -> Text {
    prop_oneof![40 => good, 1 => select(bad).prop_map(str::to_owned)].boxed()
}

fn v1() -> BoxedStrategy<Vec<u8>> {
    let blank = || mostly(Just(" ".to_owned()), &["  ", "\t", "", " \n", "\r"]);
    let protocol = |good: &str| mostly(Just(good.to_owned()), &["TCP5", "tcp4", "UNKNOW", "U"]);
    let end = || mostly(Just("\r\n".to_owned()), &["\r", "\n", "\r\r\n", " \r\n", "\n\r\n"]);
    let port = || {
        let port = any::<u16>().prop_map(|port| port.to_string());
        mostly(port, &["0", "65535", "65536", "99999", "080", "00", "+80", "", "123456"])
    };
    let line = move |name: &str, addr: fn() -> Text| {
        let blanks = (blank(), blank(), blank(), blank(), blank());
        let fields = (protocol(name), addr(), addr(), port(), port(), end());
        (blanks, fields).prop_map(|((a, b, c, d, e), (protocol, src, dst, sport, dport, end))| {
            format!("PROXY{a}{protocol}{b}{src}{c}{dst}{d}{sport}{e}{dport}{end}").into_bytes()
        })
    };
    let unknown = (option::of(vec(any::<u8>(), 0..95)), end()).prop_map(|(tail, end)| {
        let tail = tail.map(|tail| [b" ".to_vec(), tail].concat()).unwrap_or_default();
        [&b"PROXY UNKNOWN"[..], &tail, end.as_bytes()].concat()
    });
    // Without this one a CR among the random bytes would end nearly every long tail.
    let long = (85_usize..100, end())
        .prop_map(|(tail, end)| format!("PROXY UNKNOWN {}{end}", "~".repeat(tail)).into_bytes());
    prop_oneof![3 => line("TCP4", ipv4), 5 => line("TCP6", ipv6), 1 => unknown, 1 => long].boxed()
}

fn ipv4() -> Text {
    let octet = || {
        let octet = any::<u8>().prop_map(|octet| octet.to_string());
        mostly(octet, &["256", "260", "300", "1000", "01", "00", "", "0x1"])
    };
    let dot = || mostly(Just(".".to_owned()), &["..", ",", ":"]);
    (octet(), dot(), octet(), dot(), octet(), dot(), octet())
        .prop_map(|(a, x, b, y, c, z, d)| [a, x, b, y, c, z, d].concat())
        .boxed()
}

/// Groups on both sides of a `::`, or no `::`; often eight in all, often with a dotted tail.
fn ipv6() -> Text {
    let group = || {
        let group = prop_oneof![3 => any::<u16>(), 1 => Just(0), 1 => Just(0xFFFF)];
        let text = (group, 0..3).prop_map(|(group, form)| match form {
            0 => format!("{group:x}"),
            1 => format!("{group:04X}"),
            _ => format!("{group:04x}"),
        });
        mostly(text, &["", "12345", "g", "0ffff", "1.2"])
    };
    let tail = || option::weighted(0.3, ipv4());
    let join = |groups: Vec<String>, tail: Option<String>| {
        groups.into_iter().chain(tail).collect::<Vec<_>>().join(":")
    };
    let full = (prop_oneof![8 => Just(8_usize), 1 => 1_usize..10], tail())
        .prop_flat_map(move |(units, tail)| {
            let groups = units - (2 * usize::from(tail.is_some())).min(units);
            (vec(group(), groups), Just(tail))
        })
        .prop_map(move |(groups, tail)| join(groups, tail));
    let elided =
        (vec(group(), 0..6), vec(group(), 0..4), tail(), mostly(Just("::".into()), &[":::", ":"]))
            .prop_map(move |(left, right, tail, gap)| {
                [join(left, None), gap, join(right, tail)].concat()
            });
    prop_oneof![1 => full, 1 => elided].boxed()
}

fn v2() -> BoxedStrategy<Vec<u8>> {
    let command = prop_oneof![12 => Just(0x21), 5 => Just(0x20), 1 => any::<u8>()];
    let family = prop_oneof![
        12 => select([0x11, 0x12, 0x21, 0x22, 0x31, 0x32].as_slice()),
        3 => select([0x00, 0x01, 0x10, 0x20, 0x30, 0x02].as_slice()),
        1 => any::<u8>(),
    ];
    let block = prop_oneof![9 => Just(true), 1 => Just(false)];
    let stump = prop_oneof![9 => Just(Vec::new()), 1 => vec(any::<u8>(), 1..5)];
    let length = prop_oneof![18 => Just(None), 1 => (0_u16..8).prop_map(Some), 1 => any::<u16>().prop_map(Some)];
    (command, family, block, vec(any::<u8>(), 216), vec(tlv(), 0..6), stump, length, any::<bool>())
        .prop_map(|(command, family, has_block, block, tlvs, stump, length, mend)| {
            let block_len = [0, 12, 36, 216].get(usize::from(family >> 4)).copied().unwrap_or(0);
            let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
            bytes.extend([command, family, 0, 0]);
            bytes.extend(&block[..if has_block { block_len } else { 0 }]);
            let mut crc_at = None;
            for (kind, value) in tlvs {
                let length = u16::try_from(value.len()).expect("a short value");
                bytes.push(kind);
                bytes.extend(length.to_be_bytes());
                crc_at = crc_at.or((kind == 3 && value.len() == 4).then_some(bytes.len()));
                bytes.extend(value);
            }
            bytes.extend(stump);
            let exact = u16::try_from(bytes.len() - 16).expect("short TLVs");
            // A length that lies a little, or altogether.
            let length = match length {
                Some(off @ 0..8) => exact.wrapping_add(off).wrapping_sub(4),
                Some(any) => any,
                None => exact,
            };
            bytes[14..16].copy_from_slice(&length.to_be_bytes());
            if let Some(at) = crc_at.filter(|_| mend) {
                bytes[at..at + 4].fill(0);
                let crc = naive::v2::crc32c(&bytes);
                bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
            }
            bytes
        })
        .boxed()
}

fn tlv() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let crc = prop_oneof![8 => Just(4_usize), 1 => 0_usize..9, 1 => Just(260)];
    let crc = crc.prop_flat_map(|len| (Just(3), vec(any::<u8>(), len)));
    let kind = prop_oneof![select([0, 1, 2, 4, 5, 0x20, 0x30, 0xEA].as_slice()), any::<u8>()];
    let len =
        prop_oneof![4 => 0_usize..5, 4 => 0_usize..40, 1 => 250_usize..270, 1 => 500_usize..800];
    let other = (kind, len).prop_flat_map(|(kind, len)| (Just(kind), vec(any::<u8>(), len)));
    prop_oneof![1 => crc, 3 => other]
}
