//! Tells the program which commit it is built from; `unknown` where nobody knows.

use std::fs;
use std::process::Command;

/// What `cargo package` puts beside the manifest.
const PACKED: &str = ".cargo_vcs_info.json";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PPSERVER_COMMIT");
    // A packager's sources may have no history, and a crate's may lie in the repository of somebody else.
    let told = std::env::var("PPSERVER_COMMIT").ok();
    let packed = fs::read_to_string(PACKED).ok();
    let commit = told.or_else(|| match &packed {
        Some(info) => packed_commit(info),
        None => git(&["rev-parse", "--short=12", "HEAD"]),
    });
    println!("cargo::rustc-env=PPSERVER_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    if packed.is_some() {
        println!("cargo::rerun-if-changed={PACKED}");
    } else if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        // It has a line for each change of HEAD.
        println!("cargo::rerun-if-changed={log}");
    }
}

/// The first twelve digits behind `"sha1": "`.
fn packed_commit(info: &str) -> Option<String> {
    let (_, behind) = info.split_once("\"sha1\"")?;
    behind.split('"').nth(1)?.get(..12).map(str::to_owned)
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
