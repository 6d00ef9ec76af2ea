//! What each session of a soak does, from its number alone.
//!
//! Invariant: the seed and the number of a session decide everything about it, so that a session
//! that went wrong can be read off its two numbers.

use std::time::Duration;

/// What a session does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Payload both ways, then a FIN each.
    Exchange,
    /// Megabytes both ways.
    Bulk,
    /// The upstream sends all it has and its FIN before it reads.
    UpstreamEndsFirst,
    /// A whole conversation in one segment, the FIN right behind it.
    AllAtOnce,
    /// The header comes in pieces of one to five bytes.
    SlowHeader,
    /// One side does not read for a while.
    SlowReader,
    /// One side reads a little at a time, for longer than every deadline, but reads on.
    SlowTransfer,
    /// The first endpoint of the upstream comes and goes.
    Flapping,
    /// An urgent byte in the middle of the payload.
    Urgent,
    /// The client resets in the middle.
    ClientResets,
    /// The upstream resets behind what it has delivered.
    UpstreamResets,
    /// Half a header, and then nothing until the deadline.
    HalfHeader,
    /// Half a header, and then a FIN.
    Truncated,
    /// Bytes that break a rule of the header.
    Malformed,
    /// No header where one is required.
    NoHeader,
    /// From an address that is not trusted.
    Untrusted,
    /// A connection that is closed before its first byte.
    Probe,
    /// Nobody listens upstream.
    DeadUpstream,
    /// Both sides fall silent.
    Silence,
}

/// Each kind with its share of a thousand sessions.
pub(super) const KINDS: [(Kind, u64); 19] = [
    (Kind::Exchange, 400),
    (Kind::Bulk, 10),
    (Kind::UpstreamEndsFirst, 80),
    (Kind::AllAtOnce, 80),
    (Kind::SlowHeader, 30),
    (Kind::SlowReader, 20),
    (Kind::SlowTransfer, 5),
    (Kind::Flapping, 40),
    (Kind::Urgent, 40),
    (Kind::ClientResets, 80),
    (Kind::UpstreamResets, 80),
    (Kind::HalfHeader, 20),
    (Kind::Truncated, 30),
    (Kind::Malformed, 40),
    (Kind::NoHeader, 20),
    (Kind::Untrusted, 20),
    (Kind::Probe, 30),
    (Kind::DeadUpstream, 15),
    (Kind::Silence, 5),
];

/// The most payload of one direction, but for [`Kind::Bulk`].
const PAYLOAD_MAX: u64 = 192 * 1024;
const BULK_MIN: u64 = 1024 * 1024;
const BULK_SPAN: u64 = 2 * 1024 * 1024;
/// Several times what the reader's own kernel takes ahead of it, so that what a proxy's still holds
/// shrinks for most of the time; less than what that can hold.
const SLOW_MIN: u64 = 512 * 1024;
const SLOW_SPAN: u64 = 512 * 1024;
/// The longest a slow side does nothing.
const STALL_MAX: u64 = 300;
/// How long a slow transfer takes, in milliseconds: beyond the 5.1 s of the server's longest deadline.
const TRANSFER_MIN: u64 = 6_500;
const TRANSFER_SPAN: u64 = 1_000;

/// A session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// Payload bytes: from the client, from the upstream.
    pub(super) up: u64,
    pub(super) down: u64,
    /// How long the slow side of the kind waits, or takes.
    pub(super) stall: Duration,
    /// For all that is decided on the way.
    pub(super) rng: Rng,
}

impl Plan {
    /// The session of this number.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut rng = Rng::new(seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let total = KINDS.iter().map(|(_, share)| share).sum();
        let mut at = rng.below(total);
        let mut kinds = KINDS.iter();
        let kind = loop {
            let (kind, share) = kinds.next().expect("the shares are as many as were summed");
            match at.checked_sub(*share) {
                Some(rest) => at = rest,
                None => break *kind,
            }
        };
        Self::with(kind, rng)
    }

    /// A session of this kind.
    pub(super) fn of_kind(kind: Kind, seed: u64) -> Self {
        Self::with(kind, Rng::new(seed))
    }

    fn with(kind: Kind, mut rng: Rng) -> Self {
        let is_slow = kind == Kind::SlowTransfer;
        let mut payload = || {
            if kind == Kind::Bulk {
                BULK_MIN + rng.below(BULK_SPAN)
            } else if is_slow {
                SLOW_MIN + rng.below(SLOW_SPAN)
            } else {
                rng.skewed(PAYLOAD_MAX)
            }
        };
        let (up, down) = (payload(), payload());
        let stall = match is_slow {
            true => TRANSFER_MIN + rng.below(TRANSFER_SPAN),
            false => rng.below(STALL_MAX),
        };
        Self { kind, up, down, stall: Duration::from_millis(stall), rng }
    }
}

/// SplitMix64, by Steele, Lea and Flood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of at most `max`, every order of magnitude as likely as another.
    fn skewed(&mut self, max: u64) -> u64 {
        let bits = self.below(u64::from(max.ilog2()) + 1);
        self.below(max) >> bits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_number_is_the_same_session_and_every_kind_comes_up() {
        let shown = |number| format!("{:?}", Plan::new(7, number));
        assert_eq!(shown(3), shown(3));
        assert_ne!(shown(3), shown(4));
        let kinds: BTreeSet<_> = (0..5000).map(|number| Plan::new(7, number).kind).collect();
        assert_eq!(kinds.len(), KINDS.len());
    }
}
