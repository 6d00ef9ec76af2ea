//! One run: a fresh backend, a fresh proxy, a warm-up, the measured load, and the counts.
//!
//! Invariant: a run whose counts do not add up, or that saw an error, carries its faults, and
//! nothing summarises it.

mod datagrams;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ppload::Latency;
use rustix::process::Signal;
use tools::programs;

use super::backend::Backend;
use super::contender::{Contender, Running};
use super::driver::{Driver, Outcome, Programs, read_load, start_load, wait_until_held};
use super::farm::Farm;
use super::flame;
use super::flood::Downloads;
use super::quiet::Guest;
use super::reconcile::{Driven, Seen, faults};
use super::setup::{Setup, probe};
use super::strace;
use crate::host::{now, pause, real};
use crate::ports;
use crate::process::{Cores, LOAD_CORE, PROXY_CORE, Process, output, wait_for};
use crate::usage::{Machine, Used};

/// A machine this busy before a run is not quiet, and the run says so.
const BUSY_SHARE: f64 = 0.1;
/// A core this busy was full.
const FULL_SHARE: f64 = 0.95;
const FULL: &str =
    "the core of generator and backend was full: the rate is its limit, compare CPU time";
/// How long it is watched before a run.
const WATCH: Duration = Duration::from_millis(200);
/// Until as many downloads as there are to be are under way.
const RAMP: Duration = Duration::from_millis(300);
/// Until all endpoints are checked that are.
const BEGIN: Duration = Duration::from_secs(2);
/// Until a traced load is over.
const TRACED_WAIT: Duration = Duration::from_secs(60);
/// Until strace has written its table.
const STRACE_WAIT: Duration = Duration::from_secs(15);

/// Figures that others look for by name.
pub(super) const RATE: &str = "connections/s";
pub(super) const P99: &str = "latency p99 us";
pub(super) const PING: &str = "ping p50 ms";
pub(super) const CORE_SHARE: &str = "proxy CPU % of a core";
pub(super) const RESIDENT: &str = "resident bytes/connection";

/// What a figure is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Connection,
    Request,
    /// Of payload; each exchange moves so many bytes.
    Gib(u64),
}

/// A case for one driver.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// For file names.
    pub(super) name: String,
    /// For people.
    pub(super) title: String,
    pub(super) setup: Setup,
    pub(super) cores: Cores,
    /// Connections that stand idle meanwhile, beside those of the driver.
    pub(super) crowd: u32,
    pub(super) backend: Backend,
    pub(super) driver: Driver,
    pub(super) warm_up: Driver,
    pub(super) unit: Unit,
    /// The figure that the case is about.
    pub(super) main: String,
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) value: f64,
}

/// What a run of one contender came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) contender: &'static str,
    pub(super) version: String,
    pub(super) round: usize,
    pub(super) metrics: Vec<Metric>,
    /// Why it does not count.
    pub(super) faults: Vec<String>,
    /// What a reader should know of it.
    pub(super) notes: Vec<String>,
}

impl Sample {
    /// One in which nothing has been found yet.
    fn of(contender: &Contender, round: usize) -> Self {
        Self {
            contender: contender.name,
            version: contender.version.clone(),
            round,
            metrics: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One of a run that came to nothing.
    pub(super) fn failed(contender: &Contender, round: usize, error: &anyhow::Error) -> Self {
        Self { faults: vec![format!("{error:#}")], ..Self::of(contender, round) }
    }

    /// What was spent on a load that is over.
    fn spent_since(&mut self, before: &Look, proxy: &mut Running) -> Result<Spent> {
        let after = Machine::look()?;
        proxy.find_family();
        self.wait_until_quiet(proxy)?;
        let used = proxy.family.used()?;
        let doubt = used.doubt_since(&before.used);
        self.faults
            .extend(doubt.map(|doubt| format!("the proxy's CPU time cannot be told: {doubt}")));
        Ok(Spent { cpu: used.since(&before.used), before: before.machine.clone(), after })
    }

    /// Waits until the proxy does nothing more, and notes when it does not come to that.
    fn wait_until_quiet(&mut self, proxy: &Running) -> Result<()> {
        const RESTLESS: &str = "the proxy did not come to rest before or after the load";
        if !proxy.family.wait_until_quiet()? && !self.notes.iter().any(|note| note == RESTLESS) {
            self.notes.push(RESTLESS.to_owned());
        }
        Ok(())
    }
}

/// What had been used when a load began.
struct Look {
    used: Used,
    machine: Machine,
}

impl Look {
    fn at(proxy: &Running) -> Result<Self> {
        Ok(Self { used: proxy.family.used()?, machine: Machine::look()? })
    }
}

/// What a load took.
struct Spent {
    /// Of the proxy.
    cpu: Duration,
    before: Machine,
    after: Machine,
}

impl Spent {
    /// The share of its time that a core was busy.
    fn core_share(&self, core: usize) -> f64 {
        self.after.core_share_since(&self.before, core)
    }
}

/// What all runs need.
#[derive(Clone, Debug)]
pub(super) struct Rig {
    pub(super) programs: Programs,
    /// The backend's; a contender may be another one.
    pub(super) nginx: PathBuf,
}

impl Rig {
    /// Measures a load.
    pub(super) fn measure(&self, contender: &Contender, job: &Job, round: usize) -> Result<Sample> {
        self.with_proxy(contender, job, round, |proxy, sample| {
            let crowd = (job.crowd > 0).then(|| self.crowd(job, job.crowd)).transpose()?;
            sample.wait_until_quiet(proxy)?;
            sample.notes.extend(watch()?);
            let look = || Look::at(proxy);
            let (before, outcome) =
                job.driver.run(job.setup.inbound, job.cores, &self.programs, look)?;
            let spent = sample.spent_since(&before, proxy)?;
            sample.notes.extend(outcome.notes.iter().cloned());
            let has_own_core = job.cores == Cores::APART;
            if has_own_core && spent.core_share(LOAD_CORE) >= FULL_SHARE {
                sample.notes.push(FULL.to_owned());
            }
            sample.metrics = describe(job, &outcome, &spent);
            let stood = crowd.map(Crowd::leave).transpose()?.unwrap_or_default();
            Ok(outcome.driven + stood)
        })
    }

    /// Measures downloads alone, beside one connection that asks for little, and beside new ones.
    pub(super) fn mixed(
        &self,
        contender: &Contender,
        job: &Job,
        downloads: u32,
        run_for: Duration,
        round: usize,
    ) -> Result<Sample> {
        let (to, inbound) = (ports::addr(ports::PROXY), job.setup.inbound);
        self.with_proxy(contender, job, round, |proxy, sample| {
            sample.notes.extend(watch()?);
            let mut driven = Driven::default();
            for guest in [None, Some(Guest::Quiet), Some(Guest::New)] {
                sample.wait_until_quiet(proxy)?;
                let before = Look::at(proxy)?;
                let downloads = Downloads::begin(downloads, to, inbound, run_for);
                let visit = guest.map(|guest| {
                    pause(RAMP);
                    guest.visit(to, inbound, run_for.saturating_sub(RAMP))
                });
                let visit = visit.transpose()?;
                let (moved, seconds) = downloads.finish()?;
                let spent = sample.spent_since(&before, proxy)?;
                let company = guest.map_or("alone", Guest::company);
                let costs = costs(job.unit, moved.bytes.down, seconds, &spent);
                sample.metrics.extend(
                    costs.map(|cost| Metric::new(format!("{}, {company}", cost.name), cost.value)),
                );
                if let (Some(guest), Some(visit)) = (guest, &visit) {
                    let Latency { p50, p99, .. } = visit.latency();
                    let name = guest.name();
                    sample.metrics.push(Metric::new(format!("{name} p50 ms"), p50 / 1e3));
                    sample.metrics.push(Metric::new(format!("{name} p99 ms"), p99 / 1e3));
                }
                driven = driven + moved + visit.map(|visit| visit.driven).unwrap_or_default();
            }
            Ok(driven)
        })
    }

    /// Measures what a proxy takes that checks a farm, and pings through it meanwhile.
    pub(super) fn checks(
        &self,
        contender: &Contender,
        job: &Job,
        run_for: Duration,
        round: usize,
    ) -> Result<Sample> {
        let farm = Farm::start(contender.checks())?;
        self.with_proxy(contender, job, round, |proxy, sample| {
            // Each is checked once within the first second.
            pause(BEGIN);
            let (since, cpu, answered) = (now(), proxy.family.cpu()?, farm.answered());
            let to = ports::addr(ports::PROXY);
            let visit = Guest::Quiet.visit(to, job.setup.inbound, run_for)?;
            let span = (now() - since).as_secs_f64().max(f64::EPSILON);
            let cpu = proxy.family.cpu()?.saturating_sub(cpu).as_secs_f64();
            let Latency { p50, p99, .. } = visit.latency();
            sample.metrics = vec![
                Metric::new(CORE_SHARE, cpu / span * 100.0),
                Metric::new("checks/s", real(farm.answered() - answered) / span),
                Metric::new(PING, p50 / 1e3),
                Metric::new("ping p99 ms", p99 / 1e3),
            ];
            Ok(visit.driven)
        })
    }

    /// Counts the system calls of the same load, in a run of its own: tracing slows all of it.
    pub(super) fn trace(&self, contender: &Contender, job: &Job, words: &[&str]) -> Result<Sample> {
        self.with_proxy(contender, job, 1, |proxy, sample| {
            let (outcome, calls) = Self::under_strace(proxy, sample, job.cores, || {
                start_load(words, job.setup.inbound, job.cores, &self.programs.ppload)?
                    .finish(TRACED_WAIT)
                    .and_then(|lines| read_load(&lines))
            })?;
            let exchanges = outcome.driven.exchanges;
            sample.metrics = strace::metrics(&calls, exchanges, job.unit.singular());
            Ok(outcome.driven)
        })
    }

    /// Lets `drive` put a load on a proxy that is traced, and returns the calls that this made.
    fn under_strace<T>(
        proxy: &Running,
        sample: &mut Sample,
        cores: Cores,
        drive: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<strace::Calls>)> {
        let strace =
            programs::find("strace").context("strace is not here: apt-get install strace")?;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("strace");
        let words = strace::words(&file, proxy.family.pids());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let tracer = Process::pinned("strace", cores.load, &strace, &words)?;
        let is_attached = |line: &&String| line.contains("attached");
        let attached = wait_for(STRACE_WAIT, || {
            let count = tracer.lines().iter().filter(is_attached).count();
            Ok((count >= proxy.family.pids().len()).then_some(()))
        })?;
        attached.context("strace does not say that it traces every process")?;
        let driven = drive()?;
        sample.wait_until_quiet(proxy)?;
        tracer.signal(Signal::INT)?;
        let table = wait_for(STRACE_WAIT, || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            Ok(text.contains("total").then_some(text))
        })?;
        let table = table.context("strace wrote no table")?;
        Ok((driven, strace::read(&table).context("strace's table is not as expected")?))
    }

    /// Samples the stacks of a load: a line each, with its number of samples.
    pub(super) fn stacks(&self, contender: &Contender, job: &Job) -> Result<Vec<String>> {
        let perf =
            programs::find("perf").context("perf is not here: apt-get install linux-perf")?;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("perf.data");
        let file = file.to_str().context("the temporary directory is UTF-8")?;
        let sample = self.with_proxy(contender, job, 1, |proxy, _| {
            let pids: Vec<String> = proxy.family.pids().iter().map(u32::to_string).collect();
            let pids = pids.join(",");
            let clock = ["record", "-q", "-e", "cpu-clock", "-F", "4999", "-g", "-o", file, "-p"];
            let words = [&clock[..], &[&pids]].concat();
            let sampler = Process::pinned("perf", job.cores.load, &perf, &words)?;
            let begin = || Ok(());
            let ((), outcome) =
                job.driver.run(job.setup.inbound, job.cores, &self.programs, begin)?;
            sampler.stop()?;
            Ok(outcome.driven)
        })?;
        if let Some(fault) = sample.faults.first() {
            bail!("the stacks of {} do not count: {fault}", contender.name);
        }
        flame::fold(&output(&perf, &["script", "-i", file])?)
    }

    /// Measures what idle connections hold.
    pub(super) fn idle(
        &self,
        contender: &Contender,
        job: &Job,
        connections: u32,
        round: usize,
    ) -> Result<Sample> {
        self.with_proxy(contender, job, round, |proxy, sample| {
            let (resident, pipes) = (proxy.family.resident()?, proxy.family.pipe_ends()?);
            let crowd = self.crowd(job, connections)?;
            sample.wait_until_quiet(proxy)?;
            let more = proxy.family.resident()?.saturating_sub(resident);
            let pipes = proxy.family.pipe_ends()?.saturating_sub(pipes);
            sample.metrics = vec![
                Metric::new(RESIDENT, real(more) / real(crowd.held.max(1))),
                Metric::new("pipe ends held", real(u64::try_from(pipes)?)),
                Metric::new("connections held", real(crowd.held)),
            ];
            crowd.leave()
        })
    }

    /// Opens connections that stand idle, each behind one exchange.
    fn crowd(&self, job: &Job, connections: u32) -> Result<Crowd> {
        let count = connections.to_string();
        let words = ["idle", "--connections", &count, "--hold", "10m", "--for", "30s"];
        let mut load = start_load(&words, job.setup.inbound, job.cores, &self.programs.ppload)?;
        let held = wait_until_held(&mut load)?;
        Ok(Crowd { load, held })
    }

    /// Starts both servers, warms them up and lets `work` drive. The sample that it fills also gets
    /// what does not add up.
    fn with_proxy(
        &self,
        contender: &Contender,
        job: &Job,
        round: usize,
        work: impl FnOnce(&mut Running, &mut Sample) -> Result<Driven>,
    ) -> Result<Sample> {
        ports::all_free()?;
        let mut sample = Sample::of(contender, round);
        let backend = job.backend.start(job.cores, &self.nginx, &self.programs.ppload)?;
        let mut proxy = contender.start(job.setup, job.cores)?;
        let driven = self.drive(&mut proxy, &mut sample, job, work);
        // Of a proxy that is gone, others only say that it does not answer.
        let (driven, proxy_seen) = driven.map_err(|error| match proxy.death() {
            Some(death) => error.context(death),
            None => error,
        })?;
        proxy.stop()?;
        let backend_seen = backend.stop()?;
        sample.faults.extend(faults(&driven, &proxy_seen, &backend_seen));
        Ok(sample)
    }

    /// What passes through the proxy of a run, and what it says of that.
    fn drive(
        &self,
        proxy: &mut Running,
        sample: &mut Sample,
        job: &Job,
        work: impl FnOnce(&mut Running, &mut Sample) -> Result<Driven>,
    ) -> Result<(Driven, Seen)> {
        let (_, warm) = job.warm_up.run(job.setup.inbound, job.cores, &self.programs, || Ok(()))?;
        let mut driven = warm.driven;
        // Our generator looks at answers itself, and in front of the sink there is no other.
        if matches!(job.backend, Backend::Nginx | Backend::NginxFarm) {
            driven = driven + probe(ports::PROXY, job.setup.inbound)?;
        }
        proxy.find_family();
        sample.wait_until_quiet(proxy)?;
        driven = driven + work(proxy, sample)?;
        sample.wait_until_quiet(proxy)?;
        Ok((driven, proxy.settled_counts()?))
    }
}

/// Idle connections that stand.
struct Crowd {
    load: Process,
    held: u64,
}

impl Crowd {
    /// Closes them and returns what they had done.
    fn leave(self) -> Result<Driven> {
        Ok(read_load(&self.load.stop()?)?.driven)
    }
}

impl Metric {
    pub(super) fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value }
    }
}

impl Unit {
    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Gib(_) => "GiB",
        }
    }
}

/// What each unit of a load took, and how many a second there were.
fn costs(unit: Unit, exchanges: u64, seconds: f64, spent: &Spent) -> [Metric; 3] {
    const GIB: f64 = 1_073_741_824.0;
    let exchanges = real(exchanges.max(1));
    let [proxy, machine] =
        [spent.cpu, spent.after.busy_since(&spent.before)].map(|time| time.as_secs_f64());
    let (amount, scale, name, rate) = match unit {
        Unit::Connection => (exchanges, 1e6, "us", RATE),
        Unit::Request => (exchanges, 1e6, "us", "requests/s"),
        Unit::Gib(bytes) => (exchanges * real(bytes) / GIB, 1.0, "s", "GiB/s"),
    };
    [
        Metric::new(format!("proxy CPU {name}/{}", unit.singular()), proxy * scale / amount),
        Metric::new(format!("machine CPU {name}/{}", unit.singular()), machine * scale / amount),
        Metric::new(rate, amount / seconds.max(f64::EPSILON)),
    ]
}

/// The figures of a measured load.
fn describe(job: &Job, outcome: &Outcome, spent: &Spent) -> Vec<Metric> {
    let mut metrics = costs(job.unit, outcome.exchanges, outcome.seconds, spent).to_vec();
    let stolen = spent.after.stolen_share_since(&spent.before);
    metrics.extend([
        Metric::new("proxy core busy %", spent.core_share(PROXY_CORE) * 100.0),
        Metric::new("load core busy %", spent.core_share(LOAD_CORE) * 100.0),
        Metric::new("machine stolen %", stolen * 100.0),
    ]);
    // That of a transfer says nothing that its rate does not.
    let has_latency = job.unit == Unit::Connection || job.unit == Unit::Request;
    if let Some(latency) = outcome.latency.filter(|_| has_latency) {
        metrics.push(Metric::new("latency p50 us", latency.p50));
        metrics.push(Metric::new(P99, latency.p99));
        metrics.push(Metric::new("latency p99.9 us", latency.p999));
    }
    if let Some(kept) = outcome.schedule {
        metrics.push(Metric::new("starts late", real(kept.late)));
        metrics.push(Metric::new("starts held back", real(kept.held_back)));
        metrics.push(Metric::new("worst start us late", kept.worst_us));
    }
    metrics
}

/// Looks whether anybody else works on this machine.
fn watch() -> Result<Option<String>> {
    let before = Machine::look()?;
    pause(WATCH);
    let after = Machine::look()?;
    let cores = [PROXY_CORE, LOAD_CORE];
    let share =
        cores.map(|core| after.core_share_since(&before, core)).into_iter().fold(0.0, f64::max);
    let note = "not a quiet machine: a core was more than 10 % busy before the run";
    Ok((share > BUSY_SHARE).then(|| note.to_owned()))
}

/// The program of the backend.
pub(super) fn backend_nginx(given: Option<&Path>) -> Result<PathBuf> {
    given
        .map(Path::to_path_buf)
        .or_else(|| programs::find("nginx"))
        .context("nginx is not here, and it is the backend: apt-get install nginx")
}
