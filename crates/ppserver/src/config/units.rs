//! Durations, sizes, bytes and types of TLVs as they are written: `"3s"`, `"4KiB"`, `"hex:0a0b"`, `0xEA`.
//!
//! A bare number is neither duration nor size: `30` of what? Invariant: what is printed reads back as the same value; a
//! duration is a whole number of milliseconds.

use std::time::Duration;

/// The units of a duration in milliseconds, largest first. A month or a year has no length that everybody
/// agrees on, and `M` would be one letter away from minutes.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of a size, largest first; `KB` is left out because half its readers mean 1,000.
const SIZE_UNITS: [(&str, usize); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Stands in front of bytes that are no text.
const HEX: &str = "hex:";

/// Why a text is no duration or size, or no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misread {
    /// What is wrong with it.
    pub(super) why: String,
    /// What may have been meant, by its unit.
    pub(super) meant: Option<String>,
}

impl Misread {
    fn new(why: &str) -> Self {
        Self { why: why.to_owned(), meant: None }
    }

    /// `before` stands in front of the unit, `after` behind it.
    fn unit(names: &str, before: &str, unit: &str, after: &str, meant: Option<&str>) -> Self {
        let why = match unit {
            "" => format!("a unit is missing: {names}"),
            _ => format!("no unit is called `{unit}`; there are {names}"),
        };
        let meant = meant.map(|meant| format!("{before}{meant}{after}"));
        Self { why, meant: meant.filter(|_| !unit.is_empty()) }
    }
}

/// Reads `"500ms"`, `"3s"`, `"1m 30s"`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Misread> {
    let mut millis: u64 = 0;
    let text = text.trim();
    let mut rest = text;
    if rest.is_empty() {
        return Err(Misread::new("it is empty"));
    }
    while !rest.is_empty() {
        let (digits, behind) = digits(rest)?;
        let behind = behind.trim_start();
        let unit_len = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        let (unit, after) = behind.split_at(unit_len);
        let Some((_, factor)) = DURATION_UNITS.into_iter().find(|(name, _)| *name == unit) else {
            let before = &text[..text.len() - behind.len()];
            let names = "ms, s, m, h, d";
            return Err(Misread::unit(names, before, unit, after, duration_unit_like(unit)));
        };
        let part = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        let sum = part.and_then(|part| millis.checked_add(part));
        millis = sum.ok_or_else(|| Misread::new("the number is too large"))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// Splits off the number that must stand in front.
fn digits(text: &str) -> Result<(&str, &str), Misread> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.split_at(len) {
        ("", _) => Err(Misread::new("a number is missing")),
        (_, rest) if rest.starts_with(['.', ',']) => Err(Misread::new("it is not a whole number")),
        split => Ok(split),
    }
}

/// The unit that is meant by `M`, `sec`, `Hours`.
fn duration_unit_like(unit: &str) -> Option<&'static str> {
    const BEGINNINGS: [(&str, &str); 6] =
        [("ms", "ms"), ("milli", "ms"), ("s", "s"), ("mi", "m"), ("h", "h"), ("d", "d")];
    let unit = unit.to_lowercase();
    let found = BEGINNINGS.into_iter().find(|(beginning, _)| unit.starts_with(beginning));
    found.map(|(_, meant)| meant).or((unit == "m").then_some("m"))
}

/// Writes a duration so that it reads back exactly.
pub(super) fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, factor) in DURATION_UNITS {
        let count = millis / factor;
        millis %= factor;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Reads `"16B"`, `"4KiB"`, `"1 MiB"`.
pub(super) fn parse_size(text: &str) -> Result<usize, Misread> {
    let (digits, behind) = digits(text)?;
    let unit = behind.trim_start();
    let Some((_, factor)) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit) else {
        let first = unit.to_lowercase().chars().next();
        let is_like = |(name, _): &(&str, usize)| name.to_lowercase().chars().next() == first;
        let meant = SIZE_UNITS.into_iter().find(is_like).map(|(name, _)| name);
        return Err(Misread::unit("B, KiB, MiB, GiB", digits, unit, "", meant));
    };
    let number = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| Misread::new("the number is too large"))
}

/// Reads the type of a TLV: `234`, `0xEA` or `0xea`.
pub fn parse_tlv_type(text: &str) -> Option<u8> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` alone would take a sign.
    let digits = Some(digits).filter(|digits| !digits.starts_with('+'))?;
    u8::from_str_radix(digits, radix).ok()
}

/// Reads the bytes of a text, or those behind `"hex:"`.
pub(super) fn parse_bytes(text: &str) -> Result<Vec<u8>, Misread> {
    let Some(digits) = text.strip_prefix(HEX) else { return Ok(text.as_bytes().to_vec()) };
    let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let Some(digits) = digits.filter(|digits| digits.len().is_multiple_of(2)) else {
        return Err(Misread::new("behind `hex:` are two hexadecimal digits a byte"));
    };
    let byte = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte * 16 + digit);
    let bytes = digits.chunks(2).map(|pair| u8::try_from(byte(pair)).expect("two digits"));
    Ok(bytes.collect())
}

/// Writes bytes as a text, if that can be read by people, so that they read back exactly.
pub(super) fn format_bytes(bytes: &[u8]) -> String {
    let text = str::from_utf8(bytes).ok();
    let is_plain = |text: &&str| !text.starts_with(HEX) && !text.contains(char::is_control);
    match text.filter(is_plain) {
        Some(text) => text.to_owned(),
        None => bytes.iter().fold(HEX.to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// Writes a size in the largest unit that divides it.
pub(super) fn format_size(bytes: usize) -> String {
    let fits = |(_, factor): &(&str, usize)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZE_UNITS.into_iter().find(fits).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_the_example_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
    }

    /// What is wrong with a duration, and what it is taken to mean.
    fn misread<T: std::fmt::Debug>(result: Result<T, Misread>) -> (String, Option<String>) {
        let misread = result.unwrap_err();
        (misread.why, misread.meant)
    }

    #[test]
    fn a_bad_duration_is_told_what_is_wrong() {
        let units = "ms, s, m, h, d";
        for (text, why, meant) in [
            ("3", format!("a unit is missing: {units}"), None),
            ("3 parsecs", format!("no unit is called `parsecs`; there are {units}"), None),
            ("3M", format!("no unit is called `M`; there are {units}"), Some("3m")),
            ("1h 30 min", format!("no unit is called `min`; there are {units}"), Some("1h 30 m")),
            (
                "2seconds 5ms",
                format!("no unit is called `seconds`; there are {units}"),
                Some("2s 5ms"),
            ),
            (" 3é ", format!("no unit is called `é`; there are {units}"), None),
            ("3months", format!("no unit is called `months`; there are {units}"), None),
            ("5us", format!("no unit is called `us`; there are {units}"), None),
            ("", "it is empty".to_owned(), None),
            ("s", "a number is missing".to_owned(), None),
            ("-3s", "a number is missing".to_owned(), None),
            ("1.5s", "it is not a whole number".to_owned(), None),
            ("99999999999999999999s", "the number is too large".to_owned(), None),
            ("18446744073709551615ms 1ms", "the number is too large".to_owned(), None),
        ] {
            let expected = (why, meant.map(str::to_owned));
            assert_eq!(misread(parse_duration(text)), expected, "{text}");
        }
    }

    #[test]
    fn sizes_of_the_example_are_read() {
        assert_eq!(parse_size("4KiB"), Ok(4096));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert_eq!(parse_size("65551B"), Ok(65_551));
        assert_eq!(parse_size("16 B"), Ok(16));
    }

    #[test]
    fn a_bad_size_is_told_what_is_wrong() {
        let units = "B, KiB, MiB, GiB";
        for (text, why, meant) in [
            ("4096", format!("a unit is missing: {units}"), None),
            ("4KB", format!("no unit is called `KB`; there are {units}"), Some("4KiB")),
            ("4m", format!("no unit is called `m`; there are {units}"), Some("4MiB")),
            ("4x", format!("no unit is called `x`; there are {units}"), None),
            ("KiB", "a number is missing".to_owned(), None),
            ("-1B", "a number is missing".to_owned(), None),
            ("1.5KiB", "it is not a whole number".to_owned(), None),
            ("99999999999999999999B", "the number is too large".to_owned(), None),
            ("18446744073709551615GiB", "the number is too large".to_owned(), None),
        ] {
            let expected = (why, meant.map(str::to_owned));
            assert_eq!(misread(parse_size(text)), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_divides_them() {
        assert_eq!(format_size(0), "0B");
        assert_eq!(format_size(4096), "4KiB");
        assert_eq!(format_size(65_551), "65551B");
        assert_eq!(format_size(3 << 20), "3MiB");
    }

    #[test]
    fn durations_are_written_as_people_do() {
        for text in ["366d", "1d", "1d 1h", "1m 30s", "0s", "1ms", "9h 6m 7s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(parse_duration("90s1500ms").unwrap()), "1m 31s 500ms");
    }

    proptest! {
        #[test]
        fn a_written_size_reads_back(bytes in any::<usize>()) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn a_written_duration_reads_back(millis in 0..=366 * 86_400_000u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
