//! The workers: their threads, the lines to them, and their ends.
//!
//! What they are told is decided elsewhere, and so is whether one that has ended is replaced. Invariant: an end
//! is told by every thread, also by one that panics, and when it is told the thread's connections are gone.

use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::error::{ServerError, system};
use crate::core::addr::Addr;
use crate::core::connection_id::ConnectionId;
use crate::data::listing::{Filter, Listing};
use crate::data::orders::{Claim, Ejections, Line, Order, Reply, Setup};
use crate::data::worker::Worker;
use crate::telemetry::cells::WorkerCells;
use crate::telemetry::refusals::Refusals;

/// How the names of their threads begin.
const NAME: &str = "worker-";

/// Workers, until the last of them has ended.
#[derive(Debug)]
pub(super) struct Workers {
    lines: Vec<Line>,
    threads: Vec<JoinHandle<()>>,
    refused: Arc<[Refusals]>,
    cells: Arc<[WorkerCells]>,
    ejections: Ejections,
    teller: mpsc::UnboundedSender<End>,
    ends: mpsc::UnboundedReceiver<End>,
    running: usize,
}

/// The end of a worker.
#[derive(Debug)]
pub(super) struct End {
    pub(super) worker: usize,
    /// An error if it was not told to end.
    pub(super) how: Result<(), String>,
}

/// Tells an end when it is dropped, also by a panic.
#[derive(Debug)]
struct Obituary {
    teller: mpsc::UnboundedSender<End>,
    worker: usize,
    how: Result<(), String>,
}

impl Obituary {
    fn new(worker: usize, teller: mpsc::UnboundedSender<End>) -> Self {
        Self { teller, worker, how: Err("it panicked".to_owned()) }
    }

    fn tell(mut self, how: Result<(), String>) {
        self.how = how;
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let how = std::mem::replace(&mut self.how, Ok(()));
        // The process may be over.
        drop(self.teller.send(End { worker: self.worker, how }));
    }
}

/// How long workers may take until they follow: milliseconds, unless there is a port to be closed whose queue
/// cannot be taken, as without descriptors.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(10);

/// What the workers of an order answer.
#[derive(Debug, Default)]
pub(super) struct Replies(Vec<oneshot::Receiver<io::Result<()>>>);

impl Replies {
    /// Waits until every worker follows.
    ///
    /// # Errors
    /// When one of them cannot, has ended, or takes too long.
    pub(super) async fn all(self) -> Result<(), ServerError> {
        let all = async {
            for reply in self.0 {
                reply.await.unwrap_or_else(|_| Err(io::Error::other("it has ended")))?;
            }
            Ok(())
        };
        let followed = timeout(FOLLOW_TIMEOUT, all).await;
        let followed = followed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        followed.map_err(system("a worker does not follow"))
    }
}

impl Workers {
    /// Starts one for each of `cells`, which serve nothing yet; what they eject is told to `ejections`.
    ///
    /// # Errors
    /// When the system gives no thread, or no epoll instance.
    pub(super) fn start(
        cells: &Arc<[WorkerCells]>,
        ejections: Ejections,
    ) -> Result<Self, ServerError> {
        let count = cells.len();
        let refused: Arc<[Refusals]> = (0..count).map(|_| Refusals::new()).collect();
        let (teller, ends) = mpsc::unbounded_channel();
        let (lines, threads) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let cells = Arc::clone(cells);
        let mut workers =
            Self { lines, threads, refused, cells, ejections, teller, ends, running: 0 };
        for index in 0..count {
            let (line, thread) = workers.spawn(index)?;
            workers.lines.push(line);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Starts one in the place of one that has ended; it serves nothing yet.
    ///
    /// # Errors
    /// When the system gives no thread, or no epoll instance.
    pub(super) fn replace(&mut self, worker: usize) -> Result<(), ServerError> {
        let (line, thread) = self.spawn(worker)?;
        self.lines[worker] = line;
        // A panic has been told.
        drop(std::mem::replace(&mut self.threads[worker], thread).join());
        Ok(())
    }

    fn spawn(&mut self, index: usize) -> Result<(Line, JoinHandle<()>), ServerError> {
        let (cells, refused) = (Arc::clone(&self.cells), Arc::clone(&self.refused));
        let worker = Worker::new(index, cells, refused, self.ejections.clone());
        let (worker, line) = worker.map_err(system("cannot start a worker"))?;
        let obituary = Obituary::new(index, self.teller.clone());
        let work = move || obituary.tell(worker.run().map_err(|error| error.to_string()));
        let thread = thread::Builder::new().name(format!("{NAME}{index}")).spawn(work);
        let thread = thread.map_err(system("cannot start a thread"))?;
        self.running += 1;
        Ok((line, thread))
    }

    pub(super) fn count(&self) -> usize {
        self.lines.len()
    }

    /// Returns whom each has refused lately.
    pub(super) fn refused(&self) -> &Arc<[Refusals]> {
        &self.refused
    }

    /// Whether one of them has not ended yet.
    pub(super) fn are_running(&self) -> bool {
        self.running > 0
    }

    /// Has each follow its own of `setups`, which are as many.
    pub(super) fn follow(&self, setups: impl IntoIterator<Item = Setup>) -> Replies {
        let setups = setups.into_iter().enumerate();
        Replies(setups.map(|(worker, setup)| self.tell(worker, setup)).collect())
    }

    /// Has one of them follow.
    pub(super) fn follow_one(&self, worker: usize, setup: Setup) -> Replies {
        Replies(vec![self.tell(worker, setup)])
    }

    fn tell(&self, worker: usize, setup: Setup) -> oneshot::Receiver<io::Result<()>> {
        ask(&self.lines[worker], |reply| Order::Follow(Box::new(setup), reply))
    }

    /// Tells each to accept what is queued, to close its ports, and to end with its last connection.
    pub(super) fn drain(&self) -> Replies {
        Replies(self.lines.iter().map(|line| ask(line, Order::Drain)).collect())
    }

    /// Has each give its flows of datagrams sockets of their own.
    pub(super) fn part(&self) -> Replies {
        Replies(self.lines.iter().map(|line| ask(line, Order::Part)).collect())
    }

    /// Tells each that nobody else serves the ports.
    pub(super) fn stay(&self) {
        self.lines.iter().for_each(|line| line.send(Order::Stay));
    }

    /// Asks each for the connections that a filter holds.
    pub(super) fn list(&self, filter: &Filter) -> Vec<oneshot::Receiver<Listing>> {
        let list = |line| ask(line, |reply| Order::List(filter.clone(), reply));
        self.lines.iter().map(list).collect()
    }

    /// Has the worker of a connection reset it; `None` if there is no such worker.
    pub(super) fn close(&self, id: ConnectionId) -> Option<oneshot::Receiver<bool>> {
        let line = self.lines.get(id.worker())?;
        Some(ask(line, |reply| Order::Close(id, reply)))
    }

    /// Tells each to reset the connections that stand at an endpoint.
    pub(super) fn reset_at(&self, upstream: &str, endpoint: Addr) {
        let upstream = Arc::<str>::from(upstream);
        self.lines.iter().for_each(|line| {
            line.send(Order::ResetAt(Arc::clone(&upstream), endpoint));
        });
    }

    /// Tells each to let go of these ports, to drain the others, and to end with its last connection.
    pub(super) fn leave(&self, claims: &[Arc<Claim>]) {
        self.lines.iter().for_each(|line| line.send(Order::Leave(claims.to_vec())));
    }

    /// Tells each to reset what is left, and to end.
    pub(super) fn stop(&self) {
        self.lines.iter().for_each(|line| line.send(Order::Stop));
    }

    /// Has one of them panic where it would tell that it follows.
    #[cfg(test)]
    pub(super) fn fail(&self, worker: usize, setup: Setup) {
        let reply = Reply::new(|_| panic!("a test's"));
        self.lines[worker].send(Order::Follow(Box::new(setup), reply));
    }

    /// Waits until one of them ends.
    pub(super) async fn next_end(&mut self) -> End {
        let Some(end) = self.ends.recv().await else { return std::future::pending().await };
        self.running -= 1;
        end
    }
}

/// Leaves no thread behind.
impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // A panic has been told.
            drop(thread.join());
        }
    }
}

/// Gives an order, and returns where the reply comes; it is dropped by a worker that has ended.
fn ask<T: Send + 'static>(
    line: &Line,
    order: impl FnOnce(Reply<T>) -> Order,
) -> oneshot::Receiver<T> {
    let (outcome, reply) = oneshot::channel();
    // Whoever asked may have gone.
    line.send(order(Reply::new(move |result| drop(outcome.send(result)))));
    reply
}

/// A worker's panic is a record of the log like any other; one of this thread ends the process, and the log
/// with it.
pub(super) fn log_panics() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let thread = thread::current();
        let Some(thread) = thread.name().filter(|name| name.starts_with(NAME)) else {
            return others(panic);
        };
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread, at, why = text.unwrap_or_default(), "panicked");
    }));
}
