//! Warnings about a draft that is right and still may not be what was meant.
//!
//! Judges combinations only; a key that is suspicious by itself is warned about where it is read.

use std::net::SocketAddr;

use super::codes::Code;
use super::diagnostics::Diagnostics;
use super::validate::{Draft, ListenerDraft, UpstreamDraft};
use super::{Accept, Count, Endpoint, Host, SendHeader, TlvPass, Version, descriptors_reserved};
use crate::trust::is_public;

/// A connection has two sockets, a pipe two ends.
const DESCRIPTORS_EACH: usize = 2;

pub(super) fn check(draft: &Draft, host: Host, faults: &mut Diagnostics) {
    for listener in &draft.listeners {
        open_trust(listener, faults);
    }
    for upstream in &draft.upstreams {
        idle_retries(upstream, faults);
        pass_without_v2(draft, upstream, faults);
        own_listener(draft, upstream, faults);
    }
    few_descriptors(draft, host, faults);
}

/// Strangers who can connect and are believed can be any client.
fn open_trust(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let Some(Accept::Headers(policy)) = &listener.accept else { return };
    let public = listener.bind.iter().find(|bind| is_public(bind.value.ip()));
    let Some(public) = public.filter(|_| policy.trust.is_everybody()) else { return };
    let addr = public.value;
    faults
        .add(
            Code::OpenTrust,
            listener.trust_span.clone(),
            format!("everybody who reaches {addr} can claim to be any client"),
        )
        .with_help("trust the networks of your load balancers, or bind to an inside address");
}

fn idle_retries(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let others = upstream.endpoints.len().saturating_sub(1);
    // 1 is the default, and no surprise beside a single endpoint.
    if upstream.retries.value > others.max(1) && !upstream.endpoints.is_empty() {
        let message = format!("each endpoint is tried once, and there are {others} others");
        let help = format!("retries = {others} has the same effect");
        faults.add(Code::NoEffect, upstream.retries.span.clone(), message).with_help(help);
    }
}

fn pass_without_v2(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let passes = match &upstream.send {
        SendHeader::Off | SendHeader::V1 { .. } => false,
        SendHeader::V2 { tlv_pass: TlvPass::All, .. } => true,
        SendHeader::V2 { tlv_pass: TlvPass::Types(types), .. } => !types.is_empty(),
    };
    let takes_v2 = |listener: &ListenerDraft| match &listener.accept {
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
        let message = "there are no TLVs to pass: no listener in front accepts v2 headers";
        faults
            .add(Code::NoEffect, upstream.tlv_pass_span.clone(), message)
            .with_help("accept \"v2\" in the listener's proxy_protocol, or remove tlv_pass");
    }
}

fn own_listener(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let is_own = |addr: SocketAddr| {
        draft.listeners.iter().flat_map(|listener| &listener.bind).any(|bind| bind.value == addr)
    };
    for endpoint in &upstream.endpoints {
        let Endpoint::Addr(addr) = endpoint.value else { continue };
        if is_own(addr) {
            faults
                .add(
                    Code::OwnListener,
                    endpoint.span.clone(),
                    format!("{addr} is one of the listeners: connections would go round"),
                )
                .with_help("name the address of the backend");
        }
    }
}

fn few_descriptors(draft: &Draft, host: Host, faults: &mut Diagnostics) {
    let Some(limit) = host.descriptors_max.and_then(|limit| usize::try_from(limit).ok()) else {
        return;
    };
    let Count::Fixed(connections) = draft.server.max_connections else { return };
    let addresses = draft.listeners.iter().map(|listener| listener.bind.len()).sum();
    let reserved = descriptors_reserved(draft.server.workers.or(host.cpus), addresses);
    // Without a number they make do with what is left.
    let pipes = draft.splice.max_pipes.or(0);
    let needed = (connections + pipes) * DESCRIPTORS_EACH + reserved;
    if needed > limit {
        faults
            .add(
                Code::FewDescriptors,
                draft.max_connections_span.clone(),
                format!("this needs {needed} open files, and the limit is {limit}"),
            )
            .with_help("raise the limit (LimitNOFILE= in a systemd unit), or write \"auto\"");
    }
}
