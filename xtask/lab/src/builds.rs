//! Our own programs, built as a command needs them: cargo shows what it does.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use tools::cargo::{cargo, run};
use tools::target_dir;

/// Builds a program as it is shipped.
///
/// # Errors
/// When cargo fails.
pub(crate) fn shipped(program: &str) -> Result<PathBuf> {
    let words = ["build", "--profile", "dist", "--package", program];
    built(cargo().args(words), "dist", program)
}

/// Builds the server as the gate's tests do, with assertions on.
///
/// # Errors
/// When cargo fails.
pub(crate) fn server_with_assertions() -> Result<PathBuf> {
    let words = ["build", "--profile", "gate", "--package", "ppserver"];
    built(cargo().args(words), "gate", "ppserver")
}

/// Builds the server with frame pointers, without which perf(1) cannot walk its stacks.
///
/// # Errors
/// When cargo fails.
pub(crate) fn server_with_frames() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--profile", "dist", "--package", "ppserver", "--target-dir"]);
    command.arg(target_dir().join("frames")).env("RUSTFLAGS", "-C force-frame-pointers=yes");
    built(&mut command, "frames/dist", "ppserver")
}

fn built(command: &mut Command, dir: &str, program: &str) -> Result<PathBuf> {
    run(command)?;
    std::path::absolute(target_dir().join(dir).join(program)).context("the path of what was built")
}
