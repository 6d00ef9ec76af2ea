//! Where bytes rest between two sockets: nowhere, in a pooled buffer, or in a pooled pipe.
//!
//! It moves bytes and hands on what the system said. Invariant: a conduit holds a buffer or
//! a pipe only while there are bytes in it, so an idle connection holds neither.

use std::io::{self, Read};

use mio::net::TcpStream;

use super::pipes::{Pipe, PipeLimits, Pipes};
use crate::data::sys::{self, Follow};

/// Bytes received at a time when copying. A read that fills it makes the direction bulky. Against
/// 16 KiB an answer of 16 KiB costs 0.60 of the CPU time, one of 256 KiB 0.81, a small one the same
/// (docs/performance.md).
const READ_BYTES: usize = 64 * 1024;
/// Room in front of what is received: our header is written there without moving the payload. Most
/// are 28 to 107 bytes; a longer one moves it.
const HEADROOM: usize = 256;

/// What came of a receive or a splice out of a socket.
#[derive(Debug)]
pub(super) struct Moved {
    /// Bytes there was room for.
    pub(super) asked: usize,
    /// Bytes that came, 0 at the end; or the error.
    pub(super) result: io::Result<usize>,
}

/// A buffer with bytes in `start..end`.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Receives once behind the headroom; whatever was held is gone.
    pub(super) fn receive(&mut self, mut source: &TcpStream) -> Moved {
        let room = &mut self.bytes[HEADROOM..];
        let asked = room.len();
        let result = uninterrupted(|| source.read(room));
        (self.start, self.end) = (HEADROOM, HEADROOM + *result.as_ref().unwrap_or(&0));
        Moved { asked, result }
    }

    /// Returns what is held.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Drops the first `count` bytes.
    pub(super) fn skip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Puts bytes in front of what is held.
    pub(super) fn prepend(&mut self, front: &[u8]) {
        if let Some(start) = self.start.checked_sub(front.len()) {
            self.bytes[start..self.start].copy_from_slice(front);
            self.start = start;
        } else {
            let joined = [front, self.held()].concat();
            (self.start, self.end) = (0, joined.len());
            self.bytes = joined.into_boxed_slice();
        }
    }
}

/// Buffers and pipes that are not in use.
#[derive(Debug)]
pub(super) struct Pool {
    buffers: Vec<Box<[u8]>>,
    pipes: Pipes,
}

/// Free buffers beyond this many are given back to the allocator: 1 MiB a worker.
const FREE_BUFFERS_MAX: usize = 16;

impl Pool {
    pub(super) const fn new(limits: PipeLimits) -> Self {
        Self { buffers: Vec::new(), pipes: Pipes::new(limits) }
    }

    /// Goes on with other limits.
    pub(super) fn set_limits(&mut self, limits: PipeLimits) {
        self.pipes.set_limits(limits);
    }

    pub(super) fn take_buffer(&mut self) -> Buffer {
        let fresh = || vec![0; HEADROOM + READ_BYTES].into_boxed_slice();
        let bytes = self.buffers.pop().unwrap_or_else(fresh);
        Buffer { bytes, start: HEADROOM, end: HEADROOM }
    }

    pub(super) fn give_buffer(&mut self, buffer: Buffer) {
        let is_ours = buffer.bytes.len() == HEADROOM + READ_BYTES;
        if is_ours && self.buffers.len() < FREE_BUFFERS_MAX {
            self.buffers.push(buffer.bytes);
        }
    }
}

/// The bytes of one direction in transit.
#[derive(Debug)]
pub(super) enum Conduit {
    Empty,
    Buffer(Buffer),
    Pipe(PipeHeld),
}

/// A pipe with bytes in it.
#[derive(Debug)]
pub(super) struct PipeHeld {
    pipe: Pipe,
    held: usize,
}

impl Conduit {
    /// Receives into an empty conduit.
    pub(super) fn fill_by_copy(&mut self, source: &TcpStream, pool: &mut Pool) -> Moved {
        let mut buffer = pool.take_buffer();
        let moved = buffer.receive(source);
        self.put(buffer, pool);
        moved
    }

    /// Splices into an empty conduit; `None` if there is no pipe to be had.
    pub(super) fn fill_by_splice(&mut self, source: &TcpStream, pool: &mut Pool) -> Option<Moved> {
        debug_assert!(matches!(self, Self::Empty));
        let pipe = pool.pipes.take()?;
        let asked = pipe.size;
        let result = uninterrupted(|| sys::splice(source, &pipe.write, asked));
        match result {
            Ok(held) if held > 0 => *self = Self::Pipe(PipeHeld { pipe, held }),
            Ok(_) | Err(_) => pool.pipes.give(pipe),
        }
        Some(Moved { asked, result })
    }

    /// Sends once from what is held; what was sent is gone.
    pub(super) fn drain(
        &mut self,
        sink: &TcpStream,
        follow: Follow,
        pool: &mut Pool,
    ) -> io::Result<usize> {
        let (sent, is_empty) = match self {
            Self::Empty => return Ok(0),
            Self::Buffer(buffer) => {
                let sent = uninterrupted(|| sys::send(sink, buffer.held(), follow))?;
                buffer.skip(sent);
                (sent, buffer.held().is_empty())
            }
            Self::Pipe(PipeHeld { pipe, held }) => {
                let sent = uninterrupted(|| sys::splice(&pipe.read, sink, *held))?;
                *held -= sent;
                (sent, *held == 0)
            }
        };
        if is_empty {
            self.release(pool);
        }
        Ok(sent)
    }

    /// Puts a buffer into an empty conduit, or back into the pool if nothing is in it.
    pub(super) fn put(&mut self, buffer: Buffer, pool: &mut Pool) {
        debug_assert!(matches!(self, Self::Empty));
        if buffer.held().is_empty() {
            pool.give_buffer(buffer);
        } else {
            *self = Self::Buffer(buffer);
        }
    }

    /// Puts bytes in front of what is held, which is in a buffer or nowhere.
    pub(super) fn prepend(&mut self, front: &[u8], pool: &mut Pool) {
        let mut buffer = match std::mem::replace(self, Self::Empty) {
            Self::Buffer(buffer) => buffer,
            Self::Empty => pool.take_buffer(),
            Self::Pipe(_) => unreachable!("a session greets before it splices"),
        };
        buffer.prepend(front);
        self.put(buffer, pool);
    }

    /// Gives the buffer or the pipe back; bytes still in a pipe are lost with it.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        match std::mem::replace(self, Self::Empty) {
            Self::Empty => {}
            Self::Buffer(buffer) => pool.give_buffer(buffer),
            Self::Pipe(PipeHeld { pipe, held: 0 }) => pool.pipes.give(pipe),
            Self::Pipe(PipeHeld { pipe, .. }) => pool.pipes.close(pipe),
        }
    }
}

/// Repeats a call that a signal interrupted (signal(7)).
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(held: &[u8]) -> Buffer {
        let mut bytes = vec![0; HEADROOM + READ_BYTES].into_boxed_slice();
        bytes[HEADROOM..HEADROOM + held.len()].copy_from_slice(held);
        Buffer { bytes, start: HEADROOM, end: HEADROOM + held.len() }
    }

    #[test]
    fn a_short_header_is_put_into_the_headroom_and_a_long_one_moves_the_payload() {
        for len in [0, 1, HEADROOM, HEADROOM + 1, 65_551] {
            let mut buffer = buffer(b"payload");
            let front = vec![b'h'; len];
            buffer.prepend(&front);
            assert_eq!(buffer.held(), [front.as_slice(), b"payload"].concat());
        }
    }

    #[test]
    fn a_buffer_that_grew_does_not_go_back_into_the_pool() {
        let mut pool = Pool::new(PipeLimits::new(0, 0, 0));
        let mut conduit = Conduit::Empty;
        conduit.prepend(&[b'h'; 1000], &mut pool);
        conduit.release(&mut pool);
        assert!(pool.buffers.is_empty());
        conduit.prepend(b"h", &mut pool);
        conduit.release(&mut pool);
        assert_eq!(pool.buffers.len(), 1);
    }
}
