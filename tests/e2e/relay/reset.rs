//! A reset on one side is a reset on the other, behind every byte that was taken before it: a stream
//! that was cut short never looks complete.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use socket2::Socket;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::End;
use crate::common::payload::{MIB, assert_same, random};
use crate::support::{
    Listener, Peer, SPLICE_MODES, Setup, Stopwatch, assert_closed, link, unread, unsent,
    wait_until_taken,
};

/// The pair in the order (who resets, who is to learn of it), for both directions.
fn both_ways(client: Peer, upstream: Peer, client_resets: bool) -> (Peer, Peer) {
    if client_resets { (client, upstream) } else { (upstream, client) }
}

fn reason(client_resets: bool) -> &'static str {
    if client_resets { "client_reset" } else { "upstream_reset" }
}

#[test]
fn a_reset_arrives_as_a_reset_behind_everything_that_was_sent() {
    let far = Listener::start();
    let payload = random(1, 200_000);
    for mode in SPLICE_MODES {
        let mut server = Setup::to(&[far.addr()]).splice(mode).start();
        for client_resets in [true, false] {
            let (client, upstream) = link(server.addr(), &far);
            let client_addr = client.addr();
            let (breaker, reader) = both_ways(client, upstream, client_resets);
            breaker.send(&payload);
            wait_until_taken(breaker.addr(), breaker.remote());
            breaker.reset();
            let (got, end) = reader.rest();
            assert_same(&got, &payload);
            assert_eq!(end, End::Reset);
            assert_eq!(server.account_of(client_addr).reason, reason(client_resets));
        }
    }
}

#[test]
fn a_reset_without_a_byte_before_it_is_passed_on() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).start();
    for client_resets in [true, false] {
        let (client, upstream) = link(server.addr(), &far);
        let (breaker, reader) = both_ways(client, upstream, client_resets);
        breaker.reset();
        reader.expect_reset();
    }
    assert_closed(&server.stop(), &[("client_reset", 1), ("upstream_reset", 1)]);
}

#[test]
fn a_reset_behind_a_fin_is_still_a_reset() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).start();
    for client_resets in [true, false] {
        let (client, upstream) = link(server.addr(), &far);
        let (breaker, reader) = both_ways(client, upstream, client_resets);
        breaker.send_with_fin(b"request");
        reader.expect_last(b"request");
        // The answer is under way when the asker breaks off.
        reader.send(b"part of the answer");
        breaker.expect(b"part of the answer");
        breaker.reset();
        // The reader has seen the FIN, so only its socket's error tells: EPIPE is what the kernel
        // makes of a reset behind a FIN (tcp_reset).
        let error = poll_for(PATIENCE, || reader.stream().take_error().expect("it is a socket"));
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
    }
    assert_closed(&server.stop(), &[("client_reset", 1), ("upstream_reset", 1)]);
}

/// Bytes the server has taken out of its socket towards `sender`, of so many sent.
fn taken(sender: &Peer, sent: usize) -> usize {
    let (addr, server) = (sender.addr(), sender.remote());
    sent - unsent(addr, server) - unread(server, addr)
}

#[test]
fn a_slow_reader_gets_everything_that_was_taken_then_the_reset() {
    let shrink = |socket: &Socket| {
        socket.set_recv_buffer_size(64 * 1024).expect("a socket has the option");
    };
    let far = Listener::start_with(16, shrink);
    let payload = random(2, 64 * MIB);
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        for client_resets in [true, false] {
            let (client, upstream) = link(server.addr(), &far);
            let (breaker, reader) = both_ways(client, upstream, client_resets);
            let sent = breaker.send_until_full(&payload);
            let taken = taken(&breaker, sent);
            assert!(taken > 64 * 1024, "the way holds more than the reader's queue");
            breaker.reset();
            // A few bytes at a time, but fast enough for the second that it is given.
            let (mut got, mut buf) = (Vec::new(), [0; 10_000]);
            let end = loop {
                match reader.stream().read(&mut buf) {
                    Ok(0) => break End::Fin,
                    Ok(count) => got.extend_from_slice(&buf[..count]),
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break End::Reset,
                    Err(error) => panic!("reading failed after {} bytes: {error}", got.len()),
                }
            };
            assert_eq!(end, End::Reset, "{mode}");
            assert!(got.len() >= taken, "{mode}: {} of the {taken} taken", got.len());
            assert_same(&got, &payload[..got.len()]);
        }
        assert_closed(&server.stop(), &[("client_reset", 1), ("upstream_reset", 1)]);
    }
}

#[test]
fn a_reader_that_takes_nothing_is_reset_within_a_second() {
    let far = Listener::start();
    let payload = random(3, 64 * MIB);
    let server = Setup::to(&[far.addr()]).start();
    for client_resets in [true, false] {
        let (client, upstream) = link(server.addr(), &far);
        let (breaker, reader) = both_ways(client, upstream, client_resets);
        breaker.send_until_full(&payload);
        let stopwatch = Stopwatch::start();
        breaker.reset();
        let error = poll_for(PATIENCE, || reader.stream().take_error().expect("it is a socket"));
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
        let span = stopwatch.read();
        // The promise is a second; the rest is for a busy machine.
        assert!(span < Duration::from_millis(1_500), "{span:?}");
    }
    assert_closed(&server.stop(), &[("client_reset", 1), ("upstream_reset", 1)]);
}

#[test]
fn an_answer_is_whole_though_upstream_closes_with_the_request_half_read() {
    let far = Listener::start();
    let request = random(4, MIB);
    let answer = random(5, 100_000);
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        let (client, upstream) = link(server.addr(), &far);
        client.send(&request);
        upstream.expect(&request[..1]);
        upstream.send(&answer);
        // The kernel turns a close with unread bytes into a reset, and drops what is unsent.
        poll_for(PATIENCE, || (unsent(upstream.addr(), upstream.remote()) == 0).then_some(()))
            .expect("the answer is out");
        drop(upstream);
        let (got, end) = client.rest();
        assert_same(&got, &answer);
        assert_eq!(end, End::Reset, "the request was not read: this is no peaceful end");
        assert_closed(&server.stop(), &[("upstream_reset", 1)]);
    }
}

#[test]
fn a_client_that_closes_with_the_answer_half_read_resets_upstream() {
    let far = Listener::start();
    let answer = random(6, MIB);
    let server = Setup::to(&[far.addr()]).start();
    let (client, upstream) = link(server.addr(), &far);
    client.send(b"request");
    upstream.expect(b"request");
    upstream.send(&answer);
    client.expect(&answer[..1]);
    drop(client);
    upstream.expect_reset();
    assert_closed(&server.stop(), &[("client_reset", 1)]);
}
