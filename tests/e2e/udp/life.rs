//! How flows begin, stay and end: by answers, by silence, through a reload, and in a drain.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use super::{
    REQUIRE, Setup, a_client, addr, answer, assert_counted, assert_silent, bound, client_of,
    line_of, next, told, v2,
};
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

/// Who is forgotten could say himself who he is, where the first datagram alone has a header.
#[test]
fn a_reload_with_room_for_fewer_flows_than_there_are_forgets_no_client_of_a_balancer() {
    let far = bound("127.0.0.1:0");
    let accept = [REQUIRE, "datagrams = \"first\""].join("\n");
    let listener = "limits.flows = 6\ntimeouts = { flow = \"1m\", flow_unanswered = \"1m\" }";
    let setup = |listener: &str| Setup::to(&[addr(&far)]).listener(listener).accept(&accept);
    let server = setup(listener).start();
    let (source, destination) = told();
    let begins = |client: &UdpSocket| {
        client.send(&[&v2(source, destination), &b"first"[..]].concat()).unwrap();
    };
    let clients: Vec<_> = (0..6).map(|_| a_client(&server)).collect();
    let before = clients.iter().map(|client| {
        begins(client);
        let (datagram, peer) = next(&far);
        assert_eq!(datagram, b"first");
        peer
    });
    let before: Vec<_> = before.collect();
    server.reload(&setup(&listener.replace('6', "2")).text(), "reloaded");
    for (client, peer) in clients.iter().zip(before) {
        client.send(&v2(source, destination)).unwrap();
        assert_eq!(next(&far), (v2(source, destination), peer), "payload, of the flow that it was");
    }
    begins(&a_client(&server));
    assert_counted(&server, "ppserver_udp_drops_total", [("limited", 1)]);
    assert_counted(&server, "ppserver_udp_flows_active", [("edge", 6)]);
    assert_silent(&far);
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

/// Sends a question and waits for what its upstream gets, and from whom.
#[track_caller]
fn ask(client: &UdpSocket, question: &[u8], far: &UdpSocket) -> SocketAddr {
    client.send(question).expect("loopback is up");
    let (datagram, peer) = next(far);
    assert_eq!(datagram, question);
    peer
}

#[test]
fn a_listener_that_a_reload_takes_away_keeps_its_flows_and_lets_nobody_in() {
    let far = bound("127.0.0.1:0");
    for (bind, host) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.5")] {
        let server = Setup::to(&[addr(&far)]).bind(bind).start();
        let at = SocketAddr::new(host.parse().unwrap(), server.addr().port());
        let (old, asking) = (client_of(at), client_of(at));
        let peer = ask(&old, b"one", &far);
        far.send_to(b"answer", peer).unwrap();
        assert_eq!(answer(&old), b"answer");
        let unanswered = ask(&asking, b"two", &far);
        // Another address for it, and the first one for nobody.
        let moved = Setup::to(&[addr(&far)]).bind("127.0.0.7:0");
        server.reload(&moved.text(), "reloaded");
        assert_eq!(ask(&old, b"three", &far), peer);
        far.send_to(b"late", unanswered).unwrap();
        far.send_to(b"soon", peer).unwrap();
        assert_eq!((answer(&asking), answer(&old)), (b"late".to_vec(), b"soon".to_vec()));
        let new = client_of(at);
        new.send(b"new").unwrap();
        let refused = new.recv(&mut [0]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // The address is ours again, beside the flows that have stayed there.
        let port = at.port();
        server.reload(&Setup::to(&[addr(&far)]).bind(&format!("{host}:{port}")).text(), "reloaded");
        ask(&new, b"again", &far);
        assert_eq!(ask(&old, b"four", &far), peer);
        assert_silent(&far);
    }
}

/// Clients with a flow each, and where it comes out.
struct Crowd {
    far: UdpSocket,
    clients: Vec<(UdpSocket, SocketAddr)>,
}

impl Crowd {
    #[track_caller]
    fn of(server: SocketAddr, far: UdpSocket, count: usize) -> Crowd {
        let begin = |_| {
            let client = client_of(server);
            let peer = ask(&client, b"first", &far);
            far.send_to(b"answer", peer).expect("loopback is up");
            assert_eq!(answer(&client), b"answer");
            (client, peer)
        };
        let clients = (0..count).map(begin).collect();
        Crowd { far, clients }
    }

    /// Returns how many still have the flow that they had, and its answers.
    fn stayed(&self) -> usize {
        let stays = |(client, before): &&(UdpSocket, SocketAddr)| {
            let peer = ask(client, b"later", &self.far);
            self.far.send_to(b"answer", peer).expect("loopback is up");
            assert_eq!(answer(client), b"answer");
            peer == *before
        };
        self.clients.iter().filter(stays).count()
    }
}

#[test]
fn an_upgrade_keeps_every_flow_and_new_ones_begin_at_the_new_process() {
    for (bind, host) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.5")] {
        let far = bound("127.0.0.1:0");
        let text = Setup::to(&[addr(&far)]).bind(bind).text();
        let text = text.replace("100ms", "1m").replace("workers = 1", "workers = 2");
        let server = Server::start(&text);
        let at = SocketAddr::new(host.parse().unwrap(), server.addr().port());
        let crowd = Crowd::of(at, far, 200);
        let asking = client_of(at);
        let unanswered = ask(&asking, b"question", &crowd.far);
        let heir = Heir::of(&server, server.pid(), 0);
        assert_eq!(crowd.stayed(), 200);
        crowd.far.send_to(b"late", unanswered).unwrap();
        assert_eq!(answer(&asking), b"late");
        let new = client_of(at);
        ask(&new, b"new", &crowd.far);
        assert!(heir.is_running());
    }
}

/// The sockets that flows get are bound before they are connected, and take from strangers what comes between.
#[test]
fn through_an_upgrade_no_newcomer_is_lost() {
    let far = bound("127.0.0.1:0");
    let text = Setup::to(&[addr(&far)]).text().replace("100ms", "1m");
    let server = Server::start(&text);
    let crowd = Crowd::of(server.addr(), far, 100);
    let (at, is_over) = (server.addr(), AtomicBool::new(false));
    let (sent, heir) = thread::scope(|scope| {
        let newcomers = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                client_of(at).send(&sent.to_be_bytes()).unwrap();
                sent += 1;
                // Each in its turn: what is not taken in time is not ours to lose.
                assert_eq!(next(&crowd.far).0, (sent - 1).to_be_bytes());
            }
            sent
        });
        let heir = Heir::of(&server, server.pid(), 0);
        is_over.store(true, Ordering::Relaxed);
        (newcomers.join().unwrap(), heir)
    });
    assert!(sent > 0 && heir.is_running());
    assert_eq!(crowd.stayed(), 100);
}

#[test]
fn an_upgrade_that_fails_leaves_flows_and_newcomers_where_they_are() {
    let far = bound("127.0.0.1:0");
    let server = Server::start(&Setup::to(&[addr(&far)]).text());
    let crowd = Crowd::of(server.addr(), far, 20);
    std::fs::write(server.file(), "nonsense").unwrap();
    for nth in 0..2 {
        server.proc.signal(Signal::USR2);
        server.wait_for("upgrade refused", nth);
        assert_eq!(crowd.stayed(), 20);
        ask(&client_of(server.addr()), b"new", &crowd.far);
    }
}
