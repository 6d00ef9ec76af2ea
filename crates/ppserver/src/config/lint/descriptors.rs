//! How many open files the configuration asks for.

use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::validate::Draft;
use crate::config::{Count, Host};

/// A connection has two sockets, a pipe two ends.
const DESCRIPTORS_EACH: usize = 2;

/// Returns how many descriptors are no connection's and no pipe's: each worker has an epoll, what wakes it,
/// and a socket for each address, and 64 are for logs, files, and sockets that are accepted only to be
/// refused.
pub const fn descriptors_reserved(workers: usize, addresses: usize) -> usize {
    64 + workers * (addresses + 2)
}

pub(super) fn few(draft: &Draft, host: Host, faults: &mut Diagnostics) {
    let Some(limit) = host.descriptors_max.and_then(|limit| usize::try_from(limit).ok()) else {
        return;
    };
    let server = &draft.server.value;
    let Count::Fixed(connections) = server.max_connections else { return };
    let addresses = draft.listeners.iter().map(|listener| listener.bind.len()).sum();
    let reserved = descriptors_reserved(server.workers.or(host.cpus), addresses);
    // Without a number they make do with what is left.
    let pipes = draft.splice.value.max_pipes.or(0);
    let needed = (connections + pipes) * DESCRIPTORS_EACH + reserved;
    if needed > limit {
        faults
            .add(
                Code::FewDescriptors,
                draft.server.place_of("max_connections"),
                format!("this needs {needed} open files, and the limit is {limit}"),
            )
            .with_help("raise the limit (LimitNOFILE= in a systemd unit), or write \"auto\"");
    }
}
