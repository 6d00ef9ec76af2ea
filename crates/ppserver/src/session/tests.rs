//! The machine by hand: stories of what went wrong once, most of them told by the simulator first.

use super::*;

const DATA: Readiness =
    Readiness { readable: true, writable: true, read_closed: false, urgent: false, error: false };
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
    session.handle_connecting(FirstSend::AtOnce, now);
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

/// An attempt failed and its error was fetched; its next event, now without the error, told the
/// flow of an end. The next upstream's first short read was taken for all it would ever say.
#[test]
fn a_late_event_of_a_failed_attempt_says_nothing_of_the_next() {
    let now = start();
    let mut session = connecting(now);
    session.handle_ready(Side::Upstream, Readiness { error: true, ..HANGUP }, now);
    session.handle_probed(Side::Upstream, Some(Failure::Other), now);
    session.handle_ready(Side::Upstream, HANGUP, now);
    assert_eq!(session.next(), Action::Reset(Side::Upstream));
    session.handle_reset(Side::Upstream);
    session.handle_connecting(FirstSend::AtOnce, now);
    session.handle_ready(Side::Upstream, DATA, now);
    let received = Received::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Down, Method::Copy, received, now);
    session.handle_drained(Direction::Down, Sent::WouldBlock, now);
    assert!(!session.down.eof, "it stands and has sent no FIN");
}

/// The process was stopped for longer than the idle timeout (SIGSTOP, a frozen machine). When it
/// went on, the event of waiting bytes was noted first, and the session was timed out all the same.
#[test]
fn bytes_that_are_ready_to_move_hold_off_the_idle_timeout() {
    let mut now = start();
    let mut session = relaying(now);
    now += Duration::from_secs(3600);
    session.handle_ready(Side::Client, DATA, now);
    session.handle_time(now);
    assert_eq!(session.next(), Action::Fill(Direction::Up, Method::Splice));
    session.handle_filled(Direction::Up, Method::Splice, Received::WouldBlock, now);
    assert_eq!(session.next(), Action::Wait);
    session.handle_time(now);
    assert_eq!(session.next(), Action::Reset(Side::Client), "there was nothing to move");
}

/// A session was aborted for being idle and waited for its header to be acknowledged; the upstream
/// reset. Behind an RST the answer of SIOCOUTQ stays what it was (Linux 6.18), so both sockets were
/// held for the whole second.
#[test]
fn an_abort_does_not_wait_for_a_socket_that_broke() {
    let mut now = start();
    let mut session = relaying(now);
    session.handle_ready(Side::Client, DATA, now);
    let received = Received::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, received, now);
    session.handle_drained(Direction::Up, Sent::Bytes(3), now);
    session.handle_filled(Direction::Up, Method::Splice, Received::WouldBlock, now);
    now = session.deadline();
    session.handle_time(now);
    assert_eq!(session.next(), Action::Reset(Side::Client));
    session.handle_reset(Side::Client);
    assert_eq!(session.next(), Action::CheckUnsent(Side::Upstream));
    session.handle_unsent(Side::Upstream, 3);
    assert_eq!(session.next(), Action::Wait);
    session.handle_ready(Side::Upstream, Readiness { error: true, ..HANGUP }, now);
    assert_eq!(session.next(), Action::Probe(Side::Upstream));
    session.handle_probed(Side::Upstream, Some(Failure::Reset), now);
    assert_eq!(session.next(), Action::Reset(Side::Upstream));
    session.handle_reset(Side::Upstream);
    assert_eq!(session.next(), Action::Close(CloseReason::IdleTimeout));
}

/// An urgent byte and an RST arrived before either was told: a splice stopped at the byte and
/// returned ECONNRESET, with data behind it still in the socket (Linux 6.18), which was lost.
#[test]
fn a_splice_that_fails_may_leave_bytes_behind_an_urgent_one() {
    let now = start();
    let mut session = relaying(now);
    session.handle_ready(Side::Client, DATA, now);
    assert_eq!(session.next(), Action::Fill(Direction::Up, Method::Splice));
    let failed = Received::Failed(Failure::Reset);
    session.handle_filled(Direction::Up, Method::Splice, failed, now);
    assert_eq!(session.next(), Action::Fill(Direction::Up, Method::Copy));
    let received = Received::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, received, now);
    assert_eq!(session.next(), Action::Drain(Direction::Up));
    session.handle_drained(Direction::Up, Sent::Bytes(3), now);
    session.handle_filled(Direction::Up, Method::Copy, Received::End, now);
    assert_eq!(session.next(), Action::Reset(Side::Client));
}
