//! Who is believed: networks that are not what they seem.

use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::At;
use crate::config::validate::ListenerDraft;
use crate::config::{Bind, HeaderMode};
use crate::core::addr::Addr;
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

/// An IPv4 address has IPv4 peers, an IPv6 address the others, a UNIX socket those without one; a socket that is passed
/// may have any.
pub(super) fn nobody(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let Some(HeaderMode::Headers(policy)) = &listener.accept.value else { return };
    let families: Vec<bool> = match &policy.trust {
        Peers::Any => return,
        Peers::Networks(networks) => networks.iter().map(|it| it.addr().is_ipv4()).collect(),
        Peers::Nobody => Vec::new(),
    };
    let is_possible = |bind: &At<Bind>| match bind.value.addr() {
        Some(Addr::Inet(addr)) => families.contains(&addr.is_ipv4()),
        Some(Addr::Unix(_)) => policy.trust_unix.is_on(),
        None => true,
    };
    if listener.bind.iter().any(is_possible) {
        return;
    }
    let Some(first) = listener.bind.iter().find_map(|bind| bind.value.addr()) else { return };
    let (why, help) = match first {
        Addr::Unix(_) => (
            "a UNIX socket is bound, networks trusted".to_owned(),
            "add \"unix\" to `trust`: whoever may connect is believed then".to_owned(),
        ),
        Addr::Inet(_) if families.is_empty() => (
            "addresses are bound, UNIX peers trusted".to_owned(),
            "bind to \"unix:/run/pp.sock\" too, or trust networks".to_owned(),
        ),
        Addr::Inet(addr) => {
            let (here, there) = if addr.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
            (
                format!("{here} addresses are bound, {there} networks trusted"),
                format!("bind to an {there} address too, or trust {here} networks"),
            )
        }
    };
    faults
        .add(
            Code::NobodyTrusted,
            listener.accept.place_of("trust"),
            format!("nobody is trusted: {why}"),
        )
        .with_help(help);
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
    let mut addrs = listener.bind.iter().filter_map(|bind| bind.value.inet());
    let Some(addr) = addrs.find(|addr| is_public(addr.ip())) else { return };
    faults
        .add(
            Code::OpenTrust,
            listener.accept.place_of("trust"),
            format!("everybody who reaches {addr} can claim to be any client"),
        )
        .with_help("trust the networks of your load balancers, or bind to an inside address");
}

/// Where every process of this host can connect, trust in UNIX peers is open too.
pub(super) fn open_unix(listener: &ListenerDraft, faults: &mut Diagnostics) {
    /// Of a file's mode: others may write, and so connect (unix(7)).
    const OTHERS_WRITE: u32 = 0o002;
    let Some(HeaderMode::Headers(policy)) = &listener.accept.value else { return };
    let is_open_to_others = listener.unix_mode.value & OTHERS_WRITE != 0;
    let is_open = |bind: &At<Bind>| match bind.value.addr() {
        Some(Addr::Unix(name)) => {
            (is_open_to_others || name.abstract_name().is_some()).then_some(name)
        }
        Some(Addr::Inet(_)) | None => None,
    };
    if policy.trust_unix.is_on()
        && let Some(name) = listener.bind.iter().find_map(is_open)
    {
        let help = match name.abstract_name() {
            Some(_) => "an abstract name has no permissions: bind to a path",
            None => "unix_mode = \"0660\" lets the owner and the group connect",
        };
        let message =
            format!("every process that reaches {} can claim to be any client", Addr::Unix(name));
        faults.add(Code::OpenTrust, listener.accept.place_of("trust"), message).with_help(help);
    }
}
