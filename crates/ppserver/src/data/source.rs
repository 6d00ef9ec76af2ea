//! Who an event of the kernel is for, as a token, and who a reminder is for.
//!
//! A token's top two bits are its kind; of a connection it is `generation << 32 | index << 1 | side`, and an
//! event of one that is gone misses on the generation.

use mio::Token;

use super::table::Key;
use crate::core::session::Side;

/// Where an event comes from. Datagram sockets and what else a worker may wait for have their place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A socket of a connection.
    Leg(Key, Side),
    /// The listening socket at this place.
    Port(usize),
    /// An order of the control plane.
    Orders,
}

/// What is to be reminded, and what works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// A connection.
    Connection(Key),
    /// The pools of buffers and pipes: they give back what nobody needs any more.
    Spares,
}

const KIND_SHIFT: u32 = usize::BITS - 2;
const PORT: usize = 1;
const ORDERS: usize = 2;
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
            PORT => Self::Port(token & REST),
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
            Source::Orders,
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
