//! Chance from a seed: the only source of it in the simulator.
//!
//! SplitMix64: one addition and a finalizer, so any seed will do, 0 too.

#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    is_calm: bool,
    /// What a fuzzer chose, last first: taken before chance is asked.
    choices: Vec<u8>,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, is_calm: false, choices: Vec::new() }
    }

    /// No chance at all: of every choice the last one, which is the plainest (all the bytes at once,
    /// no whim of the kernel's).
    pub(crate) fn calm() -> Self {
        Self { is_calm: true, ..Self::new(0) }
    }

    /// Every number comes from `choices` while they last.
    #[cfg(fuzzing)]
    pub(crate) fn of_choices(choices: &[u8]) -> Self {
        Self { choices: choices.iter().rev().copied().collect(), ..Self::new(0) }
    }

    /// Another source, fed by this one: it gets the second half of the choices that are left.
    pub(crate) fn fork(&mut self) -> Self {
        let ours = self.choices.split_off(self.choices.len() / 2);
        let choices = std::mem::replace(&mut self.choices, ours);
        Self { choices, ..Self::new(self.next()) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Returns a number in `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        debug_assert!(bound > 0);
        if self.is_calm {
            return bound - 1;
        }
        self.choose(bound).unwrap_or_else(|| {
            usize::try_from(self.next() % bound as u64).expect("it is below a usize")
        })
    }

    /// Takes as few choices as can name each number below `bound`, so that a fuzzer changes one at a
    /// time.
    fn choose(&mut self, bound: usize) -> Option<usize> {
        let bits = usize::BITS - (bound - 1).leading_zeros();
        let rest = self.choices.len().checked_sub(bits.div_ceil(8) as usize)?;
        if self.choices.is_empty() || bits == 0 {
            return None;
        }
        let number = self
            .choices
            .drain(rest..)
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(byte));
        Some(number % bound)
    }

    /// Returns a number in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Returns true once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// What a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    /// What the client sends: its header, then its payload.
    Client,
    /// What the upstream sends.
    Upstream,
    /// The header we send.
    Header,
}

/// Returns the byte at an offset of a stream, so that no stretch of one looks like another.
pub(crate) fn byte_at(stream: Stream, offset: u64) -> u8 {
    let salt = match stream {
        Stream::Client => 0x0100_0000_0000,
        Stream::Upstream => 0x0200_0000_0000,
        Stream::Header => 0x0300_0000_0000,
    };
    mix(offset + salt).to_le_bytes()[0]
}
