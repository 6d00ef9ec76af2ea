//! Endpoints that take datagrams are checked by a question and its answer.

use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use super::{Setup, a_client, addr, answer, bound, client_of, local};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::Stream;

/// Somebody who answers questions, and says what came in front of each, until one says `end`.
struct Oracle {
    socket: UdpSocket,
    asked: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

impl Oracle {
    #[track_caller]
    fn start() -> Oracle {
        let socket = bound("127.0.0.1:0");
        let (tell, asked) = channel();
        let served = socket.try_clone().expect("it is a socket");
        served.set_read_timeout(None).expect("it is a socket");
        let thread = thread::spawn(move || {
            let mut buf = [0; 2048];
            while let Ok((len, peer)) = served.recv_from(&mut buf) {
                let Some(header) = buf[..len].strip_suffix(b"who?") else { break };
                // As SPP is answered; v2 has no header in front of answers.
                let echoed = if header.starts_with(&[0x56, 0xEC]) { header } else { b"" };
                served.send_to(&[echoed, b"me"].concat(), peer).expect("he waits");
                if tell.send(header.to_vec()).is_err() {
                    break;
                }
            }
        });
        Oracle { socket, asked, thread: Some(thread) }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        client_of(addr(&self.socket)).send(b"end").expect("loopback is up");
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("it has ended"));
    }
}

const CHECK: &str = "health = { check = \"exchange\", send = \"who?\", expect = \"me\", interval = \"100ms\", \
                     timeout = \"10s\", fall = 1 }";

#[test]
fn a_check_is_a_datagram_with_the_header_that_the_upstream_is_sent() {
    let oracle = Oracle::start();
    for (send, begins) in
        [("", Vec::new()), ("send = \"v2\"", local()), ("send = \"spp\"", vec![0x56, 0xEC])]
    {
        let server = Setup::to(&[addr(&oracle.socket)]).upstream(CHECK).send(send).start();
        let header = oracle.asked.recv_timeout(PATIENCE).expect("it is asked");
        match send.contains("spp") {
            true => assert!(header.starts_with(&begins) && header.len() == 38, "{header:?}"),
            false => assert_eq!(header, begins),
        }
        drop(server);
        while oracle.asked.try_recv().is_ok() {}
    }
}

#[test]
fn who_does_not_answer_gets_no_flow_while_another_does() {
    let (oracle, mute) = (Oracle::start(), bound("127.0.0.1:0"));
    let check = CHECK.replace("10s", "200ms");
    let server = Setup::to(&[addr(&mute), addr(&oracle.socket)]).upstream(&check).start();
    server.proc.wait_for_line(Stream::Stderr, "endpoint down", |line| {
        line.contains("endpoint down").then_some(())
    });
    while mute_takes(&mute) {}
    for _ in 0..4 {
        let client = a_client(&server);
        client.send(b"who?").unwrap();
        assert_eq!(answer(&client), b"me");
    }
    // Checks alone go there.
    let asked = poll_for(PATIENCE, || mute_takes(&mute).then_some(()));
    assert!(asked.is_some(), "it is asked on");
}

/// Takes a question that nobody answers, if there is one.
fn mute_takes(mute: &UdpSocket) -> bool {
    mute.set_nonblocking(true).expect("it is a socket");
    mute.recv(&mut [0; 64]).is_ok()
}
