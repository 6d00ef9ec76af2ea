//! What the main thread waits for: signals, and threads that end.
//!
//! Does nothing about either. Invariant: a thread's end is in the channel before the wake-up, and
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
    /// The thread that resolves names for a reload has ended.
    Resolved,
}

/// The main thread's ear.
pub(crate) struct Watch {
    poll: Poll,
    events: Events,
    signals: Signals,
    ended: Receiver<Event>,
    teller: Sender<Event>,
    waker: Arc<Waker>,
}

/// Tells a [`Watch`] that a thread has ended when it is dropped there, also by a panic.
#[derive(Debug)]
pub(crate) struct Obituary {
    teller: Sender<Event>,
    waker: Arc<Waker>,
    /// `None` once it has been told.
    event: Option<Event>,
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
        self.tell_at_end(Event::Ended(Err("it panicked".to_owned())))
    }

    /// Opens what is told when another thread ends.
    pub(crate) fn tell_at_end(&self, event: Event) -> Obituary {
        let (teller, waker) = (self.teller.clone(), Arc::clone(&self.waker));
        Obituary { teller, waker, event: Some(event) }
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
            if let Ok(event) = self.ended.try_recv() {
                return Ok(Some(event));
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
        self.event = Some(Event::Ended(result));
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if let Some(event) = self.event.take()
            && self.teller.send(event).is_ok()
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
