//! The inventory of `unsafe` in docs/unsafe.md: every file that holds some, and how many blocks.
//!
//! Whether a row says the right thing a reader judges; that a block was added or taken away without
//! a look at it, this does.

use std::collections::BTreeMap;

use super::source::Source;
use super::{Violation, tables, unsafe_code};

const PAGE: &str = "docs/unsafe.md";

/// Checks the page against the sources: rows of one file are added up.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return vec![Violation::new(PAGE, 1, "the inventory of `unsafe` is missing")];
    };
    let mut found = Vec::new();
    let mut listed = BTreeMap::<&str, (usize, usize)>::new();
    for row in tables::rows(&page.text, "file") {
        let path = row.cells.first().and_then(|cell| tables::code(cell).next());
        let count = row.cells.get(1).and_then(|cell| cell.parse::<usize>().ok());
        let (Some(path), Some(count), 3) = (path, count, row.cells.len()) else {
            found.push(Violation::new(
                PAGE,
                row.line,
                "a row is `file`, a count, and the rule met",
            ));
            continue;
        };
        let (_, sum) = listed.entry(path).or_insert((row.line, 0));
        *sum += count;
    }
    for source in sources {
        let Some(Ok(syntax)) = &source.syntax else { continue };
        let lines = unsafe_code::blocks(syntax);
        let (line, count) = listed.remove(source.path.as_str()).unwrap_or((1, 0));
        if count != lines.len() {
            let (path, real) = (&source.path, lines.len());
            let reason =
                format!("{path} has {real} unsafe blocks and impls, at {lines:?}; listed: {count}");
            found.push(Violation::new(PAGE, line, reason));
        }
    }
    let gone = listed.into_iter().map(|(path, (line, _))| {
        Violation::new(PAGE, line, format!("there is no {path}, or it is no Rust source"))
    });
    found.extend(gone);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYS: &str = "// SAFETY: x\nunsafe impl Send for X {}\nfn f() { unsafe { g() } }";

    fn reasons(rows: &str) -> Vec<String> {
        let page = format!("| file | blocks | rule |\n|---|---|---|\n{rows}");
        let sources = [Source::new("a/sys.rs", SYS), Source::new(PAGE, &page)];
        check(&sources).into_iter().map(|violation| violation.reason).collect()
    }

    #[test]
    fn rows_that_add_up_are_clean() {
        assert_eq!(reasons("| `a/sys.rs` | 1 | g(2) |\n| `a/sys.rs` | 1 | X |\n"), [""; 0]);
        assert_eq!(reasons("| `a/sys.rs` | 2 | both |\n"), [""; 0]);
    }

    #[test]
    fn a_wrong_count_a_missing_file_and_a_gone_file_are_found() {
        let wrong = "a/sys.rs has 2 unsafe blocks and impls, at [2, 3]; listed: ";
        assert_eq!(reasons("| `a/sys.rs` | 1 | g(2) |\n"), [format!("{wrong}1")]);
        assert_eq!(reasons(""), [format!("{wrong}0")]);
        let gone = reasons("| `a/sys.rs` | 2 | x |\n| `a/old.rs` | 1 | x |\n");
        assert_eq!(gone, ["there is no a/old.rs, or it is no Rust source"]);
        assert_eq!(reasons("| `a/sys.rs` | two | x |\n").len(), 2);
    }

    #[test]
    fn a_page_that_is_missing_is_found() {
        assert_eq!(check(&[Source::new("a/sys.rs", SYS)]).len(), 1);
    }
}
