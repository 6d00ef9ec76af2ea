//! A reset from either peer at every step of a connection's life.
//!
//! Each step has a fresh server, in both ways of relaying. Invariant: the connection ends with the
//! reason of the one who reset, the other one is reset too, and nothing of it is left.

use rustix::process::{Signal, kill_process};

use super::{Victim, wait_for_worker};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::End;
use crate::common::payload::{MIB, random};
use crate::life::session::HEADER;
use crate::support::{
    BlackHole, Listener, Peer, REQUIRE, Setup, assert_closed, is_connecting, queued,
    wait_until_taken,
};

/// A connection through a server to a listener of its own.
struct Scene {
    far: Listener,
    victim: Victim,
}

impl Scene {
    /// What upstream gets is the payload alone, unless `send` says otherwise.
    #[track_caller]
    fn new(mode: &str, send: &str) -> Scene {
        let far = Listener::start();
        let setup = Setup::to(&[far.addr()]).accept(REQUIRE).send(send).splice(mode);
        let victim = Victim::start(&setup);
        Scene { far, victim }
    }

    /// A client that has said this, all of which the server has read.
    #[track_caller]
    fn client(&self, bytes: &[u8]) -> Peer {
        let client = Peer::connect(self.victim.server.addr());
        client.send(bytes);
        wait_until_taken(client.addr(), client.remote());
        client
    }

    /// A connection that stands, over which a request has come.
    #[track_caller]
    fn link(&self) -> (Peer, Peer) {
        let client = self.client(&[HEADER, b"request"].concat());
        let upstream = self.far.accept();
        upstream.expect(b"request");
        (client, upstream)
    }

    #[track_caller]
    fn finish(self, step: &str, reason: &str) {
        let counters = self.victim.finish(step);
        assert_closed(&counters, &[(reason, 1)]);
    }
}

/// The ways of relaying.
const MODES: [&str; 2] = ["always", "off"];

/// Waits for the error of a peer that has already read the FIN.
#[track_caller]
fn expect_error(peer: &Peer) {
    let error = poll_for(PATIENCE, || peer.stream().take_error().expect("it is a socket"));
    assert!(error.is_some(), "no reset behind the FIN");
}

#[test]
fn a_client_that_resets_before_or_in_its_header_reaches_nobody() {
    for (held, reason) in [(&HEADER[..0], "probe"), (&HEADER[..9], "client_reset")] {
        for mode in MODES {
            let mut scene = Scene::new(mode, "");
            let client = scene.client(held);
            let addr = client.addr();
            client.reset();
            assert_eq!(scene.victim.server.account_of(addr).reason, reason);
            assert!(scene.far.try_accept().is_none(), "{reason}: nothing goes upstream");
            scene.finish("a header", reason);
        }
    }
}

#[test]
fn a_client_that_resets_behind_its_header_before_the_server_looks_is_a_client_reset() {
    for mode in MODES {
        let mut scene = Scene::new(mode, "");
        let pid = scene.victim.calm.pid;
        wait_for_worker(pid, 'S');
        kill_process(pid, Signal::STOP).expect("it is our child");
        wait_for_worker(pid, 'T');
        let client = Peer::connect(scene.victim.server.addr());
        let addr = client.addr();
        client.send(&[HEADER, b"request"].concat());
        client.reset();
        kill_process(pid, Signal::CONT).expect("it is our child");
        assert_eq!(scene.victim.server.account_of(addr).reason, "client_reset");
        scene.finish("header and reset at once", "client_reset");
    }
}

#[test]
fn a_client_that_resets_during_the_connect_is_a_client_reset() {
    for mode in MODES {
        let hole = BlackHole::new();
        let setup = Setup::to(&[hole.addr()]).accept(REQUIRE).splice(mode);
        let mut victim = Victim::start(&setup.timeouts("connect = \"1h\""));
        let client = Peer::connect(victim.server.addr());
        let addr = client.addr();
        client.send(&[HEADER, b"request"].concat());
        let connecting = || is_connecting(hole.addr()).then_some(());
        poll_for(PATIENCE, connecting).expect("a connect is under way");
        client.reset();
        assert_eq!(victim.server.account_of(addr).reason, "client_reset");
        assert_closed(&victim.finish("during the connect"), &[("client_reset", 1)]);
    }
}

#[test]
fn a_client_that_resets_behind_its_request_in_the_answer_or_behind_either_fin_resets_upstream() {
    for mode in MODES {
        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        client.reset();
        upstream.expect_reset();
        scene.finish("behind the request", "client_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        upstream.send_until_full(&random(1, 64 * MIB));
        client.expect(&random(1, 10));
        client.reset();
        upstream.expect_reset();
        scene.finish("in the answer", "client_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        client.fin();
        upstream.expect_last(b"");
        client.reset();
        expect_error(&upstream);
        scene.finish("behind its own FIN", "client_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        upstream.send_with_fin(b"answer");
        client.expect_last(b"answer");
        client.reset();
        upstream.expect_reset();
        scene.finish("behind upstream's FIN", "client_reset");
    }
}

#[test]
fn an_upstream_that_resets_before_it_accepts_or_in_our_header_resets_the_client() {
    for mode in MODES {
        let Scene { far, victim } = Scene::new(mode, "");
        let client = Peer::connect(victim.server.addr());
        client.send(&[HEADER, b"request"].concat());
        let is_queued = || (queued(far.addr()) == 1).then_some(());
        poll_for(PATIENCE, is_queued).expect("the server connects");
        // close(2) of a listening socket resets who stands in its queue.
        drop(far);
        client.expect_reset();
        let counters = victim.finish("in the queue");
        assert_closed(&counters, &[("upstream_reset", 1)]);

        let scene = Scene::new(mode, "send = \"v1\"");
        let client = scene.client(&[HEADER, b"request"].concat());
        let upstream = scene.far.accept();
        upstream.expect(&HEADER[..9]);
        upstream.reset();
        client.expect_reset();
        scene.finish("in our header", "upstream_reset");
    }
}

#[test]
fn an_upstream_that_resets_before_or_behind_a_request_in_its_answer_or_behind_a_fin_is_passed_on() {
    for mode in MODES {
        let scene = Scene::new(mode, "");
        let client = scene.client(HEADER);
        scene.far.accept().reset();
        client.expect_reset();
        scene.finish("before a request", "upstream_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        upstream.reset();
        client.expect_reset();
        scene.finish("behind the request", "upstream_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        let answer = random(2, 64 * MIB);
        upstream.send_until_full(&answer);
        client.expect(&answer[..10]);
        upstream.reset();
        let (rest, end) = client.rest();
        assert!(answer[10..].starts_with(&rest) && end == End::Reset, "{end:?}");
        scene.finish("in the answer", "upstream_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        upstream.fin();
        client.expect_last(b"");
        upstream.reset();
        expect_error(&client);
        scene.finish("behind its own FIN", "upstream_reset");

        let scene = Scene::new(mode, "");
        let (client, upstream) = scene.link();
        client.fin();
        upstream.expect_last(b"");
        upstream.reset();
        client.expect_reset();
        scene.finish("behind the client's FIN", "upstream_reset");
    }
}
