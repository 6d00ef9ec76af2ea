//! Columns of text, and what stands in them.

use serde_json::Value;

/// Writes rows below a head, numbers to the right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|at| rows.iter().chain([&head]).map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let is_number: Vec<bool> = (0..head.len())
        .map(|at| !rows.is_empty() && rows.iter().all(|row| row[at].bytes().all(is_numeric)))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).zip(&is_number).map(|((cell, width), is_number)| {
            if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    [&head].into_iter().chain(rows).map(line).collect()
}

/// Writes a value of an answer into a cell; what does not apply is a dash.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [("edge", "7"), ("b", "1234")];
        let rows = rows.map(|(name, count)| vec![name.to_owned(), count.to_owned()]);
        let text = table(&["name", "active"], &rows);
        assert_eq!(text, "name  active\nedge       7\nb       1234\n");
    }
}
