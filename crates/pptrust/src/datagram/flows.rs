//! Senders that put a header into the first datagram of a flow alone, as Cloudflare Spectrum and nginx do: who
//! sends the later ones.
//!
//! A flow is one address and port of the sender's. What a client sends later is never taken for a header while its
//! flow is known; so a flow is to be known for longer than its sender knows it, and none gives way before its time:
//! whoever finds no room is turned away. Invariant: no more flows than `flows_max`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ppcore::Options;

use super::{Datagram, read_v2};
use crate::policy::{Admission, Policy, Refusal};

/// Who sends what, of senders that say it once.
///
/// Where that decides about access, mind that a client whose first datagram is lost on the way to you
/// can say in its second whom it likes. v2 in each datagram, and SPP, have no such gap.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pptrust::datagram::{self, Flows};
/// use pptrust::{Policy, ppcore::Options};
///
/// let mut flows = Flows::new(65_536, Duration::from_secs(120));
/// let (client, service) = ("203.0.113.7:53".parse()?, "192.0.2.1:53".parse()?);
/// let balancer = "10.0.0.1:9".parse()?;
/// let first = datagram::write_v2(client, service, b"one");
/// # #[expect(clippy::disallowed_methods, reason = "an example")]
/// let now = Instant::now();
/// for (datagram, payload) in [(&first[..], b"one"), (b"two", b"two")] {
///     let read = flows.read_v2(Policy::Require, Options::new(), balancer, datagram, now)?;
///     assert_eq!((read.peer_addr(), read.payload()), (client, &payload[..]));
/// }
/// assert!(flows.len() == 1 && !flows.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Flows {
    flows_max: usize,
    silence_max: Duration,
    flows: HashMap<SocketAddr, Flow>,
    /// Those peers by their last datagram, the longest silent first; the number tells two of one moment apart.
    by_silence: BTreeMap<(Instant, u64), SocketAddr>,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    carried: Option<(SocketAddr, SocketAddr)>,
    is_local: bool,
    is_denied: bool,
    /// Its place in `by_silence`.
    last: (Instant, u64),
}

impl Flows {
    /// Knows nobody yet, and at most `flows_max` at a time, each until `silence_max` behind its last datagram.
    pub fn new(flows_max: usize, silence_max: Duration) -> Self {
        let (flows, by_silence) = (HashMap::new(), BTreeMap::new());
        Self { flows_max, silence_max, flows, by_silence, count: 0 }
    }

    /// Reads a datagram: the first one of a flow as [`read_v2`] does, a later one as payload of whom the first
    /// one named. Its [`header`](Datagram::header) is none.
    ///
    /// # Errors
    /// As [`read_v2`]; and [`Refusal::Denied`] for a first one where there is no room, and for one of a flow that is
    /// [denied](Self::deny).
    pub fn read_v2<'a>(
        &mut self,
        policy: Policy,
        options: Options,
        peer: SocketAddr,
        datagram: &'a [u8],
        now: Instant,
    ) -> Result<Datagram<'a>, Refusal> {
        self.forget_silent(now);
        if policy.admission() != Admission::Header {
            return read_v2(policy, options, peer, datagram);
        }
        if let Some(flow) = self.flows.get_mut(&peer) {
            self.by_silence.remove(&flow.last);
            self.count += 1;
            flow.last = (now, self.count);
            self.by_silence.insert(flow.last, peer);
            if flow.is_denied {
                return Err(Refusal::Denied);
            }
            return Ok(Datagram::continuing(peer, flow.carried, flow.is_local, datagram));
        }
        let first = read_v2(policy, options, peer, datagram)?;
        if self.flows.len() >= self.flows_max {
            return Err(Refusal::Denied);
        }
        self.count += 1;
        let last = (now, self.count);
        let (carried, is_local) = (first.carried(), first.is_local());
        let flow = Flow { carried, is_local, is_denied: false, last };
        self.flows.insert(peer, flow);
        self.by_silence.insert(last, peer);
        Ok(first)
    }

    /// Refuses what the flow of a peer sends from now on, as long as it is known: forgotten, it might say in its next
    /// datagram that it is somebody else.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use pptrust::datagram::{self, Flows};
    /// use pptrust::{Policy, Refusal, ppcore::Options};
    ///
    /// let mut flows = Flows::new(65_536, Duration::from_secs(120));
    /// let (client, service) = ("203.0.113.7:53".parse()?, "192.0.2.1:53".parse()?);
    /// let balancer = "10.0.0.1:9".parse()?;
    /// let first = datagram::write_v2(client, service, b"one");
    /// # #[expect(clippy::disallowed_methods, reason = "an example")]
    /// let now = Instant::now();
    /// flows.read_v2(Policy::Require, Options::new(), balancer, &first, now)?;
    /// flows.deny(balancer);
    /// let again = flows.read_v2(Policy::Require, Options::new(), balancer, &first, now);
    /// assert_eq!(again, Err(Refusal::Denied));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deny(&mut self, peer: SocketAddr) {
        if let Some(flow) = self.flows.get_mut(&peer) {
            flow.is_denied = true;
        }
    }

    /// Returns how many flows are known.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Returns whether none is.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    fn forget_silent(&mut self, now: Instant) {
        while let Some(entry) = self.by_silence.first_entry() {
            let (last, _) = *entry.key();
            if now.saturating_duration_since(last) < self.silence_max {
                return;
            }
            self.flows.remove(&entry.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use ppcore::ErrorKind;

    use super::*;
    use crate::datagram::write_v2;

    const SILENCE: Duration = Duration::from_secs(10);

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn start() -> Instant {
        Instant::now()
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn read<'a>(
        flows: &mut Flows,
        peer: &str,
        datagram: &'a [u8],
        now: Instant,
    ) -> Result<Datagram<'a>, Refusal> {
        flows.read_v2(Policy::Require, Options::new(), addr(peer), datagram, now)
    }

    fn first(client: &str) -> Vec<u8> {
        write_v2(addr(client), addr("192.0.2.1:53"), b"one")
    }

    #[test]
    fn what_looks_like_a_header_in_a_later_datagram_is_payload() {
        let (mut flows, now) = (Flows::new(9, SILENCE), start());
        read(&mut flows, "10.0.0.1:9", &first("203.0.113.7:1"), now).unwrap();
        let forged = first("198.51.100.66:6");
        let later = read(&mut flows, "10.0.0.1:9", &forged, now).unwrap();
        assert_eq!((later.peer_addr(), later.payload()), (addr("203.0.113.7:1"), &forged[..]));
        assert_eq!((later.header(), later.local_addr()), (None, Some(addr("192.0.2.1:53"))));
    }

    #[test]
    fn each_port_of_a_balancer_is_a_client_of_its_own() {
        let (mut flows, now) = (Flows::new(9, SILENCE), start());
        for port in 1..4 {
            let peer = format!("10.0.0.1:{port}");
            read(&mut flows, &peer, &first(&format!("203.0.113.7:{port}")), now).unwrap();
        }
        let later = read(&mut flows, "10.0.0.1:2", b"", now).unwrap();
        assert_eq!((later.peer_addr(), later.payload()), (addr("203.0.113.7:2"), &b""[..]));
    }

    #[test]
    fn a_flow_is_known_until_it_has_been_silent_for_long_enough() {
        let (mut flows, now) = (Flows::new(9, SILENCE), start());
        read(&mut flows, "10.0.0.1:9", &first("203.0.113.7:1"), now).unwrap();
        let kept = now + SILENCE - Duration::from_nanos(1);
        read(&mut flows, "10.0.0.1:9", b"two", kept).unwrap();
        let refused = read(&mut flows, "10.0.0.1:9", b"three", kept + SILENCE).unwrap_err();
        assert!(matches!(refused, Refusal::Header(error) if error.kind() == ErrorKind::NotProxy));
        assert!(flows.is_empty());
    }

    #[test]
    fn nobody_gives_way_to_a_newcomer() {
        let (mut flows, now) = (Flows::new(1, SILENCE), start());
        read(&mut flows, "10.0.0.1:1", &first("203.0.113.7:1"), now).unwrap();
        let newcomer = first("203.0.113.8:1");
        let turned_away = read(&mut flows, "10.0.0.1:2", &newcomer, now);
        assert_eq!(turned_away, Err(Refusal::Denied));
        let later = read(&mut flows, "10.0.0.1:1", b"two", now).unwrap();
        assert_eq!(later.peer_addr(), addr("203.0.113.7:1"));
        assert_eq!((flows.len(), flows.by_silence.len()), (1, 1));
    }

    #[test]
    fn nothing_is_kept_of_peers_who_are_not_read_and_a_refused_one_begins_no_flow() {
        let (mut flows, now) = (Flows::new(9, SILENCE), start());
        for policy in [Policy::Skip, Policy::Deny] {
            let _ = flows.read_v2(policy, Options::new(), addr("10.0.0.1:9"), b"x", now);
        }
        assert!(read(&mut flows, "10.0.0.1:9", b"no header", now).is_err());
        assert!(flows.is_empty());
        let mut local = [0; ppcore::V2_FIXED_LEN];
        ppcore::encode::Encoder::local(&mut local).finish().unwrap();
        read(&mut flows, "10.0.0.1:9", &local, now).unwrap();
        let later = read(&mut flows, "10.0.0.1:9", b"probe", now).unwrap();
        assert_eq!((later.is_local(), later.peer_addr()), (true, addr("10.0.0.1:9")));
    }
}
