//! `probe` and a server that means it ill. What real servers say is in tests/interop.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::support::run;

#[test]
fn what_a_server_says_to_a_probe_is_escaped_and_read_to_a_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Text first, or no byte of it is shown; without an end.
            thread::spawn(move || {
                let every: Vec<u8> = (b'a'..=255).chain(0..b'a').collect();
                while (&stream).write_all(&every).is_ok() {}
            });
        }
    });
    let sent = run(&["probe", &target, "--send", "off"], b"");
    assert_eq!((sent.code, &*sent.stderr), (Some(0), ""));
    assert!(sent.text().contains(", 65536 bytes\n"), "{}", sent.text());
    assert!(sent.text().contains("\\x1b"), "{}", sent.text());
    for told in [sent, run(&["probe", &target], b""), run(&["probe", &target, "--json"], b"")] {
        let is_shown = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
        assert!(told.text().chars().all(is_shown), "{:?}", told.text());
    }
}
