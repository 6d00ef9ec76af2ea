//! Endpoints that lead back to a listener.

use std::net::SocketAddr;

use crate::config::Endpoint;
use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::validate::{Draft, UpstreamDraft};

pub(super) fn check(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let is_own = |addr: SocketAddr| {
        draft.listeners.iter().flat_map(|listener| &listener.bind).any(|bind| bind.value == addr)
    };
    for endpoint in &upstream.endpoints {
        let Endpoint::Addr(addr) = endpoint.value else { continue };
        if is_own(addr) {
            faults
                .add(
                    Code::OwnListener,
                    endpoint.place.clone(),
                    format!("{addr} is one of the listeners: connections would go round"),
                )
                .with_help("name the address of the backend");
        }
    }
}
