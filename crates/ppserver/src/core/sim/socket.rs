//! One modelled TCP socket: its queues, its end of the connection, what poll(2) says of it.
//!
//! State only; the system calls are in `kernel.rs`, what travels in `wire.rs`. Facts of Linux 6.18,
//! by name of the kernel's function where one explains it.

use std::time::Instant;

use super::queue::Queue;
use crate::core::session::Interest;

/// What a system call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Errno {
    /// EAGAIN
    Again,
    /// ECONNRESET
    ConnReset,
    /// EPIPE
    Pipe,
    /// ECONNREFUSED
    ConnRefused,
    /// ENOTCONN
    NotConn,
    /// ETIMEDOUT
    TimedOut,
    /// EHOSTUNREACH
    HostUnreachable,
    /// EADDRNOTAVAIL
    AddrNotAvailable,
    /// EMFILE
    TooManyFiles,
    /// ECONNABORTED
    ConnAborted,
}

/// How large the queues of a session's sockets are, and what travels as one: bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) received_max: usize,
    pub(crate) unsent_max: usize,
    pub(crate) segment_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// The connect is under way.
    Handshake,
    /// Bytes may move, each way until its FIN.
    Established,
    /// Reset, or never connected: TCP_CLOSE.
    Closed,
}

/// How far the FIN of a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fin {
    No,
    /// Behind the data still to be sent.
    Queued,
    Arrived,
    Acknowledged,
}

/// What is held back for others to join it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    /// So many of the last bytes.
    pub(crate) bytes: usize,
    /// For so long at most.
    pub(crate) until: Instant,
}

/// What becomes of a connect, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Handshake {
    Stands,
    Fails(Errno),
}

/// What poll(2) says, as in `tcp_poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mask {
    pub(crate) input: bool,
    pub(crate) output: bool,
    pub(crate) urgent: bool,
    pub(crate) error: bool,
    /// Both directions have ended, by FIN or by RST.
    pub(crate) hup: bool,
    /// The peer's FIN arrived, or an RST.
    pub(crate) rdhup: bool,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Socket {
    pub(crate) state: State,
    pub(crate) handshake: Option<(Instant, Handshake)>,
    /// The pending error; whoever is told it takes it away (`sock_error`).
    pub(crate) error: Option<Errno>,
    /// Arrived, not read.
    pub(crate) received: Queue,
    pub(crate) received_max: usize,
    pub(crate) fin_received: bool,
    /// Sent by the process, not arrived.
    pub(crate) unsent: Queue,
    pub(crate) unsent_max: usize,
    pub(crate) segment_max: usize,
    /// The last of it, which waits for what follows: MSG_MORE.
    pub(crate) held: Option<Held>,
    /// Arrived over there, the acknowledgement is under way.
    pub(crate) unacknowledged: usize,
    pub(crate) fin: Fin,
    /// An RST travels to this socket.
    pub(crate) reset_coming: bool,
    /// It died, and its epoll will be woken once more: `tcp_reset` wakes by `tcp_done` and then by
    /// `sk_error_report`, and a process may come in between.
    pub(crate) wakes_again: bool,
    /// A process has a descriptor of it.
    pub(crate) is_owned: bool,
    /// A send found no room, so that room is news: SOCK_NOSPACE.
    pub(crate) wants_room: bool,
    /// It is on the ready list of an epoll.
    pub(crate) is_armed: bool,
    /// An epoll watches it.
    pub(crate) is_watched: bool,
    /// For what.
    pub(crate) interest: Interest,
    /// It was connected, and took one of our ports.
    pub(crate) has_port: bool,
}

impl Socket {
    pub(crate) fn new(state: State, sizes: Sizes) -> Self {
        Self {
            state,
            handshake: None,
            error: None,
            received: Queue::default(),
            received_max: sizes.received_max,
            fin_received: false,
            unsent: Queue::default(),
            unsent_max: sizes.unsent_max,
            segment_max: sizes.segment_max,
            held: None,
            unacknowledged: 0,
            fin: Fin::No,
            reset_coming: false,
            wakes_again: false,
            is_owned: true,
            wants_room: false,
            is_armed: false,
            is_watched: false,
            interest: Interest::All,
            has_port: false,
        }
    }

    /// Returns how much more the peer may send.
    pub(crate) fn window(&self) -> usize {
        self.received_max.saturating_sub(self.received.len())
    }

    /// Returns how much more the process may send.
    pub(crate) fn room(&self) -> usize {
        self.unsent_max.saturating_sub(self.unsent.len() + self.unacknowledged)
    }

    /// A socket becomes writable only once a third of its send queue is free
    /// (`sk_stream_is_writeable`).
    pub(crate) fn is_writable(&self) -> bool {
        self.room() * 3 >= self.unsent_max
    }

    /// SIOCOUTQ: a FIN counts, for it has a sequence number. An RST purges the queue, yet leaves the
    /// numbers as they were: behind it the answer never changes again.
    pub(crate) fn outq(&self) -> usize {
        let fin = matches!(self.fin, Fin::Queued | Fin::Arrived);
        self.unsent.len() + self.unacknowledged + usize::from(fin)
    }

    /// Returns whether a segment may leave: the last ones may be held back.
    pub(crate) fn has_segment(&self) -> bool {
        self.unsent.len() > self.held.map_or(0, |held| held.bytes)
    }

    /// Returns when what is held back leaves by itself: never, once the connection is over.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        let held = self.held.filter(|_| self.state == State::Established)?;
        Some(held.until)
    }

    pub(crate) fn is_at_mark(&self) -> bool {
        self.received.front().is_some_and(|segment| segment.is_urgent)
    }

    /// Returns whether a read would return something else than EAGAIN.
    pub(crate) fn has_news(&self) -> bool {
        let is_open = self.state != State::Handshake;
        self.error.is_some()
            || is_open && (self.fin_received || self.state == State::Closed || self.has_data())
    }

    pub(crate) fn has_data(&self) -> bool {
        self.received.len() > self.received.marks()
    }

    pub(crate) fn poll(&self) -> Mask {
        if self.state == State::Handshake {
            return Mask::default();
        }
        let is_closed = self.state == State::Closed;
        let rdhup = self.fin_received || is_closed;
        Mask {
            // Not for a lone urgent byte.
            input: rdhup || self.has_data(),
            output: is_closed || self.fin != Fin::No || self.is_writable(),
            urgent: self.received.marks() > 0,
            error: self.error.is_some(),
            hup: is_closed || self.fin_received && self.fin != Fin::No,
            rdhup,
        }
    }

    /// Returns what an epoll would tell of it: what it is asked for, and what it always tells.
    pub(crate) fn told(&self) -> Mask {
        let mask = self.poll();
        match self.interest {
            Interest::All => mask,
            Interest::Room => Mask { input: false, urgent: false, rdhup: false, ..mask },
        }
    }

    /// There is one mark, the newest (`tcp_check_urg`): the older urgent byte becomes data, unless it
    /// is the next to be read.
    pub(crate) fn forget_mark(&mut self) {
        if self.is_at_mark() {
            self.received.pop_front();
        }
        self.received.keep_marks(0);
    }

    /// Something happened that an epoll is told of.
    pub(crate) fn wake(&mut self) {
        self.is_armed = self.is_watched;
    }

    /// Bytes came: news only to an epoll that is asked for them (`ep_poll_callback` looks at the key of such
    /// a wake-up, and a change of state has none).
    pub(crate) fn wake_reader(&mut self) {
        if self.interest == Interest::All {
            self.wake();
        }
    }

    /// `tcp_done`: the queue of what was received survives, everything else goes.
    ///
    /// The numbers of what was sent stay in `unacknowledged`: see `outq`.
    pub(crate) fn die(&mut self, error: Errno) {
        self.error = Some(error);
        self.state = State::Closed;
        self.handshake = None;
        self.unacknowledged = self.outq();
        self.unsent = Queue::default();
        self.held = None;
        self.fin = Fin::No;
        self.wakes_again = self.is_watched;
        self.wake();
    }
}
