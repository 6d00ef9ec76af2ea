//! What may block for ever: files, FIFOs and the system's resolver, on threads of their own.
//!
//! A thread that does not answer in time is left behind, never joined, and keeps neither the caller nor the
//! process. Invariant: there are at most so many of them, however often somebody tries.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Threads at a time, those among them that nobody waits for any more.
const THREADS_MAX: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    /// It takes too long.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// Too many still wait for theirs.
    #[error("{THREADS_MAX} earlier tries still wait for an answer")]
    TooMany,
    /// The system gives no thread.
    #[error("no thread for it: {0}")]
    NoThread(io::Error),
    /// The thread panicked.
    #[error("it panicked")]
    Panicked,
}

/// One of the threads.
struct Permit;

impl Permit {
    fn take() -> Option<Self> {
        let taken = THREADS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |threads| {
            (threads < THREADS_MAX).then_some(threads + 1)
        });
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does `job` on a thread of this name, and waits for what it returns, for `bound` at most. The job can ask
/// whether anybody still waits.
///
/// # Errors
/// When there is no answer in time, or no thread.
pub(super) async fn run<T: Send + 'static>(
    name: &str,
    bound: Duration,
    job: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let permit = Permit::take().ok_or(Unfinished::TooMany)?;
    let (answer, answered) = oneshot::channel();
    let work = move || {
        let _permit = permit;
        let outcome = job(&|| !answer.is_closed());
        // Whoever waited may have gone.
        drop(answer.send(outcome));
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(Unfinished::NoThread)?;
    match timeout(bound, answered).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) => Err(Unfinished::Panicked),
        Err(_) => Err(Unfinished::Late(bound)),
    }
}
