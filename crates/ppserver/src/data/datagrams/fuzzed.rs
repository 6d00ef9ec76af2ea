//! A port of datagrams without sockets, for tests/fuzz: what strangers send, through header, flows and bundles.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pptrust::datagram::{self, Datagram};
use pptrust::{Policy, Refusal};

use super::entrance::reason;
use crate::core::intent::{Intent, Purpose};
use crate::core::session::Direction;
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::outbox::{Lane, Outbox, PIECES_MAX, Piece};
use crate::core::udp::segments::segments;
use crate::core::udp::{FlowId, Gate, Headers, Path, Reading, Relay, Terms, Verdict};

/// What a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// v2 in each datagram.
    V2,
    /// v2 in a flow's first.
    First,
    /// SPP in each.
    Spp,
}

/// A message as the kernel hands it over.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Each of its datagrams but the last has so many bytes.
    pub segment: Option<usize>,
    /// What it says.
    pub bytes: Vec<u8>,
    /// How long behind the last one it came.
    pub pause: Duration,
}

/// What became of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It went along this flow, as what stands behind its header, for this client to this destination.
    Sent(u32, Vec<u8>, SocketAddr, Option<SocketAddr>),
    /// It went nowhere.
    Dropped(&'static str),
}

/// Lets everybody in whose header can be read.
struct Door(Taken);

impl Gate for Door {
    type Admitted = ();

    fn read(&mut self, path: Path, datagram: &[u8]) -> Result<Reading, DropReason> {
        let (policy, options) = (Policy::Require, ppcore::Options::new().v2_len_max(u16::MAX));
        let read = match self.0 {
            Taken::V2 | Taken::First => datagram::read_v2(policy, options, path.peer, datagram),
            Taken::Spp => datagram::read_spp(policy, path.peer, datagram),
        };
        let read: Datagram<'_> = read.map_err(|refusal| match refusal {
            Refusal::Header(error) => reason(error),
            Refusal::Denied | Refusal::Forbidden => DropReason::Untrusted,
        })?;
        let intent = Intent {
            peer: path.peer,
            client: read.peer_addr(),
            destination: read.local_addr(),
            version: None,
            purpose: if read.is_local() { Purpose::HealthCheck } else { Purpose::Service },
        };
        Ok(Reading { intent, header_len: read.header_len() })
    }

    fn admit(&mut self, _: &Intent) -> Result<(), DropReason> {
        Ok(())
    }
}

/// Has a port take these messages as one batch, with room for so many flows. Returns what became of each datagram, in order.
///
/// # Panics
/// When what is kept or sent breaks a rule.
pub fn relayed(taken: Taken, flows_max: usize, messages: &[Message], now: Instant) -> Vec<Became> {
    let headers = if taken == Taken::First { Headers::First } else { Headers::Each };
    let [silence_max, unanswered_max] = [60, 5].map(Duration::from_secs);
    let terms = Terms { headers, flows_max, silence_max, unanswered_max, responses: 0 };
    let (mut relay, mut outbox) = (Relay::<()>::new(terms, (1, 2), now), Outbox::new());
    let (mut now, mut all, mut queued) = (now, Vec::new(), Vec::new());
    for (index, message) in messages.iter().enumerate() {
        now += message.pause;
        relay.expire(now);
        let path = Path { peer: message.peer, local: ([192, 0, 2, 1], 53).into() };
        for segment in segments(message.bytes.len(), message.segment) {
            let bytes = &message.bytes[segment.clone()];
            let became = match relay.judge(path, bytes, &mut Door(taken), now) {
                Verdict::Drop(reason) => Became::Dropped(reason.name()),
                verdict @ (Verdict::Relay(id, len) | Verdict::Dial(id, len)) => {
                    if matches!(verdict, Verdict::Dial(..)) {
                        relay.handle_dialled(id, ());
                    }
                    let intent = relay.flow(id).expect("it was just found").intent();
                    let payload = segment.start + len..segment.end;
                    queued.push((id, index, payload.clone()));
                    let piece = Piece { flow: id, header: 0..0, message: index, payload };
                    outbox.push(Lane::Flow(id), piece);
                    let payload = bytes[len..].to_vec();
                    Became::Sent(id.place, payload, intent.client, intent.destination)
                }
            };
            all.push(became);
            assert!(relay.len() <= flows_max, "there is no room for {}", relay.len());
        }
    }
    let mut sent = send(&mut outbox, &mut relay);
    let flow = |(id, ..): &Queued| (id.place, id.generation);
    (sent.sort_by_key(flow), queued.sort_by_key(flow));
    assert_eq!(sent, queued, "each goes once, and those of a flow in their order");
    let counts = relay.counts(Direction::Up);
    let dropped: u64 = counts.dropped.iter().sum();
    assert_eq!(counts.received, counts.sent + dropped, "they balance");
    all
}

/// A flow, and where the payload of one of its datagrams lies.
type Queued = (FlowId, usize, std::ops::Range<usize>);

/// Sends all there is, and returns it.
fn send(outbox: &mut Outbox, relay: &mut Relay<()>) -> Vec<Queued> {
    let mut sent = Vec::new();
    while let Some(bundle) = outbox.next() {
        let lens: Vec<usize> = bundle.pieces().map(Piece::len).collect();
        let (last, others) = lens.split_last().expect("a bundle has one");
        assert!(lens.len() <= PIECES_MAX && others.iter().all(|len| *len == lens[0]), "{lens:?}");
        assert!(*last <= lens[0] && (lens.len() == 1 || *last > 0), "{lens:?}");
        let pieces = bundle.pieces();
        sent.extend(pieces.map(|it| (it.flow, it.message, it.payload.clone())));
        let count = outbox.handle_sent();
        relay.handle_sent(Direction::Up, count);
    }
    sent
}
