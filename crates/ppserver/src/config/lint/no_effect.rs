//! Keys that change nothing as things stand.

use ppcore::tlv;

use crate::config::codes::Code;
use crate::config::diagnostics::{Diagnostics, Place};
use crate::config::parse::Written;
use crate::config::validate::{Draft, ListenerDraft, UpstreamDraft};
use crate::config::{Accept, SendHeader, TlvPass, Version};

/// Whoever takes no headers asks nothing of them.
pub(super) fn accept(listener: &ListenerDraft, faults: &mut Diagnostics) {
    if listener.accept.value == Some(Accept::Off) {
        let help = "add accept = \"require\" or \"optional\", or remove the key";
        all_but(&listener.accept, "accept", help, faults);
    }
}

/// Each endpoint is tried once.
pub(super) fn retries(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let others = upstream.endpoints.len().saturating_sub(1);
    // 1 is the default, and no surprise beside a single endpoint.
    if upstream.retries.value > others.max(1) && !upstream.endpoints.is_empty() {
        let message = format!("each endpoint is tried once, and there are {others} others");
        let help = format!("retries = {others} has the same effect");
        faults.add(Code::NoEffect, upstream.retries.place.clone(), message).with_help(help);
    }
}

/// What no header that is sent can hold.
pub(super) fn send(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    match &upstream.send.value {
        SendHeader::Off => {
            let help = "add send = \"v1\" or \"v2\", or remove the key";
            all_but(&upstream.send, "send", help, faults);
        }
        SendHeader::V1 { .. } => {
            for key in ["tlv_pass", "crc32c"].into_iter().filter_map(|key| upstream.send.key(key)) {
                let message = format!("`{}` has no effect: a v1 line carries no TLVs", key.name);
                warn(key.place.clone(), message, "send = \"v2\" does", faults);
            }
        }
        SendHeader::V2 { .. } => {}
    }
    for kind in upstream.passed.iter().filter(|kind| kind.value == tlv::CRC32C) {
        let help = "remove it; crc32c = true sends one even if none came in";
        let message = "a CRC32C TLV is computed anew, never copied".to_owned();
        warn(kind.place.clone(), message, help, faults);
    }
}

/// TLVs come in v2 headers only.
pub(super) fn tlv_pass(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let passes = match &upstream.send.value {
        SendHeader::Off | SendHeader::V1 { .. } => false,
        SendHeader::V2 { tlv_pass: TlvPass::All, .. } => true,
        SendHeader::V2 { tlv_pass: TlvPass::Types(types), .. } => !types.is_empty(),
    };
    let takes_v2 = |listener: &ListenerDraft| match &listener.accept.value {
        Some(Accept::Off) => false,
        Some(Accept::Headers(policy)) => policy.versions.contains(Version::V2),
        None => true,
    };
    let is_user = |listener: &&ListenerDraft| {
        listener.upstream.as_ref().is_some_and(|used| used.value == upstream.name.value)
    };
    let users: Vec<_> = draft.listeners.iter().filter(is_user).collect();
    // An upstream that nobody uses has its own warning.
    if passes && !users.is_empty() && !users.into_iter().any(takes_v2) {
        let message =
            "there are no TLVs to pass: no listener in front accepts v2 headers".to_owned();
        let help = "accept \"v2\" in the listener's proxy_protocol, or remove tlv_pass";
        warn(upstream.send.place_of("tlv_pass"), message, help, faults);
    }
}

/// Warns about every key but the switch that turned them off; a switch with a fault did not.
fn all_but<T>(table: &Written<T>, switch: &str, help: &str, faults: &mut Diagnostics) {
    if faults.has_error_at(&table.place_of(switch)) {
        return;
    }
    for key in table.keys().iter().filter(|key| key.name != switch) {
        let message = format!("`{}` has no effect: `{switch}` is \"off\"", key.name);
        warn(key.place.clone(), message, help, faults);
    }
}

fn warn(place: Place, message: String, help: &str, faults: &mut Diagnostics) {
    faults.add(Code::NoEffect, place, message).with_help(help);
}
