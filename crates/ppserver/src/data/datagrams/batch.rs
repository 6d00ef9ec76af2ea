//! What a batch of datagrams lies in on its way: one for a worker, whose ports take turns.
//!
//! Invariant: what it holds of a batch is gone before the next one; its room stays.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsFd;

use crate::core::udp::Path;
use crate::core::udp::outbox::{Bundle, Outbox, PIECES_MAX, SendError};
use crate::data::sys::datagrams::{self, MESSAGES_MAX, Messages, Way};

/// Room for a batch.
#[derive(Debug)]
pub(in crate::data) struct Batch {
    pub(super) messages: Messages,
    pub(super) outbox: Outbox,
    /// The headers of a batch that are sent.
    pub(super) headers: Vec<u8>,
    /// The path of each message's answers.
    pub(super) paths: [Option<Path>; MESSAGES_MAX],
    calls: usize,
    moved: usize,
}

impl Batch {
    /// Makes the room.
    pub(in crate::data) fn new() -> Self {
        let (messages, outbox, paths) = (Messages::new(), Outbox::new(), [None; MESSAGES_MAX]);
        Self { messages, outbox, headers: Vec::new(), paths, calls: 0, moved: 0 }
    }

    /// A port begins to work.
    pub(super) fn begin_stint(&mut self) {
        (self.calls, self.moved) = (0, 0);
    }

    /// Forgets the last batch.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.headers.clear();
        self.paths = [None; MESSAGES_MAX];
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

    /// Sends what is next in the outbox, and returns how many bytes of payload that is.
    pub(super) fn send(
        &mut self,
        socket: &impl AsFd,
        way: Option<Way>,
    ) -> Result<usize, io::Error> {
        self.calls += 1;
        let Some(Bundle { pieces, .. }) = self.outbox.next() else { return Ok(0) };
        let mut parts = [IoSlice::new(&[]); 2 * PIECES_MAX];
        let (mut count, mut bytes) = (0, 0);
        for piece in pieces {
            let payload = self.messages.bytes(piece.message).get(piece.payload.clone());
            let header = self.headers.get(piece.header.clone());
            for part in [header.unwrap_or_default(), payload.unwrap_or_default()] {
                if !part.is_empty() {
                    parts[count] = IoSlice::new(part);
                    count += 1;
                }
            }
            bytes += piece.payload.len();
        }
        let segment = match pieces {
            [first, _, ..] => u16::try_from(first.len()).ok(),
            [_] | [] => None,
        };
        datagrams::send(socket, &parts[..count], segment, way)?;
        self.moved += bytes;
        Ok(bytes)
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
