//! What a network does that loopback does not by itself: few ports, and packets with a small limit.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use rustix::process::Signal;

use super::{Setup, a_client, addr, assert_counted, bound, counted, next, v2};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::support::namespace::in_a_namespace;

/// The ports that the kernel chooses from, and one of them of which nobody is.
const PORTS: &str = "40000 40003";
const DEAD: &str = "127.0.0.1:40001";

/// A client at a port that is not to be chosen.
#[track_caller]
fn client_at(port: u16, server: SocketAddr) -> UdpSocket {
    let socket = bound(&format!("127.0.0.1:{port}"));
    socket.connect(server).expect("loopback is up");
    socket
}

#[test]
fn a_flow_that_would_meet_itself_goes_to_another_endpoint() {
    in_a_namespace(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", PORTS).expect("it is ours");
        let far = bound("127.0.0.1:30000");
        far.set_nonblocking(true).unwrap();
        let setup = Setup::to(&[DEAD.parse().unwrap(), addr(&far)]).bind("127.0.0.1:30001");
        // One whose first question the dead one lost is owed an answer until then.
        let listener = "responses = 1\ntimeouts = { flow = \"1s\", flow_unanswered = \"1s\" }";
        let server = setup.listener(listener).upstream("passive = { failures = 0 }").start();
        let mut ports = 31_000..u16::MAX;
        let met_itself = poll_for(PATIENCE, || {
            let port = ports.next()?;
            let client = client_at(port, server.addr());
            client.set_nonblocking(true).unwrap();
            let question = format!("question of {port}");
            let answered = poll_for(PATIENCE, || {
                // The first may be lost to the dead one, which the second hears of.
                client.send(question.as_bytes()).unwrap();
                let mut buf = [0; 64];
                // All are answered, late ones of who came before too: a flow that is owed an answer keeps its port.
                while let Ok((len, peer)) = far.recv_from(&mut buf) {
                    far.send_to(&[b"answer to ", &buf[..len]].concat(), peer).unwrap();
                }
                client.recv(&mut buf).ok().map(|len| buf[..len].to_vec())
            });
            let answer = answered.expect("somebody is there");
            assert_eq!(
                answer,
                format!("answer to {question}").as_bytes(),
                "and not its own question"
            );
            let met = counted(&server, "ppserver_connects_total");
            met.iter().any(|(result, count)| result == "self" && *count > 0).then_some(())
        });
        assert!(met_itself.is_some(), "by chance one in four tries does");
    });
}

#[test]
fn datagrams_that_are_too_long_for_one_call_with_their_headers_come_one_by_one_and_whole() {
    in_a_namespace(|| {
        let set = Command::new("ip").args(["link", "set", "lo", "mtu", "1500"]).status();
        assert!(set.expect("it was there").success());
        let far = bound("127.0.0.1:0");
        let server = Setup::to(&[addr(&far)]).send("send = \"v2\"").start();
        let client = a_client(&server);
        // With their headers they are longer than a packet may be: two fragments each.
        let datagram = |number: u8| vec![number; 1472];
        server.proc.signal(Signal::STOP);
        for number in 0..20 {
            client.send(&datagram(number)).unwrap();
        }
        server.proc.signal(Signal::CONT);
        for number in 0..20 {
            let expected = [v2(addr(&client), server.addr()), datagram(number)].concat();
            assert!(next(&far).0 == expected, "datagram {number}");
        }
        assert_counted(&server, "ppserver_udp_drops_total", []);
    });
}
