//! The bytes that bodies carry: each is known from its position alone.
//!
//! Not random: both ends build the same table once and compare what arrives with what belongs
//! there, which finds a wrong, lost, doubled or moved byte more surely than a checksum. Invariant:
//! the period is prime, so that no buffer or pipe size is a multiple of it.

use std::fmt;

use clap::ValueEnum;

/// After this many bytes the pattern begins anew.
const PERIOD: usize = 65_521;
/// The most bytes lent at a time: what one write offers.
pub(crate) const CHUNK: usize = 256 * 1024;
/// How much of each end of a piece `Check::Ends` compares.
const END: usize = 64;

/// How closely arriving bytes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Every byte
    Full,
    /// The first and last 64 bytes of every read: finds what is lost, doubled or moved, for less
    /// CPU time
    Ends,
    /// None of them, only how many there are: for a server that is not our sink
    Length,
}

impl Check {
    /// Its name, as requests and `--check` have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Ends => "ends",
            Self::Length => "length",
        }
    }
}

/// The pattern, ready to be lent in pieces.
pub struct Pattern {
    table: Vec<u8>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").finish_non_exhaustive()
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    /// Builds the table.
    pub fn new() -> Self {
        let mut state: u32 = 0x9E37_79B9;
        let mut table: Vec<u8> = (0..PERIOD)
            .map(|_| {
                // Xorshift, by Marsaglia.
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_be_bytes()[0]
            })
            .collect();
        while table.len() < PERIOD + CHUNK {
            let more = (PERIOD + CHUNK - table.len()).min(PERIOD);
            table.extend_from_within(..more);
        }
        Self { table }
    }

    /// The bytes from `position` on, `len` of them but at most a chunk.
    pub fn piece(&self, position: u64, len: u64) -> &[u8] {
        let period = u64::try_from(PERIOD).expect("a small number");
        let start = usize::try_from(position % period).expect("below the period");
        let len = usize::try_from(len).map_or(CHUNK, |len| len.min(CHUNK));
        &self.table[start..start + len]
    }

    /// Whether `bytes`, at most a chunk, belong at `position`.
    pub fn matches(&self, position: u64, bytes: &[u8], check: Check) -> bool {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let expected = self.piece(position, len);
        match check {
            Check::Full => bytes == expected,
            Check::Ends if bytes.len() <= 2 * END => bytes == expected,
            Check::Ends => {
                let tail = bytes.len() - END;
                bytes[..END] == expected[..END] && bytes[tail..] == expected[tail..]
            }
            Check::Length => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_one_sequence() {
        let pattern = Pattern::new();
        let whole = pattern.piece(0, 200_000).to_vec();
        for cut in [1, 65_520, 65_521, 65_522, 131_072] {
            let cut_at = u64::try_from(cut).unwrap();
            let joined = [pattern.piece(0, cut_at), pattern.piece(cut_at, 200_000 - cut_at)];
            assert!(joined.concat() == whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_byte_is_found_by_the_full_check_and_a_moved_piece_by_both() {
        let pattern = Pattern::new();
        let mut bytes = pattern.piece(7, 1000).to_vec();
        for check in [Check::Full, Check::Ends] {
            assert!(pattern.matches(7, &bytes, check));
            assert!(!pattern.matches(8, &bytes, check));
            assert!(!pattern.matches(7 + 4096, &bytes, check));
        }
        bytes[500] ^= 1;
        assert!(!pattern.matches(7, &bytes, Check::Full));
        assert!(pattern.matches(7, &bytes, Check::Ends));
    }
}
