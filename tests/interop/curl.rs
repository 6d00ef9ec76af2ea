//! curl as the sender of a header, straight into us.

use crate::common::payload::{MIB, assert_same, random};
use crate::peers::curl::{assert_reset, fetch};
use crate::peers::haproxy::Haproxy;
use crate::peers::nginx::{NginxHttp, NginxStream};
use crate::rig::{BALANCER, CLIENT, STRANGER, ppserver};

#[test]
fn curl_haproxy_protocol_reaches_nginx_as_v1() {
    reaches_nginx("v1");
}

#[test]
fn curl_haproxy_protocol_reaches_nginx_as_v2() {
    reaches_nginx("v2");
}

#[test]
fn curls_header_counts_and_not_where_the_connection_comes_from() {
    let file = random(24, MIB);
    let nginx = NginxHttp::serving(&file);
    let ours = ppserver(nginx.behind_proxy_protocol(), "v2");
    // A hop that adds nothing but its own address as our peer.
    let hop = NginxStream::forwarding_to(ours.addr(), &format!("proxy_bind {BALANCER};"));

    let url = format!("http://{}/file", hop.addr());
    let got = fetch(CLIENT, &["--haproxy-protocol", &url]).expect("served");
    assert_same(&got.body, &file);
    assert_eq!(nginx.seen("GET /file 200"), format!("{} {}", got.local, hop.addr()));
}

#[test]
fn curl_haproxy_protocol_reaches_haproxy_as_v2() {
    let file = random(22, MIB);
    let origin = NginxHttp::serving(&file);
    let haproxy = Haproxy::behind_proxy_protocol(origin.plain());
    let ours = ppserver(haproxy.addr(), "v2");
    let url = format!("http://{}/file", ours.addr());

    let got = fetch(BALANCER, &["--haproxy-protocol", &url]).expect("served");
    assert_eq!(got.status, 200);
    assert_same(&got.body, &file);
    assert_eq!(haproxy.seen("/file"), format!("{} {}", got.local, ours.addr()));

    // Its twin: HAProxy has logged the good request only.
    assert_reset(fetch(STRANGER, &["--haproxy-protocol", &url]));
    let last = format!("http://{}/last", ours.addr());
    fetch(BALANCER, &["--haproxy-protocol", &last]).expect("served");
    haproxy.seen("/last");
    assert_eq!(haproxy.requests(), 2);
}

#[test]
fn an_untrusted_curl_is_reset() {
    refuses(|url| assert_reset(fetch(STRANGER, &["--haproxy-protocol", url])));
}

#[test]
fn a_curl_without_a_header_is_reset() {
    refuses(|url| assert_reset(fetch(BALANCER, &[url])));
}

#[track_caller]
fn reaches_nginx(send: &str) {
    let file = random(21, MIB);
    let nginx = NginxHttp::serving(&file);
    let ours = ppserver(nginx.behind_proxy_protocol(), send);

    let url = format!("http://{}/file", ours.addr());
    let got = fetch(BALANCER, &["--haproxy-protocol", &url]).expect("served");
    assert_eq!(got.status, 200);
    assert_same(&got.body, &file);
    assert_eq!(nginx.seen("GET /file 200"), format!("{} {}", got.local, ours.addr()));
}

#[track_caller]
fn refuses(attempt: impl FnOnce(&str)) {
    let file = random(23, MIB);
    let nginx = NginxHttp::serving(&file);
    let ours = ppserver(nginx.behind_proxy_protocol(), "v2");
    let url = format!("http://{}/file", ours.addr());

    let before = nginx.accepted();
    attempt(&url);
    let got = fetch(BALANCER, &["--haproxy-protocol", &url]).expect("served");
    assert_same(&got.body, &file);
    assert_eq!(nginx.accepted() - before, 2, "the good one, and the one that asks");
}
