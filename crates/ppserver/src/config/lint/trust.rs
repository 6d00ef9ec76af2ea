//! Who is believed: networks that are not what they seem.

use crate::config::Accept;
use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::validate::ListenerDraft;
use crate::trust::{Shortest, is_public};

/// The bits behind the prefix are dropped.
pub(super) fn host_bits(listener: &ListenerDraft, faults: &mut Diagnostics) {
    for entry in &listener.trusted {
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

/// Strangers who can connect and are believed can be any client.
pub(super) fn open(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let Some(Accept::Headers(policy)) = &listener.accept.value else { return };
    let public = listener.bind.iter().find(|bind| is_public(bind.value.ip()));
    let Some(public) = public.filter(|_| policy.trust.is_everybody()) else { return };
    let addr = public.value;
    faults
        .add(
            Code::OpenTrust,
            listener.accept.place_of("trust"),
            format!("everybody who reaches {addr} can claim to be any client"),
        )
        .with_help("trust the networks of your load balancers, or bind to an inside address");
}
