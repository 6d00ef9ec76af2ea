//! The packages as lintian(1) and rpmlint(1) see them. What they may say nevertheless stands, with its reason, in
//! packaging/debian/lintian-overrides and packaging/rpm/rpmlint.toml.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tools::cargo::run;

/// Lints a .deb and an .rpm.
///
/// # Errors
/// When one of them says a word.
pub(super) fn all([deb, rpm]: &[PathBuf; 2]) -> Result<()> {
    println!("\n== lintian, rpmlint");
    let mut lintian = Command::new("lintian");
    // Root's own check: the file is ours, and nobody else's.
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]);
    run(lintian.arg(deb))?;
    let mut rpmlint = Command::new("rpmlint");
    rpmlint.args(["--config", "packaging/rpm/rpmlint.toml"]).arg(rpm);
    let output = rpmlint.output().context("rpmlint does not start")?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{}", said.trim());
    // It fails on errors alone.
    if !output.status.success() || said.contains(": W: ") {
        bail!("rpmlint is not content with {}", rpm.display());
    }
    Ok(())
}
