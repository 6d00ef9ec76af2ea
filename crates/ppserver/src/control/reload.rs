//! A reload: another configuration is followed, or refused as a whole.
//!
//! ```text
//! (none) --SIGHUP--> preparing --all is there--> following --every worker follows--> (none), said
//!                        \--refused--> (none), said
//! ```
//!
//! Signals are answered meanwhile. Invariant: one at a time; a SIGHUP that comes during one is answered behind
//! it by another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::error::ServerError;
use super::prepare::{self, Prepared};
use super::running::Running;
use super::service::Following;
use crate::config::{Config, Output};
use crate::telemetry::log;

/// How long workers may take until they follow; a turn takes milliseconds.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Every worker follows, or why one does not.
    Followed(Following, Result<(), ServerError>),
}

impl Reload {
    /// Begins a reload, or notes that one is due.
    pub(super) fn ask(&mut self, running: &Running) {
        let Some(file) = running.file.clone() else {
            tracing::warn!("SIGHUP: nothing to reload, the server was started with flags only");
            return;
        };
        if self.task.is_some() {
            self.is_due = true;
            return;
        }
        let output = running.service.access_logs.output().cloned();
        let old = running.plan.config.clone();
        self.task = Some(tokio::spawn(async move {
            Step::Prepared(prepare(file, old, output).await.map(Box::new))
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
                    running.plan = Arc::clone(&following.plan);
                    self.task = Some(tokio::spawn(async move {
                        let late = || ServerError::Worker("it does not follow".to_owned());
                        let outcome = timeout(FOLLOW_TIMEOUT, replies.all()).await;
                        Step::Followed(following, outcome.unwrap_or_else(|_| Err(late())))
                    }));
                    return;
                }
                Err(error) => refuse(running, &error.to_string()),
            },
            Step::Prepared(Err(why)) => refuse(running, &why),
            Step::Followed(following, outcome) => {
                if let Err(error) = outcome {
                    tracing::error!(%error, "not every worker follows the reload");
                }
                tracing::info!(file = %shown(running), "reloaded, for new connections");
                running.service.announce(&following);
            }
        }
        if std::mem::take(&mut self.is_due) {
            self.ask(running);
        }
    }
}

/// Reads a configuration and prepares it, unless what `old` says cannot become what it says.
async fn prepare(file: PathBuf, old: Config, output: Option<Output>) -> Result<Prepared, String> {
    let loaded = prepare::read(&file).await.map_err(|error| error.to_string())?;
    let restart = old.needs_restart(&loaded.config);
    if !restart.is_empty() {
        return Err(format!("a restart is needed to change {}", restart.join(", ")));
    }
    log::warnings(&loaded.warnings);
    let prepared = prepare::prepare(loaded.config, output.as_ref()).await;
    prepared.map_err(|error| error.to_string())
}

fn refuse(running: &Running, why: &str) {
    let file = shown(running);
    tracing::error!(file, why, "reload refused, the old configuration stays");
}

fn shown(running: &Running) -> String {
    running.file.as_deref().map(Path::display).map_or(String::new(), |file| file.to_string())
}
