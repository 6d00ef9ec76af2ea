//! The same sources in another directory, built into another one, give the same program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::archive::sha256;
use crate::binary::{self, Sources};
use crate::contents::read;
use crate::release::{self, Release};
use crate::target::Target;

/// Builds each again below `dir`, and compares.
///
/// # Errors
/// When one differs, or does not build.
pub(super) fn compare(targets: &[Target], release: &Release, dir: &Path) -> Result<()> {
    println!("\n== built again in another directory");
    let again = Sources { root: dir.join("again"), target_dir: dir.join("again-target") };
    for file in release::files()? {
        let copy = again.root.join(&file);
        let parent = copy.parent().unwrap_or(&again.root);
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        fs::copy(&file, &copy).with_context(|| format!("copying {file}"))?;
    }
    for &target in targets {
        // Built a moment ago: cargo finds it.
        let first = binary::build(target, release, &Sources::here()?)?;
        let second = binary::build(target, release, &again)?;
        let [first, second] = [sha256(&read(first)?), sha256(&read(second)?)];
        println!("{first} here\n{second} in another directory");
        if first != second {
            bail!("{}: the program differs with the directory it is built in", target.triple());
        }
    }
    Ok(())
}
