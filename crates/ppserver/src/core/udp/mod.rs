//! The datagrams of one listener in one worker: whose each is, where it goes, and when that is forgotten.
//!
//! ```text
//!            judge: somebody new           first answer
//!    (none) ---------------------> unanswered --------> answered
//!      ^                              |                     |
//!      +-- silent too long, given way, enough answers, drained: an `Ended` flow
//! ```
//!
//! No socket, no clock, no payload: bytes are looked at by the [`Gate`], sent and received by the shell. `flow` and `table` are
//! what is known, `segments` what comes in, `outbox` what goes out, `shared` who sends by one socket, `apart` who stays when the port goes. Invariants: a datagram goes along the
//! flow of the one whose it is; each that came in is sent or dropped for one reason (`Counts`); never more flows than
//! `flows_max`, nor more than there were where that has become less and nobody may be forgotten.

pub mod apart;
pub mod drop_reason;
pub mod end_reason;
mod flow;
pub mod outbox;
pub mod segments;
pub mod shared;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use drop_reason::DropReason;
use end_reason::EndReason;
use flow::Who;
pub use flow::{Flow, Headers, Path, Tally};
pub use table::FlowId;
use table::{Class, Table};

use super::intent::Intent;
use super::session::Direction;

/// So many parts of the flows may be answered, of so many: the rest is for who comes next, so that a newcomer has
/// the time that a part of the table lasts to get an answer.
const ANSWERED_PARTS: (usize, usize) = (7, 8);

/// On what terms a listener keeps flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which datagrams carry a header.
    pub headers: Headers,
    /// The most flows at a time.
    pub flows_max: usize,
    /// A flow ends so long behind its last datagram.
    pub silence_max: Duration,
    /// The same for one that never had an answer.
    pub unanswered_max: Duration,
    /// A flow ends with so many answers to each datagram of its client; 0 is never.
    pub responses: u64,
}

/// What a relay asks while it judges a datagram.
pub trait Gate {
    /// What is kept of whom it lets in.
    type Admitted;

    /// Reads what a datagram begins with, if its peer is believed.
    ///
    /// # Errors
    /// Why it is dropped.
    fn read(&mut self, path: Path, datagram: &[u8]) -> Result<Reading, DropReason>;

    /// Lets in somebody who has no flow, and whose datagram was the last one read.
    ///
    /// # Errors
    /// Why not.
    fn admit(&mut self, intent: &Intent) -> Result<Self::Admitted, DropReason>;
}

/// What a datagram begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whose it is.
    pub intent: Intent,
    /// The bytes of its header; 0 without one.
    pub header_len: usize,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Along a flow, without the header that it came with.
    Relay(FlowId, usize),
    /// The same, once the flow has a socket and an endpoint: `handle_dialled`, `handle_dropped`.
    Dial(FlowId, usize),
    /// Nowhere.
    Drop(DropReason),
}

/// A flow that is over, with what the shell has to close, give back and tell.
#[derive(Clone, Debug)]
pub struct Ended<U, A = ()> {
    /// What its token says.
    pub id: FlowId,
    /// What is known of it.
    pub flow: Flow<U, A>,
    /// When its first datagram came.
    pub began: Instant,
    /// When its last datagram came, either way.
    pub last: Instant,
    /// Why.
    pub reason: EndReason,
}

impl<U, A> Ended<U, A> {
    /// Takes what the shell keeps of its way upstream.
    pub const fn take_upstream(&mut self) -> Option<U> {
        self.flow.upstream.take()
    }
}

/// An answer that goes to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The path back.
    pub path: Path,
    /// Whose datagrams it answers.
    pub intent: Intent,
    /// The flow's first: its endpoint lives.
    pub is_first: bool,
}

/// What became of all datagrams of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came in.
    pub received: u64,
    /// Were sent on.
    pub sent: u64,
    /// Were dropped, by reason.
    pub dropped: [u64; DropReason::COUNT],
}

/// The flows of a listener, and what its datagrams came to.
#[derive(Clone, Debug)]
pub struct Relay<U, A = ()> {
    terms: Terms,
    keys: (u64, u64),
    table: Table<U, A>,
    /// Those that the shell has not been told of.
    ended: VecDeque<Ended<U, A>>,
    counts: [Counts; 2],
    is_draining: bool,
}

impl<U, A> Relay<U, A> {
    /// Begins without a flow; `keys` are nobody else's to know.
    pub fn new(terms: Terms, keys: (u64, u64), now: Instant) -> Self {
        Self {
            terms,
            keys,
            table: Table::new(terms.headers, keys, now),
            ended: VecDeque::new(),
            counts: [Counts::default(); 2],
            is_draining: false,
        }
    }

    /// Goes on with other terms; flows stay, except where datagrams are to be read otherwise, and those for whom there is
    /// no room any more, where one may be forgotten.
    pub fn follow(&mut self, terms: Terms, now: Instant) {
        if terms.headers != self.terms.headers {
            self.end_all(EndReason::Reloaded);
            self.table = Table::new(terms.headers, self.keys, now);
        }
        self.terms = terms;
        while self.may_displace() && self.len() > self.terms.flows_max {
            self.give_way();
        }
    }

    /// Begins nothing new.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// A datagram has come from a client, or from who speaks for one.
    pub fn judge(
        &mut self,
        path: Path,
        datagram: &[u8],
        gate: &mut impl Gate<Admitted = A>,
        now: Instant,
    ) -> Verdict {
        self.counts[Direction::Up as usize].received += 1;
        match self.find(path, datagram, gate, now) {
            Ok((id, header_len)) => {
                let payload = datagram.len().saturating_sub(header_len);
                let flow = self.table.count(id, now, |flow| flow.up.add(payload));
                match flow.and_then(Flow::upstream) {
                    Some(_) => Verdict::Relay(id, header_len),
                    None => Verdict::Dial(id, header_len),
                }
            }
            Err(reason) => {
                self.handle_dropped(Direction::Up, reason, 1);
                Verdict::Drop(reason)
            }
        }
    }

    /// Returns the flow of a datagram, which may begin with it, and the length of its header.
    fn find(
        &mut self,
        path: Path,
        datagram: &[u8],
        gate: &mut impl Gate<Admitted = A>,
        now: Instant,
    ) -> Result<(FlowId, usize), DropReason> {
        if self.terms.headers == Headers::First
            && let Some(id) = self.table.find(&Who::new(path, &Intent::plain(path.peer)))
        {
            // Whatever it looks like: it is the client who chose it.
            return Ok((id, 0));
        }
        let Reading { intent, header_len } = gate.read(path, datagram)?;
        let who = Who::new(path, &intent);
        if let Some(id) = self.table.find(&who) {
            return Ok((id, header_len));
        }
        if self.is_draining {
            return Err(DropReason::Draining);
        }
        if self.is_full() && !self.may_displace() {
            return Err(DropReason::Limited);
        }
        let admitted = gate.admit(&intent)?;
        if self.is_full() {
            self.give_way();
        }
        Ok((self.table.insert(who, admitted, now), header_len))
    }

    /// A flow has a socket and an endpoint.
    pub fn handle_dialled(&mut self, id: FlowId, upstream: U) {
        if let Some(flow) = self.table.get_mut(id) {
            debug_assert!(flow.upstream.is_none(), "what it had was taken before");
            flow.upstream = Some(upstream);
        }
    }

    /// Returns what a flow was let in with.
    pub fn admitted_mut(&mut self, id: FlowId) -> Option<&mut A> {
        Some(&mut self.table.get_mut(id)?.admitted)
    }

    /// Returns what the shell keeps of a flow's way upstream.
    pub fn upstream_mut(&mut self, id: FlowId) -> Option<&mut U> {
        self.table.get_mut(id)?.upstream.as_mut()
    }

    /// Nobody listens at a flow's endpoint. Returns what the shell is to close and to tell the pool of; the flow's
    /// next datagram finds another.
    pub fn handle_refused(&mut self, id: FlowId) -> Option<U> {
        self.table.get_mut(id)?.upstream.take()
    }

    /// An answer has come along a flow, of so many bytes behind its header. `None` if the flow is over: it is dropped.
    pub fn handle_answer(&mut self, id: FlowId, len: usize, now: Instant) -> Option<Answer> {
        self.counts[Direction::Down as usize].received += 1;
        let Some(flow) = self.table.count(id, now, |flow| flow.down.add(len)) else {
            self.handle_dropped(Direction::Down, DropReason::NoFlow, 1);
            return None;
        };
        let is_first = flow.down.datagrams == 1;
        let answer = Answer { path: flow.path(), intent: flow.intent(), is_first };
        let owed = self.terms.responses.saturating_mul(flow.up.datagrams);
        if owed > 0 && flow.down.datagrams >= owed {
            self.end(id, EndReason::Done);
        }
        Some(answer)
    }

    /// Something has come along a flow that is no answer to it.
    pub fn handle_no_answer(&mut self, reason: DropReason) {
        self.counts[Direction::Down as usize].received += 1;
        self.handle_dropped(Direction::Down, reason, 1);
    }

    /// Something has come that was longer than the buffer that it was received into.
    pub fn handle_cut(&mut self, direction: Direction) {
        self.counts[direction as usize].received += 1;
        self.handle_dropped(direction, DropReason::Cut, 1);
    }

    /// So many datagrams were sent on.
    pub fn handle_sent(&mut self, direction: Direction, datagrams: usize) {
        self.counts[direction as usize].sent += datagrams as u64;
    }

    /// So many datagrams that had come in are gone.
    pub fn handle_dropped(&mut self, direction: Direction, reason: DropReason, datagrams: usize) {
        self.counts[direction as usize].dropped[reason.index()] += datagrams as u64;
    }

    /// Ends a flow.
    pub fn end(&mut self, id: FlowId, reason: EndReason) {
        if let Some(flow) = self.table.remove(id) {
            let [began, last] = [flow.began, flow.last].map(|at| self.table.instant(at));
            self.ended.push_back(Ended { id, flow, began, last, reason });
        }
    }

    /// Ends all of them.
    pub fn end_all(&mut self, reason: EndReason) {
        for class in [Class::Unanswered, Class::Answered] {
            while let Some(id) = self.table.oldest(class) {
                self.end(id, reason);
            }
        }
    }

    /// Ends those that have been silent for too long.
    pub fn expire(&mut self, now: Instant) {
        for (class, reason) in
            [(Class::Unanswered, EndReason::Unanswered), (Class::Answered, EndReason::Silent)]
        {
            while let Some(id) = self.table.oldest(class)
                && self.due(class).is_some_and(|due| due <= now)
            {
                self.end(id, reason);
            }
        }
    }

    /// Returns when [`expire`](Self::expire) is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        [Class::Unanswered, Class::Answered].into_iter().filter_map(|class| self.due(class)).min()
    }

    /// Takes a flow that has ended.
    pub fn next_ended(&mut self) -> Option<Ended<U, A>> {
        self.ended.pop_front()
    }

    /// Returns a flow.
    pub fn flow(&self, id: FlowId) -> Option<&Flow<U, A>> {
        self.table.get(id)
    }

    /// Returns all flows, in no order.
    pub fn flows(&self) -> impl Iterator<Item = (FlowId, &Flow<U, A>)> {
        self.table.iter()
    }

    /// Returns when a flow's first datagram came, and its last, either way.
    pub fn times(&self, flow: &Flow<U, A>) -> (Instant, Instant) {
        (self.table.instant(flow.began), self.table.instant(flow.last))
    }

    /// Returns the flow at a place, whichever it is.
    pub fn at(&self, place: u32) -> Option<FlowId> {
        self.table.at(place)
    }

    /// Returns how many flows there are.
    pub fn len(&self) -> usize {
        self.table.len(Class::Unanswered) + self.table.len(Class::Answered)
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether a drain need not wait any more: nobody is there who had an answer.
    pub fn is_drained(&self) -> bool {
        self.is_draining && self.table.len(Class::Answered) == 0
    }

    /// Returns what became of the datagrams of a direction.
    pub const fn counts(&self, direction: Direction) -> &Counts {
        &self.counts[direction as usize]
    }

    /// Ends a flow without an answer, so that another has its descriptor or port. Says whether there was one.
    pub fn make_room(&mut self) -> bool {
        if !self.may_displace() {
            return false;
        }
        let oldest = self.table.oldest(Class::Unanswered);
        oldest.into_iter().for_each(|id| self.end(id, EndReason::Evicted));
        oldest.is_some()
    }

    fn is_full(&self) -> bool {
        self.len() >= self.terms.flows_max
    }

    /// Whether a newcomer may have somebody's place. Where the first datagram alone has a header, who is forgotten
    /// here while his sender knows him would say himself who he is.
    fn may_displace(&self) -> bool {
        self.terms.headers == Headers::Each
    }

    /// Ends one flow: the longest silent of those without an answer, or of those with one where they fill their part.
    fn give_way(&mut self) {
        let (part, parts) = ANSWERED_PARTS;
        let answered_max = self.terms.flows_max * part / parts;
        let is_crowd = self.table.len(Class::Answered) > answered_max;
        let order = match is_crowd {
            true => [Class::Answered, Class::Unanswered],
            false => [Class::Unanswered, Class::Answered],
        };
        if let Some(id) = order.into_iter().find_map(|class| self.table.oldest(class)) {
            self.end(id, EndReason::Evicted);
        }
    }

    /// Returns when the longest silent flow of a class is to end.
    fn due(&self, class: Class) -> Option<Instant> {
        let flow = self.table.get(self.table.oldest(class)?)?;
        Some(
            self.table.instant(flow.last)
                + match class {
                    Class::Unanswered => self.terms.unanswered_max,
                    Class::Answered => self.terms.silence_max,
                },
        )
    }
}

/// The place of a slot, a socket or a path among its like.
fn index(place: u32) -> usize {
    usize::try_from(place).expect("a u32 is a usize on Linux")
}
