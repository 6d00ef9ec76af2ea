//! Go programs on pires/go-proxyproto at both ends.

use std::net::IpAddr;

use crate::common::far_end::FarEnd;
use crate::common::payload::{MIB, assert_same, random};
use crate::common::wire::hex;
use crate::peers::go::{self, GoServer};
use crate::rig::{BALANCER, STRANGER, ppserver, ppserver_with};

/// 192.168.100.200:55407 -> 192.168.100.201:8080 over TCP, 28 bytes.
const EXAMPLE: &str = "0d0a0d0a000d0a515549540a 21 11 000c c0a864c8 c0a864c9 d86f 1f90";

#[test]
fn the_go_clients_example_reaches_the_go_server_as_v1() {
    go_to_go("v1", 1);
}

#[test]
fn the_go_clients_example_reaches_the_go_server_as_v2() {
    go_to_go("v2", 2);
}

#[test]
fn the_go_clients_example_is_sent_on_to_the_byte() {
    let far = FarEnd::start();
    let ours = ppserver(far.addr(), "v2");
    let payload = random(42, MIB);
    let echoed = go::send(BALANCER, &[], ours.addr(), &payload).expect("it is echoed");
    assert_same(&far.ended(0).received, &[hex(EXAMPLE), payload].concat());
    assert_same(&echoed, &far.ended(0).received);
}

#[test]
fn the_go_server_reads_a_tlv_that_we_set() {
    let server = GoServer::start();
    let value = "hex:01767063652d30386437373031313265333734";
    let set = format!("tlv_set = [{{ type = 0xEA, value = \"{value}\" }}]");
    let ours = ppserver_with(server.addr(), "", &set);
    go::send(BALANCER, &[], ours.addr(), b"ping").expect("it is echoed");
    let told = server.told();
    assert!(told.ends_with("vpce=\"vpce-08d770112e374\""), "{told}");
}

#[test]
fn an_untrusted_go_client_is_reset() {
    refuses(STRANGER, &[]);
}

#[test]
fn a_go_client_without_a_header_is_reset() {
    refuses(BALANCER, &["-bare"]);
}

#[track_caller]
fn go_to_go(send: &str, version: u8) {
    let server = GoServer::start();
    let ours = ppserver(server.addr(), send);
    let payload = random(41, MIB);
    let echoed = go::send(BALANCER, &[], ours.addr(), &payload).expect("it is echoed");
    assert_same(&echoed, &payload);
    let told = format!(
        "version={version} remote=192.168.100.200:55407 local=192.168.100.201:8080 vpce=\"\""
    );
    assert_eq!(server.told(), told);
}

#[track_caller]
fn refuses(from: IpAddr, flags: &[&str]) {
    let server = GoServer::start();
    let ours = ppserver(server.addr(), "v2");
    let error = go::send(from, flags, ours.addr(), b"ping").expect_err("it is reset");
    assert!(error.contains("reset by peer") || error.contains("broken pipe"), "{error}");
    let echoed = go::send(BALANCER, &[], ours.addr(), b"ping").expect("it is echoed");
    assert_eq!(echoed, b"ping");
    server.told();
    assert_eq!(server.accepted(), 1, "only the good one");
}
