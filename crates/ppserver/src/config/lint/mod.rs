//! Warnings: every one about a draft that can be used and still may not be what was meant; and the one thing
//! that goes together and can never be meant, a listener that relays to itself.
//!
//! Here stands what is judged of one table alone; its neighbours have what goes together. Invariant: what is
//! printed of a configuration is warned of like the file it came from, so a default that is written out
//! has no effect to be warned of.

mod descriptors;
mod no_effect;
mod own_listener;
mod routes;
mod trust;

use std::path::Path;
use std::time::Duration;

use super::Timeouts;
use super::codes::Code;
use super::diagnostics::Diagnostics;
use super::load::Host;
use super::parse::{At, Written};
use super::validate::{Draft, EntryDraft, ListenerDraft, UpstreamDraft};
use super::{Endpoint, Source};
use crate::core::addr::Addr;

pub use descriptors::{
    CHECKS_MAX, DESCRIPTORS_PER_PIPE, DOOR_CONNECTIONS_MAX, checks_at_once, descriptors_reserved,
};
pub use own_listener::{LeadsBack, own_listeners};
pub use trust::open_trust;

/// The receiver's least patience (spec 2).
const HEADER_TIMEOUT_MIN: Duration = Duration::from_secs(3);

pub(super) fn check(draft: &Draft, host: Host, faults: &mut Diagnostics) {
    no_effect::access_log(&draft.access_log, faults);
    no_effect::splice(&draft.splice, faults);
    no_effect::timeouts(draft, faults);
    short_header_timeout(&draft.timeouts, faults);
    for listener in &draft.listeners {
        short_header_timeout(&listener.timeouts, faults);
        trust::host_bits(listener, faults);
        trust::open(listener, faults);
        trust::open_unix(listener, faults);
        trust::nobody(listener, faults);
        no_effect::accept(listener, faults);
        no_effect::per_client(&listener.per_client, faults);
        no_effect::datagrams(listener, faults);
        no_effect::tlv_routes(listener, faults);
        routes::unreachable(listener, faults);
        no_effect::unix_mode(listener, faults);
        no_directory(listener, host, faults);
    }
    for upstream in &draft.upstreams {
        unused_upstream(draft, upstream, faults);
        unused_endpoints(upstream, faults);
        unreachable_endpoints(upstream, faults);
        no_effect::endpoints(upstream, faults);
        no_effect::twice(upstream, faults);
        no_effect::retries(upstream, faults);
        no_effect::dns(upstream, faults);
        no_effect::send(upstream, faults);
        no_effect::health(upstream, faults);
        no_effect::tlv_pass(draft, upstream, faults);
        no_effect::datagrams_sent(draft, upstream, faults);
    }
    own_listener::check(draft, host, faults);
    descriptors::few(draft, host, faults);
}

fn no_directory(listener: &ListenerDraft, host: Host, faults: &mut Diagnostics) {
    for At { value, place } in &listener.bind {
        let Some(Addr::Unix(name)) = value.addr() else { continue };
        let dir = Path::new(name.as_str()).parent();
        if name.abstract_name().is_none()
            && let Some(dir) = dir.filter(|dir| !(host.is_dir)(dir))
        {
            let message = format!("the directory {} is not there", dir.display());
            faults.add(Code::NoDirectory, place.clone(), message).with_help(
                "it must be when the server starts, as RuntimeDirectory= of systemd has it",
            );
        }
    }
}

fn short_header_timeout(timeouts: &Written<Timeouts>, faults: &mut Diagnostics) {
    let Some(header) = timeouts.key("header") else { return };
    if timeouts.value.header < HEADER_TIMEOUT_MIN {
        let message = "a header deadline below 3s refuses peers whose first segment was lost";
        faults
            .add(Code::ShortHeaderTimeout, header.value.clone(), message)
            .with_help("the protocol asks for at least 3 seconds (section 2): header = \"3s\"");
    }
}

fn unused_endpoints(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    for entry in upstream.endpoints.iter().map(|draft| &draft.entry) {
        if let Some(weight) = entry.key("weight").filter(|_| entry.value.weight == 0) {
            let message = "an endpoint with a weight of 0 gets no connection";
            faults
                .add(Code::UnusedEndpoint, weight.value.clone(), message)
                .with_help("give it a weight, or remove it");
        }
    }
}

/// A connection has one family; a UNIX socket has none, and nobody comes from an address there.
fn unreachable_endpoints(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let source = match upstream.source.value {
        Source::Any => return,
        Source::Addr(addr) => Some(addr),
        Source::Client => None,
    };
    for EntryDraft { entry, place } in &upstream.endpoints {
        let Endpoint::Addr(addr) = &entry.value.endpoint else { continue };
        let (code, message) = match (addr, source) {
            (Addr::Unix(_), _) => (
                Code::NoEffect,
                format!("`source` has no effect on {addr}: a UNIX socket sees no address"),
            ),
            (Addr::Inet(addr), Some(source)) if addr.is_ipv4() != source.is_ipv4() => (
                Code::UnusedEndpoint,
                format!("nobody gets to {addr} from {source}, which is of the other family"),
            ),
            (Addr::Inet(_), _) => continue,
        };
        faults
            .add(code, place.clone(), message)
            .with_help("put it into an upstream of its own, without `source`");
    }
}

fn unused_upstream(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let name = upstream.name.value.as_str();
    if !draft.listeners.iter().any(|listener| listener.may_use(name)) {
        let message = format!("no listener uses the upstream `{name}`");
        faults
            .add(Code::UnusedUpstream, upstream.name.place.clone(), message)
            .with_help(format!("remove it, or write upstream = \"{name}\" in a [[listener]]"));
    }
}
