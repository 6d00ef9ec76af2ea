//! The table "where do I change X" of docs/architecture.md: every place it names is there.
//!
//! Whether it is the right place a reader judges.

use std::path::Path;

use super::source::Source;
use super::{Violation, tables};

const PAGE: &str = "docs/architecture.md";
/// What the first column of the table is called.
const FIRST: &str = "to change";
/// Fewer rows answer too few questions.
const ROWS_MIN: usize = 15;

/// Checks the page against the files below `root`.
pub(super) fn check(root: &Path, sources: &[Source]) -> Vec<Violation> {
    let page = sources.iter().find(|source| source.path == PAGE);
    let rows = page.map(|page| tables::rows(&page.text, FIRST)).unwrap_or_default();
    let mut found = Vec::new();
    if rows.len() < ROWS_MIN {
        let reason = format!("the table that begins with `{FIRST}` has fewer than {ROWS_MIN} rows");
        found.push(Violation::new(PAGE, 1, reason));
    }
    for row in rows {
        let named: Vec<&str> = row.cells.iter().skip(1).copied().flat_map(tables::code).collect();
        if named.is_empty() {
            found.push(Violation::new(PAGE, row.line, "a row names a place, from the top"));
        }
        let is_gone = |path: &&str| !root.join(path).exists();
        for path in named.into_iter().filter(is_gone) {
            found.push(Violation::new(PAGE, row.line, format!("there is no {path}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(count: usize, cell: &str) -> Vec<String> {
        let row = format!("| x | {cell} |\n");
        let page = format!("| {FIRST} | look at |\n|---|---|\n{}", row.repeat(count));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = check(root, &[Source::new(PAGE, &page)]);
        found.into_iter().map(|violation| violation.reason).collect()
    }

    #[test]
    fn places_that_are_there_are_clean() {
        assert_eq!(reasons(ROWS_MIN, "`src/tidy/mod.rs`, `src/tidy`"), [""; 0]);
    }

    #[test]
    fn a_place_that_is_not_there_a_row_without_one_and_too_few_rows_are_found() {
        assert_eq!(reasons(ROWS_MIN, "`src/none.rs`")[0], "there is no src/none.rs");
        assert_eq!(reasons(ROWS_MIN, "somewhere")[0], "a row names a place, from the top");
        assert_eq!(reasons(1, "`src`").len(), 1);
        assert_eq!(check(Path::new("."), &[]).len(), 1);
    }
}
