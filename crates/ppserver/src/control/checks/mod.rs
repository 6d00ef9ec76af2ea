//! Checks: connects and datagrams of our own to endpoints, again and again, whether or not clients come.
//!
//! ```text
//! Service -follow-> task: agenda -due-> exchange -outcome-> Pools, which decides -change-> next() -> the loop
//! ```
//!
//! All of it is one task and its checks on the control plane's thread, and only what changes is told to the loop:
//! a thousand checks a second wake nobody. Invariant: so many at a time, however many endpoints there are; each has a
//! bound; and they end with the value.

mod agenda;
mod exchange;
mod hello;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::moment;
use super::pools::{Checked, Name, Pools};
use super::reach::{self, Unreached};
use crate::config::{self, CHECKS_MAX, Check, CheckPolicy, Config, Protocol, Version};
use crate::core::pool::Pool;
use crate::core::pool::endpoint::{Endpoint, HeaderSent};
use agenda::Agenda;
use hello::Hello;

/// An endpoint that is checked.
#[derive(Debug)]
pub(super) struct Target {
    name: Name,
    /// What the check comes from, if that is given.
    from: Option<IpAddr>,
    protocol: Protocol,
    policy: Arc<CheckPolicy>,
    hello: Hello,
}

/// The checks of all endpoints, until this is dropped.
#[derive(Debug)]
pub(super) struct Checks {
    targets: mpsc::UnboundedSender<Vec<Target>>,
    changes: mpsc::UnboundedReceiver<Checked>,
    task: AbortHandle,
}

impl Checks {
    /// Begins with nobody to check. To be called on the control plane's runtime.
    pub(super) fn new(pools: Arc<Pools>) -> Self {
        let (targets, to_follow) = mpsc::unbounded_channel();
        let (teller, changes) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(pools, to_follow, teller)).abort_handle();
        Self { targets, changes, task }
    }

    /// Checks the endpoints of these pools from now on, where the configuration says so.
    pub(super) fn follow(&self, config: &Config, pools: &[Pool]) {
        let upstreams = config.upstreams.iter().zip(pools).enumerate();
        let targets = upstreams
            .flat_map(|(at, (upstream, pool))| {
                let protocol = match config.takes_datagrams_alone(at) {
                    true => Protocol::Udp,
                    false => Protocol::Tcp,
                };
                targets(upstream, pool, protocol)
            })
            .collect();
        // The task ends with this value only.
        drop(self.targets.send(targets));
    }

    /// Checks nobody any more.
    pub(super) fn stop(&self) {
        self.task.abort();
    }

    /// Waits until an endpoint is up or down that was not.
    pub(super) async fn next(&mut self) -> Checked {
        match self.changes.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.stop();
    }
}

fn targets(upstream: &config::Upstream, pool: &Pool, protocol: Protocol) -> Vec<Target> {
    let Check::On(policy) = &upstream.health.check else { return Vec::new() };
    let policy = Arc::new(policy.clone());
    let target = |endpoint: &Endpoint| {
        let version = match endpoint.member.header {
            HeaderSent::Off => None,
            HeaderSent::V1 => Some(Version::V1),
            HeaderSent::Spp => Some(Version::Spp),
            HeaderSent::V2 => Some(Version::V2),
        };
        let name = (upstream.name.clone(), endpoint.member.addr);
        let hello = Hello::new(upstream.send.outgoing(version), policy.proxy, protocol);
        let from = upstream.source.of_ours();
        Target { name, from, protocol, policy: Arc::clone(&policy), hello }
    };
    pool.endpoints.iter().map(target).collect()
}

async fn run(
    pools: Arc<Pools>,
    mut to_follow: mpsc::UnboundedReceiver<Vec<Target>>,
    teller: mpsc::UnboundedSender<Checked>,
) {
    let mut agenda = Agenda::default();
    let mut checks: JoinSet<(Arc<Target>, Result<Duration, Unreached>)> = JoinSet::new();
    loop {
        let due = agenda.next_at().filter(|_| checks.len() < CHECKS_MAX);
        tokio::select! {
            targets = to_follow.recv() => {
                let Some(targets) = targets else { return };
                agenda.follow(targets, Instant::now().into_std());
            }
            Some(Ok((target, outcome))) = checks.join_next() => {
                let now = Instant::now().into_std();
                agenda.handle_ended(&target.name, now);
                if let Some(change) = pools.handle_checked(&target.name, outcome, now) {
                    // The loop may be over.
                    drop(teller.send(change));
                }
            }
            () = moment::reached(due.map(Instant::from_std)) => {
                let now = Instant::now().into_std();
                while checks.len() < CHECKS_MAX
                    && let Some(target) = agenda.take_due(now)
                {
                    checks.spawn(async move {
                        let outcome = reach::ended(exchange::check(&target)).await;
                        (target, outcome)
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use pptrust::{ChecksumSent, Destination, Outgoing, TlvPass, TlvSet, TlvValue};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    pub(super) fn policy(interval: Duration) -> CheckPolicy {
        CheckPolicy { interval, ..CheckPolicy::default() }
    }

    /// A target at a port of 127.0.0.1, which is sent nothing.
    pub(super) fn target(port: u16, interval: Duration) -> Target {
        let name = ("web".to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into());
        let (policy, hello) = (policy(interval).into(), Hello::Fixed(Vec::new()));
        Target { name, from: None, protocol: Protocol::Tcp, policy, hello }
    }

    /// A header that is longer than any: to say it panics.
    fn too_long() -> Hello {
        let value = TlvValue::Bytes(vec![0; 1 << 16]);
        Hello::Proxy(Outgoing::V2 {
            destination: Destination::Local,
            tlv_pass: TlvPass::All,
            tlv_set: vec![TlvSet { kind: 0xE1, value }],
            crc32c: ChecksumSent::WhenReceived,
        })
    }

    #[tokio::test]
    async fn one_whose_check_panics_is_checked_again() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = target(listener.local_addr().unwrap().port(), Duration::from_millis(1));
        let target = Target { hello: too_long(), ..target };
        let checks = Checks::new(Arc::new(Pools::new(1)));
        checks.targets.send(vec![target]).unwrap();
        for _ in 0..3 {
            timeout(PATIENCE, listener.accept()).await.expect("it is checked again").unwrap();
        }
    }
}
