//! Whose headers are believed, and what becomes of the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::common::far_end::{End, FarEnd};
use crate::common::payload::assert_same;
use crate::common::socket::Client;
use crate::common::wire::{V2, v1, v2};
use crate::support::{Peer, Setup, assert_closed};

const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 5));

fn header() -> Vec<u8> {
    let source = "192.0.2.7:51000".parse().expect("an address");
    v2(source, "198.51.100.1:443".parse().expect("an address"))
}

#[test]
fn an_untrusted_peer_is_reset_whatever_it_sends_and_nothing_goes_upstream() {
    let far = FarEnd::start();
    let setup = Setup::to(&[far.addr()]).send("send = \"v2\"");
    let server = setup.accept("accept = \"require\"\ntrust = [\"127.0.0.0/24\", \"::1\"]").start();
    for sent in [&header()[..], b"PROXY UNKNOWN\r\n", b"GET / HTTP/1.1\r\n\r\n", b""] {
        Client::connect(STRANGER, server.addr()).exchange(sent).assert_reset();
    }
    assert_eq!(far.accepted(), 0);
    // A trusted one through the same server: the check can see a connection.
    let sent = [&header()[..], b"payload"].concat();
    let answer = Client::connect(TRUSTED, server.addr()).exchange(&sent).complete();
    assert_same(&answer, &sent);
    assert_eq!(far.accepted(), 1);
    let (counters, refusals) = server.stop_and_read();
    assert_closed(&counters, &[("untrusted", 4), ("done", 1)]);
    assert_eq!(refusals.len(), 1, "one peer: {refusals:?}");
    assert_eq!(refusals[0]["reason"], "untrusted");
    assert_eq!(refusals[0].get("bytes"), None, "nothing was read: {refusals:?}");
}

#[test]
fn an_untrusted_silent_peer_is_reset_without_being_waited_for() {
    let far = FarEnd::start();
    let accept = "accept = \"optional\"\ntrust = [\"127.0.0.0/24\"]";
    let server = Setup::to(&[far.addr()]).accept(accept).timeouts("header = \"1h\"").start();
    Client::connect(STRANGER, server.addr()).ask(b"").assert_reset();
    assert_closed(&server.stop(), &[("untrusted", 1)]);
}

#[test]
fn an_untrusted_peer_taken_as_plain_cannot_forge_an_address() {
    let sent = [&header()[..], b"payload"].concat();
    for presence in ["require", "optional"] {
        let far = FarEnd::start();
        let accept =
            format!("accept = \"{presence}\"\ntrust = [\"127.0.0.0/24\"]\nuntrusted = \"plain\"");
        let mut server = Setup::to(&[far.addr()]).accept(&accept).send("send = \"v2\"").start();
        let client = Peer::connect_from(STRANGER, server.addr());
        client.send_with_fin(&sent);
        let seen = far.ended(0);
        // Ours goes first and tells the socket's own addresses; theirs is payload behind it.
        let ours = v2(client.addr(), server.addr());
        assert_same(&seen.received, &[&ours[..], &sent].concat());
        assert_eq!(server.account_of(client.addr()).client, client.addr().to_string());
        assert_eq!(client.rest().1, End::Fin);
        // The same bytes from a trusted peer are believed.
        let client = Peer::connect_from(TRUSTED, server.addr());
        client.send_with_fin(&sent);
        assert_same(&far.ended(1).received, &sent);
        assert_eq!(server.account_of(client.addr()).client, "192.0.2.7:51000");
    }
}

#[test]
fn a_plain_peer_behind_a_raw_hop_cannot_slip_a_header_of_its_own_in_front() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).send("send = \"v1\"").start();
    let client = Peer::connect(server.addr());
    client.send_with_fin(b"PROXY TCP4 6.6.6.6 6.6.6.6 6 6\r\npayload");
    let ours = v1(client.addr(), server.addr());
    let expected = [&ours[..], b"PROXY TCP4 6.6.6.6 6.6.6.6 6 6\r\npayload"].concat();
    assert_same(&far.ended(0).received, &expected);
}

#[test]
fn an_ipv4_peer_on_an_ipv6_socket_matches_an_ipv4_network() {
    let far = FarEnd::start();
    let accept = "accept = \"require\"\ntrust = [\"127.0.0.0/24\"]";
    let server = Setup::to(&[far.addr()]).accept(accept).send("send = \"v2\"").start();
    let mapped = |ip: Ipv4Addr| IpAddr::V6(ip.to_ipv6_mapped());
    let to = SocketAddr::new(mapped(Ipv4Addr::LOCALHOST), server.addr().port());
    let sent = [&header()[..], b"payload"].concat();
    let client = Peer::connect_from(mapped(Ipv4Addr::new(127, 0, 0, 5)), to);
    client.send_with_fin(&sent);
    assert_same(&far.ended(0).received, &sent);
    Client::connect(mapped(Ipv4Addr::new(127, 0, 1, 5)), to).exchange(&sent).assert_reset();
    assert_eq!(far.accepted(), 1);
}

#[test]
fn an_ipv6_peer_is_judged_by_ipv6_networks_alone() {
    let far = FarEnd::start();
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (trust, is_trusted) in [("::1/128", true), ("fd00::/8", false), ("0.0.0.0/0", false)] {
        let accept = format!("accept = \"require\"\ntrust = [\"{trust}\"]");
        let setup = Setup::to(&[far.addr()]).accept(&accept).bind("[::1]:0");
        let server = setup.send("send = \"v2\"").start();
        let before = far.accepted();
        let client = Client::connect(loopback, server.addr());
        let answer = client.exchange(&header());
        if is_trusted {
            let seen = far.ended(before);
            let header = V2::read(&seen.received);
            assert_eq!(header.len, answer.complete().len());
        } else {
            answer.assert_reset();
            assert_eq!(far.accepted(), before);
        }
    }
}
