//! The machine by hand: stories of what went wrong once, most of them told by the simulator first.

use super::*;

const DATA: Readiness = Readiness {
    readable: true,
    writable: true,
    read_closed: false,
    urgent: false,
    error: false,
};
const ROOM: Readiness = Readiness { readable: false, ..DATA };
const HANGUP: Readiness = Readiness { read_closed: true, ..DATA };

fn policy() -> Policy {
    Policy {
        opening: Opening::Payload,
        header_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        half_closed_timeout: Duration::from_secs(60),
        attempts_max: 2,
        splicing: Splicing::Always,
    }
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other origin; only spans count")]
fn start() -> Instant {
    Instant::now()
}

/// A session that sends no header and has begun to connect.
fn connecting(now: Instant) -> Session {
    let mut session = Session::new(policy(), now);
    session.handle_ready(Side::Client, ROOM, now);
    session.handle_greeted(0);
    assert_eq!(session.next(), Action::Connect);
    session.handle_connecting(now);
    session
}

fn relaying(now: Instant) -> Session {
    let mut session = connecting(now);
    session.handle_ready(Side::Upstream, ROOM, now);
    session
}

/// The only event of a connect that stood came with an error flag and no error behind it: a server
/// that speaks first was not heard until the connect timed out.
#[test]
fn a_connect_stands_once_its_announced_error_proves_to_be_none() {
    let now = start();
    let mut session = connecting(now);
    session.handle_ready(Side::Upstream, Readiness { error: true, ..DATA }, now);
    assert_eq!(session.next(), Action::Probe(Side::Upstream));
    session.handle_probed(Side::Upstream, None, now);
    assert_eq!(session.next(), Action::Fill(Direction::Down, Method::Copy));
}
