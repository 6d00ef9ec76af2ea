//! A hex dump of the bytes around one of them, which it marks.
//!
//! Not a dump of the whole input: a header may take 64 KiB. Invariant: only printable ASCII reaches
//! the output.

use std::fmt;

/// Bytes a row.
const ROW: usize = 16;
/// Rows shown in front of the marked one: enough for the fixed part and IPv4 addresses.
const ROWS_BEFORE: usize = 3;
const ROWS_BEHIND: usize = 1;

/// The rows around `at`, with a marker and a word under that byte.
#[derive(Debug)]
pub(in crate::cli) struct Dump<'a> {
    /// All bytes, from the header's first one.
    pub(in crate::cli) bytes: &'a [u8],
    /// The marked byte; `bytes.len()` marks the place behind the last one.
    pub(in crate::cli) at: usize,
    /// What the marker says.
    pub(in crate::cli) label: &'a str,
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marked = self.at / ROW;
        let first = marked.saturating_sub(ROWS_BEFORE);
        let last = (marked + ROWS_BEHIND).min(self.bytes.len().saturating_sub(1) / ROW).max(marked);
        if first > 0 {
            writeln!(f, "  ...")?;
        }
        for row in first..=last {
            self.row(f, row * ROW)?;
            if row == marked {
                let column = self.at % ROW;
                let indent = 3 * column + usize::from(column >= ROW / 2);
                writeln!(f, "{:9}{:indent$}^^ {}", "", "", self.label)?;
            }
        }
        if (last + 1) * ROW < self.bytes.len() {
            writeln!(f, "  ...")?;
        }
        Ok(())
    }
}

impl Dump<'_> {
    fn row(&self, f: &mut fmt::Formatter<'_>, at: usize) -> fmt::Result {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let bytes = bytes.get(..ROW).unwrap_or(bytes);
        write!(f, "  {at:05x}  ")?;
        for column in 0..ROW {
            let gap = if column == ROW / 2 { " " } else { "" };
            match bytes.get(column) {
                Some(byte) => write!(f, "{gap}{byte:02x} ")?,
                None => write!(f, "{gap}   ")?,
            }
        }
        let printable: String = bytes.iter().map(|&byte| dot(byte)).collect();
        writeln!(f, " |{printable}|")
    }
}

/// Returns the byte's character if it has a printable one, else a dot.
pub(super) fn dot(byte: u8) -> char {
    if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '.' }
}
