//! `decode --pcap`: what of a capture is told, whatever file, byte order and link it comes in.

use std::net::SocketAddr;

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, UdpHeader};
use serde_json::{Value, json};

use crate::support::{Ran, run};

const CLIENT: &str = "10.0.0.2:1000";
const SERVER: &str = "10.0.0.1:9999";
const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";

const SYN: u8 = 1;
const ACK: u8 = 2;
const FIN: u8 = 4;

fn v2(transport: u8) -> Vec<u8> {
    let addresses = [203, 0, 113, 7, 192, 0, 2, 1, 0xca, 0x6c, 1, 0xbb];
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[transport, 0, 12][..], &addresses].concat()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(src: &SocketAddr, dst: &SocketAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    match (src, dst) {
        (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
            PacketBuilder::ipv4(src.ip().octets(), dst.ip().octets(), 64)
        }
        (SocketAddr::V6(src), SocketAddr::V6(dst)) => {
            PacketBuilder::ipv6(src.ip().octets(), dst.ip().octets(), 64)
        }
        _ => panic!("both of one family"),
    }
}

/// A segment from IP on.
fn tcp(src: &str, dst: &str, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (addr(src), addr(dst));
    let mut header = TcpHeader::new(src.port(), dst.port(), sequence, 1024);
    header.syn = flags & SYN != 0;
    header.ack = flags & ACK != 0;
    header.fin = flags & FIN != 0;
    // The client's first byte, wherever it matters.
    header.acknowledgment_number = 101;
    let mut packet = Vec::new();
    ip(&src, &dst).tcp_header(header).write(&mut packet, payload).unwrap();
    packet
}

fn udp(src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (addr(src), addr(dst));
    let header =
        UdpHeader { source_port: src.port(), destination_port: dst.port(), ..UdpHeader::default() };
    let mut packet = Vec::new();
    ip(&src, &dst)
        .udp(header.source_port, header.destination_port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

/// A connection of the client's from its SYN on; its first byte has number 101.
fn connection(pieces: &[(usize, &[u8])]) -> Vec<Vec<u8>> {
    let segments = pieces
        .iter()
        .map(|(at, payload)| tcp(CLIENT, SERVER, 101 + u32::try_from(*at).unwrap(), ACK, payload));
    [tcp(CLIENT, SERVER, 100, SYN, b""), tcp(SERVER, CLIENT, 500, SYN | ACK, b"")]
        .into_iter()
        .chain(segments)
        .collect()
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    fn u32(self, number: usize) -> [u8; 4] {
        let number = u32::try_from(number).unwrap();
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// A pcap file; `magic` says whether its times are in micro- or nanoseconds.
fn pcap(order: Order, magic: usize, link: usize, packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |number| order.u32(number);
    let mut file = [
        word(magic).as_slice(),
        &order.u16(2),
        &order.u16(4),
        &word(0),
        &word(0),
        &word(65_535),
        &word(link),
    ]
    .concat();
    for packet in packets {
        for field in [1, 2, packet.len(), packet.len()] {
            file.extend(word(field));
        }
        file.extend(packet);
    }
    file
}

const MICROSECONDS: usize = 0xa1b2_c3d4;
const NANOSECONDS: usize = 0xa1b2_3c4d;
const RAW: usize = 101;

fn block(order: Order, kind: usize, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let len = order.u32(12 + body.len() + padding.len());
    [&order.u32(kind)[..], &len, body, &padding, &len].concat()
}

/// A pcapng file with an interface that sees nothing in front of the one that counts.
fn pcapng(order: Order, link: u16, packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |number| order.u32(number);
    let section = [&word(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
    let interface =
        |link| block(order, 1, &[&order.u16(link)[..], &order.u16(0), &word(65_535)].concat());
    let mut file = [block(order, 0x0a0d_0d0a, &section), interface(147), interface(link)].concat();
    for packet in packets {
        let len = word(packet.len());
        let body = [&word(1)[..], &word(0), &word(0), &len, &len, packet].concat();
        file.extend(block(order, 6, &body));
    }
    // Statistics, which say nothing here.
    file.extend(block(order, 5, &[0; 12]));
    file
}

fn decode(args: &[&str], file: &[u8]) -> Ran {
    run(&[&["decode", "--pcap"], args].concat(), file)
}

/// What is told of packets, and how it ends.
fn told(packets: &[Vec<u8>]) -> (Vec<Value>, Option<i32>, String) {
    let ran = decode(&["--json"], &pcap(Order::Little, MICROSECONDS, RAW, packets));
    let lines = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, ran.code, ran.stderr)
}

#[test]
fn every_kind_of_file_and_link_says_the_same() {
    for client in [(CLIENT, SERVER, 0x0800_u16), ("[2001:db8::2]:1", "[2001:db8::1]:2", 0x86dd)] {
        let (src, dst, protocol) = client;
        let packet = tcp(src, dst, 7, SYN, LINE);
        let protocol = protocol.to_be_bytes();
        let with = |front: &[u8]| vec![[front, &packet].concat()];
        let ethernet = with(&[&[2; 12][..], &protocol].concat());
        let tagged = with(&[&[2; 12][..], &[0x81, 0, 0, 7], &protocol].concat());
        let cooked = with(&[&[0; 14][..], &protocol].concat());
        let cooked2 = with(&[&protocol[..], &[0; 18]].concat());
        let links = [
            (1, ethernet),
            (1, tagged),
            (113, cooked),
            (276, cooked2),
            (0, with(&[2, 0, 0, 0])),
            (108, with(&[0, 0, 0, 24])),
            (101, with(b"")),
            (12, with(b"")),
        ];
        for (link, packets) in links {
            for order in [Order::Little, Order::Big] {
                let files = [
                    pcap(order, MICROSECONDS, link, &packets),
                    pcap(order, NANOSECONDS, link, &packets),
                    pcapng(order, u16::try_from(link).unwrap(), &packets),
                ];
                for file in files {
                    let ran = decode(&["--json"], &file);
                    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "link {link}");
                    let got = ran.json();
                    let flow = json!({ "protocol": "TCP", "src": src, "dst": dst, "packet": 1 });
                    assert_eq!(got["flow"], flow, "link {link}");
                    assert_eq!(got["src"], "203.0.113.7:51820", "link {link}");
                }
            }
        }
    }
}

#[test]
fn a_header_is_put_together_from_segments_in_any_order() {
    let (front, rest) = LINE.split_at(20);
    let (middle, end) = rest.split_at(10);
    for pieces in [
        vec![(0, front), (20, middle), (30, end)],
        vec![(30, end), (0, front), (20, middle)],
        vec![(20, rest), (0, front)],
        vec![(0, front), (0, front), (10, &LINE[10..30]), (30, end), (0, LINE)],
    ] {
        let (lines, code, _) = told(&connection(&pieces));
        assert_eq!((lines.len(), code), (1, Some(0)), "{lines:?}");
        assert_eq!((&lines[0]["result"], &lines[0]["consumed"]), (&json!("ok"), &json!(44)));
    }
    // The numbers go round in the middle of it.
    let around = [
        tcp(CLIENT, SERVER, u32::MAX - 10, SYN, b""),
        tcp(CLIENT, SERVER, 9, ACK, &LINE[19..]),
        tcp(CLIENT, SERVER, u32::MAX - 9, ACK, &LINE[..19]),
    ];
    assert_eq!(told(&around).0[0]["consumed"], 44);
}

#[test]
fn who_answers_is_passed_over_whatever_is_said() {
    let mut packets = connection(&[(0, LINE)]);
    packets.insert(2, tcp(SERVER, CLIENT, 501, ACK, b"220 ready\r\n"));
    let (lines, code, _) = told(&packets);
    assert_eq!((lines.len(), code), (1, Some(0)), "{lines:?}");
    // Where the SYN was not seen, who accepts it says who the client is.
    let (lines, code, _) = told(&packets[1..]);
    assert_eq!((lines.len(), code), (1, Some(0)), "{lines:?}");
}

#[test]
fn an_opener_without_a_header_is_told_and_a_probe_is_not() {
    let mut packets = connection(&[(0, b"GET / HTTP/1.1\r\n")]);
    packets.push(tcp("10.0.0.2:1001", SERVER, 1, SYN, b""));
    packets.push(tcp("10.0.0.2:1001", SERVER, 2, FIN | ACK, b""));
    let (lines, code, _) = told(&packets);
    assert_eq!((lines.len(), code), (1, Some(1)));
    assert_eq!(lines[0]["result"], "not_proxy");
    assert_eq!(lines[0]["hint"], "it looks like HTTP: the sender sends no header");
}

#[test]
fn a_header_that_ends_early_is_an_error_behind_a_fin_and_incomplete_without() {
    let mut packets = connection(&[(0, &LINE[..20])]);
    let (lines, code, _) = told(&packets);
    assert_eq!((&lines[0]["result"], code), (&json!("incomplete"), Some(3)));
    packets.push(tcp(CLIENT, SERVER, 121, FIN | ACK, b""));
    let (lines, code, _) = told(&packets);
    assert_eq!((&lines[0]["error"]["kind"], code), (&json!("truncated"), Some(1)));
}

#[test]
fn of_what_began_before_the_capture_only_headers_are_told() {
    let other = "10.0.0.3:7";
    let packets = [
        tcp(CLIENT, SERVER, 7000, ACK, b"the middle of something"),
        tcp(other, SERVER, 9000, ACK, LINE),
        tcp(other, SERVER, 9044, ACK, b"payload"),
    ];
    let (lines, code, _) = told(&packets);
    assert_eq!((lines.len(), code), (1, Some(0)));
    assert_eq!((&lines[0]["flow"]["src"], &lines[0]["flow"]["packet"]), (&json!(other), &json!(2)));
}

#[test]
fn a_port_that_is_used_again_is_another_connection() {
    let packets = [
        connection(&[(0, LINE)]),
        vec![tcp(CLIENT, SERVER, 4000, SYN, b""), tcp(CLIENT, SERVER, 4001, ACK, &v2(0x11))],
    ];
    let (lines, ..) = told(&packets.concat());
    let versions: Vec<&Value> = lines.iter().map(|line| &line["version"]).collect();
    assert_eq!(versions, [1, 2]);
}

#[test]
fn datagrams_are_headers_each_or_the_first_alone() {
    let spp = [b"\x56\xec".as_slice(), &[0x20; 36], b"payload"].concat();
    let quic = "10.0.0.3:443";
    let packets = [
        udp(CLIENT, SERVER, &v2(0x12)),
        udp(SERVER, CLIENT, b"an answer"),
        udp(CLIENT, SERVER, b"the payload of a second"),
        udp(CLIENT, SERVER, &v2(0x12)),
        udp("10.0.0.4:1", SERVER, &spp),
        udp(quic, SERVER, b"never a header"),
        udp(quic, SERVER, b"never a header"),
        udp("10.0.0.5:1", SERVER, &v2(0x12)[..20]),
    ];
    let (lines, code, _) = told(&packets);
    let short: Vec<_> = lines
        .iter()
        .map(|line| (line["flow"]["packet"].as_u64().unwrap(), line["result"].as_str().unwrap()))
        .collect();
    assert_eq!(short, [(1, "ok"), (4, "ok"), (5, "ok"), (6, "not_proxy"), (8, "error")]);
    assert_eq!((&lines[2]["version"], code), (&json!("spp"), Some(1)));
}

#[test]
fn what_is_not_whole_is_noted() {
    let mut fragment = tcp(CLIENT, SERVER, 1, SYN, LINE);
    fragment[6] |= 0x20;
    let mut file =
        pcap(Order::Little, MICROSECONDS, RAW, &[fragment, tcp(CLIENT, SERVER, 1, SYN, LINE)]);
    // The second packet was longer than what was kept.
    let len = file.len() - 84 - 4;
    file[len] += 9;
    let ran = decode(&["--json"], &file);
    assert_eq!(ran.json()["result"], "ok");
    let notes = "packets that are fragments of IP, which are not joined: 1\n\
        packets that were cut when they were captured: tcpdump -s 0 keeps them whole: 1\n";
    assert_eq!(ran.stderr, notes);
    // tcpdump was stopped in the middle of a packet.
    let ran = decode(&["--json"], &file[..file.len() - 3]);
    assert_eq!((ran.code, ran.text()), (Some(1), ""));
    assert!(ran.stderr.ends_with("nobody sends anything in it by TCP or UDP\n"), "{}", ran.stderr);
}

#[test]
fn what_is_no_capture_is_a_usage_error() {
    decode(&[], b"").assert_refused(&["stdin", "neither pcap nor pcapng"]);
    decode(&[], LINE).assert_refused(&["neither pcap nor pcapng"]);
    let wireless = pcap(Order::Little, MICROSECONDS, 105, &[vec![0; 40]]);
    decode(&[], &wireless).assert_refused(&["link type 105", "Ethernet"]);
    let empty = decode(&[], &pcap(Order::Big, MICROSECONDS, 1, &[]));
    assert_eq!((empty.code, empty.text()), (Some(1), ""));
    let mut broken = pcapng(Order::Big, 1, &[]);
    let at = broken.len() - 1;
    broken[at] = 0;
    decode(&[], &broken).assert_refused(&["broken behind packet 0"]);
    let mut long = pcap(Order::Big, MICROSECONDS, 1, &[vec![0; 20]]);
    long[32] = 0x7f;
    let more = [long, vec![0; 1 << 20]].concat();
    decode(&[], &more).assert_refused(&["packet 1 is longer than"]);
    decode(&["/"], b"").assert_refused(&["Is a directory"]);
    decode(&["--eof"], b"").assert_refused(&["--pcap", "--eof"]);
    assert!(run(&["decode"], &wireless).text().contains("try --pcap"));
}
