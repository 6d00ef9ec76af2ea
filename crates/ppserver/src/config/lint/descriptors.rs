//! How many open files the configuration asks for.

use crate::config::codes::Code;
use crate::config::diagnostics::{Diagnostics, Place};
use crate::config::validate::Draft;
use crate::config::{Count, Endpoint, Host};

/// A connection has two sockets, a pipe two ends.
const DESCRIPTORS_EACH: usize = 2;
/// There is at most one pipe for so many descriptors that the process may have.
pub const DESCRIPTORS_PER_PIPE: usize = 16;
/// Fewer connections than this are hardly what somebody meant who gave no number.
const FEW_CONNECTIONS: usize = 256;

/// Returns how many descriptors are no connection's and no pipe's: each worker has an epoll, what wakes it,
/// and a socket for each address, those who ask at `doors` have theirs, each of `checks`
/// has one, and 64 are for logs, files, and sockets
/// that are accepted only to be refused.
pub const fn descriptors_reserved(
    workers: usize,
    addresses: usize,
    doors: usize,
    checks: usize,
) -> usize {
    64 + checks + workers * (addresses + 2) + doors * (DOOR_CONNECTIONS_MAX + 1)
}

/// Checks of endpoints at a time.
pub const CHECKS_MAX: usize = 256;

/// Returns how many checks of these endpoints there may be at a time.
pub fn checks_at_once<'a>(checked: impl Iterator<Item = &'a Endpoint>) -> usize {
    let count = |endpoint: &Endpoint| if endpoint.is_followed() { CHECKS_MAX } else { 1 };
    checked.map(count).sum::<usize>().min(CHECKS_MAX)
}

/// Connections at a time at one of the doors of `[admin]`: a scraper, probes, dashboards.
pub const DOOR_CONNECTIONS_MAX: usize = 32;

pub(super) fn few(draft: &Draft, host: Host, faults: &mut Diagnostics) {
    let Some(limit) = host.descriptors_max.and_then(|limit| usize::try_from(limit).ok()) else {
        return;
    };
    let server = &draft.server.value;
    let addresses = draft.listeners.iter().map(|listener| listener.bind.len()).sum();
    let doors =
        usize::from(draft.admin.listen.is_some()) + usize::from(draft.admin.socket.is_some());
    let checked = draft.upstreams.iter().filter(|upstream| upstream.health.value.kind.is_some());
    let checked = checked.flat_map(|upstream| &upstream.endpoints);
    let checks = checks_at_once(checked.map(|draft| &draft.entry.value.endpoint));
    let reserved = descriptors_reserved(server.workers.or(host.cpus), addresses, doors, checks);
    let max_pipes = draft.splice.value.max_pipes;
    let raise = "raise the limit (LimitNOFILE= in a systemd unit, ulimit -n)";
    match server.max_connections {
        Count::Fixed(connections) => {
            // Without a number they make do with what is left.
            let pipes = max_pipes.or(0);
            let needed = (connections + pipes) * DESCRIPTORS_EACH + reserved;
            if needed > limit {
                let place = draft.server.place_of("max_connections");
                let message = format!("this needs {needed} open files, and the limit is {limit}");
                faults
                    .add(Code::FewDescriptors, place, message)
                    .with_help(format!("{raise}, or write \"auto\""));
            }
        }
        Count::Auto => {
            let pairs = limit.saturating_sub(reserved) / DESCRIPTORS_EACH;
            let pipes = max_pipes.or(pairs).min(limit / DESCRIPTORS_PER_PIPE);
            let possible = pairs.saturating_sub(pipes).max(1);
            if possible < FEW_CONNECTIONS {
                let message = format!(
                    "the limit of {limit} open files leaves room for {possible} connections"
                );
                faults.add(Code::FewDescriptors, Place::Nowhere, message).with_help(raise);
            }
        }
    }
}
