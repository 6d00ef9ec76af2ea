//! What a batch of datagrams lies in on its way: one for a worker, whose ports take turns.
//!
//! Invariant: what it holds of a batch is gone before the next one; its room stays.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsFd;

use crate::core::udp::outbox::{Bundle, Outbox, PIECES_MAX, SendError};
use crate::data::sys::datagrams::{self, MESSAGES_MAX, Messages, Sending, Way};

/// The most parts that a call sends: of one bundle headers and payloads.
const PARTS_MAX: usize = 2 * PIECES_MAX;

/// Room for a batch.
#[derive(Debug)]
pub(in crate::data) struct Batch {
    pub(super) messages: Messages,
    pub(super) outbox: Outbox,
    /// The headers of a batch that are sent.
    pub(super) headers: Vec<u8>,
    calls: usize,
    moved: usize,
}

impl Batch {
    /// Makes the room.
    pub(in crate::data) fn new() -> Self {
        let (messages, outbox) = (Messages::new(), Outbox::new());
        Self { messages, outbox, headers: Vec::new(), calls: 0, moved: 0 }
    }

    /// A port begins to work.
    pub(super) fn begin_stint(&mut self) {
        (self.calls, self.moved) = (0, 0);
    }

    /// Forgets the last batch.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.headers.clear();
    }

    /// Returns what was done in this stint, where each call costs `action` beside its bytes.
    pub(super) fn cost(&self, action: usize) -> usize {
        self.moved + self.calls * action
    }

    /// Returns the bytes that were sent in this stint.
    pub(super) const fn moved(&self) -> usize {
        self.moved
    }

    /// A system call was made.
    pub(super) fn count_call(&mut self) {
        self.calls += 1;
    }

    /// Keeps a header, and returns where it lies.
    pub(super) fn keep(&mut self, header: &[u8]) -> Range<usize> {
        let start = self.headers.len();
        self.headers.extend_from_slice(header);
        start..self.headers.len()
    }

    /// Sends what is next in the outbox, and what may go with it, in one call; along which way, if not to
    /// the socket's peer, says `way` of each bundle, or that it is not by this socket. Returns how many bytes of payload each has that was sent.
    ///
    /// # Errors
    /// What keeps the first one.
    pub(super) fn send(
        &mut self,
        socket: &impl AsFd,
        way: impl Fn(Bundle<'_>) -> Option<Option<Way>>,
    ) -> io::Result<Sent> {
        self.calls += 1;
        let Self { messages, outbox, headers, .. } = self;
        let mut parts = [IoSlice::new(&[]); PARTS_MAX];
        let mut planned = [Planned::default(); MESSAGES_MAX];
        let (mut count, mut filled) = (0, 0);
        for (bundle, planned) in outbox.pending().zip(&mut planned) {
            if filled + 2 * bundle.len() > PARTS_MAX {
                break;
            }
            let Some(way) = way(bundle) else { break };
            planned.way = way;
            let begin = filled;
            for piece in bundle.pieces() {
                let payload = messages.bytes(piece.message).get(piece.payload.clone());
                let header = headers.get(piece.header.clone());
                for part in [header.unwrap_or_default(), payload.unwrap_or_default()] {
                    if !part.is_empty() {
                        parts[filled] = IoSlice::new(part);
                        filled += 1;
                    }
                }
                planned.bytes += piece.payload.len();
            }
            planned.parts = (begin, filled);
            let first = bundle.pieces().next().filter(|_| bundle.len() > 1);
            planned.segment = first.and_then(|first| u16::try_from(first.len()).ok());
            count += 1;
        }
        let sending = |planned: Planned| {
            let (begin, end) = planned.parts;
            Sending { parts: &parts[begin..end], segment: planned.segment, way: planned.way }
        };
        let sendings = planned.map(sending);
        let count = datagrams::send(socket, &sendings[..count])?;
        let sent = Sent { bytes: planned.map(|it| it.bytes), count };
        self.moved += sent.bytes().sum::<usize>();
        Ok(sent)
    }
}

/// What a call is to send of a bundle.
#[derive(Clone, Copy, Default)]
struct Planned {
    parts: (usize, usize),
    segment: Option<u16>,
    way: Option<Way>,
    /// Of payload.
    bytes: usize,
}

/// What a call has sent.
#[derive(Debug)]
pub(super) struct Sent {
    bytes: [usize; MESSAGES_MAX],
    count: usize,
}

impl Sent {
    /// The payload of each bundle, in bytes.
    pub(super) fn bytes(&self) -> impl Iterator<Item = usize> {
        self.bytes.iter().take(self.count).copied()
    }
}

/// Says what an error of a send means.
pub(super) fn send_error(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => SendError::Refused,
        Some(libc::EMSGSIZE | libc::EIO | libc::EINVAL) => SendError::TooLong,
        Some(libc::EAGAIN | libc::ENOBUFS) => SendError::Blocked,
        Some(_) | None => SendError::Other,
    }
}
