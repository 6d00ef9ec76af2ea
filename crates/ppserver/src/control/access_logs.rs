//! The writers of the access log: the one that workers write through, and those before it.
//!
//! Invariant: a writer that is retired ends by itself, once the last worker has turned to the next one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::config::{self, Output};
use crate::telemetry::access_log::{AccessLog, Ending, Opened, Writer};

/// How long the end of the process waits for the last lines to be written.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// The access log through reloads.
#[derive(Debug)]
pub(super) struct AccessLogs {
    current: Option<Writer>,
    retired: Vec<Ending>,
    /// Lines that outputs refused.
    lost: Arc<AtomicU64>,
}

impl AccessLogs {
    /// Begins without one; what outputs refuse is counted in `lost`.
    pub(super) const fn new(lost: Arc<AtomicU64>) -> Self {
        Self { current: None, retired: Vec::new(), lost }
    }

    /// Where lines go now.
    pub(super) fn output(&self) -> Option<&Output> {
        self.current.as_ref().map(Writer::output)
    }

    /// Follows the configuration, to `opened` if it says another output; returns what workers write through.
    ///
    /// # Errors
    /// When no thread can be started: nothing is changed then.
    pub(super) fn follow(
        &mut self,
        config: &config::AccessLog,
        opened: Option<Opened>,
    ) -> io::Result<Option<AccessLog>> {
        self.retired.retain(Ending::is_due);
        let next = match opened {
            Some(opened) => Some(Writer::start(opened, Arc::clone(&self.lost))?),
            None if config.state.is_on() => self.current.take(),
            None => None,
        };
        let old = std::mem::replace(&mut self.current, next);
        self.retired.extend(old.map(Writer::retire));
        Ok(self.current.as_ref().map(|writer| writer.handle(config)))
    }

    /// Has a file opened anew: somebody may have renamed it.
    pub(super) fn reopen(&self) {
        if let Some(writer) = &self.current {
            writer.reopen();
        }
    }

    /// Waits until the last lines are written, once the workers have gone. A reader that has stopped reading
    /// does not hold the process up: its lines are lost, which the log says.
    pub(super) fn finish(&mut self) {
        let mut left = FINISH_MAX;
        self.retired.extend(self.current.take().map(Writer::retire));
        for ending in self.retired.drain(..) {
            if !ending.wait(left) {
                tracing::error!("nobody reads the access log; its last lines are lost");
                // The others had the time too.
                left = Duration::ZERO;
            }
        }
    }
}
