//! A good header, however it is cut: upstream sees ours first and whole, then the payload exactly.

use std::net::SocketAddr;

use crate::common::far_end::{Conversation, End, FarEnd};
use crate::common::payload::assert_same;
use crate::common::wire::{Command, V2, v1, v2};
use crate::support::{
    Listener, Peer, REQUIRE, Setup, link, local, sealed, wait_until_taken, with_tlvs,
};

const PAYLOAD: &[u8] = b"EHLO client.example\r\n\0\xff PROXY TCP4 is payload here\r\n";

const TLVS: [(u8, &[u8]); 3] =
    [(0x02, b"example.com"), (0xEA, b"\x01vpce-0123"), (0x04, b"\0\0\0")];

fn told() -> (SocketAddr, SocketAddr) {
    let source = "192.0.2.7:51000".parse().expect("an address");
    (source, "198.51.100.1:443".parse().expect("an address"))
}

fn v1_line() -> Vec<u8> {
    let (source, destination) = told();
    v1(source, destination)
}

fn v2_with_tlvs() -> Vec<u8> {
    let (source, destination) = told();
    sealed(with_tlvs(v2(source, destination), &TLVS))
}

/// Upstream was sent our header, whole and once, then the payload and the FIN.
#[track_caller]
fn assert_relayed(seen: &Conversation, tlvs: usize) {
    let header = V2::read(&seen.received);
    assert_eq!((header.command, header.addresses), (Command::Proxy, Some(told())));
    assert_eq!(header.tlvs.len(), tlvs);
    assert_same(&seen.received[header.len..], PAYLOAD);
    assert_eq!(seen.end, Some(End::Fin));
}

/// A server that gives a header all the time that looking at each of its bytes takes.
fn patient(far: SocketAddr) -> Setup {
    let setup = Setup::to(&[far]).accept(REQUIRE).timeouts("header = \"1h\"");
    setup.send("send = \"v2\"\ntlv_pass = \"all\"")
}

/// The first part is read by the server before the second one leaves: nothing joins them again.
fn every_split_arrives_whole(header: &[u8], tlvs: usize) {
    let far = FarEnd::start();
    let server = patient(far.addr()).start();
    let sent = [header, PAYLOAD].concat();
    let cuts = 1..=header.len() + 2;
    for (index, cut) in cuts.clone().enumerate() {
        let client = Peer::connect(server.addr());
        client.send(&sent[..cut]);
        wait_until_taken(client.addr(), server.addr());
        client.send_with_fin(&sent[cut..]);
        let (answer, end) = client.rest();
        assert_eq!(end, End::Fin, "cut at {cut}");
        let seen = far.ended(index);
        assert_relayed(&seen, tlvs);
        assert_same(&answer, &seen.received);
    }
    assert_eq!(far.accepted(), cuts.count());
}

#[test]
fn a_v1_line_cut_at_any_byte_is_relayed_as_if_it_were_whole() {
    every_split_arrives_whole(&v1_line(), 0);
}

#[test]
fn a_v2_header_with_tlvs_cut_at_any_byte_is_relayed_as_if_it_were_whole() {
    every_split_arrives_whole(&v2_with_tlvs(), TLVS.len() + 1);
}

#[test]
fn headers_that_come_byte_by_byte_are_relayed_whole() {
    let far = FarEnd::start();
    let server = patient(far.addr()).start();
    for (index, (header, tlvs)) in
        [(v1_line(), 0), (v2_with_tlvs(), TLVS.len() + 1)].into_iter().enumerate()
    {
        let client = Peer::connect(server.addr());
        for byte in header.iter().chain(PAYLOAD) {
            client.send(&[*byte]);
            wait_until_taken(client.addr(), server.addr());
        }
        client.fin();
        assert_relayed(&far.ended(index), tlvs);
    }
}

#[test]
fn a_header_with_its_fin_in_one_segment_reaches_upstream_with_the_fin() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).send("send = \"v1\"").start();
    for (index, header) in [v1_line(), v2_with_tlvs()].into_iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send_with_fin(&header);
        let seen = far.ended(index);
        assert_same(&seen.received, &v1_line());
        assert_eq!(seen.end, Some(End::Fin));
        assert_eq!(client.rest(), (v1_line(), End::Fin));
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_before_a_plain_client_says_anything() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).send("send = \"v1\"").start();
    let (client, upstream) = link(server.addr(), &far);
    upstream.expect(&v1(client.addr(), server.addr()));
    upstream.send(b"220 ready\r\n");
    client.expect(b"220 ready\r\n");
    client.send_with_fin(PAYLOAD);
    upstream.expect_last(PAYLOAD);
    upstream.fin();
    client.expect_last(b"");
}

#[test]
fn a_server_that_speaks_first_is_heard_as_soon_as_the_header_is_there() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).send("send = \"v1\"").start();
    for header in [v1_line(), v2_with_tlvs()] {
        let client = Peer::connect(server.addr());
        client.send(&header);
        let upstream = far.accept();
        upstream.expect(&v1_line());
        upstream.send(b"220 ready\r\n");
        client.expect(b"220 ready\r\n");
        client.send(PAYLOAD);
        upstream.expect(PAYLOAD);
    }
}

#[test]
fn a_second_header_behind_the_first_is_payload() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).send("send = \"v1\"").start();
    for (index, second) in [v1_line(), v2_with_tlvs()].into_iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send_with_fin(&[v1_line(), second.clone()].concat());
        assert_same(&far.ended(index).received, &[v1_line(), second].concat());
    }
}

#[test]
fn without_a_header_to_send_upstream_sees_the_payload_alone() {
    let far = FarEnd::start();
    let mut server = Setup::to(&[far.addr()]).accept(REQUIRE).start();
    for (index, header) in [v1_line(), v2_with_tlvs()].into_iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send_with_fin(&[&header[..], PAYLOAD].concat());
        assert_same(&far.ended(index).received, PAYLOAD);
        let account = server.account_of(client.addr());
        assert_eq!(account.client, told().0.to_string());
        assert_eq!(account.bytes_in, u64::try_from(PAYLOAD.len()).expect("short"));
    }
}

#[test]
fn a_header_of_exactly_the_longest_length_taken_is_relayed() {
    let far = FarEnd::start();
    let setup = Setup::to(&[far.addr()]).accept(REQUIRE);
    let server = setup.send("send = \"v2\"\ntlv_pass = \"all\"").start();
    let (source, destination) = told();
    let header = with_tlvs(v2(source, destination), &[(0xE0, &[7; 4096 - 28 - 3])]);
    assert_eq!(header.len(), 4096, "the default of header_max");
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[&header[..], PAYLOAD].concat());
    assert_same(&far.ended(0).received, &[&header[..], PAYLOAD].concat());
}

#[test]
fn a_v2_header_without_a_checksum_is_refused_where_one_is_required() {
    let far = FarEnd::start();
    let accept = format!("{REQUIRE}\ncrc32c = \"require\"");
    let server = Setup::to(&[far.addr()]).accept(&accept).send("send = \"v2\"").start();
    let (source, destination) = told();
    let bare = v2(source, destination);
    for header in [bare.clone(), with_tlvs(bare, &TLVS), local()] {
        let client = Peer::connect(server.addr());
        client.send(&header);
        client.expect_reset();
    }
    // A v1 line has none to be required.
    for (index, header) in [v2_with_tlvs(), v1_line()].iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send_with_fin(&[&header[..], PAYLOAD].concat());
        assert_relayed(&far.ended(index), 1 - index);
    }
    let (_, refusals) = server.stop_and_read();
    assert_eq!(refusals.len(), 3);
    for refusal in refusals {
        assert_eq!(refusal["error"], "crc_missing");
        let why = refusal["why"].as_str().expect("a text");
        assert!(why.ends_with(": crc32c is \"require\""), "{why}");
    }
}

/// What nginx's stream module writes where `set_real_ip_from` has changed the client's family.
#[test]
fn a_v1_line_of_mixed_families_is_taken_where_told_so_and_refused_with_the_key_elsewhere() {
    let mixed: [(&[u8], &[u8], [&str; 3]); 2] = [
        (
            b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n",
            b"PROXY TCP6 2001:db8::7 ::ffff:c000:201 51820 443\r\n",
            ["[2001:db8::7]:51820", "[2001:db8::7]:51820", "[::ffff:192.0.2.1]:443"],
        ),
        (
            b"PROXY TCP4 192.0.2.7 2001:db8::1 51820 443\r\n",
            b"PROXY TCP6 ::ffff:c000:207 2001:db8::1 51820 443\r\n",
            ["192.0.2.7:51820", "[::ffff:192.0.2.7]:51820", "[2001:db8::1]:443"],
        ),
    ];
    for (line, line_sent, [client_told, source, destination]) in mixed {
        let strict = Setup::to(&[FarEnd::start().addr()]).accept(REQUIRE).start();
        let client = Peer::connect(strict.addr());
        client.send(line);
        client.expect_reset();
        let (_, refusals) = strict.stop_and_read();
        let why = refusals[0]["why"].as_str().expect("a text");
        assert!(why.ends_with("v1_families is \"strict\", \"mixed\" takes such a line"), "{why}");

        let addr = |text: &str| text.parse().expect("an address");
        let block_sent = v2(addr(source), addr(destination));
        for (send, sent) in [("v1", line_sent), ("v2", &block_sent[..])] {
            let far = FarEnd::start();
            let setup = Setup::to(&[far.addr()]);
            let setup = setup.accept(&format!("{REQUIRE}\nv1_families = \"mixed\""));
            let mut server = setup.send(&format!("send = \"{send}\"")).start();
            let client = Peer::connect(server.addr());
            client.send(&line[..30]);
            wait_until_taken(client.addr(), server.addr());
            client.send_with_fin(&[&line[30..], PAYLOAD].concat());
            assert_same(&far.ended(0).received, &[sent, PAYLOAD].concat());
            assert_eq!(server.account_of(client.addr()).client, client_told);
        }
    }
}

#[test]
fn a_wrong_checksum_is_relayed_where_nobody_is_to_look() {
    let far = FarEnd::start();
    let accept = format!("{REQUIRE}\ncrc32c = \"ignore\"");
    let server = Setup::to(&[far.addr()]).accept(&accept).send("send = \"v2\"").start();
    let mut header = v2_with_tlvs();
    *header.last_mut().expect("a header has bytes") ^= 1;
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[&header[..], PAYLOAD].concat());
    // One came in, so one goes out: computed anew, it is right.
    assert_relayed(&far.ended(0), 1);
}
