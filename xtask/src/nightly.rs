//! What only a nightly compiler can check: Miri interprets the pure parts, and the sanitizers watch
//! the server while its own tests drive it.
//!
//! Not a step of the gate: minutes each. Invariant: what is missing is installed by rustup or is an
//! error with the line that does it; a report of a sanitizer is an error, whatever the tests say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use tools::cargo::{needs, run, rustup};

/// Sanitizers need a platform by name, so that build scripts go without them.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const MIRI_DIR: &str = "target/miri";

/// The parts of ppserver that make no system call, by the names of their tests. Of the configuration
/// a few whole files: each report that is drawn takes a second to interpret. Not the simulator, nor
/// the wheel's longest property: one seed, or four cases, take minutes.
const PURE: [&str; 9] = [
    "core::session::flow",
    "core::session::tests",
    "a_late_caller_gets_everything_that_is_due",
    "an_empty_wheel_asks_for_nothing",
    "data::table",
    "config::address",
    "config::units",
    "the_least_file_has_every_default",
    "a_file_that_is_not_utf8_is_refused_at_the_byte",
];

/// The tests of ppcore that do not ask the oracle about bad headers, by file: it tries every length,
/// which takes minutes when interpreted.
const QUICK: [(&str, &[&str]); 2] =
    [("vectors", &["in_one_piece", "a_collector"]), ("properties", &["encoder"])];

/// What is left out of both sanitizers' runs, and why.
const SKIPPED: [(&str, &str); 2] = [
    ("sim_every_order", "minutes, and the simulator makes no system call"),
    ("nine_thousand_half_headers", "times to 100 ms what a sanitized server is seconds late with"),
];

/// What is left out under the thread sanitizer besides.
const SKIPPED_FOR_THREADS: [(&str, &str); 2] = [
    ("life::idle", "its own thread wakes ten times a second"),
    ("torment::errno", "its own system calls are among those that are made to fail"),
];

/// Run the server's tests under a sanitizer
///
/// Builds everything anew, the standard library included, by a nightly toolchain that rustup
/// installs. The end-to-end tests drive a sanitized server.
#[derive(Debug, clap::Args)]
pub(crate) struct SanitizeArgs {
    /// Which one; both without it
    #[arg(value_name = "SANITIZER")]
    sanitizer: Option<Sanitizer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// Memory out of bounds, freed, or leaked
    Address,
    /// Data races
    Thread,
}

/// Runs Miri.
///
/// # Errors
/// When it cannot be installed, a test fails, or Miri finds undefined behaviour.
pub(crate) fn miri() -> Result<()> {
    install(&["miri", "rust-src"])?;
    let test = |package: &[&str]| {
        let mut command = nightly(&["miri", "test", "-p"]);
        command.args(package).env("CARGO_TARGET_DIR", MIRI_DIR);
        // The tests read variables, and proptest looks for its files.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
        command.env("PROPTEST_CASES", "4");
        command
    };
    run(&mut test(&["ppcore", "--lib"]))?;
    run(&mut test(&["pptrust", "--lib"]))?;
    for (file, tests) in QUICK {
        all_exist(&mut test(&["ppcore", "--test", file]), tests)?;
        run(test(&["ppcore", "--test", file, "--"]).args(tests))?;
    }
    all_exist(&mut test(&["ppserver", "--lib"]), &PURE)?;
    run(test(&["ppserver", "--lib", "--"]).args(PURE))
}

/// Checks that each name is part of a test's: one that was renamed would be left out in silence.
fn all_exist(tests: &mut Command, names: &[&str]) -> Result<()> {
    let listed = tests.args(["--", "--list"]).stderr(Stdio::inherit()).output()?;
    ensure!(listed.status.success(), "the tests cannot be listed ({})", listed.status);
    let listed = String::from_utf8(listed.stdout)?;
    match names.iter().find(|name| !listed.contains(**name)) {
        Some(name) => bail!("no test is called `{name}`"),
        None => Ok(()),
    }
}

/// Runs the sanitizers.
///
/// # Errors
/// When one cannot be had, a test fails, or a sanitizer has something to report.
pub(crate) fn sanitize(args: &SanitizeArgs) -> Result<()> {
    install(&["rust-src"])?;
    let all = Sanitizer::value_variants().iter().copied();
    all.filter(|one| args.sanitizer.is_none_or(|wanted| wanted == *one))
        .try_for_each(Sanitizer::run_tests)
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }

    /// The variable that its runtime reads.
    fn options_name(self) -> &'static str {
        match self {
            Self::Address => "ASAN_OPTIONS",
            Self::Thread => "TSAN_OPTIONS",
        }
    }

    /// By default ioctl(2) may store anywhere.
    fn options(self) -> &'static str {
        match self {
            Self::Address => ":handle_ioctl=1",
            Self::Thread => "",
        }
    }

    fn skipped(self) -> impl Iterator<Item = &'static str> {
        let more = match self {
            Self::Address => &[][..],
            Self::Thread => &SKIPPED_FOR_THREADS,
        };
        SKIPPED.iter().chain(more).map(|(test, _)| *test)
    }

    fn run_tests(self) -> Result<()> {
        let dir = std::path::absolute(Path::new("target/sanitize").join(self.name()))?;
        let reports = dir.join("reports");
        // Those of an earlier run are no findings of this one.
        if reports.exists() {
            fs::remove_dir_all(&reports)?;
        }
        fs::create_dir_all(&reports).with_context(|| format!("{}", reports.display()))?;
        let mut command = nightly(&["test", "-p", "ppserver"]);
        command
            .args(["--lib", "--test", "e2e", "-Zbuild-std", "--target", TRIPLE])
            .env("CARGO_TARGET_DIR", &dir);
        command.env("RUSTFLAGS", format!("-Zsanitizer={} -Cforce-frame-pointers=yes", self.name()));
        // The server's standard error belongs to the tests, and some of them kill it.
        let log = reports.join("report");
        command.env(self.options_name(), format!("log_path={}{}", log.display(), self.options()));
        // The simulator makes no system call and holds no unsafe block: a taste of it is enough.
        command.env("PPSERVER_SIM_SEEDS", "0..16").arg("--");
        command.args(self.skipped().flat_map(|test| ["--skip", test]));
        let outcome = run(&mut command);
        let found = reports_in(&reports)?;
        if let Some(first) = found.first() {
            print!("{}", fs::read_to_string(first)?);
            bail!(
                "the {} sanitizer has {} report(s), {}",
                self.name(),
                found.len(),
                first.display()
            );
        }
        outcome
    }
}

fn reports_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A command of the nightly toolchain's cargo.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments);
    command
}

/// Installs the nightly toolchain, if there is none, and components; one that is here stays as it is.
fn install(components: &[&str]) -> Result<()> {
    if needs(&mut nightly(&["--version"]), "").is_err() {
        let words = ["toolchain", "install", "nightly", "--profile", "minimal"];
        rustup(&[&words[..], &["--no-self-update"]].concat())?;
    }
    rustup(&[&["component", "add", "--toolchain", "nightly"], components].concat())
}
