//! Checks through a reload, a drain and an upgrade: what is known stays where the process does, nobody is checked twice at
//! a time, and who takes no clients any more checks nobody.
//!
//! A check stands as long as its endpoint gives no answer.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::json;

use super::Pool;
use super::checks::{Backend, DOWN, OFTEN};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::End;
use crate::common::socket::ReservedPort;
use crate::life::session::Session;
use crate::life::upgrade::Heir;
use crate::support::Listener;

/// Clients go to `well` alone, and all are checked.
fn lines(well: SocketAddr, others: &[SocketAddr]) -> String {
    let others = others.iter().map(|addr| format!(", {{ address = '{addr}', weight = 0 }}"));
    format!(
        "endpoints = ['{well}'{}]\n[upstream.web.health]\ncheck = 'exchange'\nsend = 'P'\n\
         expect = '+'\ntimeout = '10m'\n{OFTEN}",
        others.collect::<String>()
    )
}

#[test]
fn a_reload_begins_no_second_check_of_one_and_forgets_nothing() {
    let (well, mute, port) = (Backend::healthy(), Listener::start(), ReservedPort::new());
    let lines = lines(well.addr, &[mute.addr(), port.addr()]);
    let pool = Pool::start(&lines);
    let check = mute.accept();
    pool.server.wait_for(DOWN, 0);
    let shown = pool.endpoint(port.addr());
    for idle in ["1m", "2m", "3m"] {
        let before = pool.checks(well.addr, "ok");
        pool.reload(&format!("server.workers = 1\ntimeouts.idle = '{idle}'"), &lines);
        let goes_on = || (pool.checks(well.addr, "ok") > before + 3).then_some(());
        poll_for(PATIENCE, goes_on).expect("others are checked on");
    }
    assert!(mute.try_accept().is_none(), "its check has not ended");
    for key in ["state", "why", "since"] {
        assert_eq!(pool.endpoint(port.addr())[key], shown[key], "{key}");
    }
    assert_eq!(pool.server.records(DOWN).len(), 1, "it is told once");
    check.expect(b"P");
    check.send(b"+");
    // And then it is checked again.
    drop(mute.accept());
    pool.end(&[well.addr]);
}

#[test]
fn a_drain_ends_the_checks_and_not_the_sessions() {
    let (well, mute) = (Backend::healthy(), Listener::start());
    let mut pool = Pool::start(&lines(well.addr, &[mute.addr()]));
    let mut session = Session::open(pool.server.addr());
    let check = mute.accept();
    check.expect(b"P");
    pool.server.proc.signal(Signal::TERM);
    check.rest();
    session.echo(b"who is there stays");
    session.finish();
    assert_eq!(session.rest(), (Vec::new(), End::Fin));
    assert_eq!(pool.server.ended()["closed"]["done"], 1);
    assert!(mute.try_accept().is_none(), "there was no further one");
}

#[test]
fn behind_an_upgrade_the_new_process_checks_anew_and_the_old_one_nobody() {
    let (well, mute, port) = (Backend::healthy(), Listener::start(), ReservedPort::new());
    let mut pool = Pool::start(&lines(well.addr, &[mute.addr(), port.addr()]));
    let mut session = Session::open(pool.server.addr());
    let old = mute.accept();
    pool.server.wait_for(DOWN, 0);
    let heir = Heir::of(&pool.server, pool.server.pid(), 0);
    old.rest();
    let new = mute.accept();
    // Told by the new one, whose first check decides.
    pool.server.wait_for(DOWN, 1);
    assert_eq!(pool.endpoint(port.addr())["state"], json!("down"));
    assert!(mute.try_accept().is_none(), "one at a time");
    session.echo(b"who is there stays");
    session.finish();
    assert_eq!(session.rest(), (Vec::new(), End::Fin));
    assert!(pool.server.ends_within(PATIENCE), "its last session is over");
    assert_eq!(pool.server.wait_for("counters", 0)["closed"]["done"], 1);
    new.expect(b"P");
    assert!(new.is_quiet(), "that check stands");
    heir.stop();
}
