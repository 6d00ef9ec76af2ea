//! What runs is kept running: signals and requests are answered, until the last worker has ended.
//!
//! ```text
//! Serving --SIGTERM, SIGINT--> LameDuck --its time is over--> Draining --after the grace period--> Stopping
//!     \--another process serves------------------------------^     \--SIGTERM, SIGINT again----------^
//! ```

use tokio::time::Instant;

use super::error::ServerError;
use super::handover::{Keeper, Successor, Verdict};
use super::moment;
use super::notify::{self, Watchdog};
use super::pools::Checked;
use super::recovery::{self, Recovery};
use super::refresh::{self, Refresh};
use super::reload::{Reload, Step};
use super::requests::{self, Draining, Refusal, Reply, Request, Why, answer};
use super::running::Running;
use super::signals::{Signal, Signals};
use super::trials;
use super::upgrade::{self, Upgrade};
use super::workers::End;

/// Where a server is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Serving,
    /// No new clients should be sent here; who comes is served until then.
    LameDuck {
        until: Instant,
    },
    /// No more is accepted; what runs may go on until then.
    Draining {
        until: Instant,
    },
    /// What is left is being reset.
    Stopping,
}

impl Course {
    /// Whether who comes is served.
    fn is_open(self) -> bool {
        match self {
            Self::Serving | Self::LameDuck { .. } => true,
            Self::Draining { .. } | Self::Stopping => false,
        }
    }

    /// When it is over by itself.
    fn until(self) -> Option<Instant> {
        match self {
            Self::LameDuck { until } | Self::Draining { until } => Some(until),
            Self::Serving | Self::Stopping => None,
        }
    }
}

/// What there is to react to.
#[derive(Debug)]
enum Event {
    Ended(End),
    Recovery(recovery::Step),
    Trial(trials::Step),
    Checked(Checked),
    Signal(Signal),
    Asked(Request),
    Reload(Step),
    Refresh(refresh::Step),
    Upgrade(upgrade::Step),
    Supervisor(Verdict),
    Watchdog,
    /// The time of the course.
    Over,
}

/// Serves until the last worker has ended.
///
/// # Errors
/// When one of them was not told to, and cannot be replaced.
pub(super) async fn serve(mut running: Running, signals: &mut Signals) -> Result<(), ServerError> {
    let mut course = Course::Serving;
    let mut reload = Reload::default();
    let mut refresh = Refresh::new(running.names.clone());
    let mut recovery = Recovery::default();
    let mut upgrade = Upgrade::default();
    let mut keeper = running.keeper.take();
    let mut watchdog = Watchdog::new();
    let mut outcome = Ok(());
    while running.service.workers.are_running() || recovery.is_due() {
        let event = tokio::select! {
            biased;
            end = running.service.workers.next_end() => Event::Ended(end),
            step = recovery.next() => Event::Recovery(step),
            step = running.service.trials.next() => Event::Trial(step),
            checked = running.service.checks.next() => Event::Checked(checked),
            signal = signals.next() => Event::Signal(signal),
            step = reload.next() => Event::Reload(step),
            // A reload says what it changes, and that is not to change meanwhile.
            step = refresh.next(), if course.is_open() && !reload.is_under_way() => {
                Event::Refresh(step)
            }
            request = running.requests.next() => Event::Asked(request),
            step = upgrade.next() => Event::Upgrade(step),
            verdict = said_by(&mut keeper) => Event::Supervisor(verdict),
            () = watchdog.next() => Event::Watchdog,
            () = moment::reached(course.until()) => Event::Over,
        };
        match event {
            Event::Ended(End { worker, how: Err(error) }) => {
                tracing::error!(worker, error, "a worker failed");
                running.service.handle_failed(worker);
                if course.is_open() {
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
                    && course.is_open()
                {
                    tracing::error!(%error, "a worker cannot be replaced");
                    outcome = Err(error);
                    recovery = Recovery::default();
                    course = Course::Stopping;
                    running.service.stop();
                }
            }
            Event::Trial(step) => {
                if let Some(change) = running.service.trials.handle(step) {
                    running.tell("endpoint", &change);
                }
            }
            Event::Checked(checked) => running.handle_checked(&checked),
            Event::Signal(Signal::Counters) => running.print_counters(),
            Event::Signal(Signal::Reload) => {
                running.service.access_logs.reopen();
                if let Err(why) = may_change(course, &upgrade) {
                    tracing::warn!("SIGHUP: nothing is reloaded during {why}");
                } else {
                    reload.ask(&running, None);
                }
            }
            Event::Signal(Signal::Upgrade) => match may_change(course, &upgrade) {
                Ok(()) if reload.is_under_way() => upgrade.refuse(None, untimely("a reload")),
                Ok(()) => upgrade.ask(&running, keeper.as_ref(), None, None).await,
                Err(why) => upgrade.refuse(None, untimely(why)),
            },
            Event::Upgrade(step) => {
                if let Some(successor) = upgrade.handle(step, &running) {
                    notify::succeeded_by(successor.pid);
                    watchdog = Watchdog::default();
                    (reload, recovery) = (Reload::default(), Recovery::default());
                    course = Course::Draining { until: Instant::now() + running.leave(&successor) };
                }
            }
            Event::Supervisor(verdict) => {
                let step = match verdict {
                    Verdict::Leave { pid, names } => {
                        let generation = running.generation + 1;
                        Some(Ok(Successor { pid, generation, names }))
                    }
                    Verdict::Refused(why) => Some(Err(why)),
                    Verdict::Gone => {
                        tracing::warn!("the supervisor has gone: nobody starts another process");
                        keeper = None;
                        upgrade.is_under_way().then(|| Err("the supervisor has gone".to_owned()))
                    }
                };
                let successor = step.and_then(|step| upgrade.handle(step, &running));
                if let Some(successor) = successor {
                    (reload, recovery, keeper) = (Reload::default(), Recovery::default(), None);
                    course = Course::Draining { until: Instant::now() + running.leave(&successor) };
                }
            }
            Event::Watchdog if running.service.is_alive(Instant::now().into_std()) => {
                Watchdog::alive();
            }
            Event::Watchdog => {}
            Event::Reload(step) => {
                // First: what is said of a reload holds for whoever comes after this process too.
                if let (Step::Followed(following, ..), Some(keeper)) = (&step, &keeper) {
                    match running.service.parcels(Some(following)) {
                        Ok(parcels) => keeper.holds(&parcels).await,
                        Err(error) => tracing::warn!(%error, "the supervisor is not told"),
                    }
                }
                reload.handle(step, &mut running);
            }
            Event::Refresh(step) => refresh.handle(step, &mut running),
            Event::Signal(signal) if course == Course::Serving => {
                // What is on its way is not followed any more.
                (reload, upgrade) = (Reload::default(), Upgrade::default());
                notify::stopping();
                let lame_duck = running.plan.config.server.lame_duck;
                course = if lame_duck.is_zero() {
                    recovery = Recovery::default();
                    drain(&mut running, keeper.as_ref(), Some(signal), None).await
                } else {
                    tracing::info!(?lame_duck, "lame duck: about to drain, and serving until then");
                    running.turns_away();
                    Course::LameDuck { until: Instant::now() + lame_duck }
                };
            }
            Event::Over if matches!(course, Course::LameDuck { .. }) => {
                recovery = Recovery::default();
                course = drain(&mut running, keeper.as_ref(), None, None).await;
            }
            Event::Asked(Request::Reload(reply)) => match may_change(course, &upgrade) {
                Ok(()) => reload.ask(&running, reply),
                Err(why) => answer(reply, Err(untimely(why))),
            },
            Event::Asked(Request::Drain(reply)) if course.is_open() => {
                (reload, recovery, upgrade) =
                    (Reload::default(), Recovery::default(), Upgrade::default());
                notify::stopping();
                course = drain(&mut running, keeper.as_ref(), None, reply).await;
            }
            Event::Asked(Request::Upgrade(requests::Upgrade { binary }, reply)) => {
                match may_change(course, &upgrade) {
                    Ok(()) if reload.is_under_way() => {
                        upgrade.refuse(reply, untimely("a reload"));
                    }
                    Ok(()) => upgrade.ask(&running, keeper.as_ref(), binary, reply).await,
                    Err(why) => upgrade.refuse(reply, untimely(why)),
                }
            }
            Event::Asked(Request::Drain(reply)) => answer(reply, Err(untimely("a drain"))),
            Event::Asked(Request::Log(level, reply)) => answer(reply, running.log(level)),
            Event::Asked(Request::Connections(filter, reply)) => {
                answer(reply, Ok(running.service.workers.list(&filter)));
            }
            Event::Asked(Request::SetEndpoint(set, reply)) => running.set_endpoint(set, reply),
            Event::Asked(Request::Close(id, reply)) => {
                let closing = running.service.workers.close(id);
                answer(reply, closing.ok_or_else(Refusal::no_connection));
            }
            Event::Signal(_) if course == Course::Stopping => {}
            Event::Signal(_) | Event::Over => {
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

/// Whether another configuration or program may be followed; or what is under way.
fn may_change(course: Course, upgrade: &Upgrade) -> Result<(), &'static str> {
    if upgrade.is_under_way() {
        Err("an upgrade")
    } else if course == Course::Serving {
        Ok(())
    } else {
        Err("a drain")
    }
}

fn untimely(under_way: &str) -> Refusal {
    Refusal::new(Why::Untimely, format!("{under_way} is under way"))
}

/// Begins a drain; who asked is told when the ports are closed.
async fn drain(
    running: &mut Running,
    keeper: Option<&Keeper>,
    signal: Option<Signal>,
    reply: Reply<Draining>,
) -> Course {
    // First: whoever holds the sockets too keeps them open.
    if let Some(keeper) = keeper {
        keeper.drains().await;
    }
    let active = running.service.ledger.active();
    let (grace, replies) = running.drain(signal);
    tokio::spawn(async move {
        let closed = replies.all().await;
        let closed = closed.map_err(|error| Refusal::new(Why::Failed, error.to_string()));
        answer(reply, closed.map(|()| Draining { active, grace }));
    });
    Course::Draining { until: Instant::now() + grace }
}

/// Waits for what a supervisor says; for ever, if there is none.
async fn said_by(keeper: &mut Option<Keeper>) -> Verdict {
    match keeper {
        Some(keeper) => keeper.next().await,
        None => std::future::pending().await,
    }
}
