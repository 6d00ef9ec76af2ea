//! Our checks of real servers that require a header: each passes with the header that it takes, and fails with none.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::ppserver::Ppserver;
use crate::peers::dns::Unbound;
use crate::peers::haproxy::Haproxy;
use crate::peers::mail::MailServer;
use crate::peers::nginx::NginxHttp;

const UP: &str = "up";
const DOWN: &str = "down";

/// What is sent, the `proxy` of the check, and what it comes to: for servers that take each header of the standard.
const EACH: [(&str, &str, &str); 5] = [
    ("v2", "auto", UP),
    ("v1", "auto", UP),
    ("v2", "proxy", UP),
    ("v1", "proxy", UP),
    ("v2", "off", DOWN),
];

const HTTP: &str = "send = \"GET /file HTTP/1.0\\r\\n\\r\\n\"\nexpect = \"HTTP/1.1 200 OK\"";

/// Checks `server` in each of these ways at once, and fails unless they come to what they should.
#[track_caller]
fn assert_checked(server: SocketAddr, protocol: &str, exchange: &str, ways: &[(&str, &str, &str)]) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let door = dir.path().join("admin.sock");
    let mut text = format!("config_version = 1\nadmin.socket = '{}'\n", door.display());
    for (nth, (send, proxy, _)) in ways.iter().enumerate() {
        text += &format!(
            "[[listener]]\nname = 'edge-{nth}'\nprotocol = '{protocol}'\nbind = ['127.0.0.1:0']\nupstream = 'way-{nth}'\n\
             [upstream.way-{nth}]\nendpoints = ['{server}']\nproxy_protocol.send = '{send}'\n\
             [upstream.way-{nth}.health]\ncheck = 'exchange'\nproxy = '{proxy}'\ninterval = '100ms'\n\
             {exchange}\n"
        );
    }
    let _ours = Ppserver::with_config(&text);
    let settled = poll_for(PATIENCE, || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppserver"));
        let asked = command.args(["upstreams", "--json", "--admin"]).arg(&door).output();
        let answer: Value = serde_json::from_slice(&asked.expect("it runs").stdout).ok()?;
        let pools = answer["pools"].as_array().expect("a list");
        let endpoints: Vec<_> = pools.iter().map(|pool| pool["endpoints"][0].clone()).collect();
        // Until its first check has ended one is taken for up.
        let is_settled = |it: &Value| it["state"] == DOWN || it["check_latency_seconds"].is_f64();
        endpoints.iter().all(is_settled).then_some(endpoints)
    });
    let endpoints = settled.expect("every check comes to something");
    assert_eq!(endpoints.len(), ways.len());
    for (way, endpoint) in ways.iter().zip(&endpoints) {
        assert_eq!(endpoint["state"], way.2, "{way:?} {endpoint}");
    }
}

#[test]
fn nginx_that_requires_a_header_is_checked() {
    let nginx = NginxHttp::serving(b"content");
    assert_checked(nginx.behind_proxy_protocol(), "tcp", HTTP, &EACH);
}

#[test]
fn haproxy_that_requires_a_header_is_checked() {
    let origin = NginxHttp::serving(b"content");
    let haproxy = Haproxy::behind_proxy_protocol(origin.plain());
    assert_checked(haproxy.addr(), "tcp", HTTP, &EACH);
}

#[test]
fn dovecot_that_requires_a_header_is_checked() {
    let dovecot = MailServer::dovecot();
    assert_checked(dovecot.addr(), "tcp", "expect = '* OK'", &EACH);
}

// Postfix 3.7 knows no UNKNOWN: it answers 421, and a PROXY line instead is what `proxy = "proxy"` is for.
#[test]
fn postfix_that_requires_a_header_is_checked() {
    let postfix = MailServer::postfix();
    let ways = EACH.map(|way| if way == ("v1", "auto", UP) { ("v1", "auto", DOWN) } else { way });
    assert_checked(postfix.addr(), "tcp", "expect = '220 '", &ways);
}

#[test]
fn unbound_that_requires_a_header_is_checked_by_a_question() {
    let unbound = Unbound::behind_proxy_protocol();
    // interop.invalid. A IN, and that it is answered with authority.
    let exchange = "send = 'hex:00070100000100000000000007696e7465726f7007696e76616c69640000010001'\n\
                    expect = 'hex:000785'\ntimeout = '1s'";
    let ways = EACH.into_iter().filter(|(send, ..)| *send == "v2").collect::<Vec<_>>();
    assert_checked(unbound.addr(), "udp", exchange, &ways);
}
