//! Where bytes rest between two sockets: nowhere, in a pooled buffer, or in a pooled pipe.
//!
//! Knows no session: it moves bytes and says what came of it. Invariant: a conduit holds a buffer or
//! a pipe only while there are bytes in it, so an idle connection holds neither.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use mio::net::TcpStream;

use crate::metrics::Counters;
use crate::session::{Failure, Method, Received, Sent};
use crate::sys;

/// Bytes received at a time when copying. A read that fills it makes the direction bulky.
const READ_BYTES: usize = 16 * 1024;
/// Room in front of what is received: our header is written there without moving the payload. Most
/// are 28 to 107 bytes; a longer one moves it.
const HEADROOM: usize = 256;

/// A buffer with bytes in `start..end`.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Receives once behind the headroom; whatever was held is gone.
    pub(super) fn receive(&mut self, mut source: &TcpStream) -> Received {
        (self.start, self.end) = (HEADROOM, HEADROOM);
        let room = &mut self.bytes[HEADROOM..];
        let asked = room.len();
        let received = received(uninterrupted(|| source.read(room)), asked);
        if let Received::Bytes { count, .. } = received {
            self.end += count;
        }
        received
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

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

/// Buffers and pipes that are not in use, and how many pipes there may be.
#[derive(Debug)]
pub(super) struct Pool {
    buffers: Vec<Box<[u8]>>,
    pipes: Vec<Pipe>,
    pipes_open: usize,
    pipes_max: usize,
    pipe_bytes: usize,
}

/// Free buffers beyond this many are given back to the allocator: 1 MiB a worker.
const FREE_BUFFERS_MAX: usize = 64;

impl Pool {
    pub(super) fn new(pipes_max: usize, pipe_bytes: usize) -> Self {
        Self { buffers: Vec::new(), pipes: Vec::new(), pipes_open: 0, pipes_max, pipe_bytes }
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

    fn take_pipe(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.pipes.pop() {
            return Some(pipe);
        }
        if self.pipes_open == self.pipes_max {
            return None;
        }
        let (read, write, size) = sys::pipe(self.pipe_bytes).ok()?;
        self.pipes_open += 1;
        Some(Pipe { read, write, size })
    }

    fn give_pipe(&mut self, pipe: Pipe) {
        self.pipes.push(pipe);
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
    /// Fills an empty conduit; says how it was done, since pipes may be short.
    pub(super) fn fill(
        &mut self,
        source: &TcpStream,
        method: Method,
        pool: &mut Pool,
        counters: &Counters,
    ) -> (Method, Received) {
        debug_assert!(matches!(self, Self::Empty));
        if method == Method::Splice {
            if let Some(pipe) = pool.take_pipe() {
                return (Method::Splice, self.fill_pipe(source, pipe, pool));
            }
            counters.pipes_missing.add(1);
        }
        let mut buffer = pool.take_buffer();
        let received = buffer.receive(source);
        self.put(buffer, pool);
        (Method::Copy, received)
    }

    fn fill_pipe(&mut self, source: &TcpStream, pipe: Pipe, pool: &mut Pool) -> Received {
        let result = uninterrupted(|| sys::splice(source, &pipe.write, pipe.size));
        let received = received(result, pipe.size);
        match received {
            Received::Bytes { count, .. } => *self = Self::Pipe(PipeHeld { pipe, held: count }),
            Received::End | Received::WouldBlock | Received::Failed(_) => pool.give_pipe(pipe),
        }
        received
    }

    /// Sends once from what is held.
    pub(super) fn drain(&mut self, mut sink: &TcpStream, pool: &mut Pool) -> Sent {
        match self {
            Self::Empty => Sent::WouldBlock,
            Self::Buffer(buffer) => {
                let sent = sent(uninterrupted(|| sink.write(buffer.held())));
                if let Sent::Bytes(count) = sent {
                    buffer.skip(count);
                    if buffer.held().is_empty() {
                        self.release(pool);
                    }
                }
                sent
            }
            Self::Pipe(pipe) => {
                let sent = sent(uninterrupted(|| sys::splice(&pipe.pipe.read, sink, pipe.held)));
                if let Sent::Bytes(count) = sent {
                    pipe.held -= count;
                    if pipe.held == 0 {
                        self.release(pool);
                    }
                }
                sent
            }
        }
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
            Self::Pipe(PipeHeld { pipe, held: 0 }) => pool.give_pipe(pipe),
            // Its bytes would turn up in another connection.
            Self::Pipe(_) => pool.pipes_open -= 1,
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

fn received(result: io::Result<usize>, asked: usize) -> Received {
    match result {
        Ok(0) => Received::End,
        Ok(count) => Received::Bytes { count, asked },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::WouldBlock,
        Err(error) => Received::Failed(failure(&error)),
    }
}

fn sent(result: io::Result<usize>) -> Sent {
    match result {
        Ok(0) => Sent::WouldBlock,
        Ok(count) => Sent::Bytes(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::WouldBlock,
        Err(error) => Sent::Failed(failure(&error)),
    }
}

/// Tells a reset from the rest.
pub(super) fn failure(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::EPIPE) => Failure::Reset,
        Some(_) | None => Failure::Other,
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
        let mut pool = Pool::new(0, 0);
        let mut conduit = Conduit::Empty;
        conduit.prepend(&[b'h'; 1000], &mut pool);
        conduit.release(&mut pool);
        assert!(pool.buffers.is_empty());
        conduit.prepend(b"h", &mut pool);
        conduit.release(&mut pool);
        assert_eq!(pool.buffers.len(), 1);
    }
}
