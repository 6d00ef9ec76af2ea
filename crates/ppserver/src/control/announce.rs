//! What a start and a reload tell: warnings of the configuration, and one line a port.

use std::io::{self, IsTerminal, Write};

use super::limits::Budget;
use super::ports::Place;
use crate::config::{
    self, Choice, Colour, Config, HeaderMode, Listener, Report, Toggle, Untrusted, Versions,
};
use crate::telemetry::log;
use pptrust::Peers;

/// Shows warnings with carets to people, and as records of the log to programs.
pub(super) fn warnings(report: &Report) {
    if !io::stderr().is_terminal() {
        log::warnings(report);
    } else if !report.is_empty() {
        // With stderr gone there is nobody to warn.
        let _ = write!(io::stderr(), "{}", report.render(Colour::of(&io::stderr())));
    }
}

/// Says what the descriptors are for.
pub(super) fn budget(budget: &Budget) {
    let Budget { descriptors, reserved, connections_max, pipes } = budget;
    let pipes = pipes.total();
    tracing::info!(descriptors, reserved, connections_max, pipes, "descriptor budget");
}

/// Says on one line a port what its listener does.
pub(super) fn listening(config: &Config, places: &[Place], workers: usize, connections_max: usize) {
    for place in places {
        let Some(listener) = listener_of(config, place) else { continue };
        let upstream = &config.upstreams[listener.upstream];
        let send = upstream.send.version.word();
        let (accept, trust, untrusted) = terms(&listener.accept);
        tracing::info!(
            listener = listener.name,
            bind = %place.addr,
            protocol = listener.protocol.word(),
            accept,
            trust,
            untrusted,
            upstream = upstream.name,
            endpoints = upstream.endpoints.len(),
            send,
            workers,
            connections_max,
            "listening"
        );
    }
}

/// Says aloud where everybody is believed.
pub(super) fn open_trust(config: &Config, places: &[Place]) {
    for place in places {
        if let Some(listener) = listener_of(config, place)
            && let Some(trust) = config::open_trust(&listener.accept)
        {
            tracing::warn!(
                listener = listener.name,
                bind = %place.addr,
                %trust,
                "whoever reaches this port can claim any client address"
            );
        }
    }
}

/// Says what waits for nothing.
pub(super) fn idle_sockets<'a>(names: impl Iterator<Item = &'a str>) {
    for name in names {
        tracing::warn!(
            name,
            "no listener asks for this socket, which was passed: its clients wait"
        );
    }
}

fn listener_of<'a>(config: &'a Config, place: &Place) -> Option<&'a Listener> {
    config.listeners.iter().find(|listener| listener.name == place.listener)
}

/// Says how a listener treats its peers.
fn terms(accept: &HeaderMode) -> (String, String, &'static str) {
    let HeaderMode::Headers(policy) = accept else {
        return ("off".to_owned(), "nobody".to_owned(), "plain");
    };
    let presence = match policy.presence {
        config::Presence::Required => "require",
        config::Presence::Optional => "optional",
    };
    let versions = match policy.versions {
        Versions::V1 => "v1",
        Versions::V2 => "v2",
        Versions::Both => "v1,v2",
        Versions::Spp => "spp",
    };
    let untrusted = match policy.untrusted {
        Untrusted::Reject => "reject",
        Untrusted::Plain => "plain",
    };
    let header_max = policy.header_bytes_max;
    let accept = format!("{presence} {versions} up to {header_max} B");
    let trust = match (&policy.trust, policy.trust_unix) {
        (Peers::Nobody, _) => "unix".to_owned(),
        (trust @ Peers::Networks(_), Toggle::On) => format!("{trust}, unix"),
        (trust, _) => trust.to_string(),
    };
    (accept, trust, untrusted)
}
