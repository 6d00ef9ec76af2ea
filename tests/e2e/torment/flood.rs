//! More connections than a server may have, all at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Calm, serve_one, wait_until_idle};
use crate::common::far_end::FarEnd;
use crate::life::server::{Server, assert_balanced, file, raise_own_limit};
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
