//! Rows of the tables in a document, for the rules that hold a table against the sources.

/// One row of a table, without its header and the line below that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// From 1.
    pub(super) line: usize,
    pub(super) cells: Vec<&'a str>,
}

/// The rows of every table whose first column is called `first`.
pub(super) fn rows<'a>(document: &'a str, first: &str) -> Vec<Row<'a>> {
    let mut found = Vec::new();
    let (mut is_inside, mut is_wanted) = (false, false);
    for (text, line) in document.lines().zip(1..) {
        let Some(inner) = text.strip_prefix('|').and_then(|text| text.strip_suffix('|')) else {
            is_inside = false;
            continue;
        };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        if !is_inside {
            (is_inside, is_wanted) = (true, cells[0] == first);
        } else if is_wanted && !cells[0].starts_with("---") {
            found.push(Row { line, cells });
        }
    }
    found
}

/// What stands between backticks in a cell.
pub(super) fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_wanted_tables_come_with_their_lines() {
        let document = "# T\n\n| a | b |\n|---|---|\n| 1 | `x`, `y` |\n\n| c |\n|---|\n| 2 |\n";
        assert_eq!(rows(document, "a"), [Row { line: 5, cells: vec!["1", "`x`, `y`"] }]);
        assert_eq!(rows(document, "z"), []);
    }

    #[test]
    fn code_is_what_stands_between_backticks() {
        assert_eq!(code("`x` and `y`").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(code("none").count(), 0);
    }
}
