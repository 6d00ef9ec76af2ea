//! Numbers as people read them.

use std::time::Duration;

/// Writes a count with commas between thousands.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes what happens in a second: with a digit behind the point where it is little.
pub(super) fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { grouped(rate) }
}

/// Writes bytes, in powers of 1024.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let mut scaled = bytes / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        // What would be written with four digits.
        if scaled >= 1023.95 {
            (scaled, unit) = (scaled / 1024.0, larger);
        }
    }
    if scaled < 1000.0 {
        format!("{scaled:.1} {unit}")
    } else {
        format!("{} {unit}", grouped(scaled))
    }
}

/// Writes a span in its two largest units.
pub(super) fn span(span: Duration) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut seconds = span.as_secs();
    let first = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut words = Vec::new();
    for (name, unit) in UNITS.iter().skip(first).take(2) {
        words.push(format!("{}{name}", seconds / unit));
        seconds %= unit;
    }
    words.join(" ")
}

/// Writes a latency of which the bounds are known, in seconds; the upper one may be infinite.
pub(super) fn latency((above, at_most): (f64, f64)) -> String {
    let text = |seconds: f64| match seconds {
        _ if seconds >= 1.0 => format!("{seconds}s"),
        // Half a millisecond is the least of them.
        _ => format!("{}ms", (seconds * 1e4).round() / 10.0),
    };
    if at_most.is_finite() { format!("<{}", text(at_most)) } else { format!(">{}", text(above)) }
}

/// The nearest number with a point.
pub(super) fn as_f64(number: u64) -> f64 {
    let half = |half: u64| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    half(number >> 32) * (f64::from(u32::MAX) + 1.0) + half(number & u64::from(u32::MAX))
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    digits.parse().map_or(digits, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_are_read() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(0.0, "0.0"), (9.96, "10.0"), (123.4, "123"), (12_345.6, "12,346")] {
            assert_eq!(rate(number), text);
        }
        for (number, text) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (1_048_570.0, "1.0 MiB"),
            (1.5 * 1024.0 * 1024.0 * 1024.0, "1.5 GiB"),
            (5e15, "4,547 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn a_whole_number_keeps_its_size() {
        for (number, expected) in
            [(0, 0.0), (7, 7.0), (1 << 32, 4_294_967_296.0), (u64::MAX, 2f64.powi(64))]
        {
            assert!((as_f64(number) - expected).abs() < 1.0, "{number}");
        }
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (7_385, "2h 3m"),
            (90_000, "1d 1h"),
            (864_000, "10d 0h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn latencies_are_told_by_the_bucket_that_they_are_in() {
        for (bounds, text) in [
            ((0.0, 0.0005), "<0.5ms"),
            ((0.01, 0.025), "<25ms"),
            ((0.5, 1.0), "<1s"),
            ((1.0, 2.5), "<2.5s"),
            ((10.0, f64::INFINITY), ">10s"),
        ] {
            assert_eq!(latency(bounds), text);
        }
    }
}
