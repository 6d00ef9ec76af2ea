//! The sink of datagrams: takes each apart, holds its header against it, and answers what asks.
//!
//! Invariant: every datagram is counted once, under what it is.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::report::DatagramSinkReport;
use super::wire::{Framing, Mark, Payload, Wrong, plain};
use super::{RECEIVE_BYTES, SOCKET_BUFFER_BYTES, sys};
use crate::args::SinkArgs;
use crate::client::size;
use crate::host;
use crate::pattern::{Check, Pattern};
use crate::report::{count_failure, error_name};

const TICK: Duration = Duration::from_millis(100);
/// Receives between two looks at whether to stop.
const BATCH: usize = 256;
/// What may lie in a socket: more than its buffer holds of the shortest.
const LEFT_MAX: usize = 1 << 15;
/// Flows whose client only their first datagram says; as many as there are ports.
const FLOWS_MAX: usize = 1 << 16;

/// What is wrong with a datagram, as it is counted.
const NO_HEADER: &str = "no header, or a broken one";
const ANOTHERS: &str = "another client's header";
const CUT: &str = "a part of a datagram";
const LONGER: &str = "more than a datagram";
const BYTES: &str = "wrong bytes";

struct Shared {
    framing: Framing,
    /// Whether datagrams come together.
    is_aggregating: bool,
    pattern: Pattern,
    /// The client of each peer that has said it once.
    clients: HashMap<SocketAddr, SocketAddr>,
    counts: DatagramSinkReport,
}

pub(crate) struct Sink {
    socket: UdpSocket,
    poll: Poll,
    addr: SocketAddr,
    run_for: Duration,
    shared: Shared,
}

impl Sink {
    /// Binds the address, alone.
    ///
    /// # Errors
    /// When the address is taken, or the kernel does not know UDP_GRO.
    pub(crate) fn bind(args: &SinkArgs, framing: Framing) -> Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(args.listen), kind, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.bind(&args.listen.into()).with_context(|| format!("taking {}", args.listen))?;
        if args.gro {
            sys::aggregate(&socket).context("UDP_GRO")?;
        }
        let mut socket = UdpSocket::from_std(socket.into());
        let addr = socket.local_addr()?;
        let poll = Poll::new().context("a poll")?;
        poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
        let shared = Shared {
            framing,
            is_aggregating: args.gro,
            pattern: Pattern::new(),
            clients: HashMap::new(),
            counts: DatagramSinkReport::default(),
        };
        Ok(Self { socket, poll, addr, run_for: args.run_for, shared })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` or the time is over.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<DatagramSinkReport> {
        let end = host::now() + self.run_for;
        let mut events = Events::with_capacity(1);
        let mut buffer = vec![0; RECEIVE_BYTES];
        while !stop.load(Ordering::Relaxed) && host::now() < end {
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("polling"),
            }
            while self.receive(&mut buffer, BATCH) && !stop.load(Ordering::Relaxed) {}
        }
        // What was sent before lies in the socket.
        self.receive(&mut buffer, LEFT_MAX);
        Ok(self.shared.counts)
    }

    /// Takes what has come, so many at most, and says whether there may be more: the next edge comes only with the next
    /// datagram.
    fn receive(&mut self, buffer: &mut [u8], max: usize) -> bool {
        for _ in 0..max {
            match self.socket.recv_from(buffer) {
                Ok((len, peer)) => {
                    self.shared.counts.receives += 1;
                    self.shared.take(&mut buffer[..len], peer, |answer| {
                        self.socket.send_to(answer, peer).map(drop)
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // Of an answer whose client has gone, told by the next call.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    count_failure(&mut self.shared.counts.failed, &error_name(&error));
                    return false;
                }
            }
        }
        true
    }
}

impl Shared {
    /// Takes what came at a time: one datagram, or several.
    fn take(
        &mut self,
        mut bytes: &mut [u8],
        peer: SocketAddr,
        mut answer: impl FnMut(&[u8]) -> io::Result<()>,
    ) {
        loop {
            let (header_len, payload) = match self.read(bytes, peer) {
                Ok(read) => read,
                Err(None) => return self.counts.foreign += 1,
                Err(Some(what)) => return count_failure(&mut self.counts.broken, what),
            };
            let (datagram, rest) = bytes.split_at_mut(header_len + payload.len);
            if !rest.is_empty() && !self.is_aggregating {
                return count_failure(&mut self.counts.broken, LONGER);
            }
            self.counts.arrived += 1;
            self.counts.bytes_received += size(payload.len);
            if payload.mark == Mark::Question {
                Payload::turn_round(&mut datagram[header_len..]);
                // SPP has its header in front of answers too, v2 has none.
                let from = if self.framing == Framing::Spp { 0 } else { header_len };
                match answer(&datagram[from..]) {
                    Ok(()) => self.counts.answered += 1,
                    Err(error) => count_failure(&mut self.counts.failed, &error_name(&error)),
                }
            }
            if rest.is_empty() {
                return;
            }
            bytes = rest;
        }
    }

    /// Reads one datagram: the length of its header, and its payload. An error without words is of a stranger's.
    fn read(
        &mut self,
        bytes: &[u8],
        peer: SocketAddr,
    ) -> Result<(usize, Payload), Option<&'static str>> {
        let found = self.framing.find(bytes);
        let known = self.clients.get(&peer).copied();
        let (header_len, client) = match (self.framing, found) {
            (Framing::None, _) => (0, None),
            (Framing::V2First, None) if known.is_some() => (0, known),
            (Framing::V2 | Framing::V2First | Framing::Spp, Some((len, client))) => {
                (len, Some(client))
            }
            (Framing::V2 | Framing::V2First | Framing::Spp, None) => {
                return Err(Some(NO_HEADER));
            }
        };
        let payload = Payload::read(&bytes[header_len..], Check::Full, &self.pattern);
        let payload = payload.map_err(|wrong| match wrong {
            Wrong::Foreign => None,
            Wrong::Cut => Some(CUT),
            Wrong::Bytes => Some(BYTES),
        })?;
        if client.is_some_and(|client| plain(client) != payload.client) {
            return Err(Some(ANOTHERS));
        }
        if let (Framing::V2First, Some(client)) = (self.framing, client) {
            if self.clients.len() >= FLOWS_MAX {
                self.clients.clear();
            }
            self.clients.insert(peer, client);
        }
        Ok((header_len, payload))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    fn shared(framing: Framing, is_aggregating: bool) -> Shared {
        let (pattern, clients) = (Pattern::new(), HashMap::new());
        Shared { framing, is_aggregating, pattern, clients, counts: DatagramSinkReport::default() }
    }

    fn client(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, last), 20_000)
    }

    fn datagram(header: &[u8], mark: Mark, number: u64) -> Vec<u8> {
        let client = client(7).into();
        let payload = Payload { mark, len: 100, client, flow: 7, number, meant: 0 };
        let mut bytes = header.to_vec();
        payload.write(&mut bytes, &Pattern::new());
        bytes
    }

    /// What comes of some receives of one peer: the counts, and the answers.
    fn taken(mut shared: Shared, received: &[Vec<u8>]) -> (DatagramSinkReport, Vec<Vec<u8>>) {
        let mut answers = Vec::new();
        for bytes in received {
            shared.take(&mut bytes.clone(), ([127, 0, 0, 1], 9).into(), |answer| {
                answers.push(answer.to_vec());
                Ok(())
            });
        }
        (shared.counts, answers)
    }

    #[test]
    fn what_is_wrong_with_a_datagram_is_counted_by_its_name() {
        let header = Framing::V2.header(client(7));
        let others = Framing::V2.header(client(8));
        let good = datagram(&header, Mark::Question, 1);
        let mut spoiled = good.clone();
        spoiled[90] ^= 1;
        for (bytes, what) in [
            (datagram(&[], Mark::Question, 1), NO_HEADER),
            (datagram(&others, Mark::Question, 1), ANOTHERS),
            (good[..80].to_vec(), CUT),
            ([&good[..], &good].concat(), LONGER),
            (spoiled, BYTES),
        ] {
            let (counts, answers) = taken(shared(Framing::V2, false), &[bytes]);
            assert_eq!((counts.broken.get(what), counts.failures()), (Some(&1), 1), "{what}");
            assert_eq!((counts.arrived, answers.len()), (0, 0), "{what}");
        }
        let stranger = [&header[..], b"hello"].concat();
        let (counts, _) = taken(shared(Framing::V2, false), &[stranger]);
        assert_eq!((counts.foreign, counts.failures()), (1, 1));
    }

    #[test]
    fn an_aggregate_is_taken_apart_and_what_asks_is_answered_as_its_header_wants() {
        for (framing, answer_header) in [(Framing::V2, false), (Framing::Spp, true)] {
            let header = framing.header(client(7));
            let [asks, says] =
                [Mark::Question, Mark::Statement].map(|mark| datagram(&header, mark, 1));
            let together = [&asks[..], &says, &asks].concat();
            let (counts, answers) = taken(shared(framing, true), &[together]);
            assert_eq!((counts.arrived, counts.answered, counts.receives), (3, 2, 0));
            let front = if answer_header { &header[..] } else { &[] };
            assert_eq!(answers[0], datagram(front, Mark::Answer, 1), "{framing:?}");
        }
    }

    #[test]
    fn a_flow_whose_first_datagram_had_the_header_needs_no_other() {
        let first = datagram(&Framing::V2.header(client(7)), Mark::Question, 1);
        let later = datagram(&[], Mark::Question, 2);
        let (counts, _) = taken(shared(Framing::V2First, false), &[first.clone(), later.clone()]);
        assert_eq!((counts.arrived, counts.failures()), (2, 0));
        let (counts, _) = taken(shared(Framing::V2First, false), &[later, first]);
        assert_eq!((counts.arrived, counts.broken.get(NO_HEADER)), (1, Some(&1)));
    }
}
