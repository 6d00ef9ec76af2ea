//! Where bytes rest between two sockets: nowhere, in a pooled buffer, or in a pooled pipe.
//!
//! It moves bytes and hands on what the system said. Invariant: a conduit holds a buffer or
//! a pipe only while there are bytes in it, so an idle connection holds neither.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Instant;

use socket2::Socket;

use super::buffers::{Buffers, HEADROOM, TRIM_INTERVAL};
use super::pipes::{Pipe, PipeLimits, Pipes};
use crate::data::sys::{self, Follow};

/// Room for a receive behind what is held: less would be filled by who is not bulky.
const MORE_BYTES_MIN: usize = 4 * 1024;

/// What came of a receive or a splice out of a socket.
#[derive(Debug)]
pub(super) struct Moved {
    /// Bytes there was room for.
    pub(super) asked: usize,
    /// Bytes that came, 0 at the end; or the error.
    pub(super) result: io::Result<usize>,
}

/// A buffer with bytes in `start..end`: four bytes each, since idle connections are paid for by the byte.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Buffer {
    fn new(bytes: Box<[u8]>, held: Range<usize>) -> Self {
        let mut buffer = Self { bytes, start: 0, end: 0 };
        buffer.set_held(held);
        buffer
    }

    fn start(&self) -> usize {
        self.start as usize
    }

    fn end(&self) -> usize {
        self.end as usize
    }

    fn set_held(&mut self, held: Range<usize>) {
        let [start, end] =
            [held.start, held.end].map(|at| u32::try_from(at).expect("a buffer is smaller"));
        (self.start, self.end) = (start, end);
    }

    /// Receives once behind the headroom; whatever was held is gone.
    pub(super) fn receive(&mut self, mut source: &Socket) -> Moved {
        let room = &mut self.bytes[HEADROOM..];
        let asked = room.len();
        let result = uninterrupted(|| source.read(room));
        self.set_held(HEADROOM..HEADROOM + *result.as_ref().unwrap_or(&0));
        Moved { asked, result }
    }

    /// Receives once behind what is held.
    fn receive_more(&mut self, mut source: &Socket, spares: &mut Spares) -> Moved {
        if self.bytes.len() - self.end() < MORE_BYTES_MIN {
            let held = self.held();
            let end = held.len();
            let room = end + MORE_BYTES_MIN;
            let bytes = spares.buffers.take(room);
            let mut bytes = bytes.unwrap_or_else(|| vec![0; room].into_boxed_slice());
            bytes[..end].copy_from_slice(held);
            spares.give_buffer(std::mem::replace(self, Self::new(bytes, 0..end)));
        }
        let (start, end) = (self.start(), self.end());
        let room = &mut self.bytes[end..];
        let asked = room.len();
        let result = uninterrupted(|| source.read(room));
        self.set_held(start..end + *result.as_ref().unwrap_or(&0));
        Moved { asked, result }
    }

    /// Returns what is held.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.start()..self.end()]
    }

    /// Drops the first `count` bytes.
    pub(super) fn skip(&mut self, count: usize) {
        let end = self.end();
        self.set_held((self.start() + count).min(end)..end);
    }

    /// Puts bytes in front of what is held.
    pub(super) fn prepend(&mut self, front: &[u8], spares: &mut Spares) {
        if let Some(start) = self.start().checked_sub(front.len()) {
            let held = self.start()..self.end();
            self.bytes[start..held.start].copy_from_slice(front);
            self.set_held(start..held.end);
        } else {
            let held = self.held();
            let end = front.len() + held.len();
            let room = spares.buffers.take(end);
            // No size holds the longest header and a whole read.
            let mut bytes = room.unwrap_or_else(|| vec![0; end].into_boxed_slice());
            bytes[..front.len()].copy_from_slice(front);
            bytes[front.len()..end].copy_from_slice(held);
            spares.give_buffer(std::mem::replace(self, Self::new(bytes, 0..end)));
        }
    }

    /// Moves what is held into a buffer of about its size.
    fn shrink(&mut self, spares: &mut Spares) {
        let held = self.held();
        if Buffers::is_too_large(&self.bytes, held.len())
            && let Some(mut bytes) = spares.buffers.take(held.len())
        {
            let end = held.len();
            bytes[..end].copy_from_slice(held);
            spares.give_buffer(std::mem::replace(self, Self::new(bytes, 0..end)));
        }
    }
}

/// Buffers and pipes that are not in use.
#[derive(Debug)]
pub(super) struct Spares {
    buffers: Buffers,
    pipes: Pipes,
}

impl Spares {
    pub(super) fn new(limits: PipeLimits) -> Self {
        Self { buffers: Buffers::default(), pipes: Pipes::new(limits) }
    }

    /// Goes on with other limits.
    pub(super) fn set_limits(&mut self, limits: PipeLimits) {
        self.pipes.set_limits(limits);
    }

    pub(super) fn take_buffer(&mut self) -> Buffer {
        Buffer::new(self.buffers.take_largest(), HEADROOM..HEADROOM)
    }

    /// Copies bytes into a buffer of about their size.
    pub(super) fn buffer_of(&mut self, bytes: &[u8]) -> Buffer {
        let room = self.buffers.take(bytes.len());
        let mut room = room.unwrap_or_else(|| vec![0; bytes.len()].into_boxed_slice());
        room[..bytes.len()].copy_from_slice(bytes);
        Buffer::new(room, 0..bytes.len())
    }

    pub(super) fn give_buffer(&mut self, buffer: Buffer) {
        self.buffers.give(buffer.bytes);
    }

    /// Returns when to call [`trim`](Self::trim) next, if there is something to be given back.
    pub(super) fn trim_at(&self, now: Instant) -> Option<Instant> {
        self.buffers.is_spare().then(|| now + TRIM_INTERVAL)
    }

    /// Gives back what has not been in use for an interval.
    pub(super) fn trim(&mut self) {
        self.buffers.trim();
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
    held: u32,
}

impl Conduit {
    /// Receives into an empty conduit.
    pub(super) fn receive(&mut self, source: &Socket, spares: &mut Spares) -> Moved {
        let mut buffer = spares.take_buffer();
        let moved = buffer.receive(source);
        self.put(buffer, spares);
        moved
    }

    /// Receives behind what is held; it is in a buffer or nowhere.
    pub(super) fn receive_more(&mut self, source: &Socket, spares: &mut Spares) -> Moved {
        let Self::Buffer(buffer) = self else { return self.receive(source, spares) };
        buffer.receive_more(source, spares)
    }

    /// Returns the bytes that a buffer holds.
    pub(super) fn buffered(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer.held(),
            Self::Empty | Self::Pipe(_) => &[],
        }
    }

    /// Splices into an empty conduit; `None` if there is no pipe to be had.
    pub(super) fn splice(
        &mut self,
        source: &Socket,
        spares: &mut Spares,
        now: Instant,
    ) -> Option<Moved> {
        debug_assert!(matches!(self, Self::Empty));
        let pipe = spares.pipes.take(now)?;
        let asked = pipe.size();
        let result = uninterrupted(|| sys::splice(source, &pipe.write, asked));
        match result {
            Ok(held) if held > 0 => {
                let held = u32::try_from(held).expect("a pipe is smaller");
                *self = Self::Pipe(PipeHeld { pipe, held });
            }
            Ok(_) | Err(_) => spares.pipes.give(pipe),
        }
        Some(Moved { asked, result })
    }

    /// Sends once from what is held; what was sent is gone.
    pub(super) fn send(
        &mut self,
        sink: &Socket,
        follow: Follow,
        spares: &mut Spares,
    ) -> io::Result<usize> {
        let (sent, is_empty) = match self {
            Self::Empty => return Ok(0),
            Self::Buffer(buffer) => {
                let sent = uninterrupted(|| sys::send(sink, buffer.held(), follow))?;
                buffer.skip(sent);
                (sent, buffer.held().is_empty())
            }
            Self::Pipe(PipeHeld { pipe, held }) => {
                let sent = uninterrupted(|| sys::splice(&pipe.read, sink, *held as usize))?;
                *held -= u32::try_from(sent).expect("no more than was held");
                (sent, *held == 0)
            }
        };
        if is_empty {
            self.release(spares);
        }
        Ok(sent)
    }

    /// Puts a buffer into an empty conduit, or back into the spares if nothing is in it.
    pub(super) fn put(&mut self, buffer: Buffer, spares: &mut Spares) {
        debug_assert!(matches!(self, Self::Empty));
        if buffer.held().is_empty() {
            spares.give_buffer(buffer);
        } else {
            *self = Self::Buffer(buffer);
        }
    }

    /// Puts bytes in front of what is held, in place of the first `count`; it is in a buffer or nowhere.
    pub(super) fn replace_front(&mut self, count: usize, front: &[u8], spares: &mut Spares) {
        let mut buffer = match std::mem::replace(self, Self::Empty) {
            Self::Buffer(buffer) => buffer,
            Self::Empty => spares.take_buffer(),
            Self::Pipe(_) => unreachable!("nothing is spliced before a connection stands"),
        };
        buffer.skip(count);
        buffer.prepend(front, spares);
        self.put(buffer, spares);
    }

    /// What is held waits for long: it takes no more room than it needs.
    pub(super) fn rest(&mut self, spares: &mut Spares) {
        if let Self::Buffer(buffer) = self {
            buffer.shrink(spares);
        }
    }

    /// Gives the buffer or the pipe back; bytes still in a pipe are lost with it.
    pub(super) fn release(&mut self, spares: &mut Spares) {
        match std::mem::replace(self, Self::Empty) {
            Self::Empty => {}
            Self::Buffer(buffer) => spares.give_buffer(buffer),
            Self::Pipe(PipeHeld { pipe, held: 0 }) => spares.pipes.give(pipe),
            Self::Pipe(PipeHeld { pipe, .. }) => spares.pipes.close(pipe),
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

    fn spares() -> Spares {
        Spares::new(PipeLimits::new(0, 0, 0))
    }

    /// A buffer that has received this.
    fn received(bytes: &[u8], spares: &mut Spares) -> Buffer {
        let mut buffer = spares.take_buffer();
        buffer.bytes[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        buffer.set_held(HEADROOM..HEADROOM + bytes.len());
        buffer
    }

    #[test]
    fn a_short_header_is_put_into_the_headroom_and_a_long_one_moves_the_payload() {
        let mut spares = spares();
        for len in [0, 1, HEADROOM, HEADROOM + 1, 65_551] {
            let mut buffer = received(b"payload", &mut spares);
            let front = vec![b'h'; len];
            buffer.prepend(&front, &mut spares);
            assert_eq!(buffer.held(), [front.as_slice(), b"payload"].concat());
        }
    }

    #[test]
    fn what_rests_takes_little_room_and_still_takes_a_header_in_front() {
        let mut spares = spares();
        let mut conduit = Conduit::Buffer(received(b"payload", &mut spares));
        for header in [&b""[..], b"header, ", &[b'h'; 65_551]] {
            conduit.replace_front(0, header, &mut spares);
            conduit.rest(&mut spares);
            let Conduit::Buffer(buffer) = &mut conduit else { panic!("it holds bytes") };
            assert!(buffer.held().starts_with(header) && buffer.held().ends_with(b"payload"));
            assert!(
                buffer.bytes.len() <= 256.max(4 * buffer.held().len()),
                "{}",
                buffer.bytes.len()
            );
            buffer.skip(header.len());
        }
    }

    #[test]
    fn a_header_takes_the_place_of_another_and_leaves_the_payload() {
        let mut spares = spares();
        let mut conduit = Conduit::Buffer(received(b"payload", &mut spares));
        let mut before = 0;
        for header in [&[b'1'; 52][..], &[b'2'; 300], b"", b"PROXY UNKNOWN\r\n"] {
            conduit.replace_front(before, header, &mut spares);
            let Conduit::Buffer(buffer) = &conduit else { panic!("it holds bytes") };
            assert_eq!(buffer.held(), [header, b"payload"].concat());
            before = header.len();
        }
    }
}
