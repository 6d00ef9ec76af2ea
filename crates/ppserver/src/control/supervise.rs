//! `run --supervise`: a process that holds the listening sockets, and has another one serve.
//!
//! ```text
//! starting --> serving --killed--> starting, with the same sockets
//!                 \--ends by itself, or is told to--> (its code)
//! ```
//!
//! It touches no connection and reads no configuration: which sockets there are it learns from who serves. An upgrade is its
//! to start, since the process that serves is not its own parent. Invariant: a socket that who serves has is held here,
//! unless it drains; so who waits in its queue outlives it.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{self, SignalKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::activation;
use super::error::{ServerError, system};
use super::handover::{
    Candidate, Channel, End, Heir, Legacy, Parcel, Parent, Process, Terms, Word, give,
};
use super::input::Input;
use super::moment;
use super::notify::{self, Watchdog};
use super::signals::{Signal, Signals};
use crate::config::Log;
use crate::telemetry::log;

/// One that lived for less is started again behind a pause, which doubles from the least to the most: a program that is
/// killed by its own mistake is not all that the machine does.
const LIFE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a word to who serves may take to be taken.
const SAY_TIMEOUT: Duration = Duration::from_secs(1);

/// What standard input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// Those who serve have it, if they want it.
    Theirs,
    /// Each of those who serve is to read the configuration there.
    Configuration,
}

/// A process that supervises.
#[derive(Debug)]
pub struct Supervisor {
    runtime: Runtime,
    signals: Signals,
    exits: unix::Signal,
}

impl Supervisor {
    /// Whether this process is supervised already.
    pub fn is_there() -> bool {
        Legacy::is_there()
    }

    /// Begins to hear signals.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn new() -> Result<Self, ServerError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(system("cannot start the supervisor"))?;
        let (signals, exits) = {
            let _inside = runtime.enter();
            let signals = Signals::watch().map_err(system("cannot watch signals"))?;
            let exits = unix::signal(SignalKind::child());
            (signals, exits.map_err(system("cannot watch children"))?)
        };
        Ok(Self { runtime, signals, exits })
    }

    /// Has another process serve until it ends by itself, and returns its exit code.
    ///
    /// # Errors
    /// When it cannot even be started.
    pub fn run(&mut self, stdin: Stdin) -> Result<u8, ServerError> {
        log::follow(&Log::default()).map_err(system("cannot start the log"))?;
        let Self { runtime, signals, exits } = self;
        let activated = activation::take().map_err(ServerError::Passed)?;
        runtime.block_on(async {
            let input = match stdin {
                Stdin::Theirs => None,
                Stdin::Configuration => tokio::select! {
                    biased;
                    () = signals.stop() => return Ok(0),
                    input = Input::read() => Some(input?),
                },
            };
            let mut care = Care::new(activated, input);
            let mut watchdog = Watchdog::new();
            care.start(None);
            loop {
                let event = tokio::select! {
                    biased;
                    Some(()) = exits.recv() => Event::Exited,
                    signal = signals.next() => Event::Signal(signal),
                    event = care.next() => event,
                    () = watchdog.next() => Event::Watchdog,
                };
                if let Some(code) = care.handle(event).await? {
                    return Ok(code);
                }
            }
        })
    }
}

/// What there is to react to.
#[derive(Debug)]
enum Event {
    /// One of the children has.
    Exited,
    Signal(Signal),
    /// A process has been started.
    Started(Result<(Process, Channel), String>),
    /// Who serves says something, or has closed its end.
    Said(Option<(Word, Vec<std::os::fd::OwnedFd>)>),
    Upgraded(Result<Heir, String>),
    /// It is time to start another one.
    Due,
    Watchdog,
}

/// The process that serves.
#[derive(Debug)]
struct Ward {
    process: Process,
    /// `None` once it has closed its end.
    channel: Option<Channel>,
    since: Instant,
    /// What it has named since its last word about them.
    named: Vec<Parcel>,
}

/// Those that are cared for, and what is held for them.
#[derive(Debug)]
struct Care {
    ward: Option<Ward>,
    /// Those that served before it, and drain.
    elders: Vec<(Process, Option<Channel>)>,
    held: Vec<Parcel>,
    /// What each of them is to read.
    input: Option<Input>,
    generation: u32,
    starting: JoinSet<Result<(Process, Channel), String>>,
    upgrade: JoinSet<Result<Heir, String>>,
    due: Option<Instant>,
    /// In a row, of those that lived for a moment only.
    failures: u32,
    /// Whether nobody is to take the place of who serves.
    is_ending: bool,
    has_served: bool,
    /// The code to end with, once who served has ended.
    code: Option<u8>,
}

impl Care {
    fn new(held: Vec<Parcel>, input: Option<Input>) -> Self {
        Self {
            input,
            ward: None,
            elders: Vec::new(),
            held,
            generation: 1,
            starting: JoinSet::new(),
            upgrade: JoinSet::new(),
            due: None,
            failures: 0,
            is_ending: false,
            has_served: false,
            code: None,
        }
    }

    /// Has a process serve, with what is held.
    fn start(&mut self, program: Option<PathBuf>) {
        let parcels = copies(&self.held);
        let terms = Terms { generation: self.generation, parent: Parent::Supervisor };
        let input = self.input.clone();
        self.starting.spawn(async move {
            let (process, channel) = Candidate::start(program, terms, input).await?.into_parts();
            // One that ends meanwhile is noticed by its end.
            drop(give(&channel, terms, &parcels?).await);
            Ok((process, channel))
        });
    }

    async fn next(&mut self) -> Event {
        let due = self.due;
        let channel = self.ward.as_ref().and_then(|ward| ward.channel.as_ref());
        let said = async {
            match channel {
                // Who says what is none says nothing more.
                Some(channel) => channel.receive().await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        };
        let broke = |error: tokio::task::JoinError| Err(error.to_string());
        tokio::select! {
            Some(started) = self.starting.join_next() => {
                Event::Started(started.unwrap_or_else(|error| Err(error.to_string())))
            }
            said = said => Event::Said(said),
            Some(upgraded) = self.upgrade.join_next() => {
                Event::Upgraded(upgraded.unwrap_or_else(broke))
            }
            () = moment::reached(due) => Event::Due,
        }
    }

    /// Reacts, and returns the code to end with, if it is over.
    async fn handle(&mut self, event: Event) -> Result<Option<u8>, ServerError> {
        match event {
            Event::Exited => self.handle_exits().await,
            Event::Signal(signal) => self.handle_signal(signal),
            Event::Started(Ok((process, channel))) => {
                let (since, named) = (Instant::now(), Vec::new());
                self.ward = Some(Ward { process, channel: Some(channel), since, named });
                // It may have ended before it was known.
                self.handle_exits().await;
            }
            Event::Started(Err(why)) if self.has_served => {
                tracing::error!(why, "nobody serves: no other process can be started");
                self.failures += 1;
                self.wait_and_start();
            }
            Event::Started(Err(why)) => {
                return Err(system("cannot supervise")(std::io::Error::other(why)));
            }
            Event::Said(said) => self.handle_said(said).await,
            Event::Upgraded(upgraded) => self.handle_upgraded(upgraded).await,
            Event::Due => {
                self.due = None;
                self.start(None);
            }
            Event::Watchdog => Watchdog::alive(),
        }
        Ok(self.code.filter(|_| self.elders.is_empty()))
    }

    async fn handle_exits(&mut self) {
        self.elders.retain_mut(|(process, _)| matches!(process.ended(), Ok(None)));
        let Some(ward) = &mut self.ward else { return };
        let Ok(Some(End::Known(status))) = ward.process.ended() else { return };
        // Its last words first: they may be about sockets.
        let until = Instant::now() + SAY_TIMEOUT;
        while let Some(channel) = self.ward.as_ref().and_then(|ward| ward.channel.as_ref()) {
            let said = timeout_at(until, channel.receive()).await;
            self.handle_said(said.unwrap_or(Ok(None)).unwrap_or_default()).await;
        }
        let Some(ward) = &self.ward else { return };
        let (pid, lived) = (ward.process.id(), ward.since.elapsed());
        self.ward = None;
        self.upgrade = JoinSet::new();
        let Some(signal) = status.signal().filter(|_| !self.is_ending) else {
            // Who drains still has clients.
            self.held.clear();
            self.code = Some(code_of(status));
            return;
        };
        tracing::error!(pid, signal, "the process that serves was killed, another one starts");
        self.failures = if lived < LIFE_MIN { self.failures + 1 } else { 0 };
        self.wait_and_start();
    }

    fn wait_and_start(&mut self) {
        let pause = match self.failures {
            0 | 1 => Duration::ZERO,
            more => PAUSE_MIN.saturating_mul(1 << (more - 2).min(16)).min(PAUSE_MAX),
        };
        self.due = Some(Instant::now() + pause);
    }

    fn handle_signal(&mut self, signal: Signal) {
        let number = match signal {
            Signal::Terminate => Number::TERM,
            Signal::Interrupt => Number::INT,
            Signal::Reload => Number::HUP,
            Signal::Counters => Number::USR1,
            Signal::Upgrade => Number::USR2,
        };
        if matches!(signal, Signal::Terminate | Signal::Interrupt) {
            self.end();
            self.elders.iter_mut().for_each(|(process, _)| process.signal(number));
        }
        match &mut self.ward {
            Some(ward) => ward.process.signal(number),
            None if self.is_ending => self.code = Some(0),
            None => {}
        }
    }

    /// Lets go of everything: who serves is to close its ports.
    fn end(&mut self) {
        if !self.is_ending {
            notify::stopping();
        }
        self.is_ending = true;
        self.held.clear();
        (self.starting, self.upgrade, self.due) = (JoinSet::new(), JoinSet::new(), None);
    }

    async fn handle_said(&mut self, said: Option<(Word, Vec<std::os::fd::OwnedFd>)>) {
        let Some(ward) = &mut self.ward else { return };
        let Some((word, sockets)) = said else {
            ward.channel = None;
            return;
        };
        match word {
            Word::Sockets(name) => Parcel::add(&mut ward.named, name, sockets),
            Word::Ready | Word::Held => {
                let named = std::mem::take(&mut ward.named);
                if !self.is_ending {
                    self.held = named;
                }
                if !std::mem::replace(&mut self.has_served, true) {
                    notify::ready();
                }
            }
            Word::Draining => self.end(),
            Word::Upgrade { program } => {
                if !self.upgrade.is_empty() || self.is_ending {
                    let why = "an upgrade is under way, or the server is draining".to_owned();
                    return say(ward, &Word::Refused { why }).await;
                }
                let parcels = copies(&self.held);
                let terms = Terms { generation: self.generation + 1, parent: Parent::Supervisor };
                let input = self.input.clone();
                self.upgrade.spawn(async move {
                    Candidate::start(program, terms, input).await?.take_over(&parcels?).await
                });
            }
            // It says so on stderr too, and ends.
            Word::Failed { .. } => {}
            Word::Hello { .. } | Word::Complete | Word::Leave { .. } | Word::Refused { .. } => {
                tracing::warn!("the process that serves says what only a supervisor says");
            }
        }
    }

    async fn handle_upgraded(&mut self, upgraded: Result<Heir, String>) {
        let Some(ward) = &mut self.ward else { return };
        match upgraded {
            Ok(Heir { process, channel, parcels }) => {
                let pid = process.id();
                for Parcel { name, .. } in &parcels {
                    say(ward, &Word::Sockets(name.clone())).await;
                }
                say(ward, &Word::Leave { pid }).await;
                self.held = parcels;
                self.generation += 1;
                let (since, named) = (Instant::now(), Vec::new());
                let heir = Ward { process, channel: Some(channel), since, named };
                let elder = self.ward.replace(heir);
                self.elders.extend(elder.map(|elder| (elder.process, elder.channel)));
            }
            Err(why) => say(ward, &Word::Refused { why }).await,
        }
    }
}

/// Says a word to who serves; one that does not listen learns it by what happens.
async fn say(ward: &Ward, word: &Word) {
    if let Some(channel) = &ward.channel {
        drop(timeout(SAY_TIMEOUT, channel.send(word, &[])).await);
    }
}

/// Duplicates what is held, for a task that gives it.
fn copies(held: &[Parcel]) -> Result<Vec<Parcel>, String> {
    let copy = |parcel: &Parcel| {
        let sockets = parcel.sockets.iter().map(std::os::fd::OwnedFd::try_clone);
        let sockets = sockets.collect::<std::io::Result<_>>()?;
        Ok(Parcel { name: parcel.name.clone(), sockets })
    };
    held.iter().map(copy).collect::<std::io::Result<_>>().map_err(|error| error.to_string())
}

/// The code of a process that has ended, as shells tell it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
