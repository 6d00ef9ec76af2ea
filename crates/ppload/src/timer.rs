//! A wake-up for open loops.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The shortest period; several starts may share an expiry.
const TIMER_MIN: Duration = Duration::from_micros(50);

/// What its events have.
pub(super) const TIMER: Token = Token(usize::MAX - 1);

/// Ends waits in the rhythm of an open loop, finer than poll's milliseconds.
pub(super) struct Timer(OwnedFd);

impl Timer {
    /// # Errors
    /// When the system gives no timer.
    pub(super) fn start(poll: &Poll, period: Duration) -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("a timer")?;
        let period = Timespec::try_from(period.max(TIMER_MIN)).context("the period of a timer")?;
        let both = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &both).context("setting a timer")?;
        let fd = timer.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Takes an expiry; the kernel winds a periodic timer up again only then.
    ///
    /// # Errors
    /// As of read(2).
    pub(super) fn rewind(&self) -> io::Result<()> {
        match rustix::io::read(&self.0, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::Events;

    use super::*;

    #[test]
    fn the_timer_ends_one_wait_after_another() {
        let mut poll = Poll::new().unwrap();
        let timer = Timer::start(&poll, Duration::from_millis(1)).unwrap();
        let mut events = Events::with_capacity(1);
        for wait in 0..5 {
            poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            assert_eq!(events.iter().count(), 1, "wait {wait}");
            timer.rewind().unwrap();
        }
    }
}
