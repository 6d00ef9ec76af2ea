//! The process: it hears signals from its first moment, starts, and serves until it is told to end.
//!
//! Invariant: from [`Server::new`] on no signal kills it, and SIGTERM ends it whatever it waits for.

use std::io;

use tokio::runtime::{Builder, Runtime};

use super::error::{ServerError, system};
use super::handover::Legacy;
use super::prepare::{Source, WaitForNames};
use super::running::Running;
use super::signals::Signals;
use super::{activation, event_loop, privileges, start};

/// A process that can serve.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    signals: Signals,
    /// Whether privileges have been given up, which is told once there is a log.
    given_up: io::Result<()>,
}

impl Server {
    /// Gives up privileges and begins to hear signals, which is to come before anything that may wait.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn new() -> Result<Self, ServerError> {
        let given_up = privileges::give_up();
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(system("cannot start the control plane"))?;
        let signals = {
            let _inside = runtime.enter();
            Signals::watch().map_err(system("cannot watch signals"))?
        };
        Ok(Self { runtime, signals, given_up })
    }

    /// Starts to serve; `None` if it was told to end meanwhile.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn start(
        &mut self,
        source: Source,
        wait: WaitForNames,
    ) -> Result<Option<Running>, ServerError> {
        let Self { signals, given_up, .. } = self;
        self.runtime.block_on(async {
            let mut legacy = Legacy::take().await.map_err(system("cannot take over"))?;
            let parcels = match &mut legacy {
                Some(legacy) => legacy.take_parcels(),
                None => activation::take().map_err(ServerError::Passed)?,
            };
            let ready = tokio::select! {
                biased;
                () = signals.stop() => None,
                ready = start::prepare(source, wait, parcels) => Some(ready),
            };
            if let Err(error) = given_up {
                tracing::warn!(%error, "privileges could not be given up");
            }
            let mut started = match ready {
                // From here on it has to drain.
                Some(Ok(ready)) => start::listen(ready, legacy.as_ref()).await.map(Some),
                Some(Err(error)) => Err(error),
                None => {
                    tracing::info!("told to end before anything was served");
                    Ok(None)
                }
            };
            if let Some(legacy) = legacy {
                match &mut started {
                    Ok(Some(running)) => running.keeper = legacy.into_keeper(),
                    Ok(None) => legacy.fails("it was told to end").await,
                    Err(error) => legacy.fails(&error.to_string()).await,
                }
            }
            started
        })
    }

    /// Serves until a signal ends it: SIGTERM and SIGINT drain, a second one stops, SIGHUP reloads, SIGUSR1
    /// prints the counters, SIGUSR2 hands over to another program.
    ///
    /// # Errors
    /// When a worker failed and cannot be replaced.
    pub fn serve(&mut self, running: Running) -> Result<(), ServerError> {
        self.runtime.block_on(event_loop::serve(running, &mut self.signals))
    }
}
