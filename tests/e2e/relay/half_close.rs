//! One side ends, the other goes on: the FIN travels behind the last byte, and alone.

use std::thread;

use crate::common::payload::{MIB, random};
use crate::support::{
    Listener, Peer, SPLICE_MODES, Setup, all_segments_received, assert_closed, link, unread,
    unsent, wait_until_taken,
};

const ANSWER_BYTES: usize = 3 * MIB;

#[test]
fn either_side_may_end_first_and_still_gets_the_whole_answer() {
    let far = Listener::start();
    let answer = random(1, ANSWER_BYTES);
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        for client_ends_first in [true, false] {
            let (client, upstream) = link(server.addr(), &far);
            let (first, second) =
                if client_ends_first { (&client, &upstream) } else { (&upstream, &client) };
            first.send_with_fin(b"request");
            second.expect_last(b"request");
            // The FIN was passed on; nothing else was.
            assert!(first.is_quiet());
            thread::scope(|scope| {
                scope.spawn(|| second.pour(&answer, 3));
                first.expect_last(&answer);
            });
        }
        assert_closed(&server.stop(), &[("done", 2)]);
    }
}

#[test]
fn an_end_without_a_byte_before_it_is_passed_on() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).start();
    for client_ends_first in [true, false] {
        let (client, upstream) = link(server.addr(), &far);
        let (first, second) =
            if client_ends_first { (&client, &upstream) } else { (&upstream, &client) };
        first.fin();
        second.expect_last(b"");
        assert!(first.is_quiet());
        second.send_with_fin(b"answer");
        first.expect_last(b"answer");
    }
    assert_closed(&server.stop(), &[("done", 2)]);
}

#[test]
fn a_fin_behind_a_full_way_arrives_behind_the_last_byte() {
    let far = Listener::start();
    let payload = random(2, 64 * MIB);
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        for client_sends in [true, false] {
            let (client, upstream) = link(server.addr(), &far);
            let (sender, reader) =
                if client_sends { (&client, &upstream) } else { (&upstream, &client) };
            let sent = sender.send_until_full(&payload);
            sender.fin();
            assert!(unread(reader.addr(), reader.remote()) > 0, "the reader's queue is full");
            assert!(unsent(reader.remote(), reader.addr()) > 0, "and the server's behind it");
            reader.expect_last(&payload[..sent]);
            // The other direction still stands.
            reader.send_with_fin(b"answer");
            sender.expect_last(b"answer");
        }
        assert_closed(&server.stop(), &[("done", 2)]);
    }
}

#[test]
fn data_and_fin_that_come_in_one_segment_leave_in_one() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).start();
    for client_ends_first in [true, false] {
        let (client, upstream) = link(server.addr(), &far);
        let (first, second) =
            if client_ends_first { (&client, &upstream) } else { (&upstream, &client) };
        let arrived = || all_segments_received(second.addr(), second.remote());
        let before = arrived();
        first.send_with_fin(b"the last");
        second.expect_last(b"the last");
        assert_eq!(arrived(), before + 1);
        second.fin();
        first.expect_last(b"");
    }
    assert_closed(&server.stop(), &[("done", 2)]);
}

#[test]
fn data_and_fin_in_one_segment_from_both_sides_cross_unharmed() {
    let far = Listener::start();
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        for _ in 0..50 {
            let (client, upstream) = link(server.addr(), &far);
            client.send_with_fin(b"from the client");
            upstream.send_with_fin(b"from upstream");
            upstream.expect_last(b"from the client");
            client.expect_last(b"from upstream");
        }
        assert_closed(&server.stop(), &[("done", 50)]);
    }
}

#[test]
fn a_reader_that_starts_late_gets_everything_a_closed_sender_left() {
    let far = Listener::start();
    let payload = random(3, 64 * MIB);
    let server = Setup::to(&[far.addr()]).start();
    let (client, upstream) = link(server.addr(), &far);
    // As much as the kernels and the server hold, then close(2): the sender is gone altogether.
    let sent = client.send_until_full(&payload);
    let (addr, to) = (client.addr(), server.addr());
    drop(client);
    upstream.expect_last(&payload[..sent]);
    upstream.fin();
    drop(upstream);
    wait_until_taken(addr, to);
    assert_closed(&server.stop(), &[("done", 1)]);
}

/// A peer that only half-closes keeps its connection, unlike one that is idle.
#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).start();
    let client = Peer::connect(server.addr());
    client.fin();
    let upstream = far.accept();
    upstream.expect_last(b"");
    for _ in 0..100 {
        upstream.send(b"event");
        client.expect(b"event");
    }
    upstream.fin();
    client.expect_last(b"");
}
