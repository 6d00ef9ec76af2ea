//! What travels between the two ends of a connection, one [`Move`] at a time.
//!
//! The order of moves is the caller's, so that every interleaving is a seed away. Invariants: a FIN
//! arrives behind all data; an RST may arrive before most of it. Whatever arrives at a socket sends
//! what it holds back (`tcp_data_snd_check`).

use std::time::Instant;

use super::coverage::Quirk;
use super::kernel::{Fd, Kernel};
use super::queue::{Queue, Segment};
use super::socket::{Errno, Fin, Handshake, State};
use crate::core::session::Interest;

/// Something that may travel now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The connect of this socket is decided.
    Handshake(Fd),
    /// The epoll of this socket, which died, is woken once more.
    WakeAgain(Fd),
    /// What this socket holds back waits no longer.
    Release(Fd),
    /// The last urgent byte of this socket is announced over there, in front of all that it sends.
    Mark(Fd),
    /// A segment leaves this socket.
    Data(Fd),
    /// The FIN leaves this socket.
    Fin(Fd),
    /// What this socket has sent is acknowledged.
    Acknowledge(Fd),
    /// It is not, and is sent again: a tail loss probe (`tcp_send_loss_probe`).
    Again(Fd),
    /// An RST arrives at this socket.
    Reset(Fd),
}

impl Kernel {
    /// Returns everything that may travel now on the connections of these sockets.
    pub(crate) fn moves(&self, near: &[Fd], now: Instant) -> Vec<Move> {
        let mut moves = Vec::new();
        for fd in near.iter().flat_map(|fd| [*fd, fd.other_end()]) {
            let (socket, other) = (self.look(fd), self.look(fd.other_end()));
            if socket.handshake.is_some_and(|(due, _)| due <= now) {
                moves.push(Move::Handshake(fd));
            }
            if socket.wakes_again && socket.is_watched {
                moves.push(Move::WakeAgain(fd));
            }
            if socket.state == State::Handshake || other.state == State::Handshake {
                continue;
            }
            // What nobody can receive any more needs no window.
            let is_wanted = other.is_owned && other.state == State::Established;
            let may_arrive = other.window() > 0 || !is_wanted;
            if socket.held_until().is_some_and(|until| until <= now) {
                moves.push(Move::Release(fd));
            }
            let (coming, arrived) = (socket.unsent.marks(), other.received.marks());
            if is_wanted && coming > 0 && coming + arrived > 1 {
                moves.push(Move::Mark(fd));
            }
            if socket.has_segment() && may_arrive {
                moves.push(Move::Data(fd));
            }
            if socket.unsent.is_empty() && socket.fin == Fin::Queued {
                moves.push(Move::Fin(fd));
            }
            let is_waiting = socket.unacknowledged > 0 || socket.fin == Fin::Arrived;
            if is_waiting && socket.state == State::Established && !socket.reset_coming {
                moves.push(Move::Acknowledge(fd));
                if other.held_until().is_some() {
                    moves.push(Move::Again(fd));
                }
            }
            if socket.reset_coming {
                moves.push(Move::Reset(fd));
            }
        }
        moves
    }

    pub(crate) fn perform(&mut self, travelling: Move) {
        match travelling {
            Move::Handshake(fd) => self.finish_handshake(fd),
            Move::WakeAgain(fd) => {
                let socket = self.socket(fd);
                socket.wakes_again = false;
                socket.wake();
            }
            Move::Release(fd) => self.socket(fd).held = None,
            Move::Mark(fd) => {
                self.socket(fd).unsent.keep_marks(1);
                self.socket(fd.other_end()).forget_mark();
            }
            Move::Data(fd) => self.deliver(fd),
            Move::Fin(fd) => {
                self.socket(fd).fin = Fin::Arrived;
                let other = self.socket(fd.other_end());
                if other.state == State::Established {
                    other.fin_received = true;
                    other.held = None;
                    other.wake();
                }
            }
            Move::Acknowledge(fd) => self.acknowledge(fd),
            Move::Again(fd) => self.socket(fd.other_end()).held = None,
            Move::Reset(fd) => self.arrive_reset(fd),
        }
    }

    pub(crate) fn finish_handshake(&mut self, fd: Fd) {
        let Some((_, outcome)) = self.socket(fd).handshake.take() else { return };
        match outcome {
            Handshake::Stands => {
                self.socket(fd.other_end()).state = State::Established;
                let socket = self.socket(fd);
                socket.state = State::Established;
                socket.wake();
            }
            Handshake::Fails(error) => self.socket(fd).die(error),
        }
    }

    fn deliver(&mut self, fd: Fd) {
        // Calm is one at a time: then every order of arrivals is one of moves.
        for _ in 0..4 - self.rng.below(4) {
            let window = self.look(fd.other_end()).window();
            if !self.look(fd).has_segment() {
                break;
            }
            let segment = self.socket(fd).unsent.pop_front().expect("it has one");
            let other = self.look(fd.other_end());
            if other.state == State::Closed || !other.is_owned {
                let is_orphan = other.state == State::Established;
                return self.refuse(fd, &segment, is_orphan);
            }
            if window == 0 {
                self.cover.hit(Quirk::ZeroWindow);
                return self.socket(fd).unsent.push_front(segment);
            }
            let Segment { mut bytes, is_urgent } = segment;
            if bytes.len() > window {
                let rest = Segment { bytes: bytes.split_off(window), is_urgent };
                self.socket(fd).unsent.push_front(rest);
            }
            // It takes room here until it is acknowledged.
            self.socket(fd).unacknowledged += bytes.len();
            // Not every segment is looked at so closely (`tcp_rcv_established`).
            let lets_go = self.rng.below(2) == 1;
            let other = self.socket(fd.other_end());
            if lets_go {
                other.held = None;
            }
            if is_urgent {
                other.forget_mark();
            }
            other.received.push_back(Segment { bytes, is_urgent });
            // Every arrival is an edge, however much is unread: epoll(7).
            let was_armed = other.is_armed;
            other.wake_reader();
            if other.is_watched && other.interest == Interest::Room {
                self.cover.hit(Quirk::NotAskedFor);
            } else if was_armed {
                self.cover.hit(Quirk::EventCoalesced);
            }
        }
    }

    /// Data that nobody can read is answered with RST, and never acknowledged.
    fn refuse(&mut self, fd: Fd, segment: &Segment, is_orphan: bool) {
        self.socket(fd).unacknowledged += segment.bytes.len();
        if is_orphan {
            // The process has closed: `tcp_rcv_state_process`.
            self.cover.hit(Quirk::DataAfterClose);
            return self.abandon(fd.other_end());
        }
        let socket = self.socket(fd);
        socket.reset_coming |= socket.state == State::Established;
    }

    fn acknowledge(&mut self, fd: Fd) {
        let part = match self.look(fd).unacknowledged {
            0 => 0,
            all => self.rng.between(1, all),
        };
        let socket = self.socket(fd);
        socket.unacknowledged -= part;
        socket.held = None;
        if socket.unacknowledged == 0 && socket.fin == Fin::Arrived {
            socket.fin = Fin::Acknowledged;
            // A change of state, and an epoll is told of each (`tcp_rcv_state_process`).
            socket.wake();
        }
        // Room is news only to those who found none (`sk_stream_write_space`).
        if socket.wants_room && socket.is_writable() {
            socket.wants_room = false;
            socket.wake();
        }
    }

    /// `tcp_reset`.
    fn arrive_reset(&mut self, fd: Fd) {
        if !self.look(fd.other_end()).unsent.is_empty() {
            self.cover.hit(Quirk::ResetDropsQueue);
            self.socket(fd.other_end()).unsent = Queue::default();
        }
        let socket = self.socket(fd);
        socket.reset_coming = false;
        if socket.state == State::Closed {
            return;
        }
        let is_half_closed = socket.fin_received && socket.fin == Fin::No;
        socket.die(if is_half_closed { Errno::Pipe } else { Errno::ConnReset });
        if is_half_closed {
            self.cover.hit(Quirk::ResetAfterFin);
        }
    }

    /// A socket ends by RST: of what it had queued some is on the wire already, and may arrive first.
    pub(crate) fn abandon(&mut self, fd: Fd) {
        let socket = self.socket(fd);
        let (state, is_over) = (socket.state, socket.fin == Fin::Acknowledged);
        let is_over = is_over && socket.fin_received;
        socket.state = State::Closed;
        socket.handshake = None;
        socket.received = Queue::default();
        if socket.fin == Fin::Queued {
            socket.fin = Fin::No;
        }
        let other = self.socket(fd.other_end());
        if state == State::Established && !is_over && other.state == State::Established {
            other.reset_coming = true;
        }
    }

    /// The path of an established connection breaks: `tcp_write_err`, and the peer hears nothing.
    pub(crate) fn break_path(&mut self, fd: Fd) {
        if self.look(fd).state == State::Established {
            self.cover.hit(Quirk::PathBroke);
            self.socket(fd).die(Errno::TimedOut);
        }
    }
}
