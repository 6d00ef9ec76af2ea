//! The first bytes of a TCP stream, put together from segments in any order.
//!
//! Not a receiver: nobody acknowledges, and what was sent twice counts as it came first. Invariant: `bytes` has
//! no gap, and nothing is kept beyond [`BYTES_MAX`].

use std::collections::BTreeMap;

/// As far as a header goes, and a little payload.
const BYTES_MAX: usize = ppcore::V2_LEN_MAX + 4096;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    /// The sequence number of the first byte.
    first: u32,
    bytes: Vec<u8>,
    /// What came early, by its place.
    early: BTreeMap<usize, Vec<u8>>,
    /// The place of the FIN.
    end: Option<usize>,
}

impl Stream {
    pub(super) fn new(first: u32) -> Self {
        Self { first, bytes: Vec::new(), early: BTreeMap::new(), end: None }
    }

    /// Returns the bytes from the first one to the first that is missing.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Says whether nothing will follow.
    pub(super) fn has_ended(&self) -> bool {
        self.end == Some(self.bytes.len())
    }

    /// Says whether the stream begins with that sequence number.
    pub(super) fn is_from(&self, sequence: u32) -> bool {
        self.first == sequence
    }

    /// Takes a segment.
    pub(super) fn take(&mut self, sequence: u32, payload: &[u8], fin: bool) {
        let ahead = sequence.wrapping_sub(self.first);
        // Sequence numbers go round: half of them are behind (RFC 9293 3.4).
        let (at, payload) = if ahead.cast_signed() < 0 {
            let old = usize::try_from(ahead.wrapping_neg()).unwrap_or(usize::MAX);
            (0, payload.get(old..).unwrap_or_default())
        } else {
            (usize::try_from(ahead).unwrap_or(usize::MAX), payload)
        };
        if at > BYTES_MAX {
            return;
        }
        if fin {
            self.end = Some(at + payload.len());
        }
        if !payload.is_empty() {
            let longest = self.early.entry(at).or_default();
            if longest.len() < payload.len() {
                *longest = payload.get(..BYTES_MAX - at).unwrap_or(payload).to_vec();
            }
        }
        while let Some((&at, _)) = self.early.first_key_value()
            && at <= self.bytes.len()
        {
            let (at, early) = self.early.pop_first().expect("it was there");
            self.bytes.extend_from_slice(early.get(self.bytes.len() - at..).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_order_segments_come_in_the_stream_is_the_same(
            first in prop_oneof![any::<u32>(), (u32::MAX - 100)..],
            cuts in prop::collection::vec((0..200usize, 0..60usize), 0..12),
        ) {
            let sent: Vec<u8> = (0..200).collect();
            let mut stream = Stream::new(first);
            // Any pieces, some of them twice, and then a retransmission of all in tens.
            let tens = (0..20).map(|ten| (ten * 10, 10));
            for (at, len) in cuts.into_iter().chain(tens) {
                let end = sent.len().min(at + len);
                let sequence = first.wrapping_add(u32::try_from(at).unwrap());
                stream.take(sequence, &sent[at..end], end == sent.len());
                prop_assert!(sent.starts_with(stream.bytes()));
            }
            prop_assert_eq!(stream.bytes(), &sent[..]);
            prop_assert!(stream.has_ended());
        }
    }

    #[test]
    fn what_comes_first_counts_and_what_is_behind_is_cut() {
        let mut stream = Stream::new(10);
        stream.take(8, b"xxab", false);
        stream.take(11, b"XYc", true);
        assert_eq!((stream.bytes(), stream.has_ended()), (&b"abYc"[..], true));
    }

    #[test]
    fn a_gap_holds_back_what_is_behind_it() {
        let mut stream = Stream::new(0);
        stream.take(2, b"cd", true);
        assert_eq!((stream.bytes(), stream.has_ended()), (&b""[..], false));
        stream.take(0, b"ab", false);
        assert_eq!((stream.bytes(), stream.has_ended()), (&b"abcd"[..], true));
    }

    #[test]
    fn no_more_is_kept_than_a_header_and_a_little_payload() {
        let mut stream = Stream::new(0);
        let far = u32::try_from(BYTES_MAX).unwrap();
        stream.take(0, &vec![1; BYTES_MAX - 1], false);
        stream.take(far - 1, &[2; 9], false);
        stream.take(far + 1, &[3; 9], false);
        assert_eq!(stream.bytes().len(), BYTES_MAX);
    }
}
