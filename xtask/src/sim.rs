//! The simulator on demand: many seeds on all cores, or the story of one.
//!
//! The simulator is test code of ppserver, without a thread or a clock; this runs its test binary,
//! several at a time, each with a stretch of the seeds. Invariant: every seed that was asked for is
//! run once, or the command fails.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tools::cargo::cargo;

use crate::clock::now;

/// Seeds one process runs: some seconds' worth.
const STRETCH: u64 = 1_000;
/// The simulator's tests.
const MODULE: &str = "core::sim::";

/// Run the simulator of sessions on many seeds, or tell the story of one
#[derive(Debug, clap::Args)]
pub(crate) struct SimArgs {
    /// How many seeds to run, from --from on
    #[arg(long, value_name = "N", default_value_t = 512, conflicts_with = "seed",
          value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Run this seed alone and print each of its steps
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Processes at a time; by default one a core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
}

/// Runs what the arguments say.
///
/// # Errors
/// When it does not build or a seed breaks a rule.
pub(crate) fn run(args: &SimArgs) -> Result<()> {
    let mut build = cargo();
    build.args(["test", "--package", "ppserver", "--lib", "--profile", "gate", "--no-run"]);
    let program = build_test(&mut build)?;
    if let Some(seed) = args.seed {
        let mut command = test(&program, "sim_replay_of_a_seed_takes_the_same_course");
        let status = command.env("PPSERVER_SIM_SEED", seed.to_string()).status()?;
        if !status.success() {
            bail!("seed {seed} fails ({status})");
        }
        return Ok(());
    }
    let jobs = match args.jobs {
        Some(jobs) => usize::try_from(jobs)?,
        None => std::thread::available_parallelism().context("the number of cores")?.get(),
    };
    let end = args.from.checked_add(args.seeds).context("there are no seeds beyond 2^64")?;
    run_many(&program, args.from..end, jobs)
}

/// What a stretch of seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sessions: u64,
    pub(crate) steps: u64,
    /// The first failing seed of the stretch, and what it breaks: `Spin: ...`.
    pub(crate) failure: Option<(u64, String)>,
}

/// Where many runs stand.
#[derive(Debug, Default)]
struct Progress {
    next: u64,
    done: u64,
    sessions: u64,
    steps: u64,
    failure: Option<(u64, String)>,
}

fn run_many(program: &Path, seeds: std::ops::Range<u64>, jobs: usize) -> Result<()> {
    let begin = now();
    let all = seeds.end - seeds.start;
    let progress = Mutex::new(Progress { next: seeds.start, ..Progress::default() });
    let lock = || progress.lock().expect("nobody panics with it");
    let work = || -> Result<()> {
        loop {
            let stretch = {
                let mut progress = lock();
                let from = progress.next;
                if progress.failure.is_some() || from == seeds.end {
                    return Ok(());
                }
                progress.next = (from + STRETCH).min(seeds.end);
                from..progress.next
            };
            let count = stretch.end - stretch.start;
            let outcome = run_seeds(program, stretch)?;
            let mut progress = lock();
            progress.done += count;
            progress.sessions += outcome.sessions;
            progress.steps += outcome.steps;
            progress.failure = progress.failure.take().into_iter().chain(outcome.failure).min();
            show(&progress, all, now() - begin);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("it does not panic"))
    })?;
    let progress = lock();
    let Progress { done, sessions, steps, .. } = *progress;
    let took = (now() - begin).as_secs_f64();
    println!("\n{done} seeds, {sessions} sessions, {steps} steps in {took:.1} s on {jobs} core(s)");
    if let Some((seed, rule)) = &progress.failure {
        bail!("seed {seed} breaks {rule}\nits story: cargo xtask sim --seed {seed}");
    }
    ensure!(done == all, "only {done} of {all} seeds were run");
    println!("every rule held");
    Ok(())
}

/// One line, written over where a person looks on.
fn show(progress: &Progress, all: u64, elapsed: Duration) {
    let Progress { done, sessions, .. } = progress;
    let left = elapsed.as_secs() * (all - done) / (*done).max(1);
    let line = format!("{done} of {all} seeds, {sessions} sessions, {left} s left");
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[K{line}");
    } else {
        println!("{line}");
    }
    let _ = std::io::stdout().flush();
}

/// Runs seeds in one process, to the end even if some fail.
///
/// # Errors
/// When the process does not start, or fails without naming a seed.
pub(crate) fn run_seeds(program: &Path, seeds: std::ops::Range<u64>) -> Result<Outcome> {
    let range = format!("{}..{}", seeds.start, seeds.end);
    let mut command = test(program, "sim_every_seed_keeps_every_rule");
    command.env("PPSERVER_SIM_SEEDS", &range).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("{}", program.display()))?;
    let mut outcome = Outcome::default();
    let mut has_sum = false;
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line?;
        if let Some((seed, rule)) = failure(&line) {
            outcome.failure.get_or_insert((seed, rule.to_owned()));
        } else if let Some((sessions, steps)) = sum(&line) {
            has_sum = true;
            (outcome.sessions, outcome.steps) = (sessions, steps);
        }
    }
    let status = child.wait()?;
    if !has_sum || status.success() == outcome.failure.is_some() {
        bail!("seeds {range}: the simulator ended with {status} and no word of why");
    }
    Ok(outcome)
}

/// Reads `seed 7 breaks Spin: ...`.
fn failure(line: &str) -> Option<(u64, &str)> {
    let (seed, rule) = line.strip_prefix("seed ")?.split_once(" breaks ")?;
    Some((seed.parse().ok()?, rule))
}

/// Reads `4805 sessions, 2722455 steps`.
fn sum(line: &str) -> Option<(u64, u64)> {
    let (sessions, steps) = line.strip_suffix(" steps")?.split_once(" sessions, ")?;
    Some((sessions.parse().ok()?, steps.parse().ok()?))
}

fn test(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    // With one thread, as on a machine with one CPU, the test's name would stand in front of what it prints.
    command.args([&format!("{MODULE}{name}"), "--exact", "--nocapture", "--test-threads=2"]);
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

/// Runs a `cargo test --no-run` and returns the test binary it made.
///
/// # Errors
/// When it fails, or makes none.
pub(crate) fn build_test(build: &mut Command) -> Result<PathBuf> {
    let build = build.args(["--message-format", "json-render-diagnostics"]);
    let output = build.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the simulator does not build ({})", output.status);
    }
    let text = String::from_utf8(output.stdout)?;
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = messages.filter_map(|message: serde_json::Value| {
        let is_test = message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
    });
    programs.next_back().context("cargo named no test binary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_simulator_are_understood() {
        assert_eq!(failure("seed 7 breaks Spin: again"), Some((7, "Spin: again")));
        assert_eq!(sum("4805 sessions, 2722455 steps"), Some((4805, 2_722_455)));
        for other in ["      12 a path breaks", "seed x breaks Spin: again", "test result: ok."] {
            assert_eq!((failure(other), sum(other)), (None, None), "{other}");
        }
    }
}
