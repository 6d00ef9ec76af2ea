//! A service that runs: what it follows, where that came from, and what is told of it.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ports::Port;
use super::prepare::ConfigFile;
use super::service::Service;
use super::signals::Signal;
use crate::data::orders::Plan;
use crate::telemetry::log;
use crate::telemetry::metrics::Summary;

/// A service, and what it follows.
#[derive(Debug)]
pub struct Running {
    pub(super) service: Service,
    pub(super) plan: Arc<Plan>,
    /// What a reload reads; with flags, or from standard input, there is none.
    pub(super) file: Option<ConfigFile>,
}

impl Running {
    /// Returns the addresses that are listened on, in the order of the configuration.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.service.ports.held().iter().map(Port::addr).collect()
    }

    /// Prints them in the log's form, whatever its level.
    pub(super) fn print_counters(&self) {
        let totals = self.service.ledger.totals();
        log::write_counters(&self.plan.config.log, &Summary::of(&totals, log::lines_dropped()));
    }

    /// Begins a drain and returns how long it may last.
    pub(super) fn drain(&self, signal: Signal) -> Duration {
        let grace = self.plan.config.server.shutdown_grace;
        let active = self.service.ledger.active();
        let again = signal == Signal::Interrupt && io::stderr().is_terminal();
        let hint = if again { "; again to stop now" } else { "" };
        tracing::info!(active, ?grace, "draining{hint}");
        self.service.workers.drain();
        grace
    }
}
