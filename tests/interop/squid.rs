//! squid as the server behind: an HTTP forward proxy behind a load balancer that sees the client's
//! address. The case this project began with.

use std::net::{IpAddr, SocketAddr};

use crate::common::payload::{MIB, assert_same, random};
use crate::common::socket::{Answer, Client};
use crate::common::wire::{v1, v2};
use crate::peers::curl::{Fetched, assert_cut_off, fetch};
use crate::peers::haproxy::Haproxy;
use crate::peers::nginx::NginxHttp;
use crate::peers::squid::Squid;
use crate::rig::{BALANCER, CLIENT, STRANGER, ppserver};

/// A client that exists in headers only.
fn told_client() -> SocketAddr {
    "203.0.113.7:49152".parse().expect("an address")
}

/// What it connected to.
fn told_service() -> SocketAddr {
    "198.51.100.1:3128".parse().expect("an address")
}

#[test]
fn squid_sees_the_client_of_a_get_through_haproxy() {
    let rig = Rig::start(CLIENT);
    let ours = ppserver(rig.squid.addr(), "v2");
    let haproxy = Haproxy::forwarding_to(ours.addr(), &balancer("send-proxy-v2"));

    let got = rig.fetch(&haproxy, &[]);
    assert_same(&got.body, &rig.file);
    let seen = rig.squid.seen(&format!("GET {} 200", rig.url()));
    assert_eq!(seen, format!("{} {}", got.local, haproxy.addr()));
}

#[test]
fn squid_sees_the_client_of_a_tunnel_through_haproxy() {
    let rig = Rig::start(CLIENT);
    let ours = ppserver(rig.squid.addr(), "v1");
    let haproxy = Haproxy::forwarding_to(ours.addr(), &balancer("send-proxy"));

    let got = rig.fetch(&haproxy, &["--proxytunnel"]);
    assert_same(&got.body, &rig.file);
    let seen = rig.squid.seen(&format!("CONNECT {} 200", rig.origin.plain()));
    assert_eq!(seen, format!("{} {}", got.local, haproxy.addr()));
}

#[test]
fn squid_sees_the_client_it_was_told_of_in_every_version() {
    let rig = Rig::start(told_client().ip());
    let headers = [v1(told_client(), told_service()), v2(told_client(), told_service())];
    for (index, header) in headers.iter().enumerate() {
        for send in ["v1", "v2"] {
            let ours = ppserver(rig.squid.addr(), send);
            let url = format!("{}?{index}{send}", rig.url());
            let answer = rig.request(ours.addr(), BALANCER, header, &url).complete();
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{send}");
            assert_same(&answer[answer.len() - MIB..], &rig.file);
            let seen = rig.squid.seen(&format!("GET {url} 200"));
            assert_eq!(seen, format!("{} {}", told_client(), told_service()));
        }
    }
}

#[test]
fn a_client_that_squid_does_not_serve_is_denied_by_the_address_it_was_told() {
    let rig = Rig::start(told_client().ip());
    let ours = ppserver(rig.squid.addr(), "v2");
    let other: SocketAddr = "203.0.113.8:49152".parse().expect("an address");
    let header = v2(other, told_service());
    let answer = rig.request(ours.addr(), BALANCER, &header, &rig.url()).complete();
    assert!(answer.starts_with(b"HTTP/1.1 403 "));
    assert_eq!(
        rig.squid.seen(&format!("GET {} 403", rig.url())),
        format!("{other} {}", told_service())
    );
}

#[test]
fn an_untrusted_balancer_does_not_reach_squid() {
    refuses(STRANGER, &v2(told_client(), told_service()));
}

#[test]
fn a_balancer_without_a_header_does_not_reach_squid() {
    refuses(BALANCER, b"");
}

#[test]
fn an_untrusted_haproxy_does_not_reach_squid() {
    let rig = Rig::start(CLIENT);
    let ours = ppserver(rig.squid.addr(), "v2");
    let options = format!("source {STRANGER} send-proxy-v2");
    let refused = Haproxy::forwarding_to(ours.addr(), &options);
    let good = Haproxy::forwarding_to(ours.addr(), &balancer("send-proxy-v2"));

    let refusing = format!("http://{}", refused.addr());
    assert_cut_off(fetch(CLIENT, &["-x", &refusing, &rig.url()]));
    rig.fetch(&good, &[]);
    rig.squid.seen(&format!("GET {} 200", rig.url()));
    assert_eq!(rig.squid.access_log().len(), 1, "only the good one");
}

/// squid in front of an origin.
struct Rig {
    file: Vec<u8>,
    origin: NginxHttp,
    squid: Squid,
}

impl Rig {
    /// Starts both; squid serves only `client`.
    #[track_caller]
    fn start(client: IpAddr) -> Rig {
        let file = random(61, MIB);
        let origin = NginxHttp::serving(&file);
        Rig { file, origin, squid: Squid::behind_proxy_protocol(&[client]) }
    }

    fn url(&self) -> String {
        format!("http://{}/file", self.origin.plain())
    }

    /// The file by curl, with `haproxy` as its forward proxy.
    #[track_caller]
    fn fetch(&self, haproxy: &Haproxy, flags: &[&str]) -> Fetched {
        let (proxy, url) = (format!("http://{}", haproxy.addr()), self.url());
        let args = [&["-x", &proxy], flags, &[&url]].concat();
        let got = fetch(CLIENT, &args).expect("served");
        assert_eq!(got.status, 200);
        got
    }

    /// A request for `url` in absolute form behind `header`.
    #[track_caller]
    fn request(&self, to: SocketAddr, from: IpAddr, header: &[u8], url: &str) -> Answer {
        let request = format!("GET {url} HTTP/1.0\r\nHost: {}\r\n\r\n", self.origin.plain());
        Client::connect(from, to).ask(&[header, request.as_bytes()].concat())
    }
}

/// Server options of a trusted HAProxy.
fn balancer(send: &str) -> String {
    format!("source {BALANCER} {send}")
}

/// The twin: a request behind this header is reset; one from the balancer is served, and squid
/// has logged no other.
#[track_caller]
fn refuses(from: IpAddr, header: &[u8]) {
    let rig = Rig::start(told_client().ip());
    let ours = ppserver(rig.squid.addr(), "v2");
    rig.request(ours.addr(), from, header, &rig.url()).assert_reset();

    let good = v2(told_client(), told_service());
    let answer = rig.request(ours.addr(), BALANCER, &good, &rig.url()).complete();
    assert_same(&answer[answer.len() - MIB..], &rig.file);
    rig.squid.seen(&format!("GET {} 200", rig.url()));
    assert_eq!(rig.squid.access_log().len(), 1, "only the good one");
}
