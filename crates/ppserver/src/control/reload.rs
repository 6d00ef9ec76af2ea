//! A reload: another configuration is followed, or refused as a whole.
//!
//! ```text
//! (none) --asked---> preparing --all is there--> following --every worker follows--> (none), said
//!                        \--refused--> (none), said
//! ```
//!
//! Other requests are answered meanwhile. Invariant: one at a time; who asks during one is answered behind it by
//! another.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::data_plane::Following;
use super::error::{ServerError, system};
use super::names::Names;
use super::prepare::{self, ConfigFile, Prepared, WaitForNames};
use super::requests::{Answer, Refusal, Reloaded, Reply, Why, answer};
use super::running::Running;
use super::{changes, limits, notify};
use crate::config::Output;
use crate::telemetry::ledger::ReloadResult;
use crate::telemetry::log;

/// The reload that is on its way, if any.
#[derive(Debug, Default)]
pub(super) struct Reload {
    task: Option<JoinHandle<Step>>,
    /// Who waits for it.
    asking: Vec<Reply<Reloaded>>,
    /// Who waits for another one, which is to follow.
    due: Vec<Reply<Reloaded>>,
}

/// What a reload has come to.
#[derive(Debug)]
pub(super) enum Step {
    /// Everything is there, or why it is refused.
    Prepared(Result<Box<Prepared>, ServerError>),
    /// Every worker follows, or why one does not; and what has changed.
    Followed(Following, Vec<String>, Result<(), ServerError>),
}

impl Reload {
    /// Begins a reload, or notes that one is due.
    pub(super) fn ask(&mut self, running: &Running, reply: Reply<Reloaded>) {
        let Some(file) = running.file.clone() else {
            let why = "nothing to reload, the server was started without a file";
            if reply.is_none() {
                tracing::warn!("SIGHUP: {why}");
            }
            return answer(reply, Err(Refusal::new(Why::Untimely, why)));
        };
        if self.task.is_some() {
            return self.due.push(reply);
        }
        self.asking.push(reply);
        self.begin(running, file);
    }

    fn begin(&mut self, running: &Running, file: ConfigFile) {
        notify::reloading();
        let workers = running.service.workers.count();
        let output = running.service.access_logs.output().cloned();
        let names = running.names.clone();
        self.task = Some(tokio::spawn(async move {
            Step::Prepared(prepare(file, workers, output, &names).await.map(Box::new))
        }));
    }

    /// Whether one is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.task.is_some()
    }

    /// Waits for its next step; for ever, if there is none.
    pub(super) async fn next(&mut self) -> Step {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let step = task.await;
        self.task = None;
        step.unwrap_or_else(|error| {
            let error = io::Error::other(error);
            Step::Prepared(Err(system("the reload panicked")(error)))
        })
    }

    /// Goes on from a step.
    pub(super) fn handle(&mut self, step: Step, running: &mut Running) {
        match step {
            Step::Prepared(Ok(prepared)) => match running.service.follow(*prepared) {
                Ok((following, replies)) => {
                    let changes = changes::between(&running.plan, &following.plan);
                    running.plan = Arc::clone(&following.plan);
                    running.resolved = following.resolved.clone();
                    running.log_level = running.plan.config.log.level;
                    if let Err(error) = log::follow(&running.plan.config.log) {
                        tracing::error!(%error, "the log stays as it was");
                    }
                    self.task = Some(tokio::spawn(async move {
                        Step::Followed(following, changes, replies.all().await)
                    }));
                    return;
                }
                Err(error) => self.refuse(running, &error),
            },
            Step::Prepared(Err(error)) => self.refuse(running, &error),
            Step::Followed(following, changes, outcome) => {
                let outcome = outcome.map_err(|error| {
                    let why = error.to_string();
                    tracing::error!(why, "not every worker follows the reload");
                    Refusal::new(Why::Failed, why)
                });
                let result = if outcome.is_ok() { ReloadResult::Ok } else { ReloadResult::Failed };
                running.service.ledger.reloaded(result, SystemTime::now());
                let said =
                    if changes.is_empty() { "nothing".to_owned() } else { changes.join("; ") };
                running.service.ports.set_options(&following.plan.config);
                let file = shown(running);
                tracing::info!(file, changes = said, "reloaded, for new connections");
                running.follow(following);
                self.answer(running, &outcome.map(|()| Reloaded { changes }));
            }
        }
        notify::ready();
        if !self.due.is_empty()
            && let Some(file) = running.file.clone()
        {
            self.asking = std::mem::take(&mut self.due);
            self.begin(running, file);
        }
    }

    fn refuse(&mut self, running: &Running, error: &ServerError) {
        running.service.ledger.reloaded(ReloadResult::Refused, SystemTime::now());
        let (file, why) = (shown(running), error.to_string());
        tracing::error!(file, why, "reload refused, the old configuration stays");
        let refusal = if let ServerError::Config(report) = error {
            Refusal::of(report)
        } else {
            Refusal::new(Why::Unusable, why)
        };
        self.answer(running, &Err(refusal));
    }

    fn answer(&mut self, running: &Running, outcome: &Answer<Reloaded>) {
        match outcome {
            Ok(reloaded) => running.tell("reload", reloaded),
            Err(refusal) => running.tell("reload", refusal),
        }
        self.asking.drain(..).for_each(|reply| answer(reply, outcome.clone()));
    }
}

/// Reads a configuration and prepares it for so many workers, which write the access log to `output`.
async fn prepare(
    file: ConfigFile,
    workers: usize,
    output: Option<Output>,
    names: &Names,
) -> Result<Prepared, ServerError> {
    let loaded = prepare::read(&file).await?;
    if loaded.config.server.workers.or(limits::host().cpus) != workers {
        return Err(ServerError::NeedsRestart);
    }
    log::warnings(&loaded.warnings);
    prepare::prepare(loaded.config, output.as_ref(), names, WaitForNames::Briefly).await
}

fn shown(running: &Running) -> String {
    running.file.as_ref().map_or(String::new(), |file| file.path.display().to_string())
}
