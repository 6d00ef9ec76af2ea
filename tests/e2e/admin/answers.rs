//! Every answer is what docs/api.schema.json says, and true.

use std::fs;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Open, messages};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::life::server::{Server, raise_own_limit};
use crate::life::session::{HEADER, Session};
use crate::support::http::{Answer, Door};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/api.schema.json")).expect("it is JSON")
});

/// Fails unless `value` is what the schema calls `name`.
#[track_caller]
pub(crate) fn assert_is(name: &str, value: &Value) {
    assert!(SCHEMA["$defs"][name].is_object(), "the schema has `{name}`");
    let mut schema = SCHEMA.clone();
    schema["$ref"] = format!("#/$defs/{name}").into();
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    let faults: Vec<_> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "`{name}` is otherwise: {faults:#?}\n{value:#}");
}

/// Asks, and checks the answer against the schema.
#[track_caller]
fn get(door: &Door, path: &str, name: &str) -> Value {
    let value = door.get(path).json(200);
    assert_is(name, &value);
    value
}

#[track_caller]
fn post(door: &Door, path: &str, name: &str) -> Value {
    let value = door.post(path).json(200);
    assert_is(name, &value);
    value
}

#[test]
fn the_status_counts_what_went_through() {
    let far_end = FarEnd::start();
    let open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let mut session = Session::open(open.server.addr());
    session.echo(&[0; 999]);
    let upstreams = get(&open.tcp, "/api/v1/upstreams", "upstreams");
    let buckets = upstreams["pools"][0]["connect_buckets"].as_array().unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum::<u64>(), 1);
    Session::connect(open.server.addr()).reset();
    open.server.wait_until("the probe has ended", |counters| counters["closed"]["probe"] == 1);
    let status = get(&open.tcp, "/api/v1/status", "status");
    assert_eq!(status["pid"], open.server.pid().as_raw_nonzero().get());
    assert_eq!((&status["state"], &status["generation"]), (&json!("serving"), &json!(1)));
    assert_eq!(status["config"], open.server.file().to_str().unwrap());
    let listener = &status["listeners"][0];
    let expected = json!({
        "name": "edge", "bind": [open.server.addr()], "upstream": "edge", "accepted": 2,
        "active": 1, "closed": { "probe": 1 }, "bytes_up": 1000, "bytes_down": 1000,
        "flows": 0, "flows_begun": 0, "datagrams_up": 0, "datagrams_down": 0, "dropped": {},
    });
    assert_eq!(*listener, expected);
    let pool = json!({
        "name": "edge", "endpoints": 1, "endpoints_up": 1, "active": 1, "connects": 1,
        "failures": 0,
    });
    assert_eq!(status["pools"], json!([pool]));
    for (key, count) in [("accepted", 2), ("active", 1), ("bytes_up", 1000)] {
        assert_eq!(status[key], count, "{key}");
    }
}

#[test]
fn an_endpoint_is_shown_with_what_came_of_connects() {
    let open = Open::start("127.0.0.1:0");
    let mut session = Session::connect(open.server.addr());
    session.send(HEADER);
    session.assert_reset();
    let upstreams = get(&open.tcp, "/api/v1/upstreams", "upstreams");
    let pool = &upstreams["pools"][0];
    let buckets = pool["connect_buckets"].as_array().unwrap();
    assert_eq!(buckets[0], json!({ "seconds_max": 0.0005, "count": 0 }));
    assert_eq!(buckets.last().unwrap()["seconds_max"], Value::Null);
    let endpoint = &pool["endpoints"][0];
    assert_eq!((&endpoint["address"], &endpoint["state"]), (&json!("127.0.0.1:9"), &json!("up")));
    assert_eq!((&endpoint["connects"], &endpoint["failures"]), (&json!(1), &json!(1)));
    let set = open.unix.post("/api/v1/upstreams/edge/endpoints/127.0.0.1:9?state=down&weight=3");
    assert_is("endpoint", &set.json(200));
    let upstreams = get(&open.tcp, "/api/v1/upstreams", "upstreams");
    let endpoint = &upstreams["pools"][0]["endpoints"][0];
    assert_eq!((&endpoint["state"], &endpoint["weight"]), (&json!("down"), &json!(3)));
    for (path, status) in [
        ("edge/endpoints/127.0.0.1:9", 400),
        ("edge/endpoints/127.0.0.1:9?weight=1001", 400),
        ("edge/endpoints/127.0.0.1:9?state=off", 400),
        ("edge/endpoints/127.0.0.1:10?weight=2", 404),
        ("west/endpoints/127.0.0.1:9?weight=2", 404),
    ] {
        let refused = open.unix.post(&format!("/api/v1/upstreams/{path}")).json(status);
        assert_is("errors", &refused);
    }
}

#[test]
fn connections_are_shown_with_whom_they_serve_and_one_can_be_closed() {
    let far_end = FarEnd::start();
    let open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let mut stays = Session::open(open.server.addr());
    let silent = Session::connect(open.server.addr());
    let listed = || get(&open.tcp, "/api/v1/connections", "connections");
    let found = poll_for(PATIENCE, || Some(listed()).filter(|listed| listed["total"] == 2));
    let found = found.expect("both are there");
    let of = |session: &Session| {
        let peer = session.addr().to_string();
        let connections = found["connections"].as_array().unwrap();
        connections.iter().find(|found| found["peer"] == peer).unwrap().clone()
    };
    let (served, waiting) = (of(&stays), of(&silent));
    assert_eq!(served["client"], "203.0.113.7:51820");
    assert_eq!(served["endpoint"], far_end.addr().to_string());
    assert_eq!((&served["phase"], &waiting["phase"]), (&json!("relaying"), &json!("header")));
    assert_eq!((&served["bytes_in"], &served["bytes_out"]), (&json!(1), &json!(1)));
    assert_eq!(waiting["endpoint"], Value::Null);

    for (query, total, shown) in [
        ("client=203.0.113.0/24", 1, 1),
        ("client=127.0.0.0/8", 1, 1),
        ("client=2001:db8::/32", 0, 0),
        ("listener=edge&upstream=edge", 2, 2),
        ("listener=west", 0, 0),
        ("limit=1", 2, 1),
        ("limit=0", 2, 0),
    ] {
        let found = get(&open.tcp, &format!("/api/v1/connections?{query}"), "connections");
        let count = found["connections"].as_array().unwrap().len();
        assert_eq!((found["total"].as_u64(), count), (Some(total), shown), "{query}");
    }
    for query in ["client=all", "limit=-1", "colour=red", "client=%ff"] {
        let refused = open.tcp.get(&format!("/api/v1/connections?{query}")).json(400);
        assert_is("errors", &refused);
    }

    let close = |id: &str| format!("/api/v1/connections/{id}/close");
    let id = waiting["id"].as_str().unwrap();
    assert_eq!(post(&open.unix, &close(id), "closed"), json!({ "id": id }));
    silent.assert_reset();
    assert!(messages(&open.unix.post(&close(id)).json(404))[0].contains("not any more"));
    assert_is("errors", &open.unix.post(&close("ffffffffffffffff")).json(404));
    assert_is("errors", &open.unix.post(&close("1")).json(400));
    stays.echo(b"unharmed");
    assert_eq!(open.server.counters()["closed"]["closed_by_admin"], 1);
}

#[test]
fn refusals_are_shown_with_their_bytes_and_what_those_look_like() {
    let open = Open::start("127.0.0.1:0");
    let refuse = |bytes: &[u8]| {
        let mut session = Session::connect(open.server.addr());
        session.send(bytes);
        let addr = session.addr();
        session.assert_reset();
        addr
    };
    let peer = refuse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refuse(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n");
    let refusals = get(&open.tcp, "/api/v1/refusals", "refusals");
    let [http, port] = &refusals["refusals"].as_array().unwrap()[..] else {
        panic!("there are two: {refusals:#}")
    };
    assert_eq!((&http["listener"], &http["peer"]), (&json!("edge"), &json!(peer.to_string())));
    assert_eq!((&http["reason"], &http["error"]), (&json!("header_absent"), &json!("not_proxy")));
    assert!(http["bytes"].as_str().unwrap().starts_with("474554202f"), "{http}");
    assert!(http["why"].as_str().unwrap().ends_with("it looks like HTTP"), "{http}");
    assert_eq!((&port["reason"], &port["offset"]), (&json!("header_invalid"), &json!(33)));
    for _ in 0..300 {
        refuse(b"PROXX");
    }
    let refusals = get(&open.tcp, "/api/v1/refusals", "refusals");
    let last = refusals["refusals"].as_array().unwrap();
    assert_eq!(last.len(), 256);
    assert!(last.iter().all(|refused| refused["bytes"] == "50524f5858"));
}

#[test]
fn what_is_followed_and_every_change_have_the_form_that_is_promised() {
    let open = Open::start("127.0.0.1:0");
    get(&open.tcp, "/api/v1/config", "config");
    post(&open.unix, "/api/v1/reload", "reloaded");
    post(&open.unix, "/api/v1/log?level=info", "logging");
    fs::write(open.server.file(), "broken").unwrap();
    assert_is("errors", &open.unix.post("/api/v1/reload").json(422));
    assert_is("errors", &open.tcp.post("/api/v1/reload").json(403));
    assert_is("errors", &open.unix.get("/nothing").json(404));
    post(&open.unix, "/api/v1/drain", "draining");
}

#[test]
fn events_tell_of_reloads_refusals_and_the_drain_as_they_happen() {
    let open = Open::start("127.0.0.1:0");
    let mut events = open.tcp.events();
    let mut next = |name: &str, schema: &str| {
        let data = events.next(name);
        assert_is(schema, &data);
        data
    };
    open.unix.post("/api/v1/reload").json(200);
    assert_eq!(next("reload", "reloaded"), json!({ "changes": [] }));
    let mut session = Session::connect(open.server.addr());
    session.send(b"PROXX");
    session.assert_reset();
    assert_eq!(next("refusal", "refusal")["bytes"], "50524f5858");
    fs::write(open.server.file(), "broken").unwrap();
    open.unix.post("/api/v1/reload").json(422);
    next("reload", "errors");
    open.unix.post("/api/v1/drain").json(200);
    assert_eq!(next("state", "state_event")["state"], "draining");
    // The end of the server ends it, in order.
    assert_eq!(events.last_line().unwrap(), "");
}

#[test]
fn metrics_come_in_the_form_that_is_asked_for_also_beyond_loopback() {
    let far_end = FarEnd::start();
    let open = Open::start_with("0.0.0.0:0", far_end.addr(), &[]);
    let session = Session::open(open.server.addr());
    let Door::Tcp(addr) = open.tcp else { unreachable!("it is the TCP door") };
    let tcp = Door::Tcp((Ipv4Addr::LOCALHOST, addr.port()).into());
    let metrics = tcp.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: application/openmetrics-text;"), "{metrics:?}");
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
    let plain = tcp.ask("GET", "/metrics", "Accept: text/plain;version=0.0.4\r\n");
    assert!(plain.head.contains("content-type: text/plain;"), "{plain:?}");
    for text in [metrics.body, plain.body] {
        let accepted = "ppserver_connections_accepted_total{listener=\"edge\"} 1\n";
        assert!(text.contains(accepted), "{text}");
        assert!(!text.contains("203.0.113.7") && !text.contains(&session.addr().to_string()));
    }
}

/// Peak and present resident memory of a server, in bytes.
fn memory(server: &Server) -> [usize; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero()));
    let status = status.expect("the process runs");
    ["VmHWM:", "VmRSS:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        kib.expect("the kernel tells it") * 1024
    })
}

#[test]
fn eight_thousand_connections_are_listed_in_little_memory() {
    const CONNECTIONS: usize = 8_000;
    const MEMORY_MAX: usize = 16 << 20;
    raise_own_limit();
    let open = Open::start_with("127.0.0.1:0", super::ENDPOINT, &["timeouts.header = '5m'"]);
    let SocketAddr::V4(addr) = open.server.addr() else { unreachable!("127.0.0.1") };
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, addr.port())).unwrap())
        .collect();
    open.server.wait_until("all are there", |counters| counters["active"] == CONNECTIONS);
    // proc(5): the peak begins anew.
    let pid = open.server.pid().as_raw_nonzero();
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    let [_, before] = memory(&open.server);
    let listed = get(&open.tcp, "/api/v1/connections?limit=8000", "connections");
    let [peak, _] = memory(&open.server);
    assert_eq!(listed["connections"].as_array().unwrap().len(), CONNECTIONS);
    let used = peak.saturating_sub(before);
    assert!(used < MEMORY_MAX, "{used} bytes");
    clients.iter().for_each(|client| client.shutdown(Shutdown::Both).unwrap());
}

#[test]
fn a_listing_waits_for_no_worker_without_end() {
    let open = Open::start("127.0.0.1:0");
    let answer: Answer = open.tcp.get("/api/v1/connections");
    assert_eq!(answer.json(200), json!({ "total": 0, "silent_workers": 0, "connections": [] }));
    let mut session = Session::connect(open.server.addr());
    session.finish();
    assert_eq!(session.rest(), (Vec::new(), End::Fin));
}
