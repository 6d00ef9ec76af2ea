//! The sources that tidy reads: which files they are, their text, and the syntax of the Rust ones.
//!
//! Invariant: paths are relative to the workspace and written with `/` on every machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A file of the workspace that is text.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    /// Present for Rust sources.
    pub(super) syntax: Option<syn::Result<syn::File>>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let syntax = has_extension(path, "rs").then(|| syn::parse_file(text));
        Self { path: path.to_owned(), text: text.to_owned(), syntax }
    }
}

/// Not ours to judge: build output, the history, and the inputs of fuzzers, which are bytes.
const SKIPPED_DIRS: [&str; 3] = ["target", ".git", "corpus"];
/// Written by cargo.
const SKIPPED_FILES: [&str; 2] = ["Cargo.lock", ".git"];
/// The largest file that is read as a source; above it is data.
const BYTES_MAX: u64 = 1 << 20;

/// Reads every text file below `root`, sorted by path; symbolic links are not followed.
///
/// # Errors
/// When a directory or a file cannot be read.
pub(super) fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    walk(root, "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(dir: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED_DIRS.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), sources)?;
        } else if kind.is_file()
            && !SKIPPED_FILES.contains(&name.as_str())
            && entry.metadata()?.len() <= BYTES_MAX
        {
            let bytes = fs::read(entry.path()).with_context(|| format!("reading {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                sources.push(Source::new(&path, &text));
            }
        }
    }
    Ok(())
}

/// Whether the last part of `path` ends in `.extension`.
pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Whether the attributes limit their item to test builds: `#[test]`, `#[cfg(test)]` and
/// `#[cfg(all(test, ...))]`. Anything less certain counts as shipped code.
pub(super) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Meta>().is_ok_and(|meta| requires_test(&meta))
    })
}

fn requires_test(condition: &syn::Meta) -> bool {
    // cargo-fuzz's builds are never shipped either.
    if condition.path().is_ident("test") || condition.path().is_ident("fuzzing") {
        return true;
    }
    let syn::Meta::List(list) = condition else { return false };
    let parts = syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
    list.path.is_ident("all")
        && list.parse_args_with(parts).is_ok_and(|parts| parts.iter().any(requires_test))
}

/// The lines that a rule finds in one Rust source, for the tests of the rules.
#[cfg(test)]
pub(super) fn lines_of(
    check: fn(&Source, &syn::File) -> Vec<super::Violation>,
    path: &str,
    text: &str,
) -> Vec<usize> {
    let source = Source::new(path, text);
    let Some(Ok(syntax)) = &source.syntax else { panic!("{text} does not parse") };
    check(&source, syntax).into_iter().map(|violation| violation.line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_test_code_counts_as_test_code() {
        let cases = [
            ("#[test] fn f() {}", true),
            ("#[cfg(test)] fn f() {}", true),
            ("#[cfg(all(test, unix))] fn f() {}", true),
            ("#[cfg(all(fuzzing, not(test)))] fn f() {}", true),
            ("#[cfg(any(test, unix))] fn f() {}", false),
            ("#[cfg(not(test))] fn f() {}", false),
            ("#[cfg(feature = \"test\")] fn f() {}", false),
        ];
        for (text, expected) in cases {
            let item: syn::ItemFn = syn::parse_str(text).unwrap();
            assert_eq!(is_test_only(&item.attrs), expected, "{text}");
        }
    }

    #[test]
    fn text_below_the_root_is_read_and_build_output_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("docs/a.md", &b"text"[..]),
            ("src/target/b.rs", b"built"),
            ("data.bin", b"\xff\xfe"),
            ("Cargo.lock", b"locked"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let sources = read(dir.path()).unwrap();
        let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, ["docs/a.md"]);
    }
}
