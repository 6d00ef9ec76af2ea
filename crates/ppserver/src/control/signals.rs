//! The signals that are answered.
//!
//! What to do about one is decided elsewhere. Invariant: none is lost between two waits; those that nobody
//! waits for yet, as during a start, are there when somebody does.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What the process is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT: a terminal's Ctrl-C.
    Interrupt,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Counters,
    /// SIGUSR2.
    Upgrade,
}

/// The process's ear.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    reload: unix::Signal,
    counters: unix::Signal,
    upgrade: unix::Signal,
}

impl Signals {
    /// Begins to listen, inside of a runtime: from here on no signal ends the process, also none that an
    /// output raises.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn watch() -> io::Result<Self> {
        // With a handler, though nobody waits for it, write(2) beyond RLIMIT_FSIZE fails, with EFBIG.
        drop(unix::signal(SignalKind::from_raw(libc::SIGXFSZ))?);
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            reload: unix::signal(SignalKind::hangup())?,
            counters: unix::signal(SignalKind::user_defined1())?,
            upgrade: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.counters.recv() => Signal::Counters,
            Some(()) = self.reload.recv() => Signal::Reload,
            Some(()) = self.upgrade.recv() => Signal::Upgrade,
            // None ever ends.
            else => std::future::pending().await,
        }
    }

    /// Waits for one that ends the process, and leaves the others.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            Some(()) = self.terminate.recv() => {}
            Some(()) = self.interrupt.recv() => {}
            else => std::future::pending().await,
        }
    }
}
