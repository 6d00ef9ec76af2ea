//! The network of a world and its kernel: what is on its way, what waits in sockets, and how sends fail.
//!
//! Whatever is on its way is lost or overtaken as chance will have it, and what has not arrived counts for nobody. Segments are cut as the
//! kernel does: where the length of the first one says, whatever was meant.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

use ppcore::spp;

use super::plan::{Mode, Name, Plan};
use super::shell::Shell;
use super::{Coverage, Path, Quirk, Rng, payload};
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::outbox::SendError;

/// Datagrams that wait in a socket.
const QUEUE_MAX: usize = 32;
/// Of whom nobody believes anything.
const STRANGER: [u8; 4] = [198, 51, 100, 9];

/// A datagram that somebody sent.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub(super) path: Path,
    pub(super) bytes: Vec<u8>,
    /// Whose it says it is, and how many bytes that takes; or why that is not believed.
    pub(super) says: Result<(Name, usize), DropReason>,
}

/// What one receive gives: several datagrams of one path, of one length but the last.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) path: Path,
    pub(super) bytes: Vec<u8>,
    pub(super) size: Option<usize>,
    /// What it is made of.
    pub(super) parts: Vec<Datagram>,
}

/// Something that comes to the socket of a flow.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Socket {
    pub(super) is_open: bool,
    endpoint: usize,
    /// An ICMP answer that nobody has been told of.
    pub(super) is_refused: bool,
    pub(super) queue: VecDeque<Reply>,
    /// Datagrams that left.
    pub(super) sent: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Net {
    rng: Rng,
    /// From clients to us.
    pub(super) road: Vec<Datagram>,
    queue: VecDeque<Datagram>,
    pub(super) sockets: Vec<Socket>,
    /// From us to endpoints, by socket.
    up: Vec<(usize, Vec<u8>)>,
    /// And back.
    down: Vec<(usize, Reply)>,
    is_alive: Vec<bool>,
    /// Ways whose sender has sent its header.
    greeted: HashSet<(SocketAddr, SocketAddr)>,
    replies: u64,
}

impl Net {
    pub(super) fn new(mut rng: Rng, plan: &Plan) -> Self {
        let is_alive = (0..plan.endpoints).map(|_| !rng.one_in(4)).collect();
        Self {
            rng,
            road: Vec::new(),
            queue: VecDeque::new(),
            sockets: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            is_alive,
            greeted: HashSet::new(),
            replies: 0,
        }
    }

    /// Writes a datagram as its sender does, or as somebody does who breaks a rule.
    pub(super) fn write(
        &mut self,
        name: Name,
        payload: Vec<u8>,
        plan: &Plan,
        rng: &mut Rng,
        cover: &mut Coverage,
    ) -> Datagram {
        let path = name.path;
        if plan.comes == Mode::Plain {
            return Datagram { path, bytes: payload, says: Ok((name, 0)) };
        }
        let mut bytes = name.comes_with(plan.comes);
        let len = bytes.len();
        if rng.one_in(16) {
            bytes.extend_from_slice(&payload);
            let peer = SocketAddr::from((STRANGER, 9));
            let path = Path { peer, ..path };
            return Datagram { path, bytes, says: Err(DropReason::Untrusted) };
        }
        if rng.one_in(16) {
            bytes.truncate(len - 1);
            return Datagram { path, bytes, says: Err(DropReason::HeaderTruncated) };
        }
        if rng.one_in(16) && plan.comes != Mode::Spp {
            // An unknown command.
            bytes[12] = 0x2F;
            return Datagram { path, bytes, says: Err(DropReason::HeaderInvalid) };
        }
        let is_first = plan.comes == Mode::First;
        let is_again = is_first && !self.greeted.insert((path.peer, path.local));
        if is_again && !rng.one_in(8) || !is_first && rng.one_in(16) {
            let says = match payload.is_empty() {
                true => DropReason::HeaderTruncated,
                false => DropReason::HeaderAbsent,
            };
            return Datagram { path, bytes: payload, says: Err(says) };
        }
        if is_again {
            cover.hit(Quirk::HeaderInAFlow);
        }
        bytes.extend_from_slice(&payload);
        Datagram { path, bytes, says: Ok((name, len)) }
    }

    /// Something on its way to us arrives, or does not.
    pub(super) fn move_road(&mut self, rng: &mut Rng, cover: &mut Coverage) {
        for _ in 0..rng.between(1, 6) {
            if self.road.is_empty() {
                return;
            }
            let at = if rng.one_in(4) { rng.below(self.road.len()) } else { 0 };
            if at > 0 {
                cover.hit(Quirk::DatagramOvertakes);
            }
            let datagram = self.road.remove(at);
            if rng.one_in(12) {
                cover.hit(Quirk::DatagramLost);
                continue;
            }
            if rng.one_in(16) {
                self.road.push(datagram.clone());
            }
            if self.queue.len() < QUEUE_MAX {
                self.queue.push_back(datagram);
            }
        }
    }

    /// Returns what one call receives.
    pub(super) fn receive(&mut self, cover: &mut Coverage) -> Vec<Message> {
        let mut messages = Vec::new();
        for _ in 0..self.rng.between(1, 4) {
            let Some(first) = self.queue.pop_front() else { break };
            let size = first.bytes.len();
            let (path, mut bytes, mut parts) = (first.path, first.bytes.clone(), vec![first]);
            let mut is_short = size == 0;
            while !is_short
                && !self.rng.one_in(8)
                && let Some(next) = self.queue.front()
                && next.path == path
                && (1..=size).contains(&next.bytes.len())
            {
                is_short = next.bytes.len() < size;
                bytes.extend_from_slice(&next.bytes);
                parts.extend(self.queue.pop_front());
            }
            let size = (parts.len() > 1).then_some(size);
            if size.is_some() {
                cover.hit(Quirk::Aggregate);
            }
            let names = |part: &Datagram| part.says.ok().map(|(name, _)| name);
            if parts.iter().any(|part| names(part) != names(&parts[0])) {
                cover.hit(Quirk::AggregateOfSeveral);
            }
            messages.push(Message { path, bytes, size, parts });
        }
        messages
    }

    /// Opens a socket to an endpoint; there may be none to be had, and it may meet itself.
    pub(super) fn connect(
        &mut self,
        endpoint: usize,
        cover: &mut Coverage,
    ) -> Result<usize, Unconnected> {
        if self.rng.one_in(24) {
            cover.hit(Quirk::NoSocket);
            return Err(Unconnected::NoSocket);
        }
        if self.rng.one_in(24) {
            cover.hit(Quirk::SocketMeetsItself);
            return Err(Unconnected::Itself);
        }
        let queue = VecDeque::new();
        self.sockets.push(Socket { is_open: true, endpoint, is_refused: false, queue, sent: 0 });
        Ok(self.sockets.len() - 1)
    }

    pub(super) fn close(&mut self, socket: usize) {
        assert!(self.sockets[socket].is_open, "Close: a socket is closed twice");
        self.sockets[socket].is_open = false;
        self.sockets[socket].queue.clear();
    }

    /// Sends along a socket. Returns what leaves, cut as the kernel cuts it.
    pub(super) fn send(
        &mut self,
        at: usize,
        pieces: &[Vec<u8>],
        plan: &Plan,
        cover: &mut Coverage,
    ) -> Result<Vec<Vec<u8>>, SendError> {
        let socket = &mut self.sockets[at];
        assert!(socket.is_open, "Contract: a closed socket sends");
        let is_dead = !self.is_alive[socket.endpoint];
        if std::mem::take(&mut socket.is_refused) || is_dead && self.rng.one_in(4) {
            cover.hit(Quirk::SendTellsRefusal);
            return Err(SendError::Refused);
        }
        let segments = cut(&mut self.rng, pieces, plan, cover)?;
        self.sockets[at].sent += segments.len();
        self.up.extend(segments.iter().map(|segment| (at, segment.clone())));
        Ok(segments)
    }

    /// Sends to a client. Returns what leaves.
    pub(super) fn answer(
        &mut self,
        pieces: &[Vec<u8>],
        plan: &Plan,
        cover: &mut Coverage,
    ) -> Result<Vec<Vec<u8>>, SendError> {
        cut(&mut self.rng, pieces, plan, cover)
    }

    /// Something on its way to an endpoint arrives, or an answer does.
    pub(super) fn move_up(&mut self, rng: &mut Rng, plan: &Plan, cover: &mut Coverage) {
        for _ in 0..rng.between(1, 6) {
            if !self.down.is_empty() && rng.one_in(2) {
                let (at, reply) = self.down.remove(rng.below(self.down.len()));
                let socket = &mut self.sockets[at];
                if socket.is_open && !rng.one_in(12) && socket.queue.len() < QUEUE_MAX {
                    socket.queue.push_back(reply);
                }
                continue;
            }
            if self.up.is_empty() {
                return;
            }
            let (at, bytes) = self.up.remove(rng.below(self.up.len()));
            if rng.one_in(12) {
                continue;
            }
            let socket = &mut self.sockets[at];
            if !self.is_alive[socket.endpoint] {
                socket.is_refused |= socket.is_open;
                continue;
            }
            for _ in 0..rng.pick(&[0, 1, 1, 1, 3]) {
                self.replies += 1;
                let reply = reply(self.replies, &bytes, plan, rng, cover);
                self.down.push((at, reply));
            }
        }
    }

    /// An endpoint dies or comes back.
    pub(super) fn change_endpoint(&mut self, rng: &mut Rng, shell: &Shell) {
        let at = rng.below(self.is_alive.len());
        self.is_alive[at] = !self.is_alive[at];
        debug_assert!(at < shell.endpoints());
    }

    /// Returns the sockets of which somebody may be told something.
    pub(super) fn open(&self, is_it: impl Fn(&Socket) -> bool) -> Vec<usize> {
        let is_it = |at: &usize| self.sockets[*at].is_open && is_it(&self.sockets[*at]);
        (0..self.sockets.len()).filter(is_it).collect()
    }
}

/// What keeps a connect(2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Unconnected {
    NoSocket,
    Itself,
}

/// Cuts what one call sends, as the kernel does.
fn cut(
    rng: &mut Rng,
    pieces: &[Vec<u8>],
    plan: &Plan,
    cover: &mut Coverage,
) -> Result<Vec<Vec<u8>>, SendError> {
    let bytes = pieces.concat();
    let size = pieces[0].len();
    let is_bundle = pieces.len() > 1;
    if is_bundle && !plan.has_segments || size > plan.datagram_max {
        cover.hit(Quirk::SegmentsRefused);
        return Err(SendError::TooLong);
    }
    if rng.one_in(32) {
        return Err(rng.pick(&[SendError::Blocked, SendError::Other]));
    }
    if !is_bundle {
        return Ok(vec![bytes]);
    }
    cover.hit(Quirk::Segments);
    assert!(size > 0 && pieces.len() <= 64 && bytes.len() <= 65_000, "Contract: {size}");
    Ok(bytes.chunks(size).map(<[u8]>::to_vec).collect())
}

/// Returns what an endpoint answers to a datagram; some say nonsense.
fn reply(number: u64, asked: &[u8], plan: &Plan, rng: &mut Rng, cover: &mut Coverage) -> Reply {
    let len = rng.pick(&[0, 8, 12, 12, 60]);
    let answer = payload(number, len);
    if plan.goes != Mode::Spp {
        return Reply { bytes: answer };
    }
    let mut bytes = asked[..spp::LEN].to_vec();
    if rng.one_in(12) {
        cover.hit(Quirk::AnswerOfAnother);
        match rng.below(3) {
            // Somebody who is nobody here, somebody who may be here, and no header at all.
            0 => bytes[17] ^= 1,
            1 => bytes.copy_from_slice(&rng.pick(&plan.clients).header(Mode::Spp)),
            _ => bytes.truncate(spp::LEN - 1),
        }
    }
    bytes.extend_from_slice(&answer);
    Reply { bytes }
}
