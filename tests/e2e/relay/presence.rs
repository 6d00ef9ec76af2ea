//! Who has to send a header: `accept = "off" | "require" | "optional"`.
//!
//! The decision falls at a byte, never by waiting: what a test expects to be undecided has been
//! read by the server first.

use std::time::Duration;

use crate::common::far_end::{End, FarEnd};
use crate::common::payload::assert_same;
use crate::common::wire::{SIGNATURE, v1};
use crate::support::{Listener, OPTIONAL, Peer, REQUIRE, Setup, assert_closed, wait_until_taken};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n";

/// What a plain peer may begin with, and the byte that rules a header out.
const PLAIN: [(&[u8], u8); 6] = [
    (b"", b'G'),
    (b"P", b'O'),
    (b"PRO", b'P'),
    (b"PROX", b'I'),
    (b"\r\n", b'G'),
    (b"\r\n\r\n\0\r\nQUIT", b'\r'),
];

#[test]
fn off_takes_a_header_for_payload() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).start();
    let client = Peer::connect(server.addr());
    client.send_with_fin(LINE);
    assert_same(&far.ended(0).received, LINE);
    assert_eq!(client.rest(), (LINE.to_vec(), End::Fin));
}

#[test]
fn require_refuses_a_plain_peer_at_the_first_impossible_byte() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).start();
    for (prefix, byte) in PLAIN {
        let client = Peer::connect(server.addr());
        client.send(prefix);
        wait_until_taken(client.addr(), server.addr());
        assert!(client.is_quiet(), "refused before {byte:#04x} behind {prefix:?}");
        client.send(&[byte]);
        client.expect_reset();
    }
    assert_eq!(far.accepted(), 0);
    assert_closed(&server.stop(), &[("header_absent", PLAIN.len())]);
}

#[test]
fn optional_decides_for_plain_at_the_first_impossible_byte() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(OPTIONAL).start();
    for (index, (prefix, byte)) in PLAIN.into_iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send(prefix);
        wait_until_taken(client.addr(), server.addr());
        assert_eq!(far.accepted(), index, "decided before {byte:#04x} behind {prefix:?}");
        client.send(&[byte]);
        // The echo comes without a FIN from the client: the byte alone decided.
        let sent = [prefix, &[byte]].concat();
        client.expect(&sent);
        client.fin();
        assert_same(&far.ended(index).received, &sent);
    }
    assert_closed(&server.stop(), &[("done", PLAIN.len())]);
}

#[test]
fn optional_takes_a_header_where_there_is_one() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(OPTIONAL).start();
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[LINE, b"payload"].concat());
    assert_same(&far.ended(0).received, b"payload");
}

#[test]
fn optional_takes_an_end_before_the_commitment_for_plain_and_behind_it_for_an_error() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(OPTIONAL).start();
    let uncommitted: [&[u8]; 4] = [b"P", b"PROX", b"\r", &SIGNATURE[..11]];
    for (index, prefix) in uncommitted.into_iter().enumerate() {
        let client = Peer::connect(server.addr());
        client.send(prefix);
        wait_until_taken(client.addr(), server.addr());
        client.fin();
        assert_eq!(client.rest(), (prefix.to_vec(), End::Fin), "behind {prefix:?}");
        assert_same(&far.ended(index).received, prefix);
    }
    let committed: [&[u8]; 3] = [b"PROXY", b"PROXY TCP4 1.2.3.4", SIGNATURE];
    for prefix in committed {
        for split in [false, true] {
            let client = Peer::connect(server.addr());
            if split {
                client.send(prefix);
                wait_until_taken(client.addr(), server.addr());
                client.fin();
            } else {
                client.send_with_fin(prefix);
            }
            client.expect_reset();
        }
    }
    assert_eq!(far.accepted(), uncommitted.len());
    let ends = [("done", uncommitted.len()), ("header_truncated", 2 * committed.len())];
    assert_closed(&server.stop(), &ends);
}

#[test]
fn an_end_before_the_first_byte_is_a_probe() {
    let far = FarEnd::start();
    for accept in [REQUIRE, OPTIONAL] {
        let mut server = Setup::to(&[far.addr()]).accept(accept).start();
        let probe = Peer::connect(server.addr());
        probe.fin();
        assert_eq!(probe.rest(), (Vec::new(), End::Fin), "a probe is answered in peace");
        assert_eq!(server.account_of(probe.addr()).reason, "probe");
        let (counters, refusals) = server.stop_and_read();
        assert_eq!(refusals.len(), 0, "a probe is no refusal");
        assert_closed(&counters, &[("probe", 1)]);
    }
    assert_eq!(far.accepted(), 0);
}

#[test]
fn require_takes_an_end_inside_the_header_for_an_error() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).start();
    let prefixes: [&[u8]; 4] = [b"P", b"PROXY TCP4 1.2.3.4", b"\r\n", SIGNATURE];
    for prefix in prefixes {
        let client = Peer::connect(server.addr());
        client.send_with_fin(prefix);
        client.expect_reset();
    }
    assert_eq!(far.accepted(), 0);
    let (counters, refusals) = server.stop_and_read();
    assert_eq!(refusals.len(), prefixes.len());
    assert_closed(&counters, &[("header_truncated", prefixes.len())]);
}

#[test]
fn optional_closes_a_silent_peer_at_the_header_deadline() {
    let far = FarEnd::start();
    let setup = Setup::to(&[far.addr()]).accept(OPTIONAL);
    let mut server = setup.timeouts("header = \"300ms\"").start();
    for prefix in [&b""[..], b"PRO"] {
        let client = Peer::connect(server.addr());
        client.send(prefix);
        client.expect_reset();
        let account = server.account_of(client.addr());
        assert_eq!(account.reason, "header_timeout");
        assert!(account.duration >= Duration::from_millis(300), "{account:?}");
    }
    assert_eq!(far.accepted(), 0);
}

/// The server speaks first, as SMTP's does, and its clients wait for that.
#[test]
fn a_silent_peer_is_let_in_at_the_header_deadline_where_silence_is_plain() {
    let far = Listener::start();
    let setup = Setup::to(&[far.addr()]).accept(&format!("{OPTIONAL}\nsilent = \"plain\""));
    let mut server = setup.send("send = \"v1\"").timeouts("header = \"300ms\"").start();
    let client = Peer::connect(server.addr());
    let upstream = far.accept();
    let header = v1(client.addr(), server.addr());
    upstream.expect(&header);
    upstream.send_with_fin(b"220 mail.example\r\n");
    client.expect(b"220 mail.example\r\n");
    // It had its time: what it says now is payload, a header too.
    client.send_with_fin(LINE);
    upstream.expect_last(LINE);
    let account = server.account_of(client.addr());
    assert_eq!((account.reason.as_str(), account.client), ("done", client.addr().to_string()));
    assert!(account.duration >= Duration::from_millis(300), "{:?}", account.duration);
    // Who has begun is not silent.
    for begun in [&b"PRO"[..], &LINE[..20]] {
        let client = Peer::connect(server.addr());
        client.send(begun);
        client.expect_reset();
        assert_eq!(server.account_of(client.addr()).reason, "header_timeout");
    }
    // Who speaks in time is not waited for, whether with a header or without.
    let client = Peer::connect(server.addr());
    client.send(&[LINE, b"EHLO"].concat());
    let upstream = far.accept();
    upstream.expect(&[LINE, b"EHLO"].concat());
}

#[test]
fn a_version_that_is_not_taken_is_refused_at_its_first_byte() {
    let far = FarEnd::start();
    let versions = [("v1", &b"\r"[..], &b"P"[..]), ("v2", b"P", b"\r")];
    for (version, other, own) in versions {
        let accept = format!("{REQUIRE}\nversions = [\"{version}\"]");
        let server = Setup::to(&[far.addr()]).accept(&accept).start();
        let client = Peer::connect(server.addr());
        client.send(other);
        client.expect_reset();
        let client = Peer::connect(server.addr());
        client.send(own);
        wait_until_taken(client.addr(), server.addr());
        assert!(client.is_quiet());
    }
    assert_eq!(far.accepted(), 0);
}
