//! The threat model in docs/threat-model.md: each abuse names tests, and each of them exists.
//!
//! Whether a test covers its abuse a reader judges.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::source::Source;
use super::{Violation, tables};

const PAGE: &str = "docs/threat-model.md";
/// What a cell without a test begins with, then why there is none.
const NONE: &str = "none: ";

/// Checks the page against the tests of the sources.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return vec![Violation::new(PAGE, 1, "the threat model is missing")];
    };
    let mut tests = Tests::default();
    for source in sources {
        if let Some(Ok(syntax)) = &source.syntax {
            tests.visit_file(syntax);
        }
    }
    let mut found = Vec::new();
    for row in tables::rows(&page.text, "abuse") {
        let named: Vec<&str> =
            row.cells.last().into_iter().copied().flat_map(tables::code).collect();
        let is_without = row.cells.last().is_some_and(|cell| cell.starts_with(NONE));
        if named.is_empty() && !is_without {
            let reason = format!("an abuse names a test, or `{NONE}` and why");
            found.push(Violation::new(PAGE, row.line, reason));
        }
        for name in named.into_iter().filter(|name| !is_without && !tests.0.contains(*name)) {
            found.push(Violation::new(PAGE, row.line, format!("there is no test `{name}`")));
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
        let page = format!("| abuse | answer | tests |\n|---|---|---|\n| x | y | {cell} |\n");
        let sources = [Source::new("a.rs", TESTS), Source::new(PAGE, &page)];
        check(&sources).into_iter().map(|violation| violation.reason).collect()
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
        assert_eq!(reasons("soon"), ["an abuse names a test, or `none: ` and why"]);
    }
}
