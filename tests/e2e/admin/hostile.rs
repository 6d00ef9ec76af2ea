//! Whoever asks slowly, never reads, asks too much or holds doors open keeps neither workers nor others who ask.

use std::io::{Read, Write};

use super::Open;
use crate::common::far_end::FarEnd;
use crate::life::session::Session;
use crate::support::http::{Answer, Door, Stream};

/// More than a door has room for.
const MANY: usize = 100;

fn open() -> (FarEnd, Open, Session) {
    let far_end = FarEnd::start();
    let open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let session = Session::open(open.server.addr());
    (far_end, open, session)
}

/// Clients and probes are served as if nobody else was there.
#[track_caller]
fn assert_unharmed(open: &Open, session: &mut Session) {
    session.echo(&[7; 4096]);
    Session::open(open.server.addr()).echo(b"new");
    for door in [&open.tcp, &open.unix] {
        assert_eq!(door.get("/livez").status, 200);
        assert_eq!(door.get("/readyz").status, 200);
    }
}

/// Opens many connections at both doors, and says these bytes on each.
fn crowd(open: &Open, bytes: &[u8]) -> Vec<Box<dyn Stream>> {
    let connect = |door: &Door| {
        let mut stream = door.connect();
        // Who came first has to go.
        drop(stream.write_all(bytes));
        stream
    };
    (0..MANY).flat_map(|_| [connect(&open.tcp), connect(&open.unix)]).collect()
}

#[test]
fn half_heads_and_silence_keep_nobody_out() {
    let (_far_end, open, mut session) = open();
    let held = [crowd(&open, b""), crowd(&open, b"GET /livez HTTP/1.1\r\nX-Slow: ")];
    assert_unharmed(&open, &mut session);
    drop(held);
    assert_unharmed(&open, &mut session);
}

#[test]
fn who_never_reads_keeps_nobody_out() {
    let (_far_end, open, mut session) = open();
    // More answers than sockets hold.
    let requests = "GET /api/v1/config HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let held = crowd(&open, requests.as_bytes().get(..32 << 10).unwrap());
    assert_unharmed(&open, &mut session);
    drop(held);
    let events = crowd(&open, b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_unharmed(&open, &mut session);
    drop(events);
    assert_unharmed(&open, &mut session);
}

#[test]
fn ten_thousand_requests_on_one_connection_are_answered() {
    const REQUESTS: usize = 10_000;
    let (_far_end, open, mut session) = open();
    for door in [&open.tcp, &open.unix] {
        let mut stream = door.connect();
        let batch = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
        let mut answered = 0;
        for _ in 0..REQUESTS / 100 {
            stream.write_all(batch.as_bytes()).unwrap();
            let mut bodies = 0;
            let mut text = Vec::new();
            while bodies < 100 {
                let mut piece = [0; 8192];
                let read = stream.read(&mut piece).unwrap();
                assert_ne!(read, 0, "it is closed behind {answered}");
                text.extend_from_slice(&piece[..read]);
                bodies = text.windows(4).filter(|bytes| *bytes == b"\nok\n").count();
            }
            answered += bodies;
        }
        assert_eq!(answered, REQUESTS);
    }
    assert_unharmed(&open, &mut session);
}

#[test]
fn heads_bodies_and_bytes_that_are_too_much_are_refused() {
    let (_far_end, open, mut session) = open();
    let long = format!("X-Long: {}\r\n", "x".repeat(100_000));
    let many: String = (0..1000).map(|nth| format!("X-{nth}: x\r\n")).collect();
    let path = format!("/{}", "x".repeat(100_000));
    for (head, status) in [
        (format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{long}\r\n"), 431),
        (format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        (format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 431),
        ("POST /api/v1/drain HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_owned(), 400),
        (
            "POST /api/v1/drain HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n"
                .to_owned(),
            400,
        ),
        ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), 400),
    ] {
        let mut stream = open.unix.connect();
        // It may be refused before all of it is sent.
        drop(stream.write_all(head.as_bytes()));
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("it is answered");
        assert_eq!(first, format!("HTTP/1.1 {status}").as_bytes(), "{}", &head[..40]);
    }
    // The preface of HTTP/2 is closed without a word.
    let mut stream = open.unix.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(open.server.records("draining").is_empty());
    assert_unharmed(&open, &mut session);
}

#[test]
fn a_request_in_many_pieces_is_answered() {
    let (_far_end, open, _session) = open();
    let mut stream = open.tcp.connect();
    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(Answer::read(stream).status, 200);
}
