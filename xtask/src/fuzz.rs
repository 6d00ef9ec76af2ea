//! `cargo xtask fuzz`: builds the libFuzzer targets of tests/fuzz and runs them, a table at the end.
//!
//! Not the properties: those are tests/fuzz/src/check.rs. No sanitizer: what is fuzzed forbids or
//! denies `unsafe`, so a broken property panics, and the one that takes pointers gets them beside pages
//! that nobody may touch; stable Rust will do. Invariant: a process that does not end well is an error
//! with the input and the command that replays it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tools::cargo::{cargo, run as run_command};

/// The targets, a workspace of their own.
const PACKAGE: &str = "tests/fuzz";
/// What is committed.
const SEEDS: &str = "tests/fuzz/corpus";
/// Where they are built, and what is found.
const OUTPUT: &str = "target/fuzz";
/// What cargo-fuzz builds for; it always names the platform.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const INSTALL: &str = "cargo install --locked cargo-fuzz";

/// The longest header, 65,551 bytes, the choices in front of it, and a little payload.
const HEADER_MAX: u32 = 66_000;
/// Words that chance would not spell.
const CONFIG_WORDS: &str = "tests/fuzz/config.dict";
/// One input takes microseconds; a session that never ends takes this many seconds, then counts as
/// a finding.
const INPUT_SECONDS_MAX: u32 = 25;

/// Fuzz the decoder, its C ABI, the session machine, batches of datagrams, the configuration, the admin doors, captures, routes and what is shown
///
/// Without --seconds and --runs each target runs for a minute. What is found is kept in
/// target/fuzz/corpus, so the next run goes on from there.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzArgs {
    /// Only this target (repeatable)
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<Target>,
    /// Run each target for so long
    #[arg(long, value_name = "N", conflicts_with = "runs",
          value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Run each target so often, over all processes
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Processes a target runs in at once [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: Option<u32>,
    /// Replay one input instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "runs", "processes"])]
    replay: Option<PathBuf>,
}

/// A file of tests/fuzz/targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Target {
    Decode,
    Split,
    Datagram,
    Batch,
    Tlvs,
    RoundTrip,
    Session,
    Config,
    Admin,
    Escape,
    Hello,
    Route,
    Capi,
    Capture,
}

impl Target {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The directory of committed inputs it begins with.
    fn seeds(self) -> &'static str {
        match self {
            Self::Decode | Self::Split | Self::Datagram | Self::Escape | Self::Capi => "header",
            Self::Batch => "batch",
            Self::Tlvs => "tlvs",
            Self::RoundTrip | Self::Session | Self::Route => "choices",
            Self::Hello => "hello",
            Self::Config => "config",
            Self::Admin => "admin",
            Self::Capture => "capture",
        }
    }

    /// Executions in the gate: a few seconds, the committed corpus included.
    fn smoke_runs(self) -> u64 {
        match self {
            Self::Decode
            | Self::Datagram
            | Self::Batch
            | Self::Tlvs
            | Self::RoundTrip
            | Self::Hello
            | Self::Route
            | Self::Capi => 20_000,
            Self::Split
            | Self::Session
            | Self::Config
            | Self::Admin
            | Self::Escape
            | Self::Capture => 4_000,
        }
    }

    /// The longest input.
    fn len_max(self) -> u32 {
        match self {
            Self::Decode | Self::Split | Self::Datagram | Self::Tlvs | Self::Capi => HEADER_MAX,
            // More than is looked at.
            Self::Hello => 24 << 10,
            // More choices than a world makes; a file with every key twice; a head and what stands behind it; what is
            // shown byte by byte; a few packets; a batch of small datagrams.
            Self::Batch
            | Self::RoundTrip
            | Self::Session
            | Self::Config
            | Self::Admin
            | Self::Escape
            | Self::Route
            | Self::Capture => 8_192,
        }
    }

    fn program(self) -> PathBuf {
        Path::new(OUTPUT).join(TRIPLE).join("release").join(self.name())
    }

    /// A directory of this target's own in target/fuzz.
    fn dir(self, of: &str) -> Result<PathBuf> {
        let dir = Path::new(OUTPUT).join(of).join(self.name());
        fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        Ok(dir)
    }
}

/// How long a target runs.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Seconds(u32),
    Runs(u64),
}

/// What one target's processes reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    executions: u64,
    /// The longest time of a process, in whole seconds as libFuzzer counts them.
    seconds: u64,
    /// Edges of the control flow, of the process that saw the most.
    edges: u64,
}

/// Runs the command.
///
/// # Errors
/// When cargo-fuzz cannot be had, a target does not build, or a property is broken.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    let targets: Vec<Target> = Target::value_variants()
        .iter()
        .copied()
        .filter(|target| args.targets.is_empty() || args.targets.contains(target))
        .collect();
    build()?;
    if let Some(input) = &args.replay {
        let [target] = targets[..] else { bail!("--replay needs one --target") };
        return run_command(Command::new(target.program()).arg(input));
    }
    let bound = match (args.runs, args.seconds) {
        (Some(runs), _) => Bound::Runs(runs),
        (None, seconds) => Bound::Seconds(seconds.unwrap_or(60)),
    };
    let cpus = thread::available_parallelism().map_or(1, |count| count.get().min(64));
    let processes = args.processes.unwrap_or(u32::try_from(cpus).unwrap_or(1));
    fuzz(&targets, |_| bound, processes)
}

/// A cargo command on the targets' own workspace, with the doors open as cargo-fuzz opens them.
pub(crate) fn targets_cargo(subcommand: &str) -> Command {
    let mut command = cargo();
    command.args([subcommand, "--manifest-path", &format!("{PACKAGE}/Cargo.toml")]);
    command.env("CARGO_TARGET_DIR", format!("{OUTPUT}/lint")).env("RUSTFLAGS", "--cfg fuzzing");
    command
}

/// The gate's step: every target over the committed corpus and a little further, from a fixed seed.
///
/// # Errors
/// As [`run`].
pub(crate) fn smoke() -> Result<()> {
    build()?;
    fuzz(Target::value_variants(), |target| Bound::Runs(target.smoke_runs()), 1)
}

fn build() -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("the targets are built for {TRIPLE} only");
    }
    let answers = || {
        let mut probe = cargo();
        let probe = probe.args(["fuzz", "--version"]).stdin(Stdio::null());
        let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !answers() {
        run_command(cargo().args(INSTALL.split(' ').skip(1)))
            .with_context(|| format!("cargo-fuzz is not here; install it by hand: {INSTALL}"))?;
    }
    let place = ["--fuzz-dir", PACKAGE, "--target-dir", OUTPUT, "--target", TRIPLE];
    // Tracing comparisons takes two thirds of a run, for words that the corpus and the dictionary have.
    let flags = ["--sanitizer", "none", "--no-trace-compares"];
    run_command(cargo().args(["fuzz", "build"]).args(flags).args(place))
}

fn fuzz(targets: &[Target], bound: impl Fn(Target) -> Bound, processes: u32) -> Result<()> {
    let mut rows = vec![row(["target", "executions", "seconds", "edges"])];
    for &target in targets {
        let tally = fuzz_one(target, bound(target), processes)?;
        let figures = [tally.executions, tally.seconds, tally.edges].map(|n| n.to_string());
        rows.push(row([&target.name(), &figures[0], &figures[1], &figures[2]]));
    }
    println!("\n{}", rows.join("\n"));
    Ok(())
}

fn row([target, executions, seconds, edges]: [&str; 4]) -> String {
    format!("{target:<12}{executions:>14}{seconds:>9}{edges:>8}")
}

/// A libFuzzer process and where it writes what it says.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    /// One that has ended is not hurt.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fuzz_one(target: Target, bound: Bound, processes: u32) -> Result<Tally> {
    println!("{}: {bound:?} in {processes} process(es)", target.name());
    let started: Vec<Process> = (0..processes)
        .map(|index| start(target, bound, processes, index))
        .collect::<Result<_>>()?;
    let mut tally = Tally::default();
    let mut failure = None;
    for mut process in started {
        let status = process.child.wait()?;
        let said = fs::read(&process.log).context("what a target said")?;
        let said = String::from_utf8_lossy(&said);
        if status.success() {
            let Some(read) = Tally::read(&said) else {
                bail!("{} has no final figures", process.log.display())
            };
            tally.executions += read.executions;
            tally.seconds = tally.seconds.max(read.seconds);
            tally.edges = tally.edges.max(read.edges);
        } else {
            failure = Some(complaint(target, &said, &process.log));
        }
    }
    failure.map_or(Ok(tally), |complaint| bail!(complaint))
}

fn start(target: Target, bound: Bound, processes: u32, index: u32) -> Result<Process> {
    let found = target.dir("corpus")?;
    let artifacts = target.dir("artifacts")?;
    let log = target.dir("logs")?.join(format!("{index}.txt"));
    let mut command = Command::new(target.program());
    command.arg(match bound {
        Bound::Seconds(seconds) => format!("-max_total_time={seconds}"),
        // The remainder is run too: never fewer than asked for.
        Bound::Runs(runs) => format!("-runs={}", runs.div_ceil(u64::from(processes))),
    });
    if matches!(bound, Bound::Runs(_)) {
        command.arg(format!("-seed={}", index + 1));
    }
    command.args([
        "-print_final_stats=1",
        &format!("-max_len={}", target.len_max()),
        &format!("-timeout={INPUT_SECONDS_MAX}"),
        &format!("-artifact_prefix={}/", artifacts.display()),
    ]);
    if target == Target::Config {
        command.arg(format!("-dict={CONFIG_WORDS}"));
    }
    // New inputs go to the first directory.
    command.args([found.as_os_str(), OsStr::new(&format!("{SEEDS}/{}", target.seeds()))]);
    let output = File::create(&log).with_context(|| format!("{}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let child = command.spawn().with_context(|| format!("{}", target.program().display()))?;
    Ok(Process { child, log })
}

impl Tally {
    /// Reads libFuzzer's last words.
    fn read(said: &str) -> Option<Self> {
        let number = |word: &str| word.parse().ok();
        let executions = said
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .and_then(|rest| number(rest.trim()))?;
        let edges = said
            .lines()
            .rev()
            .find_map(|line| line.split_once(" cov: "))
            .and_then(|(_, rest)| number(rest.split(' ').next()?))?;
        let seconds = said
            .lines()
            .find_map(|line| line.strip_prefix("Done ")?.split_once(" runs in "))
            .and_then(|(_, rest)| number(rest.split(' ').next()?))?;
        Some(Self { executions, seconds, edges })
    }
}

/// The end of what a failed process said, and how to see it again.
fn complaint(target: Target, said: &str, log: &Path) -> String {
    const LINES_SHOWN: usize = 40;
    let lines: Vec<&str> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    let name = target.name();
    let input = said.lines().find_map(|line| line.split_once("Test unit written to "));
    let replay = input.map_or_else(
        || "no input was written".to_owned(),
        |(_, path)| format!("replay: cargo xtask fuzz --target {name} --replay {}", path.trim()),
    );
    format!("{name} failed; the end of {}:\n{end}\n{replay}", log.display())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const LAST_WORDS: &str = "#8\tNEW    cov: 12 ft: 9\n#9\tDONE   cov: 345 ft: 1234 corp: 9/9b\n\
        Done 9 runs in 1 second(s)\nstat::number_of_executed_units: 9\n";

    #[test]
    fn the_last_words_of_a_target_are_read() {
        assert_eq!(Tally::read(LAST_WORDS), Some(Tally { executions: 9, seconds: 1, edges: 345 }));
        assert_eq!(Tally::read("==1== ERROR: libFuzzer: deadly signal\n"), None);
    }

    #[test]
    fn a_finding_is_told_with_the_command_that_replays_it() {
        let said = "thread panicked\nartifact_prefix='x/'; Test unit written to x/crash-1\n";
        let told = complaint(Target::RoundTrip, said, Path::new("log"));
        assert!(told.contains("panicked"), "{told}");
        assert!(told.ends_with("--target round_trip --replay x/crash-1"), "{told}");
    }

    #[test]
    fn every_target_has_its_source_and_its_committed_inputs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut sources: Vec<String> = fs::read_dir(root.join(PACKAGE).join("targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let mut names: Vec<String> =
            Target::value_variants().iter().map(|target| target.name()).collect();
        sources.sort();
        names.sort();
        assert_eq!(names, sources);
        for target in Target::value_variants() {
            let seeds = root.join(SEEDS).join(target.seeds());
            assert!(fs::read_dir(&seeds).is_ok_and(|mut dir| dir.next().is_some()), "{seeds:?}");
        }
    }

    /// Names and versions of the packages in a lock file.
    fn locked(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
        let lock: toml::Table = toml::from_str(lock).unwrap();
        let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
        for package in lock["package"].as_array().unwrap() {
            let word = |key: &str| package[key].as_str().unwrap().to_owned();
            versions.entry(word("name")).or_default().insert(word("version"));
        }
        versions
    }

    #[test]
    fn what_is_fuzzed_is_what_is_shipped_down_to_the_versions() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |dir: &str| fs::read_to_string(root.join(dir).join("Cargo.lock")).unwrap();
        let shipped = locked(&read("."));
        for (name, versions) in locked(&read(PACKAGE)) {
            if let Some(shipped) = shipped.get(&name) {
                assert!(versions.is_subset(shipped), "{name}: {versions:?}, and not {shipped:?}");
            }
        }
    }
}
