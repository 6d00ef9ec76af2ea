//! Generator and sink of datagrams against each other over loopback: what one counts the other has counted.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;

use super::*;
use crate::args::{LoadArgs, SinkArgs};

#[derive(Debug, Parser)]
enum Line {
    Load(LoadArgs),
    Sink(SinkArgs),
}

fn load_args(case: &str, to: &str, words: &[&str]) -> LoadArgs {
    let always = ["x", "load", case, "--to", to, "--for", "30s"];
    let Line::Load(args) = Line::parse_from(always.iter().chain(words)) else {
        panic!("the words of a load")
    };
    args.validate().unwrap();
    args
}

fn drive(args: &LoadArgs, stop: bool) -> DatagramReport {
    let kind = args.datagrams().unwrap();
    Generator::new(args, kind).unwrap().run(&AtomicBool::new(stop)).unwrap()
}

/// Runs a load against a sink of its own. Over loopback what was sent lies in the sink's socket at once, and it takes that
/// before it ends.
fn run(
    case: &str,
    framing: &str,
    load: &[&str],
    gro: &[&str],
) -> (DatagramReport, DatagramSinkReport) {
    let words = ["x", "sink", "--udp", framing];
    let Line::Sink(sink_args) = Line::parse_from(words.iter().chain(gro)) else {
        panic!("the words of a sink")
    };
    let sink = Sink::bind(&sink_args, sink_args.udp.unwrap()).unwrap();
    let words = [&["--proxy", framing, "--timeout", "30s"], load].concat();
    let args = load_args(case, &sink.addr().to_string(), &words);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sink = scope.spawn(|| sink.run(&stop).unwrap());
        let report = drive(&args, false);
        stop.store(true, Ordering::Relaxed);
        (report, sink.join().unwrap())
    })
}

const FRAMINGS: [&str; 4] = ["none", "v2", "v2-first", "spp"];

#[test]
fn every_datagram_of_flows_that_stay_is_answered_behind_each_header() {
    for framing in FRAMINGS {
        let load = ["--count", "500", "--connections", "10", "--rate", "5000", "--bytes", "200B"];
        let (report, sink) = run("udp-game", framing, &load, &[]);
        assert_eq!((report.failures(), sink.failures()), (0, 0), "{framing}\n{report}{sink}");
        assert_eq!((report.sent, report.answered, report.flows), (500, 500, 10), "{report}");
        assert_eq!((sink.arrived, sink.answered), (500, 500), "{sink}");
        assert_eq!((report.bytes_sent, sink.bytes_received), (100_000, 100_000));
        assert!(report.latency.p50 > 0.0 && report.latency.p50 <= report.latency.max);
        // The last of 500 starts, 200 us apart, is meant for 99.8 ms after the first.
        assert!(report.seconds >= 0.0998, "{report}");
    }
}

#[test]
fn each_question_has_a_flow_of_its_own() {
    for framing in FRAMINGS {
        let load = ["--count", "300", "--connections", "16"];
        let (report, sink) = run("udp-dns", framing, &load, &[]);
        assert_eq!((report.failures(), sink.failures()), (0, 0), "{framing}\n{report}{sink}");
        assert_eq!((report.sent, report.answered, report.flows), (300, 300, 300), "{report}");
        assert_eq!(sink.arrived, 300, "{sink}");
    }
}

#[test]
fn bulk_that_leaves_together_comes_apart_or_together_and_whole() {
    for framing in ["none", "v2", "spp"] {
        for gro in [&[][..], &["--gro"]] {
            let load = ["--count", "320", "--connections", "2", "--gso", "16", "--rate", "3200"];
            let (report, sink) = run("udp-bulk", framing, &load, gro);
            assert_eq!((report.failures(), sink.failures()), (0, 0), "{framing}\n{report}{sink}");
            assert_eq!((report.sent, report.bytes_sent), (320, 320 * 1200), "{report}");
            assert_eq!((sink.arrived, sink.answered), (320, 0), "{framing} {gro:?}\n{sink}");
            assert_eq!(sink.bytes_received, 320 * 1200);
            assert_eq!(sink.receives < 320, !gro.is_empty(), "{sink}");
        }
    }
}

#[test]
fn a_header_that_is_not_there_or_not_due_is_found_by_the_sink() {
    for (expected, sent) in [("v2", "none"), ("spp", "v2"), ("none", "v2")] {
        let words = ["x", "sink", "--udp", expected];
        let Line::Sink(sink_args) = Line::parse_from(words) else { panic!("the words of a sink") };
        let sink = Sink::bind(&sink_args, sink_args.udp.unwrap()).unwrap();
        let load = ["--proxy", sent, "--count", "10", "--rate", "10000"];
        let args = load_args("udp-bulk", &sink.addr().to_string(), &load);
        assert_eq!(drive(&args, false).sent, 10);
        let found = sink.run(&AtomicBool::new(true)).unwrap();
        assert_eq!((found.arrived, found.failures()), (0, 10), "{expected}: {found}");
    }
}

#[test]
fn what_is_not_answered_is_lost_and_what_nobody_takes_is_told() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap().to_string();
    for case in ["udp-game", "udp-dns"] {
        let mut words = vec!["--count", "5", "--connections", "5", "--timeout", "1ms"];
        if case == "udp-game" {
            words.extend(["--rate", "10000"]);
        }
        let report = drive(&load_args(case, &to, &words), false);
        assert_eq!((report.sent, report.answered, report.lost), (5, 0, 5), "{case}: {report}");
    }
    drop(silent);
    let report = drive(&load_args("udp-dns", &to, &["--count", "5"]), false);
    assert_eq!(report.broken.get("ECONNREFUSED"), Some(&5), "{report}");
}

#[test]
fn an_interrupted_run_ends_with_what_there_is() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap().to_string();
    let report = drive(&load_args("udp-dns", &to, &["--connections", "3"]), true);
    assert_eq!((report.sent, report.lost), (3, 3), "{report}");
}
