//! One name or file, followed: asked for again and again, and what it stands for is kept.
//!
//! ```text
//! ask -> what it stands for now -> told, if it is something else -> wait -> ask
//! ```
//!
//! Invariant: what once stood for something always does; a failure changes nothing, and is said once until it is over.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::ask::{Addrs, Targets};
use super::found::{FOUND_MAX, Found, sorted, without};
use super::source::Source;
use super::srv::{self, Target};
use crate::control::{bounded, jitter};
use crate::core::pool::resolution::{Answer, AskTerms, Patience, Resolution};
use crate::core::resolution_result::ResolutionResult;
use crate::telemetry::cells::NameCells;

/// Waits are longer by up to a tenth of theirs, and by no more than this: those who began together part.
const JITTER_MAX: Duration = Duration::from_millis(500);

/// How long a file may take to be read.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// A file that changes all the time is read no more often.
const FILE_PAUSE: Duration = Duration::from_millis(50);

/// Files that are read at a time: what may hang leaves threads for others.
static FILES: Semaphore = Semaphore::const_new(4);

/// What a name stands for, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) found: Arc<[Found]>,
    /// Whether an answer, or the lack of it, is known.
    pub(super) is_settled: bool,
    /// Why it was not found out last time.
    pub(super) why: Option<String>,
}

/// What came of a round of questions.
struct Round {
    found: Vec<Found>,
    /// Those that are too many.
    excess: usize,
    result: ResolutionResult,
    why: Option<String>,
    wait: Duration,
}

/// Somebody who follows.
pub(super) struct Follower {
    pub(super) source: Source,
    pub(super) terms: AskTerms,
    pub(super) shared: Arc<Shared>,
    pub(super) state: watch::Sender<State>,
    pub(super) cells: Arc<NameCells>,
}

impl Follower {
    /// Follows until nobody wants to know any more, when the task is ended.
    pub(super) async fn run(mut self) {
        match self.source.clone() {
            Source::Host(host) => self.follow_host(&host).await,
            Source::Srv(service) => self.follow_srv(&service).await,
            Source::File(path) => self.follow_file(&path).await,
        }
    }

    async fn follow_host(&mut self, host: &str) {
        let mut resolution = Resolution::default();
        loop {
            let Addrs { v4, v6, why, excess } = self.shared.asker.addrs(host).await;
            let result = result(&[&v4, &v6]);
            let (_, wait) = resolution.handle_answers(v4, v6, self.terms);
            let found = resolution.addrs().map(|ip| Found::plain(SocketAddr::new(ip, 0)));
            let found = sorted(found.collect());
            self.tell(Round { found, excess, result, why, wait });
            sleep(jittered(wait)).await;
        }
    }

    async fn follow_srv(&mut self, service: &str) {
        let (mut targets, mut patience) = (Vec::<Target>::new(), Patience::default());
        let mut hosts = BTreeMap::<String, Resolution>::new();
        loop {
            let shared = Arc::clone(&self.shared);
            let (mut result, mut why, mut wait) = match shared.asker.targets(service).await {
                Targets::Some(new, ttl) => {
                    targets = new;
                    (ResolutionResult::Ok, None, patience.handle_answer(ttl, self.terms))
                }
                Targets::None(why) => {
                    (ResolutionResult::Empty, Some(why), patience.handle_failure(self.terms))
                }
                Targets::Failed(why) => {
                    (ResolutionResult::Failed, Some(why), patience.handle_failure(self.terms))
                }
            };
            hosts.retain(|host, _| targets.iter().any(|target| target.host == *host));
            let mut excess = 0;
            let names = targets.iter().map(|target| (target.host.clone(), ()));
            for (host, addrs) in self.addrs_of(names.collect::<BTreeMap<_, _>>().into_keys()).await
            {
                excess += addrs.excess;
                let of_host = self::result(&[&addrs.v4, &addrs.v6]);
                if of_host != ResolutionResult::Ok {
                    result = of_host;
                    why = addrs.why.map(|why| format!("{host} {why}"));
                }
                let resolution = hosts.entry(host).or_default();
                let (_, until) = resolution.handle_answers(addrs.v4, addrs.v6, self.terms);
                wait = wait.min(until);
            }
            let addrs: BTreeMap<String, Vec<IpAddr>> =
                hosts.iter().map(|(host, found)| (host.clone(), found.addrs().collect())).collect();
            let (found, more) = srv::found(&targets, &addrs);
            self.tell(Round { found, excess: excess + more, result, why, wait });
            sleep(jittered(wait)).await;
        }
    }

    /// Asks for the addresses of all these hosts at a time.
    async fn addrs_of(&self, hosts: impl Iterator<Item = String>) -> Vec<(String, Addrs)> {
        let mut questions = tokio::task::JoinSet::new();
        for host in hosts {
            let shared = Arc::clone(&self.shared);
            questions.spawn(async move {
                let addrs = shared.asker.addrs(&host).await;
                (host, addrs)
            });
        }
        questions.join_all().await
    }

    async fn follow_file(&mut self, path: &Path) {
        let mut changes = self.shared.files.changes();
        // Held by whoever reads, also by one that hangs.
        let reading = Arc::new(());
        loop {
            changes.mark_unchanged();
            let read = if Arc::strong_count(&reading) > 1 {
                Err("an earlier try still waits for an answer".to_owned())
            } else {
                self.read(path, Arc::clone(&reading)).await
            };
            let (found, result, why) = match read {
                Ok(found) => (found, ResolutionResult::Ok, None),
                Err(why) => (Vec::new(), ResolutionResult::Failed, Some(why)),
            };
            self.tell(Round { found, excess: 0, result, why, wait: self.terms.min });
            sleep(FILE_PAUSE).await;
            // It may be somewhere that tells nothing.
            let _ = timeout(jittered(self.terms.min), changes.changed()).await;
        }
    }

    async fn read(&self, path: &Path, reading: Arc<()>) -> Result<Vec<Found>, String> {
        let (shared, file) = (Arc::clone(&self.shared), path.to_owned());
        let read = move |_: &dyn Fn() -> bool| {
            let _reading = reading;
            shared.files.read(&file)
        };
        let _permit = FILES.acquire().await;
        let read = bounded::run("reader", FILE_TIMEOUT, read).await;
        read.unwrap_or_else(|why| Err(why.to_string()))
    }

    /// Makes known what came of a round; what is not known now is what it was.
    fn tell(&mut self, round: Round) {
        let Round { found, excess, result, why, wait } = round;
        debug_assert!(found.len() <= FOUND_MAX);
        self.cells.count(result);
        let old = self.state.borrow().clone();
        let name = self.source.to_string();
        let is_change = !found.is_empty() && found[..] != old.found[..];
        // Of a set in which a family is missing the reason is no failure.
        let why = why.filter(|_| result != ResolutionResult::Ok);
        match (&old.why, &why) {
            (None, Some(why)) => {
                let kept = old.found.len().max(found.len());
                let again = humantime::format_duration(wait).to_string();
                tracing::warn!(
                    name,
                    why,
                    kept,
                    again_in = again,
                    "not found out, what was known stays"
                );
            }
            (Some(_), None) => tracing::info!(name, "found out again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let found: Arc<[Found]> = if is_change { found.into() } else { old.found.clone() };
        if is_change {
            let (added, removed) = (without(&found, &old.found), without(&old.found, &found));
            let count = found.len();
            tracing::info!(name, added, removed, count, left_out = excess, "stands for others now");
        }
        self.state.send_replace(State { found, is_settled: true, why });
        if is_change {
            self.shared.changed.notify_one();
        }
    }
}

fn result(answers: &[&Answer]) -> ResolutionResult {
    if answers.contains(&&Answer::Failed) {
        ResolutionResult::Failed
    } else if answers.iter().all(|answer| **answer == Answer::None) {
        ResolutionResult::Empty
    } else {
        ResolutionResult::Ok
    }
}

fn jittered(wait: Duration) -> Duration {
    wait + jitter::part_of((wait / 10).min(JITTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_longer_by_a_little_and_never_the_same() {
        for (wait, most) in [(2_000, 200), (60_000, 500), (0, 0)] {
            let waits: Vec<_> = (0..64).map(|_| jittered(Duration::from_millis(wait))).collect();
            let range = Duration::from_millis(wait)..=Duration::from_millis(wait + most);
            assert!(waits.iter().all(|wait| range.contains(wait)), "{waits:?}");
            assert_eq!(waits.iter().any(|other| *other != waits[0]), most > 0);
        }
    }

    #[test]
    fn a_round_is_ok_only_if_nobody_failed_and_something_is_there() {
        let some = Answer::Addrs(vec![[192, 0, 2, 1].into()], Duration::from_secs(1));
        for (answers, expected) in [
            ([&some, &Answer::None], ResolutionResult::Ok),
            ([&some, &Answer::Failed], ResolutionResult::Failed),
            ([&Answer::None, &Answer::Failed], ResolutionResult::Failed),
            ([&Answer::None, &Answer::None], ResolutionResult::Empty),
        ] {
            assert_eq!(result(&answers), expected);
        }
    }
}
