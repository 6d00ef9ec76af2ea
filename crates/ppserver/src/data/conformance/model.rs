//! The states that the connection may be in.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use super::{Answer, Call, Distortion, Made, Who};
use crate::core::session::Readiness;
use crate::core::sim::kernel::{Budget, Fd, Kernel, Pipe};
use crate::core::sim::queue::Segment;
use crate::core::sim::rng::Rng;
use crate::core::sim::shell::readiness;
use crate::core::sim::socket::{Errno, Fin, Sizes};
use crate::core::sim::wire::Move;
use crate::data::sys::Follow;

/// More states than this would mean that the real kernel tells us nothing.
const STATES_MAX: usize = 20_000;

/// One state the connection may be in.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) kernel: Kernel,
    pipe: Option<Pipe>,
    /// What fills a segment, if no queue cuts it short.
    segment_len: Option<usize>,
}

/// Our end of the one connection, and the peer's.
const ENDS: [Fd; 2] = [Fd(0), Fd(1)];
/// What is less never fills a segment, though all of a script's joined.
const SEGMENT_MIN: usize = 5;
/// More than a script sends.
pub(super) const ROOM: usize = 1 << 20;

impl Model {
    pub(super) fn new(segment_len: Option<usize>) -> Self {
        let budget = Budget { fds: 10, ports: 10, pipes: 10 };
        let mut kernel = Kernel::new(Rng::calm(), budget);
        kernel.arrive();
        let sizes = Sizes { received_max: ROOM, unsent_max: ROOM, segment_max: ROOM };
        assert_eq!(kernel.accept(sizes), Ok(ENDS[0]));
        Self { kernel, pipe: None, segment_len }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.kernel.sockets, &self.pipe).hash(&mut hasher);
        hasher.finish()
    }

    /// Makes the call with queues of the size that the answer shows.
    pub(super) fn perform(&mut self, made: &Made) -> Answer {
        for fd in ENDS {
            self.kernel.socket(fd).unsent_max = self.unsent_max(fd, made);
        }
        let answer = self.perform_sized(made);
        for fd in ENDS {
            self.kernel.socket(fd).unsent_max = ROOM;
        }
        answer
    }

    /// How much a queue holds is the kernel's own affair: at least one byte.
    fn unsent_max(&self, fd: Fd, made: &Made) -> usize {
        let queued = ROOM - self.kernel.look(fd).room();
        match (made.call, &made.answer) {
            (Call::Send(..) | Call::SendUrgent | Call::SpliceOut, Answer::Count(count)) => {
                queued + count
            }
            (Call::Send(..) | Call::SendUrgent | Call::SpliceOut, Answer::Failed(Errno::Again)) => {
                queued.max(1)
            }
            (Call::Poll(_), Answer::Event(event)) if !event.is_some_and(|ready| ready.writable) => {
                1
            }
            _ => ROOM,
        }
    }

    /// Cuts what `who` has to send, of which `sent` bytes in all, at these offsets.
    pub(super) fn cut(&mut self, who: Who, sent: usize, cuts: &BTreeSet<usize>) {
        let socket = self.kernel.socket(ENDS[who as usize]);
        let mut end = sent;
        let mut whole = std::mem::take(&mut socket.unsent);
        while let Some(mut segment) = whole.pop_back() {
            let begin = end - segment.bytes.len();
            for at in cuts.range(begin + 1..end).rev() {
                let bytes = segment.bytes.split_off(at - begin);
                socket.unsent.push_front(Segment { bytes, ..segment });
            }
            socket.unsent.push_front(segment);
            end = begin;
        }
    }

    /// send(2) with MSG_MORE: what fills segments leaves, only the rest is held back.
    fn send_more(&mut self, fd: Fd, bytes: &[u8], now: Instant) -> Result<usize, Errno> {
        let held = self.kernel.look(fd).held.map_or(0, |held| held.bytes);
        let rest = match self.segment_len {
            Some(segment_len) => (held + bytes.len()) % segment_len,
            None if bytes.len() < SEGMENT_MIN => bytes.len(),
            // The kernel knows how much that is.
            None => 0,
        };
        let (whole, rest) = bytes.split_at(bytes.len().saturating_sub(rest));
        let mut count = 0;
        if !whole.is_empty() {
            count += self.kernel.send(fd, whole)?;
        }
        if !rest.is_empty() {
            count += self.kernel.send_more(fd, rest, now)?;
        }
        Ok(count)
    }

    /// Makes the call, given what the real kernel answered where that is a choice of its own.
    fn perform_sized(&mut self, made: &Made) -> Answer {
        let Made { call, bytes, answer: real, begin, .. } = made;
        let fd = |who| if who == Who::Proxy { ENDS[0] } else { ENDS[1] };
        let kernel = &mut self.kernel;
        match *call {
            Call::Send(who, _, Follow::End) => answer(self.send_more(fd(who), bytes, *begin)),
            Call::Send(who, ..) => answer(kernel.send(fd(who), bytes)),
            Call::SendUrgent => answer(kernel.send_urgent(ENDS[1])),
            Call::Recv(who, len) => received(kernel.recv(fd(who), len)),
            Call::Await => received(kernel.recv(ENDS[1], 64)),
            Call::Shutdown(who) => {
                kernel.shutdown(fd(who)).map_or_else(Answer::Failed, |()| Answer::Done)
            }
            Call::Close(who) => {
                kernel.close(fd(who));
                Answer::Done
            }
            Call::Reset(who) => {
                kernel.reset(fd(who));
                Answer::Done
            }
            Call::SpliceIn => {
                let mut pipe = kernel.pipe().expect("the budget has pipes");
                // A splice may stop short for reasons of its own.
                let len = if let Answer::Count(count) = real { (*count).max(1) } else { 1 << 16 };
                let moved = kernel.splice_in(ENDS[0], &mut pipe, len);
                if pipe.is_empty() {
                    kernel.close_pipe(pipe);
                } else {
                    self.pipe = Some(pipe);
                }
                answer(moved)
            }
            Call::SpliceOut => {
                let Some(pipe) = &mut self.pipe else { return Answer::Count(0) };
                let moved = kernel.splice_out(pipe, ENDS[0]);
                if let Some(pipe) = self.pipe.take_if(|pipe| pipe.is_empty()) {
                    kernel.close_pipe(pipe);
                }
                answer(moved)
            }
            Call::TakeError => Answer::Pending(kernel.take_error(ENDS[0])),
            Call::Unsent => {
                // Any part may have been acknowledged; of all of it somebody has been told.
                let socket = kernel.socket(ENDS[0]);
                if let Answer::Count(count) = real
                    && (*count > 0 || !socket.wants_room)
                {
                    let part = socket.outq().saturating_sub(*count);
                    socket.unacknowledged = socket.unacknowledged.saturating_sub(part);
                }
                Answer::Count(kernel.unsent(ENDS[0]))
            }
            Call::Watch(interest) => {
                kernel.modify(ENDS[0], interest);
                Answer::Done
            }
            Call::Poll(_) => {
                let harvested = kernel.harvest(ENDS[0]).map(readiness);
                // An epoll may always tell once more what is so.
                let now = readiness(kernel.look(ENDS[0]).told());
                let is_spurious = harvested.is_none() && matches!(real, Answer::Event(Some(_)));
                // But room is told to those who found none.
                let is_room = now == Readiness { writable: true, ..Readiness::default() };
                Answer::Event(if is_spurious && !is_room { Some(now) } else { harvested })
            }
        }
    }
}

fn answer(result: Result<usize, Errno>) -> Answer {
    result.map_or_else(Answer::Failed, Answer::Count)
}

fn received(result: Result<Vec<u8>, Errno>) -> Answer {
    result.map_or_else(Answer::Failed, Answer::Bytes)
}

/// Returns every state that can come of these once anything has travelled, or nothing.
pub(super) fn closure(
    models: Vec<Model>,
    now: Instant,
    distortion: Distortion,
    story: &str,
) -> Vec<Model> {
    let mut seen = HashSet::new();
    let mut open: Vec<Model> = models;
    let mut all = Vec::new();
    while let Some(model) = open.pop() {
        if !seen.insert(model.hash()) {
            continue;
        }
        for travelling in model.kernel.moves(&ENDS[..1], now) {
            let mut next = model.clone();
            next.kernel.perform(travelling);
            if let Move::Acknowledge(fd) = travelling {
                let (before, after) = (model.kernel.look(fd), next.kernel.socket(fd));
                if after.fin != Fin::Acknowledged {
                    // It is of some part, and how large that was only SIOCOUTQ can tell.
                    after.unacknowledged = before.unacknowledged;
                }
                distortion.acknowledge(before, after);
            }
            open.push(next);
        }
        all.push(model);
        assert!(all.len() < STATES_MAX, "too many states: {story}");
    }
    all
}
