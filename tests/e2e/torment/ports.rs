//! Few local ports for connections upstream: connect(2) fails with EADDRNOTAVAIL, or meets itself.
//!
//! The ports of this machine are not to be used up, so each test runs once more inside a network
//! namespace of its own, where it may say how many there are. That takes root.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use super::Victim;
use crate::life::session::HEADER;
use crate::support::namespace::in_a_namespace;
use crate::support::{Listener, Peer, REQUIRE, Setup, assert_closed, fresh_address};

/// Ports for connections upstream.
const PORTS: u16 = 8;
/// Connections that find none.
const REFUSED: u16 = 4;

#[test]
fn without_a_local_port_a_connection_is_reset_and_the_next_is_served_when_there_is_one() {
    in_a_namespace(use_up_the_ports);
}

/// A backend was down, and its port one that the kernel gives to sockets: a connect met itself, the client got
/// our header and its own bytes back as an answer, and the backend could not bind to its port again.
#[test]
fn a_connect_that_meets_itself_is_refused_and_leaves_the_port_free() {
    in_a_namespace(meet_itself);
}

/// Says which ports the kernel gives to sockets.
fn range(from: u16, count: u16) {
    let text = format!("{from} {}", from + count - 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", text).expect("the namespace is ours");
}

fn meet_itself() {
    /// Each meets itself once in 32 times: connect(2) takes every second port first.
    const ATTEMPTS: usize = 600;
    range(20_000, 1_000);
    let backend: SocketAddr = ([127, 0, 0, 1], 60_010).into();
    let setup = Setup::to(&[backend]).accept(REQUIRE).send("send = \"v2\"").retries(0);
    // What the kernel gives is learned at the start.
    range(60_000, 64);
    let victim = Victim::start(&setup.bind("127.0.0.1:30000"));
    for _ in 0..ATTEMPTS {
        let client = Peer::connect_from(fresh_address(), victim.server.addr());
        client.send(&[HEADER, b"request"].concat());
        client.expect_reset();
    }
    TcpListener::bind(backend).expect("no connection of ours has the backend's port");
    let counters = victim.finish("met itself");
    assert_closed(&counters, &[("connect_failed", ATTEMPTS)]);
    assert_eq!(counters["connect_failures"], ATTEMPTS);
}

fn use_up_the_ports() {
    range(20_000, 1_000);
    let far = Listener::start();
    let mut victim = Victim::start(&Setup::to(&[far.addr()]).accept(REQUIRE));
    // Everybody else has a port before they are few.
    let connect = || Peer::connect(victim.server.addr());
    let mut clients = (0..PORTS + REFUSED + 1).map(|_| connect()).collect::<Vec<_>>().into_iter();
    range(60_000, PORTS);

    let ask = |client: &Peer| client.send(&[HEADER, b"request"].concat());
    let mut served = |client: Peer| {
        ask(&client);
        let upstream = far.accept();
        upstream.expect(b"request");
        (client, upstream)
    };
    let mut links: Vec<_> = clients.by_ref().take(usize::from(PORTS)).map(&mut served).collect();
    for client in clients.by_ref().take(usize::from(REFUSED)) {
        ask(&client);
        client.expect_reset();
        assert_eq!(victim.server.account_of(client.addr()).reason, "connect_failed");
    }
    for (client, upstream) in &links {
        upstream.send(b"undisturbed");
        client.expect(b"undisturbed");
    }
    // A reset leaves nothing in TIME_WAIT: the port is free at once.
    let (client, upstream) = links.pop().expect("there are some");
    client.reset();
    upstream.expect_reset();
    links.push(served(clients.next().expect("one is left")));
    let done = links.len();
    for (client, upstream) in links {
        client.fin();
        upstream.expect_last(b"");
        upstream.send_with_fin(b"answer");
        client.expect_last(b"answer");
    }
    let counters = victim.finish("no port");
    let refused = usize::from(REFUSED);
    assert_closed(&counters, &[("connect_failed", refused), ("client_reset", 1), ("done", done)]);
}
