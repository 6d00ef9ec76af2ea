//! What a client sends reaches the endpoint with the header that it is to carry, and what is answered comes back from where the
//! client asked.

use std::net::{SocketAddr, UdpSocket};

use rustix::process::Signal;

use super::{
    REQUIRE, Setup, a_client, addr, answer, assert_counted, assert_silent, bound, client_of, local,
    next, spp, told, v2,
};
use crate::torment::strace;

/// The ways to say who the client is: lines of a listener, lines of an upstream.
const MODES: [(&str, &str, &str); 4] = [
    ("plain", "accept = \"off\"", "send = \"off\""),
    ("each", REQUIRE, "send = \"v2\""),
    (
        "first",
        "accept = \"require\"\ntrust = \"any\"\ndatagrams = \"first\"",
        "send = \"v2\"\ndatagrams = \"first\"",
    ),
    ("spp", "accept = \"require\"\ntrust = \"any\"\nversions = [\"spp\"]", "send = \"spp\""),
];

/// The header in front of the datagram of this number, from 0 on.
fn header(mode: &str, number: usize, (source, destination): (SocketAddr, SocketAddr)) -> Vec<u8> {
    match (mode, number) {
        ("each", _) | ("first", 0) => v2(source, destination),
        ("spp", _) => spp(source, destination),
        _ => Vec::new(),
    }
}

#[test]
fn every_way_to_say_who_the_client_is_becomes_every_other_and_answers_too() {
    for (comes, accept, _) in MODES {
        for (goes, _, send) in MODES {
            let case = format!("{comes} to {goes}");
            let far = bound("127.0.0.1:0");
            let server = Setup::to(&[addr(&far)]).accept(accept).send(send).start();
            let client = a_client(&server);
            let asked = if comes == "plain" { (addr(&client), server.addr()) } else { told() };
            let mut peers = Vec::new();
            for (number, payload) in
                [&b"one"[..], b"", b"three, and longer", b"\r\n\r\n\0\r\nQUIT\n"].iter().enumerate()
            {
                client.send(&[&header(comes, number, asked), *payload].concat()).unwrap();
                let (datagram, peer) = next(&far);
                assert_eq!(datagram, [&header(goes, number, asked), *payload].concat(), "{case}");
                peers.push(peer);
                // SPP comes back as it went, v2 does not.
                let back = if goes == "spp" { spp(asked.0, asked.1) } else { Vec::new() };
                far.send_to(&[&back, &b"re: "[..], payload].concat(), peer).unwrap();
                let front = if comes == "spp" { spp(asked.0, asked.1) } else { Vec::new() };
                assert_eq!(answer(&client), [&front, &b"re: "[..], payload].concat(), "{case}");
            }
            peers.dedup();
            assert_eq!(peers.len(), 1, "{case}: one flow has one socket");
            assert_counted(&server, "ppserver_udp_datagrams_total", [("up", 4), ("down", 4)]);
            assert_counted(&server, "ppserver_udp_drops_total", []);
        }
    }
}

#[test]
fn clients_behind_one_socket_of_a_balancer_are_told_apart_and_answered_through_it() {
    let far = bound("127.0.0.1:0");
    let server = Setup::to(&[addr(&far)]).accept(REQUIRE).send("send = \"v2\"").start();
    let balancer = a_client(&server);
    let (_, destination) = told();
    let clients: Vec<SocketAddr> =
        (1..=20).map(|port| SocketAddr::from(([192, 0, 2, 7], port))).collect();
    for client in &clients {
        balancer
            .send(&[&v2(*client, destination), &client.port().to_be_bytes()[..]].concat())
            .unwrap();
    }
    let mut peers = Vec::new();
    for client in &clients {
        let (datagram, peer) = next(&far);
        assert_eq!(
            datagram,
            [&v2(*client, destination), &client.port().to_be_bytes()[..]].concat()
        );
        peers.push(peer);
        far.send_to(&datagram[28..], peer).unwrap();
        assert_eq!(answer(&balancer), client.port().to_be_bytes());
    }
    peers.sort();
    peers.dedup();
    assert_eq!(peers.len(), clients.len(), "each has a socket of its own");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    for (bind, asked) in [("0.0.0.0:0", ["127.0.0.5", "127.0.0.6"]), ("[::]:0", ["::1", "::1"])] {
        let far = bound("127.0.0.1:0");
        let server = Setup::to(&[addr(&far)])
            .bind(bind)
            .send("send = \"v2\"\ndestination = \"local\"")
            .start();
        for ip in asked {
            let asked = SocketAddr::new(ip.parse().unwrap(), server.addr().port());
            let client = client_of(asked);
            client.send(b"query").unwrap();
            let (datagram, peer) = next(&far);
            assert_eq!(datagram, [&v2(addr(&client), asked), &b"query"[..]].concat());
            far.send_to(b"answer", peer).unwrap();
            assert_eq!(answer(&client), b"answer");
        }
    }
}

#[test]
fn the_largest_datagrams_are_whole_and_those_with_no_room_for_a_header_are_dropped_and_counted() {
    let far = bound("127.0.0.1:0");
    for (send, len) in
        [("send = \"off\"", 65_507), ("send = \"v2\"", 65_479), ("send = \"spp\"", 65_469)]
    {
        let server = Setup::to(&[addr(&far)]).send(send).start();
        let client = a_client(&server);
        let payload = vec![b'x'; len];
        client.send(&payload).unwrap();
        let (datagram, peer) = next(&far);
        assert_eq!(datagram.len(), 65_507, "{send}");
        assert!(datagram.ends_with(&payload));
        // All of it is answered, where no header is in front.
        if send == "send = \"off\"" {
            far.send_to(&payload, peer).unwrap();
            assert_eq!(answer(&client), payload);
            continue;
        }
        client.send(&vec![b'x'; len + 1]).unwrap();
        client.send(b"next").unwrap();
        assert!(next(&far).0.ends_with(b"next"));
        assert_counted(&server, "ppserver_udp_drops_total", [("too_long", 1)]);
    }
}

#[test]
fn a_balancers_own_datagram_goes_as_its_own_or_is_taken_here() {
    for (policy, expected) in
        [("forward", None), ("answer", Some("local_answered")), ("reject", Some("local_rejected"))]
    {
        let far = bound("127.0.0.1:0");
        let accept = format!("{REQUIRE}\nlocal = \"{policy}\"");
        let server = Setup::to(&[addr(&far)]).accept(&accept).send("send = \"v2\"").start();
        let balancer = a_client(&server);
        balancer.send(&[&local(), &b"are you there"[..]].concat()).unwrap();
        let (source, destination) = told();
        balancer.send(&[&v2(source, destination), &b"query"[..]].concat()).unwrap();
        let (first, peer) = next(&far);
        match expected {
            None => {
                assert_eq!(first, [&local(), &b"are you there"[..]].concat());
                far.send_to(b"yes", peer).unwrap();
                assert_eq!(answer(&balancer), b"yes");
                assert!(next(&far).0.ends_with(b"query"));
            }
            Some(reason) => {
                assert!(first.ends_with(b"query"));
                assert_counted(&server, "ppserver_udp_drops_total", [(reason, 1)]);
            }
        }
        assert_silent(&far);
    }
}

#[test]
fn a_burst_arrives_whole_and_in_order() {
    const COUNT: usize = 3_000;
    let far = bound("127.0.0.1:0");
    socket2::SockRef::from(&far).set_recv_buffer_size(4 << 20).unwrap();
    let server = Setup::to(&[addr(&far)]).send("send = \"v2\"").start();
    let client = a_client(&server);
    let header = v2(addr(&client), server.addr());
    let payload = |number: usize| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(8 + number % 7 * 100, b'.');
        payload
    };
    // As many as its peer's buffer holds.
    for batch in 0..COUNT / 50 {
        (0..50).for_each(|at| assert!(client.send(&payload(batch * 50 + at)).is_ok()));
        for at in 0..50 {
            let (datagram, _) = next(&far);
            assert_eq!(datagram, [&header[..], &payload(batch * 50 + at)].concat());
        }
    }
}

#[test]
fn flows_to_an_endpoint_that_is_sent_spp_share_a_socket_and_each_gets_its_own_answers() {
    let far = bound("127.0.0.1:0");
    let server = Setup::to(&[addr(&far)])
        .accept(REQUIRE)
        .send("send = \"spp\"")
        .listener("responses = 1")
        .start();
    let balancers = [a_client(&server), a_client(&server)];
    let (_, destination) = told();
    let client = |port: u16| SocketAddr::from(([192, 0, 2, 7], port));
    let ask = |balancer: &UdpSocket, port: u16| {
        balancer.send(&[&v2(client(port), destination), &b"question"[..]].concat()).unwrap();
        let (datagram, peer) = next(&far);
        let header = spp(client(port), destination);
        assert_eq!(datagram, [&header[..], b"question"].concat());
        (header, peer)
    };
    let asked: Vec<_> = (1..=20).map(|port| ask(&balancers[0], port)).collect();
    assert!(asked.iter().all(|(_, peer)| *peer == asked[0].1), "one socket: {asked:?}");
    // The same client by another socket of the balancer's: nothing in an answer tells whose it is.
    let (header, own) = ask(&balancers[1], 1);
    assert_ne!(own, asked[0].1);
    far.send_to(&[&header[..], b"own"].concat(), own).unwrap();
    assert_eq!(answer(&balancers[1]), b"own");
    // A stranger's header is nobody's, and a second answer nobody's any more.
    far.send_to(&[&spp(client(99), destination)[..], b"x"].concat(), asked[0].1).unwrap();
    far.send_to(b"none", asked[0].1).unwrap();
    for (header, peer) in asked.iter().rev() {
        far.send_to(&[&header[..], &header[34..36]].concat(), *peer).unwrap();
        assert_eq!(answer(&balancers[0]), &header[34..36]);
    }
    far.send_to(&asked[0].0, asked[0].1).unwrap();
    assert_eq!(ask(&balancers[0], 1).1, asked[0].1, "it stays open for who comes next");
    let drops = [("answer_invalid", 1), ("no_flow", 2)];
    assert_counted(&server, "ppserver_udp_drops_total", drops);
}

#[test]
fn what_flows_send_by_one_socket_and_what_goes_back_to_one_is_a_call_each() {
    let far = bound("127.0.0.1:0");
    let setup = Setup::to(&[addr(&far)]).accept(REQUIRE).send("send = \"spp\"");
    let server = setup.start();
    let balancer = a_client(&server);
    let destination = told().1;
    let client = |number: u8| SocketAddr::from(([192, 0, 2, number], 7));
    let strace = strace::attach(server.pid(), &["-e", "trace=sendmmsg"]);
    server.proc.signal(Signal::STOP);
    for number in 0..8 {
        let question = [&v2(client(number), destination), &[number; 64][..]].concat();
        balancer.send(&question).unwrap();
    }
    server.proc.signal(Signal::CONT);
    let came: Vec<_> = (0..8).map(|_| next(&far)).collect();
    server.proc.signal(Signal::STOP);
    for (number, (datagram, peer)) in (0..).zip(came) {
        let header = spp(client(number), destination);
        assert_eq!(datagram, [&header[..], &[number; 64]].concat());
        far.send_to(&[&header[..], &[number; 32]].concat(), peer).unwrap();
    }
    server.proc.signal(Signal::CONT);
    for number in 0..8 {
        assert_eq!(answer(&balancer), [number; 32]);
    }
    let calls = strace::detach(strace);
    let calls: Vec<_> = calls.iter().filter(|line| line.contains("sendmmsg(")).collect();
    assert_eq!(calls.len(), 2, "{calls:#?}");
    assert_counted(&server, "ppserver_udp_drops_total", []);
}
