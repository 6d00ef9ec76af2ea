//! Prints the headers in a capture: the first payload of each TCP flow of a pcap file, whatever its
//! ports, or bytes in hexadecimal.
//!
//! `cargo run -p ppnet --example headers [FILE]`; without FILE, or with `-`, standard input.
//! `tcpdump -w - -i eth0 tcp | headers` works too.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;
use pcap_file::{DataLink, PcapError};
use ppnet::Received;
use ppnet::ppcore::{Decoded, Decoder, Options, tlv};

/// What a classic pcap file begins with: two byte orders, micro- and nanoseconds.
const PCAP_MAGIC: [[u8; 4]; 4] = [
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut input: Box<dyn Read> = match std::env::args().nth(1).as_deref() {
        None | Some("-") => Box::new(io::stdin()),
        Some(path) => Box::new(File::open(path)?),
    };
    let mut magic = Vec::new();
    input.by_ref().take(4).read_to_end(&mut magic)?;
    let is_capture = PCAP_MAGIC.iter().any(|known| magic == known);
    let mut input = io::Cursor::new(magic).chain(input);
    if is_capture {
        capture(input)
    } else {
        let mut text = String::new();
        input.read_to_string(&mut text)?;
        print!("{}", explain(&unhex(&text)?));
        Ok(())
    }
}

type Flow = (SocketAddr, SocketAddr);

fn capture(input: impl Read) -> Result<(), Box<dyn Error>> {
    let mut reader = PcapReader::new(input)?;
    let datalink = reader.header().datalink;
    let mut seen: HashSet<Flow> = HashSet::new();
    while let Some(packet) = reader.next_packet() {
        let packet = match packet {
            Ok(packet) => packet,
            // tcpdump was stopped in the middle of a packet.
            Err(PcapError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        };
        let sliced = if datalink == DataLink::ETHERNET {
            SlicedPacket::from_ethernet(&packet.data)
        } else if datalink == DataLink::LINUX_SLL {
            SlicedPacket::from_linux_sll(&packet.data)
        } else if [DataLink::RAW, DataLink::IPV4, DataLink::IPV6].contains(&datalink) {
            SlicedPacket::from_ip(&packet.data)
        } else {
            return Err(format!("captures of {datalink:?} are not supported").into());
        };
        let Some((flow, payload)) = sliced.ok().as_ref().and_then(tcp) else { continue };
        if !payload.is_empty() && seen.insert(flow) {
            println!("{} -> {}", flow.0, flow.1);
            print!("{}", explain(payload));
        }
    }
    Ok(())
}

/// The flow and the payload of a TCP segment.
fn tcp<'a>(packet: &SlicedPacket<'a>) -> Option<(Flow, &'a [u8])> {
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    let flow = (
        SocketAddr::new(source, tcp.source_port()),
        SocketAddr::new(destination, tcp.destination_port()),
    );
    Some((flow, tcp.payload()))
}

fn explain(bytes: &[u8]) -> String {
    let header = match Received::decode(Options::new(), bytes) {
        Ok(Some(header)) => header,
        Ok(None) => {
            // Absent does not happen: a header is required.
            let need = match Decoder::new(Options::new()).decode(bytes) {
                Ok(Decoded::Need(need)) => need,
                Ok(Decoded::Header(_) | Decoded::Absent) | Err(_) => 0,
            };
            return format!("  incomplete: at least {need} bytes more\n");
        }
        Err(error) => return format!("  no header: {error}\n"),
    };
    let mut text = format!("  {:?} {:?}", header.version(), header.command());
    if let (Some(source), Some(destination)) = (header.source(), header.destination()) {
        text += &format!(" {:?} {source} -> {destination}", header.transport());
    }
    if let Some((source, destination)) = header.unix() {
        text += &format!(" {source:?} -> {destination:?}");
    }
    text += &format!(", {} bytes, {} of payload\n", header.len(), bytes.len() - header.len());
    for tlv in header.tlvs() {
        text += &match tlv {
            Ok(tlv) => format!(
                "    {:#04x} {} {}\n",
                tlv.kind(),
                tlv::name(tlv.kind()),
                tlv.value().escape_ascii()
            ),
            Err(error) => format!("    {error}\n"),
        };
    }
    text
}

/// Bytes from hexadecimal digits; white space and colons are passed over.
fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = text.chars().filter(|c| !c.is_whitespace() && *c != ':');
    let digits = digits
        .map(|c| c.to_digit(16).ok_or_else(|| format!("`{c}` is no hexadecimal digit")))
        .collect::<Result<Vec<u32>, _>>()?;
    let byte = |pair: &[u32]| match *pair {
        [high, low] => Ok(u8::try_from(high << 4 | low)?),
        _ => Err("an odd number of digits".into()),
    };
    digits.chunks(2).map(byte).collect()
}
