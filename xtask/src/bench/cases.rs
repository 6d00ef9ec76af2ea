//! The cases: what each of them sends, through which setup, and what is counted.

use std::time::Duration;

use clap::ValueEnum;

use super::backend::Backend;
use super::driver::{Driver, Keeping};
use super::rig::{Job, P99, RESIDENT, Unit};
use super::setup::{Inbound, Setup, Transfer};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// PROXY v2 and a request in, an answer out, close: CPU and system calls a connection
    Short,
    /// Requests on connections that stay; plain in, v2 out
    Keepalive,
    /// 4 transfers of 64 MiB at a time, down and up; HAProxy with splice forced
    Bulk,
    /// 5,000 proxied connections that do nothing: resident memory and pipes
    Idle,
    /// Short connections at half of HAProxy's peak rate, in open loop: percentiles
    Latency,
    /// What a request costs us as connections and answers grow; no peer takes part
    Scale,
    /// ppcore's decoder beside its peers: `cargo bench -p benches`
    Decode,
    /// All of them
    All,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub(super) run_for: Duration,
    /// Transfers of `bulk_bytes` in a bulk run.
    pub(super) bulk_count: u32,
    pub(super) bulk_bytes: u64,
    pub(super) idle: u32,
    /// Connections or requests under strace.
    pub(super) traced: u32,
}

impl Amount {
    pub(super) const FULL: Self = Self {
        run_for: Duration::from_secs(5),
        bulk_count: 64,
        bulk_bytes: 64 << 20,
        idle: 5000,
        traced: 5000,
    };
    /// To see that it works; too little to mean anything.
    pub(super) const QUICK: Self = Self {
        run_for: Duration::from_secs(1),
        bulk_count: 4,
        bulk_bytes: 16 << 20,
        idle: 200,
        traced: 500,
    };
}

const HEADER: Setup = Setup { inbound: Inbound::Header, transfer: Transfer::Usual };
const PLAIN: Setup = Setup { inbound: Inbound::Plain, transfer: Transfer::Usual };
const SPLICED: Setup = Setup { inbound: Inbound::Header, transfer: Transfer::Spliced };

/// Short connections by wrk to nginx, and by our generator to our sink.
pub(super) fn short(amount: Amount) -> [Job; 2] {
    let what = "short connections, 64 at a time, PROXY v2 in, v2 out";
    let warm_up = Driver::load(&["short", "--count", "300"]);
    let by_wrk = Job {
        name: "short-wrk".to_owned(),
        title: format!("{what}: wrk -> proxy -> nginx"),
        setup: HEADER,
        backend: Backend::Nginx,
        driver: Driver::Wrk { keeping: Keeping::Close, run_for: amount.run_for },
        warm_up: warm_up.clone(),
        unit: Unit::Connection,
        main: "proxy CPU us/connection".to_owned(),
    };
    let by_load = Job {
        name: "short-load".to_owned(),
        title: format!("{what}: load -> proxy -> sink"),
        backend: Backend::Sink,
        driver: Driver::load(&["short", "--for", &words_of(amount.run_for)]),
        ..by_wrk.clone()
    };
    [by_wrk, by_load]
}

/// Requests on connections that stay.
pub(super) fn keepalive(amount: Amount) -> [Job; 2] {
    let what = "keep-alive requests, 64 connections, plain in, v2 out";
    let by_wrk = Job {
        name: "keepalive-wrk".to_owned(),
        title: format!("{what}: wrk -> proxy -> nginx"),
        setup: PLAIN,
        backend: Backend::Nginx,
        driver: Driver::Wrk { keeping: Keeping::Keep, run_for: amount.run_for },
        warm_up: Driver::load(&["keepalive", "--count", "1000"]),
        unit: Unit::Request,
        main: "proxy CPU us/request".to_owned(),
    };
    let by_load = Job {
        name: "keepalive-load".to_owned(),
        title: format!("{what}: load -> proxy -> sink"),
        backend: Backend::Sink,
        driver: Driver::load(&["keepalive", "--for", &words_of(amount.run_for)]),
        ..by_wrk.clone()
    };
    [by_wrk, by_load]
}

/// Bulk transfers each way. The warm-up compares every byte, the measured load the ends of reads.
pub(super) fn bulk(amount: Amount) -> [Job; 2] {
    ["down", "up"].map(|way| Job {
        name: format!("bulk-{way}"),
        title: format!("{way}loads of {} MiB, 4 at a time", amount.bulk_bytes >> 20),
        setup: SPLICED,
        backend: Backend::Sink,
        driver: Driver::load(&[
            way,
            "--connections",
            "4",
            "--count",
            &amount.bulk_count.to_string(),
            "--bytes",
            &amount.bulk_bytes.to_string(),
            "--check",
            "ends",
            "--for",
            "5m",
            "--timeout",
            "2m",
        ]),
        warm_up: Driver::load(&[way, "--connections", "4", "--count", "8", "--bytes", "4MiB"]),
        unit: Unit::Gib(amount.bulk_bytes),
        main: "proxy CPU s/GiB".to_owned(),
    })
}

/// Idle connections; the driver is started by the rig, which looks while they stand.
pub(super) fn idle(amount: Amount) -> Job {
    Job {
        name: "idle".to_owned(),
        title: format!("{} idle connections, PROXY v2 in, v2 out", amount.idle),
        driver: Driver::load(&["idle"]),
        main: RESIDENT.to_owned(),
        ..short(amount)[1].clone()
    }
}

/// Short connections at a constant rate.
pub(super) fn latency(amount: Amount, rate: u64, origin: &str) -> Job {
    let rate = rate.to_string();
    let span = words_of(amount.run_for);
    Job {
        name: "latency".to_owned(),
        title: format!("short connections, {rate} a second whatever happens ({origin})"),
        driver: Driver::load(&["short", "--rate", &rate, "--for", &span, "--connections", "1024"]),
        main: P99.to_owned(),
        ..short(amount)[1].clone()
    }
}

/// Requests on 100 to 9,000 connections, and answers of 1 B to 1 MiB on 64.
pub(super) fn scale(amount: Amount) -> Vec<Job> {
    let base = &keepalive(amount)[1];
    let span = words_of(amount.run_for);
    let job = |name: &str, title: String, words: [&str; 2]| Job {
        name: format!("scale-{name}"),
        title,
        driver: Driver::load(&[&["keepalive", "--for", &span][..], &words].concat()),
        ..base.clone()
    };
    let connections = ["100", "1000", "3000", "9000"].map(|count| {
        let title = format!("keep-alive requests on {count} connections");
        job(&format!("connections-{count}"), title, ["--connections", count])
    });
    let answers = ["1", "1KiB", "16KiB", "256KiB", "1MiB"].map(|bytes| {
        let title = format!("keep-alive requests, answers of {bytes}, 64 connections");
        job(&format!("answer-{bytes}"), title, ["--bytes", bytes])
    });
    connections.into_iter().chain(answers).collect()
}

/// The words of a load by our generator for counting system calls, where they belong to a unit: a
/// transfer takes as many as its reads happen to be.
pub(super) fn traced(job: &Job, amount: Amount) -> Option<Vec<String>> {
    let case = match (&job.driver, job.unit) {
        (Driver::Load(_), Unit::Connection) => "short",
        (Driver::Load(_), Unit::Request) => "keepalive",
        (Driver::Load(_), Unit::Gib(_)) | (Driver::Wrk { .. }, _) => return None,
    };
    let count = amount.traced.to_string();
    let words = [case, "--count", &count, "--for", "1m", "--timeout", "30s"];
    Some(words.map(str::to_owned).to_vec())
}

fn words_of(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}
