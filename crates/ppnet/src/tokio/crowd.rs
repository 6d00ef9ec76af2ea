//! Tasks beside accepting, one for each connection that is not ready: at most so many.
//!
//! A newcomer takes the place of the oldest of the peer that has most; what has arrived for that one by then is
//! still looked at. Invariant: each task has a place and a claim on it, until it has ended.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use ::tokio::sync::oneshot;
use ::tokio::task::{JoinSet, yield_now};

use crate::incoming::{Address, Places};

pub(crate) struct Crowd<T> {
    tasks: JoinSet<(usize, T)>,
    places: Places,
    /// By place: to be dropped when it is needed.
    claims: HashMap<usize, Claim>,
}

type Claim = oneshot::Sender<()>;

/// Ends when the place is needed.
pub(crate) type Claimed = oneshot::Receiver<()>;

impl<T: Send + 'static> Crowd<T> {
    /// At most `max` at a time, at least 1.
    pub(crate) fn new(max: usize) -> Self {
        Self { tasks: JoinSet::new(), places: Places::new(max), claims: HashMap::new() }
    }

    /// Whether somebody is about to leave for another, which wakes whoever polls.
    pub(crate) fn is_over(&self) -> bool {
        self.places.is_over()
    }

    /// Starts a task for a connection of `peer`.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn begin<F>(&mut self, peer: &impl Address, task: impl FnOnce(Claimed) -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (place, shed) = self.places.take(peer);
        let (claim, claimed) = oneshot::channel();
        self.claims.insert(place, claim);
        let task = task(claimed);
        self.tasks.spawn(async move { (place, task.await) });
        if let Some(shed) = shed {
            self.claims.remove(&shed);
        }
    }

    /// Polls for what a task has come to; `None` if there is none.
    ///
    /// # Panics
    /// With the panic of a task.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        while let Some(joined) = ready!(self.tasks.poll_join_next(cx)) {
            match joined {
                Ok((place, output)) => {
                    self.places.leave(place);
                    self.claims.remove(&place);
                    return Poll::Ready(Some(output));
                }
                Err(error) => {
                    self.forget_ended();
                    match error.try_into_panic() {
                        Ok(panic) => resume_unwind(panic),
                        // A task is cancelled only by a runtime that shuts down.
                        Err(error) => debug_assert!(error.is_cancelled(), "{error}"),
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    /// Frees the places of tasks that ended without saying which was theirs.
    fn forget_ended(&mut self) {
        self.claims.retain(|&place, claim| {
            let is_ended = claim.is_closed();
            if is_ended {
                self.places.leave(place);
            }
            !is_ended
        });
    }
}

impl<T> fmt::Debug for Crowd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd").field("places", &self.places).finish_non_exhaustive()
    }
}

/// Waits, but no longer than for the end of `claimed`; what has arrived by then is no silence.
pub(crate) async fn unless_claimed<T>(
    future: impl Future<Output = T>,
    claimed: impl Future,
) -> Option<T> {
    let (mut future, mut claimed) = (pin!(future), pin!(claimed));
    let first = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => claimed.as_mut().poll(cx).map(|_| None),
    });
    if let Some(output) = first.await {
        return Some(output);
    }
    // The runtime looks at its sockets before it comes back.
    yield_now().await;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
