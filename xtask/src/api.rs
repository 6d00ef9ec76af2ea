//! `cargo xtask api`: the public API of the libraries, held against docs/public-api.
//!
//! The way to the package that does it.

use anyhow::Result;
use tools::cargo::{cargo, run as run_command};

/// Hold the public API of the libraries against docs/public-api
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// Write docs/public-api anew
    #[arg(long)]
    write: bool,
}

/// Runs the command.
///
/// # Errors
/// When the API is another, or cannot be told.
pub(crate) fn run(args: &ApiArgs) -> Result<()> {
    let write = args.write.then_some("--write");
    run_command(cargo().args(["run", "--package", "api-listing", "--"]).args(write))
}

/// The gate's step.
///
/// # Errors
/// As [`run`].
pub(crate) fn check() -> Result<()> {
    run(&ApiArgs { write: false })
}
