//! The tables whose last column names tests, of the threat model and of the protocol's rules: each row
//! names some, and each of them exists.
//!
//! Whether a test covers its row a reader judges.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::source::Source;
use super::{Violation, tables};

/// A page, and what the first column of its tables is called.
const PAGES: [(&str, &str); 2] =
    [("docs/threat-model.md", "abuse"), ("docs/protocol.md", "section")];
/// What a cell without a test begins with, then why there is none.
const NONE: &str = "none: ";

/// Checks the pages against the tests of the sources.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut tests = Tests::default();
    for source in sources {
        if let Some(Ok(syntax)) = &source.syntax {
            tests.visit_file(syntax);
        }
    }
    PAGES.iter().flat_map(|&(page, first)| check_page(page, first, sources, &tests)).collect()
}

fn check_page(path: &str, first: &str, sources: &[Source], tests: &Tests) -> Vec<Violation> {
    let page = sources.iter().find(|source| source.path == path);
    let rows = page.map(|page| tables::rows(&page.text, first)).unwrap_or_default();
    if rows.is_empty() {
        return vec![Violation::new(
            path,
            1,
            format!("there is no table that begins with `{first}`"),
        )];
    }
    let mut found = Vec::new();
    for row in rows {
        let named: Vec<&str> =
            row.cells.last().into_iter().copied().flat_map(tables::code).collect();
        let is_without = row.cells.last().is_some_and(|cell| cell.starts_with(NONE));
        if named.is_empty() && !is_without {
            let reason = format!("a row names a test, or `{NONE}` and why");
            found.push(Violation::new(path, row.line, reason));
        }
        // A file, or the beginning of a vector's name, is no test's.
        let is_test = |name: &&str| !name.contains(['/', '*']);
        let missing = |name: &&str| !is_without && !tests.0.contains(*name);
        for name in named.into_iter().filter(is_test).filter(missing) {
            found.push(Violation::new(path, row.line, format!("there is no test `{name}`")));
        }
    }
    found
}

/// The names of functions with `#[test]`, `#[tokio::test]` or the like.
#[derive(Default)]
struct Tests(BTreeSet<String>);

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().segments.last().is_some_and(|last| last.ident == "test")
        };
        if function.attrs.iter().any(is_test) {
            self.0.insert(function.sig.ident.to_string());
        }
        visit::visit_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str =
        "mod t { #[test] fn a_b() {} #[tokio::test] async fn c_d() {} fn e_f() {} }";

    fn reasons(cell: &str) -> Vec<String> {
        let [(threats, abuse), (protocol, section)] = PAGES;
        let page = |first, cell| format!("| {first} | tests |\n|---|---|\n| x | {cell} |\n");
        let sources = [
            Source::new("a.rs", TESTS),
            Source::new(threats, &page(abuse, cell)),
            Source::new(protocol, &page(section, "`a_b`, `tests/vectors.rs`, vectors `v1_*`")),
        ];
        check(&sources).into_iter().map(|violation| violation.reason).collect()
    }

    #[test]
    fn a_page_without_its_tables_is_found() {
        let found = check(&[Source::new("a.rs", TESTS)]);
        let found: Vec<&str> = found.iter().map(|violation| &*violation.reason).collect();
        let missing =
            ["abuse", "section"].map(|it| format!("there is no table that begins with `{it}`"));
        assert_eq!(found, missing);
    }

    #[test]
    fn tests_that_exist_are_clean_and_so_is_a_reason_for_none() {
        for good in ["`a_b`", "`a_b`, `c_d`", "none: it is not built yet"] {
            assert_eq!(reasons(good), [""; 0], "{good}");
        }
    }

    #[test]
    fn a_test_that_does_not_exist_and_a_row_without_one_are_found() {
        assert_eq!(reasons("`a_b`, `e_f`"), ["there is no test `e_f`"]);
        assert_eq!(reasons("soon"), ["a row names a test, or `none: ` and why"]);
    }
}
