//! `cargo xtask soak`: chaos at a constant rate for a long time, and an account of what it left.
//!
//! Sessions of every kind in `plan.rs`, chosen by the seed, go through one server while its file is
//! reloaded; a steady honest exchange beside them is timed. Not a benchmark: it looks for what is
//! lost, what leaks and what drifts. Behind the chaos another server lives through reloads, upgrades and kills. Invariant: every byte sent is checked where it arrives, and
//! every session's end is the one of its kind, or the run fails.

mod client;
mod faults;
mod flapping;
mod life;
mod order;
mod plan;
mod random;
mod report;
mod server;
mod stream;
pub(crate) mod torment;
mod trend;
mod upstream;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use ppload::{Latency, Pattern};
use socket2::{Domain, Socket, Type};

use self::client::Ports;
use self::faults::Faults;
use self::flapping::Flapping;
use self::plan::{Kind, Plan};
use self::report::{Descriptors, Memory, Report};
use self::server::{File, Server, Upstreams};
use self::trend::Trend;
use crate::{builds, host};

const SOAK_HELP: &str = "\
Examples:
  cargo xtask soak --minutes 60
  cargo xtask soak --minutes 5 --seed 7 --rate 200

A line a minute goes to stderr; the report follows, then the same as one JSON object. It fails when
a byte was lost, a session did not end as its kind must, the counters do not balance, a descriptor
was left behind or memory grew. Two minutes at 2,000 connections a second follow: 100 reloads and 20
upgrades, which may cost nobody anything, and 20 kills under --supervise. Ctrl-C ends it early, with
the report.";

/// Chaos at a constant rate: what is lost, what leaks, what drifts
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SOAK_HELP)]
pub(crate) struct SoakArgs {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// What decides every session [default: the time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Sessions to begin each second
    #[arg(long, value_name = "R", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
}

/// Sessions at a time; each has a thread.
const CLIENTS: usize = 192;
/// Between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Between two looks at memory and descriptors.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Between two reloads; every third file is a bad one.
const RELOAD_EVERY: Duration = Duration::from_secs(10);
/// Of so many reloads one is of a bad file, which the server refuses with an error.
const BAD_FILE_EVERY: u32 = 3;
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Memory still rises to its level: buffers are made, tables grow. A fifth of the run at most.
const WARM_UP_MAX: Duration = Duration::from_secs(300);
/// A session that begins later than this does not count as begun in time.
const LATE: Duration = Duration::from_secs(1);

/// What the threads of a soak share.
struct Shared {
    ports: Ports,
    pattern: Arc<Pattern>,
    faults: Arc<Faults>,
    seed: u64,
    connections: AtomicU64,
    late: AtomicU64,
    /// Sessions that a port reset by closing.
    excused: AtomicU64,
    kinds: Mutex<BTreeMap<String, u64>>,
    probes: Mutex<Histogram<u64>>,
    flapping: Flapping,
    /// Keeps the port at which nobody listens.
    _dead: Socket,
}

/// A session and when it is to begin.
type Start = (u64, Instant);

/// Runs a soak and prints its report.
///
/// # Errors
/// When it cannot run, or when its report has a complaint.
pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    host::raise_descriptor_limit().context("raising the limit of descriptors")?;
    let program = builds::shipped("ppserver")?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(since_epoch.as_secs());
    eprintln!("seed {seed}");
    let mut report = soak(args, seed, &program)?;
    if !report.is_cut_short {
        report.life = Some(life::run(&program, &builds::shipped("ppload")?)?);
    }
    print!("{report}");
    println!("{}", serde_json::to_string(&report)?);
    let complaints = report.complaints();
    if !complaints.is_empty() {
        bail!("{}", complaints.join("; "));
    }
    Ok(())
}

fn soak(args: &SoakArgs, seed: u64, program: &std::path::Path) -> Result<Report> {
    let stop = host::interrupt()?;
    let (mut server, shared) = start(program, seed)?;
    let first = server.sample()?;
    let (starts, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (shared, waiting) = (Arc::clone(&shared), Arc::clone(&waiting));
        clients.push(thread::spawn(move || shared.serve(&waiting)));
    }
    let (end_probes, probes_end) = channel::<()>();
    let prober = Arc::clone(&shared);
    let prober = thread::spawn(move || prober.probe(&probes_end));

    let began = host::now();
    let length = Duration::from_secs(u64::from(args.minutes) * 60);
    let warm_up = WARM_UP_MAX.min(length / 5);
    let (mut memory, mut descriptors, mut total) =
        (Trend::default(), Trend::default(), histogram()?);
    let (mut begun, mut samples, mut reloads, mut minutes) = (0, 0, 0, 0);
    let is_due = |every: Duration, done: u32, at: Duration| every * (done + 1) <= at;
    loop {
        let at = host::now() - began;
        if at >= length || stop.load(Ordering::Relaxed) {
            break;
        }
        while u64::from(args.rate) * u64::try_from(at.as_millis())? >= begun * 1000 {
            let meant = began + Duration::from_millis(begun * 1000 / u64::from(args.rate));
            starts.send((begun, meant)).context("the clients are there")?;
            begun += 1;
        }
        if is_due(SAMPLE_EVERY, samples, at) {
            samples += 1;
            if at >= warm_up {
                let sample = server.sample()?;
                memory.add(at.as_secs_f64(), host::real(sample.allocated));
                descriptors.add(at.as_secs_f64(), host::real(sample.descriptors));
            }
        }
        if is_due(RELOAD_EVERY, reloads, at) {
            reloads += 1;
            let is_bad = reloads.is_multiple_of(BAD_FILE_EVERY);
            server.reload(if is_bad { File::Bad } else { File::Good(reloads.into()) })?;
        }
        if is_due(REPORT_EVERY, minutes, at) {
            minutes += 1;
            let minute = std::mem::replace(&mut *lock(&shared.probes), histogram()?);
            total.add(&minute)?;
            let (counters, sample) = (server.counters()?, server.sample()?);
            let (lost, other) = shared.faults.counts();
            eprintln!(
                "{minutes:>4} min: {begun} sessions, {} active, lost {lost}, faults {other}; \
                 {} KiB, {} descriptors, {} pipe ends; probe p99 {:.0} us; CPU {:.1} %",
                counters["active"],
                sample.allocated / 1024,
                sample.descriptors,
                sample.pipe_ends,
                Latency::read(&minute).p99,
                server.cpu_seconds()? / at.as_secs_f64() * 100.0,
            );
        }
        host::pause(Duration::from_millis(5));
    }
    let seconds = (host::now() - began).as_secs_f64();
    let cpu_share = server.cpu_seconds()? / seconds;
    drop(starts);
    drop(end_probes);
    for thread in clients.into_iter().chain([prober]) {
        thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
    }
    total.add(&*lock(&shared.probes))?;
    host::poll_for(stream::PATIENCE, || Ok((server.counters()?["active"] == 0).then_some(())))?;
    let last = server.sample()?;
    let (counters, records_by_level) = server.stop()?;
    let (lost, faults) = shared.faults.counts();
    let ((memory_min, memory_max), (_, descriptors_max)) = (memory.range(), descriptors.range());
    let measured = (seconds - warm_up.as_secs_f64()).max(0.0);
    Ok(Report {
        seed,
        seconds,
        is_cut_short: stop.load(Ordering::Relaxed),
        rate: args.rate,
        sessions: lock(&shared.kinds).clone(),
        connections: shared.connections.load(Ordering::Relaxed),
        late: shared.late.load(Ordering::Relaxed),
        closings: shared.flapping.closings(),
        excused: shared.excused.load(Ordering::Relaxed),
        reloads: reloads.into(),
        lost,
        faults,
        fault_words: shared.faults.words(),
        probe: Latency::read(&total),
        memory: Memory {
            first: first.allocated,
            min: memory_min,
            max: memory_max,
            slope_per_hour: memory.slope_per_hour(),
            growth: memory.slope_per_hour() * measured / 3600.0,
            last: last.allocated,
        },
        descriptors: Descriptors {
            first: first.descriptors,
            max: descriptors_max,
            slope_per_hour: descriptors.slope_per_hour(),
            last: last.descriptors,
            pipe_ends: last.pipe_ends,
        },
        cpu_share,
        records_by_level,
        counters,
        life: None,
    })
}

/// Starts a server, its upstreams, and what the sessions through it share.
fn start(program: &std::path::Path, seed: u64) -> Result<(Server, Arc<Shared>)> {
    let (pattern, faults) = (Arc::new(Pattern::new()), Arc::new(Faults::default()));
    let flapping = Flapping::start(&pattern, &faults)?;
    // Bound and not listening: nobody else gets the port, and connecting to it is refused.
    let dead = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    dead.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let upstreams = Upstreams {
        live: upstream::start(&pattern, &faults)?,
        dead: dead.local_addr()?.as_socket().context("a bound socket has an address")?,
        flapping: flapping.addr,
    };
    let mut server = Server::start(program, upstreams)?;
    let shared = Shared {
        ports: server.ports()?,
        pattern,
        faults,
        seed,
        connections: AtomicU64::new(0),
        late: AtomicU64::new(0),
        excused: AtomicU64::new(0),
        kinds: Mutex::default(),
        probes: Mutex::new(histogram()?),
        flapping,
        _dead: dead,
    };
    Ok((server, Arc::new(shared)))
}

impl Shared {
    /// Runs sessions until there are no more to begin.
    fn serve(&self, waiting: &Mutex<Receiver<Start>>) {
        loop {
            let next = lock(waiting).recv();
            let Ok((number, meant)) = next else { return };
            if host::now().saturating_duration_since(meant) > LATE {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
            self.session(number);
        }
    }

    /// Runs the session of this number, and notes what is wrong with it.
    fn session(&self, number: u64) {
        let plan = Plan::new(self.seed, number);
        *lock(&self.kinds).entry(format!("{:?}", plan.kind)).or_default() += 1;
        self.connections.fetch_add(1, Ordering::Relaxed);
        let closings = self.flapping.closings();
        match client::run(&plan, self.ports, &self.pattern) {
            Ok(()) => {}
            Err(error)
                if plan.kind == Kind::Flapping && self.flapping.excuses(&error, closings) =>
            {
                self.excused.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.faults.note(&format!("session {number}, {plan:?}"), &error),
        }
    }

    /// Times an honest exchange again and again until the other end of `end` is gone.
    fn probe(&self, end: &Receiver<()>) {
        let mut meant = host::now();
        while end.recv_timeout(meant.saturating_duration_since(host::now()))
            == Err(RecvTimeoutError::Timeout)
        {
            self.connections.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = client::probe(self.ports.edge, &self.pattern) {
                self.faults.note("the probe", &error);
            }
            let took = host::now().saturating_duration_since(meant);
            lock(&self.probes)
                .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            meant = (meant + PROBE_EVERY).max(host::now());
        }
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 600_000_000_000, 3)?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
