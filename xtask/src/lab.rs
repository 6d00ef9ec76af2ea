//! `cargo xtask bench`, `soak` and `torment`: the package `lab`, built and run.
//!
//! A package of its own, since what it draws and counts with takes a minute to build and the gate
//! needs little of it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use tools::cargo::{cargo, run as run_command};

/// The words behind the command, for the lab to read.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct LabArgs {
    #[arg(allow_hyphen_values = true, trailing_var_arg = true, hide = true)]
    words: Vec<OsString>,
}

/// Becomes the lab's command of this name: signals and the exit code are its own.
///
/// # Errors
/// When cargo does not start.
pub(crate) fn become_command(name: &str, args: &LabArgs) -> Result<Infallible> {
    // As shipped: most of its dependencies are those of what it builds and runs.
    let mut command = lab("release");
    let error = command.arg(name).args(&args.words).exec();
    Err(error).context("cargo does not start")
}

/// The gate's torment, in the profile of the gate's tests, for which it has been built already.
///
/// # Errors
/// When a session goes wrong or leaves something behind.
pub(crate) fn torment() -> Result<()> {
    run_command(lab("gate").args(["torment", "--gate"]))
}

fn lab(profile: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--profile", profile, "--package", "lab", "--"]);
    command
}
