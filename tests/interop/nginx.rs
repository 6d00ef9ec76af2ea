//! nginx as the sender of a header (its stream module, version 1), and as the receiver of what
//! neither HAProxy nor curl sends here.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::common::deadline::PATIENCE;
use crate::common::far_end::FarEnd;
use crate::common::payload::{MIB, assert_same, random};
use crate::common::ppserver::Ppserver;
use crate::common::socket::{Answer, Client};
use crate::common::wire::{v1, v2};
use crate::peers::go::GoServer;
use crate::peers::nginx::{NginxHttp, NginxStream};
use crate::rig::{BALANCER, CLIENT, STRANGER, ppserver, ppserver_with};

#[test]
fn nginx_stream_reaches_go_as_v1() {
    reaches_go("v1", 1);
}

#[test]
fn nginx_stream_reaches_go_as_v2() {
    reaches_go("v2", 2);
}

#[test]
fn an_untrusted_nginx_stream_does_not_reach_go() {
    refuses(&format!("proxy_bind {STRANGER}; proxy_protocol on;"));
}

#[test]
fn an_nginx_stream_without_a_header_does_not_reach_go() {
    refuses(&format!("proxy_bind {BALANCER};"));
}

/// Its realip module has put the carried client in the place of the socket's, and the two families of the line
/// are as they come.
#[test]
fn an_nginx_stream_with_realip_writes_lines_of_mixed_families_which_are_taken_where_told_so() {
    let client: SocketAddr = "[2001:db8::7]:55407".parse().expect("an address");
    let far = FarEnd::start();
    let strict = ppserver_with(far.addr(), "", "");
    let mixed = ppserver_with(far.addr(), "v1_families = \"mixed\"", "");
    let directives =
        format!("set_real_ip_from {CLIENT}; proxy_bind {BALANCER}; proxy_protocol on;");
    let header = v2(client, "[2001:db8:1::80]:443".parse().expect("an address"));
    for (ours, is_taken) in [(&strict, false), (&mixed, true)] {
        let nginx = NginxStream::behind_headers(ours.addr(), &directives);
        let answer =
            Client::connect(CLIENT, nginx.addr()).exchange(&[&header[..], b"ping"].concat());
        let bytes = match answer {
            Answer::Complete(bytes) => bytes,
            Answer::Reset => Vec::new(),
        };
        assert_eq!(!bytes.is_empty(), is_taken);
        if is_taken {
            let SocketAddr::V4(own) = nginx.addr() else { panic!("it listens on IPv4") };
            let own = SocketAddr::from((own.ip().to_ipv6_mapped(), own.port()));
            assert_same(&far.ended(0).received, &[&v2(client, own)[..], b"ping"].concat());
        }
    }
    assert_eq!(far.accepted(), 1);
}

#[test]
fn ipv6_addresses_reach_nginx_over_ipv4_sockets() {
    let client: SocketAddr = "[2001:db8::7]:55407".parse().expect("an address");
    let service: SocketAddr = "[2001:db8:1::80]:8080".parse().expect("an address");
    let file = random(33, MIB);
    let nginx = NginxHttp::serving(&file);
    for (round, header) in [v1(client, service), v2(client, service)].iter().enumerate() {
        for send in ["v1", "v2"] {
            let ours = ppserver(nginx.behind_proxy_protocol(), send);
            let request = format!("GET /file?{round}{send} HTTP/1.0\r\n\r\n");
            let client = Client::connect(BALANCER, ours.addr());
            let answer = client.ask(&[header, request.as_bytes()].concat()).complete();
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{send}");
            assert_same(&answer[answer.len() - MIB..], &file);
            let seen = nginx.seen(&format!("GET /file?{round}{send} 200"));
            assert_eq!(seen, "2001:db8::7:55407 2001:db8:1::80:8080", "nginx writes no brackets");
        }
    }
}

#[track_caller]
fn reaches_go(send: &str, version: u8) {
    let go = GoServer::start();
    let ours = ppserver(go.addr(), send);
    let sending = format!("proxy_bind {BALANCER}; proxy_protocol on;");
    let nginx = NginxStream::forwarding_to(ours.addr(), &sending);
    let payload = random(31, MIB);

    let client = Client::connect(CLIENT, nginx.addr());
    let source = client.addr();
    assert_same(&client.exchange(&payload).complete(), &payload);
    let told = format!("version={version} remote={source} local={} vpce=\"\"", nginx.addr());
    assert_eq!(go.told(), told);
}

#[track_caller]
fn refuses(directives: &str) {
    let go = GoServer::start();
    let ours = ppserver(go.addr(), "v2");
    let refused = NginxStream::forwarding_to(ours.addr(), directives);
    let sending = format!("proxy_bind {BALANCER}; proxy_protocol on;");
    let good = NginxStream::forwarding_to(ours.addr(), &sending);

    // nginx turns our reset into an end or a reset, as it pleases; no byte comes back.
    match Client::connect(CLIENT, refused.addr()).exchange(b"ping") {
        Answer::Complete(bytes) => assert_eq!(bytes, b""),
        Answer::Reset => {}
    }
    let client = Client::connect(CLIENT, good.addr());
    let source = client.addr();
    assert_eq!(client.exchange(b"ping").complete(), b"ping");
    let told = format!("version=2 remote={source} local={} vpce=\"\"", good.addr());
    assert_eq!(go.told(), told);
    assert_eq!(go.accepted(), 1, "only the good one");
}

#[test]
fn datagrams_pass_between_two_nginx_streams_as_they_came() {
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let behind = NginxStream::forwarding_datagrams_to(far.local_addr().expect("it is bound"));
    let ours = Ppserver::with_config(&format!(
        "config_version = 1\n[[listener]]\nname = \"edge\"\nprotocol = \"udp\"\nbind = [\"127.0.0.1:0\"]\n\
         upstream = \"far\"\n[upstream.far]\nendpoints = [\"{}\"]\n",
        behind.addr()
    ));
    let front = NginxStream::forwarding_datagrams_to(ours.addr());
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    client.connect(front.addr()).expect("loopback is up");
    for socket in [&far, &client] {
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    }
    let mut buf = [0; 65_536];
    // Those that nginx passes on whole.
    for payload in [random(1, 1), random(2, 1_200), random(3, 16_384)] {
        client.send(&payload).expect("it is sent");
        let (len, peer) = far.recv_from(&mut buf).expect("it comes");
        assert_same(&buf[..len], &payload);
        far.send_to(&payload, peer).expect("it is sent");
        let len = client.recv(&mut buf).expect("it comes back");
        assert_same(&buf[..len], &payload);
    }
}
