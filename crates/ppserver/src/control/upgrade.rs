//! An upgrade: another program takes over the ports, and this one drains; or nothing changes.
//!
//! ```text
//! (none) --asked--> parting (datagrams) --> handing over --the other one serves--> leaving
//!                                                    \--it does not--> (none), said
//! ```
//!
//! This process hands over itself, unless it is supervised: then its supervisor does. Signals are answered meanwhile.
//! Invariant: one at a time; one that is given up leaves no process behind.

use std::path::PathBuf;

use tokio::task::JoinSet;

use super::handover::{Candidate, Keeper, Parent, Successor, Terms};
use super::notify;
use super::requests::{Refusal, Reply, Upgraded, Why, answer};
use super::running::Running;

/// The upgrade that is on its way, if any.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    task: JoinSet<Step>,
    /// Whether the supervisor has been asked.
    is_asked: bool,
    /// Who waits for it.
    asking: Reply<Upgraded>,
}

/// What an upgrade has come to: who serves, or why nobody does.
pub(super) type Step = Result<Successor, String>;

impl Upgrade {
    /// Whether one is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_asked || !self.task.is_empty()
    }

    /// Begins to hand over to a program, if none is under way; to that which runs, by the path it was started by, if none is
    /// named.
    pub(super) async fn ask(
        &mut self,
        running: &Running,
        keeper: Option<&Keeper>,
        program: Option<PathBuf>,
        reply: Reply<Upgraded>,
    ) {
        if let Some(keeper) = keeper {
            // As soon as it is asked it gives the ports away.
            running.service.part().await;
            keeper.asks(program).await;
            (self.is_asked, self.asking) = (true, reply);
            return;
        }
        if std::process::id() == 1 {
            let why = "this is process 1, with which a container ends: `run --supervise` can";
            return self.refuse(reply, Refusal::new(Why::Unusable, why));
        }
        let parcels = match running.service.parcels(None) {
            Ok(parcels) => parcels,
            Err(error) => {
                return self.refuse(reply, Refusal::new(Why::Failed, error.to_string()));
            }
        };
        let generation = running.generation + 1;
        let parent = if notify::is_heard() { Parent::Manager } else { Parent::Giver };
        let terms = Terms { generation, parent };
        let input = running.input.clone();
        let parted = running.service.part();
        self.asking = reply;
        self.task.spawn(async move {
            let candidate = Candidate::start(program, terms, input).await?;
            parted.await;
            let heir = candidate.take_over(&parcels).await?;
            let pid = heir.process.id();
            heir.process.leave_alone();
            let names = heir.parcels.into_iter().map(|parcel| parcel.name).collect();
            Ok(Successor { pid, generation, names })
        });
    }

    /// Says why nothing was done.
    pub(super) fn refuse(&self, reply: Reply<Upgraded>, refusal: Refusal) {
        let why: Vec<_> = refusal.errors.iter().map(|fault| fault.message.as_str()).collect();
        tracing::error!(why = why.join("; "), "upgrade refused, this process serves on");
        answer(reply, Err(refusal));
    }

    /// Waits for what comes of it; for ever, if there is none.
    pub(super) async fn next(&mut self) -> Step {
        match self.task.join_next().await {
            Some(step) => step.unwrap_or_else(|error| Err(error.to_string())),
            None => std::future::pending().await,
        }
    }

    /// Tells who asked what has come of it, and returns who serves, if somebody does; flows go on as before, if nobody does.
    pub(super) fn handle(&mut self, step: Step, running: &Running) -> Option<Successor> {
        self.is_asked = false;
        let reply = self.asking.take();
        match step {
            Ok(successor) => {
                let Successor { pid, generation, .. } = successor;
                answer(reply, Ok(Upgraded { pid, generation }));
                Some(successor)
            }
            Err(why) => {
                running.service.stay();
                self.refuse(reply, Refusal::new(Why::Unusable, why));
                None
            }
        }
    }
}
