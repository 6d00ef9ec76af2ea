//! The ways in which a server is spoken to, and the bytes of each.
//!
//! Opens no socket. Invariant: whatever is sent is a good header but for what its way is named for.

use std::net::SocketAddr;

use ppcore::tlv;
use pptrust::Greeting;
use pptrust::datagram::{write_spp, write_v2};

use super::exchange::Kind;

/// What is said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not a byte: does it speak by itself?
    Nothing,
    /// The data alone.
    Plain,
    V1,
    V2,
    /// v2 of one who speaks for itself.
    Local,
    /// v2 whose first bytes come alone.
    Pieces,
    /// v2 with a checksum that does not hold.
    WrongChecksum,
    /// Two datagrams, each with a v2 header.
    Each,
    /// Two datagrams, the first with a v2 header.
    First,
    /// A datagram with Cloudflare's header.
    Spp,
}

/// The client's address and the one that it connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
}

/// How a stream is spoken to, besides not at all.
pub(super) const STREAM: [Way; 6] =
    [Way::Plain, Way::V1, Way::V2, Way::Local, Way::Pieces, Way::WrongChecksum];

/// How a server of datagrams is spoken to.
pub(super) const DATAGRAMS: [Way; 4] = [Way::Plain, Way::Each, Way::First, Way::Spp];

/// Bytes of the first piece: behind them nobody can doubt that it is v2.
const FIRST_PIECE: usize = 12;

impl Way {
    /// How answers call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Plain => "no header",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Local => "v2 LOCAL",
            Self::Pieces => "v2 in two pieces",
            Self::WrongChecksum => "v2, wrong CRC32C",
            Self::Each => "v2 in each",
            Self::First => "v2 in the first",
            Self::Spp => "SPP",
        }
    }

    /// What goes out at a time: writes to a stream, or datagrams.
    pub(super) fn writes(self, kind: Kind, pair: Pair, data: &[u8]) -> Vec<Vec<u8>> {
        let Pair { src, dst } = pair;
        let behind = |header: Greeting| [&*header.to_bytes().expect("it is short"), data].concat();
        match self {
            Self::Nothing => Vec::new(),
            Self::Plain => vec![data.to_vec()],
            Self::V1 => vec![behind(Greeting::v1(src, dst))],
            Self::V2 => match kind {
                Kind::Stream => vec![behind(Greeting::v2(src, dst))],
                Kind::Datagrams => vec![write_v2(src, dst, data)],
            },
            Self::Local => vec![behind(Greeting::local())],
            Self::Pieces => {
                let mut first = behind(Greeting::v2(src, dst));
                let second = first.split_off(FIRST_PIECE);
                vec![first, second]
            }
            // Zeros are what the sum is taken over, and are not the sum (spec 2.2.3).
            Self::WrongChecksum => {
                vec![behind(Greeting::v2(src, dst).tlv(tlv::CRC32C, [0; 4]))]
            }
            Self::Each => vec![write_v2(src, dst, data); 2],
            Self::First => vec![write_v2(src, dst, data), data.to_vec()],
            Self::Spp => vec![write_spp(src, dst, data)],
        }
    }
}

#[cfg(test)]
mod tests {
    use ppcore::{Decoded, Decoder, ErrorKind, Options};

    use super::*;

    #[test]
    fn each_header_is_good_but_for_what_its_way_is_named_for() {
        let pair =
            Pair { src: "192.0.2.1:1".parse().unwrap(), dst: "192.0.2.2:2".parse().unwrap() };
        let both = STREAM.map(|way| (Kind::Stream, way)).into_iter();
        let both = both.chain(DATAGRAMS.map(|way| (Kind::Datagrams, way)));
        for (kind, way) in both.chain([(Kind::Datagrams, Way::V2), (Kind::Stream, Way::Nothing)]) {
            let whole = way.writes(kind, pair, b"data").concat();
            let decoded = Decoder::new(Options::new()).decode(&whole);
            match way {
                Way::Nothing => assert!(whole.is_empty()),
                Way::Plain => assert_eq!(whole, b"data"),
                Way::WrongChecksum => {
                    assert_eq!(decoded.unwrap_err().kind(), ErrorKind::CrcMismatch);
                }
                Way::Spp => assert!(whole.starts_with(&ppcore::spp::MAGIC)),
                Way::V1 | Way::V2 | Way::Local | Way::Pieces | Way::Each | Way::First => {
                    let Ok(Decoded::Header(header)) = decoded else { panic!("{way:?}") };
                    assert_eq!(header.source(), (way != Way::Local).then_some(pair.src), "{way:?}");
                    assert!(whole.ends_with(b"data"), "{way:?}");
                }
            }
        }
    }
}
