//! What whoever asks is shown of what runs: it is put up by the loop that changes it, and read without it.
//!
//! Invariant: what is up is whole; a reader keeps what it has taken down.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::addr::Addr;
use crate::data::orders::Plan;

/// Where it is put up.
#[derive(Debug)]
pub(super) struct Board(Mutex<Arc<Shown>>);

/// What runs.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// What new connections follow.
    pub(super) plan: Arc<Plan>,
    /// What a reload reads; with flags there is none.
    pub(super) file: Option<PathBuf>,
    /// The name of the listener and the address of each port.
    pub(super) ports: Vec<(String, Addr)>,
    pub(super) connections_max: usize,
    /// 1 at a start, one more at each upgrade.
    pub(super) generation: u32,
    pub(super) readiness: Readiness,
}

/// Whether new clients should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// They should.
    Serving,
    /// No more are accepted, or soon will not be.
    Draining,
}

impl Shown {
    /// Returns the upstreams in use that have no endpoint, each once.
    pub(super) fn without_endpoint(&self) -> impl Iterator<Item = &str> {
        let upstreams = self.plan.config.upstreams.iter().zip(&self.plan.pools).enumerate();
        let listeners = &self.plan.config.listeners;
        let is_used = move |at| listeners.iter().any(|listener| listener.upstream == at);
        let lacking =
            upstreams.filter(move |(at, (_, pool))| pool.endpoints.is_empty() && is_used(*at));
        lacking.map(|(_, (upstream, _))| &*upstream.name)
    }
}

impl Board {
    pub(super) fn new(shown: Shown) -> Self {
        Self(Mutex::new(Arc::new(shown)))
    }

    /// Returns what is up.
    pub(super) fn look(&self) -> Arc<Shown> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts up what `change` makes of it.
    pub(super) fn change(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut shown));
    }
}
