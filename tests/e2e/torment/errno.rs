//! An error from each of the first 64 system calls that a worker makes for a connection, one at a
//! time (strace's `inject`).
//!
//! The calls are those of a plain run, in their order; every error that the manual page of a call
//! lists has its turn. Not EAGAIN: under edge triggering it would be a lie that no kernel
//! tells, and waiting for the next edge the right answer.
//! Invariant: the connection that is hit is served whole, or reset with the reason that the call
//! stands for; an answer that ends with a FIN is whole.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Mutex;
use std::thread;

use super::{Victim, strace};
use crate::common::far_end::FarEnd;
use crate::common::payload;
use crate::life::session::HEADER;
use crate::support::{Peer, REQUIRE, Setup};

/// Calls that are hit, counted from the moment the worker waits for its first connection.
const CALLS: usize = 64;
/// Servers at a time.
const AT_A_TIME: usize = 2;
/// What is sent and echoed, piece by piece, so that every run makes the same calls: enough of them,
/// of a byte and of many.
const PIECES: [usize; 10] = [1, 20_000, 300, 50_000, 2, 7_000, 40_000, 9, 60_000, 1];

/// A worker's calls, each with the errors that its manual page lists and that can meet it here.
const ERRORS: [(&str, &[&str]); 15] = [
    (
        "accept4",
        &["ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO", "EINTR"],
    ),
    ("epoll_wait", &["EINTR"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("recvfrom", &["ECONNRESET", "ETIMEDOUT", "ENOMEM", "EINTR"]),
    ("socket", &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]),
    ("connect", &["ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH", "ETIMEDOUT"]),
    // Of the socket that connects, where it may have met itself.
    ("getsockname", &["ENOBUFS"]),
    ("sendto", &["EPIPE", "ECONNRESET", "ENOBUFS", "EINTR"]),
    ("splice", &["EINVAL", "ENOMEM", "ECONNRESET", "EINTR"]),
    ("pipe2", &["EMFILE", "ENFILE"]),
    ("fcntl", &["EPERM", "ENOMEM"]),
    ("setsockopt", &["ENOBUFS", "EINVAL"]),
    ("shutdown", &["ENOTCONN", "ENOBUFS"]),
    // strace fails a call by not making it. A close(2) that fails has closed its descriptor all the
    // same, and a futex(2) that wakes the log's thread cannot fail: neither can be had this way.
    ("close", &[]),
    ("futex", &[]),
];

/// Why a connection may end that is hit by this error; `done` is the only end with a FIN.
fn reasons(call: &str, error: &str) -> &'static [&'static str] {
    match (call, error) {
        // To be repeated, or to be done without, or no affair of the connection.
        (_, "EINTR") | ("accept4" | "epoll_wait" | "pipe2" | "fcntl" | "setsockopt", _) => {
            &["done"]
        }
        ("epoll_ctl" | "getsockname" | "socket", _) => &["resources"],
        ("connect", _) => &["connect_failed"],
        // The first bytes leave before the connect is known to have failed or not.
        ("sendto", "ENOBUFS") => &["connect_failed", "client_reset", "upstream_reset"],
        // A reset before the first byte is how some health checks end.
        ("recvfrom", "ECONNRESET") => &["probe", "client_reset", "upstream_reset"],
        _ => &["client_reset", "upstream_reset"],
    }
}

/// One call of a connection's way: its name, and which of that name it is, from 1.
type Call = (String, usize);

#[test]
fn an_error_from_any_of_the_first_system_calls_costs_at_most_the_connection_it_hits() {
    let far_end = FarEnd::start();
    let setup = Setup::to(&[far_end.addr()]).accept(REQUIRE).splice("always");
    let calls = plain(&setup);
    assert_eq!(calls.len(), CALLS, "the conversation is too short: {calls:?}");
    let mut blows = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let known = ERRORS.iter().find(|(name, _)| *name == call.0);
        let (_, errors) = known.unwrap_or_else(|| panic!("{call:?} has no errors listed"));
        blows.extend(errors.iter().map(|error| (place, call.clone(), *error)));
    }
    let count = blows.len();
    let blows = Mutex::new(blows.into_iter());
    let missed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = blows.lock().expect("no blow failed").next();
                    let Some((place, call, error)) = next else { return };
                    let blow = format!("{error} from call {place}, {} number {}", call.0, call.1);
                    if !strike(&setup, &call, error, &blow) {
                        missed.lock().expect("no blow failed").push(blow);
                    }
                }
            });
        }
    });
    // Where two events come at once one call is spared, and the last of its kind not made.
    let missed = missed.into_inner().expect("no blow failed");
    eprintln!("{count} errors from {CALLS} calls, {} hit nothing", missed.len());
    assert!(missed.len() * 10 < count, "{} of {count} hit nothing: {missed:#?}", missed.len());
}

/// Runs a conversation with nothing wrong, and returns the calls it took.
fn plain(setup: &Setup) -> Vec<Call> {
    let mut victim = Victim::start(setup);
    let strace = strace::attach(victim.calm.pid, &["-e", "trace=all"]);
    let (client, ended) = converse(victim.server.addr());
    ended.expect("nothing disturbs it");
    assert_eq!(victim.server.account_of(client).reason, "done");
    let lines = strace::detach(strace);
    victim.finish("strace alone");
    let mut counts = BTreeMap::new();
    let names = lines.iter().filter_map(|line| line.split_once('('));
    // The first is the one that strace came upon: it was made before.
    let calls = names.map(|(name, _)| name.to_owned()).skip(1).take(CALLS).map(|name| {
        let count = counts.entry(name.clone()).or_insert(0);
        *count += 1;
        (name, *count)
    });
    calls.collect()
}

/// Has this call fail in a conversation with a fresh server, and checks everything that must hold.
/// Returns whether the call was made.
fn strike(setup: &Setup, (name, nth): &Call, error: &str, blow: &str) -> bool {
    let mut victim = Victim::start(setup);
    let fault = format!("inject={name}:error={error}:when={nth}");
    let strace = strace::attach(victim.calm.pid, &["-e", &format!("trace={name}"), "-e", &fault]);
    let (client, ended) = converse(victim.server.addr());
    let reason = victim.server.account_of(client).reason;
    let was_hit = strace::detach(strace).iter().any(|line| line.contains("(INJECTED)"));
    let expected = if was_hit { reasons(name, error) } else { &["done"] };
    assert!(expected.contains(&reason.as_str()), "{blow}: {reason}, not one of {expected:?}");
    match ended {
        Ok(()) => assert_eq!(reason, "done", "{blow}: the client had everything"),
        Err(end) => assert_ne!(reason, "done", "{blow}: the client saw {end}"),
    }
    let (next, ended) = converse(victim.server.addr());
    ended.unwrap_or_else(|error| panic!("{blow}: the next connection: {error}"));
    assert_eq!(victim.server.account_of(next).reason, "done", "{blow}");
    let counters = victim.finish(blow);
    assert_eq!(counters["accepted"], 2, "{blow}: {counters}");
    was_hit
}

/// One conversation with the echo at the far end; tells the client's address, and fails as the
/// client's socket does. Panics where bytes are wrong, or a FIN comes in front of the last.
#[track_caller]
fn converse(to: SocketAddr) -> (SocketAddr, io::Result<()>) {
    let client = Peer::connect(to);
    let mut stream = client.stream();
    let mut talk = || {
        stream.write_all(HEADER)?;
        for len in PIECES {
            let piece = payload::random(1, len);
            stream.write_all(&piece)?;
            let mut back = vec![0; len];
            stream.read_exact(&mut back)?;
            payload::assert_same(&back, &piece);
        }
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        assert!(rest.is_empty(), "more than was sent came back");
        Ok(())
    };
    let ended: io::Result<()> = talk();
    if let Err(error) = &ended {
        use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
        let is_reset = [BrokenPipe, ConnectionReset, NotConnected].contains(&error.kind());
        assert!(is_reset, "neither served nor reset: {error}");
    }
    (client.addr(), ended)
}
