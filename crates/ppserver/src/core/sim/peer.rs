//! The two scripted peers of a session: a client and an upstream, on the far ends of its sockets.
//!
//! A peer makes its system calls through the same kernel as the proxy and keeps to its [`Script`];
//! it judges nothing. Invariant: what it sends is its stream from offset 0, each byte once.

use std::time::{Duration, Instant};

use super::kernel::{Fd, Kernel};
use super::rng::{Stream, byte_at};
use super::socket::{Fin, State};

/// How a peer ends once everything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// By FIN; it goes on reading.
    Fin,
    /// By FIN, once the other side has ended.
    FinLast,
    /// By close(2): what comes afterwards is answered with RST.
    Close,
    /// By RST.
    Reset,
    /// By RST, once everything has arrived.
    ResetLate,
    /// By FIN, then RST.
    FinReset,
    /// Not at all.
    Silence,
}

/// How a peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    Eager,
    /// A few bytes at a time.
    Dribble,
    /// A few bytes each time so much time has passed: it never stops, but takes longer than any limit on
    /// silence.
    Slow(Duration),
    /// With one pause at an offset.
    Pause(u64, Duration),
    /// Not at all: its window closes.
    Never,
    /// Up to an offset, where it resets.
    ResetAt(u64),
}

#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Script {
    pub(super) total: u64,
    pub(super) chunk_max: usize,
    pub(super) urgent_at: Option<u64>,
    pub(super) pause: Option<(u64, Duration)>,
    pub(super) ending: Ending,
    pub(super) reading: Reading,
}

impl Script {
    /// Returns whether all of it arrives wherever a proxy is faithful.
    pub(super) fn is_fair(&self) -> bool {
        let is_read = match self.reading {
            Reading::Eager | Reading::Dribble => true,
            Reading::Slow(pause) => pause < SILENCE_MIN,
            Reading::Pause(_, pause) => pause < FAIR_PAUSE_MAX,
            Reading::Never | Reading::ResetAt(_) => false,
        };
        let is_brisk = self.pause.is_none_or(|(_, pause)| pause < FAIR_PAUSE_MAX);
        is_read && is_brisk && matches!(self.ending, Ending::Fin | Ending::FinLast)
    }
}

/// Longer pauses may meet a timeout.
pub(super) const FAIR_PAUSE_MAX: Duration = Duration::from_millis(100);
/// No limit on silence is shorter.
pub(super) const SILENCE_MIN: Duration = Duration::from_millis(1_000);

/// What a read gave.
#[derive(Debug)]
pub(super) enum Heard {
    Bytes(Vec<u8>),
    End,
    Broken,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Peer {
    pub(super) fd: Fd,
    pub(super) script: Script,
    stream: Stream,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// It has read the end of what comes to it.
    pub(super) has_heard_end: bool,
    has_sent_urgent: bool,
    has_ended: bool,
    is_gone: bool,
    send_pause: Option<Instant>,
    read_pause: Option<Instant>,
}

impl Peer {
    pub(super) fn new(fd: Fd, stream: Stream, script: Script) -> Self {
        Self {
            fd,
            script,
            stream,
            sent: 0,
            received: 0,
            has_heard_end: false,
            has_sent_urgent: false,
            has_ended: false,
            is_gone: false,
            send_pause: None,
            read_pause: None,
        }
    }

    /// Performs the next piece of the script.
    pub(super) fn send(&mut self, kernel: &mut Kernel, now: Instant) {
        if let (Some((offset, length)), None) = (self.script.pause, self.send_pause)
            && self.sent >= offset
        {
            self.send_pause = Some(now + length);
            return;
        }
        if self.script.urgent_at.is_some_and(|offset| self.sent >= offset) && !self.has_sent_urgent
        {
            self.has_sent_urgent = true;
            let _ = kernel.send_urgent(self.fd);
            return;
        }
        if self.sent < self.script.total {
            return self.send_chunk(kernel);
        }
        if self.has_ended {
            // Both directions are over.
            return self.leave(kernel, Kernel::close);
        }
        self.has_ended = true;
        match self.script.ending {
            Ending::Fin | Ending::FinLast => self.shutdown(kernel),
            Ending::Close => self.leave(kernel, Kernel::close),
            Ending::Reset | Ending::ResetLate => self.leave(kernel, Kernel::reset),
            Ending::FinReset => {
                self.shutdown(kernel);
                self.script.ending = Ending::ResetLate;
                self.has_ended = false;
            }
            Ending::Silence => {}
        }
    }

    fn send_chunk(&mut self, kernel: &mut Kernel) {
        let left = usize::try_from(self.script.total - self.sent).expect("scripts are short");
        let len = kernel.rng.between(1, self.script.chunk_max).min(left) as u64;
        let bytes: Vec<u8> =
            (self.sent..self.sent + len).map(|offset| byte_at(self.stream, offset)).collect();
        if let Ok(count) = kernel.send(self.fd, &bytes) {
            self.sent += count as u64;
        }
    }

    fn shutdown(&mut self, kernel: &mut Kernel) {
        if kernel.shutdown(self.fd).is_err() {
            self.leave(kernel, Kernel::close);
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, kernel: &mut Kernel, now: Instant) -> Option<Heard> {
        if let (Reading::Pause(offset, length), None) = (self.script.reading, self.read_pause)
            && self.received >= offset
        {
            self.read_pause = Some(now + length);
            return None;
        }
        if matches!(self.script.reading, Reading::ResetAt(offset) if self.received >= offset) {
            self.leave(kernel, Kernel::reset);
            return None;
        }
        let len_max = match self.script.reading {
            Reading::Dribble => kernel.rng.between(1, 8),
            Reading::Slow(pause) => {
                self.read_pause = Some(now + pause);
                kernel.rng.between(8, 64)
            }
            Reading::Eager | Reading::Pause(..) | Reading::Never | Reading::ResetAt(_) => 1 << 16,
        };
        match kernel.recv(self.fd, len_max) {
            Ok(bytes) if bytes.is_empty() => {
                self.has_heard_end = true;
                Some(Heard::End)
            }
            Ok(bytes) => {
                self.received += bytes.len() as u64;
                Some(Heard::Bytes(bytes))
            }
            Err(_) => {
                self.leave(kernel, Kernel::close);
                Some(Heard::Broken)
            }
        }
    }

    /// Closes what is still open, however the script would go on.
    pub(super) fn leave(&mut self, kernel: &mut Kernel, how: fn(&mut Kernel, Fd)) {
        if !self.is_gone {
            self.is_gone = true;
            how(kernel, self.fd);
        }
    }

    pub(super) fn can_send(&self, kernel: &Kernel, now: Instant) -> bool {
        let socket = kernel.look(self.fd);
        if self.is_gone || socket.state != State::Established || is_later(self.send_pause, now) {
            return false;
        }
        if self.has_ended {
            return self.has_heard_end && self.script.ending != Ending::Silence;
        }
        if self.sent < self.script.total {
            return socket.room() > 0;
        }
        match self.script.ending {
            Ending::FinLast => self.has_heard_end,
            Ending::ResetLate => socket.unsent.is_empty() && socket.fin != Fin::Queued,
            Ending::Fin | Ending::Close | Ending::Reset | Ending::FinReset | Ending::Silence => {
                true
            }
        }
    }

    pub(super) fn can_read(&self, kernel: &Kernel, now: Instant) -> bool {
        let socket = kernel.look(self.fd);
        let may_read = match self.script.reading {
            Reading::Never => false,
            Reading::ResetAt(offset) if self.received >= offset => {
                socket.state == State::Established
            }
            Reading::Eager
            | Reading::Dribble
            | Reading::Slow(_)
            | Reading::Pause(..)
            | Reading::ResetAt(_) => socket.has_news() && !self.has_heard_end,
        };
        may_read && !self.is_gone && !is_later(self.read_pause, now)
    }

    /// Returns when a pause ends.
    pub(super) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let pauses = [self.send_pause, self.read_pause];
        pauses.into_iter().flatten().filter(|at| *at > now && !self.is_gone).min()
    }
}

fn is_later(pause: Option<Instant>, now: Instant) -> bool {
    pause.is_some_and(|end| end > now)
}
