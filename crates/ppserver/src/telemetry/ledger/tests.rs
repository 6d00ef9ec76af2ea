//! The ledger through counts, reloads and ends of workers; no socket, no thread.

use std::time::Duration;

use ppcore::{Decoded, Decoder, ErrorKind, Header, Options};

use super::*;
use crate::config::{Host, from_bytes};
use crate::core::connect_result::ConnectResult;
use crate::core::pool::balance::Balance;
use crate::core::pool::endpoint::Member;
use crate::telemetry::cells::{BUCKETS, Histogram};

const WORKERS: usize = 2;

/// A configuration with these listeners, all of which go to `u`.
fn config(listeners: &[&str]) -> Config {
    let listeners = listeners.iter().enumerate().map(|(at, name)| {
        format!("[[listener]]\nname = '{name}'\nbind = ['127.0.0.1:{}']\nupstream = 'u'\n", at + 1)
    });
    let text = format!(
        "config_version = 1\n{}[upstream.u]\nendpoints = ['127.0.0.1:100']\n",
        listeners.collect::<String>()
    );
    from_bytes("f".into(), text.as_bytes(), Host::default()).expect("it has no error").config
}

fn pool(ports: &[u16]) -> Pool {
    let member = |port: &u16| Member::at(([127, 0, 0, 1], *port).into());
    let endpoints = ports.iter().map(|port| Endpoint::new(member(port), WORKERS)).collect();
    Pool { endpoints, attempts_max: 1, failures_max: 0, balance: Balance::RoundRobin }
}

/// Has every worker follow, and returns what each counts in.
fn follow(ledger: &Ledger, listeners: &[&str], ports: &[u16]) -> Vec<Cells> {
    let (config, pools) = (config(listeners), [pool(ports)]);
    ledger.follow(&config, &pools);
    (0..WORKERS).map(|worker| ledger.cells(worker, &config, &pools)).collect()
}

fn header(bytes: &[u8]) -> Header {
    let Ok(Decoded::Header(header)) = Decoder::new(Options::new()).decode(bytes) else {
        panic!("it is a header")
    };
    header
}

#[test]
fn what_workers_count_is_summed_up_by_name() {
    let ledger = Ledger::new(WORKERS);
    let cells = follow(&ledger, &["b", "a"], &[100]);
    let [b, _] = &cells[0].listeners[..] else { panic!("two listeners") };
    let [other_b, a] = &cells[1].listeners[..] else { panic!("two listeners") };
    [b, b, other_b, a].iter().for_each(|cells| cells.open());
    let accepted = ledger.workers()[0].origin();
    let now = accepted + Duration::from_millis(3);
    b.take_header(&header(b"PROXY UNKNOWN\r\n"), accepted, now);
    other_b.refuse_header(ErrorKind::V1TooLong);
    other_b.bytes_up.add(5);
    a.bytes_down.add(7);
    b.close(CloseReason::Done);
    other_b.close(CloseReason::HeaderInvalid);

    let listeners = ledger.listeners();
    let [a, b] = &listeners[..] else { panic!("two listeners") };
    assert_eq!((&*a.name, a.accepted, a.active, a.bytes_down), ("a", 1, 1, 7));
    assert_eq!((&*b.name, b.accepted, b.active, b.bytes_up), ("b", 3, 1, 5));
    assert_eq!(b.closed[CloseReason::Done.index()], 1);
    assert_eq!(b.headers, [[0, 0, 1], [0, 0, 0]]);
    let too_long = ErrorKind::ALL.iter().position(|kind| *kind == ErrorKind::V1TooLong);
    assert_eq!(too_long.map(|at| b.refusals[at]), Some(1));
    assert_eq!(b.header_duration.sum, Duration::from_millis(3));
    let totals = ledger.totals();
    assert_eq!((totals.accepted, totals.active, totals.bytes_up), (4, 2, 5));
}

#[test]
fn a_name_goes_on_counting_and_one_that_is_gone_stays_in_the_totals() {
    let ledger = Ledger::new(WORKERS);
    let old = follow(&ledger, &["a", "b"], &[100, 101]);
    for listener in &old[0].listeners {
        listener.open();
    }
    let [first, second] = &old[0].upstreams[0].endpoints[..] else { panic!("two endpoints") };
    first.connect(ConnectResult::Refused);
    second.connect(ConnectResult::Timeout);
    second.connect(ConnectResult::Ok);

    // Another order, and `a` and the first endpoint are gone.
    let new = follow(&ledger, &["c", "b"], &[102, 101]);
    assert!(Arc::ptr_eq(&new[0].listeners[1], &old[0].listeners[1]));
    let names = |ledger: &Ledger| -> Vec<_> {
        ledger.listeners().into_iter().map(|totals| totals.name).collect()
    };
    assert_eq!(names(&ledger), ["b", "c"]);
    let endpoints = ledger.upstreams().remove(0).endpoints;
    let connects = endpoints
        .iter()
        .map(|totals| (totals.addr.inet().unwrap().port(), totals.connects, totals.active));
    assert_eq!(connects.collect::<Vec<_>>(), [(101, [1, 0, 1, 0, 0, 0], 1), (102, [0; 6], 0)]);
    // The connection goes on, and is counted where it was.
    let totals = ledger.totals();
    assert_eq!((totals.accepted, totals.active, totals.connect_failures), (2, 2, 2));
    old[0].listeners[0].close(CloseReason::Done);
    assert_eq!((ledger.totals().active, ledger.totals().closed[CloseReason::Done.index()]), (1, 1));
    drop(old);
    let gone = ledger.totals();
    assert_eq!((gone.accepted, gone.active, gone.connect_failures), (2, 1, 2));
    assert_eq!(gone.closed[CloseReason::Done.index()], 1);
    assert_eq!(ledger.totals(), gone, "nothing is added twice");

    // It begins anew.
    follow(&ledger, &["a"], &[101]);
    assert_eq!(ledger.listeners().remove(0).accepted, 0);
    assert_eq!(ledger.totals().accepted, 2);
}

#[test]
fn a_name_that_comes_back_before_it_is_gone_goes_on() {
    let ledger = Ledger::new(WORKERS);
    let old = follow(&ledger, &["a"], &[100]);
    old[1].listeners[0].open();
    follow(&ledger, &["b"], &[100]);
    follow(&ledger, &["a"], &[100]);
    assert_eq!(ledger.listeners().remove(0).active, 1);
}

#[test]
fn an_address_that_stands_twice_in_an_upstream_is_one_endpoint() {
    let ledger = Ledger::new(WORKERS);
    let cells = follow(&ledger, &["a"], &[100, 101, 100]);
    let [first, _, third] = &cells[0].upstreams[0].endpoints[..] else { panic!("three places") };
    assert!(Arc::ptr_eq(first, third));
    assert_eq!(ledger.upstreams().remove(0).endpoints.len(), 2);
}

#[test]
fn what_a_worker_leaves_behind_is_closed_and_the_others_go_on() {
    let ledger = Ledger::new(WORKERS);
    let cells = follow(&ledger, &["a"], &[100]);
    for (worker, cells) in cells.iter().enumerate() {
        cells.listeners[0].open();
        cells.listeners[0].open();
        cells.listeners[0].close(CloseReason::Done);
        cells.upstreams[0].endpoints[0].connect(ConnectResult::Ok);
        ledger.workers()[worker].open();
        ledger.workers()[worker].begin_turn(7);
    }
    // Its connections were on other terms than those of today.
    follow(&ledger, &["b"], &[101]);
    ledger.abandon(1, CloseReason::Drained);
    let totals = ledger.totals();
    assert_eq!((totals.active, totals.closed[CloseReason::Drained.index()]), (1, 1));
    assert_eq!(ledger.active(), 1);
    let activity = ledger.activity();
    assert_eq!(
        activity[0].in_turn_since,
        Some(ledger.workers()[0].origin() + Duration::from_nanos(7))
    );
    assert_eq!(activity[1].in_turn_since, None);
    ledger.workers()[0].end_turn(10);
    let activity = ledger.activity();
    assert_eq!((activity[0].in_turn_since, activity[0].busy), (None, Duration::from_nanos(3)));
    follow(&ledger, &["a"], &[100]);
    let stands = |ledger: &Ledger| ledger.upstreams().remove(0).endpoints.remove(0).active;
    assert_eq!(stands(&ledger), 1);
}

#[test]
fn a_reload_is_counted_and_only_one_that_is_followed_is_the_last() {
    let ledger = Ledger::new(WORKERS);
    let later = ledger.started() + Duration::from_secs(5);
    ledger.reloaded(ReloadResult::Refused, later);
    assert_eq!(ledger.reloads().last, ledger.started());
    ledger.reloaded(ReloadResult::Ok, later);
    assert_eq!(ledger.reloads(), Reloads { counts: [1, 1, 0], last: later });
}

#[test]
fn a_span_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
    let histogram = Histogram::default();
    let micros = [0, 500, 501, 10_000_000, 10_000_001];
    micros.iter().for_each(|span| histogram.observe(Duration::from_micros(*span)));
    let counts = histogram.counts();
    let filled = |at: &usize| (counts[*at] > 0).then_some((*at, counts[*at]));
    let filled: Vec<_> = (0..counts.len()).filter_map(|at| filled(&at)).collect();
    let last = BUCKETS.len();
    assert_eq!(filled, [(0, 2), (1, 1), (last - 1, 1), (last, 1)]);
    assert_eq!(histogram.sum(), Duration::from_micros(micros.iter().sum()));
    // Longer than a bound by less than a microsecond is longer.
    let histogram = Histogram::default();
    histogram.observe(Duration::from_nanos(500_001));
    assert_eq!(histogram.counts()[1], 1);
}
