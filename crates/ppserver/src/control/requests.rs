//! What a server is asked while it runs, at a door of the admin interface, and how it answers.
//!
//! Signals ask the same, and nobody waits for their answers. Invariant: each request is answered by the one
//! loop that changes what runs, or dropped by it, which is an answer too; who asks never blocks it.

use std::path::PathBuf;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::config::{JsonFault, LogLevel, Report};
use crate::core::addr::Addr;
use crate::core::connection_id::ConnectionId;
use crate::core::pool::health::Wish;
use crate::data::listing::{Filter, Listing};

/// Requests that may wait for the loop: beyond it who asks waits.
const WAITING_MAX: usize = 64;

/// What is asked. The loop alone answers what changes what runs.
#[derive(Debug)]
pub(super) enum Request {
    /// Read the configuration again, and follow it.
    Reload(Reply<Reloaded>),
    /// Accept no more, and end with the last connection.
    Drain(Reply<Draining>),
    /// Hand over to another program.
    Upgrade(Upgrade, Reply<Upgraded>),
    /// Log so much, until the configuration is read again.
    Log(LogLevel, Reply<Logging>),
    /// Show connections, each worker its own.
    Connections(Filter, Reply<Vec<oneshot::Receiver<Listing>>>),
    /// Have an endpoint as an operator wants it.
    SetEndpoint(EndpointSet, Reply<EndpointChange>),
    /// Reset a connection; its worker says whether there is one.
    Close(ConnectionId, Reply<oneshot::Receiver<bool>>),
}

/// What an operator wants of an endpoint.
#[derive(Clone, Debug)]
pub(super) struct EndpointSet {
    pub(super) upstream: String,
    pub(super) addr: Addr,
    pub(super) wish: Option<Wish>,
    pub(super) weight: Option<u32>,
}

/// An endpoint that stands or weighs otherwise than before.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EndpointChange {
    pub(super) upstream: String,
    pub(super) address: Addr,
    pub(super) state: &'static str,
    pub(super) is_set: bool,
    pub(super) weight: u32,
    /// `null` when it is up.
    pub(super) why: Option<String>,
}

/// Where an answer goes: nobody, if a signal asked.
pub(super) type Reply<T> = Option<oneshot::Sender<Answer<T>>>;

/// What is answered.
pub(super) type Answer<T> = Result<T, Refusal>;

/// Every worker follows another configuration.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reloaded {
    /// In the words of the configuration.
    pub(super) changes: Vec<String>,
}

/// The ports are closed.
#[derive(Clone, Debug)]
pub(super) struct Draining {
    /// Connections that go on.
    pub(super) active: u64,
    /// For how long at most.
    pub(super) grace: std::time::Duration,
}

/// What is to take over.
#[derive(Clone, Debug)]
pub(super) struct Upgrade {
    /// The program; that which runs, by the path it was started by, if none is named.
    pub(super) binary: Option<PathBuf>,
}

/// Another program has taken over, and this one drains.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Upgraded {
    /// Its process.
    pub(super) pid: u32,
    /// How often it has been upgraded, counted from 1.
    pub(super) generation: u32,
}

/// How much is logged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logging {
    pub(super) level: LogLevel,
    pub(super) was: LogLevel,
}

/// Why nothing was done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    pub(super) why: Why,
    pub(super) errors: Vec<Fault>,
}

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What was asked for makes no sense.
    Malformed,
    /// What it is about is not there.
    Unknown,
    /// Not in the state that the server is in.
    Untimely,
    /// What was asked for cannot be had.
    Unusable,
    /// It began, and did not come to its end.
    Failed,
}

/// One thing that is wrong: a place is known of those in a file.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fault {
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<String>,
}

impl Refusal {
    /// One that has one reason.
    pub(super) fn new(why: Why, message: impl Into<String>) -> Self {
        let message = message.into();
        let fault = Fault { message, code: None, line: None, column: None, help: None };
        Self { why, errors: vec![fault] }
    }

    /// That there is no such connection.
    pub(super) fn no_connection() -> Self {
        Self::new(Why::Unknown, "there is no connection of this id, or not any more")
    }

    /// One of a configuration with errors, which has all of them.
    pub(super) fn of(report: &Report) -> Self {
        let errors = report.to_json().0.iter().map(Fault::of).collect();
        Self { why: Why::Unusable, errors }
    }
}

impl Fault {
    fn of(fault: &JsonFault<'_>) -> Self {
        Self {
            message: fault.message.to_owned(),
            code: Some(fault.code.as_str().to_owned()),
            line: fault.line,
            column: fault.column,
            help: fault.help.map(str::to_owned),
        }
    }
}

/// Gives the answer, if anybody waits for it.
pub(super) fn answer<T>(reply: Reply<T>, answer: Answer<T>) {
    if let Some(reply) = reply {
        // Who asked may have gone.
        drop(reply.send(answer));
    }
}

/// Where requests are put.
#[derive(Clone, Debug)]
pub(super) struct Desk(mpsc::Sender<Request>);

/// Where the loop takes them from.
#[derive(Debug)]
pub(super) struct Requests(mpsc::Receiver<Request>);

/// Opens the way from the doors to the loop.
pub(super) fn channel() -> (Desk, Requests) {
    let (desk, requests) = mpsc::channel(WAITING_MAX);
    (Desk(desk), Requests(requests))
}

impl Desk {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When it is refused, or the server ends meanwhile.
    pub(super) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let ended = || Refusal::new(Why::Untimely, "the server is about to end");
        self.0.send(request(Some(reply))).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Requests {
    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Request {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}
