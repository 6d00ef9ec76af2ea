//! Asking git about this clone.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs git and returns what it says, dates in UTC, without what is blank around it.
///
/// # Errors
/// When git does not start or does not exit with 0.
pub fn git(words: &[&str]) -> Result<String> {
    let output = Command::new("git").env("TZ", "UTC").args(words).output();
    let output = output.context("git does not start; this is built from a clone")?;
    if !output.status.success() {
        bail!("git {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
