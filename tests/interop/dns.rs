//! DNS over both protocols on one port: dnsdist in front, unbound, PowerDNS's recursor or Knot DNS behind, kdig and dnsperf on
//! either side.

use std::net::{IpAddr, SocketAddr};

use crate::common::ppserver::Ppserver;
use crate::peers::dns::{ANSWER, Dnsdist, Knot, Recursor, Unbound, ask, ask_often};
use crate::rig::{BALANCER, CLIENT, STRANGER};

/// Ours in front of a DNS server for one protocol, which believes the balancer.
#[track_caller]
fn ours(server: SocketAddr, bind: &str, protocol: &str) -> Ppserver {
    let terms = format!("accept = \"require\"\ntrust = [\"{BALANCER}\"]");
    ours_on(&terms, server, bind, protocol)
}

/// The same, on other terms.
#[track_caller]
fn ours_on(terms: &str, server: SocketAddr, bind: &str, protocol: &str) -> Ppserver {
    Ppserver::with_config(&format!(
        "config_version = 1\n[[listener]]\nname = \"dns\"\nbind = [\"{bind}\"]\nprotocol = \"{protocol}\"\nupstream = \"dns\"\n\
         responses = {responses}\n\
         [listener.proxy_protocol]\n{terms}\n\
         [upstream.dns]\nendpoints = [\"{server}\"]\n\
         [upstream.dns.proxy_protocol]\nsend = \"v2\"\n",
        responses = u8::from(protocol == "udp"),
    ))
}

#[test]
fn the_client_of_dnsdist_reaches_unbound_over_udp_and_tcp_on_one_port() {
    let unbound = Unbound::behind_proxy_protocol();
    // Nobody else's ports are there.
    let udp = ours(unbound.addr(), "127.0.0.53:0", "udp");
    let _tcp = ours(unbound.addr(), &udp.addr().to_string(), "tcp");
    let dnsdist = Dnsdist::in_front_of(udp.addr(), BALANCER);
    for (nth, flags) in [&["+notcp"][..], &["+tcp"]].iter().enumerate() {
        assert_eq!(ask(CLIENT, dnsdist.addr(), flags), ANSWER, "{flags:?}");
        unbound.wait_for_question_of(CLIENT);
        assert_eq!(unbound.questions_of(CLIENT), nth + 1);
    }
    // From an address that is not believed nothing comes through.
    let stranger = Dnsdist::in_front_of(udp.addr(), STRANGER);
    assert_eq!(ask(CLIENT, stranger.addr(), &["+notcp", "+timeout=1"]), "");
    assert_eq!(unbound.questions_of(CLIENT), 2);
}

#[test]
fn what_kdig_says_of_its_client_reaches_unbound_and_a_question_without_a_header_does_not() {
    let unbound = Unbound::behind_proxy_protocol();
    let ours = ours(unbound.addr(), "127.0.0.1:0", "udp");
    let told: IpAddr = "203.0.113.7".parse().expect("an address");
    let proxy = format!("+proxy={told}#51820-192.0.2.1#53");
    assert_eq!(ask(BALANCER, ours.addr(), &[&proxy]), ANSWER);
    unbound.wait_for_question_of(told);
    assert_eq!(ask(BALANCER, ours.addr(), &["+timeout=1"]), "");
    assert_eq!(ask(BALANCER, ours.addr(), &[&proxy]), ANSWER);
    assert_eq!((unbound.questions_of(told), unbound.questions_of(BALANCER)), (2, 0));
}

#[test]
fn the_client_of_dnsdist_reaches_powerdns_over_udp_and_tcp_on_one_port() {
    let recursor = Recursor::behind_proxy_protocol();
    let udp = ours(recursor.addr(), "127.0.0.53:0", "udp");
    let _tcp = ours(recursor.addr(), &udp.addr().to_string(), "tcp");
    let dnsdist = Dnsdist::in_front_of(udp.addr(), BALANCER);
    for (flags, protocol) in [("+notcp", "udp"), ("+tcp", "tcp")] {
        assert_eq!(ask(CLIENT, dnsdist.addr(), &[flags]), ANSWER, "{flags}");
        recursor.wait_for_question_of(CLIENT, protocol);
    }
    // It takes nothing without a header, so what comes through has one.
    let stranger = Dnsdist::in_front_of(udp.addr(), STRANGER);
    assert_eq!(ask(CLIENT, stranger.addr(), &["+notcp", "+timeout=1"]), "");
    assert_eq!(ask(CLIENT, recursor.addr(), &["+notcp", "+timeout=1"]), "");
    assert_eq!(recursor.questions(), 2);
}

#[test]
fn knot_tells_each_client_of_dnsdist_its_own_address() {
    let knot = Knot::behind_proxy_protocol();
    let ours = ours(knot.addr(), "127.0.0.1:0", "udp");
    let dnsdist = Dnsdist::in_front_of(ours.addr(), BALANCER);
    for client in [CLIENT, STRANGER] {
        assert_eq!(ask(client, dnsdist.addr(), &["+notcp"]), client.to_string());
    }
    assert_eq!(ask(CLIENT, ours.addr(), &["+notcp", "+timeout=1"]), "", "it is not believed");
}

#[test]
fn of_a_hundred_thousand_questions_none_is_lost() {
    let recursor = Recursor::quiet();
    let ours = ours_on("accept = \"off\"", recursor.addr(), "127.0.0.1:0", "udp");
    let [sent, completed, lost] = ask_often(ours.addr(), 100_000, 20);
    assert_eq!((sent.as_str(), completed.as_str()), ("100000", "100000 (100.00%)"));
    assert_eq!(lost, "0 (0.00%)");
}
