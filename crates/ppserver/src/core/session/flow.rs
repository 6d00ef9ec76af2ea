//! One direction of a relay: from a source, through a conduit, to a sink.
//!
//! Counts bytes, never holds them. The same value serves both directions. The rule is to fill only
//! an empty conduit: then no end can overtake data, and a full pipe needs no telling apart from an
//! empty socket. Invariant: `shut` implies `eof` and `buffered == 0`.

use super::action::{Interest, Method, Readiness, ReceiveResult, SendResult};
use super::splicing::Splicing;

/// What a flow can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Fill(Method),
    Drain,
    Shutdown,
    /// Ask for what is to be read again.
    Listen,
}

/// The state of one direction.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Flow {
    /// The source may have something to read; said by an edge, taken back by a receive.
    pub(super) readable: bool,
    /// The sink may take something; said by an edge, taken back by a send.
    pub(super) writable: bool,
    /// Bytes in the conduit.
    pub(super) buffered: usize,
    /// How they came into it.
    filled_by: Method,
    /// Everything the source sent has been received, and its FIN.
    pub(super) eof: bool,
    /// The sink has been told so.
    pub(super) shut: bool,
    /// Bytes that left the conduit, our own header among them.
    pub(super) moved: u64,
    /// Off until there is somebody to relay to: what comes before goes into buffers, where our header
    /// finds room in front of it.
    splicing: Splicing,
    fills_reads: bool,
    /// An urgent byte was announced, at which a splice stops for ever, or an error, which lies
    /// behind a short read, or a splice met an end that only a receive can confirm. It stays so:
    /// such sources are rare.
    copy_only: bool,
    /// There was no pipe to be had: the next fill copies, the one behind it asks again.
    is_unpiped: bool,
    /// The source's FIN was announced, so a short read means the end.
    fin_announced: bool,
    /// What the kernel is asked to tell of the source.
    asked: Interest,
}

impl Flow {
    pub(super) const fn new() -> Self {
        Self {
            readable: false,
            writable: false,
            buffered: 0,
            filled_by: Method::Copy,
            eof: false,
            shut: false,
            moved: 0,
            splicing: Splicing::Off,
            fills_reads: false,
            copy_only: false,
            is_unpiped: false,
            fin_announced: false,
            asked: Interest::All,
        }
    }

    /// Its source and its sink stand: from now on it relays.
    pub(super) const fn note_established(&mut self, splicing: Splicing) {
        self.splicing = splicing;
    }

    /// Its source is dying: an error lies behind its last bytes, which only a receive can tell.
    pub(super) const fn note_dying(&mut self) {
        self.copy_only = true;
    }

    pub(super) fn note_source_ready(&mut self, ready: Readiness) {
        self.readable |= ready.readable || ready.read_closed || ready.urgent || ready.error;
        // Behind an error the announced end may be that of a reset.
        self.copy_only |= ready.urgent || ready.error;
        // That both directions have ended the kernel always tells, an urgent byte in front of it only to who asks.
        self.fin_announced |= ready.read_closed && self.asked == Interest::All;
    }

    pub(super) fn note_sink_ready(&mut self, ready: Readiness) {
        self.writable |= ready.writable || ready.error;
    }

    /// Notes what a receive says of the source, wherever the bytes went.
    ///
    /// A short read has emptied the socket: what comes later raises a new edge (epoll(7)). Three
    /// things break that rule: an urgent byte stops a read short, and a FIN or an error that was
    /// announced already raises no second edge.
    pub(super) fn note_received(&mut self, received: ReceiveResult, method: Method) {
        match received {
            ReceiveResult::Bytes { count, asked } => {
                debug_assert!(0 < count && count <= asked);
                if count == asked {
                    self.fills_reads = true;
                } else if method == Method::Copy && !self.copy_only {
                    self.fills_reads = false;
                    self.readable = false;
                    self.eof = self.fin_announced;
                }
            }
            // A splice returns 0 at an urgent byte too: only a receive is sure.
            ReceiveResult::End if method == Method::Splice => self.copy_only = true,
            ReceiveResult::End => (self.readable, self.eof) = (false, true),
            ReceiveResult::WouldBlock => (self.readable, self.fills_reads) = (false, false),
            ReceiveResult::Failed(_) => self.readable = false,
        }
    }

    pub(super) fn note_filled(&mut self, received: ReceiveResult, method: Method) {
        debug_assert_eq!(self.buffered, 0, "only an empty conduit is filled");
        self.note_received(received, method);
        self.is_unpiped = false;
        if let ReceiveResult::Bytes { count, .. } = received {
            (self.buffered, self.filled_by) = (count, method);
        }
    }

    /// There was no pipe to splice into.
    pub(super) const fn note_unpiped(&mut self) {
        self.is_unpiped = true;
    }

    pub(super) fn note_drained(&mut self, sent: SendResult) {
        match sent {
            SendResult::Bytes(count) => {
                debug_assert!(0 < count && count <= self.buffered);
                self.buffered = self.buffered.saturating_sub(count);
                self.moved += count as u64;
            }
            SendResult::WouldBlock | SendResult::Failed(_) => self.writable = false,
        }
    }

    /// The kernel is asked for other events of the source.
    pub(super) const fn note_watched(&mut self, interest: Interest) {
        self.asked = interest;
    }

    pub(super) fn note_shut(&mut self) {
        debug_assert!(self.eof && self.buffered == 0);
        self.shut = true;
    }

    /// The source was replaced by another one.
    pub(super) fn forget_source(&mut self) {
        *self = Self { writable: self.writable, ..Self::new() };
    }

    pub(super) fn step(&self) -> Option<Step> {
        if self.buffered > 0 {
            self.writable.then_some(Step::Drain)
        } else if self.eof {
            (!self.shut).then_some(Step::Shutdown)
        } else if self.readable {
            Some(Step::Fill(self.method()))
        } else {
            (self.asked == Interest::Room).then_some(Step::Listen)
        }
    }

    /// Returns whether nothing more to read is to be asked for, now that a sink that takes nothing is all that
    /// is waited for: a source that goes on would raise an edge with each segment, which nobody can use
    /// while they wait in a pipe.
    pub(super) fn is_to_be_muted(&self) -> bool {
        self.filled_by == Method::Splice && self.buffered > 0 && self.asked == Interest::All
    }

    /// Returns how the next fill is to be done.
    pub(super) fn method(&self) -> Method {
        self.splicing.method(self.fills_reads, !self.copy_only && !self.is_unpiped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaying(splicing: Splicing) -> Flow {
        let mut flow = Flow::new();
        flow.note_established(splicing);
        flow
    }

    fn readable(ready: Readiness) -> Flow {
        let mut flow = relaying(Splicing::Auto);
        flow.note_source_ready(Readiness { readable: true, ..ready });
        flow
    }

    #[test]
    fn each_hint_alone_makes_a_source_worth_a_try() {
        let none = Readiness::default();
        for hint in [
            Readiness { readable: true, ..none },
            Readiness { read_closed: true, ..none },
            Readiness { urgent: true, ..none },
            Readiness { error: true, ..none },
        ] {
            let mut flow = relaying(Splicing::Auto);
            flow.note_source_ready(hint);
            assert_eq!(flow.step(), Some(Step::Fill(Method::Copy)), "{hint:?}");
        }
    }

    const SHORT: ReceiveResult = ReceiveResult::Bytes { count: 3, asked: 4096 };

    #[test]
    fn a_full_conduit_is_drained_before_anything_else() {
        let mut flow = readable(Readiness { read_closed: true, ..Readiness::default() });
        flow.note_filled(SHORT, Method::Copy);
        assert!(flow.eof);
        assert_eq!(flow.step(), None, "the sink takes nothing yet");
        flow.note_sink_ready(Readiness { writable: true, ..Readiness::default() });
        assert_eq!(flow.step(), Some(Step::Drain));
        flow.note_drained(SendResult::Bytes(3));
        assert_eq!(flow.step(), Some(Step::Shutdown));
    }

    #[test]
    fn a_short_read_is_the_end_only_behind_an_announced_fin() {
        let mut flow = readable(Readiness::default());
        flow.note_filled(SHORT, Method::Copy);
        assert!(!flow.eof && !flow.readable);
    }

    #[test]
    fn a_short_read_at_an_urgent_byte_is_neither_the_end_nor_empty() {
        let mut flow =
            readable(Readiness { read_closed: true, urgent: true, ..Readiness::default() });
        flow.note_filled(SHORT, Method::Copy);
        assert!(!flow.eof && flow.readable);
    }

    /// A client sent half a header and reset: one event told both, the read was short, and the
    /// error stayed in the socket until the header deadline.
    #[test]
    fn a_short_read_behind_an_announced_error_is_followed_by_another() {
        let mut flow =
            readable(Readiness { read_closed: true, error: true, ..Readiness::default() });
        flow.note_filled(SHORT, Method::Copy);
        assert!(!flow.eof && flow.readable);
    }

    /// Found by seed 1108067: behind a pipe that waited for its sink, both directions had ended, and a read that
    /// stopped short at an urgent byte was taken for the end.
    #[test]
    fn a_short_read_is_not_the_end_where_urgent_bytes_were_not_asked_for() {
        let mut flow = readable(Readiness::default());
        flow.note_watched(Interest::Room);
        flow.note_source_ready(Readiness { read_closed: true, ..Readiness::default() });
        flow.note_filled(SHORT, Method::Copy);
        assert!(!flow.eof);
        flow.note_sink_ready(Readiness { writable: true, ..Readiness::default() });
        flow.note_drained(SendResult::Bytes(3));
        assert_eq!(flow.step(), Some(Step::Listen), "asked again, the kernel tells what is there");
    }

    #[test]
    fn a_splice_that_returns_0_is_confirmed_by_a_receive() {
        let mut flow = relaying(Splicing::Always);
        flow.note_source_ready(Readiness { readable: true, ..Readiness::default() });
        assert_eq!(flow.step(), Some(Step::Fill(Method::Splice)));
        flow.note_filled(ReceiveResult::End, Method::Splice);
        assert_eq!(flow.step(), Some(Step::Fill(Method::Copy)));
        flow.note_filled(ReceiveResult::End, Method::Copy);
        assert_eq!(flow.step(), Some(Step::Shutdown));
    }

    #[test]
    fn a_read_that_fills_its_buffer_turns_to_splicing_until_the_source_is_quiet() {
        let mut flow = readable(Readiness { writable: true, ..Readiness::default() });
        flow.note_sink_ready(Readiness { writable: true, ..Readiness::default() });
        flow.note_filled(ReceiveResult::Bytes { count: 8, asked: 8 }, Method::Copy);
        flow.note_drained(SendResult::Bytes(8));
        assert_eq!(flow.step(), Some(Step::Fill(Method::Splice)));
        flow.note_filled(ReceiveResult::WouldBlock, Method::Splice);
        flow.note_source_ready(Readiness { readable: true, ..Readiness::default() });
        assert_eq!(flow.step(), Some(Step::Fill(Method::Copy)));
    }

    /// Pipes are limited, and the user's other processes may hold them all.
    #[test]
    fn without_a_pipe_one_fill_copies_and_the_next_one_asks_again() {
        let mut flow = relaying(Splicing::Always);
        flow.note_source_ready(Readiness { readable: true, ..Readiness::default() });
        flow.note_sink_ready(Readiness { writable: true, ..Readiness::default() });
        assert_eq!(flow.step(), Some(Step::Fill(Method::Splice)));
        flow.note_unpiped();
        assert_eq!(flow.step(), Some(Step::Fill(Method::Copy)));
        flow.note_filled(ReceiveResult::Bytes { count: 8, asked: 8 }, Method::Copy);
        flow.note_drained(SendResult::Bytes(8));
        assert_eq!(flow.step(), Some(Step::Fill(Method::Splice)));
    }

    #[test]
    fn nothing_is_spliced_before_it_relays_nor_out_of_a_dying_source() {
        let mut flow = Flow::new();
        flow.note_source_ready(Readiness { readable: true, ..Readiness::default() });
        assert_eq!(flow.step(), Some(Step::Fill(Method::Copy)));
        flow.note_established(Splicing::Always);
        assert_eq!(flow.step(), Some(Step::Fill(Method::Splice)));
        flow.note_dying();
        assert_eq!(flow.step(), Some(Step::Fill(Method::Copy)));
    }
}
