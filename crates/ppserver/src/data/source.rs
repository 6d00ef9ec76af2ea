//! Who an event of the kernel is for, as a token, and who a reminder is for.
//!
//! A token's top two bits are its kind; of a connection it is `generation << 32 | index << 1 | side`, and an
//! event of one that is gone misses on the generation. Of a flow it is `port << 32 | place`, and so it is of a path and of what flows share: they end
//! behind the events of a turn, and an end takes its socket's events with it.

use mio::Token;

use super::table::Key;
use crate::core::session::Side;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A socket of a connection.
    Leg(Key, Side),
    /// The listening socket at this place.
    Port(usize),
    /// The socket at this place that datagrams come to.
    Datagrams(usize),
    /// The socket of a flow: the place of the socket that it came by, and its own among the flows there.
    Flow(usize, u32),
    /// A socket that flows share: the place of the port, and its own among those there.
    Shared(usize, u32),
    /// The socket of a path: the place of the port, and its own among the paths there.
    Path(usize, u32),
    /// An order of the control plane.
    Orders,
}

/// What is to be reminded, and what works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// A connection.
    Connection(Key),
    /// The datagrams of the port at this place.
    Datagrams(usize),
    /// The pools of buffers and pipes: they give back what nobody needs any more.
    Spares,
}

const KIND_SHIFT: u32 = usize::BITS - 2;
const PORT: usize = 1;
const ORDERS: usize = 2;
const FLOW: usize = 3;
/// Of the flows, what is their paths', and what they share.
const PATH: usize = 1 << (KIND_SHIFT - 1);
const SHARED: usize = 1 << (KIND_SHIFT - 2);
/// Of the ports, those of datagrams.
const DATAGRAMS: usize = 1 << (KIND_SHIFT - 1);
/// The bits of a token below its kind.
const REST: usize = (1 << KIND_SHIFT) - 1;

impl Source {
    /// Packs it.
    pub(super) fn token(self) -> Token {
        Token(match self {
            Self::Leg(key, side) => {
                let (index, generation) = key.parts();
                (generation as usize) << 32
                    | (index as usize) << 1
                    | usize::from(side == Side::Upstream)
            }
            Self::Port(at) => PORT << KIND_SHIFT | at,
            Self::Datagrams(at) => PORT << KIND_SHIFT | DATAGRAMS | at,
            Self::Flow(at, place) => FLOW << KIND_SHIFT | at << 32 | place as usize,
            Self::Shared(at, place) => FLOW << KIND_SHIFT | SHARED | at << 32 | place as usize,
            Self::Path(at, place) => FLOW << KIND_SHIFT | PATH | at << 32 | place as usize,
            Self::Orders => ORDERS << KIND_SHIFT,
        })
    }

    /// Takes a token apart.
    pub(super) fn of(Token(token): Token) -> Self {
        match token >> KIND_SHIFT {
            0 => {
                let generation = u32::try_from(token >> 32).expect("30 bits are left");
                let index = u32::try_from((token & 0xFFFF_FFFF) >> 1).expect("31 bits are left");
                let side = if token & 1 == 1 { Side::Upstream } else { Side::Client };
                Self::Leg(Key::of_parts(index, generation), side)
            }
            PORT if token & DATAGRAMS != 0 => Self::Datagrams(token & REST & !DATAGRAMS),
            PORT => Self::Port(token & REST),
            FLOW => {
                let place = u32::try_from(token & 0xFFFF_FFFF).expect("32 bits are left");
                let at = (token & REST & !PATH & !SHARED) >> 32;
                match token & (PATH | SHARED) {
                    PATH => Self::Path(at, place),
                    SHARED => Self::Shared(at, place),
                    _ => Self::Flow(at, place),
                }
            }
            _ => Self::Orders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;

    #[test]
    fn every_source_comes_back_out_of_its_token() {
        let mut table = Table::new();
        table.insert('a');
        let key = table.insert('b');
        for source in [
            Source::Leg(key, Side::Client),
            Source::Leg(key, Side::Upstream),
            Source::Port(0),
            Source::Port(12_345),
            Source::Datagrams(0),
            Source::Datagrams(12_345),
            Source::Flow(0, 0),
            Source::Flow(12_345, u32::MAX),
            Source::Shared(0, 0),
            Source::Shared(12_345, u32::MAX),
            Source::Path(0, 0),
            Source::Path(12_345, u32::MAX),
            Source::Orders,
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
