//! What a service manager is told (sd_notify(3)): nobody is, where there is none.
//!
//! Only the main process of a unit is listened to (`NotifyAccess=main`): one that has taken over is made that by
//! the one before it, which says nothing more, since it would be warned about as a stranger.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How long a service manager that does not listen may hold up the control plane.
const TELL_TIMEOUT: Duration = Duration::from_millis(100);

/// Whether there is one.
pub(super) fn is_heard() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// It serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It follows another configuration, and will say when it does.
pub(super) fn reloading() {
    // `Type=notify-reload` asks for the time.
    let time = NotifyState::monotonic_usec_now().ok();
    tell(&[Some(NotifyState::Reloading), time].into_iter().flatten().collect::<Vec<_>>());
}

/// It is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the unit's main one from now on.
pub(super) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    let Some(manager) = env::var_os("NOTIFY_SOCKET") else { return };
    let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&manager, lines.as_bytes()) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// As sd_notify(3) does, but not for ever.
fn send(manager: &OsStr, lines: &[u8]) -> io::Result<()> {
    let addr = match manager.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(TELL_TIMEOUT))?;
    socket.send_to_addr(lines, &addr).map(drop)
}

/// Tells now and then that it is alive, if a service manager asks for that.
#[derive(Debug, Default)]
pub(super) struct Watchdog(Option<Interval>);

impl Watchdog {
    /// Finds out whether it is asked for, inside of a runtime.
    pub(super) fn new() -> Self {
        // Twice as often as is asked for (sd_watchdog_enabled(3)).
        let every = sd_notify::watchdog_enabled().map(|span| span / 2);
        let every = every.filter(|span| *span > Duration::ZERO);
        Self(every.map(|span| {
            let mut every = interval_at(Instant::now() + span, span);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            every
        }))
    }

    /// Waits until it is time; for ever, if nobody asks.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(every) => drop(every.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Tells that it is alive.
    pub(super) fn alive() {
        tell(&[NotifyState::Watchdog]);
    }
}
