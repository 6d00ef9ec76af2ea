//! Inputs near the vectors: cut, spliced, and with bytes changed, by a seed.

/// Bytes that mean something to one of the formats.
const TELLING: &[u8] =
    b"\0\x01\x02\x03\x04\x10\x11\x12\x20\x21\x22\x23\x30\x31\x32\x7f\xff \r\n.:0159afAFgPx+-";
/// The most changes to one input.
const CHANGES_MAX: usize = 3;

/// An endless run of inputs.
pub(crate) struct Mutations<'a> {
    seeds: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutations<'a> {
    /// `seeds` is not empty.
    pub(crate) fn new(seeds: &'a [Vec<u8>], seed: u64) -> Self {
        assert!(!seeds.is_empty(), "there must be something to change");
        Self { seeds, state: seed }
    }

    /// SplitMix64.
    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a length");
        usize::try_from(self.next_u64() % end).expect("below a length")
    }

    fn pick(&mut self) -> &'a [u8] {
        let index = self.below(self.seeds.len());
        &self.seeds[index]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let telling = TELLING[self.below(TELLING.len())];
        match self.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at, telling),
            2 => {
                let other = self.pick();
                input.truncate(at);
                input.extend_from_slice(other.get(at..).unwrap_or_default());
            }
            _ if at == input.len() => {}
            3 => input[at] = telling,
            4 => input[at] ^= 1 << self.below(8),
            _ => {
                input.remove(at);
            }
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.pick().to_vec();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        Some(input)
    }
}
