//! The lab: what takes time, programs of others, or drawing. `bench` compares us with others, `soak` and
//! `torment` try the whole server.
//!
//! Not the gate, and not started by hand: `cargo xtask bench`, `soak` and `torment` build and run it.
#![expect(clippy::print_stdout, reason = "this is a command line: its output is its product")]

mod bench;
mod builds;
mod host;
mod ports;
mod process;
mod soak;
mod usage;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measurements and endurance tests.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::BenchArgs),
    Soak(soak::SoakArgs),
    Torment(soak::torment::TormentArgs),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    tools::enter_workspace()?;
    match &arguments.command {
        Command::Bench(args) => bench::run(args),
        Command::Soak(args) => soak::run(args),
        Command::Torment(args) => soak::torment::run(args),
    }
}
