//! `cargo xtask deny`: what dependencies may bring, by deny.toml.
//!
//! Not a step of the gate: building cargo-deny takes minutes. Its own run takes a second.

use anyhow::{Context, Result};
use tools::cargo::{cargo, needs, run as run_command};

const INSTALL: &str = "cargo install --locked cargo-deny";

/// Check licences, bans, sources and advisories of every dependency
///
/// Installs cargo-deny, which takes minutes. The advisories are fetched from the RustSec database; where it cannot
/// be reached this fails, once the rest is checked.
#[derive(Debug, clap::Args)]
pub(crate) struct DenyArgs {
    /// Leave out the advisories, where their database cannot be had
    #[arg(long)]
    without_advisories: bool,
}

/// Runs the command.
///
/// # Errors
/// When cargo-deny or the advisories cannot be had, or a dependency brings what deny.toml does not allow.
pub(crate) fn run(args: &DenyArgs) -> Result<()> {
    if needs(cargo().args(["deny", "--version"]), INSTALL).is_err() {
        run_command(cargo().args(INSTALL.split(' ').skip(1)))
            .with_context(|| format!("cargo-deny is not here; install it by hand: {INSTALL}"))?;
    }
    let check = ["deny", "--locked", "check"];
    run_command(cargo().args(check).args(["licenses", "bans", "sources"]))?;
    if args.without_advisories {
        return Ok(());
    }
    // Apart from the check, so that nobody takes the one for the other.
    run_command(cargo().args(["deny", "--locked", "fetch", "db"])).context(
        "whether there are known holes is NOT checked: the database of advisories cannot be fetched; \
         --without-advisories says that it need not be",
    )?;
    run_command(cargo().args(check).arg("advisories"))
        .context("a dependency has a known hole, or was taken back")
}
