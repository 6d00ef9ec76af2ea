//! Keys that change nothing as things stand.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ppcore::tlv;

use crate::config::choice::CheckKind;
use crate::config::codes::Code;
use crate::config::diagnostics::{Diagnostics, Place};
use crate::config::parse::{At, Written};
use crate::config::validate::{Draft, EntryDraft, HealthDraft, ListenerDraft, UpstreamDraft};
use crate::config::{
    AccessLog, Balance, Bind, CheckPolicy, Dns, Entry, EntrySend, HeaderMode, HeaderPolicy, Limits,
    Passive, PerClient, Presence, Protocol, Splice, SpliceMode, Timeouts, TlvPass, Udp, Version,
    defaults,
};
use crate::core::addr::Addr;
use pptrust::Peers;

/// Nothing is written anywhere.
pub(super) fn access_log(table: &Written<AccessLog>, faults: &mut Diagnostics) {
    let (log, default) = (&table.value, AccessLog::default());
    if log.state.is_on() || faults.has_error_at(&table.place_of("enabled")) {
        return;
    }
    let help = "add enabled = true, or remove the key";
    let why = "`enabled` is false";
    warn_if(table, "output", log.output != default.output, why, help, faults);
    warn_if(table, "format", log.format != default.format, why, help, faults);
    warn_if(table, "log_probes", log.probes != default.probes, why, help, faults);
    warn_if(table, "tlvs", !log.tlvs.is_empty(), why, help, faults);
}

/// Nothing goes through pipes.
pub(super) fn splice(table: &Written<Splice>, faults: &mut Diagnostics) {
    let (splice, default) = (&table.value, Splice::default());
    if splice.mode != SpliceMode::Off {
        return;
    }
    let help = "another `mode` uses pipes; or remove the key";
    let why = "`mode` is \"off\"";
    warn_if(table, "pipe_size", splice.pipe_bytes != default.pipe_bytes, why, help, faults);
    warn_if(table, "max_pipes", splice.max_pipes != default.max_pipes, why, help, faults);
}

/// Whoever takes no headers asks nothing of them; what v1 lines lack need not be judged, nor peers that do
/// not exist.
pub(super) fn accept(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let table = &listener.accept;
    let policy = match &table.value {
        None => return,
        Some(HeaderMode::Off) => {
            let help = "add accept = \"require\" or \"optional\", or remove the key";
            return all_but(table, "accept", help, faults);
        }
        Some(HeaderMode::Headers(policy)) => policy,
    };
    let default = HeaderPolicy::new(policy.presence, policy.trust.clone());
    if !listener.bind.is_empty() && listener.bind.iter().all(|bind| holds_all(policy, &bind.value))
    {
        let is_said = policy.untrusted != default.untrusted;
        let why = "`trust` holds everybody";
        let help = "name networks in `trust`, or remove the key";
        warn_if(table, "untrusted", is_said, why, help, faults);
    }
    if policy.presence == Presence::Required {
        let why = "`accept` is \"require\", and silence is no header";
        let help = "accept = \"optional\" takes peers without one; or remove the key";
        warn_if(table, "silent", policy.silent != default.silent, why, help, faults);
    }
    if !policy.versions.contains(Version::V1) && !faults.has_error_at(&table.place_of("versions")) {
        let why = "it is about v1 lines, which `versions` leaves out";
        let help = "add \"v1\" to `versions`, or remove the key";
        let is_said = policy.v1_families != default.v1_families;
        warn_if(table, "v1_families", is_said, why, help, faults);
    }
    if !policy.versions.contains(Version::V2) && !faults.has_error_at(&table.place_of("versions")) {
        let why = "it is about v2 headers, which `versions` leaves out";
        let help = "add \"v2\" to `versions`, or remove the key";
        for (key, is_said) in [
            ("local", policy.local != default.local),
            ("header_max", policy.header_bytes_max != default.header_bytes_max),
            ("crc32c", policy.crc32c != default.crc32c),
        ] {
            warn_if(table, key, is_said, why, help, faults);
        }
    }
    let (why, help) = match listener.protocol.value {
        Protocol::Tcp => ("it is about datagrams", "protocol = \"udp\" takes them"),
        Protocol::Udp if policy.versions.contains(Version::V2) => return,
        Protocol::Udp => ("SPP is in each datagram", "remove the key"),
    };
    let is_said = policy.datagrams != default.datagrams;
    warn_if(table, "datagrams", is_said, why, help, faults);
}

/// Keys of datagrams where there are none, and of connections where there are none.
pub(super) fn datagrams(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let (times, default) = (&listener.timeouts, Timeouts::default());
    if faults.has_error_at(&listener.protocol.place) {
        return;
    }
    let protocol = listener.protocol.value;
    let (why, help) = match protocol {
        Protocol::Udp => {
            ("it is about connections", "`flow` and `flow_unanswered` are about datagrams")
        }
        Protocol::Tcp => ("it is about datagrams", "protocol = \"udp\" takes them"),
    };
    for (said, default) in times.value.by_key().into_iter().zip(default.by_key()) {
        let (key, of, _) = said;
        let is_said = of != protocol && said != default;
        warn_if(times, key, is_said, why, help, faults);
    }
    if protocol == Protocol::Udp {
        return;
    }
    let (own, limits) = (&listener.udp, &listener.limits);
    let Udp { responses, dont_fragment } = Udp::default();
    warn_if(own, "responses", own.value.responses != responses, why, help, faults);
    warn_if(own, "dont_fragment", own.value.dont_fragment != dont_fragment, why, help, faults);
    let is_said = limits.value.flows != Limits::default().flows;
    warn_if(limits, "flows", is_said, why, help, faults);
}

/// A time that is not waited for by any listener.
pub(super) fn timeouts(draft: &Draft, faults: &mut Diagnostics) {
    let (base, default) = (&draft.timeouts, Timeouts::default());
    let has_fault = |it: &ListenerDraft| faults.has_error_at(&it.protocol.place);
    if draft.listeners.is_empty() || draft.listeners.iter().any(has_fault) {
        return;
    }
    for (said, default) in base.value.by_key().into_iter().zip(default.by_key()) {
        let (key, of, _) = said;
        let mut users = draft.listeners.iter().filter(|it| it.protocol.value == of).peekable();
        let why = match (of, users.peek()) {
            (Protocol::Tcp, None) => "no listener takes connections",
            (Protocol::Udp, None) => "no listener takes datagrams",
            (_, Some(_)) => "each listener has its own",
        };
        let is_used = users.any(|it| it.timeouts.value.by_key().contains(&said));
        let is_said = !is_used && said != default;
        warn_if(base, key, is_said, why, "remove the key", faults);
    }
}

/// Files have it that are bound here; those that are passed have their own.
pub(super) fn unix_mode(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let is_file = |bind: &At<Bind>| match bind.value.addr() {
        Some(Addr::Unix(name)) => name.abstract_name().is_none(),
        Some(Addr::Inet(_)) | None => false,
    };
    let At { value, place } = &listener.unix_mode;
    if *value != defaults::UNIX_MODE
        && !listener.bind.is_empty()
        && !listener.bind.iter().any(is_file)
    {
        faults
            .add(
                Code::NoEffect,
                place.clone(),
                "`unix_mode` has no effect: no file of a UNIX socket is bound",
            )
            .with_help("bind to \"unix:/run/pp.sock\", or remove the key");
    }
}

/// Whether every peer that can connect to `bind` is trusted, as far as its address is known.
fn holds_all(policy: &HeaderPolicy, bind: &Bind) -> bool {
    let Peers::Networks(networks) = &policy.trust else { return true };
    let holds = |addr: SocketAddr| {
        let mut networks = networks.iter();
        networks.any(|it| it.prefix_len() == 0 && it.addr().is_ipv4() == addr.is_ipv4())
    };
    match bind.addr() {
        Some(Addr::Inet(addr)) => holds(addr),
        Some(Addr::Unix(_)) => policy.trust_unix.is_on(),
        None => false,
    }
}

/// Each endpoint is tried once; how many addresses a name has is not known here.
pub(super) fn retries(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let is_followed = |draft: &EntryDraft| draft.entry.value.endpoint.is_followed();
    let others = upstream.endpoints.len().saturating_sub(1);
    // The default is no surprise beside a single endpoint.
    if upstream.retries.value > others.max(defaults::RETRIES)
        && !upstream.endpoints.is_empty()
        && !upstream.endpoints.iter().any(is_followed)
    {
        let message = format!("each endpoint is tried once, and there are {others} others");
        let help = format!("retries = {others} has the same effect");
        warn(upstream.retries.place.clone(), message, &help, faults);
    }
}

/// Weights where nobody weighs, backups of nobody, and terms of an ejection that never comes.
pub(super) fn endpoints(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let entries = || upstream.endpoints.iter().map(|draft| &draft.entry);
    let has_others = entries().any(|entry| !entry.value.backup.is_on());
    for entry in entries() {
        let Entry { weight, backup, .. } = entry.value;
        let is_weighed = upstream.balance != Balance::First || weight == 0;
        let (why, help) = ("`balance` is \"first\"", "another `balance` weighs; or remove the key");
        warn_if(entry, "weight", !is_weighed && weight != defaults::WEIGHT, why, help, faults);
        let is_moot = backup.is_on() && !has_others;
        let (why, help) = ("all endpoints are backups", "leave it to those that stand in");
        warn_if(entry, "backup", is_moot, why, help, faults);
        let is_same = entry.value.send == EntrySend::Own(upstream.send.value.version)
            && !faults.has_error_at(&entry.place_of("send"));
        let why = "the upstream's `send` says the same";
        warn_if(entry, "send", is_same, why, "remove the key", faults);
    }
    let (passive, default) = (&upstream.passive.value, Passive::default());
    if passive.failures == 0 {
        let (why, help) = ("`failures` is 0", "failures = 2 ejects; or remove the key");
        let table = &upstream.passive;
        warn_if(table, "eject", passive.eject != default.eject, why, help, faults);
        warn_if(table, "max", passive.max != default.max, why, help, faults);
    }
}

/// An endpoint is one, however often it is written.
pub(super) fn twice(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let mut seen = BTreeSet::new();
    for EntryDraft { entry, place } in &upstream.endpoints {
        let endpoint = &entry.value.endpoint;
        if !seen.insert(endpoint) {
            let message = format!("{endpoint} is an endpoint already, and its first entry counts");
            let help = "weight = 2 in the first one sends it more; or remove this one";
            warn(place.clone(), message, help, faults);
        }
    }
}

/// Nothing is asked for.
pub(super) fn dns(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let (table, default) = (&upstream.dns, Dns::default());
    let mut endpoints = upstream.endpoints.iter();
    if !upstream.endpoints.is_empty()
        && !endpoints.any(|draft| draft.entry.value.endpoint.is_followed())
    {
        let (why, help) = ("all endpoints are addresses", "remove it, or name endpoints");
        warn_if(table, "min", table.value.min != default.min, why, help, faults);
        warn_if(table, "max", table.value.max != default.max, why, help, faults);
    }
}

/// Keys of checks that nobody makes, or that say nothing, and of what follows where nobody goes down.
pub(super) fn health(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let (table, default) = (&upstream.health, HealthDraft::default());
    let HealthDraft { kind, exchange, policy, slow_start, on_down } = &table.value;
    if faults.has_error_at(&table.place_of("check")) {
        return;
    }
    let is_exchange = *kind == Some(CheckKind::Exchange);
    let (why, help) = match kind {
        None => ("`check` is \"off\"", "add check = \"tcp\", or remove the key"),
        Some(_) => ("`check` is \"tcp\"", "check = \"exchange\" does; or remove the key"),
    };
    for (key, is_said) in
        [("send", !exchange.send.is_empty()), ("expect", !exchange.expect.is_empty())]
    {
        warn_if(table, key, is_said && !is_exchange, why, help, faults);
    }
    let CheckPolicy { exchange: _, proxy, interval, timeout, rise, fall } = &default.policy;
    for (key, is_said) in [
        ("proxy", policy.proxy != *proxy),
        ("interval", policy.interval != *interval),
        ("timeout", policy.timeout != *timeout),
        ("rise", policy.rise != *rise),
        ("fall", policy.fall != *fall),
    ] {
        warn_if(table, key, is_said && kind.is_none(), why, help, faults);
    }
    if kind.is_some() && upstream.most_sent().is_none() {
        let why = "no header is sent";
        let help = "remove it, or add send = \"v1\" or \"v2\" in the upstream's proxy_protocol";
        warn_if(table, "proxy", policy.proxy != *proxy, why, help, faults);
    }
    let is_followed = |draft: &EntryDraft| draft.entry.value.endpoint.is_followed();
    let may_go = kind.is_some() || upstream.endpoints.iter().any(is_followed);
    let (why, help) = ("nobody finds an endpoint down", "add check = \"tcp\", or remove the key");
    warn_if(table, "on_down", !may_go && *on_down != default.on_down, why, help, faults);
    let may_come_back = kind.is_some() || upstream.passive.value.failures > 0;
    let is_slow = *slow_start != default.slow_start;
    warn_if(table, "slow_start", !may_come_back && is_slow, why, help, faults);
    let (why, help) = ("`balance` is \"first\"", "another `balance` weighs; or remove the key");
    let is_first = upstream.balance == Balance::First;
    warn_if(table, "slow_start", is_first && may_come_back && is_slow, why, help, faults);
}

/// What no header that is sent can hold.
pub(super) fn send(upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    match upstream.most_sent() {
        None => {
            let help = "add send = \"v1\" or \"v2\", or remove the key";
            all_but(&upstream.send, "send", help, faults);
        }
        Some(Version::V1) => {
            for key in ["tlv_pass", "tlv_set", "crc32c"] {
                let why = "a v1 line carries no TLVs";
                warn_if(&upstream.send, key, true, why, "send = \"v2\" does", faults);
            }
            let why = "v1 is of connections";
            warn_if(&upstream.send, "datagrams", true, why, "remove the key", faults);
        }
        Some(Version::Spp) => {
            for key in ["tlv_pass", "tlv_set", "crc32c"] {
                let why = "SPP carries no TLVs";
                warn_if(&upstream.send, key, true, why, "send = \"v2\" does", faults);
            }
            let why = "SPP is in each datagram";
            warn_if(&upstream.send, "datagrams", true, why, "remove the key", faults);
        }
        Some(Version::V2) => {
            let tlv_set = &upstream.send.value.tlv_set;
            let is_set = |kind: &&At<u8>| tlv_set.iter().any(|set| set.kind == kind.value);
            for kind in upstream.passed.iter().filter(is_set) {
                let message = format!("0x{:02X} is set, and so never passed", kind.value);
                warn(kind.place.clone(), message, "remove it here, or from `tlv_set`", faults);
            }
        }
    }
    for kind in upstream.passed.iter().filter(|kind| kind.value == tlv::CRC32C) {
        let help = "remove it; crc32c = true sends one even if none came in";
        let message = "a CRC32C TLV is computed anew, never copied".to_owned();
        warn(kind.place.clone(), message, help, faults);
    }
}

/// TLVs come in v2 headers only.
pub(super) fn tlv_pass(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let passes = upstream.send.value.tlv_pass != TlvPass::Types(Vec::new());
    let is_user = |listener: &&ListenerDraft| listener.may_use(&upstream.name.value);
    let users: Vec<_> = draft.listeners.iter().filter(is_user).collect();
    // An upstream that nobody uses has its own warning.
    if passes && !users.is_empty() && !users.into_iter().any(takes_v2) {
        let message =
            "there are no TLVs to pass: no listener in front accepts v2 headers".to_owned();
        let help = "accept \"v2\" in the listener's proxy_protocol, or remove tlv_pass";
        warn(upstream.send.place_of("tlv_pass"), message, help, faults);
    }
}

/// An upstream that only connections go to gets no datagram.
pub(super) fn datagrams_sent(draft: &Draft, upstream: &UpstreamDraft, faults: &mut Diagnostics) {
    let is_said = upstream.send.value.datagrams != defaults::DATAGRAMS;
    let mut users = draft.listeners.iter().filter(|it| it.may_use(&upstream.name.value)).peekable();
    if users.peek().is_some() && users.all(|it| it.protocol.value == Protocol::Tcp) {
        let (why, help) = ("no listener relays datagrams to it", "remove the key");
        warn_if(&upstream.send, "datagrams", is_said, why, help, faults);
    }
}

/// Nothing is limited that these are about.
pub(super) fn per_client(table: &Written<PerClient>, faults: &mut Diagnostics) {
    let (limits, default) = (&table.value, PerClient::default());
    let (why, help) = ("there is no `rate`", "add rate = 10, or remove the key");
    let is_burst = limits.rate == 0 && limits.burst != default.burst;
    warn_if(table, "burst", is_burst, why, help, faults);
    let (why, help) = ("no client is limited", "add connections = 100, or remove the key");
    let is_prefix = limits.rate == 0 && limits.connections == 0;
    let is_prefix = is_prefix && limits.ipv6_prefix != default.ipv6_prefix;
    warn_if(table, "ipv6_prefix", is_prefix, why, help, faults);
}

/// A listener that takes no v2 headers sees no TLV to go by.
pub(super) fn tlv_routes(listener: &ListenerDraft, faults: &mut Diagnostics) {
    if takes_v2(listener) {
        return;
    }
    let why = "the listener accepts no v2 headers, so it never holds";
    let help = "accept \"v2\" in its proxy_protocol, or remove the route";
    for route in &listener.routes {
        warn_if(&route.when, "tlv", true, why, help, faults);
    }
}

/// Whether a listener takes v2 headers, as far as is known.
fn takes_v2(listener: &ListenerDraft) -> bool {
    match &listener.accept.value {
        Some(HeaderMode::Off) => false,
        Some(HeaderMode::Headers(policy)) => policy.versions.contains(Version::V2),
        None => true,
    }
}

/// Warns about every key but the switch that turned them off; a switch with a fault did not.
fn all_but<T>(table: &Written<T>, switch: &str, help: &str, faults: &mut Diagnostics) {
    if faults.has_error_at(&table.place_of(switch)) {
        return;
    }
    let why = format!("`{switch}` is \"off\"");
    for key in table.keys().iter().filter(|key| key.name != switch) {
        warn_if(table, key.name, true, &why, help, faults);
    }
}

/// Warns about a key that is there, if it is meant to say anything.
fn warn_if<T>(
    table: &Written<T>,
    key: &str,
    is_said: bool,
    why: &str,
    help: &str,
    faults: &mut Diagnostics,
) {
    if let Some(found) = table.key(key).filter(|_| is_said) {
        let message = format!("`{key}` has no effect: {why}");
        warn(found.place.clone(), message, help, faults);
    }
}

fn warn(place: Place, message: String, help: &str, faults: &mut Diagnostics) {
    faults.add(Code::NoEffect, place, message).with_help(help);
}
