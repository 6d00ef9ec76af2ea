//! The header that upstream is sent, for everything that may come in.
//!
//! What is expected is put together here from the rules, with `common::wire`, and compared byte by
//! byte: family, order and all.

use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;

use crate::common::far_end::FarEnd;
use crate::common::payload::assert_same;
use crate::common::wire::{CRC32C, Command, SIGNATURE, V2, v1, v2};
use crate::support::{
    Listener, OPTIONAL, Peer, REQUIRE, Setup, link, local, sealed, segments_received,
    wait_until_taken, with_tlvs,
};

const PAYLOAD: &[u8] = b"payload";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Send {
    Off,
    V1,
    V2,
}

/// What a header that came in carries.
#[derive(Clone, Copy)]
enum Carries {
    /// These addresses.
    Pair(SocketAddr, SocketAddr),
    /// None that a TCP connection could have: the socket's own are told.
    Nothing,
    /// LOCAL.
    Local,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Every kind of header, and none at all.
fn received() -> Vec<(&'static str, Vec<u8>, Carries)> {
    let pairs = [
        ("v4", "192.0.2.7:51000", "198.51.100.1:443"),
        ("port 0", "192.0.2.7:0", "198.51.100.1:65535"),
        ("v6", "[2001:db8::7]:51000", "[2001:db8::1]:443"),
        ("mapped", "[::ffff:192.0.2.7]:51000", "[::ffff:198.51.100.1]:443"),
        ("half mapped", "[2001:db8::7]:51000", "[::ffff:198.51.100.1]:443"),
    ];
    let mut all = Vec::new();
    for (name, source, destination) in pairs {
        let (source, destination) = (addr(source), addr(destination));
        all.push((name, v2(source, destination), Carries::Pair(source, destination)));
        all.push((name, v1(source, destination), Carries::Pair(source, destination)));
    }
    let head = |tail: &[u8]| [&SIGNATURE[..], tail].concat();
    let unix = [&head(&[0x21, 0x31, 0, 216])[..], &[b'/'; 216]].concat();
    let datagram = {
        let mut header = v2(addr("192.0.2.7:51000"), addr("198.51.100.1:443"));
        header[13] = 0x12;
        header
    };
    all.extend([
        ("nothing", Vec::new(), Carries::Nothing),
        ("UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), Carries::Nothing),
        ("UNKNOWN with a tail", b"PROXY UNKNOWN ::1 ::1 1 2\r\n".to_vec(), Carries::Nothing),
        ("UNSPEC", head(&[0x21, 0x00, 0, 0]), Carries::Nothing),
        ("UNIX", unix, Carries::Nothing),
        ("datagram", datagram, Carries::Nothing),
        ("LOCAL", local(), Carries::Local),
    ]);
    all
}

/// A pair as it is written: never of two families, and IPv4 as IPv4 where both are.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let as_v4 = |addr: SocketAddr| match addr.ip().to_canonical() {
        IpAddr::V4(ip) => Some(SocketAddr::new(ip.into(), addr.port())),
        IpAddr::V6(_) => None,
    };
    let as_v6 = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    match as_v4(source).zip(as_v4(destination)) {
        Some(pair) => pair,
        None => (as_v6(source), as_v6(destination)),
    }
}

/// A v1 line whose IPv6 addresses hold nothing but hexadecimal groups, as the specification has it:
/// not every receiver knows the dotted tail of a mapped address.
fn v1_without_dots(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut line = String::from_utf8(v1(source, destination)).expect("a line of text");
    for addr in [source, destination] {
        if let IpAddr::V6(ip) = addr.ip()
            && let Some(v4) = ip.to_ipv4_mapped()
        {
            let [.., high, low] = ip.segments();
            line = line.replace(&format!("::ffff:{v4}"), &format!("::ffff:{high:x}:{low:x}"));
        }
    }
    line.into_bytes()
}

fn every_header_is_sent_on(send: Send, destination: &str) {
    let far = FarEnd::start();
    let version = match send {
        Send::Off => "off",
        Send::V1 => "v1",
        Send::V2 => "v2",
    };
    let lines = match send {
        Send::Off => String::new(),
        Send::V1 | Send::V2 => {
            format!("send = \"{version}\"\ndestination = \"{destination}\"")
        }
    };
    let server = Setup::to(&[far.addr()]).accept(OPTIONAL).send(&lines).start();
    for (index, (name, header, carries)) in received().into_iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send_with_fin(&[&header[..], PAYLOAD].concat());
        let pair = match carries {
            Carries::Pair(from, to) if destination == "original" => Some((from, to)),
            Carries::Pair(from, _) => Some((from, server.addr())),
            Carries::Nothing => Some((client.addr(), server.addr())),
            Carries::Local => None,
        };
        let pair = pair.map(|(from, to)| of_one_family(from, to));
        let expected = match (send, pair) {
            (Send::Off, _) => Vec::new(),
            (Send::V1, Some((from, to))) => v1_without_dots(from, to),
            (Send::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
            (Send::V2, Some((from, to))) => v2(from, to),
            (Send::V2, None) => local(),
        };
        let seen = far.ended(index).received;
        let expected = [&expected[..], PAYLOAD].concat();
        assert!(
            seen == expected,
            "{name}, send {version}, destination {destination}: upstream was sent {}, not {}",
            seen.escape_ascii(),
            expected.escape_ascii(),
        );
    }
}

#[test]
fn nothing_is_sent_with_send_off() {
    every_header_is_sent_on(Send::Off, "original");
}

#[test]
fn a_v1_line_tells_the_original_destination() {
    every_header_is_sent_on(Send::V1, "original");
}

#[test]
fn a_v1_line_tells_our_own_address_where_that_is_asked_for() {
    every_header_is_sent_on(Send::V1, "local");
}

#[test]
fn a_v2_header_tells_the_original_destination() {
    every_header_is_sent_on(Send::V2, "original");
}

#[test]
fn a_v2_header_tells_our_own_address_where_that_is_asked_for() {
    every_header_is_sent_on(Send::V2, "local");
}

#[test]
fn a_plain_client_on_ipv6_is_told_as_ipv6() {
    let far = FarEnd::start();
    for (index, (version, write)) in
        [("v1", v1 as fn(SocketAddr, SocketAddr) -> Vec<u8>), ("v2", v2)].into_iter().enumerate()
    {
        let setup = Setup::to(&[far.addr()]).bind("[::1]:0");
        let server = setup.send(&format!("send = \"{version}\"")).start();
        let client = Peer::connect_from(server.addr().ip(), server.addr());
        client.send_with_fin(PAYLOAD);
        let expected = [&write(client.addr(), server.addr())[..], PAYLOAD].concat();
        assert_same(&far.ended(index).received, &expected);
    }
}

/// TLVs of every sort: text, binary with NULs, empty, twice the same, custom, padding.
const TLVS: [(u8, &[u8]); 7] = [
    (0x01, b"h2"),
    (0x02, b"example.com"),
    (0xEA, b"\x01vpce-0\0\xff"),
    (0xE0, b""),
    (0xEA, b"\x01second"),
    (0x04, b"\0\0\0\0"),
    (0x05, &[0xA5; 128]),
];

fn with_all_tlvs() -> Vec<u8> {
    with_tlvs(v2(addr("192.0.2.7:51000"), addr("198.51.100.1:443")), &TLVS)
}

/// The header upstream is sent for `header`, with these lines for the sender.
fn sent_for(header: &[u8], lines: &str) -> Vec<u8> {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).send(lines).start();
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[header, PAYLOAD].concat());
    let mut seen = far.ended(0).received;
    let len = V2::read(&seen).len;
    assert_same(&seen[len..], PAYLOAD);
    seen.truncate(len);
    seen
}

#[test]
fn tlvs_are_passed_byte_for_byte_and_in_order() {
    let header = with_all_tlvs();
    assert_same(&sent_for(&header, "send = \"v2\"\ntlv_pass = \"all\""), &header);
}

#[test]
fn only_the_listed_tlvs_are_passed_and_none_without_a_list() {
    let sent = sent_for(&with_all_tlvs(), "send = \"v2\"\ntlv_pass = [0xEA, 0x01, 0x99]");
    let expected = [TLVS[0], TLVS[2], TLVS[4]];
    let bare = v2(addr("192.0.2.7:51000"), addr("198.51.100.1:443"));
    assert_same(&sent, &with_tlvs(bare.clone(), &expected));
    assert_same(&sent_for(&with_all_tlvs(), "send = \"v2\""), &bare);
}

#[test]
fn tlvs_that_are_set_follow_those_that_pass_and_replace_those_of_their_types() {
    let set = "tlv_set = [{ type = 0xEA, value = 'edge-1' }, { type = 0xE1, value = 'hex:00ff' }]";
    let all = format!("send = \"v2\"\ntlv_pass = \"all\"\n{set}");
    let ours: [(u8, &[u8]); 2] = [(0xEA, b"edge-1"), (0xE1, b"\0\xff")];
    let passed = [TLVS[0], TLVS[1], TLVS[3], TLVS[5], TLVS[6]];
    let bare = v2(addr("192.0.2.7:51000"), addr("198.51.100.1:443"));
    let both = [&passed[..], &ours].concat();
    assert_same(&sent_for(&with_all_tlvs(), &all), &with_tlvs(bare.clone(), &both));
    let only = format!("send = \"v2\"\n{set}");
    assert_same(&sent_for(&with_all_tlvs(), &only), &with_tlvs(bare.clone(), &ours));
    // Whatever came: a line, LOCAL, and with a checksum over all of it.
    let line = v1(addr("192.0.2.7:51000"), addr("198.51.100.1:443"));
    assert_same(&sent_for(&line, &only), &with_tlvs(bare.clone(), &ours));
    assert_same(&sent_for(&local(), &only), &with_tlvs(local(), &ours));
    let summed = format!("{only}\ncrc32c = true");
    assert_same(&sent_for(&line, &summed), &sealed(with_tlvs(bare, &ours)));
}

#[test]
fn a_checksum_is_computed_anew_over_what_is_sent() {
    // `V2::read` checks every checksum it meets.
    let header = sealed(with_all_tlvs());
    assert_same(&sent_for(&header, "send = \"v2\"\ntlv_pass = \"all\""), &header);
    let sent = sent_for(&header, "send = \"v2\"\ntlv_pass = [0x02]");
    let kinds: Vec<u8> = V2::read(&sent).tlvs.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0x02, CRC32C]);
    let sent = sent_for(&header, "send = \"v2\"");
    assert_eq!(V2::read(&sent).values(CRC32C).len(), 1, "it came in, so one goes out");
}

#[test]
fn a_checksum_is_added_where_it_is_asked_for() {
    for (header, command) in [(with_all_tlvs(), Command::Proxy), (local(), Command::Local)] {
        let sent = sent_for(&header, "send = \"v2\"\ncrc32c = true");
        let read = V2::read(&sent);
        assert_eq!((read.command, read.values(CRC32C).len()), (command, 1));
    }
    let sent = sent_for(&with_all_tlvs(), "send = \"v2\"\ntlv_pass = \"all\"");
    assert!(V2::read(&sent).values(CRC32C).is_empty(), "none came in, none was asked for");
}

#[test]
fn our_header_and_the_first_payload_leave_in_one_segment() {
    let far = Listener::start();
    let header = v2(addr("192.0.2.7:51000"), addr("198.51.100.1:443"));
    let setup = Setup::to(&[far.addr()]).accept(REQUIRE).timeouts("header = \"1h\"");
    let server = setup.send("send = \"v2\"").start();
    // Whole, and in two parts with the payload behind the second one.
    for cut in [0, 1, 12, 16, 27] {
        let client = Peer::connect(server.addr());
        if cut > 0 {
            client.send(&header[..cut]);
            wait_until_taken(client.addr(), server.addr());
        }
        client.send(&[&header[cut..], PAYLOAD].concat());
        let upstream = far.accept();
        upstream.expect(&[&header[..], PAYLOAD].concat());
        assert_eq!(segments_received(upstream.addr(), upstream.remote()), 1);
        client.send(PAYLOAD);
        upstream.expect(PAYLOAD);
        assert_eq!(segments_received(upstream.addr(), upstream.remote()), 2, "they are counted");
    }
}

#[test]
fn the_first_bytes_of_a_plain_client_leave_with_our_header() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).send("send = \"v2\"").start();
    let mut merged = 0;
    for _ in 0..100 {
        let client = Peer::connect(server.addr());
        client.send(PAYLOAD);
        let upstream = far.accept();
        let header = v2(client.addr(), server.addr());
        upstream.expect(&[&header[..], PAYLOAD].concat());
        // Two where the server had accepted the client before it said anything: nobody waits.
        if segments_received(upstream.addr(), upstream.remote()) == 1 {
            merged += 1;
        }
    }
    assert!(merged > 0, "not one of 100");
}

#[test]
fn small_writes_leave_at_once_though_the_last_one_is_not_acknowledged() {
    const WRITES: usize = 10;
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).start();
    let (client, upstream) = link(server.addr(), &far);
    // Nagle's rule would wait for acknowledgements, and so these are to come late (tcp(7)).
    SockRef::from(upstream.stream()).set_tcp_quickack(false).expect("a TCP socket has the option");
    let segments = || segments_received(upstream.addr(), upstream.remote());
    let before = segments();
    for _ in 0..WRITES {
        client.send(PAYLOAD);
        wait_until_taken(client.addr(), server.addr());
    }
    upstream.expect(&PAYLOAD.repeat(WRITES));
    assert!(segments() - before >= WRITES, "{} for {WRITES} writes", segments() - before);
}
