//! The supervisor of this process, which holds its sockets and starts another one when it is killed.
//!
//! Invariant: what it holds is what this process has, a moment ago.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::Channel;
use super::words::Word;
use super::{Name, Parcel};

/// How long a word may take to be taken.
const SAY_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to a supervisor.
#[derive(Debug)]
pub(in crate::control) struct Keeper {
    channel: Channel,
    /// Ports that it has named since its last verdict.
    named: Vec<Name>,
}

/// What a supervisor says.
#[derive(Debug)]
pub(in crate::control) enum Verdict {
    /// Another process serves, and has these ports.
    Leave {
        /// Its number.
        pid: u32,
        names: Vec<Name>,
    },
    /// None does, and why.
    Refused(String),
    /// The supervisor is no more.
    Gone,
}

impl Keeper {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, named: Vec::new() }
    }

    /// Waits for what it says; nothing is lost when somebody stops waiting.
    pub(in crate::control) async fn next(&mut self) -> Verdict {
        loop {
            match self.channel.receive().await {
                Ok(Some((Word::Sockets(name), _))) => self.named.push(name),
                Ok(Some((Word::Leave { pid }, _))) => {
                    return Verdict::Leave { pid, names: std::mem::take(&mut self.named) };
                }
                Ok(Some((Word::Refused { why }, _))) => return Verdict::Refused(why),
                // It says nothing else.
                Ok(Some(_) | None) | Err(_) => return Verdict::Gone,
            }
        }
    }

    /// Says what this process listens at now.
    pub(in crate::control) async fn holds(&self, parcels: &[Parcel]) {
        bounded(async {
            self.channel.send_parcels(parcels).await?;
            self.channel.send(&Word::Held, &[]).await
        })
        .await;
    }

    /// Says that nobody is to take the place of this process.
    pub(in crate::control) async fn drains(&self) {
        bounded(self.channel.send(&Word::Draining, &[])).await;
    }

    /// Asks for a program to take over.
    pub(in crate::control) async fn asks(&self, program: Option<PathBuf>) {
        bounded(self.channel.send(&Word::Upgrade { program }, &[])).await;
    }
}

/// Waits for a supervisor to take what is said. One that has gone is noticed by that.
async fn bounded(said: impl Future<Output = io::Result<()>>) {
    if !matches!(timeout(SAY_TIMEOUT, said).await, Ok(Ok(()))) {
        tracing::warn!("the supervisor does not listen");
    }
}
