//! Names that stand for others now: the same configuration is followed with other endpoints.
//!
//! ```text
//! (none) --changed--> planning --planned--> followed, (none)
//!                        \--another configuration is followed meanwhile--> planning
//! ```
//!
//! Connections that run stay where they are, no port is touched, and nothing counts as a reload. Invariant: a change
//! is followed, whatever else happens meanwhile; those that come during one are followed behind it.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::names::Names;
use super::prepare::{self, Resolved};
use super::running::Running;
use crate::data::orders::Plan;

/// The change that is on its way, if any.
#[derive(Debug)]
pub(super) struct Refresh {
    names: Names,
    task: Option<Planning>,
}

/// What is being planned.
#[derive(Debug)]
struct Planning {
    /// What it is made from.
    base: Arc<Plan>,
    planned: JoinHandle<Resolved>,
}

/// What a change has come to.
#[derive(Debug)]
pub(super) enum Step {
    /// Something stands for others.
    Changed,
    /// What is to be followed; `None` if that is not known. First what it was made from.
    Planned(Arc<Plan>, Option<Resolved>),
}

impl Refresh {
    pub(super) const fn new(names: Names) -> Self {
        Self { names, task: None }
    }

    /// Waits for the next step.
    pub(super) async fn next(&mut self) -> Step {
        let Some(Planning { base, planned }) = &mut self.task else {
            self.names.changed().await;
            return Step::Changed;
        };
        let planned = planned.await.map_err(|error| tracing::error!(%error, "planning panicked"));
        let base = Arc::clone(base);
        self.task = None;
        Step::Planned(base, planned.ok())
    }

    /// Goes on from a step.
    pub(super) fn handle(&mut self, step: Step, running: &mut Running) {
        match step {
            Step::Planned(base, Some(resolved)) if Arc::ptr_eq(&base, &running.plan) => {
                running.refresh(resolved);
            }
            Step::Planned(_, None) => {}
            Step::Changed | Step::Planned(_, Some(_)) => {
                let base = Arc::clone(&running.plan);
                let (plan, resolved) = (Arc::clone(&base), running.resolved.clone());
                let planned =
                    tokio::spawn(async move { prepare::resolve(&plan.config, resolved).await });
                self.task = Some(Planning { base, planned });
            }
        }
    }
}
