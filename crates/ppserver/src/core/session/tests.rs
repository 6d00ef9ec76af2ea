//! The machine by hand: stories of what went wrong once, most of them told by the simulator first.

use super::*;

const DATA: Readiness =
    Readiness { readable: true, writable: true, read_closed: false, urgent: false, error: false };
const ROOM: Readiness = Readiness { readable: false, ..DATA };
const HANGUP: Readiness = Readiness { read_closed: true, ..DATA };

fn policy() -> Policy {
    Policy {
        first_bytes: FirstBytes::Payload,
        header_timeout: Duration::from_secs(5),
        hello_timeout: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        half_closed_timeout: Duration::from_secs(60),
        splicing: Splicing::Always,
    }
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other origin; only spans count")]
fn start() -> Instant {
    Instant::now()
}

/// A session that sends no header and has begun to connect.
fn connecting(now: Instant) -> Session {
    let mut session = Session::new(policy(), FirstUse::WhenReady, now);
    session.handle_ready(Side::Client, ROOM, now);
    route(&mut session);
    session.handle_connecting(FirstUse::AtOnce, 0, now);
    session
}

/// Leads it to one of two endpoints.
fn route(session: &mut Session) {
    assert_eq!(session.next(), Action::Route);
    session.handle_routed(2);
    assert_eq!(session.next(), Action::Connect);
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
    assert_eq!(session.next(), Action::TakeError(Side::Upstream));
    session.handle_error_taken(Side::Upstream, None, now);
    assert_eq!(session.next(), Action::Fill(Direction::Down, Method::Copy));
}

/// An attempt failed and a send fetched its error; its next event, without the error, told the
/// flow of an end. The next upstream's first short read was taken for all it would ever say.
#[test]
fn a_late_event_of_a_failed_attempt_says_nothing_of_the_next() {
    let now = start();
    let mut session = connecting(now);
    session.handle_ready(Side::Client, DATA, now);
    let received = ReceiveResult::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, received, now);
    session.handle_drained(Direction::Up, SendResult::Failed(Failure::Other), now);
    session.handle_ready(Side::Upstream, HANGUP, now);
    assert_eq!(session.next(), Action::Reset(Side::Upstream));
    session.handle_reset(Side::Upstream);
    session.handle_connecting(FirstUse::AtOnce, 0, now);
    session.handle_ready(Side::Upstream, DATA, now);
    let received = ReceiveResult::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Down, Method::Copy, received, now);
    session.handle_drained(Direction::Down, SendResult::WouldBlock, now);
    assert!(!session.down.eof, "it stands and has sent no FIN");
}

/// A server that speaks first: who may do without a header and says nothing is let in at the deadline.
#[test]
fn silence_until_the_deadline_is_no_header_where_it_may_be_missing() {
    let policy = Policy { first_bytes: FirstBytes::HeaderOrSilence, ..policy() };
    let begin = start();
    let mut session = Session::new(policy, FirstUse::WhenReady, begin);
    let deadline = session.deadline();
    session.handle_time(deadline);
    assert_eq!(session.next(), Action::ReadHeader);
    session.handle_header(ReceiveResult::WouldBlock, Verdict::Incomplete, deadline);
    route(&mut session);
    session.handle_connecting(FirstUse::WhenReady, 0, deadline);
    assert_eq!(session.deadline(), deadline + policy.connect_timeout);
}

/// The process stood still for longer than the deadline, and the header had come meanwhile: it would have been
/// taken for payload.
#[test]
fn a_header_that_lies_there_at_the_deadline_is_no_silence() {
    let policy = Policy { first_bytes: FirstBytes::HeaderOrSilence, ..policy() };
    let received = ReceiveResult::Bytes { count: 20, asked: 4096 };
    let mut session = Session::new(policy, FirstUse::WhenReady, start());
    let now = session.deadline();
    session.handle_time(now);
    session.handle_header(received, Verdict::Relay { buffered: 4 }, now);
    route(&mut session);
    // A part of one is none, and not silent either: neither then nor before.
    for is_late in [true, false] {
        let mut session = Session::new(policy, FirstUse::WhenReady, start());
        let now = session.deadline();
        if is_late {
            session.handle_time(now);
        }
        session.handle_header(received, Verdict::Incomplete, now);
        session.handle_time(now);
        assert_eq!(session.close_reason(), Some(CloseReason::HeaderTimeout));
    }
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
    session.handle_filled(Direction::Up, Method::Splice, ReceiveResult::WouldBlock, now);
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
    let received = ReceiveResult::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, received, now);
    session.handle_drained(Direction::Up, SendResult::Bytes(3), now);
    session.handle_filled(Direction::Up, Method::Splice, ReceiveResult::WouldBlock, now);
    // Nobody has looked, the same as last time, and the same at the end.
    for _ in 0..3 {
        now = session.deadline();
        session.handle_time(now);
        assert_eq!(session.next(), Action::CheckUnsent(Side::Upstream));
        session.handle_unsent(Side::Upstream, 3, now);
    }
    assert_eq!(session.next(), Action::Reset(Side::Client));
    session.handle_reset(Side::Client);
    assert_eq!(session.next(), Action::Wait);
    session.handle_ready(Side::Upstream, Readiness { error: true, ..HANGUP }, now);
    assert_eq!(session.next(), Action::TakeError(Side::Upstream));
    session.handle_error_taken(Side::Upstream, Some(Failure::Reset), now);
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
    let failed = ReceiveResult::Failed(Failure::Reset);
    session.handle_filled(Direction::Up, Method::Splice, failed, now);
    assert_eq!(session.next(), Action::Fill(Direction::Up, Method::Copy));
    let received = ReceiveResult::Bytes { count: 3, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, received, now);
    assert_eq!(session.next(), Action::Drain(Direction::Up));
    session.handle_drained(Direction::Up, SendResult::Bytes(3), now);
    session.handle_filled(Direction::Up, Method::Copy, ReceiveResult::End, now);
    assert_eq!(session.next(), Action::Reset(Side::Client));
}

fn reading(now: Instant) -> Session {
    let policy = Policy { first_bytes: FirstBytes::Header, ..policy() };
    let mut session = Session::new(policy, FirstUse::WhenReady, now);
    session.handle_ready(Side::Client, DATA, now);
    assert_eq!(session.next(), Action::ReadHeader);
    session
}

#[test]
fn half_a_header_is_not_followed_by_a_receive_that_can_only_fail() {
    let now = start();
    let mut session = reading(now);
    let received = ReceiveResult::Bytes { count: 3, asked: 4096 };
    session.handle_header(received, Verdict::Incomplete, now);
    assert_eq!(session.next(), Action::Wait);
}

#[test]
fn an_answered_client_that_goes_on_is_read_for_64_kib() {
    const QUARTER: ReceiveResult = ReceiveResult::Bytes { count: 16_384, asked: 16_384 };
    let now = start();
    let mut session = reading(now);
    session.handle_header(QUARTER, Verdict::Answer, now);
    assert_eq!(session.next(), Action::Shutdown(Direction::Down));
    session.handle_shut(Direction::Down, None, now);
    for _ in 0..3 {
        session.handle_discarded(QUARTER, now);
        assert_eq!(session.next(), Action::Discard);
    }
    session.handle_discarded(QUARTER, now);
    assert_eq!(session.next(), Action::Close(CloseReason::LocalAnswered));
}

/// An error flag without an error and without room says nothing: the connect goes on.
#[test]
fn a_connect_that_was_not_announced_does_not_stand_for_want_of_an_error() {
    let now = start();
    for side in Side::ALL {
        let mut session = connecting(now);
        let error = Readiness { error: true, ..Readiness::default() };
        session.handle_ready(side, error, now);
        assert_eq!(session.next(), Action::TakeError(side));
        session.handle_error_taken(side, None, now);
        session.handle_time(session.deadline());
        assert_eq!(session.next(), Action::Reset(Side::Upstream), "the connect timed out");
    }
}

#[test]
fn no_connect_begins_for_a_client_whose_error_is_announced() {
    let now = start();
    let mut session = Session::new(policy(), FirstUse::WhenReady, now);
    session.handle_ready(Side::Client, ROOM, now);
    route(&mut session);
    session.handle_ready(Side::Client, Readiness { error: true, ..HANGUP }, now);
    assert_eq!(session.next(), Action::TakeError(Side::Client));
}

/// Our header and the first payload leave in one segment, so the first event is waited for.
#[test]
fn a_session_without_a_header_to_read_waits_for_its_first_event() {
    let now = start();
    let mut session = Session::new(policy(), FirstUse::WhenReady, now);
    assert_eq!(session.next(), Action::Wait);
    session.handle_ready(Side::Client, ROOM, now);
    assert_eq!(session.next(), Action::Route);
}

#[test]
fn a_receive_before_the_first_event_finds_what_is_there_or_waits_for_the_event() {
    let now = start();
    let header = Policy { first_bytes: FirstBytes::Header, ..policy() };
    let mut session = Session::new(header, FirstUse::AtOnce, now);
    assert_eq!(session.next(), Action::ReadHeader);
    session.handle_header(ReceiveResult::WouldBlock, Verdict::Incomplete, now);
    assert_eq!(session.next(), Action::Wait);

    let fill = Action::Fill(Direction::Up, Method::Copy);
    let mut session = Session::new(policy(), FirstUse::AtOnce, now);
    assert_eq!(session.next(), fill);
    session.handle_filled(Direction::Up, Method::Copy, ReceiveResult::WouldBlock, now);
    assert_eq!(session.next(), Action::Wait);

    let mut session = Session::new(policy(), FirstUse::AtOnce, now);
    let some = ReceiveResult::Bytes { count: 3, asked: 8 };
    session.handle_filled(Direction::Up, Method::Copy, some, now);
    assert_eq!(session.next(), Action::Route);
}

/// The close sends the second FIN, which saves a system call a connection.
#[test]
fn one_end_is_passed_on_and_the_close_passes_on_the_other() {
    let now = start();
    let mut session = relaying(now);
    for direction in Direction::ALL {
        session.handle_filled(direction, Method::Copy, ReceiveResult::End, now);
    }
    assert_eq!(session.next(), Action::Shutdown(Direction::Up));
    session.handle_shut(Direction::Up, None, now);
    assert_eq!(session.next(), Action::Close(CloseReason::Done));
}

#[test]
fn a_dying_socket_that_says_eagain_has_nothing_left() {
    let now = start();
    let mut session = relaying(now);
    session.handle_ready(Side::Upstream, Readiness { error: true, ..DATA }, now);
    session.handle_error_taken(Side::Upstream, Some(Failure::Reset), now);
    assert_eq!(session.next(), Action::Fill(Direction::Down, Method::Copy));
    session.handle_filled(Direction::Down, Method::Copy, ReceiveResult::WouldBlock, now);
    assert_eq!(session.next(), Action::Reset(Side::Client), "nothing was sent to it");
}

/// A health check sends LOCAL and its FIN in one go, and is told of neither being late.
#[test]
fn an_answered_client_that_has_ended_already_is_not_waited_for() {
    let now = start();
    let mut session = reading(now);
    session.handle_ready(Side::Client, Readiness { writable: false, ..HANGUP }, now);
    let received = ReceiveResult::Bytes { count: 16, asked: 4096 };
    session.handle_header(received, Verdict::Answer, now);
    session.handle_shut(Direction::Down, None, now);
    assert_eq!(session.next(), Action::Close(CloseReason::LocalAnswered));
}

#[test]
fn our_header_is_sent_before_any_event_of_the_upstream_or_at_the_first() {
    let now = start();
    let drain = Action::Drain(Direction::Up);
    for (first_send, before) in [(FirstUse::AtOnce, drain), (FirstUse::WhenReady, Action::Wait)] {
        let mut session = Session::new(policy(), FirstUse::WhenReady, now);
        session.handle_ready(Side::Client, ROOM, now);
        route(&mut session);
        session.handle_connecting(first_send, 28, now);
        assert_eq!(session.next(), before);
        session.handle_ready(Side::Upstream, ROOM, now);
        assert_eq!(session.next(), drain);
    }
}

#[test]
fn attempts_that_come_to_nothing_are_counted() {
    let mut now = start();
    let mut session = connecting(now);
    assert_eq!(session.failed_attempts(), 0);
    now = session.deadline();
    session.handle_time(now);
    assert_eq!(session.failed_attempts(), 1);
    session.handle_reset(Side::Upstream);
    session.handle_connect_failed(CloseReason::ConnectFailed, now);
    assert_eq!(session.failed_attempts(), 2);
}

/// 3 MB lay in the socket of a client that read 30 kB/s: it was reset after a minute of what we took for
/// silence.
#[test]
fn bytes_that_a_peer_acknowledges_are_no_silence_and_a_silence_is_seen_an_eighth_late_at_most() {
    let begin = start();
    let mut session = relaying(begin);
    session.handle_ready(Side::Client, DATA, begin);
    let received = ReceiveResult::Bytes { count: 3000, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, received, begin);
    session.handle_drained(Direction::Up, SendResult::Bytes(3000), begin);
    session.handle_filled(Direction::Up, Method::Splice, ReceiveResult::WouldBlock, begin);
    let limit = policy().idle_timeout;
    let mut now = begin;
    for left in (1..=30).rev() {
        now = session.deadline();
        session.handle_time(now);
        session.handle_unsent(Side::Upstream, left, now);
        assert_eq!((session.next(), session.close_reason()), (Action::Wait, None), "{left}");
    }
    assert!(now > begin + 3 * limit, "it took longer than any silence may");
    let silent_since = now;
    while session.close_reason().is_none() {
        now = session.deadline();
        session.handle_time(now);
        session.handle_unsent(Side::Upstream, 1, now);
    }
    assert_eq!(session.close_reason(), Some(CloseReason::IdleTimeout));
    assert_eq!(now, silent_since + limit);
}

/// Each endpoint gets its own header, and the payload behind it once.
#[test]
fn the_header_of_an_attempt_that_failed_is_not_counted_for_the_next() {
    let now = start();
    let mut session = Session::new(policy(), FirstUse::AtOnce, now);
    let payload = ReceiveResult::Bytes { count: 5, asked: 4096 };
    session.handle_filled(Direction::Up, Method::Copy, payload, now);
    route(&mut session);
    for header in [52, 28] {
        assert_eq!(session.next(), Action::Connect);
        session.handle_connecting(FirstUse::AtOnce, header, now);
        if header == 52 {
            session.handle_drained(Direction::Up, SendResult::Failed(Failure::Other), now);
            assert_eq!(session.next(), Action::Reset(Side::Upstream));
            session.handle_reset(Side::Upstream);
        }
    }
    session.handle_drained(Direction::Up, SendResult::Bytes(33), now);
    assert_eq!((session.moved(Direction::Up), session.next()), (33, Action::Wait));
}

/// Each segment of a source that goes on would raise an edge while nobody can use it.
#[test]
fn a_source_is_not_listened_to_while_its_pipe_waits_for_the_sink() {
    let (now, down) = (start(), Direction::Down);
    let mut session = relaying(now);
    session.handle_ready(Side::Upstream, DATA, now);
    let some = ReceiveResult::Bytes { count: 8, asked: 4096 };
    session.handle_filled(down, Method::Splice, some, now);
    assert_eq!(session.next(), Action::Drain(down));
    session.handle_drained(down, SendResult::WouldBlock, now);
    assert_eq!(session.next(), Action::Watch(Side::Upstream, Interest::Room));
    session.handle_watched(Side::Upstream, Interest::Room, None, now);
    assert_eq!(session.next(), Action::Wait);
    session.handle_ready(Side::Client, ROOM, now);
    session.handle_drained(down, SendResult::Bytes(8), now);
    assert_eq!(session.next(), Action::Fill(down, Method::Splice), "it was not empty");
    session.handle_filled(down, Method::Splice, ReceiveResult::WouldBlock, now);
    // The other direction does not keep it waiting.
    session.handle_ready(Side::Client, DATA, now);
    session.handle_filled(Direction::Up, Method::Splice, some, now);
    assert_eq!(session.next(), Action::Watch(Side::Upstream, Interest::All));
    session.handle_watched(Side::Upstream, Interest::All, None, now);
    assert_eq!(session.next(), Action::Drain(Direction::Up));
}

#[test]
fn bytes_in_a_buffer_and_an_ended_source_change_nothing_of_what_is_listened_to() {
    let (now, down) = (start(), Direction::Down);
    let mut session = relaying(now);
    session.handle_ready(Side::Upstream, HANGUP, now);
    let some = ReceiveResult::Bytes { count: 8, asked: 4096 };
    session.handle_filled(down, Method::Copy, some, now);
    session.handle_drained(down, SendResult::WouldBlock, now);
    assert_eq!(session.next(), Action::Wait);
    let mut session = relaying(now);
    session.handle_ready(Side::Upstream, HANGUP, now);
    session.handle_filled(down, Method::Splice, some, now);
    session.handle_drained(down, SendResult::WouldBlock, now);
    session.handle_watched(Side::Upstream, Interest::Room, None, now);
    session.handle_ready(Side::Client, ROOM, now);
    session.handle_drained(down, SendResult::Bytes(8), now);
    session.handle_filled(down, Method::Copy, ReceiveResult::End, now);
    session.handle_shut(down, None, now);
    assert_eq!(session.next(), Action::Wait, "there is nothing more to hear");
}

#[test]
fn a_socket_that_cannot_be_watched_counts_as_broken() {
    let now = start();
    let mut session = relaying(now);
    session.handle_watched(Side::Upstream, Interest::Room, Some(Failure::Other), now);
    assert_eq!(session.close_reason(), Some(CloseReason::UpstreamReset));
}
