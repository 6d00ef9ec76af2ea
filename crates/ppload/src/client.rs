//! One connection of the generator: what it has sent, what it has received, what that means.
//!
//! ```text
//! connect -> send header + request (+ upload) -> answer's head -> its body -> end | next request
//! ```
//!
//! It knows neither the event loop nor the clock. Invariant: an answer counts only when its head
//! says success, its body has the length that was asked for and, as closely as it is told to look,
//! the bytes that belong there, and, in `short`, the close follows.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use crate::pattern::{CHUNK, Pattern};
use crate::wire::{After, CORRUPT, Found, Header, RECEIVED, Request, find_answer};

/// What all connections of a run have in common, built once.
pub(super) struct Plan {
    request: Request,
    /// Header and request, for one write.
    first: Vec<u8>,
    /// Of that, the header.
    header_len: u64,
    /// Where the pieces of the header end that are written apart, ascending.
    cuts: Vec<u64>,
    /// Later requests on the same connection.
    next: Vec<u8>,
    pattern: Pattern,
}

impl Plan {
    /// `pieces` are those of the header; the request comes with the last one.
    pub(super) fn new(header: Header, pieces: u8, request: Request) -> Self {
        let next = request.head();
        let first = [header.bytes(), &next].concat();
        let len = size(header.bytes().len());
        let mut cuts: Vec<u64> =
            (1..u64::from(pieces)).map(|piece| len * piece / u64::from(pieces)).collect();
        cuts.retain(|cut| *cut > 0);
        cuts.dedup();
        Self { request, first, header_len: len, cuts, next, pattern: Pattern::new() }
    }
}

/// Bytes moved on all connections, without PROXY headers: a proxy may send another one than it got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum Step {
    /// It waits for its socket.
    Waits,
    /// The answer is complete and the connection stays open.
    Answered,
    /// The answer is complete and the target has closed.
    Ended,
    Failed(Cause),
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it is sent.
    Sent,
    /// The socket takes no more.
    Full,
    /// A piece of the header is sent; the next one waits for the next turn.
    Piece,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum Cause {
    System(io::Error),
    /// Named as it is counted.
    Wrong(&'static str),
}

/// What an event says about reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is known of an end.
    Unknown,
    /// The peer's FIN is there: what follows the received bytes is the end, without another read.
    Seen,
}

/// A connection with its exchange.
pub(super) struct Conn {
    pub(super) socket: TcpStream,
    /// When the exchange was meant to begin.
    pub(super) since: Instant,
    /// When it has taken too long.
    pub(super) deadline: Instant,
    is_first: bool,
    /// Of the opening and the upload.
    sent: u64,
    answer: Answer,
}

enum Answer {
    /// What has come of a head that is not complete; allocates only then.
    Head(Vec<u8>),
    /// `0 <= received <= len`.
    Body { received: u64, len: u64 },
}

impl Conn {
    /// Begins to connect.
    ///
    /// # Errors
    /// What socket(2) and connect(2) refuse at once.
    pub(super) fn open(to: SocketAddr, since: Instant, deadline: Instant) -> io::Result<Self> {
        let socket = TcpStream::connect(to)?;
        let answer = Answer::Head(Vec::new());
        Ok(Self { socket, since, deadline, is_first: true, sent: 0, answer })
    }

    /// Begins another exchange on an open connection.
    pub(super) fn restart(&mut self, since: Instant, deadline: Instant) {
        self.since = since;
        self.deadline = deadline;
        self.is_first = false;
        self.sent = 0;
        self.answer = Answer::Head(Vec::new());
    }

    /// Sends until all is sent, a piece is, or the socket is full. Worth trying right after connect:
    /// on loopback the handshake is over by then.
    ///
    /// # Errors
    /// What connect(2) and send(2) report.
    pub(super) fn send(&mut self, plan: &Plan, moved: &mut Moved) -> io::Result<Progress> {
        let opening = if self.is_first { &plan.first } else { &plan.next };
        let opening_len = size(opening.len());
        let total = opening_len + plan.request.up;
        while self.sent < total {
            let cut = plan.cuts.iter().copied().find(|cut| self.is_first && *cut > self.sent);
            let chunk = match opening.get(usize::try_from(self.sent).unwrap_or(usize::MAX)..) {
                Some(rest) if !rest.is_empty() => rest,
                Some(_) | None => plan.pattern.piece(self.sent - opening_len, total - self.sent),
            };
            let until_cut = cut.and_then(|cut| usize::try_from(cut - self.sent).ok());
            let chunk = until_cut.and_then(|len| chunk.get(..len)).unwrap_or(chunk);
            match self.socket.write(chunk) {
                Ok(count) => {
                    let header_left = match self.is_first {
                        true => plan.header_len.saturating_sub(self.sent),
                        false => 0,
                    };
                    self.sent += size(count);
                    moved.sent += size(count).saturating_sub(header_left);
                    if count < chunk.len() {
                        return Ok(Progress::Full);
                    }
                    if until_cut.is_some() {
                        return Ok(Progress::Piece);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Full),
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    return Ok(Progress::Full);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Sent)
    }

    /// Receives what is there.
    pub(super) fn receive(
        &mut self,
        plan: &Plan,
        buffer: &mut [u8],
        end: End,
        moved: &mut Moved,
    ) -> Step {
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => return self.handle_end(),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Waits,
                Err(error) => return Step::Failed(Cause::System(error)),
            };
            moved.received += size(count);
            if let Err(what) = self.take(&buffer[..count], plan) {
                return Step::Failed(Cause::Wrong(what));
            }
            if self.is_answered() && plan.request.after == After::Keep {
                return Step::Answered;
            }
            if count < buffer.len() {
                return if end == End::Seen { self.handle_end() } else { Step::Waits };
            }
        }
    }

    fn handle_end(&self) -> Step {
        if self.is_answered() {
            Step::Ended
        } else {
            Step::Failed(Cause::Wrong("closed before the answer was complete"))
        }
    }

    fn is_answered(&self) -> bool {
        match self.answer {
            Answer::Head(_) => false,
            Answer::Body { received, len } => received == len,
        }
    }

    fn take(&mut self, mut bytes: &[u8], plan: &Plan) -> Result<(), &'static str> {
        if let Answer::Head(held) = &mut self.answer {
            let before = held.len();
            if before > 0 {
                held.extend_from_slice(bytes);
            }
            match find_answer(if before > 0 { held } else { bytes }) {
                Found::At(end, len) => {
                    bytes = &bytes[end - before..];
                    self.answer = Answer::Body { received: 0, len };
                    if len != plan.request.answer_body() {
                        return Err("an answer of another length");
                    }
                }
                Found::Incomplete => {
                    if before == 0 {
                        held.extend_from_slice(bytes);
                    }
                    return Ok(());
                }
                Found::Bad => return Err("an answer that is no success"),
            }
        }
        let Answer::Body { received, len } = &mut self.answer else { return Ok(()) };
        let at = *received;
        *received += size(bytes.len());
        if *received > *len {
            return Err("more bytes than announced");
        }
        plan.check_body(at, bytes)
    }
}

impl Plan {
    /// Compares `bytes` with what belongs at `at` of the answer's body.
    fn check_body(&self, at: u64, bytes: &[u8]) -> Result<(), &'static str> {
        let download = usize::try_from(self.request.down.saturating_sub(at)).unwrap_or(usize::MAX);
        let (data, verdict) = bytes.split_at(download.min(bytes.len()));
        if !data.is_empty() && !self.pattern.matches(at, data, self.request.check) {
            return Err("wrong bytes in an answer");
        }
        if verdict.is_empty() {
            return Ok(());
        }
        let from = usize::try_from(at.saturating_sub(self.request.down)).unwrap_or(usize::MAX);
        let part = |word: &'static [u8; 8]| word.get(from..).and_then(|w| w.get(..verdict.len()));
        if part(RECEIVED) == Some(verdict) {
            Ok(())
        } else if part(CORRUPT) == Some(verdict) {
            Err("wrong bytes in an upload")
        } else {
            Err("no verdict on an upload")
        }
    }
}

/// The size of the buffer that all connections receive into: no more than a check can compare.
pub(super) const BUFFER: usize = CHUNK;

pub(super) fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Check;
    use crate::host;

    /// A connection to nobody: only what it takes is looked at.
    fn conn() -> Conn {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let now = host::now();
        Conn::open(listener.local_addr().unwrap(), now, now).unwrap()
    }

    fn plan(up: u64, down: u64, after: After) -> Plan {
        Plan::new(Header::V2, 1, Request { up, down, after, check: Check::Full })
    }

    fn answer(plan: &Plan) -> Vec<u8> {
        let mut bytes = plan.request.answer_head().into_bytes();
        bytes.extend_from_slice(plan.pattern.piece(0, plan.request.down));
        if plan.request.up > 0 {
            bytes.extend_from_slice(RECEIVED);
        }
        bytes
    }

    #[test]
    fn an_answer_is_understood_however_it_is_cut() {
        let plan = plan(5, 300, After::Keep);
        let bytes = answer(&plan);
        for cut in 0..bytes.len() {
            let mut conn = conn();
            conn.take(&bytes[..cut], &plan).unwrap();
            assert!(!conn.is_answered(), "cut at {cut}");
            conn.take(&bytes[cut..], &plan).unwrap();
            assert!(conn.is_answered(), "cut at {cut}");
        }
    }

    #[test]
    fn every_wrong_answer_is_told_apart() {
        let plan = plan(5, 300, After::Close);
        let good = answer(&plan);
        let head_len = plan.request.answer_head().len();
        let mut flipped = good.clone();
        flipped[head_len + 20] ^= 1;
        let corrupt = [&good[..good.len() - 8], CORRUPT.as_slice()].concat();
        for (bytes, what) in [
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec(), "an answer that is no success"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n".to_vec(),
                "an answer of another length",
            ),
            (flipped, "wrong bytes in an answer"),
            (corrupt, "wrong bytes in an upload"),
            ([good.as_slice(), b"x"].concat(), "more bytes than announced"),
        ] {
            assert_eq!(conn().take(&bytes, &plan), Err(what));
        }
        let mut cut_short = conn();
        cut_short.take(&good[..good.len() - 1], &plan).unwrap();
        assert!(matches!(cut_short.handle_end(), Step::Failed(Cause::Wrong(_))));
    }

    #[test]
    fn the_length_counts_even_where_nothing_is_compared() {
        let request = Request { up: 0, down: 300, after: After::Keep, check: Check::Length };
        let plan = Plan::new(Header::V2, 1, request);
        for len in [0, 299, 301] {
            let head = Request { down: len, ..request }.answer_head();
            let taken = conn().take(head.as_bytes(), &plan);
            assert_eq!(taken, Err("an answer of another length"), "{len} for 300");
        }
        let others = [request.answer_head().as_bytes(), &[b'x'; 300]].concat();
        assert_eq!(conn().take(&others, &plan), Ok(()), "bytes of another server");
    }
}
