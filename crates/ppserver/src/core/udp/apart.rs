//! The paths that have a socket of their own, so that their flows stay with this process whoever gets the port.
//!
//! ```text
//! (none) --hold--> asked for --insert--> held --release, of the last flow--> idle --remove--> (none)
//!                      |                  ^-------------hold----------------/
//!                      +--release, of the last flow--> (none)
//! ```
//!
//! Of all sockets at an address the kernel prefers one that is connected to who sends (udp(7)). Knows no socket: `S` is the
//! shell's. A balancer's path has many clients, and one socket. Invariant: a path is held by its flows that
//! began in time, whether or not there was a socket for it then, so that who comes later through a balancer does not
//! hold its path for ever.

use std::collections::HashMap;
use std::time::Instant;

use super::flow::Path;
use super::index;

/// The paths that have one.
#[derive(Debug)]
pub struct Apart<S> {
    places: HashMap<Path, u32>,
    slots: Vec<Option<Own<S>>>,
    free: Vec<u32>,
    /// Flows that began behind this hold nothing.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Own<S> {
    path: Path,
    /// Those that hold it.
    flows: usize,
    /// `None` as long as there was none to be had.
    socket: Option<S>,
}

/// None.
impl<S> Default for Apart<S> {
    fn default() -> Self {
        Self { places: HashMap::new(), slots: Vec::new(), free: Vec::new(), until: None }
    }
}

impl<S> Apart<S> {
    /// Flows that begin behind this hold nothing.
    pub fn end(&mut self, now: Instant) {
        self.until = Some(now);
    }

    /// Whether a flow that began then holds its path.
    pub fn is_in_time(&self, began: Instant) -> bool {
        self.until.is_none_or(|until| began <= until)
    }

    /// Nobody holds anything, until he is counted again.
    pub fn recount(&mut self) {
        self.slots.iter_mut().flatten().for_each(|own| own.flows = 0);
    }

    /// One more flow takes a path. Returns the place for its socket, where it is to have one and has none.
    pub fn hold(&mut self, path: Path, is_parting: bool) -> Option<u32> {
        if let Some(place) = self.places.get(&path)
            && let Some(own) = &mut self.slots[index(*place)]
        {
            own.flows += 1;
            return own.socket.is_none().then_some(*place).filter(|_| is_parting);
        }
        is_parting.then(|| self.begin(path))
    }

    /// Gives the path at a place its socket.
    pub fn insert(&mut self, place: u32, socket: S) {
        if let Some(own) = &mut self.slots[index(place)] {
            own.socket = Some(socket);
        }
    }

    /// A flow that began then is over. Returns the place of a socket that nobody holds any more.
    pub fn release(&mut self, path: Path, began: Instant) -> Option<u32> {
        if !self.is_in_time(began) {
            return None;
        }
        let place = *self.places.get(&path)?;
        let own = self.slots[index(place)].as_mut()?;
        own.flows = own.flows.saturating_sub(1);
        if own.socket.is_none() {
            self.remove_idle(place);
            return None;
        }
        (own.flows == 0).then_some(place)
    }

    /// Takes the socket of a place away, if nobody holds it.
    pub fn remove_idle(&mut self, place: u32) -> Option<S> {
        let own = self.slots.get_mut(index(place))?.take_if(|own| own.flows == 0)?;
        self.places.remove(&own.path);
        self.free.push(place);
        own.socket
    }

    /// Returns the socket of a path.
    pub fn of(&self, path: Path) -> Option<&S> {
        self.at(*self.places.get(&path)?).map(|(_, socket)| socket)
    }

    /// Returns the socket at a place, and its path.
    pub fn at(&self, place: u32) -> Option<(Path, &S)> {
        let own = self.slots.get(index(place))?.as_ref()?;
        Some((own.path, own.socket.as_ref()?))
    }

    /// Returns the same, to be changed.
    pub fn at_mut(&mut self, place: u32) -> Option<&mut S> {
        self.slots.get_mut(index(place))?.as_mut()?.socket.as_mut()
    }

    fn begin(&mut self, path: Path) -> u32 {
        let new = || u32::try_from(self.slots.len()).expect("memory ends before a place");
        let place = self.free.pop().unwrap_or_else(new);
        let own = Some(Own { path, flows: 1, socket: None });
        match self.slots.get_mut(index(place)) {
            Some(free) => *free = own,
            None => self.slots.push(own),
        }
        self.places.insert(path, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn path(port: u16) -> Path {
        Path { peer: ([192, 0, 2, 1], port).into(), local: ([127, 0, 0, 1], 53).into() }
    }

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    /// A flow takes a path of a port that goes, and gets a socket if it has none.
    fn hold(apart: &mut Apart<u16>, port: u16) -> bool {
        let place = apart.hold(path(port), true);
        place.inspect(|place| apart.insert(*place, port)).is_some()
    }

    #[test]
    fn a_path_has_a_socket_as_long_as_one_of_its_flows_lives() {
        let (mut apart, now) = (Apart::default(), start());
        assert!([1, 2].iter().all(|port| hold(&mut apart, *port)));
        assert!(!hold(&mut apart, 1), "a second client of the same balancer");
        assert_eq!(apart.at(1), Some((path(2), &2)));
        assert_eq!(apart.release(path(1), now), None);
        assert_eq!(apart.remove_idle(0), None);
        assert_eq!(apart.release(path(1), now), Some(0));
        assert_eq!(apart.of(path(1)), Some(&1), "what has come to it is still read");
        assert_eq!(apart.remove_idle(0), Some(1));
        assert_eq!(apart.of(path(1)), None);
        assert_eq!(apart.release(path(1), now), None);
        assert_eq!(apart.hold(path(3), true), Some(0), "its place is free");
    }

    #[test]
    fn who_comes_too_late_holds_nothing() {
        let (mut apart, now) = (Apart::default(), start());
        hold(&mut apart, 1);
        apart.end(now);
        let later = now + Duration::from_nanos(1);
        assert!(apart.is_in_time(now) && !apart.is_in_time(later));
        assert_eq!(apart.release(path(1), later), None);
        assert_eq!(apart.release(path(1), now), Some(0));
    }

    #[test]
    fn those_who_hold_are_counted_anew() {
        let (mut apart, now) = (Apart::default(), start());
        for _ in 0..2 {
            apart.recount();
            hold(&mut apart, 1);
        }
        assert_eq!(apart.hold(path(2), false), None, "a port that stays");
        assert_eq!(apart.release(path(1), now), Some(0));
    }

    /// Once the end of the first one closed the socket of the second.
    #[test]
    fn a_flow_for_which_there_was_no_socket_takes_none_from_the_next_one() {
        let (mut apart, now) = (Apart::default(), start());
        assert_eq!(apart.hold(path(1), true), Some(0));
        assert!(apart.of(path(1)).is_none() && hold(&mut apart, 1));
        assert_eq!(apart.release(path(1), now), None);
        assert_eq!(apart.release(path(1), now), Some(0));
        apart.remove_idle(0);
        assert_eq!(apart.hold(path(1), true), Some(0));
        assert_eq!(apart.release(path(1), now), None);
        assert!(apart.places.is_empty(), "nobody asks for it any more");
    }
}
