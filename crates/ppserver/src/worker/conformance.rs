//! The simulator's kernel held against the real one.
//!
//! A random script of system calls runs on a real connection over loopback and on the model of it,
//! call by call. The real kernel moves segments when it likes, so the model is a set of states: all
//! that can be once anything, or nothing, has travelled. What the real call answered must be what the
//! model answers in one of them, and only those stay. Invariant: an empty set is a disagreement, and
//! it is the model that is wrong.
//!
//! `PPSERVER_CONFORMANCE_SEEDS=0..20000` runs other scripts; one alone is printed. Not modelled and
//! not in the scripts: full queues, whose sizes are the kernel's own affair.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::conduit::{Conduit, Moved, Pool};
use super::pipes::PipeLimits;
use crate::session::Readiness;
use crate::session::sim::kernel::{Budget, Fd, Kernel, Pipe};
use crate::session::sim::rng::Rng;
use crate::session::sim::shell::readiness;
use crate::session::sim::socket::{Errno, Sizes, Socket};
use crate::sys::{self, Follow};

const SCRIPTS: u64 = 400;
const CALLS: usize = 24;
/// Urgent bytes a script.
const URGENT_MAX: usize = 2;
/// Once in so many times bytes that are held back are waited for: it takes 200 ms.
const WAITS: usize = 64;
/// A timer of the kernel's may be so early: a tick.
const EARLY_MAX: Duration = Duration::from_millis(10);
/// What has not come by then never comes.
const AWAIT_MAX: Duration = Duration::from_secs(10);
/// More states than this would mean that the real kernel tells us nothing.
const STATES_MAX: usize = 20_000;

/// One of the two processes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// As the worker does it: without blocking, watched by an epoll, through conduits.
    Proxy,
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Send(Who, usize, Follow),
    /// The proxy never does.
    SendUrgent,
    Recv(Who, usize),
    /// The peer's recv, once there is something: it must come.
    Await,
    Shutdown(Who),
    Close(Who),
    /// close(2) with SO_LINGER 0.
    Reset(Who),
    /// The proxy's conduit: splice(2) out of the socket into a pipe.
    SpliceIn,
    /// And back into it.
    SpliceOut,
    /// SO_ERROR.
    TakeError,
    /// SIOCOUTQ.
    Unsent,
    /// epoll_wait(2), without waiting.
    Poll,
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Bytes(Vec<u8>),
    Count(usize),
    Failed(Errno),
    Pending(Option<Errno>),
    Event(Option<Readiness>),
    Done,
}

/// The connection as it really is.
struct Real {
    proxy: Option<mio::net::TcpStream>,
    peer: Option<TcpStream>,
    poll: Poll,
    events: Events,
    pool: Pool,
    conduit: Conduit,
}

impl Real {
    fn new(listener: &TcpListener) -> io::Result<Self> {
        let peer = TcpStream::connect(listener.local_addr()?)?;
        let (proxy, _) = listener.accept()?;
        for socket in [&peer, &proxy] {
            socket.set_nonblocking(true)?;
            // A segment a send, as in the model.
            socket.set_nodelay(true)?;
        }
        peer.set_read_timeout(Some(AWAIT_MAX))?;
        let mut proxy = mio::net::TcpStream::from_std(proxy);
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        poll.registry().register(&mut proxy, Token(0), interest)?;
        Ok(Self {
            proxy: Some(proxy),
            peer: Some(peer),
            poll,
            events: Events::with_capacity(8),
            pool: Pool::new(PipeLimits::new(64 * 1024, 0, 1)),
            conduit: Conduit::Empty,
        })
    }

    fn perform(&mut self, call: Call, bytes: &[u8]) -> Answer {
        match call {
            Call::Send(Who::Proxy, _, follow) => counted(sys::send(self.proxy(), bytes, follow)),
            Call::Send(Who::Peer, _, follow) => counted(sys::send(self.peer(), bytes, follow)),
            Call::SendUrgent => counted(SockRef::from(self.peer()).send_out_of_band(b"!")),
            Call::Recv(who, len) => self.receive(who, len),
            Call::Await => {
                self.peer().set_nonblocking(false).expect("fcntl works");
                let answer = self.receive(Who::Peer, 64);
                self.peer().set_nonblocking(true).expect("fcntl works");
                let is_late = answer == Answer::Failed(Errno::Again);
                if is_late { Answer::Failed(Errno::TimedOut) } else { answer }
            }
            Call::Shutdown(who) => {
                let result = match who {
                    Who::Proxy => self.proxy().shutdown(Shutdown::Write),
                    Who::Peer => self.peer().shutdown(Shutdown::Write),
                };
                result.map_or_else(|error| Answer::Failed(errno(&error)), |()| Answer::Done)
            }
            Call::Close(who) => self.close(who),
            Call::Reset(Who::Proxy) => {
                sys::reset_on_close(self.proxy());
                self.close(Who::Proxy)
            }
            Call::Reset(Who::Peer) => {
                sys::reset_on_close(self.peer());
                self.close(Who::Peer)
            }
            Call::SpliceIn => {
                let socket = self.proxy.as_ref().expect("it is open");
                let moved = self.conduit.fill_by_splice(socket, &mut self.pool);
                let Moved { result, .. } = moved.expect("the pool has a pipe");
                counted(result)
            }
            Call::SpliceOut => {
                let socket = self.proxy.as_ref().expect("it is open");
                counted(self.conduit.drain(socket, Follow::Unknown, &mut self.pool))
            }
            Call::TakeError => {
                let pending = self.proxy().take_error().expect("getsockopt works");
                Answer::Pending(pending.map(|error| errno(&error)))
            }
            Call::Unsent => Answer::Count(sys::unsent(self.proxy()).expect("it is a socket")),
            Call::Poll => {
                self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("epoll_wait works");
                let mut events = self.events.iter();
                let event = events.next().map(super::readiness);
                assert!(events.next().is_none(), "one socket, one event");
                Answer::Event(event)
            }
        }
    }

    fn receive(&self, who: Who, len: usize) -> Answer {
        let mut buf = vec![0; len];
        let (mut proxy, mut peer) = (self.proxy.as_ref(), self.peer.as_ref());
        let source: Option<&mut dyn Read> = match who {
            Who::Proxy => proxy.as_mut().map(|stream| stream as _),
            Who::Peer => peer.as_mut().map(|stream| stream as _),
        };
        match source.expect("it is open").read(&mut buf) {
            Ok(count) => Answer::Bytes(buf[..count].to_vec()),
            Err(error) => Answer::Failed(errno(&error)),
        }
    }

    fn close(&mut self, who: Who) -> Answer {
        match who {
            Who::Proxy => self.proxy = None,
            Who::Peer => self.peer = None,
        }
        Answer::Done
    }

    fn proxy(&self) -> &mio::net::TcpStream {
        self.proxy.as_ref().expect("it is open")
    }

    fn peer(&self) -> &TcpStream {
        self.peer.as_ref().expect("it is open")
    }
}

fn counted(result: io::Result<usize>) -> Answer {
    result.map_or_else(|error| Answer::Failed(errno(&error)), Answer::Count)
}

fn errno(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Errno::Again,
        Some(libc::ECONNRESET) => Errno::ConnReset,
        Some(libc::EPIPE) => Errno::Pipe,
        Some(libc::ENOTCONN) => Errno::NotConn,
        other => panic!("the model knows no {other:?}: {error}"),
    }
}

/// One state the connection may be in.
#[derive(Clone)]
struct Model {
    kernel: Kernel,
    pipe: Option<Pipe>,
}

/// Our end of the one connection, and the peer's.
const ENDS: [Fd; 2] = [Fd(0), Fd(1)];

impl Model {
    fn new() -> Self {
        let budget = Budget { fds: 10, ports: 10, pipes: 10 };
        let mut kernel = Kernel::new(Rng::calm(), budget);
        kernel.arrive();
        let room = 1 << 20;
        let sizes = Sizes { received_max: room, unsent_max: room, segment_max: room };
        assert_eq!(kernel.accept(sizes), Ok(ENDS[0]));
        Self { kernel, pipe: None }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.kernel.sockets, &self.pipe).hash(&mut hasher);
        hasher.finish()
    }

    /// Makes the call, given what the real kernel answered where that is a choice of its own.
    fn perform(&mut self, call: Call, bytes: &[u8], real: &Answer, now: Instant) -> Answer {
        let fd = |who| if who == Who::Proxy { ENDS[0] } else { ENDS[1] };
        let kernel = &mut self.kernel;
        match call {
            Call::Send(who, _, Follow::Unknown) => answer(kernel.send(fd(who), bytes)),
            Call::Send(who, _, Follow::End) => answer(kernel.send_more(fd(who), bytes, now)),
            Call::SendUrgent => answer(kernel.send_urgent(ENDS[1])),
            Call::Recv(who, len) => received(kernel.recv(fd(who), len)),
            Call::Await => received(kernel.recv(ENDS[1], 64)),
            Call::Shutdown(who) => {
                kernel.shutdown(fd(who)).map_or_else(Answer::Failed, |()| Answer::Done)
            }
            Call::Close(who) => {
                kernel.close(fd(who));
                Answer::Done
            }
            Call::Reset(who) => {
                kernel.reset(fd(who));
                Answer::Done
            }
            Call::SpliceIn => {
                let mut pipe = kernel.pipe().expect("the budget has pipes");
                // A splice may stop short for reasons of its own.
                let len = if let Answer::Count(count) = real { (*count).max(1) } else { 1 << 16 };
                let moved = kernel.splice_in(ENDS[0], &mut pipe, len);
                if pipe.is_empty() {
                    kernel.close_pipe(pipe);
                } else {
                    self.pipe = Some(pipe);
                }
                answer(moved)
            }
            Call::SpliceOut => {
                let Some(pipe) = &mut self.pipe else { return Answer::Count(0) };
                let moved = kernel.splice_out(pipe, ENDS[0]);
                if let Some(pipe) = self.pipe.take_if(|pipe| pipe.is_empty()) {
                    kernel.close_pipe(pipe);
                }
                answer(moved)
            }
            Call::TakeError => Answer::Pending(kernel.take_error(ENDS[0])),
            Call::Unsent => Answer::Count(kernel.unsent(ENDS[0])),
            Call::Poll => {
                let harvested = kernel.harvest(ENDS[0]).map(readiness);
                // An epoll may always tell once more what is so.
                let is_spurious = harvested.is_none() && matches!(real, Answer::Event(Some(_)));
                let now = readiness(kernel.look(ENDS[0]).poll());
                Answer::Event(if is_spurious { Some(now) } else { harvested })
            }
        }
    }
}

fn answer(result: Result<usize, Errno>) -> Answer {
    result.map_or_else(Answer::Failed, Answer::Count)
}

fn received(result: Result<Vec<u8>, Errno>) -> Answer {
    result.map_or_else(Answer::Failed, Answer::Bytes)
}

/// Returns every state that can come of these once anything has travelled, or nothing.
fn closure(models: Vec<Model>, now: Instant) -> Vec<Model> {
    let mut seen = HashSet::new();
    let mut open: Vec<Model> = models;
    let mut all = Vec::new();
    while let Some(model) = open.pop() {
        if !seen.insert(model.hash()) {
            continue;
        }
        for travelling in model.kernel.moves(&ENDS[..1], now) {
            let mut next = model.clone();
            next.kernel.perform(travelling);
            open.push(next);
        }
        all.push(model);
        assert!(all.len() < STATES_MAX, "too many states");
    }
    all
}

/// What has been done, so that a script makes sense.
#[derive(Debug, Default)]
struct Course {
    is_closed: [bool; 2],
    is_shut: [bool; 2],
    urged: usize,
    /// Bytes.
    sent: [u8; 2],
    /// Bytes of the proxy's that the peer has not read.
    unread: usize,
    /// The last of them may be held back.
    is_held: bool,
}

impl Course {
    fn draw(&mut self, rng: &mut Rng, is_pipe_full: bool) -> Option<Call> {
        if self.is_held && self.may_await() && rng.one_in(WAITS) {
            return Some(Call::Await);
        }
        let who = rng.pick(&[Who::Proxy, Who::Proxy, Who::Peer]);
        let who = if self.is_closed[who as usize] { other(who) } else { who };
        let at = who as usize;
        if self.is_closed[at] {
            return None;
        }
        let is_proxy = who == Who::Proxy;
        Some(match rng.below(20) {
            0..4 => Call::Send(who, rng.between(1, 4), Follow::Unknown),
            4 => Call::Send(who, rng.between(1, 4), Follow::End),
            5..8 => Call::Recv(who, 64),
            8 => Call::Recv(who, rng.between(1, 3)),
            9 if !self.is_shut[at] => {
                self.is_shut[at] = true;
                Call::Shutdown(who)
            }
            10 if rng.one_in(3) => {
                self.is_closed[at] = true;
                Call::Close(who)
            }
            11 if rng.one_in(3) => {
                self.is_closed[at] = true;
                Call::Reset(who)
            }
            12 | 13 if !is_proxy && self.urged < URGENT_MAX && !self.is_shut[at] => {
                self.urged += 1;
                Call::SendUrgent
            }
            12 | 13 if is_proxy && !is_pipe_full => Call::SpliceIn,
            12 | 13 if is_proxy => Call::SpliceOut,
            14 if is_proxy => Call::TakeError,
            15 if is_proxy => Call::Unsent,
            16..20 if is_proxy => Call::Poll,
            16..20 if !self.is_held && self.may_await() => Call::Await,
            _ => Call::Recv(who, 64),
        })
    }

    /// Returns whether there is something to wait for.
    fn may_await(&self) -> bool {
        self.unread > 0 && !self.is_closed[Who::Peer as usize]
    }

    /// Returns the bytes of a send: no two of a direction are alike, and none is the urgent one.
    fn bytes(&mut self, call: Call) -> Vec<u8> {
        let Call::Send(who, len, _) = call else { return Vec::new() };
        let next = || {
            self.sent[who as usize] += 1;
            b'!' + self.sent[who as usize]
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    fn note(&mut self, call: Call, answer: &Answer) {
        match (call, answer) {
            (Call::Send(Who::Proxy, _, follow), Answer::Count(count)) => {
                self.unread += count;
                self.is_held = follow == Follow::End;
            }
            (Call::SpliceOut, Answer::Count(count)) => {
                self.unread += count;
                self.is_held &= *count == 0;
            }
            (Call::Recv(Who::Peer, _) | Call::Await, Answer::Bytes(bytes)) => {
                self.unread -= bytes.len();
            }
            (Call::Shutdown(Who::Proxy) | Call::Close(Who::Proxy), _) => self.is_held = false,
            _ => {}
        }
    }
}

fn other(who: Who) -> Who {
    match who {
        Who::Proxy => Who::Peer,
        Who::Peer => Who::Proxy,
    }
}

/// Makes the model err.
#[derive(Clone, Copy)]
enum Distortion {
    None,
    /// In what it answers.
    Answer(fn(Call, Answer) -> Answer),
    /// In what becomes of its sockets.
    Socket(fn(&mut Socket)),
}

impl Distortion {
    fn answer(self, call: Call, answer: Answer) -> Answer {
        if let Self::Answer(distort) = self { distort(call, answer) } else { answer }
    }

    fn sockets(self, model: &mut Model) {
        if let Self::Socket(distort) = self {
            model.kernel.sockets.iter_mut().for_each(distort);
        }
    }
}

/// Runs one script. Returns the calls made and the most states there were; or what was done, and
/// what the model allows instead.
fn run(
    seed: u64,
    listener: &TcpListener,
    distortion: Distortion,
    is_told: bool,
) -> Result<(usize, usize), String> {
    let mut rng = Rng::new(seed);
    let mut real = Real::new(listener).expect("a connection over loopback");
    let mut models = vec![Model::new()];
    let mut course = Course::default();
    let (mut calls, mut states) = (0, 0);
    let mut story = String::new();
    while calls < CALLS {
        let is_pipe_full = !matches!(real.conduit, Conduit::Empty);
        let Some(call) = course.draw(&mut rng, is_pipe_full) else { break };
        let bytes = course.bytes(call);
        let begin = now();
        let answer = real.perform(call, &bytes);
        course.note(call, &answer);
        calls += 1;
        story += &format!("    {call:?} {bytes:?} -> {answer:?}\n");
        let reachable = closure(models, now() + EARLY_MAX);
        states = states.max(reachable.len());
        let mut others = Vec::new();
        models = reachable
            .into_iter()
            .filter_map(|mut model| {
                let expected = model.perform(call, &bytes, &answer, begin);
                let expected = distortion.answer(call, expected);
                distortion.sockets(&mut model);
                if expected != answer {
                    others.push(expected);
                    return None;
                }
                Some(model)
            })
            .collect();
        if models.is_empty() {
            others.dedup();
            return Err(format!("seed {seed}\n{story}    the model allows: {others:?}"));
        }
    }
    if is_told {
        println!("seed {seed}\n{story}");
    }
    Ok((calls, states))
}

#[expect(clippy::disallowed_methods, reason = "the real kernel's timers are real")]
fn now() -> Instant {
    Instant::now()
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port")
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PPSERVER_CONFORMANCE_SEEDS") else { return 0..SCRIPTS };
    let ends =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.expect("PPSERVER_CONFORMANCE_SEEDS is FROM..TO")
}

#[test]
fn the_kernel_does_nothing_that_the_model_does_not_allow() {
    let (listener, seeds) = (listener(), seeds());
    let is_told = seeds.clone().count() == 1;
    let (mut calls, mut states) = (0, 0);
    for seed in seeds.clone() {
        match run(seed, &listener, Distortion::None, is_told) {
            Ok((made, most)) => (calls, states) = (calls + made, states.max(most)),
            Err(story) => panic!("the kernel did what the model does not allow: {story}"),
        }
    }
    println!("{} scripts, {calls} calls, at most {states} states", seeds.end - seeds.start);
}

/// The check can fail: a model that is wrong in one fact is found out.
#[test]
fn a_model_that_errs_is_found_out() {
    const ERRORS: [(&str, Distortion); 8] = [
        (
            "an end is EAGAIN",
            Distortion::Answer(|call, answer| match (call, &answer) {
                (Call::Recv(..), Answer::Bytes(bytes)) if bytes.is_empty() => {
                    Answer::Failed(Errno::Again)
                }
                _ => answer,
            }),
        ),
        (
            "a splice never says EAGAIN",
            Distortion::Answer(|call, answer| match (call, &answer) {
                (Call::SpliceIn, Answer::Failed(Errno::Again)) => Answer::Count(0),
                _ => answer,
            }),
        ),
        (
            "SO_ERROR is empty",
            Distortion::Answer(|call, answer| {
                if call == Call::TakeError { Answer::Pending(None) } else { answer }
            }),
        ),
        (
            "a FIN has no number",
            Distortion::Answer(|call, answer| match (call, &answer) {
                (Call::Unsent, Answer::Count(count)) => Answer::Count(count.saturating_sub(1)),
                _ => answer,
            }),
        ),
        (
            "a FIN is not announced",
            Distortion::Answer(|_, answer| {
                let Answer::Event(Some(ready)) = answer else { return answer };
                Answer::Event(Some(Readiness { read_closed: false, ..ready }))
            }),
        ),
        (
            "an urgent byte is not announced",
            Distortion::Answer(|_, answer| {
                let Answer::Event(Some(ready)) = answer else { return answer };
                Answer::Event(Some(Readiness { urgent: false, ..ready }))
            }),
        ),
        (
            "an urgent byte is never data",
            Distortion::Answer(|_, answer| {
                let Answer::Bytes(mut bytes) = answer else { return answer };
                bytes.retain(|byte| *byte != b'!');
                Answer::Bytes(bytes)
            }),
        ),
        (
            "what is held back waits for ever",
            Distortion::Socket(|socket| {
                if let Some(held) = &mut socket.held {
                    held.until += AWAIT_MAX;
                }
            }),
        ),
    ];
    let listener = listener();
    for (error, distortion) in ERRORS {
        let found =
            (0..10 * SCRIPTS).find(|seed| run(*seed, &listener, distortion, false).is_err());
        assert!(found.is_some(), "not found out: {error}");
    }
}
