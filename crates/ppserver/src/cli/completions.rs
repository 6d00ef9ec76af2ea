//! `completions`: what a shell sources to complete commands, flags and their words.
//!
//! Made of the definition that parses the arguments, so it knows what this version knows.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Exit, Failure, answer};

const HELP: &str = "\
Packages have them installed. By hand, where each shell looks for them:

Examples:
  ppserver completions bash > ~/.local/share/bash-completion/completions/ppserver
  ppserver completions zsh > \"${fpath[1]}/_ppserver\"
  ppserver completions fish > ~/.config/fish/completions/ppserver.fish
  source <(ppserver completions bash)               # for this shell only

Exit codes:
  0  printed
  2  wrong arguments, or stdout cannot be written";

/// Prints what completes commands and flags in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ppserver", &mut script);
    answer(&script)?;
    Ok(Exit::Ok.into())
}
