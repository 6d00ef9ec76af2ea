//! Generator and sink against each other over loopback: what one counts the other has counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
enum Line {
    Load(LoadArgs),
    Sink(SinkArgs),
}

/// Runs `load` against a sink of its own.
fn run(case: &str, load: &[&str], sink: &[&str]) -> (Report, SinkReport) {
    let Line::Sink(sink_args) = Line::parse_from(["x", "sink"].iter().chain(sink)) else {
        panic!("the words of a sink")
    };
    let sink = Sink::bind(&sink_args).unwrap();
    let to = sink.addr().to_string();
    let words = ["x", "load", case, "--to", &to, "--for", "30s", "--timeout", "30s"];
    let Line::Load(load_args) = Line::parse_from(words.iter().chain(load)) else {
        panic!("the words of a load")
    };
    let (load_stop, sink_stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let sink = scope.spawn(|| sink.run(&sink_stop).unwrap());
        let report = drive(&load_args, &load_stop, |_| ());
        sink_stop.store(true, Ordering::Relaxed);
        (report.unwrap(), sink.join().unwrap())
    })
}

/// Checks the sums that hold for every run without a failure.
#[track_caller]
fn assert_adds_up(report: &Report, sink: &SinkReport) {
    assert_eq!(report.check(), Ok(()));
    assert_eq!(sink.check(), Ok(()));
    assert_eq!((report.connections.failures(), sink.failures()), (0, 0), "{report}{sink}");
    assert_eq!(report.connections.started, report.connections.completed, "{report}");
    assert_eq!(report.connections.started, sink.accepted, "{report}{sink}");
    assert_eq!(report.opened + report.exchanges, sink.answers, "{report}{sink}");
    assert_eq!(report.bytes_sent, sink.bytes_received, "{report}{sink}");
    assert_eq!(report.bytes_received, sink.bytes_sent, "{report}{sink}");
}

#[test]
fn two_hundred_short_connections_add_up_on_both_sides() {
    let sent = ["v1", "v2"].map(|header| {
        let load = ["--count", "200", "--connections", "16", "--proxy", header];
        let (report, sink) = run("short", &load, &["--proxy"]);
        assert_adds_up(&report, &sink);
        assert_eq!((report.exchanges, sink.silent, sink.open), (200, 0, 0));
        assert!(report.latency.p50 > 0.0 && report.latency.p50 <= report.latency.max);
        report.bytes_sent
    });
    assert_eq!(sent[0], sent[1], "headers do not count");
}

#[test]
fn a_header_in_pieces_arrives_whole() {
    for pieces in ["2", "28", "200"] {
        let load = ["--count", "100", "--connections", "8", "--pieces", pieces];
        let (report, sink) = run("short", &load, &["--proxy"]);
        assert_adds_up(&report, &sink);
        assert_eq!(report.exchanges, 100);
    }
}

#[test]
fn an_open_loop_starts_all_it_was_told_to() {
    let load = ["--count", "100", "--rate", "2000", "--proxy", "none"];
    let (report, sink) = run("short", &load, &[]);
    assert_adds_up(&report, &sink);
    assert_eq!(report.exchanges, 100);
    // The last of 100 starts, 500 us apart, is meant for 49.5 ms after the first.
    assert!(report.seconds >= 0.0495, "{report}");
    assert!(report.schedule.is_some());
}

#[test]
fn keepalive_requests_share_their_connections() {
    let load = ["--count", "200", "--connections", "4"];
    let (report, sink) = run("keepalive", &load, &["--proxy"]);
    assert_adds_up(&report, &sink);
    assert_eq!((report.opened, report.exchanges, report.connections.started), (4, 200, 4));
    // Fewer requests than connections: the others would only stand about.
    let load = ["--count", "2", "--connections", "4", "--rate", "1000"];
    let (report, sink) = run("keepalive", &load, &["--proxy"]);
    assert_adds_up(&report, &sink);
    assert_eq!((report.opened, report.exchanges, report.connections.started), (2, 2, 2));
}

#[test]
fn bulk_data_arrives_byte_for_byte_in_every_direction() {
    const BYTES: u64 = 3 << 20;
    for (case, up, down) in [("up", BYTES, 0), ("down", 0, BYTES), ("both", BYTES, BYTES)] {
        let load = ["--count", "4", "--connections", "2", "--bytes", "3MiB"];
        let (report, sink) = run(case, &load, &["--proxy"]);
        assert_adds_up(&report, &sink);
        assert_eq!(report.exchanges, 4, "{case}");
        assert!(report.bytes_sent >= 4 * up && report.bytes_received >= 4 * down, "{case}");
    }
}

#[test]
fn idle_connections_are_held_and_then_counted_as_completed() {
    let (report, sink) = run("idle", &["--connections", "100", "--hold", "1ms"], &["--proxy"]);
    assert_adds_up(&report, &sink);
    assert_eq!((report.connections.started, report.exchanges), (100, 100));
}

#[test]
fn a_sink_that_waits_for_a_header_refuses_connections_without_one() {
    let load = ["--count", "10", "--proxy", "none"];
    let (report, sink) = run("short", &load, &["--proxy"]);
    assert_eq!((report.exchanges, report.connections.failures()), (0, 10), "{report}");
    assert_eq!((sink.answers, sink.failures()), (0, 10), "{sink}");
    assert_eq!((report.check(), sink.check()), (Ok(()), Ok(())));
}

#[test]
fn nobody_listening_is_counted_by_its_errno() {
    let port = {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket
    };
    let to = port.local_addr().unwrap().as_socket().unwrap().to_string();
    let words = ["x", "load", "short", "--to", &to, "--count", "5"];
    let Line::Load(args) = Line::parse_from(words) else { panic!("the words of a load") };
    let report = drive(&args, &AtomicBool::new(false), |_| ()).unwrap();
    assert_eq!(report.connections.failed.get("ECONNREFUSED"), Some(&5), "{report}");
}

#[test]
fn an_interrupted_run_abandons_what_is_open_and_still_adds_up() {
    // A listener that never accepts: the kernel completes the connections, nobody answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let words = ["x", "load", "short", "--to", &to, "--connections", "3"];
    let Line::Load(args) = Line::parse_from(words) else { panic!("the words of a load") };
    let report = drive(&args, &AtomicBool::new(true), |_| ()).unwrap();
    assert_eq!((report.connections.started, report.connections.abandoned), (3, 3), "{report}");
    assert_eq!(report.check(), Ok(()));
}
