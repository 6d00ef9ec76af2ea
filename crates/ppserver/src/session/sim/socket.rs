//! One modelled TCP socket: its queues, its end of the connection, what poll(2) says of it.
//!
//! State only; the system calls are in `kernel.rs`, what travels in `wire.rs`. Facts of Linux 6.18,
//! by name of the kernel's function where one explains it.

use std::collections::VecDeque;
use std::time::Instant;

/// What a system call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errno {
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
}

/// What travels and is queued as one.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) bytes: Vec<u8>,
    /// One byte out of band: it is in the sequence, not in the stream.
    pub(super) is_urgent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The connect is under way.
    Handshake,
    /// Bytes may move, each way until its FIN.
    Standing,
    /// Reset, or never connected: TCP_CLOSE.
    Closed,
}

/// How far the FIN of a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    No,
    /// Behind the data still to be sent.
    Queued,
    Arrived,
    Acknowledged,
}

/// What becomes of a connect, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Stands,
    Fails(Errno),
}

/// What poll(2) says, as in `tcp_poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask {
    pub(super) input: bool,
    pub(super) output: bool,
    pub(super) urgent: bool,
    pub(super) error: bool,
    /// Both directions have ended, by FIN or by RST.
    pub(super) hup: bool,
    /// The peer's FIN arrived, or an RST.
    pub(super) rdhup: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Socket {
    pub(super) state: State,
    pub(super) handshake: Option<(Instant, Handshake)>,
    /// The pending error; whoever is told it takes it away (`sock_error`).
    pub(super) error: Option<Errno>,
    /// Arrived, not read.
    pub(super) received: VecDeque<Segment>,
    pub(super) received_max: usize,
    pub(super) fin_received: bool,
    /// Sent by the process, not arrived.
    pub(super) unsent: VecDeque<Segment>,
    pub(super) unsent_max: usize,
    /// Arrived over there, the acknowledgement is under way.
    pub(super) unacknowledged: usize,
    pub(super) fin: Fin,
    /// An RST travels to this socket.
    pub(super) reset_coming: bool,
    /// A process has a descriptor of it.
    pub(super) is_owned: bool,
    /// A send found no room, so that room is news: SOCK_NOSPACE.
    pub(super) wants_room: bool,
    /// It is on the ready list of an epoll.
    pub(super) is_armed: bool,
    /// An epoll watches it.
    pub(super) is_watched: bool,
}

impl Socket {
    pub(super) fn new(state: State, received_max: usize, unsent_max: usize) -> Self {
        Self {
            state,
            handshake: None,
            error: None,
            received: VecDeque::new(),
            received_max,
            fin_received: false,
            unsent: VecDeque::new(),
            unsent_max,
            unacknowledged: 0,
            fin: Fin::No,
            reset_coming: false,
            is_owned: true,
            wants_room: false,
            is_armed: false,
            is_watched: false,
        }
    }

    /// Returns how much more the peer may send.
    pub(super) fn window(&self) -> usize {
        self.received_max.saturating_sub(len(&self.received))
    }

    /// Returns how much more the process may send.
    pub(super) fn room(&self) -> usize {
        self.unsent_max.saturating_sub(len(&self.unsent) + self.unacknowledged)
    }

    /// A socket becomes writable only once a third of its send queue is free
    /// (`sk_stream_is_writeable`).
    pub(super) fn is_writable(&self) -> bool {
        self.room() * 3 >= self.unsent_max
    }

    /// SIOCOUTQ: a FIN counts, for it has a sequence number. An RST purges the queue, yet leaves the
    /// numbers as they were: behind it the answer never changes again.
    pub(super) fn outq(&self) -> usize {
        let fin = matches!(self.fin, Fin::Queued | Fin::Arrived);
        len(&self.unsent) + self.unacknowledged + usize::from(fin)
    }

    pub(super) fn is_at_mark(&self) -> bool {
        self.received.front().is_some_and(|segment| segment.is_urgent)
    }

    /// Returns whether a read would return something else than EAGAIN.
    pub(super) fn has_news(&self) -> bool {
        let is_open = self.state != State::Handshake;
        self.error.is_some()
            || is_open && (self.fin_received || self.state == State::Closed || self.has_data())
    }

    pub(super) fn has_data(&self) -> bool {
        self.received.iter().any(|segment| !segment.is_urgent)
    }

    pub(super) fn poll(&self) -> Mask {
        if self.state == State::Handshake {
            return Mask::default();
        }
        let is_closed = self.state == State::Closed;
        let rdhup = self.fin_received || is_closed;
        Mask {
            // Not for a lone urgent byte.
            input: rdhup || self.has_data(),
            output: is_closed || self.fin != Fin::No || self.is_writable(),
            urgent: self.received.iter().any(|segment| segment.is_urgent),
            error: self.error.is_some(),
            hup: is_closed || self.fin_received && self.fin != Fin::No,
            rdhup,
        }
    }

    /// Something happened that an epoll is told of.
    pub(super) fn wake(&mut self) {
        self.is_armed = self.is_watched;
    }

    /// `tcp_done`: the queue of what was received survives, everything else goes.
    ///
    /// The numbers of what was sent stay in `unacknowledged`: see `outq`.
    pub(super) fn die(&mut self, error: Errno) {
        self.error = Some(error);
        self.state = State::Closed;
        self.handshake = None;
        self.unacknowledged = self.outq();
        self.unsent.clear();
        self.fin = Fin::No;
        self.wake();
    }
}

pub(super) fn len(segments: &VecDeque<Segment>) -> usize {
    segments.iter().map(|segment| segment.bytes.len()).sum()
}
