//! Routes by what a ClientHello asks for; TLS goes on to the upstream as it came.

use serde_json::{Value, json};

use super::{Routed, header};
use crate::common::process::Stream;
use crate::common::wire::V2;
use crate::life::session::Session;
use crate::support::tls::{PADDING, client_hello, extensions, hello, records};

const ROUTES: &str = "[[listener.route]]\nwhen = { sni = ['*.a.test'], alpn = ['h2'] }\nupstream = 'other'\n\
    [[listener.route]]\nwhen = { sni = ['denied.test'] }\ndeny = true";

/// Sends a header and these pieces, each once the one before it is read, and has them come back.
#[track_caller]
fn serve(routed: &Routed, pieces: &[&[u8]]) {
    let mut session = Session::connect(routed.server.addr());
    session.send(&header("203.0.113.7:1", &[]));
    pieces.iter().for_each(|piece| session.send(piece));
    session.finish();
    let (answer, _) = session.rest();
    assert!(answer.ends_with(&pieces.concat()), "the payload came back changed");
}

#[test]
fn a_name_and_a_protocol_choose_and_the_hello_goes_on_byte_for_byte() {
    let mut routed = Routed::start(ROUTES);
    let chosen = hello("X.a.test", &["http/1.1", "h2"]);
    serve(&routed, &[&chosen, b"and what follows"]);
    assert_eq!(routed.other.ended(0).received, [&chosen[..], b"and what follows"].concat());
    serve(&routed, &[&hello("x.a.test", &["http/1.1"])]);
    serve(&routed, &[&hello("a.test", &["h2"])]);
    serve(&routed, &[b"GET / HTTP/1.1\r\n\r\n"]);
    serve(&routed, &[b"\x16\x03\x01\x00\x02\xFF\xFF"]);
    serve(&routed, &[&chosen[..chosen.len() / 2]]);
    serve(&routed, &[]);
    assert_eq!(routed.seen(), [6, 1]);
    routed.deny(&[header("203.0.113.7:1", &[]), hello("denied.test", &[])].concat());
    let counters = routed.server.stop();
    assert_eq!(counters["closed"]["denied"], 1);
    let lines = routed.server.proc.lines(Stream::Stdout);
    let lines = lines.iter().map(|line| serde_json::from_str(line).expect("it is JSON"));
    let told: Vec<_> =
        lines.map(|line: Value| (line["route"].clone(), line["sni"].clone())).collect();
    assert_eq!(told[0], (json!(1), json!("x.a.test")));
    assert_eq!(told[1], (Value::Null, json!("x.a.test")));
    assert_eq!(told[3], (Value::Null, Value::Null));
}

#[test]
fn a_name_and_a_protocol_are_told_to_the_upstream_where_they_are_known_and_nobodys_word_instead() {
    let routed = Routed::start(
        "[[listener.route]]\nwhen = {}\nupstream = 'other'\n\
         [upstream.other.proxy_protocol]\nsend = 'v2'\ntlv_pass = 'all'\n\
         tlv_set = [{ type = 0x02, from = 'sni' }, { type = 0x01, from = 'alpn' }]",
    );
    let told = |nth| V2::read(&routed.other.ended(nth).received).tlvs;
    let claimed: &[(u8, &[u8])] = &[(0x02, b"claimed.test"), (0xE1, b"passed")];
    let client = header("203.0.113.7:1", claimed);
    let passed = (0xE1, b"passed".to_vec());
    let hello = hello("x.a.test", &["h2", "http/1.1"]);
    routed.serve(&[&client[..], &hello].concat());
    let named = (0x02, b"x.a.test".to_vec());
    assert_eq!(told(0), [passed.clone(), named, (0x01, b"h2".to_vec())]);
    routed.serve(&[&client[..], b"SSH-2.0-x\r\n"].concat());
    assert_eq!(told(1), [passed]);
    routed.end();
}

#[test]
fn a_hello_in_many_records_and_segments_is_read_whole() {
    let routed = Routed::start(ROUTES);
    let mut all = vec![(PADDING, vec![0; 16 << 10])];
    all.extend(extensions(Some("x.a.test"), &["h2"]));
    let long = records(&client_hello(&all), 1 << 14);
    serve(&routed, &long.chunks(1000).collect::<Vec<_>>());
    let split = records(&client_hello(&extensions(Some("x.a.test"), &["h2"])), 3);
    serve(&routed, &split.chunks(1).collect::<Vec<_>>());
    assert_eq!(routed.seen(), [0, 2]);
    routed.end();
}

#[test]
fn a_client_who_waits_for_the_server_goes_on_without_a_name_when_the_hello_has_had_its_time() {
    let routed = Routed::start(&format!("[listener.timeouts]\ntls_hello = '50ms'\n{ROUTES}"));
    let mut session = Session::connect(routed.server.addr());
    let first = &hello("x.a.test", &["h2"])[..20];
    session.send(&[header("203.0.113.7:1", &[]), first.to_vec()].concat());
    routed.server.wait_until("it has an upstream", |_| routed.seen() == [1, 0]);
    session.finish();
    assert!(session.rest().0.ends_with(first));
    routed.end();
}
