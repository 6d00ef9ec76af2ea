//! Bulk over a link of 1,500 bytes whose device does nothing for anybody: no checksums, no segments. What cannot leave in one
//! call leaves one by one.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{REQUIRE, Setup, addr, assert_counted, bound, client_of, next, v2};
use crate::common::payload::{assert_same, random};
use crate::common::process::require_program;
use crate::support::namespace::in_a_namespace;

const NEAR: &str = "10.9.0.1";
const FAR: &str = "10.9.0.2";
/// Datagrams that wait for the proxy at a time: fewer than any socket has room for.
const WINDOW: usize = 32;

/// A network at the other end of a link from this one's.
struct Link {
    /// Lives in it for as long as it is to be there.
    keeper: Child,
}

impl Link {
    fn new() -> Link {
        let unshare =
            require_program("unshare", "apt-get install -y --no-install-recommends util-linux");
        require_program("ethtool", "apt-get install -y --no-install-recommends ethtool");
        let mut keeper = Command::new(unshare)
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be run");
        let mut said = String::new();
        let stdout = keeper.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("it says that it is there");
        assert_eq!(said, "up\n");
        let pid = keeper.id();
        let inside = format!("nsenter --net=/proc/{pid}/ns/net");
        run(&format!(
            "ip link add near mtu 1500 type veth peer name far mtu 1500 netns {pid}
             ethtool -K near tx off gso off gro off
             {inside} ethtool -K far tx off gso off gro off
             ip addr add {NEAR}/24 dev near
             {inside} ip addr add {FAR}/24 dev far
             ip link set near up
             {inside} ip link set far up"
        ));
        Link { keeper }
    }

    /// A socket over there.
    fn socket(&self) -> UdpSocket {
        let path = format!("/proc/{}/ns/net", self.keeper.id());
        let bind = move || {
            let network = File::open(path).expect("it is there");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), kind).expect("this is root");
            bound(&format!("{FAR}:0"))
        };
        thread::spawn(bind).join().expect("a socket can be bound there")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn run(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().expect("there is a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bulk_over_a_link_that_can_do_nothing_arrives_whole_and_in_its_order() {
    in_a_namespace(|| {
        let link = Link::new();
        let far = link.socket();
        let server = Setup::to(&[addr(&far)]).send("send = \"v2\"").start();
        let client = client_of(server.addr());
        let header = v2(addr(&client), server.addr());
        // The last ones are longer than the link with their header, and leave as two fragments each.
        for (round, len) in [1_200, 1_400, 1_444, 1_472].into_iter().enumerate() {
            for window in 0..8 {
                let seed = u64::try_from(1_000 * round + WINDOW * window).expect("a small number");
                let payloads: Vec<_> =
                    (seed..).take(WINDOW).map(|seed| random(seed, len)).collect();
                // All are there when it looks, so that it sends them in one call if it can.
                server.proc.signal(Signal::STOP);
                for payload in &payloads {
                    client.send(payload).expect("it is sent");
                }
                server.proc.signal(Signal::CONT);
                for payload in &payloads {
                    assert_same(&next(&far).0, &[&header[..], payload].concat());
                }
            }
        }
        assert_counted(&server, "ppserver_udp_drops_total", []);
    });
}

#[test]
fn what_may_not_be_cut_in_pieces_and_is_longer_than_the_link_is_dropped_and_counted() {
    in_a_namespace(|| {
        let link = Link::new();
        let far = link.socket();
        let setup = Setup::to(&[addr(&far)]).accept(REQUIRE).send("send = \"v2\"");
        let server = setup.listener("dont_fragment = \"probe\"").start();
        let client = client_of(server.addr());
        let told = super::told();
        let header = v2(told.0, told.1);
        server.proc.signal(Signal::STOP);
        for (nth, len) in (0..).zip([1_444, 1_445, 1_200, 1_472]) {
            client.send(&[&header[..], &random(nth, len)].concat()).expect("it is sent");
        }
        server.proc.signal(Signal::CONT);
        for (nth, len) in [(0, 1_444), (2, 1_200)] {
            assert_same(&next(&far).0, &[&header[..], &random(nth, len)].concat());
        }
        assert_counted(&server, "ppserver_udp_drops_total", [("too_long", 2)]);
    });
}
