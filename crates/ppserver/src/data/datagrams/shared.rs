//! Sockets that flows share: of endpoints that are sent SPP, whose answers name their client.
//!
//! A worker has one for each endpoint in place of a socket, a connect and a close a flow. Two flows of one client to one
//! destination, by two sockets of his balancer, nothing would tell apart: the second one has its own. Invariant:
//! an answer belongs to the flow whose header it begins with, or to nobody.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ppcore::spp;
use pptrust::Outgoing;
use socket2::Socket;

use super::DatagramPort;
use super::flows::{Guest, Leg, Link};
use crate::core::udp::{Flow, FlowId};

/// What is in front of a flow's datagrams and answers.
pub(super) type Header = [u8; spp::LEN];

/// The sockets, and which of them are to be looked at.
#[derive(Debug, Default)]
pub(super) struct Shared {
    sockets: Vec<Option<SharedSocket>>,
    ready: VecDeque<u32>,
}

#[derive(Debug)]
struct SharedSocket {
    to: (SocketAddr, Option<IpAddr>),
    socket: Socket,
    flows: HashMap<Header, FlowId>,
    /// Who sent last: he is told of refusals.
    last: Option<FlowId>,
    is_ready: bool,
}

impl Shared {
    /// Returns the socket to an endpoint, from an address of ours if one is given.
    pub(super) fn find(&self, to: (SocketAddr, Option<IpAddr>)) -> Option<u32> {
        let is_it = |shared: &Option<SharedSocket>| shared.as_ref().is_some_and(|it| it.to == to);
        self.sockets.iter().position(is_it).map(place)
    }

    /// Returns the place that the next socket has.
    pub(super) fn next_place(&self) -> u32 {
        let free = self.sockets.iter().position(Option::is_none);
        place(free.unwrap_or(self.sockets.len()))
    }

    /// Adds a socket, at the next place.
    pub(super) fn insert(&mut self, to: (SocketAddr, Option<IpAddr>), socket: Socket) {
        let at = index(self.next_place());
        let shared =
            Some(SharedSocket { to, socket, flows: HashMap::new(), last: None, is_ready: false });
        match self.sockets.get_mut(at) {
            Some(free) => *free = shared,
            None => self.sockets.push(shared),
        }
    }

    /// Has a flow share a socket. Says whether its answers can be told from all others.
    pub(super) fn join(&mut self, place: u32, header: Header, id: FlowId) -> bool {
        let Some(shared) = self.at_mut(place) else { return false };
        let is_free = !shared.flows.contains_key(&header);
        if is_free {
            shared.flows.insert(header, id);
        }
        is_free
    }

    /// A flow sends by what it had no more.
    pub(super) fn unlink(&mut self, leg: &Leg, flow: &Flow<Leg, Guest>) {
        if let Link::Shared(place) = leg.link
            && let Some(header) = header(flow, leg.place())
            && let Some(shared) = self.at_mut(place)
        {
            shared.flows.remove(&header);
        }
    }

    /// Closes those that nobody shares.
    pub(super) fn close_idle(&mut self) {
        for shared in &mut self.sockets {
            drop(shared.take_if(|shared| shared.flows.is_empty()));
        }
    }

    /// Returns a socket.
    pub(super) fn socket(&self, place: u32) -> Option<&Socket> {
        self.sockets.get(index(place))?.as_ref().map(|shared| &shared.socket)
    }

    /// Returns whose an answer is.
    pub(super) fn whose(&self, place: u32, answer: &[u8]) -> Option<FlowId> {
        let shared = self.sockets.get(index(place))?.as_ref()?;
        shared.flows.get(answer.first_chunk::<{ spp::LEN }>()?).copied()
    }

    /// A flow has sent.
    pub(super) fn note_sent(&mut self, place: u32, id: FlowId) {
        if let Some(shared) = self.at_mut(place) {
            shared.last = Some(id);
        }
    }

    /// Returns who sent last, once.
    pub(super) fn take_last(&mut self, place: u32) -> Option<FlowId> {
        self.at_mut(place)?.last.take()
    }

    /// Has a socket looked at, once.
    pub(super) fn make_ready(&mut self, place: u32) {
        if let Some(shared) = self.at_mut(place)
            && !std::mem::replace(&mut shared.is_ready, true)
        {
            self.ready.push_back(place);
        }
    }

    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes a socket that is to be looked at.
    pub(super) fn next_ready(&mut self) -> Option<u32> {
        let place = self.ready.pop_front()?;
        if let Some(shared) = self.at_mut(place) {
            shared.is_ready = false;
        }
        Some(place)
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut SharedSocket> {
        self.sockets.get_mut(index(place))?.as_mut()
    }
}

/// Returns what is in front of a flow's datagrams to an endpoint, if that is sent SPP.
pub(super) fn header(flow: &Flow<Leg, Guest>, place: usize) -> Option<Header> {
    let target = flow.admitted().target();
    match target.send(target.upstream.endpoint(place)) {
        Outgoing::Spp { .. } => {
            let mut header = [0; spp::LEN];
            DatagramPort::write(flow, place, None, &mut header).ok()?;
            Some(header)
        }
        Outgoing::Off | Outgoing::V1 { .. } | Outgoing::V2 { .. } => None,
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).expect("a u32 is a usize on Linux")
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("there are fewer endpoints")
}
