//! The packets of a capture, one by one: pcap and pcapng, of either byte order, as they come.
//!
//! What a packet carries is [`segment`](super::segment)'s. Invariant: one packet is held at a time, and none of
//! more than [`PACKET_BYTES_MAX`].

use std::io::{self, Cursor, Read};

use pcap_parser::nom::{Err as Parsed, Needed};
use pcap_parser::pcapng::{Block, parse_sectionheaderblock};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

/// What pcapng begins with, whatever its byte order.
const PCAPNG_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// What pcap begins with: two byte orders, micro- and nanoseconds.
const PCAP_MAGIC: [[u8; 4]; 4] = [
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
];
/// The header of a pcap file in bytes.
const PCAP_HEADER_LEN: usize = 24;
/// Room that is made for packets at first.
const ROOM: usize = 1 << 18;
/// The longest packet, and the longest first block: libpcap takes no snapshot above 256 KiB, but loopback may
/// offload more.
const PACKET_BYTES_MAX: usize = 1 << 24;

/// The shortest block of pcapng (draft-ietf-opsawg-pcapng, 3.1).
const BLOCK_BYTES_MIN: u32 = 12;

/// A packet as it was captured.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    /// Its number, from 1, as other programs count.
    pub(super) number: u64,
    pub(super) linktype: Linktype,
    pub(super) bytes: &'a [u8],
    /// Whether it was longer than what was kept of it.
    pub(super) is_cut: bool,
}

/// Why the packets end where they should not.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    #[error("it is no capture: neither pcap nor pcapng")]
    NoCapture,
    #[error("cannot read it: {0}")]
    Read(io::Error),
    #[error("it is broken behind packet {0}")]
    Broken(u64),
    #[error("packet {0} is longer than {max} MiB", max = PACKET_BYTES_MAX >> 20)]
    TooLong(u64),
}

/// Says whether bytes begin as a capture does.
pub(super) fn is_capture(bytes: &[u8]) -> bool {
    bytes.starts_with(&PCAPNG_MAGIC) || PCAP_MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// Hands every packet to `take`; one that is not there to its end is the end, as where tcpdump was stopped.
pub(super) fn each<E: From<CaptureError>>(
    input: impl Read + Send,
    mut take: impl FnMut(&Packet<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let input = begun(input).map_err(CaptureError::Read)?;
    let mut reader = create_reader(ROOM, input).map_err(|_| CaptureError::NoCapture)?;
    let mut links: Vec<Linktype> = Vec::new();
    let mut room = ROOM;
    let (mut number, mut has_blocks) = (0, false);
    loop {
        if has_blocks && is_too_short(reader.data()) {
            return Err(CaptureError::Broken(number).into());
        }
        match reader.next() {
            Ok((len, block)) => {
                let packet = match &block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        links = vec![header.network];
                        None
                    }
                    PcapBlockOwned::Legacy(block) => {
                        Some((0, block.data, block.caplen < block.origlen))
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                        has_blocks = true;
                        links.clear();
                        None
                    }
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        links.push(interface.linktype);
                        None
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        Some((block.if_id, block.packet_data(), block.caplen < block.origlen))
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                        let bytes = block.packet_data();
                        Some((
                            0,
                            bytes,
                            u32::try_from(bytes.len()).is_ok_and(|len| len < block.origlen),
                        ))
                    }
                    // Names, statistics, secrets.
                    PcapBlockOwned::NG(_) => None,
                };
                if let Some((interface, bytes, is_cut)) = packet {
                    number += 1;
                    let interface = usize::try_from(interface).ok();
                    let linktype = *interface
                        .and_then(|interface| links.get(interface))
                        .ok_or(CaptureError::Broken(number - 1))?;
                    take(&Packet { number, linktype, bytes, is_cut })?;
                }
                reader.consume(len);
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|_| unreadable())?;
            }
            Err(PcapError::BufferTooSmall) => {
                room *= 2;
                if room > 2 * PACKET_BYTES_MAX || !reader.grow(room) {
                    return Err(CaptureError::TooLong(number + 1).into());
                }
                reader.refill().map_err(|_| unreadable())?;
            }
            Err(PcapError::ReadError) => return Err(unreadable().into()),
            Err(_) => return Err(CaptureError::Broken(number).into()),
        }
    }
}

/// Whether a block of pcapng says that it is shorter than its type and its two lengths are, which the parser subtracts;
/// in either order of bytes, since as the other one that is a length far above what is taken.
fn is_too_short(block: &[u8]) -> bool {
    let len = block.get(4..).and_then(|rest| rest.first_chunk());
    len.is_some_and(|len| u32::from_le_bytes(*len).min(u32::from_be_bytes(*len)) < BLOCK_BYTES_MIN)
}

/// The parser does not say why.
fn unreadable() -> CaptureError {
    CaptureError::Read(io::Error::other("the rest did not come"))
}

/// Reads what the parser wants to see in one piece: the header of a file, or its first block.
fn begun(mut input: impl Read) -> io::Result<impl Read> {
    let mut start = Vec::new();
    loop {
        let missing = u64::try_from(missing(&start)).unwrap_or(u64::MAX);
        let came = input.by_ref().take(missing).read_to_end(&mut start)?;
        if came == 0 {
            return Ok(Cursor::new(start).chain(input));
        }
    }
}

/// Returns how many bytes of the beginning are missing, at least.
fn missing(start: &[u8]) -> usize {
    if start.starts_with(&PCAPNG_MAGIC) {
        return match parse_sectionheaderblock(start) {
            Err(Parsed::Incomplete(Needed::Size(missing))) => missing.get().min(ROOM),
            Ok(_) | Err(_) => 0,
        };
    }
    PCAP_HEADER_LEN.saturating_sub(start.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_shorter_than_its_own_lengths_is_broken() {
        for order in [u32::to_le_bytes, u32::to_be_bytes] {
            let word = |value: u32| order(value).to_vec();
            // A section without options; then Process Information of 8 bytes.
            let words = [0x0A0D_0D0A, 28, 0x1A2B_3C4D, 1, u32::MAX, u32::MAX, 28];
            let section = words.into_iter().flat_map(word).collect::<Vec<_>>();
            let read =
                |rest: &[u8]| each(&[&section, rest].concat()[..], |_| Ok::<(), CaptureError>(()));
            assert!(read(&[]).is_ok());
            let short = [word(0x8000_0001), word(8), word(0), word(8)].concat();
            assert!(matches!(read(&short), Err(CaptureError::Broken(0))));
        }
    }
}
