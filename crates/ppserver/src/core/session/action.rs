//! The words a session and its shell exchange: actions out, outcomes in.
//!
//! Plain values. An [`Action`] is at most one system call on an established socket; what came of it
//! goes back through one of the session's `handle_*` methods.

use crate::core::close_reason::CloseReason;

/// One of a session's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The socket we accepted.
    Client,
    /// The socket we connected.
    Upstream,
}

impl Side {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Client, Self::Upstream];
}

/// One of a session's two flows of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Up,
    /// From the upstream to the client.
    Down,
}

impl Direction {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// Returns the socket bytes come from.
    pub const fn source(self) -> Side {
        match self {
            Self::Up => Side::Client,
            Self::Down => Side::Upstream,
        }
    }

    /// Returns the socket bytes go to.
    pub const fn sink(self) -> Side {
        self.other().source()
    }

    /// Returns the flow the other way.
    pub const fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// Returns the flow that comes from a socket.
    pub const fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Up,
            Side::Upstream => Self::Down,
        }
    }

    /// Returns the flow that goes to a socket.
    pub const fn into(side: Side) -> Self {
        Self::from(side).other()
    }
}

/// How a conduit is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// recv(2) into a buffer.
    Copy,
    /// splice(2) into a pipe.
    Splice,
}

/// What the kernel is asked to tell of a socket. Errors, and that both directions have ended, it always tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// That there is something to read, and room to write into.
    All,
    /// That there is room to write into.
    Room,
}

/// What the shell is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing, until readiness or the deadline.
    Wait,
    /// Receive from the client and decode: `handle_header`.
    ReadHeader,
    /// Find out where it goes: `handle_routed`, `handle_hello_needed` the first time, or `handle_refused`. Where the
    /// header was to be read and none has come, the client was silent until its deadline, and what it says later is
    /// payload.
    Route,
    /// Receive from the client behind what the upward conduit holds: `handle_hello`.
    ReadHello,
    /// Begin to connect to the next endpoint, and put our header for it in front of the payload in the upward
    /// conduit, in place of the one for an endpoint before: `handle_connecting`, `handle_connect_failed` or
    /// `handle_refused`.
    Connect,
    /// Ask a socket for its pending error, SO_ERROR: `handle_error_taken`.
    TakeError(Side),
    /// Fill the empty conduit from its source: `handle_filled`, or `handle_unpiped` where there is no pipe to
    /// splice into.
    Fill(Direction, Method),
    /// Drain the conduit into its sink: `handle_drained`.
    Drain(Direction),
    /// Pass the end on: shutdown(2) for writing on the flow's sink: `handle_shut`.
    Shutdown(Direction),
    /// Receive from the client and throw away: `handle_discarded`.
    Discard,
    /// Ask how much a socket has not had acknowledged, SIOCOUTQ: `handle_unsent`.
    CheckUnsent(Side),
    /// Ask the kernel for other events of a socket, EPOLL_CTL_MOD, which tells at once what is so already:
    /// `handle_watched`.
    Watch(Side, Interest),
    /// Close a socket so that its peer sees a reset: `handle_reset`. The conduits stay as they are:
    /// an attempt that failed is repeated with the same bytes.
    Reset(Side),
    /// Close what is still open and forget the session.
    Close(CloseReason),
}

/// What came of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveResult {
    /// Bytes came, out of so many asked for; `0 < count <= asked`.
    Bytes {
        /// Bytes received.
        count: usize,
        /// Bytes there was room for.
        asked: usize,
    },
    /// The call returned 0: the peer sent its FIN. After a splice it only may be so.
    End,
    /// Nothing is there: EAGAIN.
    WouldBlock,
    /// The socket is broken.
    Failed(Failure),
}

/// What came of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// Bytes went out of the conduit.
    Bytes(usize),
    /// The sink takes none now: EAGAIN.
    WouldBlock,
    /// The socket is broken.
    Failed(Failure),
}

/// How a socket broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The peer reset a connection that stood: ECONNRESET, EPIPE.
    Reset,
    /// Anything else: no connection came about, or the path broke.
    Other,
}

/// What the decoder made of the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The header goes on.
    Incomplete,
    /// The header is complete, or absent where it may be, and the upward conduit holds the payload that
    /// came behind it.
    Relay {
        /// Bytes in the upward conduit.
        buffered: usize,
    },
    /// A LOCAL header that is to be answered here, not upstream.
    Answer,
    /// The connection ends here.
    Refuse(CloseReason),
}

/// What is known of the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// It goes on.
    Incomplete,
    /// All that will be: it is complete, or none.
    Judged,
}

/// What a socket's readiness event said.
///
/// The flags are hints to try: only a receive tells the end of a stream, or an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Readiness {
    /// EPOLLIN or EPOLLPRI.
    pub readable: bool,
    /// EPOLLOUT.
    pub writable: bool,
    /// EPOLLHUP, or EPOLLIN with EPOLLRDHUP: the peer's FIN has arrived, behind everything there is to
    /// read, or an RST.
    pub read_closed: bool,
    /// EPOLLPRI: an urgent byte is somewhere in the stream.
    pub urgent: bool,
    /// EPOLLERR.
    pub error: bool,
}
