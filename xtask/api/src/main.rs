//! The public API of the libraries, an item a line: `cargo xtask api` holds it against docs/public-api, and
//! `cargo xtask api --write` writes that anew.
//!
//! Not ppcapi's: that is its header. A package of its own, since only this reads what rustdoc knows.
#![expect(clippy::print_stdout, reason = "this is a command line: its output is its product")]

mod semver_check;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use tools::cargo::{cargo, run as run_command};

/// The libraries, with all their features.
const LIBRARIES: [&str; 3] = ["ppcore", "pptrust", "ppnet"];
/// What public-api reads, and the rustdoc of Rust 1.95 to 1.97 writes.
const FORMAT: &str = "\"format_version\":57";

/// Set where cargo is to take us for rustdoc.
const IS_RUSTDOC: &str = "API_LISTING_IS_RUSTDOC";

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let outcome = if env::var_os(IS_RUSTDOC).is_some() {
        become_rustdoc(&words).map(|never| match never {})
    } else {
        run(&words)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let is_written = match words {
        [] => false,
        [word] if word == "--write" => true,
        _ => bail!("usage: cargo xtask api [--write]"),
    };
    tools::enter_workspace()?;
    let mut changes = String::new();
    for library in LIBRARIES {
        let now = listing(library)?;
        let file = Path::new("docs/public-api").join(library).with_extension("txt");
        if is_written {
            fs::write(&file, &now).with_context(|| format!("writing {}", file.display()))?;
        }
        let known = fs::read_to_string(&file);
        let known = known.with_context(|| format!("reading {}", file.display()))?;
        changes += &difference(&known, &now);
    }
    if !changes.is_empty() {
        bail!(
            "the public API is not what docs/public-api says; `cargo xtask api --write` writes it:\n{changes}"
        );
    }
    println!("the public API of {} is what docs/public-api says", LIBRARIES.join(", "));
    semver_check::run(&LIBRARIES)
}

/// What a user of `library` can name; not what everything has, such as `impl<T> Into<U> for T`.
fn listing(library: &str) -> Result<String> {
    let mut rustdoc = cargo();
    rustdoc.args(["rustdoc", "--lib", "--all-features", "--package", library]);
    rustdoc.args(["--", "-Zunstable-options", "--output-format=json"]);
    run_command(rustdoc.env("RUSTDOC", env::current_exe()?).env(IS_RUSTDOC, "1"))?;
    let json = tools::target_dir().join(format!("doc/{library}.json"));
    let reading = || format!("reading {}", json.display());
    let text = fs::read_to_string(&json).with_context(reading)?;
    ensure!(text.contains(FORMAT), "this takes the rustdoc of Rust 1.95 to 1.97");
    let api = public_api::Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build();
    Ok(api.with_context(reading)?.to_string())
}

/// Becomes the toolchain's rustdoc, and lets it write a format that is not stable. With this variable cargo's own would
/// build everything anew that asks for the compiler's abilities.
fn become_rustdoc(words: &[String]) -> Result<Infallible> {
    let error = Command::new("rustdoc").args(words).env("RUSTC_BOOTSTRAP", "1").exec();
    Err(error).context("rustdoc does not start")
}

/// The lines that one has and the other has not.
fn difference(known: &str, now: &str) -> String {
    let gone = missing(known, now).into_iter().map(|line| format!("- {line}\n"));
    gone.chain(missing(now, known).into_iter().map(|line| format!("+ {line}\n"))).collect()
}

/// The lines of one that the other has not; an item that changed is one of them.
fn missing<'a>(one: &'a str, other: &'a str) -> Vec<&'a str> {
    let [one, other]: [BTreeSet<_>; 2] = [one.lines().collect(), other.lines().collect()];
    one.difference(&other).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_and_what_has_come_is_named() {
        assert_eq!(difference("a\nb\nc\n", "a\nc\nd\n"), "- b\n+ d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
