//! Payload bytes: the same for the same seed, without a pattern that a lost block could repeat.

/// The size most tests send: many reads, many segments, more than any buffer on the way.
pub(crate) const MIB: usize = 1024 * 1024;

/// `len` bytes from the SplitMix64 sequence of `seed`.
pub(crate) fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Fails with the first difference, instead of printing a megabyte twice.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], sent: &[u8]) {
    let first = got.iter().zip(sent).position(|(a, b)| a != b);
    assert!(
        first.is_none() && got.len() == sent.len(),
        "payload differs: {} bytes arrived of {} sent, first difference at {first:?}",
        got.len(),
        sent.len(),
    );
}
