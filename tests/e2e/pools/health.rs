//! Endpoints that die: whom that costs, and how they come back.

use crate::common::far_end::FarEnd;
use crate::common::socket::ReservedPort;
use crate::life::session::{HEADER, Session};
use crate::support::BlackHole;

use super::{Pool, list, listen_at};

const EJECTED: &str = "endpoint ejected, for 1day at least";
const FOR_LONG: &str = "passive = { eject = '1d', max = '1d' }";

#[test]
fn one_black_hole_of_two_costs_two_clients_and_then_nobody() {
    let (hole, end) = (BlackHole::new(), FarEnd::start());
    let addrs = [hole.addr(), end.addr()];
    let top = "server.workers = 2\ntimeouts.connect = '200ms'";
    let pool = Pool::start_with(top, &format!("{}\n{FOR_LONG}", list(&addrs)));
    // One after the other, and each is served.
    (0..16).for_each(|_| drop(Session::open(pool.server.addr())));
    let shown = pool.endpoint(hole.addr());
    assert_eq!((&shown["state"], &shown["failures"]), (&"ejected".into(), &2.into()), "{shown}");
    assert_eq!((&shown["why"], &shown["is_set"]), (&"no answer in time".into(), &false.into()));
    let told = pool.server.wait_for(EJECTED, 0);
    assert_eq!(told["endpoint"], hole.addr().to_string());
    assert_eq!(pool.server.records(EJECTED).len(), 1, "it is told once");
    let counters = pool.end(&addrs);
    assert_eq!((&counters["accepted"], &counters["connect_failures"]), (&16.into(), &2.into()));
}

#[test]
fn a_reload_forgets_neither_who_is_out_nor_why() {
    let (port, end) = (ReservedPort::new(), FarEnd::start());
    let addrs = [port.addr(), end.addr()];
    let lines = format!("{}\n{FOR_LONG}", list(&addrs));
    let pool = Pool::start(&lines);
    (0..4).for_each(|_| drop(Session::open(pool.server.addr())));
    pool.server.wait_for(EJECTED, 0);
    let before = pool.endpoint(port.addr());
    pool.reload("server.workers = 1\ntimeouts.idle = '1m'", &lines);
    (0..4).for_each(|_| drop(Session::open(pool.server.addr())));
    let after = pool.endpoint(port.addr());
    for key in ["state", "why", "since", "failures"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    // Where nobody is ejected any more it is tried again.
    pool.reload("server.workers = 1", &format!("{}\npassive.failures = 0", list(&addrs)));
    assert_eq!(pool.endpoint(port.addr())["state"], "up");
    (0..4).for_each(|_| drop(Session::open(pool.server.addr())));
    assert_eq!(pool.endpoint(port.addr())["failures"], 4);
    pool.end(&addrs);
}

#[test]
fn an_endpoint_comes_back_behind_a_connect_of_ours_and_no_client_tries_it() {
    let (port, end) = (ReservedPort::new(), FarEnd::start());
    let addrs = [port.addr(), end.addr()];
    let lines = format!("{}\npassive = {{ eject = '100ms', max = '200ms' }}", list(&addrs));
    let pool = Pool::start_with("server.workers = 1\nlog.level = 'debug'", &lines);
    (0..4).for_each(|_| drop(Session::open(pool.server.addr())));
    for nth in 0..3 {
        pool.server.wait_for("endpoint stays out", nth);
        assert_eq!(pool.served_by(), end.addr());
    }
    let shown = pool.endpoint(port.addr());
    assert_eq!((&shown["state"], &shown["failures"]), (&"ejected".into(), &2.into()));
    listen_at(port.addr());
    pool.server.wait_for("endpoint up: a connect of ours stood", 0);
    assert_eq!(pool.endpoint(port.addr())["state"], "up");
    let served: Vec<_> = (0..2).map(|_| pool.served_by()).collect();
    assert!(served.contains(&port.addr()), "{served:?}");
    pool.end(&addrs);
}

#[test]
fn when_all_are_out_all_are_tried() {
    let ports = [ReservedPort::new(), ReservedPort::new()];
    let addrs = ports.each_ref().map(ReservedPort::addr);
    let pool = Pool::start(&format!("{}\n{FOR_LONG}", list(&addrs)));
    for _ in 0..2 {
        let mut session = Session::connect(pool.server.addr());
        session.send(HEADER);
        session.assert_reset();
    }
    pool.server.wait_for(EJECTED, 1);
    listen_at(addrs[1]);
    // No trial comes for a day; a client finds it.
    drop(Session::open(pool.server.addr()));
    assert_eq!(pool.endpoint(addrs[1])["state"], "ejected", "a client lets nobody in");
    let counters = pool.end(&addrs);
    assert_eq!(counters["closed"]["connect_failed"], 2);
}
