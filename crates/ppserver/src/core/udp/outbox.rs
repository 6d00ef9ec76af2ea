//! What of a batch is to be sent, and what becomes of it: bundles of datagrams, in order.
//!
//! ```text
//!          pending ---- sent ----------------------------> gone
//!          |  |  ^
//!          |  |  +-- refused, the first time: the bundle once more, to an endpoint chosen anew
//!          |  +----- more than one, and too long, or a flow of theirs goes elsewhere by now: each of its own
//!          +-------- refused again, too long alone, no room, another error: dropped
//! ```
//!
//! A piece is where the header that is sent and the payload lie; the bytes are the shell's. Pieces of one lane become a bundle, which
//! one call sends (UDP_SEGMENT, udp(7)), whatever came between them. Invariants: the pieces of a lane leave in the order they
//! came, and so those of a flow; those of a bundle are all of one length but the last, which is not longer; each piece is sent or
//! dropped once.

use std::ops::Range;

use super::drop_reason::DropReason;
use super::flow::Path;
use super::table::FlowId;

/// The most datagrams of a bundle: what every kernel takes (UDP_MAX_SEGMENTS of older ones).
pub const PIECES_MAX: usize = 64;
/// The most bytes of a bundle, headers among them: what an IP packet holds, with room to spare.
pub const BUNDLE_MAX: usize = 64_000;
/// So many bundles at most are looked at for one that a datagram joins: about as many as a batch has messages.
const LOOK_BACK_MAX: usize = 16;

/// What datagrams go by, and where to: those of one lane may go in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The socket of a flow.
    Flow(FlowId),
    /// The one of an endpoint that flows share, at this place.
    Shared(u32),
    /// Back to who sent along this path.
    Back(Path),
}

/// One datagram that is to be sent: its header in the shell's store of headers, its payload in a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose it is.
    pub flow: FlowId,
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
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// Where it was to go when it came.
    pub lane: Lane,
    /// Whose the first one is.
    pub flow: FlowId,
    /// Whether there are others' among them.
    pub is_mixed: bool,
    links: &'a [Linked],
    first: usize,
    len: usize,
}

impl<'a> Bundle<'a> {
    /// Returns its datagrams; more than one of them are segments of the first one's length.
    pub fn pieces(self) -> impl Iterator<Item = &'a Piece> {
        let all =
            std::iter::successors(self.links.get(self.first), |link| self.links.get(link.next?));
        all.take(self.len).map(|link| &link.piece)
    }

    /// Returns how many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is one at least")]
    pub const fn len(&self) -> usize {
        self.len
    }
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
    links: Vec<Linked>,
    runs: Vec<Run>,
    /// The first run that is not gone.
    next: usize,
}

/// A piece, and where the next one of its run is.
#[derive(Clone, Debug)]
struct Linked {
    piece: Piece,
    next: Option<usize>,
}

/// Pieces of one lane, linked.
#[derive(Clone, Copy, Debug)]
struct Run {
    lane: Lane,
    first: usize,
    last: usize,
    len: usize,
    bytes: usize,
    /// They are of more than one flow.
    is_mixed: bool,
    /// A segment shorter than the others ends it.
    is_closed: bool,
    /// Each piece is sent of its own.
    is_singly: bool,
    was_refused: bool,
}

impl Run {
    /// Returns how many pieces of it one call sends.
    const fn bundle_len(&self) -> usize {
        if self.is_singly { 1 } else { self.len }
    }

    /// Whether a datagram of this length may follow, behind a first one of that.
    fn may_take(&self, len: usize, first: usize) -> bool {
        !self.is_closed
            && !self.is_singly
            && !self.was_refused
            && 0 < len
            && len <= first
            && self.len < PIECES_MAX
            && self.bytes + len <= BUNDLE_MAX
    }
}

impl Outbox {
    /// Begins with nothing to send.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts one more datagram behind those of its lane that are to be sent.
    pub fn push(&mut self, lane: Lane, piece: Piece) {
        let (len, at) = (piece.len(), self.links.len());
        let pending = self.runs.get_mut(self.next..).unwrap_or_default();
        let last = pending.iter_mut().rev().take(LOOK_BACK_MAX).find(|run| run.lane == lane);
        if let Some(run) = last
            && let Linked { piece: first, .. } = &self.links[run.first]
            && run.may_take(len, first.len())
        {
            run.is_closed = len < first.len();
            run.is_mixed |= first.flow != piece.flow;
            self.links[run.last].next = Some(at);
            (run.last, run.len, run.bytes) = (at, run.len + 1, run.bytes + len);
        } else {
            self.runs.push(Run {
                lane,
                first: at,
                last: at,
                len: 1,
                bytes: len,
                is_mixed: false,
                is_closed: false,
                is_singly: false,
                was_refused: false,
            });
        }
        self.links.push(Linked { piece, next: None });
    }

    /// Returns what the next call is to send.
    pub fn next(&self) -> Option<Bundle<'_>> {
        self.pending().next()
    }

    /// Returns what may be sent together with the next one, and that first: what comes behind it, up to one of which
    /// a part goes first.
    pub fn pending(&self) -> impl Iterator<Item = Bundle<'_>> {
        let runs = self.runs.get(self.next..).unwrap_or_default();
        let cut = runs.iter().position(|run| run.bundle_len() < run.len);
        let runs = runs.iter().take(cut.map_or(runs.len(), |at| at + 1));
        runs.map(|run| Bundle {
            lane: run.lane,
            flow: self.links[run.first].piece.flow,
            is_mixed: run.is_mixed && !run.is_singly,
            links: &self.links,
            first: run.first,
            len: run.bundle_len(),
        })
    }

    /// The next datagram is the first one that goes where it goes, and carries this header, which those behind it do
    /// without.
    pub fn lead(&mut self, header: Range<usize>) {
        if let Some(run) = self.runs.get_mut(self.next) {
            run.is_singly = true;
            self.links[run.first].piece.header = header;
        }
    }

    /// What is next goes one by one: not all of its flows have the same lane any more.
    pub fn part(&mut self) {
        if let Some(run) = self.runs.get_mut(self.next) {
            run.is_singly = true;
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
                return Failed::Again(self.links[run.first].piece.flow);
            }
            SendError::TooLong if run.bundle_len() > 1 => {
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
        let count = run.bundle_len();
        run.len -= count;
        run.was_refused = false;
        match self.links[run.first].next {
            Some(next) if run.len > 0 => run.first = next,
            Some(_) | None => self.next += 1,
        }
        if self.next == self.runs.len() {
            self.runs.clear();
            self.links.clear();
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

    fn piece(place: u32, message: usize, header: usize, payload: usize) -> Piece {
        Piece { flow: flow(place), header: 0..header, message, payload: 9..9 + payload }
    }

    fn filled(lane: fn(u32) -> Lane, pieces: &[(u32, usize, usize)]) -> Outbox {
        let mut outbox = Outbox::new();
        for (at, (place, header, payload)) in pieces.iter().enumerate() {
            outbox.push(lane(*place), piece(*place, at, *header, *payload));
        }
        outbox
    }

    /// Each flow has a socket of its own.
    fn outbox(pieces: &[(u32, usize, usize)]) -> Outbox {
        filled(|place| Lane::Flow(flow(place)), pieces)
    }

    /// All flows share one.
    fn shared(pieces: &[(u32, usize, usize)]) -> Outbox {
        filled(|_| Lane::Shared(0), pieces)
    }

    /// The datagrams that the next call sends: whose, and from which message.
    fn next(outbox: &Outbox) -> Vec<(u32, usize)> {
        let pieces = outbox.next().into_iter().flat_map(Bundle::pieces);
        pieces.map(|piece| (piece.flow.place, piece.message)).collect()
    }

    /// Sends all, and says of each call whose it was and how many datagrams.
    fn sent(mut outbox: Outbox) -> Vec<(u32, usize)> {
        let mut sent = Vec::new();
        while let Some(bundle) = outbox.next() {
            let call = (bundle.flow.place, bundle.len());
            assert_eq!(bundle.pieces().count(), call.1);
            assert_eq!(outbox.handle_sent(), call.1);
            sent.push(call);
        }
        assert!(outbox.links.is_empty() && outbox.runs.is_empty());
        sent
    }

    #[test]
    fn datagrams_of_one_flow_and_one_length_are_one_call_and_a_shorter_one_ends_it() {
        assert_eq!(
            sent(outbox(&[(1, 28, 100), (1, 28, 100), (1, 28, 9), (1, 28, 9)])),
            [(1, 3), (1, 1)]
        );
        assert_eq!(sent(outbox(&[(1, 28, 9), (1, 28, 100)])), [(1, 1), (1, 1)], "a longer one");
        assert_eq!(sent(outbox(&[(1, 52, 48), (1, 28, 72)])), [(1, 2)], "the sum counts");
    }

    #[test]
    fn flows_that_take_turns_are_a_call_each_and_those_who_share_a_socket_are_one() {
        let turns = [(1, 0, 9), (2, 0, 9), (1, 0, 9), (2, 0, 9), (1, 0, 5), (2, 0, 9), (1, 0, 5)];
        let mut own = outbox(&turns);
        assert_eq!(next(&own), [(1, 0), (1, 2), (1, 4)]);
        assert!(!own.next().unwrap().is_mixed);
        own.handle_sent();
        assert_eq!(next(&own), [(2, 1), (2, 3), (2, 5)]);
        own.handle_sent();
        assert_eq!(next(&own), [(1, 6)], "behind the shorter one");
        let shared = shared(&turns);
        assert!(shared.next().unwrap().is_mixed);
        assert_eq!(next(&shared), [(1, 0), (2, 1), (1, 2), (2, 3), (1, 4)]);
        assert_eq!(sent(shared), [(1, 5), (2, 2)]);
    }

    #[test]
    fn what_is_joined_is_looked_for_so_far_back_and_order_is_kept_beyond() {
        let mut pieces: Vec<_> = (0..=16).map(|place| (place, 0, 9)).collect();
        pieces.extend([(1, 0, 9), (0, 0, 9), (0, 0, 9)]);
        let mut outbox = outbox(&pieces);
        assert_eq!(next(&outbox), [(0, 0)]);
        outbox.handle_sent();
        assert_eq!(next(&outbox), [(1, 1), (1, 17)]);
        let last = outbox.pending().last().unwrap();
        assert_eq!((last.flow.place, last.len()), (0, 2));
    }

    #[test]
    fn of_several_flows_that_are_refused_one_moves_and_the_others_stay() {
        let mut outbox = shared(&[(1, 38, 9), (2, 38, 9), (1, 38, 9)]);
        assert_eq!(outbox.handle_failed(SendError::Refused), Failed::Again(flow(1)));
        outbox.part();
        for due in [(1, 0), (2, 1), (1, 2)] {
            assert_eq!(next(&outbox), [due]);
            outbox.handle_sent();
        }
        assert_eq!(next(&outbox), []);
    }

    #[test]
    fn those_of_whom_one_has_gone_elsewhere_are_sent_singly() {
        let mut outbox = shared(&[(1, 38, 9), (2, 38, 9)]);
        outbox.part();
        assert!(outbox.pending().all(|bundle| !bundle.is_mixed));
        assert_eq!(outbox.handle_dropped(), 1);
        assert_eq!(sent(outbox), [(2, 1)]);
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
        assert_eq!(next(&outbox), [(1, 0)]);
        assert_eq!(outbox.handle_sent(), 1);
        assert_eq!(next(&outbox), [(1, 1)]);
        let dropped = outbox.handle_failed(SendError::TooLong);
        assert_eq!(dropped, Failed::Dropped(DropReason::TooLong, 1));
        assert_eq!(sent(outbox), [(1, 1), (2, 1)]);
    }

    #[test]
    fn what_meets_an_earlier_refusal_is_sent_once_more_and_dropped_as_a_whole_the_next_time() {
        let mut outbox = outbox(&[(1, 28, 7), (1, 28, 7), (2, 28, 5)]);
        assert_eq!(outbox.handle_failed(SendError::Refused), Failed::Again(flow(1)));
        assert_eq!(outbox.next().unwrap().len(), 2);
        let dropped = outbox.handle_failed(SendError::Refused);
        assert_eq!(dropped, Failed::Dropped(DropReason::Refused, 2));
        assert_eq!(outbox.next().unwrap().flow, flow(2));
        for (error, reason) in
            [(SendError::Blocked, DropReason::Blocked), (SendError::Other, DropReason::SendFailed)]
        {
            let mut outbox = outbox.clone();
            assert_eq!(outbox.handle_failed(error), Failed::Dropped(reason, 1));
            assert_eq!(next(&outbox), []);
        }
        assert_eq!((outbox.handle_dropped(), next(&outbox)), (1, vec![]));
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
            let all = outbox.pending().map(|it| (it.flow.place, it.len()));
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
        let leading =
            |outbox: &Outbox| outbox.next().unwrap().pieces().cloned().collect::<Vec<_>>();
        for _ in 0..2 {
            outbox.lead(0..28);
            assert_eq!(leading(&outbox), [piece(1, 0, 28, 7)]);
        }
        assert_eq!(
            outbox.handle_failed(SendError::Blocked),
            Failed::Dropped(DropReason::Blocked, 1)
        );
        assert_eq!(leading(&outbox), [piece(1, 1, 0, 7)]);
        outbox.lead(0..28);
        assert_eq!(leading(&outbox), [piece(1, 1, 28, 7)]);
        assert_eq!(sent(outbox), [(1, 1), (1, 1)]);
    }

    #[test]
    fn nothing_joins_what_has_begun_to_fail_or_is_gone() {
        for error in [SendError::Refused, SendError::TooLong] {
            let mut outbox = outbox(&[(1, 28, 7), (1, 28, 7)]);
            outbox.handle_failed(error);
            outbox.push(Lane::Flow(flow(1)), piece(1, 2, 28, 7));
            assert_eq!(outbox.runs.len(), 2, "{error:?}");
        }
        let mut outbox = outbox(&[(1, 28, 7)]);
        outbox.handle_sent();
        outbox.push(Lane::Flow(flow(1)), piece(1, 0, 28, 7));
        assert_eq!(sent(outbox), [(1, 1)]);
    }
}
