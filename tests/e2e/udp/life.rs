//! How flows begin, stay and end: by answers, by silence, through a reload, and in a drain.

use rustix::process::Signal;

use super::{Setup, a_client, addr, answer, assert_counted, bound, line_of, next};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::life::server::Server;
use crate::life::upgrade::Heir;

#[test]
fn a_flow_ends_with_its_answers_and_its_line_says_what_it_was() {
    let far = bound("127.0.0.1:0");
    let server = Setup::to(&[addr(&far)]).listener("responses = 1").start();
    let client = a_client(&server);
    let mut peers = Vec::new();
    for (nth, question) in [&b"one"[..], b"seven"].into_iter().enumerate() {
        client.send(question).unwrap();
        let (datagram, peer) = next(&far);
        assert_eq!(datagram, question);
        peers.push(peer);
        far.send_to(b"answer", peer).unwrap();
        assert_eq!(answer(&client), b"answer");
        let line = line_of(&server, &client, nth);
        assert_eq!(line["end"], "done");
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&question.len().into(), &6.into()));
        assert_eq!((&line["listener"], &line["upstream"]), (&"edge".into(), &"far".into()));
        assert_eq!(line["endpoint"], addr(&far).to_string());
    }
    assert_counted(&server, "ppserver_udp_flows_active", []);
}

#[test]
fn a_flow_that_is_silent_for_too_long_ends() {
    let far = bound("127.0.0.1:0");
    let times = "timeouts = { flow = \"200ms\", flow_unanswered = \"100ms\" }";
    let server = Setup::to(&[addr(&far)]).listener(times).start();
    let (mute, served) = (a_client(&server), a_client(&server));
    mute.send(b"x").unwrap();
    next(&far);
    served.send(b"x").unwrap();
    let (_, peer) = next(&far);
    far.send_to(b"answer", peer).unwrap();
    answer(&served);
    assert_eq!(line_of(&server, &mute, 0)["end"], "unanswered");
    assert_eq!(line_of(&server, &served, 0)["end"], "idle_timeout");
}

#[test]
fn a_reload_keeps_flows_and_new_ones_follow_it() {
    let (far, other) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let server = Setup::to(&[addr(&far)]).start();
    let (old, new) = (a_client(&server), a_client(&server));
    old.send(b"one").unwrap();
    let (_, peer) = next(&far);
    server.reload(&Setup::to(&[addr(&other)]).text(), "reloaded");
    old.send(b"two").unwrap();
    assert_eq!(next(&far), (b"two".to_vec(), peer));
    far.send_to(b"answer", peer).unwrap();
    assert_eq!(answer(&old), b"answer");
    new.send(b"three").unwrap();
    assert_eq!(next(&other).0, b"three");
}

#[test]
fn a_drain_serves_who_was_answered_and_begins_nothing() {
    let far = bound("127.0.0.1:0");
    let text = Setup::to(&[addr(&far)]).text().replace("100ms", "1m");
    let mut server = Server::start(&text);
    let served = a_client(&server);
    served.send(b"one").unwrap();
    let (_, peer) = next(&far);
    far.send_to(b"answer", peer).unwrap();
    assert_eq!(answer(&served), b"answer");
    server.proc.signal(Signal::TERM);
    server.wait_for("draining", 0);
    // They are taken in the order in which they are sent.
    let is_draining = poll_for(PATIENCE, || {
        a_client(&server).send(b"new").unwrap();
        served.send(b"two").unwrap();
        let (first, from) = next(&far);
        if first == b"new" {
            assert_eq!(next(&far), (b"two".to_vec(), peer));
            return None;
        }
        assert_eq!((first, from), (b"two".to_vec(), peer));
        Some(())
    });
    assert!(is_draining.is_some(), "flows still begin");
    far.send_to(b"answer", peer).unwrap();
    assert_eq!(answer(&served), b"answer");
    server.proc.signal(Signal::TERM);
    assert!(server.proc.wait_for_exit().success());
    assert_eq!(line_of(&server, &served, 0)["end"], "drained");
}

#[test]
fn an_upgrade_loses_no_datagram_and_answers_to_flows_of_before_still_come() {
    let far = bound("127.0.0.1:0");
    let server = Server::start(&Setup::to(&[addr(&far)]).text().replace("100ms", "1m"));
    let client = a_client(&server);
    client.send(b"one").unwrap();
    let (_, old) = next(&far);
    far.send_to(b"answer", old).unwrap();
    assert_eq!(answer(&client), b"answer");
    let heir = Heir::of(&server, server.pid(), 0);
    // Whichever of them takes it.
    let new = poll_for(PATIENCE, || {
        client.send(b"two").unwrap();
        let (datagram, peer) = next(&far);
        assert_eq!(datagram, b"two");
        (peer != old).then_some(peer)
    });
    for (peer, text) in [(old, b"late"), (new.expect("the new one serves"), b"soon")] {
        far.send_to(text, peer).unwrap();
        assert_eq!(answer(&client), text);
    }
    assert!(heir.is_running());
}
