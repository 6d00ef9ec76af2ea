//! What a world of datagrams is like: who sends, on which terms, and what is written in front.

use std::net::SocketAddr;
use std::time::Duration;

use ppcore::encode::Encoder;
use ppcore::{Addresses, spp};

use super::{Headers, Path, Rng, Terms};
use crate::core::udp::drop_reason::DropReason;

/// How a sender says whose a datagram is: those that come in, and those that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not at all.
    Plain,
    /// v2 in each.
    Each,
    /// v2 in the first one of a flow.
    First,
    /// SPP in each, answers too.
    Spp,
}

const MODES: [Mode; 4] = [Mode::Plain, Mode::Each, Mode::First, Mode::Spp];

/// Whose a datagram is, as all agree: `Each` and `First` compare it, a greeting is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) path: Path,
    pub(super) client: SocketAddr,
    pub(super) destination: Option<SocketAddr>,
    pub(super) is_local: bool,
}

impl Name {
    /// One whose path says it all.
    pub(super) fn plain(path: Path) -> Self {
        Self { path, client: path.peer, destination: None, is_local: false }
    }

    /// Writes the header that its datagrams come with.
    pub(super) fn comes_with(&self, mode: Mode) -> Vec<u8> {
        if mode == Mode::Spp || self.destination.is_some() || self.is_local {
            return self.header(mode);
        }
        let mut out = [0; 16];
        let len = Encoder::datagram(&mut out, &Addresses::None).finish();
        out[..len.expect("it has room")].to_vec()
    }

    /// Writes the header that is sent for it.
    pub(super) fn header(&self, mode: Mode) -> Vec<u8> {
        let told = match self.destination {
            Some(destination) => Addresses::pair(self.client, destination),
            None => Addresses::pair(self.path.peer, self.path.local),
        };
        let mut out = [0; 64];
        let len = match mode {
            Mode::Plain => Ok(0),
            Mode::Each | Mode::First if self.is_local => Encoder::local(&mut out).finish(),
            Mode::Each | Mode::First => Encoder::datagram(&mut out, &told).finish(),
            Mode::Spp => spp::encode(&mut out, &told),
        };
        out[..len.expect("it has room")].to_vec()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) comes: Mode,
    pub(super) goes: Mode,
    pub(super) terms: Terms,
    pub(super) clients: Vec<Name>,
    pub(super) endpoints: usize,
    pub(super) failures_max: u32,
    pub(super) is_flood: bool,
    pub(super) drains: bool,
    /// The longest datagram that leaves.
    pub(super) datagram_max: usize,
    /// Whether segments may be sent.
    pub(super) has_segments: bool,
    /// Whether LOCAL is let in.
    pub(super) takes_local: bool,
    /// Whether some clients are turned away.
    pub(super) denies: bool,
}

impl Plan {
    /// Says why somebody new is turned away, if he is.
    pub(super) fn turns_away(&self, client: SocketAddr, is_local: bool) -> Option<DropReason> {
        let is_denied = self.denies && client.to_string().starts_with("203.0.1.");
        match is_local {
            true => (!self.takes_local).then_some(DropReason::LocalRejected),
            false => is_denied.then_some(DropReason::Denied),
        }
    }

    pub(super) fn draw(rng: &mut Rng) -> Self {
        let (comes, goes) = (rng.pick(&MODES), rng.pick(&MODES));
        let silence_max = Duration::from_secs(rng.between(2, 9) as u64);
        let is_first = comes == Mode::First;
        let terms = Terms {
            headers: if is_first { Headers::First } else { Headers::Each },
            flows_max: rng.pick(&[2, 4, 8, 64]),
            silence_max,
            unanswered_max: if is_first { silence_max } else { silence_max / 2 },
            responses: if is_first { 0 } else { rng.pick(&[0, 0, 1, 2]) },
        };
        let mut plan = Self {
            comes,
            goes,
            terms,
            clients: Vec::new(),
            endpoints: rng.between(1, 3),
            failures_max: rng.pick(&[0_u32, 1, 2]),
            is_flood: rng.one_in(2),
            drains: rng.one_in(3),
            datagram_max: rng.pick(&[100, 140, 65_507]),
            has_segments: !rng.one_in(4),
            takes_local: rng.one_in(2),
            denies: rng.one_in(4),
        };
        for place in 0..rng.between(1, 6) {
            let number = u16::try_from(place / 2).expect("there are few");
            let port = u16::try_from(place + 1).expect("there are few");
            let name = plan.name(rng, number, port);
            plan.clients.push(name);
        }
        plan
    }

    /// Names one of very many.
    pub(super) fn spoofed(&self, rng: &mut Rng) -> Name {
        let number = u16::try_from(rng.between(1, 65_000)).expect("it is below");
        self.name(rng, number, 9)
    }

    /// Names a client of this number, behind a balancer if there is any.
    fn name(&self, rng: &mut Rng, number: u16, port: u16) -> Name {
        let [high, low] = number.to_be_bytes();
        let client = SocketAddr::from(([203, high, low, 7], 7));
        let local = SocketAddr::from(([10, 0, 0, rng.pick(&[2, 3])], 53));
        let service = SocketAddr::from(([192, 0, 2, 1], 53));
        let balancer = |port| SocketAddr::from(([10, 1, 0, 1], port));
        let (peer, is_local) = match self.comes {
            Mode::Plain => return Name::plain(Path { peer: client, local }),
            // Of each socket one client.
            Mode::First => (balancer(10 + port + 100 * (number % 500)), false),
            Mode::Each => (balancer(rng.pick(&[1, 2])), rng.one_in(5)),
            Mode::Spp => (balancer(rng.pick(&[1, 2])), false),
        };
        let path = Path { peer, local };
        match is_local {
            true => Name { is_local, ..Name::plain(path) },
            // A balancer that names nobody, or does not speak for itself.
            false if self.comes == Mode::Each && rng.one_in(6) => Name::plain(path),
            false => Name { path, client, destination: Some(service), is_local },
        }
    }
}
