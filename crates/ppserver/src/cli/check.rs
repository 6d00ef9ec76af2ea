//! `ppserver check`: says everything that is wrong with a configuration, and starts nothing.
//!
//! Findings about the file go to stderr, what was asked for (the verdict, the JSON object, the
//! effective configuration) to stdout. Invariant: exit 0 means that `run -c` would take the file.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::config::{self, Colour, Host, JsonFault, Loaded, Report};

/// The file can be used.
const EXIT_OK: u8 = 0;
/// It cannot, or not be read: EX_CONFIG of sysexits(3), which units act on.
const EXIT_CONFIG: u8 = 78;

/// Check a configuration file: every error at once, with its place and what to do.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: PathBuf,
    /// Text for people, or one JSON object for programs
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
    /// Print the whole configuration with every default filled in
    #[arg(long)]
    pub effective: bool,
}

/// How `check` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Faults with carets on stderr, the verdict on stdout.
    Text,
    /// One object on stdout.
    Json,
}

/// Checks the file and answers with the exit code.
///
/// # Errors
///
/// When `stdout` or `stderr` cannot be written to.
pub fn run(
    args: &CheckArgs,
    colour: Colour,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<u8> {
    let outcome = config::load(&args.file, this_host());
    match args.format {
        CheckFormat::Text => text(args, &outcome, colour, stdout, stderr)?,
        CheckFormat::Json => json(args, &outcome, stdout)?,
    }
    Ok(if outcome.is_ok() { EXIT_OK } else { EXIT_CONFIG })
}

/// What this machine allows. The hard limit counts, because `run` raises the soft one to it.
pub fn this_host() -> Host {
    Host { descriptors_max: getrlimit(Resource::Nofile).maximum }
}

fn text(
    args: &CheckArgs,
    outcome: &Result<Loaded, Report>,
    colour: Colour,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<()> {
    let file = args.file.display();
    let (Ok(Loaded { warnings: report, .. }) | Err(report)) = outcome;
    write!(stderr, "{}", report.render(colour))?;
    match outcome {
        Ok(Loaded { config, .. }) if args.effective => write!(stdout, "{config}"),
        Ok(_) if report.is_empty() => writeln!(stdout, "{file}: ok"),
        Ok(_) => writeln!(stdout, "{file}: ok, {}", report.summary()),
        Err(_) => writeln!(stderr, "{file}: {}", report.summary()),
    }
}

/// The object of `--format json`.
#[derive(Serialize)]
struct Answer<'r> {
    file: String,
    ok: bool,
    errors: Vec<JsonFault<'r>>,
    warnings: Vec<JsonFault<'r>>,
    /// The TOML text, with `--effective` and no errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<String>,
}

fn json(
    args: &CheckArgs,
    outcome: &Result<Loaded, Report>,
    stdout: &mut impl Write,
) -> io::Result<()> {
    let (Ok(Loaded { warnings: report, .. }) | Err(report)) = outcome;
    let (errors, warnings) = report.to_json();
    let effective = outcome.as_ref().ok().filter(|_| args.effective);
    let answer = Answer {
        file: args.file.display().to_string(),
        ok: outcome.is_ok(),
        errors,
        warnings,
        effective: effective.map(|loaded| loaded.config.to_string()),
    };
    serde_json::to_writer(&mut *stdout, &answer)?;
    writeln!(stdout)
}
