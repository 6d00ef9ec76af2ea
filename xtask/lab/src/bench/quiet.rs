//! Who is there beside bulk: one connection that asks for little now and then, or new ones.
//!
//! Not a load: a question, its answer, a pause. Invariant: every answer is compared, and all of it is
//! counted, as by a driver.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use ppload::{After, Check, Latency, Pattern, Request};

use super::reconcile::{Bytes, Driven};
use super::setup::Inbound;
use crate::host::{now, pause};
use crate::process::check_interrupted;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(10);
/// No proxy takes that long for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
const BODY_BYTES: u64 = 128;
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// One connection that stays. Its first exchange is not timed.
    Quiet,
    /// A connection for each question, timed from its beginning to the first byte of the answer.
    New,
}

/// What became of one who asked for a while.
#[derive(Debug)]
pub(super) struct Visit {
    question: Vec<u8>,
    answer: Vec<u8>,
    latencies: Histogram<u64>,
    pub(super) driven: Driven,
}

impl Guest {
    /// What is timed, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "ping",
            Self::New => "new connection",
        }
    }

    /// What bulk has beside it, for people.
    pub(super) fn company(self) -> &'static str {
        match self {
            Self::Quiet => "with pings",
            Self::New => "with new connections",
        }
    }

    /// Asks through `proxy` for `span`, at least once.
    ///
    /// # Errors
    /// When an answer is wrong or does not come, or the bench is interrupted.
    pub(super) fn visit(
        self,
        proxy: SocketAddr,
        inbound: Inbound,
        span: Duration,
    ) -> Result<Visit> {
        let (end, mut visit) = (now() + span, Visit::new(self)?);
        let asked = match self {
            Self::Quiet => visit.ask_again(proxy, inbound, end),
            Self::New => visit.ask_anew(proxy, inbound, end),
        };
        asked.with_context(|| self.name()).map(|()| visit)
    }
}

impl Visit {
    fn new(guest: Guest) -> Result<Self> {
        let after = match guest {
            Guest::Quiet => After::Keep,
            Guest::New => After::Close,
        };
        let request = Request { up: 0, down: BODY_BYTES, after, check: Check::Full };
        let body = Pattern::new().piece(0, BODY_BYTES).to_vec();
        Ok(Self {
            question: request.head(),
            answer: [request.answer_head().into_bytes(), body].concat(),
            latencies: Histogram::new_with_bounds(1_000, LATENCY_NANOS_MAX, 3)?,
            driven: Driven::default(),
        })
    }

    fn ask_again(&mut self, proxy: SocketAddr, inbound: Inbound, end: Instant) -> Result<()> {
        let mut stream = connect(proxy)?;
        stream.write_all(&[inbound.header().bytes(), &self.question].concat())?;
        let mut answer = vec![0; self.answer.len()];
        stream.read_exact(&mut answer)?;
        self.driven.connections += 1;
        self.count(&answer)?;
        loop {
            pause(PAUSE);
            check_interrupted()?;
            let since = now();
            stream.write_all(&self.question)?;
            stream.read_exact(&mut answer)?;
            self.note(since);
            self.count(&answer)?;
            if now() >= end {
                return Ok(());
            }
        }
    }

    fn ask_anew(&mut self, proxy: SocketAddr, inbound: Inbound, end: Instant) -> Result<()> {
        loop {
            check_interrupted()?;
            let since = now();
            let mut stream = connect(proxy)?;
            stream.write_all(&[inbound.header().bytes(), &self.question].concat())?;
            let mut answer = vec![0];
            stream.read_exact(&mut answer)?;
            self.note(since);
            stream.read_to_end(&mut answer)?;
            self.driven.connections += 1;
            self.count(&answer)?;
            if now() >= end {
                return Ok(());
            }
            pause(PAUSE);
        }
    }

    /// The latencies that were timed.
    pub(super) fn latency(&self) -> Latency {
        Latency::read(&self.latencies)
    }

    fn note(&mut self, since: Instant) {
        let nanos = u64::try_from((now() - since).as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanos);
    }

    fn count(&mut self, answer: &[u8]) -> Result<()> {
        ensure!(
            answer == self.answer,
            "an answer of others: {:?}",
            String::from_utf8_lossy(answer)
        );
        let size = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let Driven { exchanges, bytes: Bytes { up, down }, .. } = &mut self.driven;
        *exchanges += 1;
        *up += size(self.question.len());
        *down += size(answer.len());
        Ok(())
    }
}

fn connect(proxy: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
