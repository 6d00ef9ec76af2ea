//! The simulator's kernel held against the real one.
//!
//! A random script of system calls runs on a real connection over loopback, and then, call by call,
//! on the model of it. The real kernel moves segments when it likes, so the model is a set of states:
//! all that can be once anything, or nothing, has travelled. What the real call answered must be what
//! the model answers in one of them, and only those stay. Invariant: an empty set is a disagreement,
//! and it is the model that is wrong.
//!
//! Half of the scripts fill queues. How much one holds and where bytes are cut is the kernel's own
//! affair, so the model takes that from the answers; what follows from it is held against the kernel.
//!
//! `PPSERVER_CONFORMANCE_SEEDS=0..20000` runs other scripts; one alone is printed.

mod model;
mod real;

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::conduit::Conduit;
use crate::core::session::{Interest, Readiness};
use crate::core::sim::rng::Rng;
use crate::core::sim::socket::{Errno, Fin, Socket};
use crate::data::sys::Follow;
use model::{Model, ROOM, closure};
use real::{Place, Queues, Real};

const SCRIPTS: u64 = 400;
const CALLS: usize = 24;
/// Urgent bytes a script.
const URGENT_MAX: usize = 2;
const FOLLOWS: [Follow; 2] = [Follow::Unknown, Follow::End];
/// Once in so many times bytes that are held back are waited for: it takes 200 ms.
const WAITS: usize = 64;
/// A timer of the kernel's may be so early: a tick.
const EARLY_MAX: Duration = Duration::from_millis(10);
/// How long an event is waited for at a time.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long an acknowledgement waits for something to go with at most: 200 ms, and mostly 40.
const DELAY_MAX: Duration = Duration::from_millis(200);
/// The FIN leaves once the peer reads, so that its acknowledgement is news of its own. The last first.
const FIN_BEHIND_A_FULL_WINDOW: [Call; 6] = [
    Call::Poll(DELAY_MAX),
    Call::Recv(Who::Peer, ROOM),
    Call::Poll(PATIENCE),
    Call::Recv(Who::Peer, ROOM),
    Call::Poll(Duration::ZERO),
    Call::Shutdown(Who::Proxy),
];
/// What has not come by then never comes.
const AWAIT_MAX: Duration = Duration::from_secs(10);

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
    /// EPOLL_CTL_MOD.
    Watch(Interest),
    /// epoll_wait(2), for so long.
    Poll(Duration),
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

/// A call that was made.
struct Made {
    call: Call,
    /// What was sent.
    bytes: Vec<u8>,
    answer: Answer,
    begin: Instant,
    end: Instant,
}

impl Made {
    /// Returns how many bytes were taken from whom.
    fn sent(&self) -> Option<(Who, usize)> {
        match (self.call, &self.answer) {
            (Call::Send(who, ..), Answer::Count(count)) => Some((who, *count)),
            (Call::SendUrgent, Answer::Count(count)) => Some((Who::Peer, *count)),
            (Call::SpliceOut, Answer::Count(count)) => Some((Who::Proxy, *count)),
            _ => None,
        }
    }

    /// Returns how many bytes came from whom.
    fn received(&self) -> Option<(Who, usize)> {
        match (self.call, &self.answer) {
            (Call::Recv(who, _), Answer::Bytes(bytes)) => Some((other(who), bytes.len())),
            (Call::Await, Answer::Bytes(bytes)) => Some((Who::Proxy, bytes.len())),
            (Call::SpliceIn, Answer::Count(count)) => Some((Who::Peer, *count)),
            _ => None,
        }
    }
}

impl Display for Made {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {} -> ", self.call, brief(&self.bytes))?;
        if let Answer::Bytes(bytes) = &self.answer {
            out.write_str(&brief(bytes))
        } else {
            write!(out, "{:?}", self.answer)
        }
    }
}

fn brief(bytes: &[u8]) -> String {
    format!("{} {:?}", bytes.len(), &bytes[..bytes.len().min(8)])
}

/// What has been done, so that a script makes sense.
#[derive(Debug, Default)]
struct Course {
    is_closed: [bool; 2],
    is_shut: [bool; 2],
    urged: usize,
    /// Bytes that were made up.
    made_up: [usize; 2],
    /// Bytes of the proxy's that the peer has not read.
    unread: usize,
    /// The last of them may be held back.
    is_held: bool,
    /// The proxy found no room and was not told of any.
    is_blocked: bool,
    /// What is called again until a queue is full.
    burst: Option<Call>,
    /// What is called then, the last one first.
    then: Vec<Call>,
}

impl Course {
    fn draw(&mut self, rng: &mut Rng, real: &Real) -> Option<Call> {
        if let Some(call) = self.burst.or_else(|| self.then.pop()) {
            return Some(call);
        }
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
        let is_pipe_full = !matches!(real.conduit, Conduit::Empty);
        let is_tight = real.segment_len.is_none();
        Some(match rng.below(20) {
            0 if is_tight && is_proxy && self.is_whole() => {
                self.is_shut[at] = true;
                self.then = FIN_BEHIND_A_FULL_WINDOW.into();
                Call::Send(who, 1500, Follow::Unknown)
            }
            0..4 if is_tight => {
                let call = Call::Send(who, rng.pick(&[2, 2, 600, 1500]), rng.pick(&FOLLOWS));
                self.burst = rng.one_in(2).then_some(call);
                if !is_proxy && self.may_urge() && rng.one_in(2) {
                    self.urged += 1;
                    self.then.push(Call::SendUrgent);
                }
                call
            }
            0..4 => Call::Send(who, rng.between(1, 4), Follow::Unknown),
            4 => Call::Send(who, rng.pick(&around(real.segment_len)), Follow::End),
            5..8 if is_tight => Call::Recv(who, rng.pick(&[500, ROOM])),
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
            12 | 13 if !is_proxy && self.may_urge() => {
                self.urged += 1;
                Call::SendUrgent
            }
            12 | 13 if is_proxy && !is_pipe_full => Call::SpliceIn,
            12 | 13 if is_proxy => Call::SpliceOut,
            14 if is_proxy => Call::TakeError,
            15 if is_proxy => Call::Unsent,
            16 if is_proxy => Call::Watch(rng.pick(&[Interest::All, Interest::Room])),
            16..20 if is_proxy => Call::Poll(Duration::ZERO),
            16..20 if !self.is_held && self.may_await() => Call::Await,
            _ => Call::Recv(who, 64),
        })
    }

    /// Returns whether the proxy waits for room, which a peer that reads must give.
    fn may_relieve(&self) -> bool {
        let is_open = self.is_closed == [false; 2] && !self.is_shut[Who::Proxy as usize];
        self.is_blocked && is_open
    }

    /// Returns whether nobody has ended anything.
    fn is_whole(&self) -> bool {
        self.is_closed == [false; 2] && self.is_shut == [false; 2]
    }

    fn may_urge(&self) -> bool {
        self.urged < URGENT_MAX && !self.is_shut[Who::Peer as usize]
    }

    /// Returns whether there is something to wait for.
    fn may_await(&self) -> bool {
        self.unread > 0 && !self.is_closed[Who::Peer as usize]
    }

    /// Returns the bytes of a send: no two that are near each other are alike, and none is the urgent
    /// one.
    fn bytes(&mut self, call: Call) -> Vec<u8> {
        let Call::Send(who, len, _) = call else { return Vec::new() };
        let begin = self.made_up[who as usize];
        self.made_up[who as usize] += len;
        let byte = |at| b'!' + 1 + u8::try_from(at % 199).expect("it is less");
        (begin..begin + len).map(byte).collect()
    }

    fn note(&mut self, made: &Made) {
        if let Some((Who::Proxy, count)) = made.sent() {
            self.unread += count;
            let is_held = matches!(made.call, Call::Send(_, _, Follow::End));
            self.is_held = is_held || self.is_held && count == 0;
        }
        if let Some((Who::Proxy, count)) = made.received() {
            self.unread -= count;
        }
        match (made.call, &made.answer) {
            (Call::Send(Who::Proxy, ..) | Call::SpliceOut, Answer::Failed(Errno::Again)) => {
                self.is_blocked = true;
            }
            (Call::Poll(_), Answer::Event(Some(ready))) => self.is_blocked &= !ready.writable,
            _ => {}
        }
        if matches!(made.call, Call::Shutdown(Who::Proxy) | Call::Close(Who::Proxy)) {
            self.is_held = false;
        }
        if made.answer != Answer::Count(made.bytes.len()) {
            self.burst = None;
        }
    }
}

/// Returns lengths that fill no segment, just one, or more; short ones where only the kernel knows.
fn around(segment_len: Option<usize>) -> [usize; 6] {
    let len = segment_len.unwrap_or(2);
    [1, 3, len - 1, len, len + 1, 2 * len + 1]
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
    /// In what an acknowledgement does to a socket, given what it was before.
    Acknowledge(fn(&Socket, &mut Socket)),
    /// In what fills a segment.
    Segment(fn(usize) -> usize),
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

    fn acknowledge(self, before: &Socket, after: &mut Socket) {
        if let Self::Acknowledge(distort) = self {
            distort(before, after);
        }
    }

    fn segment_len(self, len: Option<usize>) -> Option<usize> {
        if let Self::Segment(distort) = self { len.map(distort) } else { len }
    }
}

/// Makes the calls of a script. Returns them, and what fills a segment of the connection.
fn make(seed: u64, place: &Place) -> (Vec<Made>, Option<usize>) {
    let mut rng = Rng::new(seed);
    let mut real = Real::new(place).expect("a connection over loopback");
    let mut course = Course::default();
    let mut all = Vec::new();
    while all.len() < CALLS {
        let Some(call) = course.draw(&mut rng, &real) else { break };
        all.push(make_one(call, &mut real, &mut course));
    }
    let begin = now();
    while course.may_relieve() {
        assert!(now() - begin < AWAIT_MAX, "seed {seed}: the peer reads, and no room is told of");
        all.push(make_one(Call::Recv(Who::Peer, ROOM), &mut real, &mut course));
        all.push(make_one(Call::Poll(PATIENCE), &mut real, &mut course));
    }
    (all, real.segment_len)
}

fn make_one(call: Call, real: &mut Real, course: &mut Course) -> Made {
    let bytes = course.bytes(call);
    let begin = now();
    let answer = real.perform(call, &bytes);
    let made = Made { call, bytes, answer, begin, end: now() };
    course.note(&made);
    made
}

/// Returns where answers show that the bytes of each were cut: the kernel cuts where it likes.
fn cuts(all: &[Made]) -> [BTreeSet<usize>; 2] {
    let mut cuts = [BTreeSet::new(), BTreeSet::new()];
    let mut received = [0; 2];
    for made in all {
        if let Some((who, count)) = made.received() {
            received[who as usize] += count;
            // A byte out of band has a number, whether or not it is received.
            let end = received[who as usize];
            cuts[who as usize].extend(end..=end + URGENT_MAX);
        }
    }
    cuts
}

/// Runs one script. Returns the calls made and the most states there were; or what was done, and
/// what the model allows instead.
fn run(
    seed: u64,
    places: &[Place; 2],
    distortion: Distortion,
    is_told: bool,
) -> Result<(usize, usize), String> {
    let place = &places[usize::from(seed.is_multiple_of(2))];
    let (all, segment_len) = make(seed, place);
    let cuts = match place.queues {
        Queues::Roomy => [BTreeSet::new(), BTreeSet::new()],
        Queues::Tight => cuts(&all),
    };
    let mut models = vec![Model::new(distortion.segment_len(segment_len))];
    let (mut sent, mut states) = ([0; 2], 0);
    let mut story = format!("seed {seed}\n");
    for made in &all {
        story += &format!("    {made}\n");
        let reachable = closure(models, made.end + EARLY_MAX, distortion, &story);
        states = states.max(reachable.len());
        let taken = made.sent();
        if let Some((who, count)) = taken {
            sent[who as usize] += count;
        }
        let mut others = Vec::new();
        models = reachable
            .into_iter()
            .filter_map(|mut model| {
                let expected = distortion.answer(made.call, model.perform(made));
                distortion.sockets(&mut model);
                if expected != made.answer {
                    others.push(expected);
                    return None;
                }
                if let Some((who, _)) = taken {
                    model.cut(who, sent[who as usize], &cuts[who as usize]);
                }
                Some(model)
            })
            .collect();
        if models.is_empty() {
            others.dedup();
            return Err(format!("{story}    the model allows: {others:?}"));
        }
    }
    if is_told {
        println!("{story}");
    }
    Ok((all.len(), states))
}

#[expect(clippy::disallowed_methods, reason = "the real kernel's timers are real")]
fn now() -> Instant {
    Instant::now()
}

fn places() -> [Place; 2] {
    [Queues::Roomy, Queues::Tight]
        .map(|queues| Place::new(queues).expect("loopback has a free port"))
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PPSERVER_CONFORMANCE_SEEDS") else { return 0..SCRIPTS };
    let ends =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.expect("PPSERVER_CONFORMANCE_SEEDS is FROM..TO")
}

#[test]
fn the_kernel_does_nothing_that_the_model_does_not_allow() {
    let (places, seeds) = (places(), seeds());
    let is_told = seeds.clone().count() == 1;
    let (mut calls, mut states) = (0, 0);
    for seed in seeds.clone() {
        match run(seed, &places, Distortion::None, is_told) {
            Ok((made, most)) => (calls, states) = (calls + made, states.max(most)),
            Err(story) => panic!("the kernel did what the model does not allow: {story}"),
        }
    }
    println!("{} scripts, {calls} calls, at most {states} states", seeds.end - seeds.start);
}

/// The check can fail: a model that is wrong in one fact is found out.
#[test]
fn a_model_that_errs_is_found_out() {
    const ERRORS: [(&str, Distortion); 12] = [
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
            "an epoll tells what it is not asked for",
            Distortion::Socket(|socket| socket.interest = Interest::All),
        ),
        ("room is no news", Distortion::Socket(|socket| socket.wants_room = false)),
        (
            "what is held back waits for ever",
            Distortion::Socket(|socket| {
                if let Some(held) = &mut socket.held {
                    held.until += AWAIT_MAX;
                }
            }),
        ),
        (
            "an acknowledged FIN is no news",
            Distortion::Acknowledge(|before, after| {
                if after.fin == Fin::Acknowledged && !before.wants_room {
                    after.is_armed = before.is_armed;
                }
            }),
        ),
        ("a segment is a byte longer", Distortion::Segment(|len| len + 1)),
    ];
    let places = places();
    for (error, distortion) in ERRORS {
        let found = (0..10 * SCRIPTS).find(|seed| run(*seed, &places, distortion, false).is_err());
        assert!(found.is_some(), "not found out: {error}");
    }
}
