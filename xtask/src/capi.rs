//! `cargo xtask capi`: the C library's header, and the library put where a compiler finds it.
//!
//! The way to the two packages that do it: one is slow to build, and the other has to be fast.

use anyhow::Result;
use tools::cargo::{cargo, run as run_command};

const HELP: &str = "\
Examples:
  cargo xtask capi header                    # after a change of crates/ppcapi
  cargo capi-install --prefix /usr/local     # install, without what else is in xtask";

/// The C library: its header, and how to install it
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct CapiArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write crates/ppcapi/include/ppcapi.h anew
    Header,
    /// Build the libraries and copy them with headers and pkg-config file: `cargo capi-install`
    Install {
        /// What it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// When the sources cannot be read, do not build, or a file cannot be written.
pub(crate) fn run(args: &CapiArgs) -> Result<()> {
    match &args.command {
        Command::Header => run_command(cargo().args(["run", "--package", "capi-header"])),
        Command::Install { args } => {
            let install = ["run", "--package", "capi-install", "--"];
            run_command(cargo().args(install).args(args))
        }
    }
}
