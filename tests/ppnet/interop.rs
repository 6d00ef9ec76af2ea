//! Real peers in front of the axum example: curl, HAProxy, a Go program on go-proxyproto; and one
//! behind our connector.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::process::Command;

use ppnet::ppcore::V1Families;
use ppnet::pptrust::Lookalike;
use ppnet::{Greeting, Policy};
use tempfile::TempDir;

use crate::common::payload::{MIB, assert_same, random};
use crate::common::wire::v2;
use crate::examples::{Example, run_client};
use crate::peers::curl::{assert_cut_off, fetch};
use crate::peers::go::{self, GoServer};
use crate::peers::haproxy::Haproxy;
use crate::peers::nginx::NginxStream;
use crate::rig::{CLIENT, PEER, both, connect, connect_from, echo, terms};

fn client() -> SocketAddr {
    "203.0.113.7:51820".parse().expect("an address")
}

fn server() -> SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

#[test]
fn curl_haproxy_protocol_is_told_its_own_address() {
    let whoami = Example::start::<&str>("whoami", &[]);
    let url = format!("http://{}/", whoami.addr);
    let got = fetch(CLIENT, &["--haproxy-protocol", &url]).expect("served");
    let expected = format!("you are {0}, and called {1} through {0}\n", got.local, whoami.addr);
    assert_eq!(String::from_utf8_lossy(&got.body), expected);
    assert_cut_off(fetch(CLIENT, &[&url]));
}

#[test]
fn curl_through_the_forward_proxy_is_logged_with_its_own_address() {
    let whoami = Example::start::<&str>("whoami", &[]);
    let proxy = Example::start::<&str>("forward_proxy", &[]);
    let (through, url) = (format!("http://{}", proxy.addr), format!("http://{}/", whoami.addr));
    // The header goes to whoever curl connects to, the proxy; whoami gets none, and says so.
    let got = fetch(CLIENT, &["--haproxy-protocol", "--proxy", &through, &url]).expect("answered");
    assert_eq!(got.status, 502);
    proxy.says(&format!("{} GET {url} 502", got.local));
}

#[test]
fn behind_haproxy_the_client_is_haproxys_client() {
    let whoami = Example::start::<&str>("whoami", &[]);
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let haproxy = Haproxy::forwarding_to(whoami.addr, send);
        let got = fetch(CLIENT, &[&format!("http://{}/", haproxy.addr())]).expect("served");
        let body = String::from_utf8_lossy(&got.body).into_owned();
        let expected = format!("you are {}, and called {} through ", got.local, haproxy.addr());
        assert!(body.starts_with(&expected), "{send}: {body}");
    }
    let bare = Haproxy::forwarding_to(whoami.addr, "");
    assert_cut_off(fetch(CLIENT, &[&format!("http://{}/", bare.addr())]));
}

// Its realip module has put the carried client in the place of the socket's, and the families are as they come.
#[test]
fn the_mixed_lines_of_nginx_with_realip_are_taken_where_told_so_and_named_where_not() {
    let strict = terms(Policy::Require);
    let mixed = strict.clone().options(|options| options.v1_families(V1Families::Mixed));
    for (own, client, service) in [
        ("127.0.0.1", "[2001:db8::7]:55407", "[2001:db8:1::80]:443"),
        ("::1", "203.0.113.7:55407", "192.0.2.80:443"),
    ] {
        let own: IpAddr = own.parse().expect("an address");
        let client = client.parse().expect("an address");
        let header = v2(client, service.parse().expect("an address"));
        let directives = format!("set_real_ip_from {own}; proxy_protocol on;");
        for rig in both(&mixed) {
            let nginx = NginxStream::behind_headers_at(own, rig.addr, &directives);
            let mut stream = connect(nginx.addr());
            echo(&mut stream, &[&header[..], b"ping"].concat(), b"ping");
            let seen = rig.accepted();
            assert_eq!((seen.peer_addr(), seen.local_addr()), (client, nginx.addr()));
        }
        for rig in both(&strict) {
            let nginx = NginxStream::behind_headers_at(own, rig.addr, &directives);
            connect(nginx.addr()).write_all(&header).expect("it is open");
            let refused = rig.refused();
            assert_eq!(refused.looks_like(), Some(Lookalike::MixedLine), "{refused}");
            assert!(refused.to_string().contains("V1Families::Mixed"), "{refused}");
        }
    }
}

#[test]
fn what_haproxy_knows_of_the_clients_tls_is_read_in_a_word_each() {
    let send = "send-proxy-v2-ssl-cn proxy-v2-options ssl-cipher,authority,unique-id,crc32c";
    for rig in both(&terms(Policy::Require)) {
        let haproxy = Haproxy::forwarding_tls_to(rig.addr, send, CLIENT, "shop.ppnet.invalid");
        let mut stream = connect(haproxy.addr());
        echo(&mut stream, b"ping", b"ping");
        let seen = rig.accepted();
        let header = seen.header().expect("one came");
        assert_eq!(header.authority(), Some("shop.ppnet.invalid"));
        let id = header.unique_id().expect("one was asked for");
        assert!(id.starts_with(format!("interop-{CLIENT}-").as_bytes()), "{}", id.escape_ascii());
        let ssl = header.ssl().expect("it was asked for");
        assert!(ssl.is_tls() && ssl.version().is_some_and(|version| version.starts_with("TLSv1.")));
        assert!(ssl.cipher().is_some_and(|cipher| !cipher.is_empty()));
        assert_eq!((ssl.is_verified(), ssl.common_name()), (false, None), "no certificate came");
    }
}

#[test]
fn the_server_prints_what_go_and_haproxy_say_of_their_clients() {
    let server = Example::start::<&str>("server", &[]);
    go::send(PEER, &[], server.addr, b"from Go").expect("it is taken");
    server.says("local address: 192.168.100.201:8080");
    server.says("remote address: 192.168.100.200:55407");
    server.says("payload: \"from Go\"");

    let haproxy = Haproxy::forwarding_to(server.addr, "send-proxy-v2");
    let mut stream = connect_from(CLIENT, haproxy.addr());
    stream.write_all(b"through HAProxy").expect("it is open");
    stream.shutdown(Shutdown::Write).expect("it is open");
    server.says(&format!("local address: {}", haproxy.addr()));
    let client = stream.local_addr().expect("it is connected");
    server.says(&format!("remote address: {client}"));
    server.says("payload: \"through HAProxy\"");
}

#[test]
fn go_is_told_what_the_client_says() {
    let go = GoServer::start();
    run_client(go.addr());
    assert_eq!(go.told(), "version=2 remote=10.1.1.1:1000 local=20.2.2.2:2000 vpce=\"\"");
}

#[test]
fn the_go_clients_header_and_payload_come_through_both_listeners() {
    let payload = random(81, MIB);
    for rig in both(&terms(Policy::Require)) {
        let echoed = go::send(PEER, &[], rig.addr, &payload).expect("it is echoed");
        assert_same(&echoed, &payload);
        let seen = rig.accepted();
        assert_eq!(seen.peer_addr(), "192.168.100.200:55407".parse().expect("an address"));
        assert_eq!(seen.local_addr(), "192.168.100.201:8080".parse().expect("an address"));
    }
}

#[test]
fn a_flow_of_datagrams_from_go_has_the_client_of_its_first_header() {
    let udp = Example::start("udp", &["first"]);
    // A header inside a flow is payload: whoever sends it is no balancer, but its client.
    let answers = datagrams(udp.addr, &["one", "two", "PROXY UNKNOWN"]);
    let client = "192.168.100.200:55407";
    let expected = ["one", "two", "PROXY UNKNOWN"].map(|said| format!("{client} says {said}\n"));
    assert_eq!(answers, expected.concat());
    // Known to nobody, and with a header in each.
    let udp = Example::start("udp", &["each"]);
    assert_eq!(datagrams(udp.addr, &["one"]), format!("{client} says one\n"));
}

#[test]
fn curl_asks_a_grpc_service_directly_and_through_haproxy_and_is_told_its_own_address() {
    let grpc = Example::start::<&str>("grpc", &[]);
    let haproxy = Haproxy::forwarding_to(grpc.addr, "send-proxy-v2");
    let dir = TempDir::new().expect("a temporary directory can be made");
    let empty = dir.path().join("message");
    // Not compressed, and no byte long.
    std::fs::write(&empty, [0; 5]).expect("a file in it can be written");
    let message = format!("@{}", empty.display());
    let ask = |flags: &[&str], addr: SocketAddr| {
        let url = format!("http://{addr}/whoami.Whoami/Ask");
        let request = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H"];
        let rest = ["te: trailers", "--data-binary", &message, &url];
        let got = fetch(CLIENT, &[flags, &request, &rest].concat()).expect("answered");
        let (prefix, answer) = got.body.split_at_checked(5).expect("a message");
        assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(answer.len()).expect("it is short")]);
        assert_eq!(String::from_utf8_lossy(answer), format!("you are {}\n", got.local));
    };
    ask(&["--haproxy-protocol"], grpc.addr);
    ask(&[], haproxy.addr());
}

#[test]
fn behind_haproxy_a_connection_that_switches_protocols_keeps_its_client_and_every_byte() {
    let upgrade = Example::start::<&str>("upgrade", &[]);
    let haproxy = Haproxy::forwarding_to(upgrade.addr, "send-proxy-v2");
    let payload = random(83, MIB);
    let mut stream = connect_from(CLIENT, haproxy.addr());
    let client = stream.local_addr().expect("it is connected");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut writer = stream.try_clone().expect("descriptors are left");
    let sent = [&request[..], &payload].concat();
    // The first bytes of the new protocol come with the request, unasked.
    let sending = std::thread::spawn(move || {
        writer.write_all(&sent)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it ends");
    sending.join().expect("it does not panic").expect("it is sent");
    let at = answer.len().checked_sub(MIB).expect("all of it comes back");
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.ends_with(&format!("\r\n\r\nyou are {client}\n")), "{head}");
    assert_same(&answer[at..], &payload);
}

#[test]
fn go_is_told_what_our_connector_says() {
    let payload = random(82, MIB);
    for (greeting, version, vpce) in [
        (Greeting::v1(client(), server()), 1, ""),
        (
            Greeting::v2(client(), server()).tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"),
            2,
            "vpce-08d2bf15fac5001c9",
        ),
    ] {
        let go = GoServer::start();
        let mut stream = ppnet::connect(go.addr(), &greeting).expect("it listens");
        let mut writer = stream.try_clone().expect("descriptors are left");
        let sending = std::thread::spawn({
            let payload = payload.clone();
            move || {
                writer.write_all(&payload)?;
                writer.shutdown(Shutdown::Write)
            }
        });
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).expect("it is echoed");
        sending.join().expect("it does not panic").expect("it is sent");
        assert_same(&echoed, &payload);
        let told =
            format!("version={version} remote={} local={} vpce={vpce:?}", client(), server());
        assert_eq!(go.told(), told);
    }
}

/// Sends these payloads, a datagram each and the first behind the example header; the answers, one a line.
#[track_caller]
fn datagrams(to: SocketAddr, payloads: &[&str]) -> String {
    let mut command = Command::new(go::program());
    let output = command.arg("datagrams").arg(to.to_string()).args(payloads).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the answers are text")
}
