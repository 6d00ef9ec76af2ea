//! Who a datagram is from, and whether he is let in: its header, the listener's routes and limits.
//!
//! Invariant: one judges one datagram.

use std::sync::Arc;

use ppcore::{Error, ErrorKind, Header};
use pptrust::datagram::{self, Datagram};
use pptrust::{Policy, Refusal};

use super::flows::Guest;
use crate::config::LocalPolicy;
use crate::core::connection_id::ConnectionIds;
use crate::core::intent::{Intent, Purpose};
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::{Gate, Path, Reading};
use crate::data::rules::Rules;

/// What a datagram is judged by, and what was found.
#[derive(Debug)]
pub(super) struct Entrance<'a> {
    pub(super) rules: &'a Arc<Rules>,
    pub(super) ids: &'a mut ConnectionIds,
    /// Of the worker's clock, for limits.
    pub(super) elapsed_ns: u64,
    pub(super) datagram: &'a [u8],
    /// The header, if one was read.
    pub(super) header: Option<Header>,
    /// What is wrong with it.
    pub(super) error: Option<Error>,
}

impl Entrance<'_> {
    /// Returns whether the header says more than whose the datagram is.
    pub(super) fn has_tlvs(&self) -> bool {
        self.header.is_some_and(|header| header.tlvs_offset() < header.len())
    }
}

impl Gate for Entrance<'_> {
    type Admitted = Guest;

    fn read(&mut self, path: Path, _: &[u8]) -> Result<Reading, DropReason> {
        let policy = self.rules.policy(path.peer);
        let read =
            read(self.rules, policy, path, self.datagram).map_err(|refusal| match refusal {
                Refusal::Header(error) => {
                    self.error = Some(error);
                    reason(error)
                }
                Refusal::Denied | Refusal::Forbidden => DropReason::Untrusted,
            })?;
        self.header = read.header().copied();
        if let Some(header) = &self.header {
            self.rules.cells.count_header(header);
        }
        let purpose = if read.is_local() { Purpose::HealthCheck } else { Purpose::Service };
        let intent = Intent {
            peer: path.peer,
            client: read.peer_addr(),
            destination: read.local_addr(),
            version: self.header.map(|header| header.version()),
            purpose,
        };
        Ok(Reading { intent, header_len: read.header_len() })
    }

    fn admit(&mut self, intent: &Intent) -> Result<Guest, DropReason> {
        match (intent.purpose, self.rules.local_policy()) {
            (Purpose::HealthCheck, LocalPolicy::Answer) => return Err(DropReason::LocalAnswered),
            (Purpose::HealthCheck, LocalPolicy::Reject) => return Err(DropReason::LocalRejected),
            (Purpose::HealthCheck | Purpose::Service, _) => {}
        }
        let tlvs = self.header.as_ref().map(|header| header.tlvs(self.datagram));
        let taken = self.rules.route_datagram(intent, tlvs);
        let mut held = None;
        if let Some(limits) = &self.rules.limits
            && intent.purpose == Purpose::Service
        {
            let admitted = limits.admit(intent.client.ip(), self.elapsed_ns);
            held = Some(admitted.map_err(|_| DropReason::Limited)?);
        }
        if self.rules.is_denied(taken) {
            if let (Some(held), Some(limits)) = (held, &self.rules.limits) {
                limits.release(held);
            }
            return Err(DropReason::Denied);
        }
        self.rules.cells.datagrams.begin_flow();
        Ok(Guest { id: self.ids.name_next(), rules: Arc::clone(self.rules), taken, held })
    }
}

/// Takes a datagram apart, by the terms of a listener.
pub(super) fn read<'a>(
    rules: &Rules,
    policy: Policy,
    path: Path,
    datagram: &'a [u8],
) -> Result<Datagram<'a>, Refusal> {
    match rules.datagrams.is_spp {
        true => datagram::read_spp(policy, path.peer, datagram),
        false => datagram::read_v2(policy, rules.options, path.peer, datagram),
    }
}

pub(super) fn reason(error: Error) -> DropReason {
    if error.kind() == ErrorKind::Truncated {
        DropReason::HeaderTruncated
    } else if error.kind() == ErrorKind::NotProxy {
        DropReason::HeaderAbsent
    } else {
        DropReason::HeaderInvalid
    }
}
