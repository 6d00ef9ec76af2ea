//! Checks of our own: what they say, whom they take out and bring back, and what follows.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::socket::ReservedPort;
use crate::life::session::{HEADER, Session};

use super::{Pool, list, listen_at};

pub(super) const DOWN: &str = "endpoint down: our checks fail";
pub(super) const UP: &str = "endpoint up: our checks pass";
pub(super) const OFTEN: &str = "interval = '100ms'";
/// LOCAL, without TLVs.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn one_that_fails_gets_no_client_and_comes_back_when_it_passes() {
    let (port, end) = (ReservedPort::new(), FarEnd::start());
    let addrs = [port.addr(), end.addr()];
    let pool = Pool::start(&format!("{}\nhealth = {{ check = 'tcp', {OFTEN} }}", list(&addrs)));
    let told = pool.server.wait_for(DOWN, 0);
    assert_eq!((&told["endpoint"], &told["upstream"]), (&json!(port.addr()), &json!("web")));
    assert_eq!(told["why"], "Connection refused (os error 111)");
    let shown = pool.endpoint(port.addr());
    assert_eq!((&shown["state"], &shown["is_set"]), (&json!("down"), &json!(false)));
    assert_eq!((&shown["why"], &shown["check_latency_seconds"]), (&told["why"], &json!(null)));
    assert!((0..8).all(|_| pool.served_by() == end.addr()));
    assert_eq!(pool.endpoint(port.addr())["connects"], 0, "no client has tried it");
    let since = pool.endpoint(port.addr())["since"].clone();
    pool.reload(
        "server.workers = 1\ntimeouts.idle = '1m'",
        &format!("{}\nhealth = {{ check = 'tcp', {OFTEN}, rise = 3 }}", list(&addrs)),
    );
    assert_eq!(pool.endpoint(port.addr())["since"], since, "a reload forgets nothing");
    let mut events = pool.door.events();
    listen_at(port.addr());
    pool.server.wait_for(UP, 0);
    let event = events.next("endpoint");
    assert_eq!((&event["address"], &event["state"]), (&json!(port.addr()), &json!("up")));
    let shown = pool.endpoint(port.addr());
    assert_eq!((&shown["state"], &shown["why"]), (&json!("up"), &json!(null)));
    assert!(shown["check_latency_seconds"].as_f64().is_some_and(|seconds| seconds < 2.0));
    let count = |result| pool.checks(port.addr(), result);
    assert!(count("ok") >= 3 && count("refused") >= 1 && count("reset") == 0);
    assert!((0..4).any(|_| pool.served_by() == port.addr()));
    assert_eq!((pool.server.records(DOWN).len(), pool.server.records(UP).len()), (1, 1));
    pool.end(&addrs);
}

#[test]
fn a_check_says_what_the_pool_sends_for_ourselves_and_then_its_own_words() {
    for (send, proxy, header) in [
        ("v2", "auto", LOCAL),
        ("v1", "auto", b"PROXY UNKNOWN\r\n"),
        ("v2", "off", b""),
        ("off", "auto", b""),
    ] {
        let end = FarEnd::start();
        let answer = [header, b"PING"].concat();
        let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        let pool = Pool::start(&format!(
            "{}\nproxy_protocol.send = '{send}'\n[upstream.web.health]\ncheck = 'exchange'\n\
             send = 'PING'\nexpect = 'hex:{hex}'\nproxy = '{proxy}'\n{OFTEN}",
            list(&[end.addr()])
        ));
        let said = end.ended(0).received;
        assert_eq!(said, answer, "{send} {proxy}");
        let passed = || pool.endpoint(end.addr())["check_latency_seconds"].as_f64();
        poll_for(PATIENCE, passed).expect("it passes");
        assert_eq!(pool.server.records(DOWN).len(), 0);
        pool.end(&[end.addr()]);
    }
}

#[test]
fn where_local_is_reset_a_check_may_send_a_proxy_header() {
    let picky = Backend::start(|first, _| first[12] == LOCAL[12]);
    let lines = |proxy: &str| {
        format!(
            "{}\nproxy_protocol.send = 'v2'\n[upstream.web.health]\ncheck = 'exchange'\n\
             send = 'P'\nexpect = '+'\nproxy = '{proxy}'\nrise = 1\n{OFTEN}",
            list(&[picky.addr])
        )
    };
    let pool = Pool::start(&lines("auto"));
    let told = pool.server.wait_for(DOWN, 0);
    assert_eq!(told["why"], "it reset the connection behind our first bytes");
    pool.reload("server.workers = 1", &lines("proxy"));
    pool.server.wait_for(UP, 0);
    pool.end(&[picky.addr]);
}

#[test]
fn connections_of_one_that_goes_down_are_reset_where_that_is_wanted() {
    for (on_down, reset) in [("reset", 1), ("keep", 0)] {
        let backends = [Backend::start(|_, is_well| !is_well), Backend::healthy()];
        let addrs = [backends[0].addr, backends[1].addr];
        let pool = Pool::start_with(
            "server.workers = 2",
            &format!(
                "{}\n[upstream.web.health]\ncheck = 'exchange'\nsend = 'P'\nexpect = '+'\n\
                 on_down = '{on_down}'\n{OFTEN}",
                list(&addrs)
            ),
        );
        let sessions: Vec<_> = (0..8).map(|_| Session::open(pool.server.addr())).collect();
        let (theirs, mut others): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|session| pool.endpoint_of(session) == addrs[0]);
        assert!(!theirs.is_empty() && !others.is_empty());
        backends[0].is_well.store(false, Ordering::Relaxed);
        pool.server.wait_for(DOWN, 0);
        let count = theirs.len();
        for mut session in theirs {
            match on_down {
                "reset" => session.assert_reset(),
                _ => session.echo(b"who is there stays"),
            }
        }
        others.iter_mut().for_each(|session| session.echo(b"and so do those elsewhere"));
        drop(others);
        let counters = pool.end(&addrs);
        assert_eq!(counters["closed"]["endpoint_down"], reset * count);
    }
}

#[test]
fn connections_to_an_address_that_no_name_stands_for_any_more_are_reset_where_that_is_wanted() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let addrs = [ends[0].addr(), ends[1].addr()];
    let dir = TempDir::new().expect("a temporary directory can be made");
    let file = dir.path().join("web.txt");
    let write = |lines: &[SocketAddr]| {
        let text: String = lines.iter().map(|addr| format!("{addr}\n")).collect();
        let new = dir.path().join("new");
        fs::write(&new, text).expect("a file in it can be written");
        fs::rename(&new, &file).expect("it can be renamed");
    };
    write(&addrs);
    let pool = Pool::start(&format!(
        "endpoints = [{{ file = '{}' }}]\ndns.min = '1s'\nhealth.on_down = 'reset'",
        file.display()
    ));
    let sessions: Vec<_> = (0..4).map(|_| Session::open(pool.server.addr())).collect();
    let (theirs, mut others): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|session| pool.endpoint_of(session) == addrs[0]);
    assert_eq!((theirs.len(), others.len()), (2, 2));
    let set = format!("/api/v1/upstreams/web/endpoints/{}?state=draining", addrs[0]);
    pool.door.post(&set).json(200);
    let found = pool.server.records("stands for others now").len();
    write(&addrs[1..]);
    pool.server.wait_for("stands for others now", found);
    theirs.into_iter().for_each(Session::assert_reset);
    others.iter_mut().for_each(|session| session.echo(b"who is elsewhere stays"));
    // What an operator said holds when it is there again.
    write(&addrs);
    pool.server.wait_for("stands for others now", found + 1);
    let shown = || {
        let answer = pool.door.get("/api/v1/upstreams").json(200);
        let endpoints = answer["pools"][0]["endpoints"].as_array().expect("a list");
        endpoints.iter().find(|it| it["address"] == addrs[0].to_string()).cloned()
    };
    let shown = poll_for(PATIENCE, shown).expect("it is an endpoint again");
    assert_eq!((&shown["state"], &shown["is_set"]), (&json!("draining"), &json!(true)));
    drop(others);
    let counters = pool.end(&addrs);
    assert_eq!(counters["closed"]["endpoint_down"], 2);
}

#[test]
fn each_endpoint_is_sent_the_header_that_it_takes() {
    let ends = [(); 3].map(|()| FarEnd::start());
    let [plain, line, block] = ends.each_ref().map(FarEnd::addr);
    let pool = Pool::start(&format!(
        "endpoints = [{{ address = '{plain}', send = 'off' }}, {{ address = '{line}', send = 'v1' }},\n\
         '{block}']\nproxy_protocol.send = 'v2'"
    ));
    for _ in 0..3 {
        let mut session = Session::connect(pool.server.addr());
        session.send(&[HEADER, b"payload"].concat());
        session.finish();
        session.rest();
    }
    assert_eq!(ends[0].ended(0).received, b"payload");
    assert_eq!(ends[1].ended(0).received, [HEADER, b"payload"].concat());
    let received = ends[2].ended(0).received;
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xca\x6c\x01\xbb";
    assert_eq!(received, [&fixed[..], b"payload"].concat());
    pool.end(&[plain, line, block]);
}

/// A server that answers checks with `+`, and sends everything else back. A check is a connection that begins with
/// `P`, or with a v2 header.
pub(super) struct Backend {
    pub(super) addr: SocketAddr,
    is_well: Arc<AtomicBool>,
}

impl Backend {
    /// Answers every check.
    pub(super) fn healthy() -> Backend {
        Backend::start(|_, _| false)
    }

    /// Resets a check where `is_ill` says so, by its first bytes and whether it is well.
    fn start(is_ill: fn(&[u8], bool) -> bool) -> Backend {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let is_well = Arc::new(AtomicBool::new(true));
        let well = Arc::clone(&is_well);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let well = Arc::clone(&well);
                thread::spawn(move || {
                    serve(stream, |first| is_ill(first, well.load(Ordering::Relaxed)))
                });
            }
        });
        Backend { addr, is_well }
    }
}

fn serve(mut stream: TcpStream, is_ill: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 1024];
    let mut is_first = true;
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        let is_check = is_first && matches!(bytes[0], b'P' | b'\r');
        if is_check && is_ill(&bytes[..16.max(len)]) {
            let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return linger.expect("a socket has the option");
        }
        let answer = if is_check { &b"+"[..] } else { &bytes[..len] };
        if stream.write_all(answer).is_err() {
            return;
        }
        is_first = false;
    }
}
