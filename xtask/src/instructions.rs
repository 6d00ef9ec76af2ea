//! The instruction counts: our own cases under callgrind, held against committed limits.
//!
//! Not a measurement of time: a count repeats to the last digit, so it can be a gate where a clock
//! cannot. Each case runs twice, and what the longer run takes more is divided by the calls it makes
//! more; the cost of starting a program drops out. Plain callgrind, and no framework above it: it
//! needs one package and no second tool whose version must match. Invariant: every case has a limit
//! and every limit a case.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tools::cargo::{cargo, run};
use tools::machine::cpu_models;

/// The program that runs one case so many times: `benches/src/instructions.rs`.
const PROGRAM: &str = "target/dist/instructions";
/// What each case may take, and what it was counted with.
const LIMITS: &str = "benches/limits.toml";
/// How much more than its limit a case may take before the step fails, in percent.
const SLACK_PERCENT: u64 = 3;

/// Calls in the shorter run and in the longer one. The first calls of a program also resolve
/// symbols and touch its memory: that happens in both.
const CALLS: [u64; 2] = [100, 1100];

/// Counts every case and compares it with its limit.
///
/// # Errors
/// When a case takes more than its limit and the slack, when a case has no limit or a limit no case,
/// or when callgrind is not there.
pub(crate) fn check() -> Result<()> {
    // A build of its own settings: flags of the caller's would be counted in place of ours.
    let mut build = cargo();
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.env("CARGO_TARGET_DIR", "target");
    run(build.args([
        "build",
        "--profile",
        "dist",
        "--package",
        "benches",
        "--bin",
        "instructions",
    ]))?;
    let text = std::fs::read_to_string(LIMITS).with_context(|| LIMITS.to_owned())?;
    let limits = Limits::parse(&text).with_context(|| LIMITS.to_owned())?;
    let cases = output(&mut Command::new(PROGRAM))?;
    let mut counts = BTreeMap::new();
    println!("{} cases under callgrind, each twice", cases.lines().count());
    for case in cases.lines() {
        counts.insert(case.to_owned(), count(case)?);
    }
    let rows = compare(&limits.cases, &counts);
    println!("{}", table(&rows));
    let cpu = cpu_models()?.into_iter().next().unwrap_or_default();
    let foreign = limits.foreign(&compiler()?, &cpu);
    for note in foreign.iter().cloned().chain(rows.iter().filter_map(Row::bargain)) {
        println!("note: {note}");
    }
    let broken: Vec<String> = rows.iter().filter_map(Row::problem).collect();
    if !broken.is_empty() {
        let notes: String = foreign.iter().map(|note| format!("\n    ({note})")).collect();
        bail!(
            "{}{notes}\nwhere they go: valgrind --tool=callgrind --dump-instr=yes {PROGRAM} CASE 1000\n\
             a change that is worth it changes {LIMITS} in the same commit",
            broken.join("\n")
        );
    }
    Ok(())
}

/// The committed limits.
#[derive(Debug)]
struct Limits {
    /// The compiler they were counted with.
    rustc: String,
    /// The processors: the C library picks its memcpy by them.
    cpu: Vec<String>,
    /// Instructions of one call, by case.
    cases: BTreeMap<String, u64>,
}

impl Limits {
    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let rustc = table.get("rustc").and_then(toml::Value::as_str);
        let rustc = rustc.context("`rustc` is missing")?.to_owned();
        let cpu = table.get("cpu").and_then(toml::Value::as_array).context("`cpu` is missing")?;
        let cpu = cpu.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect();
        let cases = table.get("instructions").and_then(toml::Value::as_table);
        let cases = cases.context("`[instructions]` is missing")?.iter().map(|(case, limit)| {
            let limit = limit.as_integer().and_then(|limit| u64::try_from(limit).ok());
            Ok((case.clone(), limit.with_context(|| format!("`{case}` is no number"))?))
        });
        Ok(Self { rustc, cpu, cases: cases.collect::<Result<_>>()? })
    }

    /// Says where this compiler or processor is another one than theirs.
    fn foreign(&self, rustc: &str, cpu: &str) -> Vec<String> {
        let theirs = self.cpu.join(" or ");
        let other_rustc = (rustc != self.rustc).then_some((&self.rustc, rustc));
        let other_cpu = (!self.cpu.iter().any(|known| cpu.starts_with(known.as_str())))
            .then_some((&theirs, cpu));
        let others = other_rustc.into_iter().chain(other_cpu);
        others
            .map(|(with, this)| format!("the limits were counted with {with}, this is {this}"))
            .collect()
    }
}

/// Counts the instructions of one call.
fn count(case: &str) -> Result<u64> {
    let [fewer, more] = CALLS;
    let spent = collected(case, more)?.checked_sub(collected(case, fewer)?);
    let spent = spent.with_context(|| format!("{case}: more calls took fewer instructions"))?;
    Ok(spent / (more - fewer))
}

/// Runs a case under callgrind and returns all instructions the program took.
fn collected(case: &str, calls: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", PROGRAM, case]);
    let result = command.arg(calls.to_string()).stdin(Stdio::null()).output().context(
        "valgrind does not start: apt-get install valgrind, or cargo xtask test --step peers",
    )?;
    let report = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() {
        bail!("{case} under callgrind failed ({}):\n{report}", result.status);
    }
    total(&report).with_context(|| format!("callgrind reported no total for {case}:\n{report}"))
}

/// Finds the total in callgrind's report: the number behind `Collected :`.
fn total(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Returns this toolchain's compiler: `rustc 1.95.0`, without the hash and the date.
fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("--version"))?;
    Ok(version.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

fn output(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let result = command.stdin(Stdio::null()).output().with_context(|| program.clone())?;
    if !result.status.success() {
        bail!("`{program}` failed ({})", result.status);
    }
    Ok(String::from_utf8(result.stdout)?)
}

/// A case, what it took and what it may take; one of the two is missing where the lists differ.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    case: String,
    count: Option<u64>,
    limit: Option<u64>,
}

impl Row {
    fn problem(&self) -> Option<String> {
        let case = &self.case;
        match (self.count, self.limit) {
            (Some(count), Some(limit)) => {
                (count * 100 > limit * (100 + SLACK_PERCENT)).then(|| {
                    format!("{case}: {count} instructions, {limit} + {SLACK_PERCENT} % allowed")
                })
            }
            (Some(count), None) => {
                Some(format!("{case} has no limit in {LIMITS}: it takes {count}"))
            }
            (None, _) => Some(format!("{case} stands in {LIMITS}, but there is no such case")),
        }
    }

    /// Says that a limit is so high that a later loss would pass unseen.
    fn bargain(&self) -> Option<String> {
        let (count, limit) = self.count.zip(self.limit)?;
        let is_low = count * 100 < limit * (100 - SLACK_PERCENT);
        is_low.then(|| format!("{}: {count} instructions, lower its limit of {limit}", self.case))
    }
}

fn compare(limits: &BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) -> Vec<Row> {
    let mut cases: Vec<&String> = limits.keys().chain(counts.keys()).collect();
    cases.sort();
    cases.dedup();
    let row = |case: &String| Row {
        case: case.clone(),
        count: counts.get(case).copied(),
        limit: limits.get(case).copied(),
    };
    cases.into_iter().map(row).collect()
}

fn table(rows: &[Row]) -> String {
    let cell = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let mut lines = format!("{:<28}{:>12}{:>12}", "instructions a call", "now", "limit");
    for row in rows {
        let _ = write!(lines, "\n{:<28}{:>12}{:>12}", row.case, cell(row.count), cell(row.limit));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(case, value)| ((*case).to_owned(), *value)).collect()
    }

    #[test]
    fn three_percent_above_the_limit_pass_and_more_do_not() {
        let problems = |count| {
            let rows = compare(&map(&[("a", 1000)]), &map(&[("a", count)]));
            rows.iter().filter_map(Row::problem).count()
        };
        assert_eq!([problems(900), problems(1000), problems(1030), problems(1031)], [0, 0, 0, 1]);
        let bargains = |count| {
            let rows = compare(&map(&[("a", 1000)]), &map(&[("a", count)]));
            rows.iter().filter_map(Row::bargain).count()
        };
        assert_eq!([bargains(969), bargains(970), bargains(1031)], [1, 0, 0]);
    }

    #[test]
    fn a_case_without_a_limit_and_a_limit_without_a_case_are_problems() {
        let rows = compare(&map(&[("gone", 7)]), &map(&[("new", 8)]));
        let problems: Vec<String> = rows.iter().filter_map(Row::problem).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("gone stands in"), "{problems:?}");
        assert!(problems[1].starts_with("new has no limit"), "{problems:?}");
    }

    #[test]
    fn the_total_is_read_out_of_callgrinds_report() {
        let report = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(total(report), Some(1_234_567));
        assert_eq!(total("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn limits_need_a_compiler_and_numbers() {
        let made = "rustc = \"rustc 1.95.0\"\ncpu = [\"AMD EPYC\", \"Intel\"]\n";
        let limits = Limits::parse(&format!("{made}[instructions]\na = 12\n")).unwrap();
        assert_eq!((limits.rustc.as_str(), &limits.cases), ("rustc 1.95.0", &map(&[("a", 12)])));
        assert_eq!(limits.foreign("rustc 1.95.0", "AMD EPYC 9B14"), [""; 0]);
        assert_eq!(
            limits.foreign("rustc 1.96.0", "Neoverse"),
            [
                "the limits were counted with rustc 1.95.0, this is rustc 1.96.0",
                "the limits were counted with AMD EPYC or Intel, this is Neoverse"
            ]
        );
        assert!(Limits::parse("[instructions]\na = 12\n").is_err());
        assert!(Limits::parse("rustc = \"x\"\n[instructions]\na = 12\n").is_err());
        assert!(Limits::parse(&format!("{made}[instructions]\na = \"12\"\n")).is_err());
    }
}
