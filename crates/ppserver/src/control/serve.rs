//! What runs is kept running: signals and requests are answered, until the last worker has ended.
//!
//! ```text
//! Serving --SIGTERM, SIGINT--> Draining --again, or after the grace period--> Stopping
//! ```

use tokio::time::{Instant, sleep_until};

use super::error::ServerError;
use super::recovery::{self, Recovery};
use super::reload::{Reload, Step};
use super::requests::{self, Draining, Refusal, Reply, Request, Why, answer};
use super::running::Running;
use super::signals::{Signal, Signals};
use super::workers::End;

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
    Ended(End),
    Recovery(recovery::Step),
    Signal(Signal),
    Asked(Request),
    Reload(Step),
    GraceOver,
}

/// Serves until the last worker has ended.
///
/// # Errors
/// When one of them was not told to, and cannot be replaced.
pub(super) async fn serve(mut running: Running, signals: &mut Signals) -> Result<(), ServerError> {
    let mut course = Course::Serving;
    let (mut reload, mut recovery) = (Reload::default(), Recovery::default());
    let mut outcome = Ok(());
    while running.service.workers.are_running() || recovery.is_due() {
        let event = tokio::select! {
            biased;
            end = running.service.workers.next_end() => Event::Ended(end),
            step = recovery.next() => Event::Recovery(step),
            signal = signals.next() => Event::Signal(signal),
            step = reload.next() => Event::Reload(step),
            request = running.requests.next() => Event::Asked(request),
            () = course.is_over() => Event::GraceOver,
        };
        match event {
            Event::Ended(End { worker, how: Err(error) }) => {
                tracing::error!(worker, error, "a worker failed");
                running.service.handle_failed(worker);
                if course == Course::Serving {
                    recovery.handle_failed(worker);
                }
            }
            Event::Ended(End { how: Ok(()), .. }) => {}
            Event::Recovery(step) => {
                let recovered = match step {
                    recovery::Step::Due(worker) => recovery.replace(worker, &mut running.service),
                    recovery::Step::Followed(followed) => followed,
                };
                if let Err(error) = recovered
                    && course == Course::Serving
                {
                    tracing::error!(%error, "a worker cannot be replaced");
                    outcome = Err(error);
                    recovery = Recovery::default();
                    course = Course::Stopping;
                    running.service.stop();
                }
            }
            Event::Signal(Signal::Counters) => running.print_counters(),
            Event::Signal(Signal::Reload) => {
                running.service.access_logs.reopen();
                match course {
                    Course::Serving => reload.ask(&running, None),
                    Course::Draining { .. } | Course::Stopping => {
                        tracing::warn!("SIGHUP: nothing is reloaded during a drain");
                    }
                }
            }
            Event::Reload(step) => reload.handle(step, &mut running),
            Event::Signal(signal) if course == Course::Serving => {
                // What is on its way is not followed any more.
                (reload, recovery) = (Reload::default(), Recovery::default());
                course = drain(&mut running, Some(signal), None);
            }
            Event::Asked(Request::Reload(reply)) if course == Course::Serving => {
                reload.ask(&running, reply);
            }
            Event::Asked(Request::Drain(reply)) if course == Course::Serving => {
                (reload, recovery) = (Reload::default(), Recovery::default());
                course = drain(&mut running, None, reply);
            }
            Event::Asked(request) => handle(request, &mut running),
            Event::Signal(_) if course == Course::Stopping => {}
            Event::Signal(_) | Event::GraceOver => {
                let active = running.service.ledger.active();
                tracing::warn!(active, "stopping: what is left is reset");
                course = Course::Stopping;
                running.service.stop();
            }
        }
    }
    running.service.doors.finish().await;
    running.service.access_logs.finish();
    running.print_counters();
    outcome
}

/// Begins a drain; who asked is told when the ports are closed.
fn drain(running: &mut Running, signal: Option<Signal>, reply: Reply<Draining>) -> Course {
    let active = running.service.ledger.active();
    let (grace, replies) = running.drain(signal);
    tokio::spawn(async move {
        let closed = replies.all().await;
        let closed = closed.map_err(|error| Refusal::new(Why::Failed, error.to_string()));
        answer(reply, closed.map(|()| Draining { active, grace }));
    });
    Course::Draining { until: Instant::now() + grace }
}

/// Does what is done whatever the course is, and refuses what is not done any more.
fn handle(request: Request, running: &mut Running) {
    let draining = || Refusal::new(Why::Untimely, "the server is draining");
    match request {
        Request::Reload(reply) => answer(reply, Err(draining())),
        Request::Drain(reply) => answer(reply, Err(draining())),
        Request::Upgrade(requests::Upgrade { binary }, reply) => {
            let to = binary.map_or(String::new(), |binary| format!(" to {}", binary.display()));
            let why = format!("this version cannot hand over{to}: drain it, and start anew");
            answer(reply, Err(Refusal::new(Why::Unsupported, why)));
        }
        Request::Log(level, reply) => answer(reply, running.log(level)),
        Request::Connections(filter, reply) => {
            answer(reply, Ok(running.service.workers.list(&filter)));
        }
        Request::Close(id, reply) => {
            let closing = running.service.workers.close(id);
            answer(reply, closing.ok_or_else(Refusal::no_connection));
        }
    }
}
