//! What an operator says of endpoints.

use std::net::SocketAddr;

use serde_json::json;

use super::{Pool, list};
use crate::common::far_end::FarEnd;
use crate::life::server::{ppserver, run};
use crate::life::session::{HEADER, Session};

fn path(addr: SocketAddr, query: &str) -> String {
    format!("/api/v1/upstreams/web/endpoints/{addr}?{query}")
}

#[test]
fn nobody_new_goes_where_an_operator_says_so_until_he_takes_it_back() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let addrs = [ends[0].addr(), ends[1].addr()];
    let pool = Pool::start(&list(&addrs));
    let mut session = Session::open(pool.server.addr());
    assert_eq!(pool.endpoint_of(&session), addrs[0]);
    let answer = pool.door.post(&path(addrs[0], "state=draining")).json(200);
    let expected = json!({
        "upstream": "web", "address": addrs[0], "state": "draining", "is_set": true, "weight": 1,
        "why": "an operator has said so",
    });
    assert_eq!(answer, expected);
    assert!((0..4).all(|_| pool.served_by() == addrs[1]));
    session.echo(b"who is there stays");
    pool.reload("server.workers = 1\ntimeouts.idle = '1m'", &list(&addrs));
    assert!((0..4).all(|_| pool.served_by() == addrs[1]), "a reload changes nothing");
    pool.door.post(&path(addrs[1], "state=down")).json(200);
    let mut refused = Session::connect(pool.server.addr());
    refused.send(HEADER);
    refused.assert_reset();
    // One backend that is down is no reason to take the whole proxy out.
    let ready = pool.door.get("/readyz");
    assert_eq!(
        (ready.status, &*ready.body),
        (200, "ok\nupstream web has no endpoint that is up\n")
    );
    let line = pool.server.wait_for("nobody to connect to", 0);
    assert_eq!(line["reason"], "no_endpoint");
    for addr in addrs {
        let answer = pool.door.post(&path(addr, "state=auto")).json(200);
        assert_eq!((&answer["state"], &answer["is_set"]), (&json!("up"), &json!(false)));
    }
    assert_eq!(pool.door.get("/readyz").body, "ok\n");
    assert!((0..2).any(|_| pool.served_by() == addrs[0]));
    drop(session);
    let counters = pool.end(&addrs);
    assert_eq!(counters["closed"]["no_endpoint"], 1);
}

#[test]
fn a_weight_is_followed_by_every_worker_until_it_is_taken_back() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let addrs = [ends[0].addr(), ends[1].addr()];
    let pool = Pool::start_with("server.workers = 2", &list(&addrs));
    let set = |words: &[&str]| {
        let mut command = ppserver();
        command.args(["upstreams", "set", "web", &addrs[0].to_string()]).args(words);
        let ran = run(command.arg("--admin").arg(pool.door.to_string()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    set(&["--weight", "0"]);
    assert!((0..8).all(|_| pool.served_by() == addrs[1]));
    pool.reload("server.workers = 2\ntimeouts.idle = '1m'", &list(&addrs));
    assert!((0..8).all(|_| pool.served_by() == addrs[1]), "a reload changes nothing");
    let shown = pool.endpoint(addrs[0]);
    assert_eq!((&shown["weight"], &shown["is_set"]), (&json!(0), &json!(true)));
    set(&["--state", "auto"]);
    let shown = pool.endpoint(addrs[0]);
    assert_eq!((&shown["weight"], &shown["is_set"]), (&json!(1), &json!(false)));
    assert!((0..8).any(|_| pool.served_by() == addrs[0]));
    pool.end(&addrs);
}
