//! Time limits: never early, and not much late; what prolongs them and what does not.
//!
//! The promise is 100 ms. The machine is shared, so a late end is tried again a few times; an early
//! one fails at once.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::common::deadline::poll_for;
use crate::common::far_end::FarEnd;
use crate::common::wire::{SIGNATURE, v1};
use crate::support::{
    Crowd, Listener, Peer, REQUIRE, Server, Setup, Stopwatch, assert_closed, link,
    raise_descriptor_limit,
};

const LATE_MAX: Duration = Duration::from_millis(100);
const TRIES_MAX: usize = 5;

/// Runs `life`, which returns how long a connection was left alone, until it is exact.
#[track_caller]
fn assert_exact(limit: Duration, mut life: impl FnMut() -> Duration) {
    let mut lives = Vec::new();
    while lives.len() < TRIES_MAX {
        let span = life();
        assert!(span >= limit, "early: {span:?} instead of {limit:?}");
        if span <= limit + LATE_MAX {
            return;
        }
        lives.push(span);
    }
    panic!("late every time: {lives:?} instead of {limit:?}");
}

/// Sends something every 10 ms for this long.
fn keep_sending(span: Duration, mut send: impl FnMut()) {
    let stopwatch = Stopwatch::start();
    poll_for(span * 2, || {
        send();
        (stopwatch.read() >= span).then_some(())
    })
    .expect("it looks at the clock often enough");
}

#[track_caller]
fn assert_reason(server: &mut Server, client: SocketAddr, reason: &str) {
    assert_eq!(server.account_of(client).reason, reason);
}

#[test]
fn an_idle_connection_is_reset_on_both_sides_when_its_time_is_up() {
    let far = Listener::start();
    let limit = Duration::from_millis(300);
    let mut server = Setup::to(&[far.addr()]).timeouts("idle = \"300ms\"").start();
    assert_exact(limit, || {
        let (client, upstream) = link(server.addr(), &far);
        client.send(b"last");
        // Before the server has it, so never later than its last activity.
        let stopwatch = Stopwatch::start();
        upstream.expect(b"last");
        client.expect_reset();
        let span = stopwatch.read();
        upstream.expect_reset();
        assert_reason(&mut server, client.addr(), "idle_timeout");
        span + Duration::from_millis(1)
    });
}

#[test]
fn bytes_in_either_direction_keep_a_connection_alive() {
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).timeouts("idle = \"600ms\"").start();
    let (client, upstream) = link(server.addr(), &far);
    keep_sending(Duration::from_millis(1_000), || {
        client.send(b"up");
        upstream.expect(b"up");
    });
    keep_sending(Duration::from_millis(1_000), || {
        upstream.send(b"down");
        client.expect(b"down");
    });
    assert!(client.is_quiet() && upstream.is_quiet());
}

#[test]
fn a_half_closed_connection_is_reset_when_nothing_comes_any_more() {
    let far = Listener::start();
    let limit = Duration::from_millis(300);
    let timeouts = "idle = \"1h\"\nhalf_closed = \"300ms\"";
    let mut server = Setup::to(&[far.addr()]).timeouts(timeouts).start();
    for client_ends in [true, false] {
        assert_exact(limit, || {
            let (client, upstream) = link(server.addr(), &far);
            let (ender, other) =
                if client_ends { (&client, &upstream) } else { (&upstream, &client) };
            let stopwatch = Stopwatch::start();
            ender.fin();
            other.expect_last(b"");
            ender.expect_reset();
            let span = stopwatch.read();
            assert_reason(&mut server, client.addr(), "half_closed_timeout");
            span
        });
    }
}

#[test]
fn bytes_prolong_a_half_closed_connection_without_a_limit() {
    let far = Listener::start();
    let timeouts = "idle = \"1h\"\nhalf_closed = \"600ms\"";
    let mut server = Setup::to(&[far.addr()]).timeouts(timeouts).start();
    let (client, upstream) = link(server.addr(), &far);
    client.fin();
    upstream.expect_last(b"");
    keep_sending(Duration::from_millis(1_500), || {
        upstream.send(b"down");
        client.expect(b"down");
    });
    upstream.fin();
    client.expect_last(b"");
    assert_reason(&mut server, client.addr(), "done");
}

/// An upstream answered 3 MB and closed; a client that read 30 kB/s was reset after a minute, since no
/// byte had passed through the proxy: they lay in its socket.
#[test]
#[expect(clippy::disallowed_methods, reason = "a reader that takes its time is the subject")]
fn a_reader_however_slow_gets_every_byte_as_long_as_it_reads_on() {
    let far = Listener::start();
    let limits = ["idle = \"1h\"\nhalf_closed = \"1s\"", "idle = \"1s\"\nhalf_closed = \"1h\""];
    for (timeouts, ends) in limits.into_iter().zip([true, false]) {
        let mut server = Setup::to(&[far.addr()]).timeouts(timeouts).start();
        let (client, upstream) = link(server.addr(), &far);
        let answer: Vec<u8> = (0..=u8::MAX).cycle().take(512 * 1024).collect();
        SockRef::from(client.stream()).set_recv_buffer_size(4096).unwrap();
        upstream.send(&answer);
        if ends {
            upstream.fin();
        }
        // Three times the limit, in reads that are each well within it.
        for chunk in answer.chunks(answer.len() / 30) {
            thread::sleep(Duration::from_millis(100));
            client.expect(chunk);
        }
        client.fin();
        if ends {
            client.expect_last(b"");
            assert_reason(&mut server, client.addr(), "done");
        }
    }
}

#[test]
fn the_header_deadline_counts_from_accept_and_no_byte_prolongs_it() {
    let far = FarEnd::start();
    let limit = Duration::from_millis(600);
    let setup = Setup::to(&[far.addr()]).accept(REQUIRE).timeouts("header = \"600ms\"");
    let mut server = setup.start();
    let (source, destination) = ("192.0.2.7:51000".parse(), "198.51.100.1:443".parse());
    let line = v1(source.expect("an address"), destination.expect("an address"));
    // Silent, half a header at once, and a byte at a time (one each 15 ms or so).
    for sent in [&b""[..], &line[..20], SIGNATURE] {
        for dribbles in [false, true] {
            assert_exact(limit, || {
                let stopwatch = Stopwatch::start();
                let client = Peer::connect(server.addr());
                let mut bytes = if dribbles { &line[..line.len() - 1] } else { b"" }.iter();
                if !dribbles {
                    client.send(sent);
                }
                let mut looks = 0;
                poll_for(limit * 4, || {
                    looks += 1;
                    if looks % 3 == 0
                        && let Some(byte) = bytes.next()
                        && client.is_quiet()
                    {
                        client.send(&[*byte]);
                    }
                    (!client.is_quiet()).then_some(())
                })
                .expect("it ends");
                let span = stopwatch.read();
                client.expect_reset();
                assert_reason(&mut server, client.addr(), "header_timeout");
                span
            });
        }
    }
    assert_eq!(far.accepted(), 0);
}

#[test]
fn a_header_that_comes_in_time_ends_its_deadline() {
    let far = Listener::start();
    let setup = Setup::to(&[far.addr()]).accept(REQUIRE).timeouts("header = \"200ms\"");
    let server = setup.start();
    let client = Peer::connect(server.addr());
    client.send(b"PROXY UNKNOWN\r\n");
    let upstream = far.accept();
    keep_sending(Duration::from_millis(500), || {
        assert!(client.is_quiet() && upstream.is_quiet());
    });
    client.send(b"late");
    upstream.expect(b"late");
}

#[test]
fn nine_thousand_half_headers_are_held_to_the_deadline_while_others_are_served() {
    const HALVES: usize = 9_000;
    let limit = Duration::from_secs(3);
    raise_descriptor_limit(11_000);
    let far = FarEnd::start();
    // The default deadline.
    let server = Setup::to(&[far.addr()]).accept(REQUIRE).start();
    let addr = server.addr();
    let mut crowd = Crowd::default();
    for index in 0..HALVES {
        let began = Stopwatch::start();
        let client = Peer::connect(addr);
        let half: &[u8] = if index % 2 == 0 { b"PROXY TCP4 192.0.2.7 1" } else { &SIGNATURE[..7] };
        client.send(half);
        crowd.add(client, began);
    }
    let (lives, mut spans) = thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd.lives());
        let mut spans = Vec::new();
        while !crowd.is_finished() {
            let stopwatch = Stopwatch::start();
            let client = Peer::connect(addr);
            client.send_with_fin(b"PROXY UNKNOWN\r\nrequest");
            client.expect_last(b"request");
            spans.push(stopwatch.read());
        }
        (crowd.join().expect("all end"), spans)
    });
    let (first, last) = (lives.iter().min(), lives.iter().max());
    assert!(*first.expect("9,000") >= limit, "early: {first:?}");
    // Other tests take the processors, but nobody has his deadline twice: how late is the simulator's to say.
    assert!(*last.expect("9,000") < 2 * limit, "late: {last:?}");
    spans.sort_unstable();
    let p99 = spans[spans.len() * 99 / 100];
    assert!(spans.len() > 100, "{} honest clients", spans.len());
    assert!(p99 < Duration::from_millis(100), "p99 of {} honest clients: {p99:?}", spans.len());
    let served = spans.len();
    assert_closed(&server.stop(), &[("header_timeout", HALVES), ("done", served)]);
}
