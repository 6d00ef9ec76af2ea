//! The modelled kernel: the system calls a proxy and its peers make.
//!
//! Every function is one call and fails as that call fails. No process, no loop, no policy; the
//! network moves only when it is told to (`wire.rs`). Invariant: a byte is in one queue at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::coverage::{Coverage, Quirk};
use super::queue::Segment;
use super::rng::Rng;
use super::socket::{Errno, Fin, Handshake, Held, Mask, Sizes, Socket, State};
use crate::core::session::Interest;

/// How long the kernel holds bytes back for others to join them.
const HELD_MAX: Duration = Duration::from_millis(200);

/// A socket; the other end of its connection is the number next to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fd(pub(crate) usize);

impl Fd {
    pub(crate) fn other_end(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// A pipe has slots, not bytes: a segment takes one, however small it is.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Pipe {
    slots: VecDeque<Vec<u8>>,
    slots_max: usize,
}

impl Pipe {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn is_full(&self) -> bool {
        self.slots.len() >= self.slots_max
    }
}

/// A listening socket's queue of connections that stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    /// How many are queued.
    pub(crate) queued: usize,
    /// False once listen(2) was called with a backlog of 0: nobody new is queued.
    pub(crate) is_queueing: bool,
    /// It is on the ready list of our epoll.
    pub(crate) is_armed: bool,
}

/// What the system still has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) fds: usize,
    pub(crate) ports: usize,
    pub(crate) pipes: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) rng: Rng,
    pub(crate) cover: Coverage,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) budget: Budget,
    pub(crate) listener: Listener,
}

impl Kernel {
    pub(crate) fn new(rng: Rng, budget: Budget) -> Self {
        let listener = Listener { queued: 0, is_queueing: true, is_armed: false };
        Self { rng, cover: Coverage::new(), sockets: Vec::new(), budget, listener }
    }

    /// A client's handshake is done: it is queued, unless nobody is any more.
    pub(crate) fn arrive(&mut self) {
        if self.listener.is_queueing {
            self.listener.queued += 1;
            self.listener.is_armed = true;
        }
    }

    /// accept4(2), and an epoll that watches the socket from then on. The descriptor is looked for
    /// first, so an empty queue may say EMFILE too.
    pub(crate) fn accept(&mut self, sizes: Sizes) -> Result<Fd, Errno> {
        if self.budget.fds == 0 {
            self.cover.hit(Quirk::NoDescriptorToAccept);
            return Err(Errno::TooManyFiles);
        }
        if self.listener.queued == 0 {
            return Err(Errno::Again);
        }
        self.listener.queued -= 1;
        if self.rng.one_in(32) {
            self.cover.hit(Quirk::GoneBeforeAccept);
            return Err(Errno::ConnAborted);
        }
        self.budget.fds -= 1;
        let fd = self.pair(State::Established, sizes);
        self.watch(fd);
        Ok(fd)
    }

    /// socket(2), connect(2) without blocking, and an epoll that watches it from then on.
    pub(crate) fn connect(
        &mut self,
        due: Option<(Instant, Handshake)>,
        sizes: Sizes,
        now: Instant,
    ) -> Result<Fd, Errno> {
        if self.budget.fds == 0 {
            self.cover.hit(Quirk::NoDescriptor);
            return Err(Errno::TooManyFiles);
        }
        if self.budget.ports == 0 {
            self.cover.hit(Quirk::NoPort);
            return Err(Errno::AddrNotAvailable);
        }
        self.budget.fds -= 1;
        self.budget.ports -= 1;
        let fd = self.pair(State::Handshake, sizes);
        self.socket(fd).handshake = due;
        self.socket(fd).has_port = true;
        self.cover.hit(match due {
            Some((at, Handshake::Stands)) if at <= now => Quirk::ConnectAtOnce,
            Some((_, Handshake::Stands)) => Quirk::ConnectLater,
            Some((_, Handshake::Fails(Errno::ConnRefused))) => Quirk::ConnectRefused,
            Some((_, Handshake::Fails(_))) => Quirk::ConnectUnreachable,
            None => Quirk::ConnectHangs,
        });
        if due == Some((now, Handshake::Stands)) {
            self.finish_handshake(fd);
        }
        self.watch(fd);
        Ok(fd)
    }

    /// recv(2) without blocking: an empty answer is the end of the stream.
    pub(crate) fn recv(&mut self, fd: Fd, len_max: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        while bytes.len() < len_max {
            let queue = &mut self.sockets[fd.0].received;
            let Some(segment) = queue.front() else { break };
            if segment.is_urgent {
                if !bytes.is_empty() {
                    self.cover.hit(Quirk::RecvStopsAtMark);
                    break;
                }
                queue.pop_front();
                self.cover.hit(Quirk::RecvSkipsMark);
                continue;
            }
            bytes.extend(queue.take(len_max - bytes.len()));
        }
        if bytes.is_empty() {
            return self.answer_empty(fd).map(|_| bytes);
        }
        if self.socket(fd).state == State::Closed {
            self.cover.hit(Quirk::QueueSurvivesReset);
        }
        Ok(bytes)
    }

    /// splice(2) from a socket into a pipe, without blocking.
    pub(crate) fn splice_in(
        &mut self,
        fd: Fd,
        pipe: &mut Pipe,
        len_max: usize,
    ) -> Result<usize, Errno> {
        if pipe.is_full() {
            return Err(Errno::Again);
        }
        let mut moved = 0;
        while moved < len_max && !pipe.is_full() {
            let queue = &mut self.sockets[fd.0].received;
            if queue.front().is_none_or(|segment| segment.is_urgent) {
                break;
            }
            let bytes = queue.take(len_max - moved);
            moved += bytes.len();
            pipe.slots.push_back(bytes);
            if self.rng.one_in(16) {
                self.cover.hit(Quirk::SpliceShort);
                break;
            }
        }
        let has_data = self.socket(fd).has_data();
        if moved > 0 {
            if has_data && pipe.is_full() && moved < len_max {
                self.cover.hit(Quirk::SplicePipeFull);
            }
            return Ok(moved);
        }
        let answer = self.answer_empty(fd);
        if has_data && self.socket(fd).is_at_mark() {
            self.cover.hit(match answer {
                Ok(_) => Quirk::SpliceZeroAtMark,
                Err(Errno::Again) => Quirk::SpliceStuckAtMark,
                Err(_) => Quirk::SpliceFailsAtMark,
            });
        }
        answer
    }

    /// What a read says with nothing to return, in the order of `tcp_recvmsg`: FIN, error, end.
    fn answer_empty(&mut self, fd: Fd) -> Result<usize, Errno> {
        let socket = self.socket(fd);
        if socket.fin_received {
            return Ok(0);
        }
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.state == State::Closed {
            // Nothing tells this from a FIN any more.
            self.cover.hit(Quirk::ZeroAfterError);
            return Ok(0);
        }
        Err(Errno::Again)
    }

    /// send(2) without blocking.
    pub(crate) fn send(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
        let socket = &mut self.sockets[fd.0];
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.state == State::Closed || socket.fin != Fin::No {
            return Err(Errno::Pipe);
        }
        if socket.state == State::Handshake {
            self.cover.hit(Quirk::SendInHandshake);
            return Err(Errno::Again);
        }
        let mut take = socket.room().min(bytes.len());
        socket.wants_room |= take < bytes.len();
        if take == 0 {
            self.cover.hit(Quirk::SendBlocked);
            return Err(Errno::Again);
        }
        if take < bytes.len() {
            self.cover.hit(Quirk::SendShort);
        } else if self.rng.one_in(16) {
            take = self.rng.between(1, take);
        }
        socket.held = None;
        let segment_max = socket.segment_max;
        let mut rest = &bytes[..take];
        while !rest.is_empty() {
            let count = self.rng.between(1, segment_max).min(rest.len());
            let segment = Segment { bytes: rest[..count].to_vec(), is_urgent: false };
            socket.unsent.push_back(segment);
            rest = &rest[count..];
        }
        Ok(take)
    }

    /// send(2) with MSG_MORE: the last of it waits for a FIN, a send without it or anything that
    /// arrives, for 200 ms (tcp(7)); not where there was no room for all (`tcp_sendmsg_locked` pushes
    /// then as if nothing followed).
    pub(crate) fn send_more(&mut self, fd: Fd, bytes: &[u8], now: Instant) -> Result<usize, Errno> {
        let before = self.socket(fd).held;
        let count = self.send(fd, bytes)?;
        if count == bytes.len() {
            self.cover.hit(Quirk::HeldBack);
            let socket = self.socket(fd);
            let last = socket.unsent.back().map_or(0, |segment| segment.bytes.len());
            let fresh = Held { bytes: last, until: now + HELD_MAX };
            // They join what waits already.
            let joined = before.map(|held| Held { bytes: held.bytes + count, ..held });
            socket.held = Some(joined.unwrap_or(fresh));
        }
        Ok(count)
    }

    /// send(2) of one byte with MSG_OOB.
    pub(crate) fn send_urgent(&mut self, fd: Fd) -> Result<usize, Errno> {
        let count = self.send(fd, b"!")?;
        self.socket(fd).unsent.mark_last();
        Ok(count)
    }

    /// splice(2) from a pipe into a socket, without blocking.
    pub(crate) fn splice_out(&mut self, pipe: &mut Pipe, fd: Fd) -> Result<usize, Errno> {
        let mut moved = 0;
        while let Some(slot) = pipe.slots.front_mut() {
            match self.send(fd, slot) {
                Ok(count) => {
                    moved += count;
                    slot.drain(..count);
                    if !slot.is_empty() {
                        break;
                    }
                    pipe.slots.pop_front();
                }
                Err(_) if moved > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// shutdown(2) for writing.
    pub(crate) fn shutdown(&mut self, fd: Fd) -> Result<(), Errno> {
        let socket = self.socket(fd);
        if socket.state == State::Closed {
            // The pending error stays where it is.
            self.cover.hit(Quirk::ShutdownBroken);
            return Err(Errno::NotConn);
        }
        debug_assert_eq!(socket.fin, Fin::No);
        socket.fin = Fin::Queued;
        socket.held = None;
        // `inet_shutdown` wakes, so that an epoll may see HUP for two FINs.
        socket.wake();
        Ok(())
    }

    /// getsockopt(2) of SO_ERROR.
    pub(crate) fn take_error(&mut self, fd: Fd) -> Option<Errno> {
        let error = self.socket(fd).error.take();
        if error.is_some() {
            self.cover.hit(Quirk::ErrorEaten);
        }
        error
    }

    /// ioctl(2) of SIOCOUTQ.
    pub(crate) fn unsent(&mut self, fd: Fd) -> usize {
        let socket = self.socket(fd);
        let (unsent, is_closed) = (socket.outq(), socket.state == State::Closed);
        if unsent > 0 {
            self.cover.hit(if is_closed { Quirk::UnsentStuck } else { Quirk::UnsentWaits });
        }
        unsent
    }

    /// close(2): what is queued still goes out, with a FIN, unless unread data makes it a reset.
    pub(crate) fn close(&mut self, fd: Fd) {
        let socket = self.socket(fd);
        if socket.state == State::Established && !socket.received.is_empty() {
            self.cover.hit(Quirk::CloseUnread);
            return self.reset(fd);
        }
        socket.held = None;
        if socket.state == State::Established && socket.fin == Fin::No {
            socket.fin = Fin::Queued;
        }
        self.release(fd);
    }

    /// close(2) with SO_LINGER 0: an RST goes out at once, before most of what is queued.
    pub(crate) fn reset(&mut self, fd: Fd) {
        self.abandon(fd);
        self.release(fd);
    }

    fn release(&mut self, fd: Fd) {
        let socket = self.socket(fd);
        debug_assert!(socket.is_owned, "a descriptor is closed once");
        socket.is_owned = false;
        let (is_ours, has_port) = (socket.is_watched, socket.has_port);
        (socket.is_watched, socket.is_armed) = (false, false);
        if is_ours {
            self.budget.fds += 1;
            self.budget.ports += usize::from(has_port);
        }
    }

    /// pipe2(2).
    pub(crate) fn pipe(&mut self) -> Option<Pipe> {
        if self.budget.pipes == 0 || self.budget.fds < 2 {
            self.cover.hit(Quirk::PipeShortage);
            return None;
        }
        self.budget.pipes -= 1;
        self.budget.fds -= 2;
        // Past the pages a user may have, pipes shrink.
        let slots_max = if self.budget.pipes == 0 { 2 } else { 16 };
        if slots_max == 2 {
            self.cover.hit(Quirk::PipeOfTwoSlots);
        }
        Some(Pipe { slots: VecDeque::new(), slots_max })
    }

    /// Closes both ends of a pipe.
    pub(crate) fn close_pipe(&mut self, pipe: Pipe) {
        drop(pipe);
        self.budget.pipes += 1;
        self.budget.fds += 2;
    }

    /// epoll_ctl(2) with EPOLL_CTL_MOD: it looks at once whether there is something to be told.
    pub(crate) fn modify(&mut self, fd: Fd, interest: Interest) {
        let socket = self.socket(fd);
        socket.interest = interest;
        let mask = socket.told();
        socket.wants_room |= !mask.output;
        socket.is_armed |= mask != Mask::default();
        if mask.input {
            self.cover.hit(Quirk::AskedAgain);
        }
    }

    /// epoll_wait(2) for one socket of the ready list: what it says now, not when it was armed.
    pub(crate) fn harvest(&mut self, fd: Fd) -> Option<Mask> {
        let socket = self.socket(fd);
        if !socket.is_armed {
            return None;
        }
        socket.is_armed = false;
        let mask = socket.told();
        // `tcp_poll` notes that room is wanted where there is none.
        socket.wants_room |= !mask.output;
        if mask.rdhup && mask.urgent {
            self.cover.hit(Quirk::EndAndUrgent);
        }
        if mask.hup && self.socket(fd).state != State::Closed {
            self.cover.hit(Quirk::HupOfBothEnds);
        }
        (mask != Mask::default()).then_some(mask)
    }

    pub(crate) fn socket(&mut self, fd: Fd) -> &mut Socket {
        &mut self.sockets[fd.0]
    }

    pub(crate) fn look(&self, fd: Fd) -> &Socket {
        &self.sockets[fd.0]
    }

    fn watch(&mut self, fd: Fd) {
        let socket = self.socket(fd);
        socket.is_watched = true;
        socket.wake();
    }

    fn pair(&mut self, state: State, sizes: Sizes) -> Fd {
        let near = Fd(self.sockets.len());
        for _ in 0..2 {
            self.sockets.push(Socket::new(state, sizes));
        }
        near
    }
}
