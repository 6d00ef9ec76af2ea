//! The book's table of contents lists every page, once: those at the root and of docs/, and the README of each crate.

use super::Violation;
use super::source::{Source, has_extension};
use crate::book;

/// Checks the table against the documents.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let summary = sources.iter().find(|source| source.path == book::SUMMARY);
    let listed = summary.map(|summary| book::pages(&summary.text)).unwrap_or_default();
    let mut found = Vec::new();
    for page in sources.iter().map(|source| source.path.as_str()).filter(|path| is_page(path)) {
        let count = listed.iter().filter(|path| *path == page).count();
        if count != 1 {
            let reason = format!("{page} is to be listed once, and is {count} times");
            found.push(Violation::new(book::SUMMARY, 1, reason));
        }
    }
    found
}

fn is_page(path: &str) -> bool {
    let is_there = !path.contains('/')
        || path.starts_with("docs/")
        || path.starts_with("crates/") && path.ends_with("/README.md");
    is_there && has_extension(path, "md") && path != book::SUMMARY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(summary: &str) -> Vec<String> {
        let paths = ["README.md", "docs/a.md", "crates/x/README.md", "tests/b.md", "docs/c.rs"];
        let mut sources: Vec<Source> = paths.iter().map(|path| Source::new(path, "")).collect();
        sources.push(Source::new(book::SUMMARY, summary));
        check(&sources).into_iter().map(|violation| violation.reason).collect()
    }

    #[test]
    fn a_table_with_every_page_once_is_clean() {
        assert_eq!(reasons("[a](../README.md) [b](a.md) [c](../crates/x/README.md)"), [""; 0]);
    }

    #[test]
    fn a_page_that_is_not_listed_or_is_twice_is_found() {
        let found = reasons("[b](a.md) [b](a.md) [c](../crates/x/README.md)");
        let expected = [("README.md", 0), ("docs/a.md", 2)];
        let reason = |(page, count)| format!("{page} is to be listed once, and is {count} times");
        assert_eq!(found, expected.map(reason));
    }
}
