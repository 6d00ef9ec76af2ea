//! Endpoints: taken in turn, one after the other when they fail, and what the client learns of it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::payload::{assert_same, random};
use crate::common::socket::{Client, ReservedPort};
use crate::support::{
    BlackHole, Listener, Peer, REQUIRE, Setup, Stopwatch, assert_closed, fresh_address,
    has_keepalive, is_connecting, link, wait_until_taken,
};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n";

fn wait_until_connecting(to: SocketAddr) {
    poll_for(PATIENCE, || is_connecting(to).then_some(())).expect("a connect is under way");
}

#[test]
fn endpoints_are_taken_in_turn() {
    let far = [FarEnd::start(), FarEnd::start(), FarEnd::start()];
    let server = Setup::to(&[far[0].addr(), far[1].addr(), far[2].addr()]).start();
    for round in 1..=4 {
        for (index, one) in far.iter().enumerate() {
            let client = Peer::connect(server.addr());
            client.send_with_fin(b"payload");
            client.expect_last(b"payload");
            let counts: Vec<usize> = far.iter().map(FarEnd::accepted).collect();
            let expected: Vec<usize> =
                (0..3).map(|at| if at <= index { round } else { round - 1 }).collect();
            assert_eq!(counts, expected);
            assert_same(&one.ended(round - 1).received, b"payload");
        }
    }
}

#[test]
fn probes_take_no_turn() {
    let far = [FarEnd::start(), FarEnd::start()];
    let mut server = Setup::to(&[far[0].addr(), far[1].addr()]).accept(REQUIRE).start();
    for round in 0..2 {
        for one in &far {
            let probe = Peer::connect(server.addr());
            let addr = probe.addr();
            drop(probe);
            assert_eq!(server.account_of(addr).reason, "probe");
            let client = Peer::connect(server.addr());
            client.send_with_fin(&[LINE, b"payload"].concat());
            client.expect_last(b"payload");
            assert_same(&one.ended(round).received, b"payload");
        }
    }
}

#[test]
fn an_upstream_that_is_only_listened_to_gets_keepalive() {
    let listener = Listener::start();
    let setup = Setup::to(&[listener.addr()]).accept(REQUIRE).timeouts("header = \"300ms\"");
    let server = setup.start();
    let client = Peer::connect(server.addr());
    client.send(&[LINE, b"GET /events"].concat());
    let upstream = listener.accept();
    upstream.expect(b"GET /events");
    let is_kept = || has_keepalive(upstream.remote(), upstream.addr()).then_some(());
    poll_for(PATIENCE, is_kept).expect("the upstream socket has SO_KEEPALIVE");
}

#[test]
fn a_dead_endpoint_is_passed_over_and_the_header_is_sent_once() {
    let (dead, also_dead, far) = (ReservedPort::new(), ReservedPort::new(), FarEnd::start());
    let setup = Setup::to(&[dead.addr(), also_dead.addr(), far.addr()]).retries(2);
    let mut server = setup.accept(REQUIRE).send("send = \"v1\"").start();
    for index in 0..3 {
        let client = Peer::connect(server.addr());
        client.send_with_fin(&[LINE, b"payload"].concat());
        let expected = [LINE, b"payload"].concat();
        client.expect_last(&expected);
        assert_same(&far.ended(index).received, &expected);
        let endpoint = server.account_of(client.addr()).endpoint;
        assert_eq!(endpoint, Some(far.addr().to_string()));
    }
    let counters = server.stop();
    assert_closed(&counters, &[("done", 3)]);
    // From the first endpoint two fail, from the second one, from the third none.
    assert_eq!(counters["connect_failures"], 3);
}

#[test]
fn no_more_endpoints_are_tried_than_retries_allow() {
    let (dead, also_dead, far) = (ReservedPort::new(), ReservedPort::new(), FarEnd::start());
    let setup = Setup::to(&[dead.addr(), also_dead.addr(), far.addr()]).retries(1);
    let server = setup.start();
    // Refused so fast that the client's own connect may not have returned yet.
    Client::connect(fresh_address(), server.addr()).ask(b"").assert_reset();
    assert_eq!(far.accepted(), 0);
    let counters = server.stop();
    assert_closed(&counters, &[("connect_failed", 1)]);
    assert_eq!(counters["connect_failures"], 2);
}

#[test]
fn the_client_is_reset_when_every_endpoint_is_dead() {
    let dead = [ReservedPort::new(), ReservedPort::new()];
    let setup = Setup::to(&[dead[0].addr(), dead[1].addr()]).retries(5).accept(REQUIRE);
    let server = setup.send("send = \"v2\"").start();
    for says_fin in [false, true] {
        let client = Peer::connect(server.addr());
        if says_fin {
            client.send_with_fin(LINE);
        } else {
            client.send(LINE);
        }
        client.expect_reset();
    }
    let counters = server.stop();
    assert_closed(&counters, &[("connect_failed", 2)]);
    assert_eq!(counters["connect_failures"], 4, "each endpoint once for each client");
}

#[test]
fn an_endpoint_that_does_not_answer_is_passed_over_in_time_with_the_header_sent_once() {
    let (hole, far) = (BlackHole::new(), FarEnd::start());
    let setup = Setup::to(&[hole.addr(), far.addr()]).timeouts("connect = \"300ms\"");
    let mut server = setup.accept(REQUIRE).send("send = \"v1\"").start();
    let client = Peer::connect(server.addr());
    client.send(&[LINE, b"request"].concat());
    let expected = [LINE, b"request"].concat();
    client.expect(&expected);
    client.send_with_fin(b" and more");
    client.expect_last(b" and more");
    let account = server.account_of(client.addr());
    assert_eq!(account.endpoint, Some(far.addr().to_string()));
    assert!(account.duration >= Duration::from_millis(300), "{account:?}");
    assert_same(&far.ended(0).received, &[LINE, b"request and more"].concat());
    assert!(!is_connecting(hole.addr()), "the first attempt's socket is gone");
    let counters = server.stop();
    assert_closed(&counters, &[("done", 1)]);
    assert_eq!(counters["connect_failures"], 1);
}

#[test]
fn the_client_is_reset_when_no_endpoint_answers() {
    let holes = [BlackHole::new(), BlackHole::new()];
    let setup = Setup::to(&[holes[0].addr(), holes[1].addr()]);
    let mut server = setup.timeouts("connect = \"200ms\"").start();
    let client = Peer::connect(server.addr());
    client.expect_reset();
    let account = server.account_of(client.addr());
    assert_eq!(account.reason, "connect_timeout");
    let (least, most) = (Duration::from_millis(400), Duration::from_millis(1_400));
    assert!(account.duration >= least && account.duration < most, "each attempt has its own time");
    assert_eq!(server.stop()["connect_failures"], 2);
}

#[test]
fn a_client_that_resets_while_we_connect_frees_both_sockets_at_once() {
    let hole = BlackHole::new();
    let mut server = Setup::to(&[hole.addr()]).timeouts("connect = \"1h\"").start();
    let mut spans = Vec::new();
    // The best of several: the machine is shared, and the span includes two wake-ups of ours.
    for payload in [&b""[..], b"payload"].into_iter().cycle().take(20) {
        let client = Peer::connect(server.addr());
        if !payload.is_empty() {
            client.send(payload);
            wait_until_taken(client.addr(), server.addr());
        }
        wait_until_connecting(hole.addr());
        let addr = client.addr();
        let stopwatch = Stopwatch::start();
        client.reset();
        let account = server.account_of(addr);
        spans.push(stopwatch.read());
        assert_eq!(account.reason, "client_reset");
        assert!(!is_connecting(hole.addr()), "closed before the line was written");
    }
    let best = spans.iter().min().expect("there were tries");
    assert!(*best <= Duration::from_millis(10), "{spans:?}");
}

#[test]
fn a_client_that_has_ended_while_we_connect_still_gets_its_answer() {
    let hole = BlackHole::new();
    let server = Setup::to(&[hole.addr()]).accept(REQUIRE).send("send = \"v1\"").start();
    let client = Peer::connect(server.addr());
    client.send_with_fin(&[LINE, b"request"].concat());
    wait_until_taken(client.addr(), server.addr());
    wait_until_connecting(hole.addr());
    assert!(client.is_quiet());
    // The kernel repeats the SYN after a second.
    let upstream = hole.open();
    upstream.expect_last(&[LINE, b"request"].concat());
    upstream.send_with_fin(b"answer");
    client.expect_last(b"answer");
}

#[test]
fn a_long_request_that_comes_while_we_connect_is_relayed_whole() {
    let hole = BlackHole::new();
    let server = Setup::to(&[hole.addr()]).splice("always").start();
    let client = Peer::connect(server.addr());
    let request = random(1, 4 * 1024 * 1024);
    thread::scope(|scope| {
        scope.spawn(|| client.pour(&request, 1));
        wait_until_connecting(hole.addr());
        let upstream = hole.open();
        upstream.expect_last(&request);
        upstream.send_with_fin(b"answer");
    });
    client.expect_last(b"answer");
}

#[test]
fn an_endpoint_that_accepts_and_resets_is_not_retried() {
    let (far, other) = (Listener::start(), FarEnd::start());
    let server = Setup::to(&[far.addr(), other.addr()]).start();
    let (client, upstream) = link(server.addr(), &far);
    upstream.reset();
    client.expect_reset();
    assert_eq!(other.accepted(), 0, "the connection stood: bytes may have been read there");
    assert_closed(&server.stop(), &[("upstream_reset", 1)]);
}
