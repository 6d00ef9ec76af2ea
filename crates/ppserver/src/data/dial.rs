//! What a connection needs from its header to its upstream's answer: who is tried, and what the header sent
//! to each is made of.

use std::time::Instant;

use ppcore::{Header, encode::EncodeError};
use pptrust::{Outgoing, SocketAddrs};

use super::conduit::{Buffer, Spares};
use crate::core::pool::Upstream;

/// The attempts to reach an upstream.
#[derive(Debug, Default)]
pub(super) struct Dial {
    /// The header that came, and its bytes as long as a header that is sent needs them.
    received: Option<(Header, Option<Buffer>)>,
    /// The place in the round of the first attempt.
    first: usize,
    attempts: usize,
    /// When the last attempt began.
    began: Option<Instant>,
}

impl Dial {
    /// Behind a header, whose bytes are kept if what is sent needs more of it than it says.
    pub(super) fn behind(
        header: Header,
        bytes: &[u8],
        send: &Outgoing,
        spares: &mut Spares,
    ) -> Self {
        let bytes = bytes.get(..header.len()).filter(|_| send.needs_bytes(&header));
        let kept = bytes.map(|bytes| spares.buffer_of(bytes));
        Self { received: Some((header, kept)), first: 0, attempts: 0, began: None }
    }

    /// Returns the place of the next endpoint to be tried, now.
    pub(super) fn next(&mut self, upstream: &Upstream, now: Instant) -> usize {
        if self.attempts == 0 {
            // Not before: a health check goes nowhere, and takes nobody's place in the round.
            self.first = upstream.next_in_round();
        }
        self.attempts += 1;
        self.began = Some(now);
        upstream.place(self.first, self.attempts - 1)
    }

    /// Returns when the last attempt began.
    pub(super) const fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Returns whether the header that is sent needs our own address.
    pub(super) fn needs_local(&self, send: &Outgoing) -> bool {
        send.needs_local(self.received.as_ref().map(|(header, _)| header))
    }

    /// Writes the header that is sent into `out`, and returns its length.
    ///
    /// # Errors
    /// When it is too long for its version.
    pub(super) fn compose(
        &self,
        out: &mut [u8],
        send: &Outgoing,
        socket: SocketAddrs,
    ) -> Result<usize, EncodeError> {
        let received = self.received.as_ref().map(|(header, bytes)| {
            let bytes = bytes.as_ref().map_or(&[][..], Buffer::held);
            (header, bytes)
        });
        send.compose(out, received, socket)
    }

    /// Gives back what was kept.
    pub(super) fn release(&mut self, spares: &mut Spares) {
        if let Some((_, Some(bytes))) = self.received.take() {
            spares.give_buffer(bytes);
        }
    }
}
