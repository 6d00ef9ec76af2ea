//! What a program that measures asks of its machine: the clock, CPU time, descriptors, an interrupt.
//!
//! Invariant: nothing else in this package reads the clock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "the one place where a tool that measures asks")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the CPU time, user and system, that this thread has used (clock_gettime(2)).
pub(crate) fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Raises the soft limit of descriptors to the hard one.
///
/// # Errors
/// When the system refuses.
pub fn raise_descriptor_limit() -> io::Result<()> {
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
pub fn interrupt() -> Result<Arc<AtomicBool>> {
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
pub fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let before = thread_cpu();
        while thread_cpu() == before {}
        assert!(thread_cpu() > before);
    }
}
