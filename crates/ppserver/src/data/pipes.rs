//! Pipes that are not in use, and how many of which size there may be. Whether one is used is the session's to
//! decide (`core/session/flow.rs`).
//!
//! Large ones come first: 1 MiB in place of 256 KiB saves a seventh of the CPU time of bulk
//! (docs/performance.md). The kernel counts the pages of a user's pipes (pipe(7)), so large ones take
//! at most half of them, and what else is needed has the size that pipe(2) gives.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::buffers::READ_BYTES;
use crate::data::sys;

/// What pipe(2) gives, in bytes (pipe(7)).
const SMALL_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4096;

/// How many pipes there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeLimits {
    /// Pipes of `large_bytes`, which are taken first.
    pub large: usize,
    /// Bytes a large pipe holds.
    pub large_bytes: usize,
    /// Pipes of 64 KiB.
    pub small: usize,
}

impl PipeLimits {
    /// Divides what a user may hold, `pages_max` of 4 KiB or, if 0, any number; there should be at
    /// most `count_max` pipes, and large ones hold `large_bytes`.
    pub fn new(large_bytes: usize, pages_max: usize, count_max: usize) -> Self {
        let large_pages = large_bytes.div_ceil(PAGE_BYTES).max(1);
        let (large, small) = match pages_max {
            0 => (usize::MAX, 0),
            _ if large_bytes <= SMALL_BYTES => (pages_max / large_pages, 0),
            _ => (pages_max / 2 / large_pages, pages_max / 2 / (SMALL_BYTES / PAGE_BYTES)),
        };
        let large = large.min(count_max);
        Self { large, large_bytes, small: small.min(count_max - large) }
    }

    /// Returns how many pipes there may be of both sizes.
    pub const fn total(&self) -> usize {
        self.large + self.small
    }

    /// Returns the share of one of `workers`, rounded up.
    #[must_use]
    pub const fn share(mut self, workers: usize) -> Self {
        self.large = self.large.div_ceil(workers);
        self.small = self.small.div_ceil(workers);
        self
    }
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    /// Bytes it holds: past the user's limit the kernel gives less than it was asked for.
    size: u32,
    is_large: bool,
    /// Bytes it was asked to hold.
    asked: u32,
}

impl Pipe {
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }
}

/// A pipe that came smaller than what a receive takes at a time is worse than copying: 2.3 times the CPU time
/// at 8 KiB (docs/performance.md). The kernel makes such while a user's other processes hold the pages.
const USEFUL_MIN: usize = READ_BYTES;
/// How long nobody asks for a pipe once one came too small, or none.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The pipes of a worker.
#[derive(Debug)]
pub(super) struct Pipes {
    large: Stock,
    small: Stock,
    /// No new ones before: the last one was of no use.
    retry_at: Option<Instant>,
}

/// Pipes of one size.
#[derive(Debug)]
struct Stock {
    free: Vec<Pipe>,
    open: usize,
    max: usize,
    bytes: usize,
    is_large: bool,
}

impl Pipes {
    pub(super) const fn new(limits: PipeLimits) -> Self {
        let PipeLimits { large, large_bytes, small } = limits;
        Self {
            large: Stock::new(large, large_bytes, true),
            small: Stock::new(small, SMALL_BYTES, false),
            retry_at: None,
        }
    }

    /// Goes on with other limits: what is beyond them, or of another size, is closed once it is free.
    pub(super) fn set_limits(&mut self, limits: PipeLimits) {
        self.large.set_limits(limits.large, limits.large_bytes);
        self.small.set_limits(limits.small, SMALL_BYTES);
    }

    /// Takes an empty pipe, a large one if there is any; `None` if all are in use or none of use can be had.
    pub(super) fn take(&mut self, now: Instant) -> Option<Pipe> {
        for stock in [&mut self.large, &mut self.small] {
            if let Some(pipe) = stock.free.pop() {
                return Some(pipe);
            }
            if stock.open < stock.max && self.retry_at.is_none_or(|at| now >= at) {
                let opened = stock.open(sys::pipe);
                self.retry_at = opened.is_none().then(|| now + RETRY_AFTER);
                if opened.is_some() {
                    return opened;
                }
            }
        }
        None
    }

    /// Gives an empty pipe back.
    pub(super) fn give(&mut self, pipe: Pipe) {
        self.stock_of(&pipe).give(pipe);
    }

    /// Closes a pipe with bytes in it, which would turn up in another connection.
    pub(super) fn close(&mut self, pipe: Pipe) {
        self.stock_of(&pipe).open -= 1;
    }

    fn stock_of(&mut self, pipe: &Pipe) -> &mut Stock {
        if pipe.is_large { &mut self.large } else { &mut self.small }
    }
}

impl Stock {
    const fn new(max: usize, bytes: usize, is_large: bool) -> Self {
        Self { free: Vec::new(), open: 0, max, bytes, is_large }
    }

    fn set_limits(&mut self, max: usize, bytes: usize) {
        (self.max, self.bytes) = (max, bytes);
        std::mem::take(&mut self.free).into_iter().for_each(|pipe| self.give(pipe));
    }

    fn give(&mut self, pipe: Pipe) {
        if self.open <= self.max && pipe.asked as usize == self.bytes {
            self.free.push(pipe);
        } else {
            self.open -= 1;
        }
    }

    /// Opens another one; `None` if the system gives none, or a small one.
    fn open(
        &mut self,
        pipe: impl Fn(usize) -> io::Result<(OwnedFd, OwnedFd, usize)>,
    ) -> Option<Pipe> {
        let (read, write, size) = pipe(self.bytes).ok()?;
        if size < USEFUL_MIN.min(self.bytes) {
            return None;
        }
        self.open += 1;
        // The kernel counts them in an int.
        let [size, asked] =
            [size, self.bytes].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        Some(Pipe { read, write, size, is_large: self.is_large, asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn large_and_small(limits: PipeLimits) -> (usize, usize) {
        (limits.large, limits.small)
    }

    #[test]
    fn large_pipes_take_half_of_the_pages() {
        let all = usize::MAX;
        assert_eq!(large_and_small(PipeLimits::new(MIB, 16_384, all)), (32, 512));
        assert_eq!(large_and_small(PipeLimits::new(MIB / 4, 16_384, all)), (128, 512));
        assert_eq!(large_and_small(PipeLimits::new(SMALL_BYTES, 16_384, all)), (1024, 0));
        assert_eq!(large_and_small(PipeLimits::new(4096, 16_384, all)), (16_384, 0));
        assert_eq!(large_and_small(PipeLimits::new(MIB, 0, all)), (all, 0));
        assert_eq!(large_and_small(PipeLimits::new(MIB, 16_384, 1)), (1, 0));
        assert_eq!(large_and_small(PipeLimits::new(MIB, 16_384, 40)), (32, 8));
        assert_eq!(large_and_small(PipeLimits::new(MIB, 16_384, all).share(3)), (11, 171));
    }

    #[test]
    fn large_pipes_are_taken_first_and_their_place_is_free_again_once_they_are_closed() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let now = Instant::now();
        let mut pipes = Pipes::new(PipeLimits { large: 1, large_bytes: 2 * SMALL_BYTES, small: 1 });
        let large = pipes.take(now).expect("there is one");
        let small = pipes.take(now).expect("there is another");
        assert_eq!((large.size(), small.size()), (2 * SMALL_BYTES, SMALL_BYTES));
        assert!(pipes.take(now).is_none());
        pipes.give(small);
        pipes.close(large);
        assert_eq!(pipes.take(now).map(|pipe| pipe.size()), Some(2 * SMALL_BYTES));
        assert_eq!(pipes.take(now).map(|pipe| pipe.size()), Some(SMALL_BYTES));
    }

    /// As where another process of the user holds all of its pages (pipe(7)).
    #[test]
    fn a_pipe_that_comes_small_is_closed_and_nobody_counts_it() {
        let mut stock = Pipes::new(PipeLimits { large: 1, large_bytes: MIB, small: 0 }).large;
        assert!(stock.open(|_| sys::pipe(4096)).is_none());
        assert_eq!(stock.open, 0);
        assert!(stock.open(sys::pipe).is_some());
    }

    #[test]
    fn pipes_beyond_new_limits_or_of_another_size_are_closed_once_they_are_free() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let now = Instant::now();
        let mut pipes = Pipes::new(PipeLimits { large: 2, large_bytes: 2 * SMALL_BYTES, small: 0 });
        let [used, free] = [(); 2].map(|()| pipes.take(now).expect("there are two"));
        pipes.give(free);
        pipes.set_limits(PipeLimits { large: 1, large_bytes: 2 * SMALL_BYTES, small: 0 });
        assert!(pipes.take(now).is_none(), "the one that is in use is all there may be");
        pipes.give(used);
        let used = pipes.take(now).expect("there is one again");
        pipes.set_limits(PipeLimits { large: 1, large_bytes: 4 * SMALL_BYTES, small: 0 });
        pipes.give(used);
        assert_eq!(pipes.take(now).map(|pipe| pipe.size()), Some(4 * SMALL_BYTES));
    }
}
