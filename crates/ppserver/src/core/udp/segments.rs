//! A received aggregate: where the datagrams in it lie.
//!
//! The kernel hands over several datagrams of one path as one message, all of one length but the last (UDP_GRO,
//! udp(7)). Invariant: the segments tile the message, and an empty message is one empty datagram.

use std::ops::Range;

/// Returns where the datagrams of a message lie, of which each but the last takes `size` bytes; without a size
/// it is one.
pub fn segments(len: usize, size: Option<usize>) -> impl Iterator<Item = Range<usize>> {
    let size = size.filter(|size| *size > 0).unwrap_or(len).max(1);
    let count = len.div_ceil(size).max(1);
    (0..count).map(move |at| at * size..((at + 1) * size).min(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_tile_the_message_and_the_last_may_be_short() {
        let of = |len, size| segments(len, size).collect::<Vec<_>>();
        assert_eq!(of(10, Some(4)), [0..4, 4..8, 8..10]);
        assert_eq!(of(8, Some(4)), [0..4, 4..8]);
        for size in [None, Some(0), Some(10), Some(65_507)] {
            assert_eq!(of(10, size), vec![0..10; 1], "{size:?}");
        }
    }

    #[test]
    fn an_empty_message_is_one_empty_datagram() {
        for size in [None, Some(0), Some(4)] {
            assert_eq!(segments(0, size).collect::<Vec<_>>(), vec![0..0; 1], "{size:?}");
        }
    }
}
