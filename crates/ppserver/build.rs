//! Tells the program which commit it is built from, if anybody knows.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PPSERVER_COMMIT");
    // A packager's sources may have no history.
    let told = std::env::var("PPSERVER_COMMIT").ok();
    if let Some(commit) = told.or_else(|| git(&["rev-parse", "--short=12", "HEAD"])) {
        println!("cargo::rustc-env=PPSERVER_COMMIT={commit}");
    }
    // It has a line for each change of HEAD.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
