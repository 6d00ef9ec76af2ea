//! Bytes as pairs of lower-case digits.

/// Writes all of them, without separators.
pub fn format(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes so many of them at most; dots say that there are more.
pub fn first(bytes: &[u8], max: usize) -> String {
    let more = if bytes.len() > max { "..." } else { "" };
    format(&bytes[..bytes.len().min(max)]) + more
}
