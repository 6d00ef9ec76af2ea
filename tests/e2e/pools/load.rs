//! Endpoints that die, vanish and flap while many clients come: whom that costs, and that it is nobody else.
//!
//! Causes and counters say so, no clock: an event of the server stands between those who may meet an endpoint and those who
//! may not.

use std::net::{Shutdown, SocketAddr};

use serde_json::Value;

use super::{Pool, list, listen_at};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::socket::ReservedPort;
use crate::life::session::{HEADER, Session};
use crate::support::{BlackHole, CLIENTS, assert_closed, under_load};

const EJECTED: &str = "endpoint ejected";
const BACK: &str = "endpoint up: a connect of ours stood";
const SHORT: &str = "passive = { eject = '100ms', max = '100ms' }";

/// A client that is served to its end; false if it is reset.
fn is_served(to: SocketAddr) -> bool {
    Session::try_open(to).is_some_and(|mut session| {
        session.finish();
        session.rest() == (Vec::new(), End::Fin)
    })
}

#[test]
fn a_dead_endpoint_costs_those_who_come_at_once_and_no_client_tries_it_again() {
    let (port, end) = (ReservedPort::new(), FarEnd::start());
    let addrs = [port.addr(), end.addr()];
    let top = "server.workers = 2\nlog.level = 'debug'";
    let pool = Pool::start_with(top, &format!("{}\n{SHORT}", list(&addrs)));
    let to = pool.server.addr();
    let came = under_load(|| is_served(to), || _ = pool.server.wait_for("endpoint stays out", 4));
    assert_eq!(came.lost, 0, "each who meets it is served elsewhere");
    let met = pool.endpoint(port.addr())["failures"].as_u64().expect("a count");
    // The first, and with the second all who may be there at once.
    assert!((2..=1 + CLIENTS).contains(&met), "{met} of {} have met it", came.served);
    assert_eq!(pool.server.records(EJECTED).len(), 1);
    let counters = pool.end(&addrs);
    assert_eq!(counters["connect_failures"], met);
    assert_closed(&counters, &[("done", came.served)]);
}

#[test]
fn a_black_hole_costs_those_of_its_first_second_and_nobody_waits_behind_them() {
    let (hole, end) = (BlackHole::new(), FarEnd::start());
    let addrs = [hole.addr(), end.addr()];
    // Longer than the test: no connect there fails, and nobody ejects it.
    let pool = Pool::start_with("server.workers = 1\ntimeouts.connect = '10m'", &list(&addrs));
    let to = pool.server.addr();
    // Each has its turn, until one has been left out.
    let (mut waiting, mut served) = (Vec::new(), Vec::new());
    let mut last = end.addr();
    let is_left_out = poll_for(PATIENCE, || {
        let mut session = Session::connect(to);
        session.send(&[HEADER, b"x"].concat());
        let at = pool.endpoint_of(&session);
        let before = std::mem::replace(&mut last, at);
        if at == hole.addr() { &mut waiting } else { &mut served }.push(session);
        (before == end.addr() && at == end.addr()).then_some(())
    });
    is_left_out.expect("it is left out");
    let many = end.accepted() + 200;
    let come = || poll_for(PATIENCE, || (end.accepted() > many).then_some(())).expect("many come");
    let came = under_load(|| is_served(to), come);
    assert_eq!(came.lost, 0);
    let at_hole = |it: &&Value| it["endpoint"] == hole.addr().to_string();
    let wait_there = pool.connections().iter().filter(at_hole).count();
    assert_eq!(wait_there, waiting.len(), "nobody else has met it");
    let shown = pool.endpoint(hole.addr());
    assert_eq!((&shown["state"], &shown["failures"]), (&"up".into(), &0.into()));
    for session in &mut served {
        session.receive(b"x");
        session.finish();
        assert_eq!(session.rest(), (Vec::new(), End::Fin));
    }
    let met = waiting.len();
    waiting.into_iter().for_each(Session::reset);
    let counters = pool.end(&addrs);
    assert_closed(&counters, &[("done", served.len() + came.served), ("client_reset", met)]);
}

#[test]
fn one_that_flaps_under_load_costs_whom_it_resets_and_nobody_else() {
    const FLAPS: usize = 5;
    let checks = "passive.failures = 0\n\
        health = { check = 'tcp', interval = '100ms', rise = 1, fall = 1 }";
    for (lines, out, back) in
        [(SHORT, EJECTED, BACK), (checks, super::checks::DOWN, super::checks::UP)]
    {
        let (port, end) = (ReservedPort::new(), FarEnd::start());
        let addrs = [port.addr(), end.addr()];
        let pool = Pool::start_with("server.workers = 2", &format!("{}\n{lines}", list(&addrs)));
        let to = pool.server.addr();
        let stood = || {
            let shown = pool.endpoint(port.addr());
            let count = |key: &str| shown[key].as_u64().expect("a count");
            count("connects") - count("failures")
        };
        let flap = |nth| {
            pool.server.wait_for(out, nth);
            let before = stood();
            let listening = listen_at(port.addr());
            pool.server.wait_for(back, nth);
            let is_in_use = poll_for(PATIENCE, || (stood() > before + 2).then_some(()));
            is_in_use.expect("it has clients");
            // Who stands in its queue is reset.
            listening.shutdown(Shutdown::Both).expect("it listens");
        };
        let came = under_load(|| is_served(to), || (0..FLAPS).for_each(flap));
        assert!(came.served > came.lost);
        let mut expected = vec![("done", came.served), ("upstream_reset", came.lost)];
        expected.retain(|(_, count)| *count > 0);
        assert_closed(&pool.end(&addrs), &expected);
    }
}
