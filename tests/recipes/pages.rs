//! What holds for every recipe: it is in the index, says what to look at when it does not work, names its files, and
//! its configurations are checked without an error or a warning.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::{ran, recipes};

/// What each page has.
const SECTIONS: [&str; 3] = ["## Files", "## Run it", "## When it does not work"];

fn entries(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

fn all() -> Vec<PathBuf> {
    let all: Vec<_> = entries(&recipes()).into_iter().filter(|path| path.is_dir()).collect();
    assert!(!all.is_empty());
    all
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8")
}

#[test]
fn the_index_has_every_recipe_and_each_page_names_its_files_and_what_to_look_at() {
    let index = text(&recipes().join("README.md"));
    for dir in all() {
        let link = format!("]({}/README.md)", name(&dir));
        assert!(index.contains(&link), "the index has no {link}");
        let page = text(&dir.join("README.md"));
        for section in SECTIONS {
            assert!(page.contains(&format!("\n{section}\n")), "{}: no {section}", dir.display());
        }
        for file in entries(&dir).iter().map(|path| name(path)).filter(|name| *name != "README.md")
        {
            assert!(page.contains(&format!("]({file})")), "{}: {file} is not named", dir.display());
        }
    }
}

#[test]
fn every_configuration_is_checked_without_an_error_or_a_warning() {
    for dir in all() {
        let configs = entries(&dir).into_iter().filter(|path| name(path).ends_with(".toml"));
        for config in configs {
            let mut check = Command::new(env!("CARGO_BIN_EXE_ppserver"));
            let output = ran(check.args(["check", "-c"]).arg(&config));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:\n{said}", config.display());
            assert!(!said.contains("warning"), "{}:\n{said}", config.display());
        }
    }
}
