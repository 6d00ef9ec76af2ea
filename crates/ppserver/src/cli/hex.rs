//! Hex text: bytes as pairs of digits.
//!
//! Not a dump format: offsets and printable columns are no hex text (`decode` knows them). Invariant: text
//! that could be read in two ways (`0xd 0xa`) is refused, never guessed at.

use std::fmt;
use std::ops::Range;

pub(super) use crate::telemetry::hex::format;

/// Reads words of whole bytes, in either case: `0d0a`, `0d:0a`, `0x0d, 0x0a`, `\x0d\x0a`.
pub(super) fn parse(text: &[u8]) -> Result<Vec<u8>, HexError> {
    parse_part(text, 0..text.len())
}

/// Reads a part of a text; places count from the beginning of all of it.
pub(super) fn parse_part(text: &[u8], part: Range<usize>) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(part.len() / 2);
    let mut rest = part;
    while let Some(word) = word(text, &mut rest) {
        let digits = &text[word.clone()];
        let prefix_len = [&b"0x"[..], b"0X", b"\\x"]
            .iter()
            .find_map(|prefix| digits.starts_with(prefix).then_some(prefix.len()));
        let digits_at = word.start + prefix_len.unwrap_or(0);
        let mut high = None;
        for at in digits_at..word.end {
            let byte = text[at];
            let digit = nibble(byte)
                .ok_or_else(|| HexError::BadDigit { byte, position: Position::of(at, text) })?;
            match high.take() {
                None => high = Some(digit),
                Some(high) => bytes.push(high << 4 | digit),
            }
        }
        if high.is_some() {
            return Err(HexError::HalfByte { position: Position::of(digits_at, text) });
        }
    }
    Ok(bytes)
}

/// Takes the next word off `rest`; a backslash begins one.
fn word(text: &[u8], rest: &mut Range<usize>) -> Option<Range<usize>> {
    let start = rest.clone().find(|&at| !is_separator(text[at]))?;
    let ends = |&at: &usize| is_separator(text[at]) || text[at] == b'\\';
    let end = (start + 1..rest.end).find(ends).unwrap_or(rest.end);
    rest.start = end;
    Some(start..end)
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b':')
}

/// Why text is not hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HexError {
    #[error("`{}` at {position} is not a hex digit", byte.escape_ascii())]
    BadDigit { byte: u8, position: Position },
    #[error("the digits at {position} are odd in number, and a byte takes two")]
    HalfByte { position: Position },
}

/// A place in text, counted from 1; columns are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    pub(super) fn of(at: usize, text: &[u8]) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_at = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |lf| lf + 1);
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Self { line, column: 1 + before.len() - line_at }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_prefixes_and_case_do_not_matter() {
        assert_eq!(parse(b" 0x0d0A\r\n\t0X00 ff\n").unwrap(), [0x0d, 0x0a, 0, 0xff]);
        assert_eq!(parse(b" \n"), Ok(Vec::new()));
    }

    #[test]
    fn what_other_programs_put_between_bytes_is_passed_over() {
        for text in ["0d:0a:00", "0x0d, 0x0a, 0x00,", r"\x0d\x0A\x00", "0x0d,0x0a,00", "0d0a,00"] {
            assert_eq!(parse(text.as_bytes()).unwrap(), [0x0d, 0x0a, 0], "{text}");
        }
    }

    #[test]
    fn an_escape_that_is_not_of_two_digits_is_refused() {
        for text in [r"\x0d\n", r"\0d", r"\", r"\x0", r"\u0d"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_digit_is_named_with_its_line_and_column() {
        let error = parse(b"0d 0a\n00 \xffg").unwrap_err();
        assert_eq!(error.to_string(), r"`\xff` at line 2, column 4 is not a hex digit");
    }

    #[test]
    fn half_a_byte_is_refused_rather_than_joined_with_the_next_word() {
        let error = parse(b"0d 0xd 0xa").unwrap_err();
        let text = "the digits at line 1, column 6 are odd in number, and a byte takes two";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(parse(format(&bytes).as_bytes()).unwrap(), bytes);
    }
}
