//! `cargo xtask bench`: ourselves and the peers, in turn, under the same load.
//!
//! How it keeps from fooling itself:
//! - The proxy is alone on core 0; generator and backend share core 1. Every run starts fresh
//!   processes, warms them up, and only then measures.
//! - Contenders take turns (A B A B) for some rounds; ratios are taken pair by pair.
//! - Before a run the ports are free; after it the counts of driver, proxy and backend add up
//!   (`reconcile`). A run that does not, or with an error, is shown and recorded, does not count, and
//!   ends nothing: the next contender has its turn.
//! - Beside the proxy's CPU time stands that of the whole machine, because work can hide. With one
//!   core for generator and backend it is mostly that core that is full: read CPU time for each
//!   unit, not the rate, and look at the busy shares before believing a rate.
//! - System calls are counted in runs of their own, through our generator.
//!
//! Not a test: it asserts nothing about speed. `--quick` shows that all of it works and writes
//! nothing but `target/bench`; nor does a bench with a baseline, since no row says what that is.

mod backend;
mod cases;
mod contender;
mod datagrams;
mod driver;
mod farm;
mod flame;
mod flood;
mod plot;
mod quiet;
mod reconcile;
mod record;
mod rig;
mod rules;
mod setup;
mod statistics;
mod strace;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use clap::error::ErrorKind;
use tools::{cargo, programs};

pub(crate) use self::cases::Case;
pub(crate) use self::contender::Peer;

use self::cases::{Amount, Growth};
use self::contender::Contender;
use self::datagrams::Load;
use self::driver::Programs;
use self::record::Circumstances;
use self::rig::{Job, Rig, Sample};
use self::table::Series;
use crate::process::{check_interrupted, heed_interrupts, is_interrupted, run_group};
use crate::{builds, host};

/// Where results are kept, and where those of a quick run go.
const RECORD: &str = "benches/record";
const PLOTS: &str = "docs/plots";
const QUICK: &str = "target/bench";

const HELP: &str = "\
Examples:
  cargo xtask bench short --rounds 7
  cargo xtask bench bulk --peer haproxy --haproxy /opt/haproxy-3.2/haproxy
  cargo xtask bench all --peer haproxy,nginx,envoy --envoy /opt/envoy
  cargo xtask bench short --peer baseline --baseline /tmp/ppserver-before
  cargo xtask bench all --quick                    # does it work? nothing is measured
  cargo xtask bench --draw                         # docs/plots out of benches/record

Run it on a machine that does nothing else. Results: benches/record/*.csv, docs/plots/*.svg; with
--quick or a baseline target/bench. Ctrl-C ends it early, with the rounds that are complete.";

/// Compare ourselves with HAProxy, nginx and Envoy under the same load
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_name = "CASE", default_value = "all")]
    case: Case,
    /// Whom to compare with
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "haproxy,nginx")]
    peer: Vec<Peer>,
    /// HAProxy to run in place of the installed one
    #[arg(long, value_name = "PATH")]
    haproxy: Option<PathBuf>,
    /// nginx to run in place of the installed one, which stays the backend
    #[arg(long, value_name = "PATH")]
    nginx: Option<PathBuf>,
    /// Envoy to run
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Another build of ppserver, for --peer baseline; what comes of it stays in target/bench
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
    /// How often each contender has its turn
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// A second a run, two rounds, criterion's own quick way, nothing recorded: to see that it works
    #[arg(long)]
    quick: bool,
    /// Draw what is recorded of all cases anew, and measure nothing
    #[arg(long, conflicts_with_all = ["quick", "rounds", "baseline"])]
    draw: bool,
}

impl BenchArgs {
    /// The cases of proxies that are asked for.
    fn cases(&self) -> Vec<Case> {
        let proxies = [
            Case::Short,
            Case::Keepalive,
            Case::Bulk,
            Case::Idle,
            Case::Latency,
            Case::Mixed,
            Case::Scale,
            Case::Pipes,
            Case::Workers,
            Case::Rules,
            Case::Checks,
            Case::UdpGame,
            Case::UdpBulk,
            Case::UdpDns,
            Case::Flame,
        ];
        proxies.into_iter().filter(|case| self.asks_for(*case)).collect()
    }

    fn asks_for(&self, case: Case) -> bool {
        self.case == case || self.case == Case::All
    }

    /// Whom ourselves are compared with; nobody in a case of our own.
    fn peers(&self) -> &[Peer] {
        let compares = [
            Case::Short,
            Case::Keepalive,
            Case::Bulk,
            Case::Idle,
            Case::Latency,
            Case::Mixed,
            Case::Rules,
            Case::UdpGame,
            Case::UdpBulk,
            Case::UdpDns,
        ];
        if compares.into_iter().any(|case| self.asks_for(case)) { &self.peer } else { &[] }
    }

    /// The program to run in place of the installed one.
    fn given(&self, peer: Peer) -> Option<&Path> {
        match peer {
            Peer::Haproxy => self.haproxy.as_deref(),
            Peer::Nginx => self.nginx.as_deref(),
            Peer::Envoy => self.envoy.as_deref(),
            Peer::Baseline => self.baseline.as_deref(),
        }
    }

    /// Why the arguments do not go together, if they do not.
    fn conflict(&self) -> Option<String> {
        for peer in Peer::value_variants() {
            let name = format!("{peer:?}").to_lowercase();
            if self.peer.iter().filter(|named| *named == peer).count() > 1 {
                return Some(format!("--peer names {name} more than once"));
            }
            if self.given(*peer).is_some() && !self.peers().contains(peer) {
                return Some(format!(
                    "--{name} gives the program of one who takes no part: the case has no peers, \
                     or --peer does not name {name}"
                ));
            }
        }
        None
    }
}

/// A bench at work.
struct Bench {
    rig: Rig,
    contenders: Vec<Contender>,
    circumstances: Circumstances,
    amount: Amount,
    rounds: usize,
    record: PathBuf,
    plots: PathBuf,
    /// What went wrong without ending the bench.
    complaints: Vec<String>,
}

/// Runs the cases asked for.
///
/// # Errors
/// When a program is missing, a case cannot run, no run of a contender counts, or the bench is
/// interrupted.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if let Some(conflict) = args.conflict() {
        clap::Error::raw(ErrorKind::ArgumentConflict, conflict + "\n").exit();
    }
    if args.draw {
        return plot::draw_all(Path::new(RECORD), Path::new(PLOTS));
    }
    let cases = args.cases();
    let mut complaints = Vec::new();
    if !cases.is_empty() {
        let mut bench = Bench::new(args, &cases)?;
        heed_interrupts()?;
        for case in cases {
            if let Err(error) = bench.run(case) {
                check_interrupted()?;
                bench.complain(format!("{case:?}: {error:#}"));
            }
        }
        complaints = bench.complaints;
    }
    if args.asks_for(Case::Decode) {
        heed_interrupts()?;
        decode(args.quick)?;
    }
    match complaints.is_empty() {
        true => Ok(()),
        false => bail!("{}", complaints.join("\n")),
    }
}

impl Bench {
    fn new(args: &BenchArgs, cases: &[Case]) -> Result<Self> {
        for (program, package) in [("taskset", "util-linux"), ("wrk", "wrk"), ("strace", "strace")]
        {
            if programs::find(program).is_none() {
                bail!("{program} is not here: apt-get install {package}");
            }
        }
        let wrk = programs::find("wrk").context("wrk was here a moment ago")?;
        let mut peers = Vec::new();
        for peer in args.peers() {
            peers.push(Contender::peer(*peer, args.given(*peer))?);
        }
        let nginx = rig::backend_nginx(None).or_else(|_| rig::backend_nginx(args.nginx.as_deref()));
        // Where it is not the backend, nobody misses it.
        let is_backend =
            |case: &Case| matches!(case, Case::Short | Case::Keepalive | Case::Rules | Case::Flame);
        let nginx = if cases.iter().any(is_backend) { nginx? } else { nginx.unwrap_or_default() };
        let [ours, ppload] = [builds::shipped("ppserver")?, builds::shipped("ppload")?];
        host::raise_descriptor_limit().context("raising the limit of descriptors")?;
        let has_baseline = args.peers().contains(&Peer::Baseline);
        if has_baseline {
            progress(&format!("with a baseline all results go to {QUICK}, none to {RECORD}"));
        }
        let (record, plots) = match args.quick || has_baseline {
            true => (PathBuf::from(QUICK), PathBuf::from(QUICK)),
            false => (PathBuf::from(RECORD), PathBuf::from(PLOTS)),
        };
        Ok(Self {
            circumstances: Circumstances::look(&wrk)?,
            rig: Rig { programs: Programs { wrk, ppload }, nginx },
            contenders: std::iter::once(Contender::ours(ours)?).chain(peers).collect(),
            amount: if args.quick { Amount::QUICK } else { Amount::FULL },
            rounds: if args.quick { 2 } else { usize::try_from(args.rounds)? },
            record,
            plots,
            complaints: Vec::new(),
        })
    }

    fn run(&mut self, case: Case) -> Result<()> {
        match case {
            Case::Short => self.compare_all(&cases::short(self.amount)),
            Case::Keepalive => self.compare_all(&cases::keepalive(self.amount)),
            Case::Bulk => {
                let movers = cases::movers(&self.contenders);
                cases::bulk(self.amount).iter().try_for_each(|job| self.compare_with(job, &movers))
            }
            Case::Idle => {
                let job = cases::idle(self.amount);
                let series = self.rounds_of(&job, &self.contenders, |contender, round| {
                    self.rig.idle(contender, &job, self.amount.idle, round)
                });
                self.publish(&series)
            }
            Case::Latency => {
                let (rate, origin) = self.half_of_peak()?;
                self.compare(&cases::latency(self.amount, rate, &origin))
            }
            Case::Mixed => {
                let movers = cases::movers(&self.contenders);
                cases::mixed(self.amount).iter().try_for_each(|(downloads, job)| {
                    let series = self.rounds_of(job, &movers, |contender, round| {
                        self.rig.mixed(contender, job, *downloads, self.amount.run_for, round)
                    });
                    self.publish(&series)
                })
            }
            Case::Scale => {
                cases::scale(self.amount).iter().try_for_each(|growth| self.grow(growth))
            }
            Case::Pipes => {
                let ways = cases::pipes(&self.contenders[0]);
                let jobs = cases::bulk(self.amount);
                jobs.into_iter().try_for_each(|job| {
                    let name = job.name.replace("bulk", "pipes");
                    self.compare_with(&Job { name, ..job }, &ways)
                })
            }
            Case::Workers => {
                let crews = cases::crews(&self.contenders[0]);
                self.compare_with(&cases::workers(self.amount), &crews)
            }
            Case::Rules => {
                let both = cases::ruled(&self.contenders);
                self.compare_with(&cases::rules(self.amount), &both)
            }
            Case::Checks => {
                let (job, ours) = (cases::checks(self.amount), self.contenders[0].clone());
                let series = self.rounds_of(&job, &cases::checkers(&ours), |contender, round| {
                    self.rig.checks(contender, &job, self.amount.run_for, round)
                });
                self.publish(&series)
            }
            Case::UdpGame => self.relay(&datagrams::game()),
            Case::UdpBulk => self.relay(&datagrams::bulk()),
            Case::UdpDns => self.relay(&datagrams::dns()),
            Case::Flame => self.flame(),
            // Neither is a case of proxies; `run` has taken them.
            Case::Decode | Case::All => Ok(()),
        }
    }

    /// Measures each job, and counts the system calls where they can be told by unit.
    fn compare_all(&mut self, jobs: &[Job]) -> Result<()> {
        for job in jobs {
            self.compare(job)?;
        }
        for job in jobs {
            let Some(words) = cases::traced(job, self.amount) else { continue };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut samples = Vec::new();
            for contender in &self.contenders {
                progress(&format!("{}: system calls of {}", job.name, contender.name));
                let sample = self.rig.trace(contender, job, &words);
                check_interrupted()?;
                samples.push(sample.unwrap_or_else(|error| Sample::failed(contender, 1, &error)));
            }
            let name = format!("{}-calls", job.name);
            let title = format!("{}: system calls", job.title);
            self.publish(&Series { name, title, samples })?;
        }
        Ok(())
    }

    /// Measures each load of datagrams, and counts its system calls.
    fn relay(&mut self, loads: &[Load]) -> Result<()> {
        let lanes = datagrams::lanes(&self.contenders);
        let contenders: Vec<Contender> = lanes.iter().map(|lane| lane.contender.clone()).collect();
        let lane_of = |contender: &Contender| {
            let found = lanes.iter().find(|lane| lane.contender.name == contender.name);
            found.context("every contender has its lane")
        };
        let span = cases::words_of(self.amount.run_for);
        for load in loads {
            let main = format!("proxy CPU us/{}", load.unit.singular());
            let samples = take_turns(load.name, &main, &contenders, self.rounds, |one, round| {
                self.rig.datagrams(lane_of(one)?, load, &span, round)
            });
            let (name, title) = (load.name.to_owned(), load.title.to_owned());
            self.publish(&Series { name, title, samples })?;
            let words = load.traced(self.amount);
            let main = format!("system calls/{}", load.unit.singular());
            let samples = take_turns(load.name, &main, &contenders, 1, |one, _| {
                self.rig.trace_datagrams(lane_of(one)?, load, &words)
            });
            let (name, title) =
                (format!("{}-calls", load.name), format!("{}: system calls", load.title));
            self.publish(&Series { name, title, samples })?;
        }
        Ok(())
    }

    fn compare(&mut self, job: &Job) -> Result<()> {
        let contenders = self.contenders.clone();
        self.compare_with(job, &contenders)
    }

    fn compare_with(&mut self, job: &Job, contenders: &[Contender]) -> Result<()> {
        let series = self
            .rounds_of(job, contenders, |contender, round| self.rig.measure(contender, job, round));
        self.publish(&series)
    }

    /// Measures ourselves with more and more of something.
    fn grow(&mut self, growth: &Growth) -> Result<()> {
        for job in &growth.steps {
            let ours = &self.contenders[..1];
            let series = self
                .rounds_of(job, ours, |contender, round| self.rig.measure(contender, job, round));
            self.publish(&series)?;
        }
        plot::draw(&self.record, &self.plots, growth.name)
    }

    /// Draws where the time of a connection and of a request goes.
    fn flame(&self) -> Result<()> {
        let ours = Contender::ours(builds::server_with_frames()?)?;
        for job in [&cases::short(self.amount)[0], &cases::keepalive(self.amount)[0]] {
            progress(&format!("{}: stacks of {}", job.name, ours.name));
            let stacks = self.rig.stacks(&ours, job)?;
            let file = self.plots.join(format!("{}-flame.svg", job.name));
            flame::draw(&file, &job.title, &self.circumstances.footer(), &stacks)?;
            println!("\n== {}: where the time goes\n{}", job.title, flame::summary(&stacks));
        }
        Ok(())
    }

    fn rounds_of(
        &self,
        job: &Job,
        contenders: &[Contender],
        run: impl Fn(&Contender, usize) -> Result<Sample>,
    ) -> Series {
        let samples = take_turns(&job.name, &job.main, contenders, self.rounds, run);
        let Job { name, title, .. } = job.clone();
        Series { name, title, samples }
    }

    /// Half of what HAProxy can do, or of what we can where it does not take part.
    fn half_of_peak(&self) -> Result<(u64, String)> {
        let job = &cases::short(self.amount)[1];
        let whom = self.contenders.iter().find(|contender| contender.name == "haproxy");
        let whom = whom.unwrap_or(&self.contenders[0]);
        progress(&format!("latency: the peak of {}", whom.name));
        let sample = self.rig.measure(whom, job, 1)?;
        if let Some(fault) = sample.faults.first() {
            bail!("the peak of {} cannot be measured: {fault}", whom.name);
        }
        let peak = sample.metrics.iter().find(|metric| metric.name == rig::RATE);
        let peak = peak.context("a run has a rate")?.value;
        Ok((half(peak), format!("half of {}'s peak", whom.name)))
    }

    /// Prints and records a series, and draws its record; of one that was interrupted, the rounds that are
    /// complete.
    fn publish(&mut self, series: &Series) -> Result<()> {
        if !series.samples.is_empty() {
            print!("{}", series.render());
            record::add(&self.record, series, &self.circumstances)?;
        }
        check_interrupted()?;
        plot::draw(&self.record, &self.plots, &series.name)?;
        for contender in series.contenders() {
            let of_it = |sample: &&Sample| sample.contender == contender;
            if series.samples.iter().filter(of_it).all(|sample| !sample.faults.is_empty()) {
                self.complain(format!("{}: no run of {contender} counts", series.name));
            }
        }
        Ok(())
    }

    /// Says at once what is said again at the end.
    fn complain(&mut self, what: String) {
        progress(&what);
        self.complaints.push(what);
    }
}

/// Lets the contenders take turns. One that fails does not keep the others from theirs.
fn take_turns(
    name: &str,
    main: &str,
    contenders: &[Contender],
    rounds: usize,
    run: impl Fn(&Contender, usize) -> Result<Sample>,
) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for round in 1..=rounds {
        for contender in contenders {
            if has_given_up(&samples, contender.name) {
                continue;
            }
            let sample = run(contender, round)
                .unwrap_or_else(|error| Sample::failed(contender, round, &error));
            if is_interrupted() {
                samples.retain(|sample| sample.round < round);
                return samples;
            }
            let main = sample.metrics.iter().find(|metric| metric.name == main);
            let seen = main.map(|main| format!("{:.2} {}", main.value, main.name));
            progress(&format!(
                "{name}: round {round}/{rounds} {}: {}{}",
                contender.name,
                seen.as_deref().unwrap_or("failed"),
                if sample.faults.is_empty() { "" } else { " (DOES NOT COUNT)" }
            ));
            samples.push(sample);
            if round < rounds && has_given_up(&samples, contender.name) {
                progress(&format!("{name}: {} is left out from here on", contender.name));
            }
        }
    }
    samples
}

/// Whether the first two runs of a contender failed: the others would take their time for nothing.
fn has_given_up(samples: &[Sample], contender: &str) -> bool {
    let of_it = samples.iter().filter(|sample| sample.contender == contender);
    of_it.take(2).filter(|sample| sample.metrics.is_empty()).count() == 2
}

/// A whole number of half a rate, within what the generator takes.
fn half(peak: f64) -> u64 {
    const RATE_MAX: u64 = 200_000;
    let words = format!("{:.0}", (peak / 2.0).max(1.0));
    words.parse().unwrap_or(RATE_MAX).min(RATE_MAX)
}

/// The decoder's benches are a package of their own.
fn decode(is_quick: bool) -> Result<()> {
    let mut command = cargo::cargo();
    command.args(["bench", "--package", "benches"]);
    if is_quick {
        // criterion's own.
        command.args(["--", "--quick"]);
    }
    run_group(&mut command)
}

fn progress(line: &str) {
    eprintln!("   {line}");
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use clap::Parser;

    use super::rig::Metric;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn args(words: &str) -> BenchArgs {
        Line::parse_from(words.split_ascii_whitespace()).bench
    }

    #[test]
    fn arguments_that_say_nothing_or_two_things_are_refused() {
        for words in [
            "x all --peer haproxy,haproxy",
            "x short --envoy /bin/envoy",
            "x short --peer haproxy --nginx /bin/nginx",
            "x scale --haproxy /bin/haproxy",
            "x short --baseline /bin/old",
        ] {
            assert!(args(words).conflict().is_some(), "{words}");
        }
        for words in ["x", "x decode", "x bulk --nginx /bin/nginx", "x --peer envoy --envoy /e"] {
            assert_eq!(args(words).conflict(), None, "{words}");
        }
    }

    #[test]
    fn cases_of_our_own_have_no_peers() {
        for case in ["scale", "pipes", "workers", "checks", "flame", "decode"] {
            assert_eq!(args(&format!("x {case}")).peers(), []);
        }
        assert_eq!(args("x latency").peers(), [Peer::Haproxy, Peer::Nginx]);
        assert_eq!(args("x all --peer envoy").peers(), [Peer::Envoy]);
    }

    #[test]
    fn who_fails_keeps_nobody_from_their_turn_and_ends_after_two_rounds() {
        let job = &cases::short(Amount::QUICK)[0];
        let good = Contender::ours(programs::find("sh").unwrap()).unwrap();
        let bad = good.tuned("bad", contender::Tuning::PLAIN);
        let tries = Cell::new(0);
        let samples = take_turns(&job.name, &job.main, &[good, bad], 4, |contender, round| {
            tries.set(tries.get() + 1);
            let metrics = vec![Metric::new(job.main.as_str(), 1.0)];
            let error = anyhow::anyhow!("it died").context("measuring");
            match contender.name {
                "bad" => Err(error),
                _ => Ok(Sample {
                    metrics,
                    faults: vec![],
                    ..Sample::failed(contender, round, &error)
                }),
            }
        });
        assert_eq!(tries.get(), 6);
        let bad: Vec<_> = samples.iter().filter(|sample| sample.contender == "bad").collect();
        assert_eq!(bad.iter().map(|sample| sample.round).collect::<Vec<_>>(), [1, 2]);
        assert!(bad.iter().all(|sample| sample.faults == ["measuring: it died"]));
    }

    #[test]
    fn half_of_a_peak_is_a_rate_that_the_generator_takes() {
        assert_eq!(half(12_345.0), 6172);
        assert_eq!(half(0.0), 1);
        assert_eq!(half(1e9), 200_000);
    }
}
