//! What is shown of flows, by the commands that ask a running server.

use serde_json::Value;

use super::{REQUIRE, Setup, a_client, addr, assert_counted, bound, next, told, v2};
use crate::life::server::{ppserver, run};

#[test]
fn flows_are_shown_where_connections_are() {
    let far = bound("127.0.0.1:0");
    let server = Setup::to(&[addr(&far)]).accept(REQUIRE).start();
    let door = server.wait_for("admin door opens", 0)["admin"].as_str().map(str::to_owned);
    let door = door.expect("it is text");
    let asked = |words: &[&str]| {
        let ran = run(ppserver().args(words).args(["--admin", &door]));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    assert!(!asked(&["status"]).contains("DATAGRAMS"), "none has come");
    let (client, destination) = told();
    let balancer = a_client(&server);
    balancer.send(b"no header").unwrap();
    balancer.send(&[&v2(client, destination), &b"question"[..]].concat()).unwrap();
    next(&far);
    assert_counted(&server, "ppserver_udp_flows_active", [("edge", 1)]);
    assert_counted(&server, "ppserver_udp_drops_total", [("header_absent", 1)]);
    let status: Value = serde_json::from_str(&asked(&["status", "--json"])).unwrap();
    let listener = &status["listeners"][0];
    assert_eq!((&status["flows"], &listener["flows"]), (&1.into(), &1.into()));
    assert_eq!((&listener["flows_begun"], &listener["datagrams_up"]), (&1.into(), &2.into()));
    assert_eq!(listener["dropped"], serde_json::json!({ "header_absent": 1 }));
    let page = asked(&["status"]);
    let rows = page.lines().skip_while(|line| !line.starts_with("DATAGRAMS"));
    let cells: Vec<Vec<_>> = rows.take(2).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["DATAGRAMS", "FLOWS", "BEGUN", "UP", "DOWN", "DROPPED"], "{page}");
    assert_eq!(cells[1], ["edge", "1", "1", "2", "0", "header_absent", "1"], "{page}");
    let conns = asked(&["conns", "--client", "192.0.2.0/24"]);
    assert!(conns.contains("192.0.2.7:51000") && conns.contains("unanswered"), "{conns}");
}
