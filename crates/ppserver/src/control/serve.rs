//! What runs is kept running: signals are answered, until the last worker has ended.
//!
//! ```text
//! Serving --SIGTERM, SIGINT--> Draining --again, or after the grace period--> Stopping
//! ```

use tokio::time::{Instant, sleep_until};

use super::error::ServerError;
use super::reload::{Reload, Step};
use super::running::Running;
use super::signals::{Signal, Signals};

/// Where a server is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Serving,
    /// No more is accepted; what runs may go on until then.
    Draining {
        until: Instant,
    },
    /// What is left is being reset.
    Stopping,
}

impl Course {
    /// Waits until the grace period is over.
    async fn is_over(self) {
        match self {
            Self::Draining { until } => sleep_until(until).await,
            Self::Serving | Self::Stopping => std::future::pending().await,
        }
    }
}

/// What there is to react to.
#[derive(Debug)]
enum Event {
    /// A worker has ended, with an error if it was not told to.
    Ended(Result<(), String>),
    Signal(Signal),
    Reload(Step),
    GraceOver,
}

/// Serves until the last worker has ended.
///
/// # Errors
/// [`ServerError::Worker`] when one of them was not told to.
pub(super) async fn serve(mut running: Running, signals: &mut Signals) -> Result<(), ServerError> {
    let mut course = Course::Serving;
    let mut reload = Reload::default();
    let mut outcome = Ok(());
    while running.service.workers.are_running() {
        let event = tokio::select! {
            biased;
            end = running.service.workers.next_end() => Event::Ended(end),
            signal = signals.next() => Event::Signal(signal),
            step = reload.next() => Event::Reload(step),
            () = course.is_over() => Event::GraceOver,
        };
        match event {
            Event::Ended(Ok(())) => {}
            Event::Ended(Err(error)) => {
                tracing::error!(error, "a worker ended");
                outcome = Err(ServerError::Worker(error));
                course = Course::Stopping;
                running.service.workers.stop();
            }
            Event::Signal(Signal::Counters) => running.print_counters(),
            Event::Signal(Signal::Reload) => {
                running.service.access_logs.reopen();
                match course {
                    Course::Serving => reload.ask(&running),
                    Course::Draining { .. } | Course::Stopping => {
                        tracing::warn!("SIGHUP: nothing is reloaded during a drain");
                    }
                }
            }
            Event::Reload(step) => reload.handle(step, &mut running),
            Event::Signal(signal) if course == Course::Serving => {
                // What is on its way is not followed any more.
                reload = Reload::default();
                course = Course::Draining { until: Instant::now() + running.drain(signal) };
            }
            Event::Signal(_) if course == Course::Stopping => {}
            Event::Signal(_) | Event::GraceOver => {
                let active = running.service.ledger.active();
                tracing::warn!(active, "stopping: what is left is reset");
                course = Course::Stopping;
                running.service.workers.stop();
            }
        }
    }
    running.service.access_logs.finish();
    running.print_counters();
    outcome
}
