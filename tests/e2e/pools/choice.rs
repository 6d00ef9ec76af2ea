//! Weights, loads, hashes, backups and limits.

use std::net::SocketAddr;

use super::{Pool, list};
use crate::common::far_end::FarEnd;
use crate::life::session::{HEADER, Session};

/// Opens so many sessions, which stay.
fn open(pool: &Pool, count: usize) -> Vec<Session> {
    (0..count).map(|_| Session::open(pool.server.addr())).collect()
}

fn counts(ends: &[FarEnd]) -> Vec<usize> {
    ends.iter().map(FarEnd::accepted).collect()
}

#[test]
fn turns_follow_weights() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let [heavy, light] = [ends[0].addr(), ends[1].addr()];
    let pool =
        Pool::start(&format!("endpoints = [{{ address = '{heavy}', weight = 3 }}, '{light}']"));
    drop(open(&pool, 12));
    assert_eq!(counts(&ends), [9, 3]);
    let counters = pool.end(&[heavy, light]);
    assert_eq!(counters["accepted"], 12);
}

#[test]
fn the_least_loaded_is_chosen_over_all_workers() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let addrs = [ends[0].addr(), ends[1].addr()];
    let pool = Pool::start_with(
        "server.workers = 2",
        &format!("{}\nbalance = 'least_conn'", list(&addrs)),
    );
    let sessions = open(&pool, 32);
    assert_eq!(counts(&ends), [16, 16]);
    drop(sessions);
    pool.end(&addrs);
}

#[test]
fn a_client_keeps_its_endpoint_whatever_the_order_and_while_another_is_down() {
    let ends = [(); 4].map(|()| FarEnd::start());
    let addrs = ends.each_ref().map(FarEnd::addr);
    let lines = |addrs: &[SocketAddr]| format!("{}\nbalance = 'source_hash'", list(addrs));
    let pool = Pool::start_with("server.workers = 2", &lines(&addrs));
    let own = pool.served_by();
    assert!((0..10).all(|_| pool.served_by() == own));
    let mut turned = addrs;
    turned.reverse();
    pool.reload("server.workers = 2", &lines(&turned));
    assert!((0..10).all(|_| pool.served_by() == own));
    let other = addrs.into_iter().find(|addr| *addr != own).expect("there are four");
    let set = |addr, state| format!("/api/v1/upstreams/web/endpoints/{addr}?state={state}");
    pool.door.post(&set(other, "down")).json(200);
    assert_eq!(pool.served_by(), own);
    pool.door.post(&set(own, "down")).json(200);
    let instead = pool.served_by();
    assert!(instead != own && instead != other);
    pool.door.post(&set(own, "auto")).json(200);
    assert_eq!(pool.served_by(), own, "it comes back");
    pool.end(&addrs);
}

#[test]
fn who_finds_all_full_is_reset_and_backups_come_before_that() {
    let ends = [(); 3].map(|()| FarEnd::start());
    let [first, second, backup] = ends.each_ref().map(FarEnd::addr);
    let pool = Pool::start(&format!(
        "endpoints = [{{ address = '{backup}', backup = true, max_connections = 1 }},\n\
         {{ address = '{first}', max_connections = 1 }}, {{ address = '{second}', max_connections = 2 }}]\n\
         balance = 'first'"
    ));
    let mut sessions = open(&pool, 4);
    assert_eq!(counts(&ends), [1, 2, 1]);
    let mut refused = Session::connect(pool.server.addr());
    refused.send(HEADER);
    refused.assert_reset();
    // There is room again once one has gone.
    sessions.remove(0).finish();
    pool.server.wait_until("one has gone", |counters| counters["active"] == 3);
    assert_eq!(pool.served_by(), first);
    drop(sessions);
    let counters = pool.end(&[first, second, backup]);
    assert_eq!(counters["closed"]["endpoints_full"], 1);
}
