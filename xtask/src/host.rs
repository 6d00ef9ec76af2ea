//! What the commands that measure ask of this machine: the clock, CPU time, limits, an interrupt.
//!
//! Not a place for measuring itself. Invariant: nothing else in this package reads the clock or
//! pauses, and a pause only ever stands between two looks that a deadline ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Between two looks at something that cannot be waited on.
const PAUSE: Duration = Duration::from_millis(10);

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "the one place where a tool that measures asks")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Looks until `look` finds something, at most for `span`.
///
/// # Errors
/// The first error of a look.
pub(crate) fn poll_for<T>(
    span: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = now() + span;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if now() >= end {
            return Ok(None);
        }
        pause(PAUSE);
    }
}

/// Does nothing for `span`: between two looks, or to let a measured load run.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks, not a synchronisation")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Returns the processors' names, one for each core, from /proc/cpuinfo.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn cpu_models() -> Result<Vec<String>> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let models =
        cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    Ok(models.map(str::to_owned).collect())
}

/// Returns the CPU time, user and system, that this thread has used (clock_gettime(2)).
pub(crate) fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Raises the soft limit of descriptors to the hard one.
///
/// # Errors
/// When the system refuses.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}

/// Returns a flag that SIGINT and SIGTERM set; a second one ends the process at once.
///
/// # Errors
/// When the signals cannot be caught.
pub(crate) fn interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // Order matters: the first registered action runs first and finds the flag still unset.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("catching SIGINT and SIGTERM")?;
    }
    Ok(flag)
}

/// Turns a count into a number to divide with; exact up to 2^53, and rounded above.
#[expect(clippy::cast_precision_loss, reason = "for ratios that a person reads")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ends_with_the_first_find_or_at_the_deadline() {
        let mut looks = 0;
        let found = poll_for(Duration::from_secs(30), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), Some(3));
        assert_eq!(poll_for(Duration::ZERO, || Ok(None::<()>)).unwrap(), None);
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = thread_cpu();
        while thread_cpu() == before {}
        assert!(thread_cpu() > before);
    }
}
