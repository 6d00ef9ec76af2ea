//! What is queued on one side of a connection, counted as it comes and goes.
//!
//! The simulator asks for the counts at every step, so they are not sums over the queue. Invariants:
//! no segment is empty; an urgent one is one byte.

use std::collections::VecDeque;

/// What travels and is queued as one.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Segment {
    pub(crate) bytes: Vec<u8>,
    /// One byte out of band: it is in the sequence, not in the stream.
    pub(crate) is_urgent: bool,
}

#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Queue {
    segments: VecDeque<Segment>,
    /// All bytes, urgent ones too.
    len: usize,
    /// Urgent bytes.
    marks: usize,
}

impl Queue {
    /// Returns how many bytes there are, urgent ones too.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many urgent bytes there are.
    pub(crate) fn marks(&self) -> usize {
        self.marks
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn front(&self) -> Option<&Segment> {
        self.segments.front()
    }

    pub(crate) fn back(&self) -> Option<&Segment> {
        self.segments.back()
    }

    pub(crate) fn push_back(&mut self, segment: Segment) {
        self.count_in(&segment);
        self.segments.push_back(segment);
    }

    pub(crate) fn push_front(&mut self, segment: Segment) {
        self.count_in(&segment);
        self.segments.push_front(segment);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.count_out(&segment);
        Some(segment)
    }

    pub(crate) fn pop_back(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_back()?;
        self.count_out(&segment);
        Some(segment)
    }

    /// Takes at most `len_max` bytes of the first segment.
    pub(crate) fn take(&mut self, len_max: usize) -> Vec<u8> {
        let Some(mut segment) = self.pop_front() else { return Vec::new() };
        if segment.bytes.len() > len_max {
            let bytes = segment.bytes.split_off(len_max);
            self.push_front(Segment { bytes, is_urgent: segment.is_urgent });
        }
        segment.bytes
    }

    /// The last segment, which is one byte, is urgent.
    pub(crate) fn mark_last(&mut self) {
        if let Some(mut segment) = self.pop_back() {
            segment.is_urgent = true;
            self.push_back(segment);
        }
    }

    /// Of all urgent bytes only the newest `count` stay urgent, the others become data.
    pub(crate) fn keep_marks(&mut self, count: usize) {
        let urgent = self.segments.iter_mut().filter(|segment| segment.is_urgent);
        urgent.rev().skip(count).for_each(|segment| segment.is_urgent = false);
        self.marks = self.marks.min(count);
    }

    fn count_in(&mut self, segment: &Segment) {
        debug_assert!(!segment.is_urgent || segment.bytes.len() == 1, "one urgent byte at a time");
        self.len += segment.bytes.len();
        self.marks += usize::from(segment.is_urgent);
    }

    fn count_out(&mut self, segment: &Segment) {
        self.len -= segment.bytes.len();
        self.marks -= usize::from(segment.is_urgent);
    }
}
