//! Downloads flat out between two ends that cost next to nothing: sent from a file, received by a
//! kernel that counts the bytes and drops them (tcp(7), MSG_TRUNC).
//!
//! A thread a connection at both ends, as hosts on a network go on by themselves. One thread for all
//! sources would refill one while the others run dry, and what a proxy does with many that are full,
//! which is what is looked for, would not be seen. Invariant: each byte that was sent is received, or
//! the counts of a run do not add up.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use ppload::{After, Found, Pattern, Request, find_header};
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;

use super::reconcile::{Bytes, Driven, Seen, Served};
use super::setup::Inbound;
use crate::host::now;

/// A socket that moves nothing for so long belongs to a proxy that has stopped.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pattern that bodies are sent from: also the longest answer whose length is asked for.
const FILE_BYTES: u64 = 4 << 20;
/// What one call sends or receives at most.
const CHUNK: usize = 1 << 20;
/// An answer up to this goes out with its head, in one segment.
const AT_ONCE: u64 = 16 << 10;
/// The path of an endless answer, with the milliseconds behind it after which it ends all the same.
const FLOOD: &[u8] = b"GET /flood/";
const FLOOD_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";

/// The server behind the proxy.
pub(super) struct Source {
    listener: TcpListener,
    accepting: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What its connections use.
struct Shared {
    pattern: Pattern,
    file: File,
    accepted: AtomicU64,
    answers: AtomicU64,
    failures: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// What a connection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// So many bytes.
    Sized(Request),
    /// As many as there is time for.
    Flood(Duration),
}

impl Source {
    /// Listens; every connection begins with a PROXY header.
    pub(super) fn start(listen: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).context("the port of the backend")?;
        let shared = Arc::new(Shared::new().context("a file in memory")?);
        let (accepts, of_all) = (listener.try_clone()?, Arc::clone(&shared));
        let accepting = thread::spawn(move || {
            let mut serving = Vec::new();
            while let Ok((stream, _)) = accepts.accept() {
                let shared = Arc::clone(&of_all);
                serving.push(thread::spawn(move || shared.serve_and_count(&stream)));
            }
            for thread in serving {
                // One that panicked has not counted its answer, which is seen.
                let _ = thread.join();
            }
        });
        Ok(Self { listener, accepting: Some(accepting), shared })
    }

    /// Ends once all connections have, and returns what was counted.
    pub(super) fn stop(mut self) -> Served {
        self.end();
        let Shared { accepted, answers, failures, up, down, .. } = &*self.shared;
        let [accepted, answers, failures, up, down] =
            [accepted, answers, failures, up, down].map(|count| count.load(Ordering::Relaxed));
        let seen = Seen { accepted, failures, requests: Some(answers) };
        Served { seen, bytes: Some(Bytes { up, down }) }
    }

    fn end(&mut self) {
        // accept(2) returns then.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn new() -> io::Result<Self> {
        let (pattern, mut at) = (Pattern::new(), 0);
        let mut file = File::from(memfd_create("pattern", MemfdFlags::CLOEXEC)?);
        while at < FILE_BYTES {
            let piece = pattern.piece(at, FILE_BYTES - at);
            file.write_all(piece)?;
            at += size(piece.len());
        }
        let [accepted, answers, failures, up, down] = Default::default();
        Ok(Self { pattern, file, accepted, answers, failures, up, down })
    }

    fn serve_and_count(&self, stream: &TcpStream) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.serve(stream) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            eprintln!("   a source: {error}");
        }
    }

    /// Answers what a connection asks until it ends.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut held = Vec::new();
        let Some(((), header)) = next(stream, &mut held, find_header)? else { return Ok(()) };
        held.drain(..header);
        while let Some((question, len)) = next(stream, &mut held, Question::find)? {
            held.drain(..len);
            self.up.fetch_add(size(len), Ordering::Relaxed);
            let after = match question {
                Question::Sized(request) => self.answer(stream, request)?,
                Question::Flood(span) => self.flood(stream, now() + span)?,
            };
            self.answers.fetch_add(1, Ordering::Relaxed);
            if after == After::Close {
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&self, stream: &TcpStream, request: Request) -> io::Result<After> {
        let mut opening = request.answer_head().into_bytes();
        let (body, mut at) = (request.down, 0);
        if body > FILE_BYTES {
            return Err(io::Error::other("no answer is that long"));
        }
        if body <= AT_ONCE {
            opening.extend_from_slice(self.pattern.piece(0, body));
            at = body;
        }
        self.send(stream, &opening)?;
        while at < body {
            self.send_file(stream, &mut at, body)?;
        }
        Ok(request.after)
    }

    fn flood(&self, stream: &TcpStream, end: Instant) -> io::Result<After> {
        self.send(stream, FLOOD_HEAD)?;
        while now() < end {
            self.send_file(stream, &mut 0, FILE_BYTES)?;
        }
        Ok(After::Close)
    }

    fn send(&self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes)?;
        self.down.fetch_add(size(bytes.len()), Ordering::Relaxed);
        Ok(())
    }

    /// Sends some of the file, from `at` to `end`.
    fn send_file(&self, stream: &TcpStream, at: &mut u64, end: u64) -> io::Result<()> {
        let len = usize::try_from(end - *at).map_or(CHUNK, |left| left.min(CHUNK));
        let sent = sendfile(stream, &self.file, Some(at), len)?;
        self.down.fetch_add(size(sent), Ordering::Relaxed);
        Ok(())
    }
}

impl Question {
    fn find(bytes: &[u8]) -> Found<Self> {
        match Request::find(bytes, 0) {
            Found::At(end, request) => match bytes.strip_prefix(FLOOD) {
                None => Found::At(end, Self::Sized(request)),
                Some(rest) => {
                    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let millis =
                        str::from_utf8(&rest[..digits]).ok().and_then(|it| it.parse().ok());
                    millis.map_or(Found::Bad, |millis| {
                        Found::At(end, Self::Flood(Duration::from_millis(millis)))
                    })
                }
            },
            Found::Incomplete => Found::Incomplete,
            Found::Bad => Found::Bad,
        }
    }
}

/// Finds what comes next and how long it is, receiving as much as that takes; none when the peer's
/// end comes first.
fn next<T>(
    mut stream: &TcpStream,
    held: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Found<T>,
) -> io::Result<Option<(T, usize)>> {
    loop {
        match find(held) {
            Found::At(len, found) => return Ok(Some((found, len))),
            Found::Bad => return Err(io::Error::other("neither header nor request")),
            Found::Incomplete => {}
        }
        let mut more = [0; 4096];
        match stream.read(&mut more)? {
            0 if held.is_empty() => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => held.extend_from_slice(&more[..count]),
        }
    }
}

/// Downloads under way.
pub(super) struct Downloads {
    began: Instant,
    threads: Vec<JoinHandle<io::Result<Bytes>>>,
}

impl Downloads {
    /// Begins `count` of them through the proxy; their source ends them after `span`.
    pub(super) fn begin(count: u32, proxy: SocketAddr, inbound: Inbound, span: Duration) -> Self {
        let began = now();
        let download = || thread::spawn(move || download(proxy, inbound, span));
        Self { began, threads: (0..count).map(|_| download()).collect() }
    }

    /// Waits for the last of them, and returns what they were and how many seconds they took.
    pub(super) fn finish(self) -> Result<(Driven, f64)> {
        let mut driven = Driven::default();
        for thread in self.threads {
            let bytes = thread.join().map_err(|_| anyhow!("a download panicked"))?;
            let bytes = bytes.context("a download")?;
            driven = driven + Driven { connections: 1, exchanges: 1, bytes, ..Driven::default() };
        }
        Ok((driven, (now() - self.began).as_secs_f64()))
    }
}

fn download(proxy: SocketAddr, inbound: Inbound, span: Duration) -> io::Result<Bytes> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let millis = span.as_millis();
    let question = [FLOOD, format!("{millis} HTTP/1.1\r\n\r\n").as_bytes()].concat();
    stream.write_all(&[inbound.header().bytes(), &question].concat())?;
    let (mut buffer, mut down) = (vec![0; CHUNK], 0);
    loop {
        match recv(&stream, &mut buffer[..], RecvFlags::TRUNC)? {
            (_, 0) => return Ok(Bytes { up: size(question.len()), down }),
            (_, count) => down += size(count),
        }
    }
}

fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use ppload::Check;

    use super::super::quiet::Guest;
    use super::super::reconcile::faults;
    use super::*;

    #[test]
    fn what_downloads_and_their_guests_move_is_what_the_source_counts() {
        let source = Source::start(([127, 0, 0, 1], 0).into()).unwrap();
        let (to, span) = (source.listener.local_addr().unwrap(), Duration::from_millis(50));
        let downloads = Downloads::begin(3, to, Inbound::Header, span);
        let visits = [Guest::Quiet, Guest::New].map(|guest| {
            let visit = guest.visit(to, Inbound::Header, span).unwrap();
            // A microsecond is what no socket can do.
            assert!(visit.latency().p50 > 1.0, "{guest:?}");
            visit.driven
        });
        let (moved, seconds) = downloads.finish().unwrap();
        assert!(moved.bytes.down > 0 && seconds > 0.0);
        let (driven, served) = (moved + visits[0] + visits[1], source.stop());
        assert_eq!(driven.connections, 4 + visits[1].connections);
        // The source stands for the proxy as well: nobody is between.
        assert_eq!(faults(&driven, &served.seen, &served), [""; 0]);
    }

    #[test]
    fn a_question_says_how_much_or_how_long() {
        let flood = b"GET /flood/250 HTTP/1.1\r\n\r\n";
        let asked = Question::Flood(Duration::from_millis(250));
        assert_eq!(Question::find(flood), Found::At(flood.len(), asked));
        assert_eq!(Question::find(&flood[..20]), Found::Incomplete);
        assert_eq!(Question::find(b"GET /flood/x HTTP/1.1\r\n\r\n"), Found::Bad);
        let request = Request { up: 0, down: 128, after: After::Close, check: Check::Full };
        let head = request.head();
        assert_eq!(Question::find(&head), Found::At(head.len(), Question::Sized(request)));
    }

    #[test]
    fn a_source_that_is_dropped_leaves_its_port() {
        let source = Source::start(([127, 0, 0, 1], 0).into()).unwrap();
        let listen = source.listener.local_addr().unwrap();
        drop(source);
        Source::start(listen).unwrap();
    }
}
