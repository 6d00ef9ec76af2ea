//! Arguments in, an exit code out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ppload::{LoadArgs, SinkArgs};

/// Load for servers and proxies behind the PROXY protocol, over loopback
#[derive(Debug, Parser)]
#[command(name = "ppload", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Load(LoadArgs),
    Sink(SinkArgs),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Load(args) => ppload::load(&args),
        Command::Sink(args) => ppload::sink(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
