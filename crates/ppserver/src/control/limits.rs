//! How many connections and pipes there may be: what is configured, and what the machine allows.

use std::path::Path;

use super::local;
use crate::config::{self, Check, Config, Count, Host};
use crate::data::PipeLimits;
use crate::data::worker;

/// What a configuration asks of this machine and its environment: `run` raises the soft limit to the hard
/// one.
pub fn host() -> Host {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let variable = |name: &str| std::env::var(name).ok();
    Host {
        descriptors_max: limit.maximum,
        cpus,
        own_networks: local::networks,
        is_dir: Path::is_dir,
        variable,
    }
}

/// What the descriptors of the process are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// How many it may have open.
    pub(super) descriptors: usize,
    /// Those of ports, workers, checks, logs and files.
    pub(super) reserved: usize,
    /// Each takes two.
    pub(super) connections_max: usize,
    /// Each takes two.
    pub(super) pipes: PipeLimits,
}

/// Returns how many connections and pipes there may be with so many workers and descriptors; says so where
/// that is less than was asked for.
pub(super) fn of(config: &Config, workers: usize, descriptors: usize) -> Budget {
    let addresses = config.listeners.iter().map(|listener| listener.bind.len()).sum();
    let doors = config.admin.doors();
    let is_checked = |upstream: &&config::Upstream| upstream.health.check != Check::Off;
    let checked = config.upstreams.iter().filter(is_checked);
    let checked = checked.flat_map(|upstream| &upstream.endpoints);
    let checks = config::checks_at_once(checked.map(|entry| &entry.endpoint));
    let reserved = config::descriptors_reserved(workers, addresses, doors, checks);
    let pairs = descriptors.saturating_sub(reserved) / 2;
    let splice = &config.splice;
    // Connections that are asked for go before pipes that are not.
    let room = pairs.saturating_sub(config.server.max_connections.or(0));
    let pipes_max = splice.max_pipes.or(room).min(descriptors / config::DESCRIPTORS_PER_PIPE);
    let (pipes, possible) = worker::limits(pairs, splice.pipe_bytes, pipes_max);
    let connections_max = match config.server.max_connections {
        Count::Auto => possible,
        Count::Fixed(wanted) => {
            if wanted > possible {
                tracing::warn!(
                    wanted,
                    possible,
                    descriptors,
                    "max_connections is lowered to what the descriptor limit allows"
                );
            }
            wanted.min(possible)
        }
    };
    Budget { descriptors, reserved, connections_max, pipes }
}
