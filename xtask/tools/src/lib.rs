//! What the project's own commands have in common: running programs and finding them, the workspace
//! and the machine they are on.
//!
//! Not a home for what one of them needs alone. It stands below `xtask` and so depends on next to
//! nothing: `cargo xtask tidy` in a fresh clone waits for it.

pub mod cargo;
pub mod git;
pub mod machine;
pub mod programs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Goes to the workspace's root, wherever the command was started.
///
/// # Errors
/// When there is no such directory.
pub fn enter_workspace() -> Result<()> {
    // The build may have been made elsewhere: cargo says which package it runs.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package.ancestors().find(|dir| dir.join("Cargo.lock").is_file());
    let root = root.with_context(|| format!("no workspace holds {}", package.display()))?;
    std::env::set_current_dir(root).with_context(|| format!("entering {}", root.display()))
}

/// Returns where cargo puts what it builds in the workspace, relative to its root.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new("target").into(), PathBuf::from)
}
