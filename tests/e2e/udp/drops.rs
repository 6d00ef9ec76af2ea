//! What is no datagram of a client goes nowhere, is counted by why, and costs nobody else one.

use std::net::SocketAddr;

use super::{
    REQUIRE, Setup, a_client, addr, answer, assert_counted, assert_flooded, assert_silent, bound,
    line_of, next, told, v2,
};
use crate::life::server::Server;

#[test]
fn broken_cut_absent_and_untrusted_headers_are_dropped_each_by_its_reason() {
    let far = bound("127.0.0.1:0");
    let server = Setup::to(&[addr(&far)]).accept(REQUIRE).start();
    let client = a_client(&server);
    let (source, destination) = told();
    let whole = [&v2(source, destination), &b"query"[..]].concat();
    let mut broken = whole.clone();
    broken[12] = 0x31;
    for datagram in [&whole[..20], &broken, b"no header", b""] {
        client.send(datagram).unwrap();
    }
    client.send(&whole).unwrap();
    assert_eq!(next(&far).0, b"query");
    assert_silent(&far);
    let drops = [("header_absent", 1), ("header_invalid", 1), ("header_truncated", 2)];
    assert_counted(&server, "ppserver_udp_drops_total", drops);
    assert_counted(&server, "ppserver_udp_datagrams_total", [("up", 5)]);
    let strict = REQUIRE.replace("\"any\"", "[\"10.0.0.0/8\"]");
    let server = Setup::to(&[addr(&far)]).accept(&strict).start();
    let client = a_client(&server);
    client.send(&whole).unwrap();
    let text = server.wait_for("dropped", 0);
    assert_eq!(
        (&text["reason"], &text["peer"]),
        (&"untrusted".into(), &addr(&client).to_string().into())
    );
    assert_silent(&far);
    assert_counted(&server, "ppserver_udp_drops_total", [("untrusted", 1)]);
}

#[test]
fn a_dead_endpoint_costs_a_flow_one_datagram_where_another_lives() {
    let far = bound("127.0.0.1:0");
    let dead = addr(&bound("127.0.0.1:0"));
    let server = Setup::to(&[dead, addr(&far)]).start();
    let clients: Vec<_> = (0..10).map(|_| a_client(&server)).collect();
    for round in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client.send(&[round, u8::try_from(number).unwrap()]).unwrap();
        }
        if round == 0 {
            // What went to nobody is gone. It was refused twice, which takes the endpoint out.
            let up = [(&*addr(&far).to_string(), 1)];
            assert_counted(&server, "ppserver_endpoint_up", up);
            continue;
        }
        let mut came: Vec<Vec<u8>> = Vec::new();
        while came.iter().filter(|datagram| datagram[0] == round).count() < clients.len() {
            came.push(next(&far).0);
        }
    }
    assert_counted(&server, "ppserver_udp_drops_total", []);
}

#[test]
fn what_follows_a_refusal_goes_to_another_endpoint_at_once() {
    let (far, dead) = (bound("127.0.0.1:0"), addr(&bound("127.0.0.1:0")));
    // Nobody is ejected: each flow finds out for itself.
    let setup = Setup::to(&[dead, addr(&far)]).upstream("passive = { failures = 0 }");
    let server = setup.start();
    for flow in 0..4 {
        let client = a_client(&server);
        // Of a flow that begins at the dead one the first is lost, with what is sent in one call with it, and no other.
        for number in 0..3 {
            client.send(&[number]).unwrap();
            if number == 0 {
                let up = ("up", 3 * flow + 1);
                assert_counted(&server, "ppserver_udp_datagrams_total", [up]);
            } else {
                let mut came = next(&far).0;
                while came == [0] {
                    came = next(&far).0;
                }
                assert_eq!(came, [number]);
            }
        }
    }
    assert_counted(&server, "ppserver_udp_drops_total", []);
}

#[test]
fn a_client_who_has_as_many_flows_as_he_may_is_dropped_and_others_are_not() {
    let far = bound("127.0.0.1:0");
    let limits = "limits.per_client = { connections = 1 }";
    let server = Setup::to(&[addr(&far)]).listener(limits).accept(REQUIRE).start();
    let balancer = a_client(&server);
    let (_, destination) = told();
    let of = |last: u8, port: u16| {
        let client = SocketAddr::from(([192, 0, 2, last], port));
        [&v2(client, destination), &[last][..], &port.to_be_bytes()[..]].concat()
    };
    for datagram in [of(1, 1), of(1, 2), of(2, 1), of(1, 1)] {
        balancer.send(&datagram).unwrap();
    }
    let mut came: Vec<_> = (0..3).map(|_| next(&far).0).collect();
    // Between two flows there is no order.
    came.sort();
    assert_eq!(came, [[1, 0, 1], [1, 0, 1], [2, 0, 1]]);
    assert_counted(&server, "ppserver_udp_drops_total", [("limited", 1)]);
    assert_counted(&server, "ppserver_udp_flows_active", [("edge", 2)]);
}

#[test]
fn flows_without_an_answer_give_way_and_those_with_one_stay() {
    let far = bound("127.0.0.1:0");
    let server = Setup::to(&[addr(&far)]).listener("limits.flows = 8").start();
    let served = a_client(&server);
    served.send(b"first").unwrap();
    let (_, peer) = next(&far);
    far.send_to(b"answer", peer).unwrap();
    assert_eq!(answer(&served), b"answer");
    let flood: Vec<_> = (0..100).map(|_| a_client(&server)).collect();
    for client in &flood {
        client.send(b"x").unwrap();
        next(&far);
    }
    served.send(b"second").unwrap();
    assert_eq!(next(&far), (b"second".to_vec(), peer), "by the same socket");
    assert_counted(&server, "ppserver_udp_flows_active", [("edge", 8)]);
    let line = line_of(&server, &flood[0], 0);
    assert_eq!((&line["end"], &line["bytes_in"]), (&"evicted".into(), &1.into()));
}

/// Through a balancer, since strangers cannot be forged here without it.
#[test]
fn a_flood_of_new_clients_leaves_those_who_are_answered_and_memory_is_bounded() {
    const SOURCES: u32 = 100_000;
    let (far, flooded) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let setup = Setup::to(&[addr(&far)]).listener("limits.flows = 1024").accept(REQUIRE);
    let routes = format!(
        "[[listener.route]]\nwhen = {{ client = [\"10.0.0.0/8\"] }}\nupstream = \"other\"\n\
         [upstream.other]\nendpoints = [\"{}\"]\n",
        addr(&flooded)
    );
    let text = setup.text().replace("[upstream.far]\n", &format!("{routes}[upstream.far]\n"));
    // A line a flow is not what is asked about.
    let server = Server::start(&text.replace("[access_log]\nenabled = true", "[access_log]"));
    let balancer = a_client(&server);
    let (_, destination) = told();
    let say = |client: SocketAddr, payload: &[u8]| {
        balancer.send(&[&v2(client, destination), payload].concat()).expect("loopback is up");
    };
    let served: Vec<SocketAddr> = (1..=100).map(|port| ([192, 0, 2, 7], port).into()).collect();
    let ask = |client: &SocketAddr| {
        say(*client, &client.port().to_be_bytes());
        let (question, peer) = next(&far);
        assert_eq!(question, client.port().to_be_bytes());
        far.send_to(&question, peer).expect("he waits");
        assert_eq!(answer(&balancer), question);
        peer
    };
    let before: Vec<_> = served.iter().map(ask).collect();
    for source in 0..SOURCES {
        let [_, a, b, c] = source.to_be_bytes();
        say(([10, a, b, c], 9).into(), b"flood");
        // Before what waits at the socket has no room there any more, which is the kernel's to bear.
        if source % 200 == 0 {
            let at = usize::try_from(source / 200).expect("it is small") % served.len();
            assert_eq!(ask(&served[at]), before[at], "by the flow that he had");
        }
    }
    let after: Vec<_> = served.iter().map(ask).collect();
    assert_eq!(after, before, "each by the flow that he had");
    assert_flooded(&server, SOURCES);
}

#[test]
fn a_route_denies_and_another_leads_elsewhere() {
    let (far, other) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let setup = Setup::to(&[addr(&far)]).accept(REQUIRE);
    let routes = format!(
        "[[listener.route]]\nwhen = {{ client = [\"192.0.2.9\"] }}\ndeny = true\n\
         [[listener.route]]\nwhen = {{ tlv = {{ \"0xEA\" = \"vpce-1\" }} }}\nupstream = \"other\"\n\
         [upstream.other]\nendpoints = [\"{}\"]\n",
        addr(&other)
    );
    let text = setup.text().replace("[upstream.far]\n", &format!("{routes}[upstream.far]\n"));
    let server = Server::start(&text);
    let balancer = a_client(&server);
    let (source, destination) = told();
    let denied = v2("192.0.2.9:1".parse().unwrap(), destination);
    let vpce = crate::support::with_tlvs(v2(source, destination), &[(0xEA, b"\x01vpce-1")]);
    for header in [denied, vpce, v2(SocketAddr::new(source.ip(), 2), destination)] {
        balancer.send(&[&header, &b"query"[..]].concat()).unwrap();
    }
    assert_eq!((next(&far).0, next(&other).0), (b"query".to_vec(), b"query".to_vec()));
    assert_silent(&far);
    assert_counted(&server, "ppserver_udp_drops_total", [("denied", 1)]);
}
