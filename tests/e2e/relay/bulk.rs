//! Payload: every byte, in order, whatever the sizes, the buffers and the way it is moved.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use socket2::Socket;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::payload::{MIB, assert_same, random};
use crate::life::procfs;
use crate::support::{
    BlackHole, Listener, Peer, REQUIRE, SPLICE_MODES, Setup, assert_closed, fresh_address, link,
    raise_descriptor_limit, resident_bytes, unread, unsent, wait_until_taken,
};

/// Both peers send all of theirs at once, end, and read the other's.
fn exchange(client: &Peer, upstream: &Peer, up: &[u8], down: &[u8], seed: u64) {
    thread::scope(|scope| {
        scope.spawn(|| client.pour(up, seed));
        scope.spawn(|| upstream.pour(down, seed + 1));
        scope.spawn(|| upstream.expect_last(up));
        client.expect_last(down);
    });
}

#[test]
fn large_payloads_go_both_ways_at_once_unharmed_in_every_splice_mode() {
    let far = Listener::start();
    let (up, down) = (random(1, 64 * MIB), random(2, 64 * MIB));
    for (seed, mode) in [3, 5, 7].into_iter().zip(SPLICE_MODES) {
        let mut server = Setup::to(&[far.addr()]).splice(mode).start();
        let (client, upstream) = link(server.addr(), &far);
        exchange(&client, &upstream, &up, &down, seed);
        let account = server.account_of(client.addr());
        assert_eq!(account.reason, "done");
        assert_eq!((account.bytes_in, account.bytes_out), (64 << 20, 64 << 20));
    }
}

#[test]
fn sockets_with_small_buffers_lose_nothing() {
    /// The kernel doubles it and has a floor of its own (socket(7)).
    const BUFFER_BYTES: usize = 4096;
    let shrink = |socket: &Socket| {
        socket.set_recv_buffer_size(BUFFER_BYTES).expect("a socket has the option");
        socket.set_send_buffer_size(BUFFER_BYTES).expect("a socket has the option");
    };
    let far = Listener::start_with(16, shrink);
    let (up, down) = (random(3, 2 * MIB), random(4, 2 * MIB));
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        let client = Peer::connect_with(fresh_address(), server.addr(), shrink);
        let upstream = far.accept();
        exchange(&client, &upstream, &up, &down, 9);
    }
}

#[test]
fn two_thousand_segments_of_one_byte_arrive_in_order() {
    let far = Listener::start();
    let payload = random(5, 2_000);
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        let (client, upstream) = link(server.addr(), &far);
        // First with a reader that waits: the segments pile up on the way.
        payload.iter().for_each(|byte| client.send(&[*byte]));
        upstream.expect(&payload);
        // Then with one that answers each.
        for byte in &payload {
            upstream.send(&[*byte]);
            client.expect(&[*byte]);
        }
        client.fin();
        upstream.expect_last(b"");
    }
}

#[test]
fn a_stalled_reader_costs_a_bounded_amount_of_memory() {
    const READERS: usize = 200;
    const EACH_MAX: usize = 256 * 1024;
    // Small buffers of ours, and segments of the usual size: on loopback they are 64 KiB, with which
    // 200 send buffers grow until the kernel is short of memory for everybody's sockets.
    let shrink = |socket: &Socket| {
        socket.set_recv_buffer_size(16 * 1024).expect("a socket has the option");
        socket.set_send_buffer_size(16 * 1024).expect("a socket has the option");
        socket.set_tcp_mss(1448).expect("a TCP socket has the option");
    };
    let far = Listener::start_with(1024, shrink);
    let payload = random(6, 64 * MIB);
    for mode in SPLICE_MODES {
        let mut server = Setup::to(&[far.addr()]).splice(mode).start();
        let (client, upstream) = link(server.addr(), &far);
        client.send(b"warm");
        upstream.expect(b"warm");
        let before = resident_bytes(server.pid());
        let links: Vec<(Peer, Peer)> = (0..READERS)
            .map(|_| {
                let client = Peer::connect_with(fresh_address(), server.addr(), shrink);
                (client, far.accept())
            })
            .collect();
        let sent = thread::scope(|scope| {
            let senders: Vec<_> = links
                .iter()
                .map(|(client, _)| scope.spawn(|| client.send_until_full(&payload)))
                .collect();
            let sent = senders.into_iter().map(|sender| sender.join().expect("it sends"));
            sent.collect::<Vec<usize>>()
        });
        assert!(sent.iter().all(|sent| *sent > 64 * 1024), "{sent:?}");
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        assert!(grown < READERS * EACH_MAX, "{mode}: {grown} bytes for {READERS} readers");
        // They are stalled, not dead.
        let ((client, upstream), sent) = (&links[READERS / 2], sent[READERS / 2]);
        client.fin();
        upstream.expect_last(&payload[..sent]);
    }
}

/// What waits for an endpoint that does not answer took 64 KiB a client, in the second round of them.
#[test]
fn a_client_that_waits_with_a_byte_costs_about_a_byte() {
    const CLIENTS: usize = 1_500;
    const EACH_MAX: usize = 2 * 1024;
    raise_descriptor_limit(2 * CLIENTS as u64);
    let far = BlackHole::new();
    let timeouts = "connect = \"1m\"";
    let mut server = Setup::to(&[far.addr()]).timeouts(timeouts).retries(0).start();
    let before = resident_bytes(server.pid());
    for round in 1..=2 {
        let clients: Vec<Peer> = (0..CLIENTS)
            .map(|_| {
                let client = Peer::connect(server.addr());
                client.send(b"?");
                client
            })
            .collect();
        for client in &clients {
            wait_until_taken(client.addr(), server.addr());
        }
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        assert!(grown < CLIENTS * EACH_MAX, "round {round}: {grown} bytes for {CLIENTS} clients");
        clients.into_iter().for_each(Peer::reset);
    }
}

#[test]
fn a_source_whose_pipe_waits_for_its_sink_wakes_nobody_and_loses_nothing() {
    const PIECE: usize = 64 * 1024;
    const SEGMENTS: usize = 100;
    /// What is not taken by then waits for the reader.
    const STUCK: Duration = Duration::from_millis(300);
    let far = Listener::start();
    let payload = random(12, 32 * MIB);
    for is_urgent in [false, true] {
        let mut server = Setup::to(&[far.addr()]).splice("always").start();
        let pid = server.process_id();
        let wakeups = || -> u64 {
            let threads = procfs::wakeups(pid).into_iter();
            threads.filter(|(name, _)| name.starts_with("worker")).map(|(_, count)| count).sum()
        };
        for client_sends in [true, false] {
            let (client, upstream) = link(server.addr(), &far);
            let (sender, reader) =
                if client_sends { (&client, &upstream) } else { (&upstream, &client) };
            let (addr, proxy) = (sender.addr(), sender.remote());
            let mut rest = payload.chunks(PIECE);
            let mut sent = Vec::new();
            // Until the first piece that nobody takes: the pipe waits, and the queue in front of it has room.
            let arrive = || {
                let arrived = poll_for(PATIENCE, || (unsent(addr, proxy) == 0).then_some(()));
                assert!(arrived.is_some(), "the queue has room");
            };
            let is_taken = || {
                arrive();
                poll_for(STUCK, || (unread(proxy, addr) == 0).then_some(())).is_some()
            };
            while is_taken() {
                let piece = rest.next().expect("less than all of it fills the way");
                sender.send(piece);
                sent.extend_from_slice(piece);
            }
            let before = wakeups();
            for byte in &payload[..SEGMENTS] {
                sender.send(&[*byte]);
                sent.push(*byte);
                arrive();
            }
            let woken = wakeups() - before;
            assert!(woken < 10, "woken {woken} times by {SEGMENTS} segments");
            if is_urgent {
                sender.send_urgent(b'!');
                sender.send(b"behind it");
                sent.extend_from_slice(b"behind it");
            }
            sender.fin();
            reader.expect_last(&sent);
            reader.send_with_fin(b"answer");
            sender.expect_last(b"answer");
        }
        assert_closed(&server.stop(), &[("done", 2)]);
    }
}

#[test]
fn two_hundred_races_of_two_ends_lose_no_byte() {
    const RACES: u64 = 200;
    const AT_A_TIME: usize = 8;
    let far = Listener::start();
    let server = Setup::to(&[far.addr()]).workers(2).start();
    let addr = server.addr();
    let (up, down) = (random(7, 16 * MIB), random(8, 16 * MIB));
    let next = Mutex::new(0..RACES);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    // One at a time, so that each client knows its upstream.
                    let mut races = next.lock().expect("no race failed");
                    let Some(seed) = races.next() else { return };
                    let (client, upstream) = link(addr, &far);
                    drop(races);
                    exchange(&client, &upstream, &up, &down, seed);
                }
            });
        }
    });
    let counters = server.stop();
    assert_closed(&counters, &[("done", 200)]);
    assert_eq!(counters["bytes_up"], RACES * (16 << 20));
    assert_eq!(counters["bytes_down"], RACES * (16 << 20));
}

#[test]
fn a_busy_connection_does_not_starve_a_quiet_one() {
    let far = Listener::start();
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        let (busy, busy_far) = link(server.addr(), &far);
        let (quiet, quiet_far) = link(server.addr(), &far);
        let payload = random(9, 32 * MIB);
        thread::scope(|scope| {
            scope.spawn(|| busy.pour(&payload, 11));
            let reader = scope.spawn(|| busy_far.expect_last(&payload));
            let mut answers = 0;
            while !reader.is_finished() {
                quiet.send(b"ping");
                quiet_far.expect(b"ping");
                quiet_far.send(b"pong");
                quiet.expect(b"pong");
                answers += 1;
            }
            assert!(answers > 1, "{mode}: {answers} answers beside 32 MiB");
        });
    }
}

#[test]
fn payload_behind_a_header_is_relayed_whole_in_every_splice_mode() {
    let far = Listener::start();
    let payload = random(10, 4 * MIB);
    for mode in SPLICE_MODES {
        let setup = Setup::to(&[far.addr()]).splice(mode).send("send = \"v1\"");
        let server = setup.accept(REQUIRE).start();
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n";
        let client = Peer::connect(server.addr());
        client.send(&line[..20]);
        wait_until_taken(client.addr(), server.addr());
        let sent = [&line[20..], &payload].concat();
        thread::scope(|scope| {
            scope.spawn(|| client.pour(&sent, 13));
            let upstream = far.accept();
            upstream.expect(line);
            upstream.expect_last(&payload);
            upstream.fin();
        });
        let (rest, _) = client.rest();
        assert_same(&rest, b"");
    }
}
