//! A session without sockets: what the worker would do, with every outcome written down before.
//!
//! Measures the machine alone: which actions a connection takes and what deciding on them costs.
//! Not a test of the machine. Invariant: a script that does not end in a clean close panics.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ppserver::core::close_reason::CloseReason;
use ppserver::core::session::{
    Action, Direction, FirstBytes, FirstUse, Policy, Readiness, ReceiveResult, SendResult, Session,
    Side, Splicing, Verdict,
};

/// Shared by all, as a listener's is.
static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    Arc::new(Policy {
        first_bytes: FirstBytes::Header,
        header_timeout: Duration::from_secs(3),
        hello_timeout: Duration::from_secs(3),
        connect_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(300),
        half_closed_timeout: Duration::from_secs(60),
        splicing: Splicing::Auto,
    })
});

/// What happens on a connection.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// The events, each told when the session waits.
    events: &'static [(Side, Readiness)],
    /// What the client's socket gives, receive by receive.
    up: &'static [ReceiveResult],
    /// What the upstream's socket gives.
    down: &'static [ReceiveResult],
    /// The actions this takes, without the waits.
    pub actions: usize,
}

const OPEN: Readiness =
    Readiness { readable: true, writable: true, read_closed: false, urgent: false, error: false };
const ENDED: Readiness = Readiness { read_closed: true, ..OPEN };

const fn bytes(count: usize, asked: usize) -> ReceiveResult {
    ReceiveResult::Bytes { count, asked }
}

/// A header and a request in one segment; an answer and the end in one event; the client's end.
pub const SHORT: Script = Script {
    events: &[(Side::Client, OPEN), (Side::Upstream, ENDED), (Side::Client, ENDED)],
    up: &[bytes(28 + 40, 4096), ReceiveResult::End],
    down: &[bytes(238, 4096)],
    // Header, route, connect, request, answer in and out, its end; the client's end, which the close passes on.
    actions: 8,
};

const MIB: usize = 1 << 20;
/// The pieces of the download: one event each.
const PIECES: usize = 64;

/// A download of 64 MiB, whose source runs dry after each.
pub const BULK: Script = Script {
    events: &{
        let mut events = [(Side::Upstream, OPEN); PIECES + 2];
        events[0] = (Side::Client, OPEN);
        events[PIECES] = (Side::Upstream, ENDED);
        events[PIECES + 1] = (Side::Client, ENDED);
        events
    },
    up: &[bytes(28 + 40, 4096), ReceiveResult::End],
    down: &{
        let mut received = [ReceiveResult::WouldBlock; 2 * PIECES + 1];
        let mut piece = 0;
        while piece < PIECES {
            received[2 * piece] = bytes(MIB, MIB);
            piece += 1;
        }
        // The end as a splice tells it, then as a receive confirms it.
        received[2 * PIECES - 1] = ReceiveResult::End;
        received[2 * PIECES] = ReceiveResult::End;
        received
    },
    // A fill, a drain and a fill that finds nothing for each piece; one more to confirm the end.
    actions: 3 * PIECES + 1 + 6,
};

/// Plays a script to its end and returns how many actions it took, waits not counted.
///
/// # Panics
/// If the session asks for what the script does not have, or does not end well.
pub fn play(script: &Script, now: Instant) -> usize {
    let mut session = Session::new(Arc::clone(&POLICY), FirstUse::AtOnce, now);
    let mut events = script.events.iter();
    let (mut up, mut down) = (script.up.iter(), script.down.iter());
    let mut buffered = 0;
    let mut actions = 0;
    loop {
        let action = session.next();
        actions += usize::from(action != Action::Wait);
        match action {
            Action::Wait => {
                let (side, ready) = events.next().expect("the session waits for no other event");
                session.handle_ready(*side, *ready, now);
            }
            Action::ReadHeader => {
                let received = *up.next().expect("the client sends its header");
                if let ReceiveResult::Bytes { count, .. } = received {
                    buffered = count;
                }
                session.handle_header(received, Verdict::Relay { buffered }, now);
            }
            Action::Route => session.handle_routed(2),
            Action::Connect => session.handle_connecting(FirstUse::AtOnce, 0, now),
            Action::Fill(direction, method) => {
                let received = match direction {
                    Direction::Up => up.next(),
                    Direction::Down => down.next(),
                };
                let received = *received.expect("the script has another receive");
                if let ReceiveResult::Bytes { count, .. } = received {
                    buffered = count;
                }
                session.handle_filled(direction, method, received, now);
            }
            Action::Drain(direction) => {
                session.handle_drained(direction, SendResult::Bytes(buffered), now);
            }
            Action::Shutdown(direction) => session.handle_shut(direction, None, now),
            Action::Close(CloseReason::Done) => return actions - 1,
            Action::TakeError(_)
            | Action::ReadHello
            | Action::Discard
            | Action::CheckUnsent(_)
            | Action::Watch(..)
            | Action::Reset(_)
            | Action::Close(_) => panic!("{action:?} is in no script"),
        }
    }
}
