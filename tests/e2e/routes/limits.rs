//! Limits: who is one too many, and who is not.

use serde_json::json;

use super::{Routed, header};
use crate::life::session::Session;
use crate::support::local;

/// Sends everybody where no header is, and limits them.
fn limited(limits: &str) -> String {
    format!("[listener.limits]\n{limits}\n[[listener.route]]\nwhen = {{}}\nupstream = 'other'")
}

fn open(routed: &Routed, client: &str, count: usize) -> Vec<Session> {
    (0..count).map(|_| routed.open(&header(client, &[]))).collect()
}

#[test]
fn a_client_who_has_too_much_is_reset_and_his_neighbour_is_not() {
    let routed = Routed::start(&limited("per_client = { connections = 3 }"));
    let (greedy, honest) = ("203.0.113.7:1", "203.0.113.8:1");
    let mut sessions = open(&routed, greedy, 3);
    let mut neighbour = routed.open(&header(honest, &[]));
    for _ in 0..50 {
        routed.deny(&header(greedy, &[]));
        neighbour.echo(b"while the other floods");
        routed.serve(&header(honest, &[]));
    }
    let refusal = routed.server.wait_for("refused", 0);
    assert_eq!((&refusal["reason"], &refusal["client"]), (&json!("limited"), &json!(greedy)));
    let mut gone = sessions.remove(0);
    gone.finish();
    gone.rest();
    routed.server.wait_until("one has gone", |counters| counters["active"] == 3);
    sessions.extend(open(&routed, greedy, 1));
    routed.deny(&header(greedy, &[]));
    drop((sessions, neighbour));
    let counters = routed.end();
    assert_eq!(counters["closed"]["limited"], 51);
}

#[test]
fn limits_hold_over_all_workers_and_through_reloads() {
    let routes = limited("per_client = { connections = 8 }");
    let routed = Routed::start_workers(&routes, 2);
    let client = "203.0.113.7:1";
    let sessions = open(&routed, client, 8);
    routed.deny(&header(client, &[]));
    let routes = limited("per_client = { connections = 9 }");
    let reloaded = routed.reload_workers(&routes, 2);
    assert_eq!(reloaded["changes"], "listener `edge`: limits");
    let more = open(&routed, client, 1);
    routed.deny(&header(client, &[]));
    drop((sessions, more));
    routed.server.wait_until("all have gone", |counters| counters["active"] == 0);
    drop(open(&routed, client, 9));
    routed.end();
}

#[test]
fn a_client_who_comes_too_often_is_reset_and_his_neighbour_is_not() {
    // A second is long enough for the flood, and no one more fits into it.
    let routed = Routed::start(&limited("per_client = { rate = 1, burst = 4 }"));
    let outcomes: Vec<_> =
        (0..40).map(|_| routed.is_served(&header("203.0.113.7:1", &[]))).collect();
    assert!(outcomes[..4].iter().all(|is_served| *is_served), "{outcomes:?}");
    assert!(outcomes.iter().any(|is_served| !is_served), "{outcomes:?}");
    assert!((0..4).all(|_| routed.is_served(&header("203.0.113.8:1", &[]))));
    routed.end();
}

#[test]
fn an_ipv6_client_is_its_network() {
    let routed = Routed::start(&limited("per_client = { connections = 1 }"));
    let sessions = open(&routed, "[2001:db8::1]:1", 1);
    routed.deny(&header("[2001:db8::2:3]:1", &[]));
    let others = open(&routed, "[2001:db8:0:1::1]:1", 1);
    drop((sessions, others));
    routed.end();
}

#[test]
fn a_listener_has_as_many_as_it_may_and_health_checks_do_not_count() {
    let routed = Routed::start(&limited("connections = 2"));
    let sessions = ["203.0.113.7:1", "203.0.113.8:1"].map(|client| open(&routed, client, 1));
    routed.deny(&header("203.0.113.9:1", &[]));
    routed.serve(&local());
    drop(sessions);
    routed.server.wait_until("all have gone", |counters| counters["active"] == 0);
    routed.serve(&header("203.0.113.9:1", &[]));
    let counters = routed.end();
    assert_eq!(counters["closed"]["limited"], 1);
}
