//! The libraries away from here: an older compiler, other systems, and fewer features.
//!
//! Not a test of behaviour: `cargo check` and no more, since nothing here can run what it would build.
//! Invariant: what is missing is installed by rustup or is an error with the line that does it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{cargo, run};

/// The oldest compiler, the `rust-version` of both manifests.
const OLDEST: &str = "1.85.0";

/// One of each other kind of system.
const TARGETS: [&str; 2] = ["x86_64-pc-windows-gnu", "aarch64-apple-darwin"];

/// Each set leaves something out that another needs.
const FEATURES: [&str; 4] = ["", "std", "tokio", "axum"];

const LIBRARIES: [&str; 6] = ["check", "-p", "ppcore", "-p", "ppnet", "--all-features"];

/// Checks the libraries with each feature alone, for the other systems, and with the oldest compiler.
///
/// # Errors
/// When one of them does not build, or a target or toolchain cannot be installed.
pub(crate) fn check() -> Result<()> {
    for features in FEATURES {
        let alone = ["clippy", "-p", "ppnet", "--no-default-features", "--features", features];
        run(cargo().args(alone).args(["--", "-D", "warnings"]))?;
    }
    for target in TARGETS {
        rustup(&["target", "add", target])?;
        run(cargo().args(LIBRARIES).args(["--target", target]))?;
    }
    rustup(&["toolchain", "install", OLDEST, "--profile", "minimal", "--no-self-update"])?;
    run(Command::new("rustup").args(["run", OLDEST, "cargo"]).args(LIBRARIES))
}

/// Runs rustup; it does nothing and says so when what it is asked for is here.
fn rustup(arguments: &[&str]) -> Result<()> {
    let line = format!("rustup {}", arguments.join(" "));
    run(Command::new("rustup").args(arguments))
        .with_context(|| format!("the step needs what this installs: {line}"))
}
