//! HAProxy as the load balancer in front.

use std::net::SocketAddr;

use crate::common::far_end::{End, FarEnd};
use crate::common::payload::{MIB, assert_same, random};
use crate::common::socket::{Answer, Client};
use crate::common::wire::{CRC32C, Command, V2};
use crate::peers::curl::{assert_cut_off, fetch};
use crate::peers::haproxy::Haproxy;
use crate::peers::nginx::NginxHttp;
use crate::rig::{BALANCER, CLIENT, STRANGER, ppserver, ppserver_passing_tlvs, ppserver_with};

/// TLV types (PROXY protocol, section 2.2).
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

#[test]
fn send_proxy_reaches_nginx_as_v1() {
    relays_http("send-proxy", "v1");
}

#[test]
fn send_proxy_reaches_nginx_as_v2() {
    relays_http("send-proxy", "v2");
}

#[test]
fn send_proxy_v2_reaches_nginx_as_v1() {
    relays_http("send-proxy-v2", "v1");
}

#[test]
fn send_proxy_v2_reaches_nginx_as_v2() {
    relays_http("send-proxy-v2", "v2");
}

#[test]
fn send_proxy_v2_with_tlvs_reaches_nginx_as_v1() {
    relays_http("send-proxy-v2 proxy-v2-options crc32c,unique-id", "v1");
}

#[test]
fn send_proxy_v2_with_tlvs_reaches_nginx_as_v2() {
    relays_http("send-proxy-v2 proxy-v2-options crc32c,unique-id", "v2");
}

#[test]
fn haproxys_tlvs_arrive_byte_for_byte() {
    let far = FarEnd::start();
    let ours = ppserver_passing_tlvs(far.addr());
    let options = "send-proxy-v2 proxy-v2-options crc32c,unique-id";
    let haproxy = Haproxy::forwarding_to(ours.addr(), &format!("source {BALANCER} {options}"));
    let payload = random(11, MIB);

    let client = Client::connect(CLIENT, haproxy.addr());
    let source = client.addr();
    let echoed = client.exchange(&payload).complete();

    let received = far.ended(0).received;
    let header = V2::read(&received);
    assert_eq!(header.command, Command::Proxy);
    assert_eq!(header.addresses, Some((source, haproxy.addr())));
    assert_eq!(header.values(UNIQUE_ID), [unique_id(source).as_bytes()]);
    assert_eq!(header.values(CRC32C).len(), 1, "recomputed, as it came in");
    assert_same(&received[header.len..], &payload);
    assert_same(&echoed, &received);
}

#[test]
fn what_haproxy_says_of_tls_arrives_byte_for_byte() {
    let options =
        "send-proxy-v2-ssl proxy-v2-options authority,crc32c,unique-id,ssl-cipher,cert-sig";
    let name = "shop.interop.invalid";
    // What HAProxy itself sends, caught without us in between.
    let catcher = FarEnd::start();
    let haproxy = Haproxy::forwarding_tls_to(catcher.addr(), options, CLIENT, name);
    Client::connect(CLIENT, haproxy.addr()).exchange(b"payload").complete();
    let direct = V2::read(&catcher.ended(0).received);

    let far = FarEnd::start();
    let ours = ppserver_passing_tlvs(far.addr());
    let options = format!("source {BALANCER} {options}");
    let haproxy = Haproxy::forwarding_tls_to(ours.addr(), &options, CLIENT, name);
    let payload = random(12, MIB);
    let echoed = Client::connect(CLIENT, haproxy.addr()).exchange(&payload).complete();

    let received = far.ended(0).received;
    let header = V2::read(&received);
    assert_eq!(header.values(AUTHORITY), [name.as_bytes()]);
    assert_eq!(header.values(SSL).len(), 1);
    assert_eq!(header.values(SSL), direct.values(SSL));
    let (source, _) = header.addresses.expect("HAProxy knows them");
    assert_eq!(header.values(UNIQUE_ID), [unique_id(source).as_bytes()]);
    assert_same(&received[header.len..], &payload);
    assert_same(&echoed, &received);
}

#[test]
fn a_haproxy_comes_through_with_the_checksum_that_is_required_and_not_without() {
    let far = FarEnd::start();
    let ours = ppserver_with(far.addr(), "crc32c = \"require\"", "");
    for (options, is_taken) in [("", false), ("proxy-v2-options crc32c", true)] {
        let options = format!("source {BALANCER} send-proxy-v2 {options}");
        let haproxy = Haproxy::forwarding_to(ours.addr(), &options);
        let answer = Client::connect(CLIENT, haproxy.addr()).exchange(b"ping");
        assert_eq!(matches!(answer, Answer::Complete(bytes) if !bytes.is_empty()), is_taken);
    }
    assert_eq!(far.accepted(), 1, "only the second one");
    assert_eq!(V2::read(&far.ended(0).received).values(CRC32C).len(), 1);
}

#[test]
fn one_flipped_bit_in_haproxys_own_header_is_reset() {
    // What HAProxy itself sends, caught without us in between.
    let catcher = FarEnd::start();
    let options = "send-proxy-v2 proxy-v2-options crc32c,unique-id";
    let haproxy = Haproxy::forwarding_to(catcher.addr(), options);
    Client::connect(CLIENT, haproxy.addr()).exchange(b"payload").complete();
    let good = catcher.ended(0).received;
    let header = V2::read(&good);
    let mut bad = good.clone();
    bad[header.len - 1] ^= 0x01;

    let far = FarEnd::start();
    let ours = ppserver_passing_tlvs(far.addr());
    Client::connect(BALANCER, ours.addr()).exchange(&bad).assert_reset();
    Client::connect(BALANCER, ours.addr()).exchange(&good).complete();

    let seen = far.ended(0);
    assert_eq!(V2::read(&seen.received).addresses, header.addresses);
    assert_eq!(seen.end, Some(End::Fin));
    assert_eq!(far.accepted(), 1, "only the good one");
}

#[test]
fn an_untrusted_haproxy_is_cut_off_before_nginx() {
    refuses_http(&format!("source {STRANGER} send-proxy-v2"));
}

#[test]
fn a_haproxy_that_sends_no_header_is_cut_off_before_nginx() {
    refuses_http(&format!("source {BALANCER}"));
}

/// The unique id of a connection, as our configurations of HAProxy have it.
fn unique_id(client: SocketAddr) -> String {
    format!("interop-{}-{}", client.ip(), client.port())
}

/// HAProxy with these server options, us sending `send`, nginx: a download and an upload.
#[track_caller]
fn relays_http(options: &str, send: &str) {
    let (file, upload) = (random(1, MIB), random(2, MIB));
    let nginx = NginxHttp::serving(&file);
    let ours = ppserver(nginx.behind_proxy_protocol(), send);
    let haproxy = Haproxy::forwarding_to(ours.addr(), &format!("source {BALANCER} {options}"));

    let got = fetch(CLIENT, &[&format!("http://{}/file", haproxy.addr())]).expect("served");
    assert_eq!(got.status, 200);
    assert_same(&got.body, &file);
    assert_eq!(nginx.seen("GET /file 200"), format!("{} {}", got.local, haproxy.addr()));

    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let source = dir.path().join("upload");
    std::fs::write(&source, &upload).expect("a file in it can be written");
    let source = source.to_str().expect("the temporary directory has a UTF-8 name");
    let url = format!("http://{}/upload", haproxy.addr());
    let put = fetch(CLIENT, &["-T", source, &url]).expect("served");
    assert_eq!(put.status, 201);
    assert_same(&nginx.stored("upload"), &upload);
    assert_eq!(nginx.seen("PUT /upload 201"), format!("{} {}", put.local, haproxy.addr()));
}

/// The twin: with these server options nothing reaches nginx; through the same proxy a HAProxy
/// that is trusted and sends a header does.
#[track_caller]
fn refuses_http(options: &str) {
    let file = random(3, MIB);
    let nginx = NginxHttp::serving(&file);
    let ours = ppserver(nginx.behind_proxy_protocol(), "v2");
    let refused = Haproxy::forwarding_to(ours.addr(), options);
    let good = Haproxy::forwarding_to(ours.addr(), &format!("source {BALANCER} send-proxy-v2"));

    let before = nginx.accepted();
    assert_cut_off(fetch(CLIENT, &[&format!("http://{}/file", refused.addr())]));
    let got = fetch(CLIENT, &[&format!("http://{}/file", good.addr())]).expect("served");
    assert_same(&got.body, &file);
    assert_eq!(nginx.accepted() - before, 2, "the good one, and the one that asks");
}
