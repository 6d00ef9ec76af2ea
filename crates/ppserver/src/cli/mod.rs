//! The command line: arguments in, an exit code out.
//!
//! Each subcommand is one module with an `Args` and a `run`; this file holds the list of them and
//! what they share. It does none of the work.
//! Invariant: stdout carries answers only, everything else goes to stderr.

mod decode;
mod encode;
mod hex;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --v1
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --crc32c | ppserver decode

Each command explains itself: `ppserver help decode`.";

/// A layer-4 proxy that speaks the PROXY protocol on both sides
#[derive(Debug, Parser)]
#[command(name = "ppserver", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Decode(decode::Args),
    Encode(encode::Args),
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Decode(args) => decode::run(&args),
            Self::Encode(args) => encode::run(&args),
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    Cli::parse().command.run().unwrap_or_else(|failure| {
        // With stderr gone there is nobody left to tell; the exit code still says it.
        let _ = writeln!(io::stderr(), "error: {}", failure.message);
        failure.exit
    })
}

/// How `decode` and `encode` end; the numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    Ok = 0,
    /// The input was judged, and is bad.
    Refused = 1,
    /// There is no answer: wrong arguments, input that cannot be read, or nowhere to write it.
    Usage = 2,
    /// The input was judged, and goes on.
    Incomplete = 3,
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
    fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage.into(), message: message.into() }
    }
}

/// Writes an answer to stdout. A reader that has gone away (`| head`) is no failure.
fn answer(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
