//! Durations and sizes as they are written: `"3s"`, `"4KiB"`.
//!
//! A bare number is neither: `30` of what? Invariant: what is printed reads back as the same value.

use std::time::Duration;

/// The units of a size, largest first; `KB` is left out because half its readers mean 1,000.
const SIZE_UNITS: [(&str, usize); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"500ms"`, `"3s"`, `"1m 30s"`; the error says what is wrong with it.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberExpected(_) => "a number is missing".to_owned(),
        humantime::DurationError::NumberOverflow => "the number is too large".to_owned(),
        humantime::DurationError::Empty => "it is empty".to_owned(),
        humantime::DurationError::InvalidCharacter(_) => "it is not a duration".to_owned(),
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
            "the unit is missing".to_owned()
        }
        humantime::DurationError::UnknownUnit { unit, .. } => format!("no unit is called `{unit}`"),
    })
}

/// Writes a duration so that it reads back exactly; whole days as days, not as months of 30.44 of them.
pub(super) fn format_duration(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    if seconds > 0 && duration.subsec_nanos() == 0 && seconds.is_multiple_of(DAY) {
        return format!("{}d", seconds / DAY);
    }
    humantime::format_duration(duration).to_string()
}

/// Reads `"16B"`, `"4KiB"`, `"1 MiB"`; the error says what is wrong with it.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    if digits.is_empty() {
        return Err("a number is missing".to_owned());
    }
    let unit = unit.trim_start();
    let Some((_, factor)) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => "the unit is missing".to_owned(),
            _ => format!("no unit is called `{unit}`"),
        });
    };
    let number = digits.parse::<usize>().ok();
    number.and_then(|n| n.checked_mul(factor)).ok_or_else(|| "the number is too large".to_owned())
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

    #[test]
    fn a_bad_duration_is_told_what_is_wrong() {
        assert_eq!(parse_duration("3"), Err("the unit is missing".into()));
        assert_eq!(parse_duration("3 parsecs"), Err("no unit is called `parsecs`".into()));
        assert_eq!(parse_duration(""), Err("it is empty".into()));
        assert_eq!(parse_duration("s"), Err("a number is missing".into()));
        assert_eq!(parse_duration("99999999999999999999s"), Err("the number is too large".into()));
        assert_eq!(parse_duration("-3s"), Err("a number is missing".into()));
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
        assert_eq!(parse_size("4096"), Err("the unit is missing".into()));
        assert_eq!(parse_size("4KB"), Err("no unit is called `KB`".into()));
        assert_eq!(parse_size("KiB"), Err("a number is missing".into()));
        assert_eq!(parse_size("-1B"), Err("a number is missing".into()));
        assert_eq!(parse_size("99999999999999999999B"), Err("the number is too large".into()));
        assert_eq!(parse_size("18446744073709551615GiB"), Err("the number is too large".into()));
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
        for text in ["366d", "1d", "25h", "1m 30s", "0s", "1ms"] {
            let written = format_duration(parse_duration(text).unwrap());
            assert_eq!(written, text.replace("25h", "1day 1h"));
        }
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
