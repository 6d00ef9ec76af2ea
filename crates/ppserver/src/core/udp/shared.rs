//! Sockets that flows share: of endpoints that are sent SPP, whose answers name their client.
//!
//! A worker has one for each endpoint in place of a socket, a connect and a close a flow. Two flows of one client to one
//! destination, by two sockets of his balancer, nothing would tell apart: the second one has its own. Knows no socket: `S` is the
//! shell's. Invariant: an answer belongs to the flow whose header it begins with, or to nobody.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ppcore::spp;

use super::drop_reason::DropReason;
use super::index;
use super::table::FlowId;

/// What is in front of a flow's datagrams and answers.
pub type Header = [u8; spp::LEN];

/// An endpoint, and which address of ours it is sent from, if one is given.
pub type Way = (SocketAddr, Option<IpAddr>);

/// The sockets, and which of them are to be looked at.
#[derive(Debug)]
pub struct Shared<S> {
    sockets: Vec<Option<Common<S>>>,
    ready: VecDeque<u32>,
}

#[derive(Debug)]
struct Common<S> {
    way: Way,
    socket: S,
    flows: HashMap<Header, FlowId>,
    /// Who sent last: he is told of refusals.
    last: Option<FlowId>,
    is_ready: bool,
}

/// None.
impl<S> Default for Shared<S> {
    fn default() -> Self {
        Self { sockets: Vec::new(), ready: VecDeque::new() }
    }
}

impl<S> Shared<S> {
    /// Adds a socket, at the next place.
    pub fn insert(&mut self, way: Way, socket: S) {
        let at = index(self.next_place());
        let (flows, last, is_ready) = (HashMap::new(), None, false);
        let common = Some(Common { way, socket, flows, last, is_ready });
        match self.sockets.get_mut(at) {
            Some(free) => *free = common,
            None => self.sockets.push(common),
        }
    }

    /// Has a flow share a socket. Says whether its answers can be told from all others.
    pub fn join(&mut self, place: u32, header: Header, id: FlowId) -> bool {
        let Some(common) = self.at_mut(place) else { return false };
        let is_free = !common.flows.contains_key(&header);
        if is_free {
            common.flows.insert(header, id);
        }
        is_free
    }

    /// The flow that has this header shares a socket no more.
    pub fn leave(&mut self, place: u32, header: &Header) {
        if let Some(common) = self.at_mut(place) {
            common.flows.remove(header);
        }
    }

    /// Takes those away that nobody shares.
    pub fn take_idle(&mut self) -> impl Iterator<Item = S> {
        let is_idle = |common: &mut Common<S>| common.flows.is_empty();
        let idle = self.sockets.iter_mut().filter_map(move |common| common.take_if(is_idle));
        idle.map(|common| common.socket)
    }

    /// A flow has sent.
    pub fn note_sent(&mut self, place: u32, id: FlowId) {
        if let Some(common) = self.at_mut(place) {
            common.last = Some(id);
        }
    }

    /// Returns who sent last, once.
    pub fn take_last(&mut self, place: u32) -> Option<FlowId> {
        self.at_mut(place)?.last.take()
    }

    /// Has a socket looked at, once.
    pub fn make_ready(&mut self, place: u32) {
        if let Some(common) = self.at_mut(place)
            && !std::mem::replace(&mut common.is_ready, true)
        {
            self.ready.push_back(place);
        }
    }

    /// Takes a socket that is to be looked at.
    pub fn next_ready(&mut self) -> Option<u32> {
        let place = self.ready.pop_front()?;
        if let Some(common) = self.at_mut(place) {
            common.is_ready = false;
        }
        Some(place)
    }

    /// Returns whether there is one.
    pub fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the socket that goes a way.
    pub fn find(&self, way: Way) -> Option<u32> {
        let is_it =
            |common: &Option<Common<S>>| common.as_ref().is_some_and(|common| common.way == way);
        self.sockets.iter().position(is_it).map(place)
    }

    /// Returns the place that the next socket has.
    pub fn next_place(&self) -> u32 {
        let free = self.sockets.iter().position(Option::is_none);
        place(free.unwrap_or(self.sockets.len()))
    }

    /// Returns a socket.
    pub fn socket(&self, place: u32) -> Option<&S> {
        self.sockets.get(index(place))?.as_ref().map(|common| &common.socket)
    }

    /// Returns whose an answer is.
    ///
    /// # Errors
    /// Why it is nobody's: his flow is over, or it names nobody.
    pub fn whose(&self, place: u32, answer: &[u8]) -> Result<FlowId, DropReason> {
        let header: Option<&Header> = answer.first_chunk();
        let common = self.sockets.get(index(place)).and_then(Option::as_ref);
        match header.and_then(|header| common?.flows.get(header)) {
            Some(id) => Ok(*id),
            None if spp::decode(answer).is_ok() => Err(DropReason::NoFlow),
            None => Err(DropReason::AnswerInvalid),
        }
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut Common<S>> {
        self.sockets.get_mut(index(place))?.as_mut()
    }
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("there are fewer endpoints")
}
