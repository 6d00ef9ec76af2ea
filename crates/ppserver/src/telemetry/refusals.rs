//! Who was refused lately, and why: the last ones of each worker, for whoever asks.
//!
//! Not the log, whose line `data/conn/refused` writes: it holds what a record of a fixed size has room for, and
//! forgets. Invariant: a worker never waits for a reader and allocates nothing; what it could not note is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use ppcore::{Error, ErrorKind};
use pptrust::{Lookalike, looks_like};

use crate::core::addr::Peer;
use crate::core::close_reason::CloseReason;

/// Refusals that are kept: of each worker, and of those that are shown of all.
pub const KEPT_MAX: usize = 256;

/// The most of a peer's bytes that is kept: the longest v1 line (107, spec 2.1), and of a v2 header its addresses and
/// first TLVs.
pub const BYTES_MAX: usize = 128;

/// The longest name of a listener.
const NAME_BYTES_MAX: usize = 64;

/// Why, where there is no header to be judged.
const WORDS: [(CloseReason, &str); 6] = [
    (CloseReason::Untrusted, "the peer is outside `trust`"),
    (CloseReason::HeaderTimeout, "the header was not complete in time"),
    (CloseReason::Denied, "a route denies this client"),
    (CloseReason::Limited, "the client or the listener has as much as `limits` allow"),
    (CloseReason::Overload, "there were `max_connections` already"),
    (CloseReason::Resources, "the system had no descriptor or memory left"),
];

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Unix time.
    pub time: Duration,
    /// The socket's peer.
    pub peer: Peer,
    /// Why its connection is closed.
    pub reason: CloseReason,
    /// What is wrong with its header, where there is one.
    pub error: Option<Error>,
    /// The longest v2 header that would have been taken.
    header_bytes_max: usize,
    listener: Held<NAME_BYTES_MAX>,
    bytes: Held<BYTES_MAX>,
    /// Counted up by the worker, so that a reader knows what it has not seen.
    number: u64,
}

/// Bytes in place.
#[derive(Clone, Copy, Debug)]
struct Held<const MAX: usize> {
    len: usize,
    bytes: [u8; MAX],
}

impl<const MAX: usize> Held<MAX> {
    fn of(bytes: &[u8]) -> Self {
        let len = bytes.len().min(MAX);
        let mut held = Self { len, bytes: [0; MAX] };
        held.bytes[..len].copy_from_slice(&bytes[..len]);
        held
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Refused {
    /// One at a listener, for these first bytes.
    pub fn new(
        time: Duration,
        listener: &str,
        peer: Peer,
        reason: CloseReason,
        bytes: &[u8],
    ) -> Self {
        let (listener, bytes) = (Held::of(listener.as_bytes()), Held::of(bytes));
        Self { time, peer, reason, error: None, header_bytes_max: 0, listener, bytes, number: 0 }
    }

    /// The same, for what is wrong with the header; one of v2 could have had so many bytes.
    #[must_use]
    pub fn with_error(self, error: Option<Error>, header_bytes_max: usize) -> Self {
        Self { error, header_bytes_max, ..self }
    }

    /// The listener's name.
    pub fn listener(&self) -> &str {
        // Names are ASCII, and no longer.
        str::from_utf8(self.listener.get()).unwrap_or_default()
    }

    /// The first bytes that came.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// Says why in words, with what the bytes look like.
    pub fn why(&self) -> String {
        let Some(error) = self.error else { return words(self.reason).to_owned() };
        let why = why(error, self.bytes(), self.header_bytes_max);
        match like(error, self.bytes()) {
            Some(like) => format!("{why}; it looks like {like}"),
            None => why,
        }
    }
}

/// The last refusals of one worker.
#[derive(Debug, Default)]
pub struct Refusals {
    ring: Mutex<Ring>,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    /// The next one goes to `noted % KEPT_MAX`.
    records: Vec<Refused>,
    noted: u64,
}

impl Refusals {
    /// Begins with room for as many as are kept.
    pub fn new() -> Self {
        let ring = Ring { records: Vec::with_capacity(KEPT_MAX), noted: 0 };
        Self { ring: Mutex::new(ring), lost: AtomicU64::new(0) }
    }

    /// Notes one, unless somebody reads just now.
    #[cold]
    pub fn note(&self, refused: Refused) {
        let mut ring = match self.ring.try_lock() {
            Ok(ring) => ring,
            Err(TryLockError::Poisoned(ring)) => ring.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let refused = Refused { number: ring.noted, ..refused };
        if ring.records.len() < KEPT_MAX {
            ring.records.push(refused);
        } else {
            let kept = u64::try_from(KEPT_MAX).expect("256 fits");
            let at = usize::try_from(ring.noted % kept).expect("below 256");
            ring.records[at] = refused;
        }
        ring.noted += 1;
    }

    /// Returns what was noted since `seen` had been, in no order, and how much has been by now.
    pub fn since(&self, seen: u64) -> (Vec<Refused>, u64) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.noted == seen {
            return (Vec::new(), seen);
        }
        let new = ring.records.iter().filter(|refused| refused.number >= seen);
        (new.copied().collect(), ring.noted)
    }

    /// Returns how many were not noted because somebody was reading.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Says why a connection is refused whose header was not judged.
pub fn words(reason: CloseReason) -> &'static str {
    let words = WORDS.iter().find(|(known, _)| *known == reason);
    words.map_or(reason.name(), |(_, words)| words)
}

/// Says why a header that begins with these bytes is refused, and by which key where one decides.
pub fn why(error: Error, bytes: &[u8], header_bytes_max: usize) -> String {
    let kind = error.kind();
    let is_mixed = kind == ErrorKind::V1BadDestinationAddress
        && looks_like(bytes) == Some(Lookalike::MixedLine);
    if kind == ErrorKind::V2TooLong {
        format!("{error}: header_max is {header_bytes_max} B")
    } else if kind == ErrorKind::CrcMissing {
        format!("{error}: crc32c is \"require\"")
    } else if is_mixed {
        format!("{error}: v1_families is \"strict\", \"mixed\" takes such a line")
    } else {
        error.to_string()
    }
}

/// Says what a header that is refused looks like; that a bad one looks like a header says nothing.
pub fn like(error: Error, bytes: &[u8]) -> Option<Lookalike> {
    let is_absent = error.kind() == ErrorKind::NotProxy;
    looks_like(bytes).filter(|like| is_absent || *like != Lookalike::Header)
}

/// Returns the last ones of all workers, by time.
pub fn last(workers: &[Refusals]) -> Vec<Refused> {
    let mut last: Vec<_> = workers.iter().flat_map(|worker| worker.since(0).0).collect();
    last.sort_by_key(|refused| (refused.time, refused.number));
    last.drain(..last.len().saturating_sub(KEPT_MAX));
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(time: u64, bytes: &[u8]) -> Refused {
        let peer = Peer::Inet("192.0.2.1:1".parse().unwrap());
        Refused::new(Duration::from_secs(time), "edge", peer, CloseReason::HeaderInvalid, bytes)
    }

    #[test]
    fn the_last_ones_of_all_workers_are_kept_in_order() {
        let workers = [Refusals::new(), Refusals::new()];
        for time in 0..600 {
            workers[usize::from(time % 3 == 0)].note(refused(time, b""));
        }
        let times: Vec<_> = last(&workers).iter().map(|refused| refused.time.as_secs()).collect();
        assert_eq!(times, (344..600).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_kept_of_the_bytes_is_bounded_and_the_name_is_whole() {
        let kept = refused(1, &[0xAB; 300]);
        assert_eq!((kept.listener(), kept.bytes()), ("edge", &[0xAB; BYTES_MAX][..]));
    }

    #[test]
    fn a_reader_sees_each_once_and_a_worker_does_not_wait_for_one() {
        let refusals = Refusals::new();
        refusals.note(refused(1, b""));
        let (new, seen) = refusals.since(0);
        assert_eq!((new.len(), seen), (1, 1));
        assert_eq!(refusals.since(seen).0.len(), 0);
        let reading = refusals.ring.lock().unwrap();
        refusals.note(refused(2, b""));
        drop(reading);
        refusals.note(refused(3, b""));
        let (new, _) = refusals.since(seen);
        assert_eq!((new.len(), new[0].time.as_secs(), refusals.lost()), (1, 3, 1));
    }
}
