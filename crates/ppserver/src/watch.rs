//! What the main thread waits for: signals, and workers that end.
//!
//! Does nothing about either. Invariant: a worker's end is in the channel before the wake-up, and
//! everything is asked for before a wait, so none is missed.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook_mio::v1_0::Signals;

const SIGNALS: Token = Token(0);
const ENDED: Token = Token(1);

/// What may happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// One of the signals that are watched.
    Signal(i32),
    /// A worker has ended; an error if it was not told to.
    Ended(Result<(), String>),
}

/// The main thread's ear.
pub(crate) struct Watch {
    poll: Poll,
    events: Events,
    signals: Signals,
    ended: Receiver<Result<(), String>>,
    teller: Sender<Result<(), String>>,
    waker: Arc<Waker>,
}

/// Tells a [`Watch`] how a worker has ended: also that it panicked, when it is dropped in its midst.
#[derive(Debug)]
pub(crate) struct Obituary {
    teller: Sender<Result<(), String>>,
    waker: Arc<Waker>,
    result: Result<(), String>,
}

impl Watch {
    /// Begins to watch: from here on none of `signals` ends the process.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(crate) fn new(signals: &[i32]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signals = Signals::new(signals)?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), ENDED)?);
        let (teller, ended) = channel();
        Ok(Self { poll, events: Events::with_capacity(2), signals, ended, teller, waker })
    }

    /// Opens what is told when a worker ends; it begins with the worst, a panic.
    pub(crate) fn obituary(&self) -> Obituary {
        let (teller, waker) = (self.teller.clone(), Arc::clone(&self.waker));
        Obituary { teller, waker, result: Err("it panicked".to_owned()) }
    }

    /// Waits for the next event; `None` once the time is `until`.
    ///
    /// # Errors
    /// When waiting fails.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> io::Result<Option<Event>> {
        loop {
            if let Some(signal) = self.signals.pending().next() {
                return Ok(Some(Event::Signal(signal)));
            }
            if let Ok(result) = self.ended.try_recv() {
                return Ok(Some(Event::Ended(result)));
            }
            let left = until.map(|at| at.saturating_duration_since(now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            match self.poll.poll(&mut self.events, left) {
                // By a signal that is watched, perhaps.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => result?,
            }
        }
    }
}

impl Obituary {
    /// Tells how the worker ended.
    pub(crate) fn close(mut self, result: Result<(), String>) {
        self.result = result;
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        if self.teller.send(result).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "the main thread could not be woken");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread's own clock: it only times the drain"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
