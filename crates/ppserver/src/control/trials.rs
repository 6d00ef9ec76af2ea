//! Trials: connects of our own to endpoints that clients have ejected, off every client's path.
//!
//! ```text
//! a worker ejects -> told -> out, for a while -> on trial -it stands-> told, back in
//!                              ^------ refused, twice as long ----/
//! ```
//!
//! Invariant: so many at a time, however many endpoints are out; each has a bound.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::moment;
use super::pools::{Name, Pools, TrialTerms};
use super::reach::{self, Attempt};
use super::requests::EndpointChange;
use crate::core::addr::Addr;
use crate::data::orders::{Ejected, Ejections};

/// Trials at a time: descriptors that no connection can have.
const TRIALS_MAX: usize = 16;

/// The trials that are on their way, and what is told of ejections.
#[derive(Debug)]
pub(super) struct Trials {
    pools: Arc<Pools>,
    ejected: mpsc::UnboundedReceiver<Ejected>,
    trials: JoinSet<(Name, Result<(), String>)>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Step {
    /// A worker has ejected an endpoint.
    Ejected(Ejected),
    /// The time of some endpoints is over.
    Due,
    /// A trial has ended.
    Ended(Name, Result<(), String>),
}

impl Trials {
    /// Begins with none, and returns where workers tell of what they eject. No endpoint is ejected again before it
    /// was let in, so no more than there are endpoints wait to be heard of.
    pub(super) fn new(pools: Arc<Pools>) -> (Self, Ejections) {
        let (teller, ejected) = mpsc::unbounded_channel();
        // The process may be over.
        let ejections = Ejections::new(move |ejected| drop(teller.send(ejected)));
        (Self { pools, ejected, trials: JoinSet::new() }, ejections)
    }

    /// Waits for what is to be done; for ever, if there is nothing.
    pub(super) async fn next(&mut self) -> Step {
        let is_full = self.trials.len() >= TRIALS_MAX;
        let due = self.pools.trial_at().filter(|_| !is_full);
        tokio::select! {
            Some(ejected) = self.ejected.recv() => Step::Ejected(ejected),
            Some(Ok((name, outcome))) = self.trials.join_next() => Step::Ended(name, outcome),
            () = moment::reached(due.map(Instant::from_std)) => Step::Due,
        }
    }

    /// Does it, and returns how an endpoint stands now, if that is otherwise than before.
    pub(super) fn handle(&mut self, step: Step) -> Option<EndpointChange> {
        let now = Instant::now().into_std();
        match step {
            Step::Ejected(Ejected { upstream, addr, why }) => {
                self.pools.handle_ejected((upstream, addr), why, now)
            }
            Step::Due => {
                let room = TRIALS_MAX.saturating_sub(self.trials.len());
                for (name, TrialTerms { from, attempt }) in self.pools.take_due(room, now) {
                    self.trials.spawn(async move {
                        let attempt = async {
                            match (attempt, name.1) {
                                (Attempt::Datagram, Addr::Inet(addr)) => {
                                    reach::knock(addr, from).await
                                }
                                // Closed at once if it stands.
                                (Attempt::Connect(span), addr) => {
                                    reach::connect(addr, from, span).await.map(drop)
                                }
                                // Datagrams never went there.
                                (Attempt::Datagram, Addr::Unix(_)) => Ok(()),
                            }
                        };
                        let outcome = reach::ended(attempt).await;
                        (name, outcome.map_err(|unreached| unreached.why))
                    });
                }
                None
            }
            Step::Ended(name, outcome) => self.pools.handle_trial(name, outcome, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;
    use crate::config::{Host, from_bytes};
    use crate::control::names::Member;
    use crate::core::pool::endpoint;

    /// Trials of one upstream, `web`, whose ejected endpoints are tried after 100 ms; and all of them, ejected.
    fn trials(addrs: &[SocketAddr]) -> Trials {
        let text = "config_version = 1\n[[listener]]\nname = 'a'\nbind = ['127.0.0.1:1']\n\
            upstream = 'web'\n[upstream.web]\nendpoints = ['10.0.0.1:80']\n\
            passive = { eject = '100ms', max = '100ms' }\n";
        let loaded = from_bytes("f".into(), text.as_bytes(), Host::default());
        let pools = Arc::new(Pools::new(1));
        let member = |addr: &SocketAddr| Member { member: endpoint::Member::at(*addr), from: None };
        let followed = pools.follow(&loaded.unwrap().config, &[addrs.iter().map(member).collect()]);
        let mut trials = Trials::new(pools).0;
        for endpoint in &followed[0].endpoints {
            endpoint.shared.health.handle_failed(1);
            let (upstream, addr) = ("web".to_owned(), endpoint.member.addr);
            let ejected = Ejected { upstream, addr, why: "refused".to_owned() };
            let change = trials.handle(Step::Ejected(ejected));
            assert_eq!(change.map(|change| change.state), Some("ejected"));
        }
        trials
    }

    /// Goes on until an endpoint stands otherwise.
    async fn change(trials: &mut Trials) -> EndpointChange {
        loop {
            let step = trials.next().await;
            if let Some(change) = trials.handle(step) {
                return change;
            }
        }
    }

    #[tokio::test]
    async fn one_that_is_ejected_is_tried_until_a_connect_stands() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let mut trials = trials(&[addr]);
        let mut ends = 0;
        while ends < 2 {
            let step = trials.next().await;
            if let Step::Ended(_, outcome) = &step {
                assert!(outcome.is_err(), "nobody listens");
                ends += 1;
            }
            assert!(trials.handle(step).is_none());
        }
        let _listener = TcpListener::bind(addr).unwrap();
        assert_eq!(change(&mut trials).await.state, "up");
    }

    #[tokio::test]
    async fn so_many_are_tried_at_a_time_and_the_others_behind_them() {
        let count = TRIALS_MAX + 3;
        let listeners: Vec<_> =
            (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let addrs: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
        let mut trials = trials(&addrs);
        let mut back = 0;
        while back < count {
            let step = trials.next().await;
            back += usize::from(trials.handle(step).is_some());
            assert!(trials.trials.len() <= TRIALS_MAX);
        }
    }
}
