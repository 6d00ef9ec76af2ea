//! What a network does that loopback does not by itself: few ports, and packets with a small limit.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use rustix::process::Signal;

use super::{
    Setup, a_client, addr, answer, assert_counted, assert_flooded, bound, counted, next, v2,
};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::life::server::Server;
use crate::support::namespace::in_a_namespace;
use crate::torment::strace;

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

/// Kernels of today send segments by devices without checksums too; older ones answer EIO. So strace gives the answer,
/// to the one call that sends several.
#[test]
fn what_the_kernel_refuses_to_send_as_segments_leaves_one_by_one_and_whole() {
    for error in ["EIO", "EINVAL", "EMSGSIZE"] {
        let far = bound("127.0.0.1:0");
        let server = Setup::to(&[addr(&far)]).send("send = \"v2\"").start();
        let client = a_client(&server);
        let fault = format!("inject=sendmmsg:error={error}:when=1");
        let strace = strace::attach(server.pid(), &["-e", "trace=sendmmsg", "-e", &fault]);
        server.proc.signal(Signal::STOP);
        for number in 0..20 {
            client.send(&[number; 100]).unwrap();
        }
        server.proc.signal(Signal::CONT);
        for number in 0..20 {
            let due = [&v2(addr(&client), server.addr()), &[number; 100][..]].concat();
            assert!(next(&far).0 == due, "{error}: datagram {number}");
        }
        assert_counted(&server, "ppserver_udp_drops_total", []);
        let calls = strace::detach(strace);
        let refused: Vec<_> = calls.iter().filter(|line| line.contains("(INJECTED)")).collect();
        assert_eq!(refused.len(), 1, "{error}: {calls:#?}");
        assert!(refused[0].contains("UDP_SEGMENT") || refused[0].contains("0x67"), "{refused:?}");
    }
}

/// Each source sends one datagram, and gets no answer.
#[test]
fn a_flood_of_a_million_spoofed_sources_leaves_those_who_are_answered_and_memory_is_bounded() {
    in_a_namespace(|| {
        const SOURCES: u32 = 1_000_000;
        let route = ["route", "add", "local", "10.0.0.0/8", "dev", "lo"];
        assert!(Command::new("ip").args(route).status().expect("it was there").success());
        let far = bound("127.0.0.1:0");
        let text = Setup::to(&[addr(&far)]).listener("limits.flows = 8192").text();
        // A line a flow is not what is asked about.
        let server = Server::start(&text.replace("[access_log]\nenabled = true", "[access_log]"));
        let served: Vec<_> = (0..100).map(|_| a_client(&server)).collect();
        let ask = |client: &UdpSocket| {
            let question = addr(client).port().to_be_bytes();
            client.send(&question).expect("loopback is up");
            loop {
                let (datagram, peer) = next(&far);
                if datagram == question {
                    far.send_to(&question, peer).expect("he waits");
                    assert_eq!(answer(client), question);
                    return peer;
                }
            }
        };
        let before: Vec<_> = served.iter().map(ask).collect();
        for source in 0..SOURCES {
            let [_, a, b, c] = source.to_be_bytes();
            let spoofed = UdpSocket::bind((Ipv4Addr::new(10, a, b, c), 9)).expect("it is local");
            spoofed.send_to(b"flood", server.addr()).expect("loopback is up");
            // Before what waits at the socket has no room there any more, which is the kernel's to bear.
            if source % 100 == 0 {
                let at = usize::try_from(source / 100).expect("it is small") % served.len();
                assert_eq!(ask(&served[at]), before[at], "by the flow that he had");
            }
        }
        let after: Vec<_> = served.iter().map(ask).collect();
        assert_eq!(after, before, "each by the flow that he had");
        assert_flooded(&server, SOURCES);
    });
}
