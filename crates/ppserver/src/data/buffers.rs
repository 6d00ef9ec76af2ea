//! Buffers that are not in use, by size.
//!
//! What is received goes into a large one; what has to wait for long moves into one of about its own size, so
//! that a byte which waits costs 256 of them and not 64 Ki. As many are kept as were in use at a time within
//! the last seconds: a crowd that comes again finds its buffers, and one that is gone gives them back.
//! Invariant: no more are free than were in use at once.

use std::time::Duration;

/// Bytes received at a time when copying. A read that fills it makes the direction bulky. Against
/// 16 KiB an answer of 16 KiB costs 0.60 of the CPU time, one of 256 KiB 0.81, a small one the same
/// (docs/performance.md).
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Room in front of what is received: our header is written there without moving the payload. Most
/// are 28 to 107 bytes; a longer one moves it.
pub(super) const HEADROOM: usize = 256;

/// How often it is looked at how many are in use.
pub(super) const TRIM_INTERVAL: Duration = Duration::from_secs(1);
/// So many of a size stay, whatever is in use.
const FREE_MIN: usize = 4;
/// The sizes: each four times the one before, so that at most three quarters of a buffer are empty.
const SIZES: [usize; 5] = [256, 1 << 10, 4 << 10, 16 << 10, HEADROOM + READ_BYTES];
const LARGEST: usize = SIZES.len() - 1;

/// The buffers of one size.
#[derive(Debug, Default)]
struct Stock {
    free: Vec<Box<[u8]>>,
    in_use: usize,
    /// The most in use at a time since the last look.
    peak: usize,
    /// So many may there be, in use and free.
    kept: usize,
}

/// The buffers of a worker.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    stocks: [Stock; SIZES.len()],
}

impl Buffers {
    /// Takes one to receive into.
    pub(super) fn take_largest(&mut self) -> Box<[u8]> {
        self.take_size(LARGEST)
    }

    /// Takes the smallest that holds so many bytes; `None` if no size does.
    pub(super) fn take(&mut self, len: usize) -> Option<Box<[u8]>> {
        let size = SIZES.iter().position(|size| *size >= len)?;
        Some(self.take_size(size))
    }

    /// Returns whether a smaller one than `bytes` would hold so many.
    pub(super) fn is_too_large(bytes: &[u8], len: usize) -> bool {
        SIZES.iter().any(|size| len <= *size && *size < bytes.len())
    }

    fn take_size(&mut self, size: usize) -> Box<[u8]> {
        let stock = &mut self.stocks[size];
        stock.in_use += 1;
        stock.peak = stock.peak.max(stock.in_use);
        stock.kept = stock.kept.max(stock.in_use);
        stock.free.pop().unwrap_or_else(|| vec![0; SIZES[size]].into_boxed_slice())
    }

    /// Gives one back; one that was made for a header beyond all sizes goes.
    pub(super) fn give(&mut self, bytes: Box<[u8]>) {
        let Some(size) = SIZES.iter().position(|size| *size == bytes.len()) else { return };
        let stock = &mut self.stocks[size];
        stock.in_use -= 1;
        if stock.in_use + stock.free.len() < stock.kept.max(FREE_MIN) {
            stock.free.push(bytes);
        }
    }

    /// Returns whether there are more than stay anyway.
    pub(super) fn is_spare(&self) -> bool {
        self.stocks.iter().any(|stock| stock.free.len() > FREE_MIN)
    }

    /// An interval is over: half of what was not in use in it goes.
    pub(super) fn trim(&mut self) {
        for stock in &mut self.stocks {
            stock.kept = stock.peak + (stock.kept - stock.peak) / 2;
            stock.peak = stock.in_use;
            stock.free.truncate(stock.kept.saturating_sub(stock.in_use).max(FREE_MIN));
            stock.free.shrink_to(FREE_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(buffers: &Buffers) -> [usize; SIZES.len()] {
        [0, 1, 2, 3, 4].map(|size| buffers.stocks[size].free.len())
    }

    #[test]
    fn what_waits_takes_the_smallest_size_that_holds_it() {
        let mut buffers = Buffers::default();
        for (len, size) in [(1, 256), (256, 256), (257, 1 << 10), (16_385, SIZES[LARGEST])] {
            assert_eq!(buffers.take(len).map(|bytes| bytes.len()), Some(size), "{len}");
        }
        assert_eq!(buffers.take(SIZES[LARGEST] + 1), None);
        let large = buffers.take_largest();
        assert!(Buffers::is_too_large(&large, 16 << 10));
        assert!(!Buffers::is_too_large(&large, (16 << 10) + 1));
        assert!(!Buffers::is_too_large(&[0; 256], 1));
    }

    #[test]
    fn as_many_are_kept_as_were_in_use_at_a_time_and_fewer_once_nobody_needs_them() {
        let mut buffers = Buffers::default();
        let crowd: Vec<_> = (0..100).map(|_| buffers.take_largest()).collect();
        crowd.into_iter().for_each(|bytes| buffers.give(bytes));
        assert_eq!(free(&buffers), [0, 0, 0, 0, 100]);
        buffers.trim();
        assert_eq!(free(&buffers)[LARGEST], 100, "they were in use a moment ago");
        let left: Vec<_> = (0..9)
            .map(|_| {
                buffers.trim();
                free(&buffers)[LARGEST]
            })
            .collect();
        assert_eq!(left, [50, 25, 12, 6, FREE_MIN, FREE_MIN, FREE_MIN, FREE_MIN, FREE_MIN]);
        assert!(!buffers.is_spare());
    }

    #[test]
    fn one_of_no_size_does_not_stay() {
        let mut buffers = Buffers::default();
        buffers.give(vec![0; 1000].into_boxed_slice());
        assert_eq!(free(&buffers), [0; SIZES.len()]);
    }
}
