//! The relay under everything at once: buffers, segments, chunks, stalls and the order of the ends,
//! all drawn from a seed.
//!
//! `relay/` turns one of these at a time, with more bytes. Invariant: every byte arrives, in order,
//! behind it the FIN, and the server counts what was sent.

use std::io::Read;
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::Victim;
use crate::common::deadline::poll_for;
use crate::common::payload::{assert_same, random};
use crate::support::{Listener, Peer, SPLICE_MODES, Setup, assert_closed, fresh_address};

const SEEDS: u64 = 60;

/// Numbers from a seed.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(random(seed, 256).into_iter())
    }

    fn below(&mut self, end: usize) -> usize {
        let mut byte = || usize::from(self.0.next().expect("a case takes fewer"));
        (byte() << 16 | byte() << 8 | byte()) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// When a side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// While it reads: the ends race.
    Racing,
    /// Once it has the other side's FIN.
    Last,
}

/// How one side behaves.
#[derive(Clone, Copy, Debug)]
struct Side {
    /// Its payload, at most.
    len: usize,
    /// Bytes of its two buffers; `None` leaves them to the kernel.
    buffer: Option<usize>,
    /// Bytes of a segment; `None` leaves them to the kernel.
    segment: Option<u32>,
    /// Sends byte by byte, rather than in chunks of any size.
    is_dribbling: bool,
    /// Reads so many bytes, and then stops for a while; `None` reads on.
    stalls_after: Option<usize>,
    turn: Turn,
}

impl Side {
    fn draw(dice: &mut Dice) -> Side {
        let buffer = dice.one_of(&[None, Some(4 * 1024), Some(64 * 1024), Some(4 * 1024 * 1024)]);
        // Linux takes no less than 88 (tcp(7)).
        let segment = dice.one_of(&[None, None, Some(88), Some(1448)]);
        let is_dribbling = dice.below(6) == 0;
        let magnitude = dice.one_of(&[1, 100, 10_000, 300_000, 2_000_000]);
        // Small buffers make for many rounds, small segments for many segments.
        let is_slow = is_dribbling || segment == Some(88) || buffer == Some(4 * 1024);
        let len = dice.below(magnitude).min(if is_slow { 5_000 } else { usize::MAX });
        let stalls_after = Some(dice.below(len + 1)).filter(|_| dice.below(3) == 0);
        Side { len, buffer, segment, is_dribbling, stalls_after, turn: Turn::Racing }
    }

    fn prepare(self, socket: &Socket) {
        if let Some(bytes) = self.buffer {
            socket.set_recv_buffer_size(bytes).expect("a socket has the option");
            socket.set_send_buffer_size(bytes).expect("a socket has the option");
        }
        if let Some(bytes) = self.segment {
            socket.set_tcp_mss(bytes).expect("a TCP socket has the option");
        }
    }

    /// Sends its payload and its FIN, and reads the other side's.
    fn converse(self, peer: &Peer, payload: &[u8], expected: &[u8], seed: u64) {
        let send = || match self.is_dribbling {
            true => {
                payload.iter().for_each(|byte| peer.send(&[*byte]));
                peer.fin();
            }
            false => peer.pour(payload, seed),
        };
        match self.turn {
            Turn::Racing => thread::scope(|scope| {
                scope.spawn(send);
                self.read(peer, expected);
            }),
            Turn::Last => {
                self.read(peer, expected);
                send();
            }
        }
    }

    fn read(self, peer: &Peer, expected: &[u8]) {
        /// The stall is the thing itself here; nothing waits for it to be over.
        const STALL: Duration = Duration::from_millis(20);
        let first = self.stalls_after.unwrap_or(0).min(expected.len());
        peer.expect(&expected[..first]);
        if self.stalls_after.is_some() {
            poll_for::<()>(STALL, || None);
        }
        let mut rest = Vec::new();
        peer.stream().read_to_end(&mut rest).expect("a FIN comes behind the last byte");
        assert_same(&rest, &expected[first..]);
    }
}

#[test]
fn whatever_the_buffers_segments_chunks_stalls_and_ends_are_every_byte_arrives() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let (mut client, mut upstream) = (Side::draw(&mut dice), Side::draw(&mut dice));
        match dice.below(3) {
            0 => client.turn = Turn::Last,
            1 => upstream.turn = Turn::Last,
            _ => {}
        }
        let mode = dice.one_of(&SPLICE_MODES);
        let case = format!("seed {seed}, {mode}: {client:?}, {upstream:?}");
        eprintln!("{case}");
        let far = Listener::start_with(16, |socket| upstream.prepare(socket));
        let mut victim = Victim::start(&Setup::to(&[far.addr()]).splice(mode));
        let near = Peer::connect_with(fresh_address(), victim.server.addr(), |socket| {
            client.prepare(socket);
        });
        let there = far.accept();
        let (up, down) = (random(seed, client.len), random(SEEDS + seed, upstream.len));
        thread::scope(|scope| {
            scope.spawn(|| upstream.converse(&there, &down, &up, seed));
            client.converse(&near, &up, &down, SEEDS + seed);
        });
        let account = victim.server.account_of(near.addr());
        let counted = [account.bytes_in, account.bytes_out].map(usize::try_from);
        assert_eq!(counted, [Ok(up.len()), Ok(down.len())], "{case}");
        assert_closed(&victim.finish(&case), &[("done", 1)]);
    }
}
