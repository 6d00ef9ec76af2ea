//! What a connection needs from its header to its upstream's answer: who is tried, and what the header sent
//! to each is made of.

use std::net::IpAddr;
use std::time::Instant;

use ppcore::Header;
use ppcore::encode::EncodeError;
use ppcore::tlv::Tlvs;
use pptrust::{Facts, Outgoing, SocketAddrs};

use super::conduit::{Buffer, Spares};
use crate::core::close_reason::CloseReason;
use crate::core::pool::{Tried, Unavailable, Upstream};

/// The attempts to reach an upstream.
#[derive(Debug, Default)]
pub(super) struct Dial {
    /// The header that came, and its bytes as long as a route or a header that is sent needs them.
    received: Option<(Header, Option<Buffer>)>,
    /// Those that were tried.
    tried: Tried,
    /// How the last attempt failed, if it did.
    failed: Option<CloseReason>,
    /// When the last attempt began.
    began: Option<Instant>,
}

impl Dial {
    /// Behind a header, whose bytes are kept if more is needed of it than it says.
    pub(super) fn behind(header: Header, bytes: Option<&[u8]>, spares: &mut Spares) -> Self {
        let bytes = bytes.and_then(|bytes| bytes.get(..header.len()));
        let kept = bytes.map(|bytes| spares.buffer_of(bytes));
        Self { received: Some((header, kept)), ..Self::default() }
    }

    /// Returns the TLVs of the header that came, if it did and its bytes are kept.
    pub(super) fn tlvs(&self) -> Option<Tlvs<'_>> {
        let (header, bytes) = self.received.as_ref()?;
        Some(header.tlvs(bytes.as_ref()?.held()))
    }

    /// Returns the place of the next endpoint to be tried for a client, now, who counts there; the connection comes from
    /// an address, if one is given.
    ///
    /// # Errors
    /// When there is none: how the last attempt failed, if there was one.
    pub(super) fn next(
        &mut self,
        upstream: &Upstream,
        client: Option<IpAddr>,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<usize, CloseReason> {
        self.began = Some(now);
        upstream.pick(&mut self.tried, client, from, now).map_err(|why| {
            self.failed.unwrap_or(match why {
                Unavailable::None => CloseReason::NoEndpoint,
                Unavailable::Full => CloseReason::EndpointsFull,
            })
        })
    }

    /// An attempt has failed.
    pub(super) fn handle_failed(&mut self, reason: CloseReason) {
        self.failed = Some(reason);
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
        socket: Option<SocketAddrs>,
        facts: Facts<'_>,
    ) -> Result<usize, EncodeError> {
        let received = self.received.as_ref().map(|(header, bytes)| {
            let bytes = bytes.as_ref().map_or(&[][..], Buffer::held);
            (header, bytes)
        });
        send.compose(out, received, socket, facts)
    }

    /// Gives back what was kept.
    pub(super) fn release(&mut self, spares: &mut Spares) {
        if let Some((_, Some(bytes))) = self.received.take() {
            spares.give_buffer(bytes);
        }
    }
}
