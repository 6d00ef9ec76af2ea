//! What of a batch is to be sent, and what becomes of it: bundles of datagrams, in order.
//!
//! ```text
//!          pending ---- sent ----------------------------> gone
//!          |  |  ^
//!          |  |  +-- refused, the first time: the bundle once more, to an endpoint chosen anew
//!          |  +----- more than one, and too long: each of its own
//!          +-------- refused again, too long alone, no room, another error: dropped
//! ```
//!
//! A piece is where the header that is sent and the payload lie; the bytes are the shell's. Pieces of one flow that follow each other
//! become a bundle, which one call sends (UDP_SEGMENT, udp(7)). Invariants: the pieces of a flow leave in the order they
//! came; those of a bundle are all of one length but the last, which is not longer; each piece is sent or
//! dropped once.

use std::ops::Range;

use super::drop_reason::DropReason;
use super::table::FlowId;

/// The most datagrams of a bundle: what every kernel takes (UDP_MAX_SEGMENTS of older ones).
pub const PIECES_MAX: usize = 64;
/// The most bytes of a bundle, headers among them: what an IP packet holds, with room to spare.
pub const BUNDLE_MAX: usize = 64_000;

/// One datagram that is to be sent: its header in the shell's store of headers, its payload in a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where our header lies; may be empty.
    pub header: Range<usize>,
    /// The message that the payload came in.
    pub message: usize,
    /// Where in it the payload lies; may be empty.
    pub payload: Range<usize>,
}

impl Piece {
    /// Returns how many bytes are sent.
    pub fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }

    /// Returns whether a datagram without a byte is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one call is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// Along which flow.
    pub flow: FlowId,
    /// Its datagrams; more than one of them are segments of the first one's length.
    pub pieces: &'a [Piece],
}

/// How a send failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// ECONNREFUSED: an ICMP answer to an earlier datagram; this one was not sent.
    Refused,
    /// EMSGSIZE, EIO, EINVAL: too long for the path, or the device cannot send segments.
    TooLong,
    /// EAGAIN, ENOBUFS: there is no room.
    Blocked,
    /// Any other.
    Other,
}

/// What became of a bundle that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It is pending once more: the flow is to have another endpoint first.
    Again(FlowId),
    /// Its datagrams are pending, each of its own.
    Singly,
    /// So many datagrams are gone.
    Dropped(DropReason, usize),
}

/// The bundles of a batch that are to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pieces: Vec<Piece>,
    runs: Vec<Run>,
    /// The first run that is not gone.
    next: usize,
}

/// Pieces of one flow that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    flow: FlowId,
    first: usize,
    end: usize,
    bytes: usize,
    /// A segment shorter than the others ends it.
    is_closed: bool,
    /// Each piece is sent of its own.
    is_singly: bool,
    was_refused: bool,
}

impl Run {
    /// Returns what one call sends of it.
    fn bundle(&self) -> Range<usize> {
        self.first..if self.is_singly { self.first + 1 } else { self.end }
    }

    /// Whether a datagram of this length may follow, behind a first one of that.
    fn may_take(&self, len: usize, first: usize) -> bool {
        !self.is_closed
            && !self.is_singly
            && !self.was_refused
            && 0 < len
            && len <= first
            && self.end - self.first < PIECES_MAX
            && self.bytes + len <= BUNDLE_MAX
    }
}

impl Outbox {
    /// Begins with nothing to send.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts one more datagram behind those that are to be sent.
    pub fn push(&mut self, flow: FlowId, piece: Piece) {
        let len = piece.len();
        let at = self.pieces.len();
        let last = self.runs.last_mut().filter(|run| run.flow == flow);
        if let Some(run) = last
            && run.may_take(len, self.pieces[run.first].len())
        {
            run.is_closed = len < self.pieces[run.first].len();
            run.end += 1;
            run.bytes += len;
        } else {
            let run = Run {
                flow,
                first: at,
                end: at + 1,
                bytes: len,
                is_closed: false,
                is_singly: false,
                was_refused: false,
            };
            self.runs.push(run);
        }
        self.pieces.push(piece);
    }

    /// Returns what the next call is to send.
    pub fn next(&self) -> Option<Bundle<'_>> {
        self.pending().next()
    }

    /// Returns what may be sent together with the next one, and that first: what comes behind it, up to one of which
    /// a part goes first.
    pub fn pending(&self) -> impl Iterator<Item = Bundle<'_>> {
        let runs = self.runs.get(self.next..).unwrap_or_default();
        let cut = runs.iter().position(|run| run.bundle().end < run.end);
        let runs = runs.iter().take(cut.map_or(runs.len(), |at| at + 1));
        runs.map(|run| Bundle { flow: run.flow, pieces: &self.pieces[run.bundle()] })
    }

    /// The next datagram is the first one that goes where it goes, and carries this header, which those behind it do
    /// without.
    pub fn lead(&mut self, header: Range<usize>) {
        if let Some(run) = self.runs.get_mut(self.next) {
            run.is_singly = true;
            self.pieces[run.first].header = header;
        }
    }

    /// The next one was sent. Returns how many datagrams that were.
    pub fn handle_sent(&mut self) -> usize {
        self.take()
    }

    /// The next one was not sent.
    pub fn handle_failed(&mut self, error: SendError) -> Failed {
        let Some(run) = self.runs.get_mut(self.next) else {
            debug_assert!(false, "nothing was to be sent");
            return Failed::Singly;
        };
        let reason = match error {
            SendError::Refused if !run.was_refused => {
                run.was_refused = true;
                return Failed::Again(run.flow);
            }
            SendError::TooLong if run.bundle().len() > 1 => {
                run.is_singly = true;
                return Failed::Singly;
            }
            SendError::Refused => DropReason::Refused,
            SendError::TooLong => DropReason::TooLong,
            SendError::Blocked => DropReason::Blocked,
            SendError::Other => DropReason::SendFailed,
        };
        Failed::Dropped(reason, self.take())
    }

    /// There is nowhere to send the next one to. Returns how many datagrams are gone.
    pub fn handle_dropped(&mut self) -> usize {
        self.take()
    }

    /// Takes the next one away; with the last one goes all that was kept of the batch.
    fn take(&mut self) -> usize {
        let Some(run) = self.runs.get_mut(self.next) else { return 0 };
        let count = run.bundle().len();
        run.first += count;
        run.was_refused = false;
        if run.first == run.end {
            self.next += 1;
        }
        if self.next == self.runs.len() {
            self.runs.clear();
            self.pieces.clear();
            self.next = 0;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(place: u32) -> FlowId {
        FlowId { place, generation: 0 }
    }

    fn piece(message: usize, header: usize, payload: usize) -> Piece {
        Piece { header: 0..header, message, payload: 9..9 + payload }
    }

    fn outbox(pieces: &[(u32, usize, usize)]) -> Outbox {
        let mut outbox = Outbox::new();
        for (at, (place, header, payload)) in pieces.iter().enumerate() {
            outbox.push(flow(*place), piece(at, *header, *payload));
        }
        outbox
    }

    /// Sends all, and says of each call whose it was and how many datagrams.
    fn sent(mut outbox: Outbox) -> Vec<(u32, usize)> {
        let mut sent = Vec::new();
        while let Some(bundle) = outbox.next() {
            let call = (bundle.flow.place, bundle.pieces.len());
            assert_eq!(outbox.handle_sent(), call.1);
            sent.push(call);
        }
        assert!(outbox.pieces.is_empty() && outbox.runs.is_empty());
        sent
    }

    #[test]
    fn datagrams_of_one_flow_and_one_length_are_one_call_and_a_shorter_one_ends_it() {
        assert_eq!(
            sent(outbox(&[(1, 28, 100), (1, 28, 100), (1, 28, 9), (1, 28, 9)])),
            [(1, 3), (1, 1)]
        );
        assert_eq!(sent(outbox(&[(1, 28, 9), (1, 28, 100)])), [(1, 1), (1, 1)], "a longer one");
        assert_eq!(sent(outbox(&[(1, 0, 9), (2, 0, 9), (1, 0, 9)])), [(1, 1), (2, 1), (1, 1)]);
        assert_eq!(sent(outbox(&[(1, 52, 48), (1, 28, 72)])), [(1, 2)], "the sum counts");
    }

    #[test]
    fn a_datagram_without_a_byte_is_a_call_of_its_own_and_one_behind_a_header_is_not() {
        assert_eq!(sent(outbox(&[(1, 0, 0), (1, 0, 0), (1, 0, 5), (1, 0, 0)])), [(1, 1); 4]);
        assert_eq!(sent(outbox(&[(1, 28, 0), (1, 28, 0)])), [(1, 2)]);
    }

    #[test]
    fn a_bundle_is_as_large_as_the_kernel_takes_at_most() {
        assert_eq!(sent(outbox(&[(1, 0, 10); PIECES_MAX + 1])), [(1, PIECES_MAX), (1, 1)]);
        assert_eq!(sent(outbox(&[(1, 0, BUNDLE_MAX / 2); 3])), [(1, 2), (1, 1)]);
        assert_eq!(sent(outbox(&[(1, 28, 65_479)])), [(1, 1)], "the largest goes alone");
    }

    #[test]
    fn what_is_too_long_together_is_sent_singly_and_in_order_and_what_is_too_long_alone_is_dropped()
    {
        let mut outbox = outbox(&[(1, 28, 1472), (1, 28, 1472), (1, 28, 5), (2, 28, 5)]);
        assert_eq!(outbox.handle_failed(SendError::TooLong), Failed::Singly);
        assert_eq!(outbox.next().unwrap().pieces, [piece(0, 28, 1472)]);
        assert_eq!(outbox.handle_sent(), 1);
        assert_eq!(outbox.next().unwrap().pieces, [piece(1, 28, 1472)]);
        let dropped = outbox.handle_failed(SendError::TooLong);
        assert_eq!(dropped, Failed::Dropped(DropReason::TooLong, 1));
        assert_eq!(sent(outbox), [(1, 1), (2, 1)]);
    }

    #[test]
    fn what_meets_an_earlier_refusal_is_sent_once_more_and_dropped_as_a_whole_the_next_time() {
        let mut outbox = outbox(&[(1, 28, 7), (1, 28, 7), (2, 28, 5)]);
        assert_eq!(outbox.handle_failed(SendError::Refused), Failed::Again(flow(1)));
        assert_eq!(outbox.next().unwrap().pieces.len(), 2);
        let dropped = outbox.handle_failed(SendError::Refused);
        assert_eq!(dropped, Failed::Dropped(DropReason::Refused, 2));
        assert_eq!(outbox.next().unwrap().flow, flow(2));
        for (error, reason) in
            [(SendError::Blocked, DropReason::Blocked), (SendError::Other, DropReason::SendFailed)]
        {
            let mut outbox = outbox.clone();
            assert_eq!(outbox.handle_failed(error), Failed::Dropped(reason, 1));
            assert_eq!(outbox.next(), None);
        }
        assert_eq!((outbox.handle_dropped(), outbox.next()), (1, None));
    }

    /// Found by seed 0: of a bundle that was sent singly, the second datagram was lost to the refusal of the first.
    #[test]
    fn a_refusal_behind_one_that_was_sent_is_another() {
        let mut outbox = outbox(&[(1, 28, 7), (1, 28, 7)]);
        assert_eq!(outbox.handle_failed(SendError::Refused), Failed::Again(flow(1)));
        assert_eq!(outbox.handle_failed(SendError::TooLong), Failed::Singly);
        assert_eq!(outbox.handle_sent(), 1);
        assert_eq!(outbox.handle_failed(SendError::Refused), Failed::Again(flow(1)));
        assert_eq!(sent(outbox), [(1, 1)]);
    }

    #[test]
    fn what_is_sent_together_keeps_its_order() {
        let mut outbox = outbox(&[(1, 0, 7), (1, 0, 7), (2, 0, 7), (3, 0, 7)]);
        let flows = |outbox: &Outbox| {
            let all = outbox.pending().map(|it| (it.flow.place, it.pieces.len()));
            all.collect::<Vec<_>>()
        };
        assert_eq!(flows(&outbox), [(1, 2), (2, 1), (3, 1)]);
        outbox.handle_failed(SendError::TooLong);
        assert_eq!(flows(&outbox), [(1, 1)], "the second one is not to come behind the others");
        outbox.handle_sent();
        assert_eq!(flows(&outbox), [(1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn what_leads_carries_a_header_that_those_behind_it_do_without() {
        let mut outbox = outbox(&[(1, 0, 7), (1, 0, 7), (1, 0, 7)]);
        for _ in 0..2 {
            outbox.lead(0..28);
            assert_eq!(outbox.next().unwrap().pieces, [piece(0, 28, 7)]);
        }
        assert_eq!(
            outbox.handle_failed(SendError::Blocked),
            Failed::Dropped(DropReason::Blocked, 1)
        );
        assert_eq!(outbox.next().unwrap().pieces, [piece(1, 0, 7)]);
        outbox.lead(0..28);
        assert_eq!(outbox.next().unwrap().pieces, [piece(1, 28, 7)]);
        assert_eq!(sent(outbox), [(1, 1), (1, 1)]);
    }

    #[test]
    fn nothing_joins_what_has_begun_to_fail_or_is_gone() {
        for error in [SendError::Refused, SendError::TooLong] {
            let mut outbox = outbox(&[(1, 28, 7), (1, 28, 7)]);
            outbox.handle_failed(error);
            outbox.push(flow(1), piece(2, 28, 7));
            assert_eq!(outbox.runs.len(), 2, "{error:?}");
        }
        let mut outbox = outbox(&[(1, 28, 7)]);
        outbox.handle_sent();
        outbox.push(flow(1), piece(0, 28, 7));
        assert_eq!(sent(outbox), [(1, 1)]);
    }
}
