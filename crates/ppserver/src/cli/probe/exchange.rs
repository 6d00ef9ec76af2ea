//! One connection or one flow of datagrams: what is said, and what comes of it after how long.
//!
//! Judges nothing. Invariant: it is over within a few of its timeouts, and holds no more of an answer than was asked for.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::way::{Pair, Way};
use crate::core::addr::Addr;

/// How long the first piece of a header is alone on its way: servers that start a process for a connection read late.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at whether the others are over.
const SLICE: Duration = Duration::from_millis(50);

/// Who is asked, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) addr: Addr,
    pub(super) kind: Kind,
    /// What the header tells; our own addresses, if nothing else is said.
    pub(super) pair: Option<Pair>,
    pub(super) data: &'a [u8],
    /// For the connect, and for each answer.
    pub(super) timeout: Duration,
    /// The most that is held of an answer.
    pub(super) answer_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stream,
    Datagrams,
}

/// What came of a way to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) way: Way,
    pub(super) outcome: Outcome,
    /// From what was said last, or from the connect.
    pub(super) after: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With these bytes.
    Answered(Vec<u8>),
    /// With a FIN, and no byte before.
    Closed,
    /// With a reset, and no byte before; or the port of datagrams is closed.
    Reset,
    /// Until the time was over.
    Silent,
}

/// How much of an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// What comes first.
    FirstBytes,
    /// All of it.
    End,
}

/// Connects, speaks in a way, and waits for what comes of it.
///
/// # Errors
/// When the server is not reached, or the system fails.
pub(super) fn speak(target: Target<'_>, way: Way, until: Until) -> io::Result<Attempt> {
    unless_reset(way, || Connection::open(target)?.speak(way, until))
}

/// Connects, says nothing, and listens for a while longer than the others take, which end when `are_over`.
///
/// # Errors
/// As [`speak`].
pub(super) fn listen(
    target: Target<'_>,
    are_over: &AtomicBool,
    longer: Duration,
) -> io::Result<Attempt> {
    unless_reset(Way::Nothing, || Connection::open(target)?.listen(are_over, longer))
}

/// Who is refused at once may be reset before connect(2) returns.
fn unless_reset(way: Way, attempt: impl FnOnce() -> io::Result<Attempt>) -> io::Result<Attempt> {
    let began = now();
    match attempt() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            let after = now().saturating_duration_since(began);
            Ok(Attempt { way, outcome: Outcome::Reset, after })
        }
        attempt => attempt,
    }
}

/// A socket that is connected.
#[derive(Debug)]
struct Connection<'a> {
    target: Target<'a>,
    socket: Socket,
}

impl<'a> Connection<'a> {
    fn open(target: Target<'a>) -> io::Result<Self> {
        let (domain, addr) = match target.addr {
            Addr::Inet(addr) => (Domain::for_address(addr), SockAddr::from(addr)),
            Addr::Unix(name) => {
                let path = match name.abstract_name() {
                    Some(name) => format!("\0{name}"),
                    None => name.as_str().to_owned(),
                };
                (Domain::UNIX, SockAddr::unix(path)?)
            }
        };
        let (kind, protocol) = match target.kind {
            Kind::Stream => (Type::STREAM, None),
            Kind::Datagrams => (Type::DGRAM, Some(Protocol::UDP)),
        };
        let socket = Socket::new(domain, kind, protocol)?;
        socket.connect_timeout(&addr, target.timeout)?;
        if target.kind == Kind::Stream && domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        socket.set_write_timeout(Some(target.timeout))?;
        Ok(Self { target, socket })
    }

    /// The addresses that a header tells.
    fn pair(&self) -> Pair {
        let of = |addr: io::Result<SockAddr>| addr.ok().and_then(|addr| addr.as_socket());
        // A UNIX socket has none: clients of documentation (RFC 5737).
        self.target.pair.unwrap_or_else(|| Pair {
            src: of(self.socket.local_addr()).unwrap_or(([203, 0, 113, 7], 51820).into()),
            dst: of(self.socket.peer_addr()).unwrap_or(([192, 0, 2, 1], 443).into()),
        })
    }

    fn speak(self, way: Way, until: Until) -> io::Result<Attempt> {
        let mut began = now();
        let writes = way.writes(self.target.kind, self.pair(), self.target.data);
        let last = writes.len().saturating_sub(1);
        let mut outcome = Outcome::Silent;
        for (nth, bytes) in writes.iter().enumerate() {
            began = now();
            // Whoever has left may have answered before, and is asked below.
            (&self.socket).write_all(bytes).or_else(unless_left)?;
            // Behind a datagram, its answer; behind a piece, an end that comes early.
            let span = match self.target.kind {
                Kind::Stream if nth < last => PAUSE.min(self.target.timeout),
                Kind::Stream | Kind::Datagrams => self.target.timeout,
            };
            outcome = self.hear(span, until)?;
            let goes_on = match self.target.kind {
                Kind::Stream => outcome == Outcome::Silent,
                Kind::Datagrams => matches!(outcome, Outcome::Answered(_)),
            };
            if !goes_on {
                break;
            }
        }
        Ok(Attempt { way, outcome, after: now().saturating_duration_since(began) })
    }

    fn listen(self, are_over: &AtomicBool, longer: Duration) -> io::Result<Attempt> {
        let began = now();
        let mut quiet = Duration::ZERO;
        let outcome = loop {
            let slice = SLICE.min(longer);
            let is_behind = are_over.load(Ordering::Acquire);
            let outcome = self.hear(slice, Until::FirstBytes)?;
            quiet += if is_behind { slice } else { Duration::ZERO };
            if quiet >= longer || outcome != Outcome::Silent {
                break outcome;
            }
        };
        Ok(Attempt { way: Way::Nothing, outcome, after: now().saturating_duration_since(began) })
    }

    fn hear(&self, span: Duration, until: Until) -> io::Result<Outcome> {
        self.socket.set_read_timeout(Some(span))?;
        let mut answer = vec![0; self.target.answer_bytes_max];
        let mut len = 0;
        let ended = loop {
            match (&self.socket).read(&mut answer[len..]) {
                Ok(0) => break Outcome::Closed,
                Ok(count) => len += count,
                Err(error) if is_late(&error) => break Outcome::Silent,
                Err(error) => match unless_left(error) {
                    Ok(()) => break Outcome::Reset,
                    Err(error) => return Err(error),
                },
            }
            let is_whole = self.target.kind == Kind::Datagrams || until == Until::FirstBytes;
            if is_whole || len == answer.len() {
                break Outcome::Silent;
            }
        };
        answer.truncate(len);
        Ok(if answer.is_empty() { ended } else { Outcome::Answered(answer) })
    }
}

/// The other side has left, which is an outcome; anything else is an error.
fn unless_left(error: io::Error) -> io::Result<()> {
    const LEFT: [io::ErrorKind; 4] = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionAborted,
        // A datagram before met a closed port.
        io::ErrorKind::ConnectionRefused,
    ];
    if LEFT.contains(&error.kind()) { Ok(()) } else { Err(error) }
}

fn is_late(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

#[expect(clippy::disallowed_methods, reason = "how long an answer took is what is asked")]
fn now() -> Instant {
    Instant::now()
}
