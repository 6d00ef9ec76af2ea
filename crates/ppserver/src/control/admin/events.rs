//! What happens, as it does: server-sent events (WHATWG HTML 9.2).
//!
//! Refusals are looked for in the workers' notes while somebody listens; nothing is kept for who does not.
//! Invariant: a listener who does not read loses events, and is told how many; nobody waits for him.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::answers::{self, typed};
use crate::telemetry::refusals::Refusals;

/// Events that are kept for a listener who is slow.
const KEPT_MAX: usize = 256;

/// How often refusals are looked for.
const REFUSALS_TIME: Duration = Duration::from_millis(100);

/// How long a listener hears nothing at most: what stands between gives up on silence.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Where events are told.
#[derive(Clone, Debug)]
pub(in crate::control) struct Events(broadcast::Sender<Arc<str>>);

impl Events {
    pub(in crate::control) fn new() -> Self {
        Self(broadcast::channel(KEPT_MAX).0)
    }

    /// Tells all who listen.
    pub(in crate::control) fn tell(&self, name: &str, data: &impl Serialize) {
        if self.0.receiver_count() > 0 {
            // Nobody listens any more.
            drop(self.0.send(event(name, data).into()));
        }
    }
}

/// Writes one event; JSON has no line end outside of strings, where it is escaped.
fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("strings, numbers and lists always serialise");
    format!("event: {name}\ndata: {data}\n\n")
}

/// Answers with all that happens from now on, until the door closes.
pub(super) fn listen(
    events: &Events,
    refusals: Arc<[Refusals]>,
    closing: watch::Receiver<()>,
) -> Response {
    let (told, heard) = mpsc::channel(1);
    tokio::spawn(tell_all(told, events.0.subscribe(), refusals, closing));
    typed(StatusCode::OK, "text/event-stream", Body::new(Heard(heard)))
}

async fn tell_all(
    told: mpsc::Sender<String>,
    mut events: broadcast::Receiver<Arc<str>>,
    refusals: Arc<[Refusals]>,
    mut closing: watch::Receiver<()>,
) {
    #[derive(Serialize)]
    struct Lost {
        events: u64,
    }
    let mut seen: Vec<u64> = refusals.iter().map(|worker| worker.since(u64::MAX).1).collect();
    let mut refusals_due = interval(REFUSALS_TIME);
    refusals_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence_due = interval(SILENCE_MAX);
    loop {
        // In this order: what has happened when the door closes is told.
        let text = tokio::select! {
            biased;
            () = told.closed() => return,
            told = events.recv() => match told {
                Ok(event) => event.to_string(),
                Err(RecvError::Lagged(events)) => event("lost", &Lost { events }),
                Err(RecvError::Closed) => return,
            },
            _ = refusals_due.tick() => {
                let text = new_refusals(&refusals, &mut seen);
                if text.is_empty() {
                    continue;
                }
                text
            }
            _ = closing.changed() => return,
            _ = silence_due.tick() => ": still here\n\n".to_owned(),
        };
        silence_due.reset();
        tokio::select! {
            biased;
            sent = told.send(text) => if sent.is_err() { return },
            _ = closing.changed() => return,
        }
    }
}

/// Writes the refusals since those that were seen, by time.
fn new_refusals(refusals: &[Refusals], seen: &mut [u64]) -> String {
    let mut new = Vec::new();
    for (worker, seen) in refusals.iter().zip(seen) {
        let (refused, noted) = worker.since(*seen);
        new.extend(refused);
        *seen = noted;
    }
    new.sort_by_key(|refused| refused.time);
    new.iter().map(|refused| event("refusal", &answers::Refusal::of(refused))).collect()
}

/// What is heard, as a body.
#[derive(Debug)]
struct Heard(mpsc::Receiver<String>);

impl hyper::body::Body for Heard {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|text| text.map(|text| Ok(Frame::data(text.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_happened_when_the_door_closes_is_told() {
        for _ in 0..100 {
            let (events, (told, mut heard)) = (Events::new(), mpsc::channel(1));
            let (closing, is_closing) = watch::channel(());
            tokio::spawn(tell_all(told, events.0.subscribe(), Arc::default(), is_closing));
            events.tell("state", &"draining");
            drop(closing);
            let mut text = String::new();
            while let Some(piece) = heard.recv().await {
                text += &piece;
            }
            assert!(text.contains("event: state\n"), "{text}");
        }
    }
}
