//! What AWS Network Load Balancers put on the wire: captured bytes, replayed.
//!
//! Sources: the data header is the one of AWS's own compatibility test
//! (elastic-load-balancing-tools, `Compatibility_AwsNetworkLoadBalancerTest`); the health check was
//! captured in kubernetes/kubernetes#57250. Both carry a checksum that holds.

use rustix::process::Signal;

use crate::common::far_end::{End, FarEnd};
use crate::common::payload::{MIB, assert_same, random};
use crate::common::ppserver::Ppserver;
use crate::common::process::Stream;
use crate::common::socket::Client;
use crate::common::wire::{CRC32C, Command, SIGNATURE, V2, crc32c, hex};
use crate::peers::go::GoServer;
use crate::rig::{BALANCER, ppserver, ppserver_passing_tlvs};

/// The TLV type AWS uses for the id of a VPC endpoint: subtype 1, then text.
const VPC_ENDPOINT: u8 = 0xEA;

/// The TLV type of padding (PROXY protocol, section 2.2.4).
const NOOP: u8 = 0x04;

/// PROXY, TCP over IPv4, 172.31.7.113:51442 -> 172.31.10.31:80; checksum, endpoint id, padding.
fn data() -> Vec<u8> {
    let mut header = hex("0d0a0d0a000d0a515549540a 21 11 0054 ac1f0771 ac1f0a1f c8f2 0050
        03 0004 e8d6892d
        ea 0017 01 767063652d3038643262663135666163353030316339
        04 0024");
    header.extend([0; 36]);
    header
}

/// LOCAL with the family of TCP over IPv4 but no address block; checksum, padding.
fn health_check() -> Vec<u8> {
    let mut header = hex("0d0a0d0a000d0a515549540a 20 11 0054 03 0004 bce5951f 04 004a");
    header.extend([0; 74]);
    header
}

/// A check over HTTP asks; a check over TCP only connects, sends its header and goes.
const CHECKS: [&[u8]; 2] = [b"GET /health HTTP/1.0\r\n\r\n", b""];

#[test]
fn the_captured_headers_carry_checksums_that_hold() {
    for (header, at) in [(data(), 31), (health_check(), 19)] {
        assert_eq!(header.len(), 100);
        let mut zeroed = header.clone();
        zeroed[at..at + 4].fill(0);
        assert_eq!(crc32c(&zeroed).to_be_bytes(), header[at..at + 4]);
    }
}

#[test]
fn the_endpoint_id_arrives_byte_for_byte() {
    let far = FarEnd::start();
    let ours = ppserver_passing_tlvs(far.addr());
    let payload = random(51, MIB);
    let client = Client::connect(BALANCER, ours.addr());
    let echoed = client.exchange(&[data(), payload.clone()].concat()).complete();

    let received = far.ended(0).received;
    let header = V2::read(&received);
    let (client, service) = ("172.31.7.113:51442", "172.31.10.31:80");
    let addresses = (client.parse().expect("an address"), service.parse().expect("an address"));
    assert_eq!(header.command, Command::Proxy);
    assert_eq!(header.addresses, Some(addresses));
    assert_eq!(header.values(VPC_ENDPOINT), [b"\x01vpce-08d2bf15fac5001c9"]);
    assert_eq!(header.values(CRC32C).len(), 1, "recomputed, as it came in");
    let rest: Vec<u8> =
        header.tlvs.iter().map(|(kind, _)| *kind).filter(|kind| *kind != CRC32C).collect();
    assert_eq!(rest, [VPC_ENDPOINT, NOOP], "nothing else, in the order of arrival");
    assert_eq!(header.values(NOOP), [[0; 36]]);
    assert_same(&received[header.len..], &payload);
    assert_same(&echoed, &received);
}

#[test]
fn the_endpoint_id_is_read_by_go() {
    let go = GoServer::start();
    let ours = ppserver_passing_tlvs(go.addr());
    let client = Client::connect(BALANCER, ours.addr());
    let echoed = client.exchange(&[data(), b"ping".to_vec()].concat()).complete();
    assert_eq!(echoed, b"ping");
    assert_eq!(
        go.told(),
        "version=2 remote=172.31.7.113:51442 local=172.31.10.31:80 \
         vpce=\"vpce-08d2bf15fac5001c9\""
    );
}

#[test]
fn a_header_with_a_broken_checksum_is_reset() {
    refuses(data());
}

#[test]
fn a_health_check_with_a_broken_checksum_is_reset() {
    refuses(health_check());
}

#[test]
fn the_health_check_is_passed_on_as_local() {
    let far = FarEnd::start();
    let ours = ppserver(far.addr(), "v2");
    for (index, request) in CHECKS.into_iter().enumerate() {
        check(&ours, request);
        let seen = far.ended(index);
        let header = V2::read(&seen.received);
        assert_eq!(header.command, Command::Local);
        assert_eq!(&seen.received[header.len..], request);
        assert_eq!(seen.end, Some(End::Fin));
    }
}

#[test]
fn health_checks_leave_no_trace_in_the_log() {
    let log_of = |checks: usize| {
        let far = FarEnd::start();
        let mut ours = ppserver(far.addr(), "v2");
        for index in 0..checks {
            check(&ours, CHECKS[index % CHECKS.len()]);
            far.ended(index);
        }
        let proc = ours.proc();
        proc.signal(Signal::TERM);
        assert!(proc.wait_for_exit().success(), "{}", proc.transcript());
        let log = proc.lines(Stream::Stderr);
        assert!(!log.iter().any(|line| is_noise(line)), "{log:?}");
        log
    };
    let (none, many) = (log_of(0), log_of(20));
    assert_eq!(none.len(), many.len(), "{none:?}\n{many:?}");
}

#[test]
fn the_health_check_is_passed_on_as_unknown_in_v1() {
    let far = FarEnd::start();
    let ours = ppserver(far.addr(), "v1");
    Client::connect(BALANCER, ours.addr()).exchange(&health_check()).complete();
    assert_eq!(far.ended(0).received, b"PROXY UNKNOWN\r\n");
}

/// Sends the health check and this request, and takes the answer.
#[track_caller]
fn check(ours: &Ppserver, request: &[u8]) {
    let client = Client::connect(BALANCER, ours.addr());
    client.exchange(&[&health_check(), request].concat()).complete();
}

/// The twin: a copy with one flipped bit is reset; the header itself then goes through.
#[track_caller]
fn refuses(header: Vec<u8>) {
    assert!(header.starts_with(SIGNATURE));
    let far = FarEnd::start();
    let ours = ppserver_passing_tlvs(far.addr());
    let mut flipped = header.clone();
    *flipped.last_mut().expect("100 bytes") ^= 0x80;
    Client::connect(BALANCER, ours.addr()).exchange(&flipped).assert_reset();

    Client::connect(BALANCER, ours.addr()).exchange(&header).complete();
    V2::read(&far.ended(0).received);
    assert_eq!(far.accepted(), 1, "only the good one");
}

/// Whether a line of the log is a warning or worse.
fn is_noise(line: &str) -> bool {
    let record: serde_json::Value = serde_json::from_str(line).expect("the log is JSON lines");
    let level = record.get("level").expect("every line has a level");
    level == "WARN" || level == "ERROR"
}
