//! Hex text: bytes as pairs of digits.
//!
//! Not a dump format: offsets and printable columns are no hex text. Invariant: text that could be
//! read in two ways (`0xd 0xa`) is refused, never guessed at.

use std::fmt;

pub(super) use crate::telemetry::hex::format;

/// Reads words separated by white space, each of whole bytes in either case, with or without `0x`.
pub(super) fn parse(text: &[u8]) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut word_at = 0;
    for word in text.split(u8::is_ascii_whitespace) {
        let digits = word.strip_prefix(b"0x").or_else(|| word.strip_prefix(b"0X")).unwrap_or(word);
        let digits_at = word_at + word.len() - digits.len();
        let mut high = None;
        for (at, &byte) in (digits_at..).zip(digits) {
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
        word_at += word.len() + 1;
    }
    Ok(bytes)
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
    fn of(at: usize, text: &[u8]) -> Self {
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
