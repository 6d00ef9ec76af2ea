//! A decoder with a buffer of its own, for callers that get chunks and keep none.
//!
//! It takes exactly the header's bytes out of the chunks: what it leaves is payload.
//! Invariant: `buf[..len]` are the stream's first bytes, and no payload unless the header is absent.

use crate::{Decoded, Decoder, Error, Options, V1_LEN_MAX, V2_FIXED_LEN};

/// Collects a header of at most `N` bytes; `N` is at least 107.
///
/// ```
/// use ppcore::{Collected, Collector, Decoded, Options};
///
/// let mut collector = Collector::<512>::new(Options::new());
/// for chunk in [&b"PROXY UNK"[..], b"NOWN\r\nhello"] {
///     let collected: Collected = collector.push(chunk)?;
///     if let Decoded::Header(_) = collected.decoded {
///         assert_eq!(collector.received(), b"PROXY UNKNOWN\r\n");
///         assert_eq!(&chunk[collected.taken..], b"hello");
///     }
/// }
/// assert!(matches!(collector.finish(), Ok(Decoded::Header(_))));
/// # Ok::<(), ppcore::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Collector<const N: usize> {
    decoder: Decoder,
    buf: [u8; N],
    len: usize,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// The answer so far.
    pub decoded: Decoded,
    /// Bytes taken from this chunk; those behind them are payload once the answer is final.
    pub taken: usize,
}

impl<const N: usize> Collector<N> {
    /// Creates a collector. A v2 header longer than `N` bytes is refused as too long.
    pub const fn new(options: Options) -> Self {
        const { assert!(N >= V1_LEN_MAX, "a collector must hold the longest v1 line") };
        let room = N - V2_FIXED_LEN;
        let options = if room < options.v2_len_max as usize {
            #[expect(clippy::cast_possible_truncation, reason = "below a u16")]
            options.v2_len_max(room as u16)
        } else {
            options
        };
        Self { decoder: Decoder::new(options), buf: [0; N], len: 0 }
    }

    /// Takes the next chunk of the stream.
    ///
    /// After [`Decoded::Absent`] the payload is [`received`](Self::received) and what is left of the
    /// chunk behind it.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<Collected, Error> {
        let mut taken = 0;
        loop {
            let received = self.buf.get(..self.len).unwrap_or_default();
            let decoded = self.decoder.decode(received)?;
            let rest = chunk.get(taken..).unwrap_or_default();
            let Decoded::Need(need) = decoded else { return Ok(Collected { decoded, taken }) };
            let free = self.buf.get_mut(self.len..).unwrap_or_default();
            let count = need.min(rest.len()).min(free.len());
            if count == 0 {
                return Ok(Collected { decoded, taken });
            }
            for (to, from) in free.iter_mut().zip(rest).take(count) {
                *to = *from;
            }
            self.len += count;
            taken += count;
        }
    }

    /// Judges a stream that has ended.
    ///
    /// # Errors
    /// As [`Decoder::finish`].
    pub fn finish(&mut self) -> Result<Decoded, Error> {
        let received = self.buf.get(..self.len).unwrap_or_default();
        self.decoder.finish(received)
    }

    /// Returns the bytes taken so far: those of the header, from which its TLVs are read.
    pub fn received(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}
