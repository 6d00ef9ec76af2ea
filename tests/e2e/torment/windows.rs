//! Readers that stop until nothing fits any more, their windows at zero, and then go on: again and
//! again on one connection.

use socket2::Socket;

use super::Victim;
use crate::common::payload::{MIB, random};
use crate::support::{Listener, Peer, SPLICE_MODES, Setup, assert_closed, fresh_address};

/// The reader's window at most; the kernel doubles it (socket(7)).
const WINDOW_BYTES: usize = 16 * 1024;
/// How often the reader stops.
const STOPS: usize = 4;
/// What it reads between two stops: less than what is on the way, and more.
const READS: [usize; STOPS] = [1, 100, 100_000, 2 * MIB];

#[test]
fn a_reader_whose_window_closes_again_and_again_gets_every_byte() {
    // Segments of the usual size: with those of loopback, 64 KiB, so small a window never opens.
    let shrink = |socket: &Socket| {
        socket.set_recv_buffer_size(WINDOW_BYTES).expect("a socket has the option");
        socket.set_tcp_mss(1448).expect("a TCP socket has the option");
    };
    let far = Listener::start_with(16, shrink);
    let payload = random(1, 64 * MIB);
    for mode in SPLICE_MODES {
        let victim = Victim::start(&Setup::to(&[far.addr()]).splice(mode));
        for client_reads in [true, false] {
            let client = Peer::connect_with(fresh_address(), victim.server.addr(), shrink);
            let upstream = far.accept();
            let (reader, sender) =
                if client_reads { (&client, &upstream) } else { (&upstream, &client) };
            let (mut sent, mut read) = (0, 0);
            for len in READS {
                sent += sender.send_until_full(&payload[sent..]);
                let len = len.min(sent - read);
                reader.expect(&payload[read..read + len]);
                read += len;
            }
            sender.fin();
            reader.expect_last(&payload[read..sent]);
            reader.send_with_fin(b"all of it");
            sender.expect_last(b"all of it");
        }
        assert_closed(&victim.finish(mode), &[("done", 2)]);
    }
}
