//! The cases: what each of them sends, through which setup, and what is counted.

use std::time::Duration;

use clap::ValueEnum;

use super::backend::Backend;
use super::contender::{Contender, Kind, Tuning};
use super::driver::{Driver, Keeping};
use super::farm::Checks;
use super::rig::{CORE_SHARE, Job, P99, PING, RESIDENT, Unit};
use super::rules::Rules;
use super::setup::{Inbound, Setup, Transfer};
use crate::process::Cores;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// PROXY v2 and a request in, an answer out, close: CPU and system calls a connection
    Short,
    /// Requests on connections that stay; plain in, v2 out
    Keepalive,
    /// 4 transfers of 64 MiB at a time, down and up; HAProxy with splice forced; peers also tuned
    Bulk,
    /// 5,000 proxied connections that do nothing: resident memory and pipes
    Idle,
    /// Short connections at half of HAProxy's peak rate, in open loop: percentiles
    Latency,
    /// 4, 8 and 32 downloads flat out, with one quiet connection and with new ones beside them: how long those
    /// wait, and what bulk loses by them; peers as in bulk, nothing pinned
    Mixed,
    /// What it costs us as connections, answers and the pieces of a header grow; no peer takes part
    Scale,
    /// Downloads and uploads through pipes of several sizes, and copied; no peer takes part
    Pipes,
    /// Short connections with one worker and with two, on all cores; no peer takes part
    Workers,
    /// Short connections to a hundred endpoints, with a list of 100,000 networks, 50 routes and a limit of each client,
    /// and with none of these; HAProxy with the same rules
    Rules,
    /// 1,000 endpoints checked once a second: what that costs, and what a quiet connection waits beside it; no peer
    /// takes part
    Checks,
    /// 200 flows of small datagrams, all answered: CPU and system calls a datagram, ours behind each header; nginx and
    /// Envoy relay them plainly
    UdpGame,
    /// Datagrams of 1,200 bytes, from senders with GSO and without, to sinks with GRO and without; peers as above
    UdpBulk,
    /// Questions, each of a new flow: CPU and system calls a question; peers as above
    UdpDns,
    /// Where the time goes: stacks of short connections and requests, drawn as flame graphs
    Flame,
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

/// Short connections by wrk to nginx, whose bytes are not those of our pattern, and by our generator
/// to our sink.
pub(super) fn short(amount: Amount) -> [Job; 2] {
    let what = "short connections, 64 at a time, PROXY v2 in, v2 out";
    let by_wrk = Job {
        name: "short-wrk".to_owned(),
        title: format!("{what}: wrk -> proxy -> nginx"),
        setup: HEADER,
        cores: Cores::APART,
        crowd: 0,
        backend: Backend::Nginx,
        driver: Driver::Wrk { keeping: Keeping::Close, run_for: amount.run_for },
        warm_up: Driver::load(&["short", "--count", "300", "--check", "length"]),
        unit: Unit::Connection,
        main: "proxy CPU us/connection".to_owned(),
    };
    let by_load = Job {
        name: "short-load".to_owned(),
        title: format!("{what}: load -> proxy -> sink"),
        backend: Backend::Sink,
        driver: Driver::load(&["short", "--for", &words_of(amount.run_for)]),
        warm_up: Driver::load(&["short", "--count", "300"]),
        ..by_wrk.clone()
    };
    [by_wrk, by_load]
}

/// Requests on connections that stay; also to a HAProxy that splices, for who moves bulk with the same one.
pub(super) fn keepalive(amount: Amount) -> [Job; 3] {
    let what = "keep-alive requests, 64 connections, plain in, v2 out";
    let by_wrk = Job {
        name: "keepalive-wrk".to_owned(),
        title: format!("{what}: wrk -> proxy -> nginx"),
        setup: PLAIN,
        cores: Cores::APART,
        crowd: 0,
        backend: Backend::Nginx,
        driver: Driver::Wrk { keeping: Keeping::Keep, run_for: amount.run_for },
        warm_up: Driver::load(&["keepalive", "--count", "1000", "--check", "length"]),
        unit: Unit::Request,
        main: "proxy CPU us/request".to_owned(),
    };
    let by_load = Job {
        name: "keepalive-load".to_owned(),
        title: format!("{what}: load -> proxy -> sink"),
        backend: Backend::Sink,
        driver: Driver::load(&["keepalive", "--for", &words_of(amount.run_for)]),
        warm_up: Driver::load(&["keepalive", "--count", "1000"]),
        ..by_wrk.clone()
    };
    let spliced = Job {
        name: "keepalive-spliced".to_owned(),
        title: format!("{what}, HAProxy with splice forced: load -> proxy -> sink"),
        setup: Setup { transfer: Transfer::Spliced, ..PLAIN },
        ..by_load.clone()
    };
    [by_wrk, by_load, spliced]
}

/// Bulk transfers each way. The warm-up has both ends compare every byte, the measured load the ends
/// of reads.
pub(super) fn bulk(amount: Amount) -> [Job; 2] {
    ["down", "up"].map(|way| Job {
        name: format!("bulk-{way}"),
        title: format!("{way}loads of {} MiB, 4 at a time", amount.bulk_bytes >> 20),
        setup: SPLICED,
        cores: Cores::APART,
        crowd: 0,
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

/// Who moves bulk: everybody as shipped, and beside them the peers with buffers nearer to ours, whose
/// pipes take 1 MiB where HAProxy's take 64 KiB and nginx's buffers 16 KiB.
pub(super) fn movers(contenders: &[Contender]) -> Vec<Contender> {
    let mut movers = contenders.to_vec();
    for contender in contenders {
        let (name, lines) = match contender.kind {
            Kind::Haproxy => ("haproxy-1m", "tune.pipesize 1048576"),
            Kind::Nginx => ("nginx-128k", "proxy_buffer_size 128k;"),
            Kind::Ppserver | Kind::Envoy => continue,
        };
        movers.push(contender.tuned(name, Tuning { lines, ..Tuning::PLAIN }));
    }
    movers
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

/// So many downloads flat out, and room for others beside them: the rig drives both. Nothing is pinned,
/// since there are more who work than cores.
pub(super) fn mixed(amount: Amount) -> [(u32, Job); 3] {
    let [down, _] = bulk(amount);
    [4, 8, 32].map(|downloads| {
        let job = Job {
            name: format!("mixed-{downloads}"),
            title: format!(
                "{downloads} downloads flat out: alone, with pings, with new connections"
            ),
            cores: Cores::SHARED,
            backend: Backend::Threads,
            unit: Unit::Gib(1),
            main: PING.to_owned(),
            ..down.clone()
        };
        (downloads, job)
    })
}

/// One case of more and more of something.
pub(super) struct Growth {
    pub(super) name: &'static str,
    /// With more and more of it; the name of each is ours, and how much.
    pub(super) steps: Vec<Job>,
}

/// What grows: connections that idle beside 64 that work, connections that all work, answers, and
/// the pieces a header comes in.
pub(super) fn scale(amount: Amount) -> [Growth; 4] {
    let span = words_of(amount.run_for);
    let ([_, base_short], [_, base, _]) = (short(amount), keepalive(amount));
    let job = |base: &Job, name: String, title: String, words: [&str; 3]| Job {
        name: format!("scale-{name}"),
        title,
        // The ends are all of a small answer; of a large one, what the generator has time for.
        driver: Driver::load(
            &[&words[..], &["--for", &span, "--timeout", "30s", "--check", "ends"]].concat(),
        ),
        ..base.clone()
    };
    let crowds = [0, 1000, 8000].map(|crowd| {
        let title = format!("short connections, 64 at a time beside {crowd} that idle");
        let words = ["short", "--connections", "64"];
        Job { crowd, ..job(&base_short, format!("crowd-{crowd}"), title, words) }
    });
    let connections = ["100", "1000", "3000", "9000"].map(|count| {
        let title = format!("keep-alive requests on {count} connections");
        let words = ["keepalive", "--connections", count];
        job(&base, format!("connections-{count}"), title, words)
    });
    let answers = ["1", "1KiB", "16KiB", "256KiB", "1MiB", "16MiB", "64MiB"].map(|bytes| {
        let title = format!("keep-alive requests, answers of {bytes}, 64 connections");
        let words = ["keepalive", "--bytes", bytes];
        job(&base, format!("answer-{bytes}"), title, words)
    });
    let pieces = ["1", "2", "4", "8", "28"].map(|pieces| {
        let title = format!("short connections whose header of 28 bytes comes in {pieces} pieces");
        let words = ["short", "--pieces", pieces];
        job(&base_short, format!("pieces-{pieces}"), title, words)
    });
    [
        Growth { name: "scale-crowd", steps: crowds.into() },
        Growth { name: "scale-connections", steps: connections.into() },
        Growth { name: "scale-answer", steps: answers.into() },
        Growth { name: "scale-pieces", steps: pieces.into() },
    ]
}

/// The ways of moving bulk that `pipes` compares; the first is the default.
pub(super) fn pipes(ours: &Contender) -> Vec<Contender> {
    let variant = |name, lines| ours.tuned(name, Tuning { lines, ..Tuning::PLAIN });
    vec![
        ours.clone(),
        variant("pipe64k", "pipe_size = \"64KiB\""),
        variant("pipe256k", "pipe_size = \"256KiB\""),
        variant("copy", "mode = \"off\""),
    ]
}

/// Short connections where every program may run on every core.
pub(super) fn workers(amount: Amount) -> Job {
    let [_, base] = short(amount);
    Job {
        name: "workers".to_owned(),
        title: "short connections, 64 at a time, everybody on both cores".to_owned(),
        cores: Cores::SHARED,
        ..base
    }
}

/// One worker and two.
pub(super) fn crews(ours: &Contender) -> [Contender; 2] {
    [ours.clone(), ours.tuned("2 workers", Tuning { workers: 2, ..Tuning::PLAIN })]
}

/// Short connections, as `short` has them, to a farm.
pub(super) fn rules(amount: Amount) -> Job {
    let [base, _] = short(amount);
    Job {
        name: "rules".to_owned(),
        title: "short connections, 64 at a time: by 50 routes and a client limit, and without"
            .to_owned(),
        backend: Backend::NginxFarm,
        ..base
    }
}

/// Ourselves and HAProxy, without rules and with.
pub(super) fn ruled(contenders: &[Contender]) -> Vec<Contender> {
    let mut both = Vec::new();
    for contender in contenders {
        let name = match contender.kind {
            Kind::Ppserver if contender.name == "ppserver" => "ppserver-rules",
            Kind::Haproxy => "haproxy-rules",
            Kind::Ppserver | Kind::Nginx | Kind::Envoy => continue,
        };
        let rules = Rules::Many;
        both.push(contender.clone());
        both.push(contender.tuned(name, Tuning { rules, ..Tuning::PLAIN }));
    }
    both
}

/// Pings, with checks beside them; the rig drives both.
pub(super) fn checks(amount: Amount) -> Job {
    let [down, _] = bulk(amount);
    Job {
        name: "checks".to_owned(),
        title: "1,000 endpoints checked once a second, pings beside them".to_owned(),
        backend: Backend::Threads,
        unit: Unit::Request,
        main: CORE_SHARE.to_owned(),
        ..down
    }
}

/// Ourselves without checks, and with those of either kind.
pub(super) fn checkers(ours: &Contender) -> [Contender; 3] {
    let tuned = |name, checks| ours.tuned(name, Tuning { checks, ..Tuning::PLAIN });
    [ours.clone(), tuned("tcp", Checks::Connects(1000)), tuned("exchange", Checks::Exchanges(1000))]
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

pub(super) fn words_of(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}
