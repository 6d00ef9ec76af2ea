//! Hex text as it is pasted: the dumps of xxd, `hexdump -C`, `od -t x1`, Wireshark and `tcpdump -X`.
//!
//! Text without offsets is [`hex`]'s. Invariant: every offset is the number of bytes in front of it, so that
//! no line is lost and no column of characters is read as bytes in silence.

use std::ops::Range;

use crate::cli::hex::{self, HexError, Position};

/// The fewest digits of an offset.
const OFFSET_DIGITS_MIN: usize = 4;
/// The digits of an offset of od and of hexdump without -C: od's are octal if there are 7.
const OD_OFFSET_DIGITS: [usize; 2] = [6, OCTAL_DIGITS];
const OCTAL_DIGITS: usize = 7;
/// Bytes behind which `hexdump -C` and Wireshark leave a gap.
const HALF_ROW: usize = 8;

/// What a text stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pasted {
    /// Bytes, from the first one on.
    Bytes(Vec<u8>),
    /// The packets of `tcpdump -x`, `-X` or `-XX`.
    Packets(Vec<Vec<u8>>),
}

/// Why a text stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasteError {
    #[error(transparent)]
    Hex(#[from] HexError),
    #[error(
        "the words at {position} may be of either byte order: `hexdump -C`, `xxd` or `od -t x1` leave no doubt"
    )]
    Words { position: Position },
    #[error("the offset at {position} says {offset} bytes, and {have} stand in front of it")]
    Offset { position: Position, offset: usize, have: usize },
    #[error("the line at {position} is none of a dump, as the first one is")]
    NoRow { position: Position },
    #[error("more than {} MiB; cut it first", super::INPUT_BYTES_MAX >> 20)]
    TooLong,
}

/// Reads a dump or hex text.
pub(super) fn read(text: &[u8]) -> Result<Pasted, PasteError> {
    let lines = || lines(text);
    if lines().any(|line| packet_row(text, line).is_some()) {
        return packets(text, lines().filter_map(|line| packet_row(text, line)));
    }
    let first = lines().find(|line| !text[line.clone()].is_empty());
    match first.and_then(|line| row(text, line)).filter(Row::may_be_first) {
        Some(first) => Ok(Pasted::Bytes(dump(text, &first)?)),
        None => Ok(Pasted::Bytes(hex::parse(text)?)),
    }
}

/// A line of a dump.
#[derive(Clone, Debug)]
struct Row {
    /// The offset's digits.
    digits: Range<usize>,
    /// Whether a colon stands behind it.
    has_colon: bool,
    offset: usize,
    cells: Range<usize>,
}

impl Row {
    /// Without a colon only an offset of 0 tells a dump from words of hex text: no header begins with NULs.
    fn may_be_first(&self) -> bool {
        self.has_colon || self.offset == 0
    }

    /// Returns where the first word begins that is not one byte, if its program may write such.
    fn words_at(&self, text: &[u8]) -> Option<usize> {
        let cells = text[self.cells.clone()].trim_ascii_start();
        let word_len = cells.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
        let is_od = !self.has_colon && OD_OFFSET_DIGITS.contains(&self.digits.len());
        (is_od && word_len > 2).then(|| self.cells.end - cells.len())
    }
}

/// The lines, without the white space around them.
fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    text.split(|&byte| byte == b'\n').map(move |line| {
        let start = end;
        end += line.len() + 1;
        let front = line.len() - line.trim_ascii_start().len();
        start + front..start + front + line.trim_ascii().len()
    })
}

/// Reads a line that begins with an offset.
fn row(text: &[u8], line: Range<usize>) -> Option<Row> {
    let digits = text[line.clone()].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = line.start..line.start + digits;
    let behind = &text[digits.end..line.end];
    let (has_colon, cells) = match behind {
        [] => (false, line.end..line.end),
        [b':', rest @ ..] if rest.first().is_none_or(u8::is_ascii_whitespace) => {
            (true, digits.end + 1..line.end)
        }
        [b' ', b' ', ..] | [b'\t', ..] => (false, digits.end..line.end),
        [b' ', ..] if OD_OFFSET_DIGITS.contains(&digits.len()) => (false, digits.end..line.end),
        _ => return None,
    };
    if digits.len() < OFFSET_DIGITS_MIN {
        return None;
    }
    let radix = if !has_colon && digits.len() == OCTAL_DIGITS { 8 } else { 16 };
    let offset = str::from_utf8(&text[digits.clone()]).ok()?;
    let offset = usize::from_str_radix(offset, radix).ok()?;
    Some(Row { digits, has_colon, offset, cells: without_characters(text, cells) })
}

/// Reads a line of tcpdump: `0x0010:  7f00 0001`.
fn packet_row(text: &[u8], line: Range<usize>) -> Option<Row> {
    let digits = text[line.clone()].strip_prefix(b"0x")?;
    row(text, line.end - digits.len()..line.end).filter(|row| row.has_colon)
}

/// Cuts the column of characters off, which stands behind two spaces or more.
fn without_characters(text: &[u8], line: Range<usize>) -> Range<usize> {
    let cells = &text[line.clone()];
    let blank = |at: usize| cells.get(at).is_none_or(u8::is_ascii_whitespace);
    let mut bytes = 0;
    let mut at = (0..cells.len()).find(|&at| !blank(at)).unwrap_or(cells.len());
    loop {
        let word_end = (at..cells.len()).find(|&at| blank(at)).unwrap_or(cells.len());
        let next = (word_end..cells.len()).find(|&at| !blank(at)).unwrap_or(cells.len());
        bytes += (word_end - at) / 2;
        let goes_on = match next - word_end {
            0 | 1 => true,
            2 => bytes == HALF_ROW && word_end - at == 2 && is_byte(cells, next),
            _ => false,
        };
        if next == cells.len() || !goes_on {
            return line.start..line.start + word_end;
        }
        at = next;
    }
}

/// Says whether a word of two digits stands there.
fn is_byte(cells: &[u8], at: usize) -> bool {
    let digits = cells.get(at..at + 2).is_some_and(|word| word.iter().all(u8::is_ascii_hexdigit));
    digits && cells.get(at + 2).is_none_or(u8::is_ascii_whitespace)
}

/// Reads a dump whose first line is `first`.
fn dump(text: &[u8], first: &Row) -> Result<Vec<u8>, PasteError> {
    let mut bytes = Vec::new();
    // hexdump, xxd -a and od write `*` for rows that are as the one before.
    let mut row_len = 0;
    let mut repeats = false;
    let limit = usize::try_from(super::INPUT_BYTES_MAX).unwrap_or(usize::MAX);
    for line in lines(text) {
        match &text[line.clone()] {
            b"" => continue,
            b"*" => {
                repeats = true;
                continue;
            }
            _ => {}
        }
        let at = line.start;
        let row = row(text, line)
            .ok_or_else(|| PasteError::NoRow { position: Position::of(at, text) })?;
        if let Some(at) = row.words_at(text) {
            return Err(PasteError::Words { position: Position::of(at, text) });
        }
        let until = row.offset.saturating_sub(first.offset);
        if repeats && row_len > 0 {
            if until > limit {
                return Err(PasteError::TooLong);
            }
            while bytes.len() + row_len <= until {
                bytes.extend_from_within(bytes.len() - row_len..);
            }
        }
        repeats = false;
        if row.offset < first.offset || bytes.len() != until {
            let position = Position::of(row.digits.start, text);
            return Err(PasteError::Offset { position, offset: until, have: bytes.len() });
        }
        let read = hex::parse_part(text, row.cells)?;
        row_len = read.len();
        bytes.extend(read);
    }
    Ok(bytes)
}

/// Reads the packets of tcpdump; lines that are no part of one say what tcpdump saw.
fn packets(text: &[u8], rows: impl Iterator<Item = Row>) -> Result<Pasted, PasteError> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for row in rows {
        if row.offset == 0 {
            packets.push(Vec::new());
        }
        let have = packets.last().map_or(0, Vec::len);
        let Some(packet) = packets.last_mut().filter(|_| row.offset == have) else {
            let position = Position::of(row.digits.start, text);
            return Err(PasteError::Offset { position, offset: row.offset, have });
        };
        packet.extend(hex::parse_part(text, row.cells)?);
    }
    Ok(Pasted::Packets(packets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";

    /// A header with 74 bytes of padding: rows that are alike.
    fn padded() -> Vec<u8> {
        let front = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x54\x03\0\x04\xa9\xb8\x7e\x8f\x04\0\x4a";
        [&front[..], &[0; 74]].concat()
    }

    fn bytes(text: &str) -> Vec<u8> {
        match read(text.as_bytes()) {
            Ok(Pasted::Bytes(bytes)) => bytes,
            other => panic!("{other:?} of {text}"),
        }
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_programs_print_is_read() {
        for dump in [
            "00000000: 5052 4f58 5920 5443 5034 2032 3033 2e30  PROXY TCP4 203.0\n\
             00000010: 2e31 3133 2e37 2031 3932 2e30 2e32 2e31  .113.7 192.0.2.1\n\
             00000020: 2035 3138 3230 2034 3433 0d0a             51820 443..\n",
            "00000000  50 52 4f 58 59 20 54 43  50 34 20 32 30 33 2e 30  |PROXY TCP4 203.0|\n\
             00000010  2e 31 31 33 2e 37 20 31  39 32 2e 30 2e 32 2e 31  |.113.7 192.0.2.1|\n\
             00000020  20 35 31 38 32 30 20 34  34 33 0d 0a              | 51820 443..|\n\
             0000002c\n",
            "000000 50 52 4f 58 59 20 54 43 50 34 20 32 30 33 2e 30  >PROXY TCP4 203.0<\n\
             000010 2e 31 31 33 2e 37 20 31 39 32 2e 30 2e 32 2e 31  >.113.7 192.0.2.1<\n\
             000020 20 35 31 38 32 30 20 34 34 33 0d 0a              > 51820 443..<\n\
             00002c\n",
            "0000000 50 52 4f 58 59 20 54 43 50 34 20 32 30 33 2e 30\r\n\
             0000020 2e 31 31 33 2e 37 20 31 39 32 2e 30 2e 32 2e 31\r\n\
             0000040 20 35 31 38 32 30 20 34 34 33 0d 0a\r\n\
             0000054\r\n",
            "  0000   50 52 4f 58 59 20 54 43 50 34 20 32 30 33 2e 30   PROXY TCP4 203.0\n\
             \x20 0010   2e 31 31 33 2e 37 20 31 39 32 2e 30 2e 32 2e 31   .113.7 192.0.2.1\n\n\
             \x20 0020   20 35 31 38 32 30 20 34 34 33 0d 0a                51820 443..\n",
        ] {
            assert_eq!(bytes(dump).escape_ascii().to_string(), LINE.escape_ascii().to_string());
        }
    }

    #[test]
    fn an_excerpt_begins_where_it_begins() {
        let dump = "00000010: 2e31 3133 2e37 2031 3932 2e30 2e32 2e31  .113.7 192.0.2.1\n\
                    00000020: 2035 3138 3230 2034 3433 0d0a             51820 443..\n";
        assert_eq!(bytes(dump), LINE[16..]);
    }

    #[test]
    fn rows_that_are_left_out_are_as_the_one_before() {
        for dump in [
            "00000000  0d 0a 0d 0a 00 0d 0a 51  55 49 54 0a 20 00 00 54  |.......QUIT. ..T|\n\
             00000010  03 00 04 a9 b8 7e 8f 04  00 4a 00 00 00 00 00 00  |.....~...J......|\n\
             00000020  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
             *\n\
             00000060  00 00 00 00                                       |....|\n\
             00000064\n",
            "0000000 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a 20 00 00 54\n\
             0000020 03 00 04 a9 b8 7e 8f 04 00 4a 00 00 00 00 00 00\n\
             0000040 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n\
             *\n\
             0000140 00 00 00 00\n\
             0000144\n",
            "00000000: 0d0a 0d0a 000d 0a51 5549 540a 2000 0054  .......QUIT. ..T\n\
             00000010: 0300 04a9 b87e 8f04 004a 0000 0000 0000  .....~...J......\n\
             00000020: 0000 0000 0000 0000 0000 0000 0000 0000  ................\n\
             *\n\
             00000060: 0000 0000                                ....\n",
        ] {
            assert_eq!(bytes(dump), padded());
        }
        assert!(error("00000000: 0d0a\n*\nffffffff: 00\n").starts_with("more than 16 MiB"));
    }

    #[test]
    fn characters_that_look_like_digits_are_no_bytes() {
        assert_eq!(bytes("00000000: 6162 2064 6520 3030 2031 3120  ab de 00 11 "), b"ab de 00 11 ");
        assert_eq!(bytes("00000000  61 62 20 20 63 64              |ab  cd|"), b"ab  cd");
        assert_eq!(bytes("0000   61 62 20 20 63 64   ab  cd"), b"ab  cd");
        assert_eq!(bytes("00000000: 7c61 7c20 3e62  |a| >b"), b"|a| >b");
    }

    #[test]
    fn words_of_hex_text_are_no_dump() {
        assert_eq!(bytes("50524f58 5920\n554e4b4e4f574e0d0a"), b"PROXY UNKNOWN\r\n");
        assert_eq!(bytes("0d0a0d0a  000d"), b"\r\n\r\n\0\r");
        assert_eq!(bytes("0d:0a:\n0d:0a\n"), b"\r\n\r\n");
        assert_eq!(bytes(""), b"");
    }

    #[test]
    fn words_of_either_byte_order_are_refused_aloud() {
        for dump in [
            "0000000 5250 584f 2059 4354 3450 3220 3330 302e\n",
            "0000000    5250    584f    2059    4354    3450    3220    3330    302e\n",
            "0000000 051120 054117 020131 041524 032120 031040 031460 030056\n",
            "000000 5250 584f\n",
        ] {
            let error = error(dump);
            assert!(error.contains("either byte order") && error.contains("hexdump -C"), "{error}");
        }
    }

    #[test]
    fn an_offset_that_does_not_fit_is_an_error_with_its_place() {
        let lost = error("00000000: 5052 4f58  PROX\n00000010: 5920\n");
        assert_eq!(
            lost,
            "the offset at line 2, column 1 says 16 bytes, and 4 stand in front of it"
        );
        // Eight bytes, and characters that look like a ninth and a tenth.
        let taken = error("00000000: 61 62 20 63 64 20 65 66  ab cd ef\n00000008: 00\n");
        assert!(taken.contains("line 2, column 1 says 8 bytes, and 11 stand"), "{taken}");
        let none = error("00000000: 5052\nsomething else\n");
        assert_eq!(none, "the line at line 2, column 1 is none of a dump, as the first one is");
        let digit = error("00000000: 5052\n00000002: 4g\n");
        assert_eq!(digit, "`g` at line 2, column 12 is not a hex digit");
    }

    #[test]
    fn packets_of_tcpdump_are_read_with_the_lines_between_them() {
        let text = "14:02:11.000001 IP 10.0.0.2.1000 > 10.0.0.1.80: Flags [P.], length 3\n\
            \t0x0000:  4500 002b 0001 0000 4006 0000 0a00 0002  E..+....@.......\n\
            \t0x0010:  50                                       P\n\
            14:02:11.000002 IP 10.0.0.2.1000 > 10.0.0.1.80: Flags [.]\n\
            \t0x0000:  4500 0028\n";
        let Ok(Pasted::Packets(packets)) = read(text.as_bytes()) else { panic!("packets") };
        let [first, second] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((first.len(), &first[..4], first[16]), (17, &[0x45, 0, 0, 0x2b][..], 0x50));
        assert_eq!(second, &[0x45, 0, 0, 0x28]);
        let lost = error("\t0x0000:  4500\n\t0x0010:  50\n");
        assert_eq!(
            lost,
            "the offset at line 2, column 4 says 16 bytes, and 2 stand in front of it"
        );
    }
}
