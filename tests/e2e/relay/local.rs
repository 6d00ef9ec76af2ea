//! LOCAL headers, as load balancers send them for health checks.

use crate::common::far_end::{End, FarEnd};
use crate::common::payload::assert_same;
use crate::common::wire::{Command, V2};
use crate::support::{
    Peer, REQUIRE, Setup, assert_closed, local, sealed, wait_until_taken, with_tlvs,
};

/// LOCAL with an undefined family, and bytes that are neither addresses nor TLVs.
fn local_with_leftovers() -> Vec<u8> {
    let mut header = local();
    header[13] = 0xF9;
    header[15] = 5;
    header.extend_from_slice(b"\xff\xff\xff\xff\xff");
    header
}

#[test]
fn local_is_forwarded_as_local_with_its_tlvs_and_its_payload() {
    let far = FarEnd::start();
    let setup = Setup::to(&[far.addr()]).accept(REQUIRE);
    let mut server = setup.send("send = \"v2\"\ntlv_pass = \"all\"").start();
    let header = sealed(with_tlvs(local(), &[(0xEA, b"\x01vpce-0123")]));
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[&header[..], b"payload"].concat());
    assert_same(&far.ended(0).received, &[&header[..], b"payload"].concat());
    // The address is the socket's own: LOCAL carries none.
    assert_eq!(server.account_of(client.addr()).client, client.addr().to_string());
}

#[test]
fn local_is_accepted_whatever_its_family_says_and_its_block_holds() {
    let far = FarEnd::start();
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).send("send = \"v2\"").start();
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[&local_with_leftovers()[..], b"payload"].concat());
    let seen = far.ended(0).received;
    let header = V2::read(&seen);
    assert_eq!((header.command, header.addresses), (Command::Local, None));
    assert_same(&seen[header.len..], b"payload");
}

#[test]
fn local_is_answered_in_peace_without_upstream() {
    let far = FarEnd::start();
    let accept = format!("{REQUIRE}\nlocal = \"answer\"");
    let server = Setup::to(&[far.addr()]).accept(&accept).send("send = \"v2\"").start();
    for sent in [local(), local_with_leftovers(), [&local()[..], b"GET / HTTP/1.1\r\n"].concat()] {
        for (split, says_fin) in [(sent.len(), false), (sent.len(), true), (7, false), (7, true)] {
            let client = Peer::connect(server.addr());
            client.send(&sent[..split]);
            wait_until_taken(client.addr(), server.addr());
            if split < sent.len() {
                client.send(&sent[split..]);
            }
            if says_fin {
                client.stream().shutdown(std::net::Shutdown::Write).ok();
            }
            assert_eq!(client.rest(), (Vec::new(), End::Fin), "{}", sent.escape_ascii());
        }
    }
    assert_eq!(far.accepted(), 0);
    assert_closed(&server.stop(), &[("local_answered", 12)]);
}

#[test]
fn an_answered_local_that_goes_on_talking_is_closed_after_a_bounded_time() {
    let far = FarEnd::start();
    let accept = format!("{REQUIRE}\nlocal = \"answer\"");
    let mut server = Setup::to(&[far.addr()]).accept(&accept).start();
    let client = Peer::connect(server.addr());
    client.send(&local());
    client.expect_last(b"");
    // It never closes its own side.
    let account = server.account_of(client.addr());
    assert_eq!(account.reason, "local_answered");
    assert!(account.duration.as_millis() < 1_500, "{account:?}");
}

#[test]
fn local_is_rejected_with_a_reset() {
    let far = FarEnd::start();
    let accept = format!("{REQUIRE}\nlocal = \"reject\"");
    let server = Setup::to(&[far.addr()]).accept(&accept).start();
    let client = Peer::connect(server.addr());
    client.send(&local());
    client.expect_reset();
    assert_eq!(far.accepted(), 0);
    assert_closed(&server.stop(), &[("local_rejected", 1)]);
}
