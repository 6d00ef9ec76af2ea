//! No local port left for a connection upstream: connect(2) fails with EADDRNOTAVAIL.
//!
//! The ports of this machine are not to be used up, so the test runs once more inside a network
//! namespace of its own, where it may say how many there are. That takes root.

use std::env;
use std::fs;
use std::process::Command;
use std::thread;

use super::Victim;
use crate::common::process::require_program;
use crate::life::session::HEADER;
use crate::support::{Listener, Peer, REQUIRE, Setup, assert_closed};

/// Set in the run inside the namespace.
const INSIDE: &str = "PPSERVER_TEST_NETNS";
/// Ports for connections upstream.
const PORTS: u16 = 8;
/// Connections that find none.
const REFUSED: u16 = 4;

#[test]
fn without_a_local_port_a_connection_is_reset_and_the_next_is_served_when_there_is_one() {
    if env::var_os(INSIDE).is_some() {
        return use_up_the_ports();
    }
    let unshare =
        require_program("unshare", "apt-get install -y --no-install-recommends util-linux");
    require_program("ip", "apt-get install -y --no-install-recommends iproute2");
    let name = thread::current().name().expect("a test's thread has its name").to_owned();
    let this = env::current_exe().expect("the test binary has a path");
    let output = Command::new(unshare)
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(this)
        .args(["--exact", "--nocapture", &name])
        .env(INSIDE, "1")
        .output()
        .expect("unshare can be run");
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "in a network namespace, which needs root:\n{text}");
    assert!(text.contains("1 passed"), "another test was run, or none:\n{text}");
}

fn use_up_the_ports() {
    let range = |from: u16, count: u16| {
        let text = format!("{from} {}", from + count - 1);
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", text).expect("the namespace is ours");
    };
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
