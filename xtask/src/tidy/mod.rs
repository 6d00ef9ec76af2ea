//! The rules of the sources that no compiler checks, each violation with its line and its reason.
//!
//! Not a formatter and not a linter of style: rustfmt and clippy come first, and a rule is here
//! only when they cannot say it. Invariant: a rule reads, never writes, and each has a planted
//! violation and a clean twin among its tests.

mod commands;
mod contents;
mod examples;
mod inventory;
mod layers;
mod links;
mod proofs;
mod source;
mod tables;
mod text;
mod threats;
mod unsafe_code;
mod whereabouts;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use self::source::Source;

/// One broken rule at one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Relative to the workspace, with `/`.
    path: String,
    /// From 1.
    line: usize,
    reason: String,
}

impl Violation {
    fn new(path: &str, line: usize, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, reason: reason.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.reason)
    }
}

/// Checks every source below `root` and prints what is wrong, sorted by place.
///
/// # Errors
/// When a rule is broken or a source cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let sources = source::read(root)?;
    let mut found = check(root, &sources);
    found.sort();
    found.dedup();
    for violation in &found {
        println!("{violation}");
    }
    match found.len() {
        0 => println!("{} files follow the rules", sources.len()),
        count => bail!("tidy: {count} violation(s) in {} files", sources.len()),
    }
    Ok(())
}

fn check(root: &Path, sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        found.extend(text::check(source));
        match &source.syntax {
            Some(Ok(syntax)) => {
                found.extend(text::check_syntax(source, syntax));
                found.extend(unsafe_code::check(source, syntax));
                found.extend(examples::check(source, syntax));
            }
            Some(Err(error)) => {
                let line = error.span().start().line;
                found.push(Violation::new(&source.path, line, format!("does not parse: {error}")));
            }
            None => {}
        }
    }
    found.extend(layers::check_server(sources));
    found.extend(layers::check_core(sources));
    found.extend(layers::check_trust(sources));
    found.extend(links::check(root, sources));
    found.extend(contents::check(sources));
    found.extend(commands::check(sources));
    found.extend(inventory::check(sources));
    found.extend(proofs::check(sources, crate::mutants::all()));
    found.extend(threats::check(sources));
    found.extend(whereabouts::check(root, sources));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_as_path_line_reason() {
        let violation = Violation::new("crates/x.rs", 7, "because");
        assert_eq!(violation.to_string(), "crates/x.rs:7: because");
    }

    #[test]
    fn a_source_that_does_not_parse_is_a_violation_at_its_line() {
        let sources = [Source::new("crates/x/src/a.rs", "//! A.\nfn (\n")];
        let mut found = check(Path::new("/nowhere"), &sources);
        found.retain(|violation| violation.path == "crates/x/src/a.rs");
        assert_eq!((found.len(), found[0].line), (1, 2), "{found:?}");
    }
}
