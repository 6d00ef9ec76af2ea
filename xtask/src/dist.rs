//! `cargo xtask dist`: the package `dist`, built and run.
//!
//! A package of its own, since what it packs with takes a while to build and the gate needs little of it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};
use tools::cargo::cargo;

/// The words behind the command, for the package to read.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct DistArgs {
    #[arg(allow_hyphen_values = true, trailing_var_arg = true, hide = true)]
    words: Vec<OsString>,
}

/// Becomes the command: signals and the exit code are its own.
///
/// # Errors
/// When cargo does not start.
pub(crate) fn become_command(args: &DistArgs) -> Result<Infallible> {
    let mut command = cargo();
    command.args(["run", "--release", "--package", "dist", "--"]).args(&args.words);
    Err(command.exec()).context("cargo does not start")
}
