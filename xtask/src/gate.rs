//! The gate: its steps, their order, and the table printed at the end.
//!
//! Not the checks themselves: a step is a command line or a module of its own. Invariant: a step
//! either succeeds or ends the run; none is skipped unless the caller named others.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use tools::cargo::{cargo, needs_component, run as run_command};

use crate::clock::now;
use crate::{api, embed, fuzz, instructions, lab, mutants, package, peers, tidy};

/// A step of the gate. The order of the variants is the order in which they run: the cheap ones
/// that fail most often come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Every source is formatted as rustfmt would
    Fmt,
    /// The rules of the sources that no compiler checks (the same as `cargo xtask tidy`)
    Tidy,
    /// The real servers and tools that tests talk to are installed, and the C++ compiler that the fuzzer
    /// is built with; installs them when it may
    Peers,
    /// The unit tests of the libraries and the server, but for the simulator, its command line, and what the pages show:
    /// a part of `test` that needs nothing installed, for `--quick`
    Units,
    /// Clippy finds nothing in any target
    Clippy,
    /// Every test of the workspace, interop with the real servers included
    Test,
    /// Odd sessions of every kind, and 10,000 random ones, end as they must and leave nothing behind
    Torment,
    /// The documentation builds without a warning
    Docs,
    /// The libraries build with Rust 1.85 and for other systems, and ppcore links without std,
    /// allocator or panic for three of them (the same as `cargo xtask embed`)
    Embed,
    /// The public API of the libraries is what docs/public-api says (the same as `cargo xtask api`)
    Api,
    /// What would be published builds outside the workspace, the programs with Rust 1.88 (the same as
    /// `cargo xtask package`)
    Package,
    /// The simulator finds every historic bug that is planted (the same as `cargo xtask mutants`)
    Mutants,
    /// Every fuzz target over the committed corpus and a little further; installs cargo-fuzz
    Fuzz,
    /// No case takes more instructions than its limit in benches/limits.toml, and 3 %
    Instructions,
}

/// What a first look takes: minutes, no package of the system, and no root.
const QUICK: [Step; 3] = [Step::Fmt, Step::Tidy, Step::Units];

/// Runs the steps of a first look.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_quick() -> Result<()> {
    run(&QUICK)
}

/// Runs `chosen` steps, or the whole gate when none is named, in the gate's order.
///
/// # Errors
/// The first failing step, with the command that runs it alone.
pub(crate) fn run(chosen: &[Step]) -> Result<()> {
    let is_wanted = |step: &Step| match chosen {
        // All of its tests are in `test`.
        [] => *step != Step::Units,
        chosen => chosen.contains(step),
    };
    let steps: Vec<Step> = Step::value_variants().iter().copied().filter(is_wanted).collect();
    let mut done = Vec::new();
    let mut result = Ok(());
    for &step in &steps {
        println!("\n== {}: {}", step.name(), step.about());
        let (outcome, took) = timed(|| step.run());
        done.push((took, outcome.is_ok()));
        result = outcome.map_err(|error| {
            let name = step.name();
            anyhow!("step `{name}` failed: {error:#}\nalone: cargo xtask test --step {name}")
        });
        if result.is_err() {
            break;
        }
    }
    println!("\n{}", summary(&steps, &done));
    result
}

impl Step {
    fn run(self) -> Result<()> {
        match self {
            Self::Fmt => {
                needs_component("fmt", "rustfmt")?;
                run_command(cargo().args(["fmt", "--all", "--check"]))?;
                embed::fmt()?;
                run_command(fuzz::targets_cargo("fmt").arg("--check"))
            }
            Self::Tidy => tidy::run(Path::new(".")),
            Self::Peers => peers::ensure(),
            Self::Units => {
                let libraries = ["-p", "ppcore", "-p", "pptrust", "-p", "ppnet"];
                run_command(cargo().args(["test", "--lib"]).args(libraries))?;
                // Without optimisation the simulator takes minutes.
                let server =
                    ["--lib", "--test", "cli", "--test", "docs", "--", "--skip", "core::sim"];
                run_command(cargo().args(["test", "-p", "ppserver"]).args(server))
            }
            Self::Clippy => {
                needs_component("clippy", "clippy")?;
                let strict = ["--", "-D", "warnings"];
                let everything = ["clippy", "--workspace", "--all-targets"];
                run_command(cargo().args(everything).args(strict))?;
                embed::clippy()?;
                run_command(fuzz::targets_cargo("clippy").arg("--all-targets").args(strict))
            }
            // One optimised build with every assertion on: the exhaustive grid needs the speed,
            // the rest does not mind it.
            Self::Test => run_command(cargo().args(["test", "--workspace", "--profile", "gate"])),
            Self::Torment => lab::torment(),
            Self::Docs => run_command(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
                "doc",
                "--workspace",
                "--no-deps",
                "--all-features",
            ])),
            Self::Embed => embed::check(),
            Self::Api => api::check(),
            Self::Package => package::check(),
            Self::Mutants => mutants::plant_all(None),
            Self::Fuzz => fuzz::smoke(),
            Self::Instructions => instructions::check(),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn about(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let value = work();
    (value, now() - start)
}

/// The table at the end: `done` covers a prefix of `steps`, the rest did not run.
fn summary(steps: &[Step], done: &[(Duration, bool)]) -> String {
    let mut lines = vec![String::from("== summary")];
    for (index, step) in steps.iter().enumerate() {
        let name = step.name();
        lines.push(match done.get(index) {
            Some((took, true)) => format!("{name:<14}ok      {:>7.1} s", took.as_secs_f64()),
            Some((took, false)) => format!("{name:<14}FAILED  {:>7.1} s", took.as_secs_f64()),
            None => format!("{name:<14}not run"),
        });
    }
    let total: Duration = done.iter().map(|(took, _)| *took).sum();
    lines.push(format!("{:<22}{:>7.1} s", "total", total.as_secs_f64()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_and_says_what_it_checks() {
        for step in Step::value_variants() {
            assert!(!step.name().is_empty() && !step.about().is_empty(), "{step:?}");
        }
    }

    #[test]
    fn the_summary_tells_apart_what_passed_failed_and_did_not_run() {
        let steps = [Step::Fmt, Step::Tidy, Step::Clippy];
        let done = [(Duration::from_millis(1500), true), (Duration::from_secs(2), false)];
        let expected = "== summary\n\
            fmt           ok          1.5 s\n\
            tidy          FAILED      2.0 s\n\
            clippy        not run\n\
            total                     3.5 s";
        assert_eq!(summary(&steps, &done), expected);
    }
}
