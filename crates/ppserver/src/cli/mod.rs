//! The command line: arguments in, an exit code out.
//!
//! Each subcommand is one module with an `Args` and a `run`; this file holds the list of them and
//! what they share. It does none of the work.
//! Invariant: stdout carries answers only, everything else goes to stderr.

mod check;
mod completions;
mod decode;
mod demo;
mod doctor;
mod encode;
mod hex;
mod init;
mod man;
mod probe;
mod remote;
mod run;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Colour, Report};
use crate::telemetry::log;

#[cfg(fuzzing)]
pub use decode::{explain, explain_capture, quote, unhex};

const EXAMPLES: &str = "\
Examples:
  ppserver demo
  ppserver run --listen 0.0.0.0:443 --to 127.0.0.1:8080 --accept v1,v2 --trust 10.0.0.0/8 --send v2
  ppserver run -c ppserver.toml
  ppserver check -c ppserver.toml
  ppserver status --admin 127.0.0.1:9464                # of a running one with [admin] listen or --admin
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --crc32c | ppserver decode

Each command explains itself: `ppserver help decode`.";

/// Which program this is, down to the commit.
const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PPSERVER_COMMIT"), ")");

/// A layer-4 proxy that speaks the PROXY protocol on both sides
#[derive(Debug, Parser)]
#[command(name = "ppserver", version, long_version = LONG_VERSION, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Check(check::Args),
    Init(init::Args),
    Decode(decode::Args),
    Encode(encode::Args),
    Probe(probe::Args),
    Doctor(doctor::Args),
    Status(remote::status::Args),
    Top(remote::top::Args),
    Conns(remote::conns::Args),
    Upstreams(remote::upstreams::Args),
    Reload(remote::change::Reload),
    Drain(remote::change::Drain),
    Upgrade(remote::change::Upgrade),
    Healthcheck(remote::healthcheck::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    /// `matches` are those that it was made of: they know what was given how.
    fn run(self, matches: &ArgMatches) -> Result<ExitCode, Failure> {
        match self {
            Self::Demo(args) => demo::run(&args),
            Self::Run(args) => run::run(args, matches),
            Self::Check(args) => run_check(&args),
            Self::Init(args) => init::run(&args),
            Self::Decode(args) => decode::run(&args),
            Self::Encode(args) => encode::run(&args),
            Self::Probe(args) => probe::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Status(args) => remote::status::run(&args),
            Self::Top(args) => remote::top::run(args),
            Self::Conns(args) => remote::conns::run(&args),
            Self::Upstreams(args) => remote::upstreams::run(&args),
            Self::Reload(args) => remote::change::reload(&args),
            Self::Drain(args) => remote::change::drain(&args),
            Self::Upgrade(args) => remote::change::upgrade(&args),
            Self::Healthcheck(args) => remote::healthcheck::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let matches = Cli::command().mut_subcommands(run::without_empty_variables).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let of_command = matches.subcommand().map_or(&matches, |(_, of_command)| of_command);
    cli.command.run(of_command).unwrap_or_else(|failure| {
        log::write_error(&failure.message);
        failure.exit
    })
}

fn run_check(args: &check::Args) -> Result<ExitCode, Failure> {
    let colour = Colour::of(&io::stderr());
    let exit = check::run(args, colour, &mut io::stdout().lock(), &mut io::stderr().lock());
    match exit {
        Ok(exit) => Ok(exit.into()),
        Err(error) => Err(Failure::usage(format!("cannot write the answer: {error}"))),
    }
}

/// The configuration file that is standard input.
const STDIN: &str = "-";

/// How commands end; the numbers are a promise to scripts and units (sysexits(3) from 64 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    Ok = 0,
    /// The input was judged, and is bad; or the server failed while it ran.
    Failed = 1,
    /// There is no answer: wrong arguments, input that cannot be read, or nowhere to write it.
    Usage = 2,
    /// The input was judged, and goes on.
    Incomplete = 3,
    /// A port is not to be had: EX_UNAVAILABLE.
    CannotBind = 69,
    /// A port needs a permission: EX_NOPERM.
    NoPermission = 77,
    /// The configuration has errors: EX_CONFIG.
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work, for stderr.
#[derive(Debug)]
struct Failure {
    exit: ExitCode,
    message: String,
}

impl Failure {
    fn new(exit: Exit, why: impl fmt::Display) -> Self {
        Self { exit: exit.into(), message: format!("error: {why}") }
    }

    fn usage(why: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, why)
    }

    /// Returns what it is about, without the help that may follow.
    fn in_a_line(&self) -> String {
        let line = self.message.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    }

    fn report(report: &Report, exit: Exit) -> Self {
        let faults = report.render(Colour::of(&io::stderr()));
        let faults = faults.trim_end();
        let summary = if report.errors().count() > 1 {
            format!("\n\nerror: {}", report.summary())
        } else {
            String::new()
        };
        Self { exit: exit.into(), message: format!("{faults}{summary}") }
    }
}

/// Writes an answer to stdout.
fn answer(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    unless_gone(stdout.write_all(bytes).and_then(|()| stdout.flush()))
        .map_err(|error| Failure::usage(format!("cannot write to stdout: {error}")))
}

/// A reader that has gone away (`| head`) is no failure.
fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
