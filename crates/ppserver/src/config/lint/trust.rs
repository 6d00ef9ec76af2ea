//! Who is believed: networks that are not what they seem.

use std::net::SocketAddr;

use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::At;
use crate::config::validate::ListenerDraft;
use crate::config::{Bind, HeaderMode};
use pptrust::{Peers, Shortest, is_public};

/// The bits behind the prefix are dropped.
pub(super) fn host_bits(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let routed = listener.routes.iter().flat_map(|route| &route.networks);
    for entry in listener.trusted.iter().chain(routed) {
        let (network, meant) = (entry.value, Shortest(entry.value.trunc()));
        if network.addr() != network.network() {
            let message = format!("`{network}` has bits set behind its prefix");
            faults
                .add(Code::HostBits, entry.place.clone(), message)
                .with_help(format!("it is taken for \"{meant}\""))
                .with_suggestion(format!("\"{meant}\""));
        }
    }
}

/// An IPv4 address has IPv4 peers, an IPv6 address the others; a socket that is passed may have either.
pub(super) fn nobody(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let Some(HeaderMode::Headers(policy)) = &listener.accept.value else { return };
    let Peers::Networks(networks) = &policy.trust else { return };
    let is_possible = |bind: &At<Bind>| {
        let is_of = |addr: SocketAddr| {
            networks.iter().any(|network| network.addr().is_ipv4() == addr.is_ipv4())
        };
        bind.value.addr().is_none_or(is_of)
    };
    if let Some(first) = listener.bind.iter().find_map(|bind| bind.value.addr())
        && !listener.bind.iter().any(is_possible)
    {
        let (here, there) = if first.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        faults
            .add(
                Code::NobodyTrusted,
                listener.accept.place_of("trust"),
                format!("nobody is trusted: {here} addresses are bound, {there} networks trusted"),
            )
            .with_help(format!("bind to an {there} address too, or trust {here} networks"));
    }
}

/// Returns the trust that makes a client of whoever connects, if it does: the start says so of each such
/// port, wherever it is bound.
pub fn open_trust(accept: &HeaderMode) -> Option<&Peers> {
    match accept {
        HeaderMode::Headers(policy) if policy.trust.is_everybody() => Some(&policy.trust),
        HeaderMode::Headers(_) | HeaderMode::Off => None,
    }
}

/// Where strangers can connect, open trust is a fault to be looked at.
pub(super) fn open(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let Some(_) = listener.accept.value.as_ref().and_then(open_trust) else { return };
    let mut addrs = listener.bind.iter().filter_map(|bind| bind.value.addr());
    let Some(addr) = addrs.find(|addr| is_public(addr.ip())) else { return };
    faults
        .add(
            Code::OpenTrust,
            listener.accept.place_of("trust"),
            format!("everybody who reaches {addr} can claim to be any client"),
        )
        .with_help("trust the networks of your load balancers, or bind to an inside address");
}
