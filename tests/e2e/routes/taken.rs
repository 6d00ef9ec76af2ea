//! Which route is taken, and what becomes of a client's bytes on it.

use serde_json::{Value, json};

use super::{Routed, header};
use crate::common::process::Stream;
use crate::common::wire::V2;
use crate::life::session::Session;
use crate::support::local;

const AWS: u8 = 0xEA;

#[test]
fn the_first_route_that_holds_is_taken_and_the_listeners_upstream_is_the_rest() {
    let mut routed = Routed::start(
        "[[listener.route]]\nwhen = { client = ['203.0.113.66'] }\ndeny = true\n\
         [[listener.route]]\nwhen = { client = ['203.0.113.0/24'] }\nupstream = 'other'",
    );
    routed.serve(&header("203.0.113.7:1", &[]));
    routed.serve(&header("198.51.100.7:1", &[]));
    routed.deny(&header("203.0.113.66:1", &[]));
    assert_eq!(routed.seen(), [1, 1]);
    let refusal = routed.server.wait_for("refused", 0);
    let expected = json!({ "reason": "denied", "client": "203.0.113.66:1", "route": 1 });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(refusal[key], *value, "{refusal}");
    }
    let counters = routed.server.stop();
    assert_eq!(
        (&counters["closed"]["denied"], &counters["closed"]["done"]),
        (&json!(1), &json!(2))
    );
    let lines = routed.server.proc.lines(Stream::Stdout);
    let lines = lines.iter().map(|line| serde_json::from_str(line).expect("it is JSON"));
    let told: Vec<_> = lines
        .map(|line: Value| (line["route"].clone(), line["upstream"].clone(), line["end"].clone()))
        .collect();
    let expected = [
        (json!(2), json!("other"), json!("done")),
        (Value::Null, json!("web"), json!("done")),
        (json!(1), json!("web"), json!("denied")),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_route_goes_by_the_tlvs_of_the_header() {
    let routed = Routed::start(
        "[[listener.route]]\nwhen = { tlv = { 0xEA = ['vpce-0a*', 'vpce-1'], authority = '*' } }\n\
         upstream = 'other'",
    );
    routed.serve(&header("203.0.113.7:1", &[(AWS, b"\x01vpce-0abc"), (2, b"a.test")]));
    assert_eq!(routed.seen(), [0, 1]);
    routed.serve(&header("203.0.113.7:1", &[(2, b""), (AWS, b"\x01vpce-1")]));
    assert_eq!(routed.seen(), [0, 2]);
    for tlvs in [&[(AWS, &b"\x01vpce-12"[..]), (2, b"a")][..], &[(AWS, b"\x01vpce-1")], &[]] {
        routed.serve(&header("203.0.113.7:1", tlvs));
    }
    routed.serve(b"plain");
    assert_eq!(routed.seen(), [4, 2]);
    routed.end();
}

#[test]
fn what_is_sent_on_is_that_of_the_upstream_that_was_chosen() {
    let routed = Routed::start(
        "[[listener.route]]\nwhen = { tlv = { 0xEA = 'vpce-1' } }\nupstream = 'other'",
    );
    routed.serve(&header("203.0.113.7:1", &[(AWS, b"\x01vpce-1")]));
    assert_eq!(routed.other.ended(0).received, b"x", "no header is sent there");
    routed.serve(&header("203.0.113.7:1", &[(AWS, b"\x01vpce-2")]));
    let received = routed.web.ended(0).received;
    let sent = V2::read(&received);
    assert_eq!(sent.values(AWS), [b"\x01vpce-2"]);
    assert_eq!(&received[sent.len..], b"x");
    routed.end();
}

#[test]
fn every_client_is_denied_but_these() {
    let routed = Routed::start(
        "[[listener.route]]\nwhen = { client = ['203.0.113.0/24'], peer = ['127.0.0.0/8'] }\n\
         upstream = 'web'\n[[listener.route]]\nwhen = {}\ndeny = true",
    );
    routed.serve(&header("203.0.113.7:1", &[]));
    routed.deny(&header("198.51.100.7:1", &[]));
    routed.deny(b"plain");
    assert_eq!(routed.seen(), [1, 0]);
    let counters = routed.end();
    assert_eq!(counters["closed"]["denied"], 2);
}

#[test]
fn health_checks_are_not_routed() {
    let routed = Routed::start("[[listener.route]]\nwhen = {}\ndeny = true");
    routed.serve(&local());
    let mut probe = Session::connect(routed.server.addr());
    probe.finish();
    probe.rest();
    assert_eq!(routed.seen(), [1, 0]);
    let counters = routed.end();
    assert_eq!(
        (&counters["closed"]["probe"], &counters["closed"]["denied"]),
        (&json!(1), &json!(0))
    );
}
