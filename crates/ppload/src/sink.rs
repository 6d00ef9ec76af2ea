//! The sink: the server behind the proxy under load. One thread; it answers requests, takes and
//! gives bulk data, and counts.
//!
//! Not a web server. Made to cost less than what it stands behind: it tries to read right after
//! accept, so that a short connection takes accept, recv, send, close and is never registered.
//! Invariant: every accepted connection is counted under exactly one end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::args::SinkArgs;
use crate::client::size;
use crate::host;
use crate::pattern::{CHUNK, Check, Pattern};
use crate::report::{SinkReport, count_failure, error_name};
use crate::wire::{After, CORRUPT, Found, RECEIVED, Request, find_header};

const TICK: Duration = Duration::from_millis(100);
const EVENTS: usize = 1024;
/// listen(2); somaxconn is this by default.
const BACKLOG: i32 = 4096;
/// So much of a body goes out in one write with the head.
const INLINE: u64 = 16 * 1024;

const LISTENER: Token = Token(usize::MAX - 1);

struct Conn {
    socket: TcpStream,
    /// What the poll has been told to look for.
    interest: Option<Interest>,
    state: State,
}

enum State {
    /// Before and between requests. `held` is what has come of one; it allocates only then.
    Asked {
        owes_header: bool,
        is_silent: bool,
        held: Vec<u8>,
    },
    Answering(Answer),
}

struct Answer {
    request: Request,
    /// Of head, body and verdict.
    sent: u64,
    /// What there is to send; known with the first send.
    total: u64,
    /// `0 <= received <= request.up`.
    received: u64,
    is_corrupt: bool,
}

/// What became of a connection in one go.
enum Went {
    /// It waits for its socket.
    Waits,
    Ended {
        is_silent: bool,
    },
    Failed(String),
}

/// What became of an attempt to send.
enum Sent {
    /// A whole chunk.
    Chunk,
    /// As much as the socket takes.
    Full,
    /// There is nothing to send until more is received.
    Nothing,
}

/// What is known to be worth trying on a socket.
#[derive(Clone, Copy)]
struct Ready {
    read: bool,
    /// The peer's end is there: read until it is reached.
    to_end: bool,
}

/// What all connections use.
struct Shared {
    pattern: Pattern,
    buffer: Vec<u8>,
    /// The request answered last, the length of its answer's head, and that head with the first
    /// bytes of the body. All requests of a run are alike.
    opening: (Request, usize, Vec<u8>),
    args: SinkArgs,
    counts: SinkReport,
}

pub(super) struct Sink {
    poll: Poll,
    listener: TcpListener,
    addr: SocketAddr,
    conns: Vec<Option<Conn>>,
    empty: Vec<usize>,
    shared: Shared,
}

impl Sink {
    /// Binds the address, alone: without SO_REUSEPORT nobody can share it unseen.
    ///
    /// # Errors
    /// When the address is taken.
    pub(super) fn bind(args: &SinkArgs) -> Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(args.listen), kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket
            .bind(&args.listen.into())
            .and_then(|()| socket.listen(BACKLOG))
            .with_context(|| format!("listening on {}", args.listen))?;
        let mut listener = TcpListener::from_std(socket.into());
        let addr = listener.local_addr()?;
        let poll = Poll::new().context("a poll")?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let slots = usize::try_from(args.connections)?;
        let shared = Shared::new(args.clone(), CHUNK);
        let conns = (0..slots).map(|_| None).collect();
        Ok(Self { poll, listener, addr, conns, empty: (0..slots).rev().collect(), shared })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` or the time is over.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub(super) fn run(mut self, stop: &AtomicBool) -> Result<SinkReport> {
        let (end, cpu) = (host::now() + self.shared.args.run_for, host::thread_cpu());
        let mut events = Events::with_capacity(EVENTS);
        while !stop.load(Ordering::Relaxed) && host::now() < end {
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("polling"),
            }
            for event in events.iter() {
                match event.token() {
                    LISTENER => self.accept(),
                    Token(index) => {
                        let to_end = event.is_read_closed() || event.is_error();
                        self.go_on(index, Ready { read: event.is_readable() || to_end, to_end });
                    }
                }
            }
        }
        self.shared.counts.open = size(self.conns.iter().flatten().count());
        self.shared.counts.cpu_seconds = (host::thread_cpu() - cpu).as_secs_f64();
        Ok(self.shared.counts)
    }

    /// Takes all that wait: the next edge comes only with the next connection.
    fn accept(&mut self) {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    self.shared.counts.accepted += 1;
                    let name = format!("accept: {}", error_name(&error));
                    return count_failure(&mut self.shared.counts.failed, &name);
                }
            };
            self.shared.counts.accepted += 1;
            let Some(index) = self.empty.pop() else {
                count_failure(&mut self.shared.counts.failed, "more than --connections");
                continue;
            };
            self.conns[index] = Some(Conn::new(socket, &self.shared.args));
            self.go_on(index, Ready { read: true, to_end: false });
        }
    }

    /// Lets a connection do what it can.
    fn go_on(&mut self, index: usize, ready: Ready) {
        let Some(conn) = &mut self.conns[index] else { return };
        let mut went = conn.go_on(ready, &mut self.shared);
        if matches!(went, Went::Waits)
            && let Err(error) = conn.register(self.poll.registry(), Token(index))
        {
            went = Went::Failed(error_name(&error));
        }
        match went {
            Went::Waits => return,
            Went::Ended { is_silent } => {
                self.shared.counts.ended += 1;
                self.shared.counts.silent += u64::from(is_silent);
            }
            Went::Failed(name) => count_failure(&mut self.shared.counts.failed, &name),
        }
        self.conns[index] = None;
        self.empty.push(index);
    }
}

impl Shared {
    /// `buffer` is the size of the receive buffer, a chunk of the pattern at most.
    fn new(args: SinkArgs, buffer: usize) -> Self {
        let pattern = Pattern::new();
        let request = Request { up: 0, down: args.bytes, after: After::Keep, check: Check::Full };
        let (head, opening) = opening(&request, &pattern);
        Self {
            pattern,
            buffer: vec![0; buffer],
            opening: (request, head, opening),
            args,
            counts: SinkReport::default(),
        }
    }
}

impl Conn {
    fn new(socket: TcpStream, args: &SinkArgs) -> Self {
        let owes_header = args.proxy;
        let state = State::Asked { owes_header, is_silent: true, held: Vec::new() };
        Self { socket, interest: None, state }
    }

    /// Reads and writes by turns, so that neither way waits for the other.
    fn go_on(&mut self, ready: Ready, shared: &mut Shared) -> Went {
        let (mut can_read, mut can_write) = (ready.read, true);
        loop {
            let mut did = false;
            if can_read {
                match self.socket.read(&mut shared.buffer) {
                    Ok(0) => return self.handle_end(),
                    Ok(count) => {
                        did = true;
                        can_read = ready.to_end || count == shared.buffer.len();
                        shared.counts.bytes_received += size(count);
                        if let Err(what) = self.take(count, shared) {
                            return Went::Failed(what.to_owned());
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => can_read = false,
                    Err(error) => return Went::Failed(error_name(&error)),
                }
            }
            if let State::Answering(answer) = &mut self.state
                && can_write
            {
                match answer.send(&mut self.socket, shared) {
                    Ok(Sent::Chunk) => did = true,
                    Ok(Sent::Full) => can_write = false,
                    Ok(Sent::Nothing) => {}
                    Err(error) => return Went::Failed(error_name(&error)),
                }
                if answer.is_done() {
                    shared.counts.answers += 1;
                    if answer.request.after == After::Close {
                        return Went::Ended { is_silent: false };
                    }
                    self.state =
                        State::Asked { owes_header: false, is_silent: false, held: Vec::new() };
                }
            }
            if !did {
                return Went::Waits;
            }
        }
    }

    /// Has the poll look for what it waits for; the first time is mostly the last.
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let wanted = match self.state {
            State::Asked { .. } => Interest::READABLE,
            State::Answering(_) => Interest::READABLE | Interest::WRITABLE,
        };
        match self.interest {
            None => registry.register(&mut self.socket, token, wanted)?,
            Some(Interest::READABLE) if wanted != Interest::READABLE => {
                registry.reregister(&mut self.socket, token, wanted)?;
            }
            Some(_) => return Ok(()),
        }
        self.interest = Some(wanted);
        Ok(())
    }

    fn handle_end(&self) -> Went {
        match &self.state {
            State::Asked { is_silent, held, .. } if held.is_empty() => {
                Went::Ended { is_silent: *is_silent }
            }
            State::Asked { .. } => Went::Failed("closed inside a request".to_owned()),
            State::Answering(_) => Went::Failed("closed before the answer".to_owned()),
        }
    }

    /// Takes the first `count` bytes of the buffer.
    fn take(&mut self, count: usize, shared: &mut Shared) -> Result<(), &'static str> {
        let mut bytes = &shared.buffer[..count];
        if let State::Asked { owes_header, is_silent, held } = &mut self.state {
            *is_silent = false;
            let before = held.len();
            if before > 0 {
                held.extend_from_slice(bytes);
            }
            let all = if before > 0 { held.as_slice() } else { bytes };
            match find_request(all, *owes_header, shared.args.bytes) {
                Found::At(end, (header, request)) => {
                    bytes = &bytes[end.saturating_sub(before)..];
                    shared.counts.bytes_received -= size(header);
                    self.state = State::Answering(Answer {
                        request,
                        sent: 0,
                        total: u64::MAX,
                        received: 0,
                        is_corrupt: false,
                    });
                }
                Found::Incomplete => {
                    if before == 0 {
                        *held = bytes.to_vec();
                    }
                    return Ok(());
                }
                Found::Bad => return Err("no request, or one without the due header"),
            }
        }
        match &mut self.state {
            State::Asked { .. } => Ok(()),
            State::Answering(answer) => answer.take(bytes, &shared.pattern),
        }
    }
}

impl Answer {
    /// Takes bytes of the upload.
    fn take(&mut self, bytes: &[u8], pattern: &Pattern) -> Result<(), &'static str> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.received + size(bytes.len()) > self.request.up {
            return Err("more bytes than announced");
        }
        self.is_corrupt |= !pattern.matches(self.received, bytes, self.request.check);
        self.received += size(bytes.len());
        Ok(())
    }

    /// Sends the next chunk, when there is one to send yet.
    fn send(&mut self, socket: &mut TcpStream, shared: &mut Shared) -> io::Result<Sent> {
        if shared.opening.0 != self.request {
            let (head, bytes) = opening(&self.request, &shared.pattern);
            shared.opening = (self.request, head, bytes);
        }
        let (_, head, opening) = &shared.opening;
        let head = size(*head);
        let data_end = head + self.request.down;
        self.total = head + self.request.answer_body();
        let chunk = match opening.get(usize::try_from(self.sent).unwrap_or(usize::MAX)..) {
            Some(rest) if !rest.is_empty() => rest,
            Some(_) | None if self.sent < data_end => {
                shared.pattern.piece(self.sent - head, data_end - self.sent)
            }
            Some(_) | None if self.received == self.request.up => {
                let verdict = if self.is_corrupt { CORRUPT } else { RECEIVED };
                &verdict[usize::try_from(self.sent - data_end).unwrap_or(verdict.len())..]
            }
            Some(_) | None => &[],
        };
        if chunk.is_empty() || self.sent == self.total {
            return Ok(Sent::Nothing);
        }
        match socket.write(chunk) {
            Ok(count) => {
                self.sent += size(count);
                shared.counts.bytes_sent += size(count);
                Ok(if count == chunk.len() { Sent::Chunk } else { Sent::Full })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Sent::Full),
            Err(error) => Err(error),
        }
    }

    fn is_done(&self) -> bool {
        self.sent == self.total && self.received == self.request.up
    }
}

/// Finds a request, behind a PROXY header where one is due: the length of the header, and the
/// request.
fn find_request(bytes: &[u8], owes_header: bool, default: u64) -> Found<(usize, Request)> {
    let header = match owes_header.then(|| find_header(bytes)) {
        None => 0,
        Some(Found::At(end, ())) => end,
        Some(Found::Incomplete) => return Found::Incomplete,
        Some(Found::Bad) => return Found::Bad,
    };
    match Request::find(&bytes[header..], default) {
        Found::At(end, request) => Found::At(header + end, (header, request)),
        Found::Incomplete => Found::Incomplete,
        Found::Bad => Found::Bad,
    }
}

/// The length of an answer's head, and the head with the beginning of the body.
fn opening(request: &Request, pattern: &Pattern) -> (usize, Vec<u8>) {
    let mut bytes = request.answer_head().into_bytes();
    let head = bytes.len();
    bytes.extend_from_slice(pattern.piece(0, request.down.min(INLINE)));
    (head, bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as StdListener, TcpStream as StdStream};

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sink: SinkArgs,
    }

    /// What the sink says to a request whose upload is there in full before it reads, 100 bytes at a
    /// time; `spoil` may change the upload.
    fn answer_to(request: Request, spoil: impl FnOnce(&mut [u8])) -> String {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let mut client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut shared = Shared::new(Line::parse_from(["x"]).sink, 100);
        let mut upload = shared.pattern.piece(0, request.up).to_vec();
        spoil(&mut upload);
        let sent = [request.head(), upload].concat();
        client.write_all(&sent).unwrap();
        let mut arrived = vec![0; sent.len()];
        while server.peek(&mut arrived).unwrap() < sent.len() {}

        server.set_nonblocking(true).unwrap();
        let mut conn = Conn::new(TcpStream::from_std(server), &shared.args);
        let went = conn.go_on(Ready { read: true, to_end: false }, &mut shared);
        assert!(matches!(went, Went::Ended { is_silent: false }));
        drop(conn);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    const UPLOAD: Request = Request { up: 1000, down: 0, after: After::Close, check: Check::Full };

    #[test]
    fn an_upload_that_needs_many_reads_in_one_go_is_answered_in_it() {
        let answer = answer_to(UPLOAD, |_| ());
        assert!(answer.ends_with("received"), "{answer}");
    }

    #[test]
    fn an_upload_is_compared_as_closely_as_its_request_asks() {
        for (check, verdict) in [(Check::Full, "corrupt!"), (Check::Length, "received")] {
            let answer = answer_to(Request { check, ..UPLOAD }, |upload| upload[500] ^= 1);
            assert!(answer.ends_with(verdict), "{check:?}: {answer}");
        }
    }
}
