//! Crowds: more connections than a server may have, and more at one place than others should wait for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use super::{Calm, serve_one, wait_for_worker, wait_until_idle};
use crate::common::far_end::FarEnd;
use crate::common::ppserver::assert_balanced;
use crate::life::server::{Server, file, listener, raise_own_limit};
use crate::life::session::Session;

/// Connections it may have.
const ROOM: usize = 100;
/// Each of the flood's threads makes so many connections, one right behind the other.
const EACH: usize = 500;
const THREADS: usize = 8;

/// Opens connections and keeps what it gets; tells how many it got.
fn flood(to: SocketAddr, kept: &AtomicUsize) -> Vec<Session> {
    let sessions: Vec<_> = (0..EACH).filter_map(|_| Session::try_open(to)).collect();
    kept.fetch_add(sessions.len(), Ordering::Relaxed);
    sessions
}

#[test]
fn a_flood_gets_the_room_there_is_the_rest_is_reset_and_who_is_served_is_not_disturbed() {
    raise_own_limit();
    let far_end = FarEnd::start();
    let most = format!("server.max_connections = {ROOM}");
    let server = Server::start(&file(&["server.workers = 2", &most], far_end.addr()));
    let calm = Calm::of(server.pid());
    let mut regular: Vec<_> = (0..ROOM / 2).map(|_| Session::open(server.addr())).collect();
    let (kept, to) = (AtomicUsize::new(0), server.addr());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| flood(to, &kept))).collect();
        regular.iter_mut().for_each(|session| session.echo(b"undisturbed"));
        let mut lucky: Vec<_> = Vec::new();
        for thread in threads {
            lucky.extend(thread.join().expect("the flood does not panic"));
        }
        // Everyone who was let in is served, and the rest was told at once.
        lucky.iter_mut().for_each(|session| session.echo(b"served"));
        regular.iter_mut().for_each(|session| session.echo(b"undisturbed"));
    });
    let kept = kept.into_inner();
    assert_eq!(kept, ROOM / 2, "no more and no less than there was room for");
    drop(regular);
    let counters = wait_until_idle(&server);
    assert_balanced(&counters);
    assert_eq!(counters["accepted"], ROOM / 2 + THREADS * EACH, "{counters}");
    assert_eq!(counters["closed"]["overload"], THREADS * EACH - kept, "{counters}");
    serve_one(&server);
    calm.assert_back("a flood");
}

/// Has so many connections come to the first port and one to the second while the server stands still,
/// so that it finds them all at once; returns how many reach the upstream of both before that one.
#[track_caller]
fn reach_upstream_first(text: &str, crowd: usize, far_end: &FarEnd) -> usize {
    const OTHER: &[u8] = b"from the second port";
    let plain = text.replace("accept = 'require'\ntrust = ['127.0.0.1']\n", "");
    let server = Server::start_ports(&plain, 2);
    wait_for_worker(server.pid(), 'S');
    server.proc.signal(Signal::STOP);
    wait_for_worker(server.pid(), 'T');
    let session = |to, bytes| {
        let mut session = Session::connect(to);
        session.send(bytes);
        session.finish();
        session
    };
    let (first, second) = (server.addrs()[0], server.addrs()[1]);
    let mut sessions: Vec<_> = (0..crowd).map(|_| session(first, b"from the first port")).collect();
    sessions.push(session(second, OTHER));
    server.proc.signal(Signal::CONT);
    let is_other = |nth: &usize| far_end.ended(*nth).received == OTHER;
    (0..=crowd).find(is_other).expect("all come")
}

#[test]
fn a_crowd_at_one_port_is_not_taken_as_a_whole_before_another_port() {
    /// More than are taken from one port at a time, and no more than can wait upstream.
    const CROWD: usize = 100;
    let far_end = FarEnd::start();
    let text = file(&["server.workers = 1"], far_end.addr()) + &listener("other", far_end.addr());
    let before = reach_upstream_first(&text, CROWD, &far_end);
    assert!(before < CROWD, "{before} were taken before it");
}

#[test]
fn a_connection_with_much_to_do_does_not_keep_another_waiting() {
    /// The most that one may try. Each is refused by the call that tries.
    const DEAD: usize = 15;
    let far_end = FarEnd::start();
    let last = format!("'{}'", far_end.addr());
    let dead: String = (1..=DEAD).map(|nth| format!("'127.0.9.{nth}:9', ")).collect();
    let text = file(&["server.workers = 1"], far_end.addr())
        .replace(&format!("[{last}]"), &format!("[{dead}{last}]\nretries = {DEAD}"));
    let text = text + &listener("other", far_end.addr());
    let before = reach_upstream_first(&text, 1, &far_end);
    assert_eq!(before, 0, "the first had {DEAD} endpoints to try");
}
