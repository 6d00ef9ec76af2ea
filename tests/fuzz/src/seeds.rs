//! The committed corpus: what is known to matter already, in the form each target reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::check::EDITS;
use crate::conformance;
use crate::every_key::{EXAMPLE, every_key};
use crate::hellos::{PADDING, client_hello, extensions, hello, records};
use crate::naive::Options;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Every key and nothing else, a good configuration, so that most edits leave one.
pub(crate) static EVERY_KEY: LazyLock<String> = LazyLock::new(|| {
    let file = every_key();
    let lines = file.lines().map(without_comment).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
});
/// The words of a few configurations, which chance would not spell.
pub(crate) static WORDS: LazyLock<Vec<&str>> = LazyLock::new(words);
/// The configurations that the documentation and the tests hold.
const CONFIGS: [(&str, &str); 3] = [
    ("ppserver.toml", EXAMPLE),
    ("full-shape.toml", include_str!("../../config/full-shape.toml")),
    ("broken.toml", include_str!("../../config/broken.toml")),
];

/// A seed's file name and its bytes.
pub type Seed = (String, Vec<u8>);

/// corpus/header: every conformance vector, what once broke a peer, and the longest headers, with
/// the options in front as [`choose`](crate::choose) reads them.
pub fn headers() -> Vec<Seed> {
    let vectors = conformance::load().into_iter().map(|vector| {
        let seed = [&chosen(&vector.options())[..], &vector.bytes()].concat();
        (vector.name, seed)
    });
    let stories = stories().into_iter().map(|(name, bytes)| {
        (name.to_owned(), [&chosen(&Options::default())[..], &bytes].concat())
    });
    vectors.chain(stories).collect()
}

/// corpus/batch: what balancers and strangers send, singly and as aggregates, in the form that `batches` reads.
pub fn batches() -> Vec<Seed> {
    let message = |who: u8, size: u8, bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).expect("it is short").to_be_bytes();
        [&[who, size, 0, len[0], len[1]][..], bytes].concat()
    };
    let v2 = |client: u8| {
        let block = [192, 0, 2, client, 198, 51, 100, 1, 0, 9, 0, 53];
        [SIGNATURE, &[0x21, 0x12, 0, 12], &block, b"query"].concat()
    };
    let spp = |client: u8| [&[0x56, 0xEC][..], &[client; 36], b"query"].concat();
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    let seed = |name: &str, taken: u8, room: u8, messages: &[Vec<u8>]| {
        (name.to_owned(), [&[taken, room][..], &messages.concat()].concat())
    };
    let len = |datagram: Vec<u8>| u8::try_from(datagram.len()).expect("it is short");
    let two = [v2(1), v2(2), v2(1)].concat();
    vec![
        seed("each", 0, 99, &[message(0, 0, &v2(1)), message(0, 0, &v2(2)), message(1, 0, &v2(1))]),
        seed("aggregate", 0, 99, &[message(0, len(v2(1)), &two), message(0, 0, &local)]),
        seed("first", 1, 99, &[message(0, 0, &v2(1)), message(0, 0, &v2(2)), message(0, 0, b"")]),
        seed("first-aggregate", 1, 99, &[message(0, len(v2(1)), &two)]),
        seed("spp", 2, 99, &[message(0, len(spp(1)), &[spp(1), spp(2)].concat())]),
        seed("no-room", 0, 0, &[message(0, len(v2(1)), &two), message(2, 0, &v2(1)[..27])]),
        seed("cut", 0, 9, &[message(0, 20, &v2(1)), message(3, 0, b"query"), message(0, 0, b"")]),
    ]
}

/// corpus/tlvs: what stands behind the addresses of those headers.
pub fn tlvs() -> Vec<Seed> {
    let behind_addresses = |seed: Vec<u8>| {
        let header = &seed[crate::CHOICE_BYTES..];
        let block = match header.get(13)? >> 4 {
            1 => 12,
            2 => 36,
            3 => 216,
            _ => 0,
        };
        header.starts_with(SIGNATURE).then_some(header.get(16 + block..)?.to_vec())
    };
    // Many headers have the same ones.
    let mut seeds = BTreeMap::new();
    for (name, seed) in headers() {
        if let Some(tlvs) = behind_addresses(seed) {
            seeds.entry(tlvs).or_insert(name);
        }
    }
    seeds.into_iter().map(|(tlvs, name)| (name, tlvs)).collect()
}

/// corpus/config: those configurations, the least one, and an edit of each line.
pub fn configs() -> Vec<Seed> {
    let least = "config_version = 1\n[[listener]]\nname='a'\nbind=['127.0.0.1:1']\nupstream='u'\n\
        [upstream.u]\nendpoints=['127.0.0.1:2']\n";
    let files = CONFIGS.into_iter().chain([("least.toml", least)]);
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    // To the first of the limits.
    let edits = EVERY_KEY
        .lines()
        .zip(0_u8..)
        .filter(|(line, _)| line.contains('='))
        .map(|(_, at)| (format!("edit-{at:03}"), vec![EDITS, at, 3, 0]));
    files.chain(edits).collect()
}

/// corpus/admin: every request that there is, through each kind of door.
pub fn requests() -> Vec<Seed> {
    const REQUESTS: [(&str, &str); 14] = [
        ("livez", "GET /livez"),
        ("readyz", "HEAD /readyz"),
        ("status", "GET /api/v1/status"),
        ("upstreams", "GET /api/v1/upstreams"),
        ("connections", "GET /api/v1/connections?client=10.0.0.0/8&listener=a&upstream=u&limit=9"),
        ("refusals", "GET /api/v1/refusals"),
        ("config", "GET /api/v1/config"),
        ("events", "GET /api/v1/events"),
        ("reload", "POST /api/v1/reload"),
        ("drain", "POST /api/v1/drain"),
        ("upgrade", "POST /api/v1/upgrade?binary=/x"),
        ("log", "POST /api/v1/log?level=debug"),
        ("endpoint", "POST /api/v1/upstreams/u/endpoints/127.0.0.1:2?state=down&weight=2"),
        ("close", "POST /api/v1/connections/00060a24181e4000/close"),
    ];
    let seed = |(name, line): (&str, &str), door: u8| {
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        (format!("{name}-{door}"), [&[door], head.as_bytes()].concat())
    };
    REQUESTS.into_iter().flat_map(|request| [0, 1, 2].map(|door| seed(request, door))).collect()
}

/// corpus/capture: a connection and a datagram in a file of each kind, and dumps.
pub fn captures() -> Vec<Seed> {
    let line = b"PROXY TCP4 10.0.0.2 10.0.0.1 1 2\r\n";
    // A SYN, then the line in two segments, the second one first.
    let connection = [
        packet(6, &tcp(9, 2, b"")),
        packet(6, &tcp(20, 16, &line[10..])),
        packet(6, &tcp(10, 16, &line[..10])),
    ];
    let spp = [&b"\x56\xec"[..], &[7; 36], b"payload"].concat();
    let udp_len = u16::try_from(8 + spp.len()).expect("it is short").to_be_bytes();
    let datagram = [packet(17, &[&[0, 1, 0, 2][..], &udp_len, &[0; 2], &spp].concat())];
    let dump = |text: &str| text.as_bytes().to_vec();
    let seeds = [
        ("pcap", pcap(&connection)),
        ("pcapng", pcapng(&datagram)),
        ("xxd", dump("00000000: 5052 4f58 5920  PROXY \n*\n00000010: 0d0a  ..\n")),
        (
            "hexdump",
            dump("00000000  0d 0a 0d 0a 00 0d 0a 51  55 49 54 0a 20 00 00 00  |..|\n00000010\n"),
        ),
        ("od", dump("0000000 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a 20 00 00 00\n0000020\n")),
        ("tcpdump", dump("12:00 IP\n\t0x0000:  4500 0028  E..(\n\t0x0004:  00  .\n")),
        ("words", dump("0x0d, 0x0a, \\x0d\\x0a 0d:0a")),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

/// A packet of IPv4.
fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).expect("it is short").to_be_bytes();
    let front = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    [&front[..], &[10, 0, 0, 2, 10, 0, 0, 1], payload].concat()
}

fn tcp(sequence: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let front = [0, 1, 0, 2, 0, 0, 0, sequence, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0];
    [&front[..], payload].concat()
}

/// Little-endian, raw IP.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101_u32];
    let mut file: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    for packet in packets {
        let len = u32::try_from(packet.len()).expect("it is short");
        file.extend([0, 0, len, len].into_iter().flat_map(u32::to_le_bytes));
        file.extend(packet);
    }
    file
}

/// Big-endian, raw IP.
fn pcapng(packets: &[Vec<u8>]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let len = u32::try_from(12 + body.len() + padding.len()).expect("it is short");
        let len = len.to_be_bytes();
        [&kind.to_be_bytes()[..], &len, body, &padding, &len].concat()
    };
    let section = [0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    let mut file =
        [block(0x0a0d_0d0a, &section), block(1, &[0, 101, 0, 0, 0, 0, 255, 255])].concat();
    for packet in packets {
        let len = u32::try_from(packet.len()).expect("it is short").to_be_bytes();
        file.extend(block(6, &[&[0; 12][..], &len, &len, packet].concat()));
    }
    file
}

/// corpus/hello: hellos with a name, with protocols, in many records, with much padding, and what is none.
pub fn hellos() -> Vec<Seed> {
    let message = client_hello(&extensions(Some("a.test"), &["h2", "http/1.1"]));
    let padded = |bytes| {
        let mut all = vec![(PADDING, vec![0; bytes])];
        all.extend(extensions(Some("a.test"), &["h2"]));
        records(&client_hello(&all), 1 << 14)
    };
    let whole = hello("a.test", &["h2"]);
    let seeds = [
        ("name", hello("a.test", &[])),
        ("protocols", records(&client_hello(&extensions(None, &["h2", "h3"])), 1 << 14)),
        ("records", records(&message, 7)),
        ("padded", padded(2_000)),
        ("long", padded(18 << 10)),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    // The last byte seeds the cuts.
    seeds.map(|(name, payload)| (name.to_owned(), [&payload[..], &[1]].concat())).to_vec()
}

/// config.dict: those words.
pub fn dictionary() -> String {
    WORDS.iter().map(|word| format!("\"{word}\"\n")).collect()
}

fn words() -> Vec<&'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    let words: BTreeSet<&str> = CONFIGS
        .iter()
        .flat_map(|(_, text)| text.lines())
        .flat_map(|line| without_comment(line).split(|c: char| !is_part(c)))
        .filter(|word| word.len() > 1)
        .collect();
    words.into_iter().collect()
}

fn without_comment(line: &str) -> &str {
    line.split_once('#').map_or(line, |(before, _)| before).trim()
}

/// The inverse of [`choose`](crate::choose).
fn chosen(options: &Options) -> [u8; crate::CHOICE_BYTES] {
    let flags = u8::from(options.optional) << 2
        | u8::from(!options.verify_crc) << 3
        | u8::from(options.strict_tlv) << 4
        | u8::from(options.reject_unspec) << 5
        | u8::from(options.require_crc) << 6
        | u8::from(options.mixed_v1) << 7;
    let below_max = u16::try_from(65_535 - options.max_v2_len).expect("it has 16 bits");
    let [high, low] = below_max.to_be_bytes();
    [flags, high, low]
}

/// A v2 header of 65,551 bytes; its TLVs take 65,523 of them.
fn longest(tlvs: &[u8]) -> Vec<u8> {
    [SIGNATURE, b"\x21\x11\xff\xff\x0a\0\0\x01\x0a\0\0\x02\x10\x92\x01\xbb", tlvs].concat()
}

/// What once broke another implementation.
fn stories() -> Vec<(&'static str, Vec<u8>)> {
    let v2 = |rest: &[u8]| [SIGNATURE, rest].concat();
    let inet = |tlvs: &[u8]| {
        let len = u8::try_from(12 + tlvs.len()).expect("short TLVs");
        v2(&[&[0x21, 0x11, 0, len], &b"\x0a\0\0\x01\x0a\0\0\x02\x10\x92\x01\xbb"[..], tlvs]
            .concat())
    };
    vec![
        ("longest-one-tlv", longest(&[&b"\x04\xff\xf0"[..], &[0; 0xfff0]].concat())),
        ("longest-empty-tlvs", longest(&b"\xe0\0\0".repeat(21_841))),
        // As AWS sends them: a connection through a VPC endpoint, and a health check.
        (
            "capture-aws-vpc-endpoint",
            [
                &v2(b"\x21\x11\0\x54\xac\x1f\x07\x71\xac\x1f\x0a\x1f\xc8\xf2\0\x50\x03\0\x04\xe8\xd6\x89\x2d")[..],
                b"\xea\0\x17\x01vpce-08d2bf15fac5001c9\x04\0\x24",
                &[0; 36],
            ]
            .concat(),
        ),
        (
            "capture-aws-health-check",
            [&v2(b"\x20\x11\0\x54\x03\0\x04\xbc\xe5\x95\x1f\x04\0\x4a")[..], &[0; 74]].concat(),
        ),
        // Envoy: AUTHORITY that is not UTF-8.
        ("CVE-2024-23324", inet(b"\x02\0\x04\xff\xfe\x80\xc0")),
        // Envoy: IPv6 addresses on a host without IPv6.
        ("CVE-2024-23325", v2(&[&[0x21, 0x21, 0, 36], &[0x20; 32][..], b"\x10\x92\x01\xbb"].concat())),
        // Envoy: LOCAL without addresses.
        ("CVE-2024-23327", v2(&[0x20, 0, 0, 0])),
        // Envoy: control bytes that end up in a log.
        ("CVE-2024-45808", inet(b"\x02\0\x0c\r\n\x1b[31mADMIN\0")),
        // Apache mod_remoteip: a length below the address block of its family.
        ("CVE-2019-10097", v2(&[0x21, 0x21, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        // mastercactapus/proxyprotocol: addresses cut short.
        ("CVE-2019-14243", v2(&[0x21, 0x11, 0, 12, 10, 0, 0])),
        // Varnish: TLVs of a TLS terminator, at some length.
        (
            "CVE-2020-11653",
            inet(&[&b"\x20\0\x5e\x01\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x4c"[..], &[b'n'; 76]].concat()),
        ),
        // go-proxyproto: a line that never ends.
        ("CVE-2021-23409", [&b"PROXY TCP4 "[..], &[b'1'; 120]].concat()),
    ]
}
