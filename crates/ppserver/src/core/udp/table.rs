//! The flows of a listener: found by whose they are, ordered by their silence.
//!
//! A slot is in one chain of its bucket and in one of two lists, by links through one vector; so nothing is allocated
//! for a flow once as many stood before. Invariants: a flow stands in the list of those that had an answer, or in that
//! of those that had none, in the order of its last datagram; what names a flow that has ended names nobody.

use std::hash::Hasher;
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

use super::flow::{Flow, Headers, Moment, Tally, Who};
use super::index;

/// Names a flow: for a token of its socket, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// Where it is.
    pub place: u32,
    /// Of those that were there, which one.
    pub generation: u32,
}

/// A place in the vector, or `END`.
type Link = u32;
const END: Link = Link::MAX;

/// The two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Had no answer yet.
    Unanswered,
    /// Had one.
    Answered,
}

#[derive(Clone, Debug)]
struct Slot<U, A> {
    /// None while it is free.
    flow: Option<Flow<U, A>>,
    hash: u32,
    generation: u32,
    /// The next one of the same bucket, or of those that are free.
    next: Link,
    /// The one in its list that has been silent for longer, and for less long.
    older: Link,
    newer: Link,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: Link,
    newest: Link,
    len: usize,
}

/// The flows.
#[derive(Clone, Debug)]
pub(super) struct Table<U, A> {
    /// Of the hash: who does not know them cannot fill one bucket.
    keys: (u64, u64),
    headers: Headers,
    epoch: Instant,
    slots: Vec<Slot<U, A>>,
    free: Link,
    /// The first of each bucket; a power of two of them.
    buckets: Vec<Link>,
    lists: [List; 2],
}

impl<U, A> Table<U, A> {
    pub(super) fn new(headers: Headers, keys: (u64, u64), epoch: Instant) -> Self {
        let list = List { oldest: END, newest: END, len: 0 };
        let (slots, buckets) = (Vec::new(), vec![END; 1]);
        Self { keys, headers, epoch, slots, free: END, buckets, lists: [list; 2] }
    }

    pub(super) fn len(&self, class: Class) -> usize {
        self.lists[class as usize].len
    }

    pub(super) fn oldest(&self, class: Class) -> Option<FlowId> {
        let oldest = self.lists[class as usize].oldest;
        (oldest != END).then(|| self.id(oldest))
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&Flow<U, A>> {
        let slot = self.slots.get(index(id.place)).filter(|slot| slot.generation == id.generation);
        slot?.flow.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow<U, A>> {
        let slot = self.slots.get_mut(index(id.place));
        slot.filter(|slot| slot.generation == id.generation)?.flow.as_mut()
    }

    pub(super) fn at(&self, place: u32) -> Option<FlowId> {
        let slot = self.slots.get(index(place))?;
        slot.flow.as_ref().map(|_| FlowId { place, generation: slot.generation })
    }

    /// Finds the flow of somebody: by all that is said of him, or by his path alone.
    pub(super) fn find(&self, who: &Who) -> Option<FlowId> {
        let hash = self.hash(who);
        let mut link = self.buckets[self.bucket(hash)];
        while link != END {
            let slot = &self.slots[index(link)];
            let is_it = |flow: &Flow<U, A>| match self.headers {
                Headers::Each => flow.who.is_of(who),
                Headers::First => flow.who.is_on(who),
            };
            if slot.hash == hash && slot.flow.as_ref().is_some_and(is_it) {
                return Some(self.id(link));
            }
            link = slot.next;
        }
        None
    }

    /// Begins a flow of somebody who has none.
    pub(super) fn insert(&mut self, who: Who, admitted: A, now: Instant) -> FlowId {
        debug_assert!(self.find(&who).is_none(), "one flow is everybody's");
        let hash = self.hash(&who);
        let (up, down) = (Tally::default(), Tally::default());
        let now = self.moment(now);
        let flow = Some(Flow { who, upstream: None, admitted, began: now, last: now, up, down });
        let link = if self.free == END {
            let (generation, next, older, newer) = (0, END, END, END);
            self.slots.push(Slot { flow, hash, generation, next, older, newer });
            Link::try_from(self.slots.len() - 1).expect("memory ends before a Link")
        } else {
            let link = self.free;
            let slot = &mut self.slots[index(link)];
            self.free = slot.next;
            (slot.flow, slot.hash) = (flow, hash);
            link
        };
        if self.slots.len() > self.buckets.len() {
            self.widen();
        } else {
            self.chain(link);
        }
        self.append(link, Class::Unanswered);
        self.id(link)
    }

    /// Takes a flow out.
    pub(super) fn remove(&mut self, id: FlowId) -> Option<Flow<U, A>> {
        let class = class(self.get(id)?);
        self.unlist(id.place, class);
        self.unchain(id.place);
        let slot = &mut self.slots[index(id.place)];
        slot.generation = slot.generation.wrapping_add(1);
        slot.next = std::mem::replace(&mut self.free, id.place);
        slot.flow.take()
    }

    /// Counts a datagram of a flow's, which is silent from now on. Returns the flow.
    pub(super) fn count(
        &mut self,
        id: FlowId,
        now: Instant,
        add: impl FnOnce(&mut Flow<U, A>),
    ) -> Option<&Flow<U, A>> {
        let (before, now) = (class(self.get(id)?), self.moment(now));
        let flow = self.slots[index(id.place)].flow.as_mut()?;
        flow.last = now;
        add(flow);
        let after = class(flow);
        self.unlist(id.place, before);
        self.append(id.place, after);
        self.get(id)
    }

    /// Returns all of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FlowId, &Flow<U, A>)> {
        (0..).zip(&self.slots).filter_map(|(place, slot)| {
            let id = FlowId { place, generation: slot.generation };
            Some((id, slot.flow.as_ref()?))
        })
    }

    /// Returns the instant of a moment.
    pub(super) fn instant(&self, Moment(nanos): Moment) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    fn moment(&self, now: Instant) -> Moment {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        Moment(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn id(&self, link: Link) -> FlowId {
        FlowId { place: link, generation: self.slots[index(link)].generation }
    }

    fn hash(&self, who: &Who) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        who.hash(self.headers, &mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    fn bucket(&self, hash: u32) -> usize {
        index(hash) & (self.buckets.len() - 1)
    }

    /// Twice as many buckets, for as many flows as slots.
    fn widen(&mut self) {
        let count = self.buckets.len() * 2;
        self.buckets.clear();
        self.buckets.resize(count, END);
        for place in 0..self.slots.len() {
            if self.slots[place].flow.is_some() {
                self.chain(Link::try_from(place).expect("memory ends before a Link"));
            }
        }
    }

    fn chain(&mut self, link: Link) {
        let bucket = self.bucket(self.slots[index(link)].hash);
        let next = std::mem::replace(&mut self.buckets[bucket], link);
        self.slots[index(link)].next = next;
    }

    fn unchain(&mut self, link: Link) {
        let Slot { hash, next, .. } = self.slots[index(link)];
        let bucket = self.bucket(hash);
        let mut at = self.buckets[bucket];
        if at == link {
            self.buckets[bucket] = next;
            return;
        }
        while self.slots[index(at)].next != link {
            at = self.slots[index(at)].next;
        }
        self.slots[index(at)].next = next;
    }

    /// Puts a flow behind those of its list that were silent before.
    fn append(&mut self, link: Link, class: Class) {
        let list = &mut self.lists[class as usize];
        let older = std::mem::replace(&mut list.newest, link);
        list.len += 1;
        match older {
            END => list.oldest = link,
            _ => self.slots[index(older)].newer = link,
        }
        let slot = &mut self.slots[index(link)];
        (slot.older, slot.newer) = (older, END);
    }

    fn unlist(&mut self, link: Link, class: Class) {
        let Slot { older, newer, .. } = self.slots[index(link)];
        match older {
            END => self.lists[class as usize].oldest = newer,
            _ => self.slots[index(older)].newer = newer,
        }
        match newer {
            END => self.lists[class as usize].newest = older,
            _ => self.slots[index(newer)].older = older,
        }
        self.lists[class as usize].len -= 1;
    }

    /// Returns the bytes that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<U, A>>()
            + self.buckets.capacity() * size_of::<Link>()
    }
}

fn class<U, A>(flow: &Flow<U, A>) -> Class {
    if flow.is_answered() { Class::Answered } else { Class::Unanswered }
}
