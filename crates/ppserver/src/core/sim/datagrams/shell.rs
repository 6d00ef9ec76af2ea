//! What performs: as the worker's loop would, with the modelled network for a kernel.

use std::net::SocketAddr;
use std::time::Instant;

use ppcore::{Command, Decoded, ErrorKind, Options, Transport, Versions, decode_datagram, spp};

use super::judge::Judge;
use super::net::{Message, Net, Unconnected};
use super::plan::{Mode, Name, Plan};
use super::{Coverage, Path, Quirk, Rng, hold};
use crate::core::intent::{Intent, Purpose};
use crate::core::pool::balance::Balance;
use crate::core::pool::endpoint::{Endpoint, Member};
use crate::core::pool::health::Wish;
use crate::core::pool::{self, Tried, Unavailable, Upstream};
use crate::core::session::Direction;
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::outbox::{Bundle, Failed, Lane, Outbox, Piece};
use crate::core::udp::segments::segments;
use crate::core::udp::shared::{Header, Shared};
use crate::core::udp::{FlowId, Gate, Reading, Relay, Verdict};

/// A flow's socket, and the place of its endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg {
    pub(super) socket: usize,
    at: usize,
    /// Where its socket is among those that flows share, if it is.
    shared: Option<u32>,
}

impl Leg {
    fn lane(&self, id: FlowId) -> Lane {
        self.shared.map_or(Lane::Flow(id), Lane::Shared)
    }
}

#[derive(Debug)]
pub(super) struct Shell {
    pub(super) relay: Relay<Leg>,
    pool: Upstream,
    endpoints: Vec<Endpoint>,
    /// Whose each socket is.
    owners: Vec<Owner>,
    shared: Shared<usize>,
    /// Flows that have a socket of their own, and those that have a part in one.
    own: usize,
    sharing: usize,
    goes: Mode,
    up: Outbox,
    down: Outbox,
    /// The headers of a batch that are sent.
    headers: Vec<u8>,
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Flow(FlowId),
    /// Those who share the one at this place.
    Shared(u32),
}

/// Reads headers and says who is let in.
struct Door<'a>(&'a Plan);

impl Gate for Door<'_> {
    type Admitted = ();

    fn read(&mut self, path: Path, datagram: &[u8]) -> Result<Reading, DropReason> {
        if !is_trusted(path.peer) {
            return Err(DropReason::Untrusted);
        }
        let plain = Intent::plain(path.peer);
        let refused = |error: ppcore::Error| {
            if error.kind() == ErrorKind::NotProxy {
                DropReason::HeaderAbsent
            } else if error.kind() == ErrorKind::Truncated {
                DropReason::HeaderTruncated
            } else {
                DropReason::HeaderInvalid
            }
        };
        match self.0.comes {
            Mode::Plain => Ok(Reading { intent: plain, header_len: 0 }),
            Mode::Each | Mode::First => {
                let options = Options::new().versions(Versions::V2);
                let decoded = decode_datagram(options, datagram).map_err(refused)?;
                let Decoded::Header(header) = decoded else { panic!("one is required") };
                let (client, destination) = header.addresses_for(Transport::Dgram).unzip();
                let purpose = match header.command() {
                    Command::Local => Purpose::HealthCheck,
                    Command::Proxy | Command::Unknown => Purpose::Service,
                };
                let client = client.unwrap_or(path.peer);
                let intent = Intent { client, destination, purpose, ..plain };
                Ok(Reading { intent, header_len: header.len() })
            }
            Mode::Spp => {
                let (client, destination) =
                    spp::decode(datagram).map_err(refused)?.canonical().expect("it has two");
                let intent = Intent { client, destination: Some(destination), ..plain };
                Ok(Reading { intent, header_len: spp::LEN })
            }
        }
    }

    fn admit(&mut self, intent: &Intent) -> Result<(), DropReason> {
        let is_local = intent.purpose == Purpose::HealthCheck;
        self.0.turns_away(intent.client, is_local).map_or(Ok(()), Err)
    }
}

fn is_trusted(peer: SocketAddr) -> bool {
    !peer.ip().to_string().starts_with("198.51.100.")
}

impl Shell {
    pub(super) fn new(mut rng: Rng, plan: &Plan, now: Instant) -> Self {
        let endpoint = |at| {
            let port = u16::try_from(at + 1).expect("there are few");
            Endpoint::new(Member::at(([127, 0, 0, 1], port).into()), 1)
        };
        let endpoints: Vec<Endpoint> = (0..plan.endpoints).map(endpoint).collect();
        let balance = match rng.one_in(2) {
            true => Balance::RoundRobin,
            false => Balance::LeastConnections,
        };
        let failures_max = plan.failures_max;
        let pool =
            pool::Pool { endpoints: endpoints.clone(), attempts_max: 2, failures_max, balance };
        Self {
            relay: Relay::new(plan.terms, (rng.below(9) as u64, 7), now),
            pool: Upstream::new("web".to_owned(), pool, 0, now),
            endpoints,
            owners: Vec::new(),
            shared: Shared::default(),
            own: 0,
            sharing: 0,
            goes: plan.goes,
            up: Outbox::new(),
            down: Outbox::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// Returns how many flows and attempts are counted at endpoints.
    pub(super) fn active(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| endpoint.shared.active()).sum()
    }

    /// Returns how many flows have a way upstream, and how many sockets those take.
    pub(super) fn linked(&self) -> (usize, usize) {
        let places = 0..u32::try_from(self.endpoints.len()).expect("there are few");
        let common = places.filter(|place| self.shared.socket(*place).is_some()).count();
        (self.own + self.sharing, self.own + common)
    }

    /// An endpoint that was ejected comes back, or an operator takes one out or in.
    pub(super) fn change_health(&self, rng: &mut Rng) {
        let health = &self.endpoints[rng.below(self.endpoints.len())].shared.health;
        if rng.one_in(4) {
            health.set_wish(rng.pick(&[Wish::Auto, Wish::Auto, Wish::Down]));
        } else {
            health.readmit();
        }
    }

    /// Takes a batch from the listening socket and sends it on.
    pub(super) fn receive(
        &mut self,
        net: &mut Net,
        judge: &mut Judge,
        plan: &Plan,
        now: Instant,
        cover: &mut Coverage,
    ) {
        let messages = net.receive(cover);
        for (at, message) in messages.iter().enumerate() {
            judge.note_received(Direction::Up, message.parts.len());
            let segments = segments(message.bytes.len(), message.size);
            for (segment, part) in segments.zip(&message.parts) {
                let bytes = &message.bytes[segment.clone()];
                hold!(Whole, bytes == part.bytes, "{bytes:?} is no datagram of the aggregate");
                let verdict = self.relay.judge(message.path, bytes, &mut Door(plan), now);
                judge.note_judged(part, verdict, &self.relay, now);
                let (id, header_len) = match verdict {
                    Verdict::Relay(id, header_len) | Verdict::Dial(id, header_len) => {
                        (id, header_len)
                    }
                    Verdict::Drop(_) => continue,
                };
                if matches!(verdict, Verdict::Dial(..))
                    && let Err(reason) = self.dial(id, net, now, cover)
                {
                    self.relay.handle_dropped(Direction::Up, reason, 1);
                    judge.note_undialled(id);
                    continue;
                }
                let header = match plan.goes {
                    // It is put in front when it is known to be the first.
                    Mode::First => 0..0,
                    Mode::Plain | Mode::Each | Mode::Spp => self.compose(id, plan.goes),
                };
                let payload = segment.start + header_len..segment.end;
                let leg = self.relay.flow(id).and_then(|flow| flow.upstream());
                let lane = leg.expect("it was just dialled").lane(id);
                self.up.push(lane, Piece { flow: id, header, message: at, payload });
            }
        }
        self.send_up(&messages, net, judge, plan, now, cover);
    }

    fn send_up(
        &mut self,
        messages: &[Message],
        net: &mut Net,
        judge: &mut Judge,
        plan: &Plan,
        now: Instant,
        cover: &mut Coverage,
    ) {
        while let Some(bundle) = self.up.next() {
            if bundle.is_mixed {
                cover.hit(Quirk::BundleOfSeveral);
                if !self.is_by(bundle) {
                    cover.hit(Quirk::BundleParts);
                    self.up.part();
                    continue;
                }
            }
            let id = bundle.flow;
            let whose: Vec<FlowId> = bundle.pieces().map(|piece| piece.flow).collect();
            let leg = match self.relay.flow(id).map(|flow| flow.upstream().copied()) {
                None => Err(DropReason::NoFlow),
                Some(Some(leg)) => Ok(leg),
                Some(None) => self.dial(id, net, now, cover),
            };
            let leg = match leg {
                Ok(leg) => leg,
                Err(reason) => {
                    let count = self.up.handle_dropped();
                    self.relay.handle_dropped(Direction::Up, reason, count);
                    judge.note_dropped(Direction::Up, &whose, reason);
                    continue;
                }
            };
            if plan.goes == Mode::First && net.sockets[leg.socket].sent == 0 {
                let header = self.compose(id, Mode::First);
                self.up.lead(header);
            }
            let bundle = self.up.next().expect("it was there");
            let whose = &whose[..bundle.len()];
            let payloads = messages.iter().map(|message| &message.bytes[..]).collect::<Vec<_>>();
            let bytes = written(bundle, &self.headers, &payloads);
            let is_first = net.sockets[leg.socket].sent == 0;
            if let Some(place) = leg.shared {
                self.shared.note_sent(place, id);
            }
            match net.send(leg.socket, &bytes, plan, cover) {
                Ok(segments) => {
                    judge.note_sent_up(whose, leg.socket, &segments, is_first);
                    let count = self.up.handle_sent();
                    self.relay.handle_sent(Direction::Up, count);
                }
                Err(error) => match self.up.handle_failed(error) {
                    Failed::Again(id) => {
                        judge.note_refused(id);
                        self.refuse(id, net);
                    }
                    Failed::Singly => {}
                    Failed::Dropped(reason, count) => {
                        judge.check_given_up(id, reason);
                        self.relay.handle_dropped(Direction::Up, reason, count);
                        judge.note_dropped(Direction::Up, &whose[..count], reason);
                    }
                },
            }
        }
        self.headers.clear();
    }

    /// Whether the flows of a bundle go by its lane.
    fn is_by(&self, bundle: Bundle<'_>) -> bool {
        let leg = |id: FlowId| self.relay.flow(id)?.upstream();
        bundle.pieces().all(|it| leg(it.flow).is_some_and(|leg| leg.lane(it.flow) == bundle.lane))
    }

    /// Takes what has come to the socket of a flow, and sends it on.
    pub(super) fn receive_answers(
        &mut self,
        net: &mut Net,
        judge: &mut Judge,
        plan: &Plan,
        now: Instant,
        cover: &mut Coverage,
    ) {
        let mut payloads = Vec::new();
        for socket in net.open(|socket| !socket.queue.is_empty()) {
            for _ in 0..3 {
                let Some(reply) = net.sockets[socket].queue.pop_front() else { break };
                let whose = match self.owners[socket] {
                    Owner::Flow(id) => Ok(id),
                    Owner::Shared(place) => self.shared.whose(place, &reply.bytes),
                };
                let begins = |id| self.answer_begins(id, plan, &reply.bytes).map(|at| (id, at));
                let (id, payload) = match whose.and_then(begins) {
                    Ok(found) => found,
                    Err(reason) => {
                        judge.note_no_answer(socket, &reply, reason);
                        self.relay.handle_no_answer(reason);
                        continue;
                    }
                };
                let leg = self.relay.flow(id).and_then(|flow| flow.upstream()).copied();
                let len = reply.bytes.len() - payload;
                let answer = self.relay.handle_answer(id, len, now);
                judge.note_answer(id, &reply, answer, &self.relay, now);
                let Some(answer) = answer else { continue };
                if let (true, Some(leg)) = (answer.is_first, leg) {
                    self.pool.handle_flow_answered(leg.at);
                }
                let header = match plan.comes {
                    Mode::Spp => {
                        let intent = answer.intent;
                        let name = Name {
                            client: intent.client,
                            destination: intent.destination,
                            ..Name::plain(answer.path)
                        };
                        self.append(&name.header(Mode::Spp))
                    }
                    Mode::Plain | Mode::Each | Mode::First => 0..0,
                };
                let payload = payload..reply.bytes.len();
                let piece = Piece { flow: id, header, message: payloads.len(), payload };
                self.down.push(Lane::Back(answer.path), piece);
                payloads.push(reply.bytes);
            }
        }
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        while let Some(bundle) = self.down.next() {
            let Lane::Back(path) = bundle.lane else { panic!("Contract: {:?}", bundle.lane) };
            let bytes = written(bundle, &self.headers, &payloads);
            let whose: Vec<FlowId> = bundle.pieces().map(|piece| piece.flow).collect();
            match net.answer(&bytes, plan, cover) {
                Ok(segments) => {
                    judge.note_sent_down(&whose, path, &segments);
                    let count = self.down.handle_sent();
                    self.relay.handle_sent(Direction::Down, count);
                }
                Err(error) => match self.down.handle_failed(error) {
                    Failed::Dropped(reason, count) => {
                        self.relay.handle_dropped(Direction::Down, reason, count);
                        judge.note_dropped(Direction::Down, &whose[..count], reason);
                    }
                    Failed::Singly => {}
                    Failed::Again(_) => panic!("Contract: nobody refuses an answer"),
                },
            }
        }
        self.headers.clear();
    }

    /// Returns where the payload of an answer begins, if its header is that of its flow.
    fn answer_begins(&self, id: FlowId, plan: &Plan, bytes: &[u8]) -> Result<usize, DropReason> {
        if plan.goes != Mode::Spp {
            return Ok(0);
        }
        // Whose flow is over says the relay.
        if self.relay.flow(id).is_none() {
            return Ok(spp::LEN);
        }
        let is_its = bytes.starts_with(&self.header(id));
        is_its.then_some(spp::LEN).ok_or(DropReason::AnswerInvalid)
    }

    /// Returns what is in front of a flow's datagrams to an endpoint that is sent SPP.
    fn header(&self, id: FlowId) -> Header {
        let flow = self.relay.flow(id).expect("it was just found");
        let header = name(flow.path(), flow.intent()).header(Mode::Spp);
        header.try_into().expect("it is as long")
    }

    /// Some socket tells of an error.
    pub(super) fn hear_errors(
        &mut self,
        net: &mut Net,
        judge: &mut Judge,
        now: Instant,
        cover: &mut Coverage,
    ) {
        for socket in net.open(|socket| socket.is_refused) {
            net.sockets[socket].is_refused = false;
            cover.hit(Quirk::EventTellsRefusal);
            let told = match self.owners[socket] {
                Owner::Flow(id) => Some(id),
                Owner::Shared(place) => self.shared.take_last(place),
            };
            if let Some(id) = told {
                judge.note_unlinked(id);
                self.refuse(id, net);
            }
        }
        self.take_ended(net, judge, now, cover);
    }

    /// Closes and gives back what flows that are over have had.
    pub(super) fn take_ended(
        &mut self,
        net: &mut Net,
        judge: &mut Judge,
        now: Instant,
        cover: &mut Coverage,
    ) {
        while let Some(mut over) = self.relay.next_ended() {
            cover.note_flow_ended(over.reason);
            judge.note_ended(&over, now);
            if let Some(leg) = over.take_upstream() {
                let header = name(over.flow.path(), over.flow.intent()).header(Mode::Spp);
                self.unlink(leg, &header, net);
                self.pool.handle_closed(leg.at);
            }
        }
    }

    /// Gives a flow a socket and an endpoint.
    fn dial(
        &mut self,
        id: FlowId,
        net: &mut Net,
        now: Instant,
        cover: &mut Coverage,
    ) -> Result<Leg, DropReason> {
        let flow = self.relay.flow(id).ok_or(DropReason::NoFlow)?;
        let client = flow.intent().client.ip();
        let mut tried = Tried::default();
        let mut failed = None;
        for _ in 0..self.pool.attempts_max() {
            let at = match self.pool.pick(&mut tried, Some(client), None, now) {
                Ok(at) => at,
                Err(Unavailable::None) => break,
                Err(Unavailable::Full) => return Err(DropReason::EndpointsFull),
            };
            match self.link(id, at, net, cover) {
                Ok(leg) => {
                    self.pool.handle_flow_begun(at);
                    self.relay.handle_dialled(id, leg);
                    return Ok(leg);
                }
                Err(Unconnected::NoSocket) => {
                    self.pool.handle_cancelled(at);
                    return Err(DropReason::Resources);
                }
                Err(Unconnected::Itself) => {
                    self.pool.handle_failed(at);
                    failed = Some(DropReason::Refused);
                }
            }
        }
        Err(failed.unwrap_or(DropReason::NoEndpoint))
    }

    /// Gives a flow a socket to an endpoint, or a part in one.
    fn link(
        &mut self,
        id: FlowId,
        at: usize,
        net: &mut Net,
        cover: &mut Coverage,
    ) -> Result<Leg, Unconnected> {
        if self.goes == Mode::Spp {
            let way = (([127, 0, 0, 1], u16::try_from(at).expect("there are few")).into(), None);
            let place = match self.shared.find(way) {
                Some(place) => place,
                None => {
                    let (place, socket) = (self.shared.next_place(), net.connect(at, cover)?);
                    self.shared.insert(way, socket);
                    self.owners.push(Owner::Shared(place));
                    place
                }
            };
            if self.shared.join(place, self.header(id), id) {
                self.sharing += 1;
                let socket = *self.shared.socket(place).expect("it is there");
                return Ok(Leg { socket, at, shared: Some(place) });
            }
            cover.hit(Quirk::HeaderTaken);
        }
        let socket = net.connect(at, cover)?;
        self.owners.push(Owner::Flow(id));
        self.own += 1;
        Ok(Leg { socket, at, shared: None })
    }

    /// A flow with this header sends by what it had no more.
    fn unlink(&mut self, leg: Leg, header: &[u8], net: &mut Net) {
        match leg.shared {
            None => {
                self.own -= 1;
                net.close(leg.socket);
            }
            Some(place) => {
                self.sharing -= 1;
                self.shared.leave(place, header.try_into().expect("it is as long"));
            }
        }
    }

    /// Closes what flows have shared and nobody does any more.
    pub(super) fn close_idle(&mut self, net: &mut Net) {
        self.shared.take_idle().for_each(|socket| net.close(socket));
    }

    /// Nobody listens at the endpoint of a flow.
    fn refuse(&mut self, id: FlowId, net: &mut Net) {
        if let Some(leg) = self.relay.handle_refused(id) {
            if let Some(flow) = self.relay.flow(id) {
                let header = name(flow.path(), flow.intent()).header(Mode::Spp);
                self.unlink(leg, &header, net);
            }
            self.pool.handle_flow_refused(leg.at);
        }
        let leg = self.relay.flow(id).and_then(|flow| flow.upstream());
        hold!(Choice, leg.is_none(), "{leg:?} stays where nobody listens");
    }

    /// Writes the header that a flow's datagrams carry upstream.
    fn compose(&mut self, id: FlowId, mode: Mode) -> std::ops::Range<usize> {
        let flow = self.relay.flow(id).expect("it was just found");
        let header = name(flow.path(), flow.intent()).header(mode);
        self.append(&header)
    }

    fn append(&mut self, header: &[u8]) -> std::ops::Range<usize> {
        let start = self.headers.len();
        self.headers.extend_from_slice(header);
        start..self.headers.len()
    }
}

fn name(path: Path, intent: Intent) -> Name {
    let Intent { client, destination, purpose, .. } = intent;
    Name { path, client, destination, is_local: purpose == Purpose::HealthCheck }
}

/// Returns the bytes of each piece.
fn written(bundle: Bundle<'_>, headers: &[u8], payloads: &[&[u8]]) -> Vec<Vec<u8>> {
    let bytes = |piece: &Piece| {
        [&headers[piece.header.clone()], &payloads[piece.message][piece.payload.clone()]].concat()
    };
    bundle.pieces().map(bytes).collect()
}
