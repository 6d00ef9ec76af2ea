//! The axum listener without descriptors: it tries again in bounded steps, and is there afterwards.
//!
//! A binary of its own with this test alone, since it uses up the descriptors of its process.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpStream;
use std::pin::pin;
use std::time::Duration;

use axum::serve::Listener;
use ppnet::{Config, Trust};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Small, so that it is soon used up.
const DESCRIPTORS: u64 = 64;

#[tokio::test(start_paused = true)]
async fn without_descriptors_the_axum_listener_pauses_and_then_goes_on() {
    let (tell, told) = std::sync::mpsc::channel();
    let config = Config::new(Trust::any())
        .on_accept_error(move |error| tell.send(error.raw_os_error()).expect("the test listens"));
    let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", config).await;
    let mut listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    // In the backlog before there is nothing left: one needs no descriptor of ours to be there.
    let mut client = TcpStream::connect(addr).expect("it listens");
    client.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n").expect("it is open");

    let limit = Rlimit { current: Some(DESCRIPTORS), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).expect("it is lowered");
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }

    let mut polls = 0_u32;
    let mut accept = pin!(Listener::accept(&mut listener));
    // The clock stands still while anything runs, and jumps to the next timer when nothing does: a
    // listener that spins never lets a second pass, and one that pauses counts its pauses.
    let mut second = pin!(tokio::time::sleep(Duration::from_secs(1)));
    poll_fn(|cx| {
        polls += 1;
        assert!(accept.as_mut().poll(cx).is_pending(), "there are no descriptors");
        second.as_mut().poll(cx)
    })
    .await;
    assert!((5..=25).contains(&polls), "{polls} polls in a second");
    let errors: Vec<_> = told.try_iter().collect();
    assert!((5..=25).contains(&errors.len()), "{errors:?}");
    assert!(errors.iter().all(|error| *error == Some(Errno::MFILE.raw_os_error())), "{errors:?}");

    drop(taken);
    let (stream, client) = accept.await;
    assert_eq!(client, "203.0.113.7:51820".parse().expect("an address"));
    assert_eq!(stream.peer_addr(), client);
}
