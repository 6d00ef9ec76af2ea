//! A reload: another configuration is followed, or refused as a whole.
//!
//! ```text
//! (none) --SIGHUP--> preparing --all is there--> following --every worker follows--> (none), said
//!                        \--refused--> (none), said
//! ```
//!
//! Signals are answered meanwhile. Invariant: one at a time; a SIGHUP that comes during one is answered behind
//! it by another.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::prepare::{self, ConfigFile, Prepared};
use super::running::Running;
use super::service::Following;
use super::{changes, limits};
use crate::config::Output;
use crate::telemetry::ledger::ReloadResult;
use crate::telemetry::log;

/// The reload that is on its way, if any.
#[derive(Debug, Default)]
pub(super) struct Reload {
    task: Option<JoinHandle<Step>>,
    /// Another one is to follow.
    is_due: bool,
}

/// What a reload has come to.
#[derive(Debug)]
pub(super) enum Step {
    /// Everything is there, or why it is refused.
    Prepared(Result<Box<Prepared>, String>),
    /// Every worker follows, or why one does not; and what has changed.
    Followed(Following, String, Result<(), String>),
}

impl Reload {
    /// Begins a reload, or notes that one is due.
    pub(super) fn ask(&mut self, running: &Running) {
        let Some(file) = running.file.clone() else {
            tracing::warn!("SIGHUP: nothing to reload, the server was started without a file");
            return;
        };
        if self.task.is_some() {
            self.is_due = true;
            return;
        }
        let workers = running.service.workers.count();
        let output = running.service.access_logs.output().cloned();
        self.task = Some(tokio::spawn(async move {
            Step::Prepared(prepare(file, workers, output).await.map(Box::new))
        }));
    }

    /// Waits for its next step; for ever, if there is none.
    pub(super) async fn next(&mut self) -> Step {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let step = task.await;
        self.task = None;
        step.unwrap_or_else(|error| Step::Prepared(Err(error.to_string())))
    }

    /// Goes on from a step.
    pub(super) fn handle(&mut self, step: Step, running: &mut Running) {
        match step {
            Step::Prepared(Ok(prepared)) => match running.service.follow(*prepared) {
                Ok((following, replies)) => {
                    let changes = changes::between(&running.plan, &following.plan);
                    running.plan = Arc::clone(&following.plan);
                    if let Err(error) = log::follow(&running.plan.config.log) {
                        tracing::error!(%error, "the log stays as it was");
                    }
                    self.task = Some(tokio::spawn(async move {
                        let outcome = replies.all().await.map_err(|error| error.to_string());
                        Step::Followed(following, changes, outcome)
                    }));
                    return;
                }
                Err(error) => refuse(running, &error.to_string()),
            },
            Step::Prepared(Err(why)) => refuse(running, &why),
            Step::Followed(following, changes, outcome) => {
                let result = match outcome {
                    Ok(()) => ReloadResult::Ok,
                    Err(why) => {
                        tracing::error!(why, "not every worker follows the reload");
                        ReloadResult::Failed
                    }
                };
                running.service.ledger.reloaded(result, SystemTime::now());
                tracing::info!(file = shown(running), changes, "reloaded, for new connections");
                running.service.announce(&following);
            }
        }
        if std::mem::take(&mut self.is_due) {
            self.ask(running);
        }
    }
}

/// Reads a configuration and prepares it for so many workers, which write the access log to `output`.
async fn prepare(
    file: ConfigFile,
    workers: usize,
    output: Option<Output>,
) -> Result<Prepared, String> {
    let loaded = prepare::read(&file).await.map_err(|error| error.to_string())?;
    if loaded.config.server.workers.or(limits::host().cpus) != workers {
        return Err("a restart is needed to change server.workers".to_owned());
    }
    log::warnings(&loaded.warnings);
    let prepared = prepare::prepare(loaded.config, output.as_ref()).await;
    prepared.map_err(|error| error.to_string())
}

fn refuse(running: &Running, why: &str) {
    running.service.ledger.reloaded(ReloadResult::Refused, SystemTime::now());
    let file = shown(running);
    tracing::error!(file, why, "reload refused, the old configuration stays");
}

fn shown(running: &Running) -> String {
    running.file.as_ref().map_or(String::new(), |file| file.path.display().to_string())
}
