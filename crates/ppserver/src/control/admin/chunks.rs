//! A list that is written as it is read: what waits for a slow reader is what was asked for, not its text.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What is written at a time, in bytes and a little more.
const CHUNK_BYTES: usize = 32 << 10;

/// How long a reader may take for all of it.
const TIME: Duration = Duration::from_secs(30);

/// One JSON object, whose last field is a list.
#[derive(Debug)]
pub(super) struct Chunks<I> {
    /// Up to the bracket of the list, until it is written.
    head: Option<String>,
    items: I,
    is_first: bool,
    is_over: bool,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

impl<I> Chunks<I> {
    /// Of these items behind `head`, which ends with the list's bracket.
    pub(super) fn new(head: String, items: I, permit: OwnedSemaphorePermit) -> Self {
        let until = Instant::now() + TIME;
        Self { head: Some(head), items, is_first: true, is_over: false, until, _permit: permit }
    }
}

impl<T: Serialize, I: Iterator<Item = T> + Unpin> Body for Chunks<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if Instant::now() > self.until {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        let mut chunk = self.head.take().unwrap_or_default().into_bytes();
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                self.is_over = true;
                chunk.extend_from_slice(b"]}\n");
                break;
            };
            if !std::mem::take(&mut self.is_first) {
                chunk.push(b',');
            }
            serde_json::to_writer(&mut chunk, &item)?;
        }
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }
}
