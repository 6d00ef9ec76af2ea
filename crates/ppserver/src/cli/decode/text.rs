//! The explanation for a human: what was understood, or where and why it was not.
//!
//! Not for scripts, which take [`report`](super::report): wording and layout may change.
//! Invariant: no byte of the input reaches the terminal unescaped.

use std::fmt;
use std::net::SocketAddr;

use ppcore::{
    Command, Crc32cPolicy, Decoded, Decoder, Error, ErrorKind, Header, Options, Transport,
    UnixAddr, V2_FIXED_LEN, Version, spp,
};

use super::dump::Dump;
use super::report::{
    SPP_DESTINATION_AT, SPP_SOURCE_AT, address_offsets, family_name, transport_name,
};
use super::{Format, Outcome, Verdict, hint, tlvs};
use crate::cli::hex;

/// A verdict, explained.
#[derive(Debug)]
pub(super) struct Explanation<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) input: &'a [u8],
    /// Whether a Simple Proxy Protocol header was asked for.
    pub(super) spp: bool,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.verdict.outcome.name())?;
        match &self.verdict.outcome {
            Outcome::Header(header) => {
                self.headline(f, header.len())?;
                self.header(f, header)?;
                match header.tlvs(self.input).find_map(Result::err) {
                    Some(error) => {
                        self.dump(f, error.offset(), &format!("byte {}", error.offset()))
                    }
                    None => Ok(()),
                }
            }
            Outcome::Spp(addresses) => {
                self.headline(f, spp::LEN)?;
                row(f, Some(0), "magic", &hex::format(&spp::MAGIC))?;
                row(f, None, "family", family_name(addresses.family()))?;
                row(f, None, "transport", transport_name(Transport::Dgram))?;
                row(f, Some(SPP_SOURCE_AT), "source", &text(addresses.source()))?;
                row(f, Some(SPP_DESTINATION_AT), "destination", &text(addresses.destination()))
            }
            Outcome::Need(need) => self.incomplete(f, *need),
            Outcome::Refused(error) => self.refused(f, *error),
        }
    }
}

impl Explanation<'_> {
    fn headline(&self, f: &mut fmt::Formatter<'_>, len: usize) -> fmt::Result {
        let payload = match self.input.len() - len {
            0 => "no payload behind it".to_owned(),
            bytes => format!("{} of payload behind it", count(bytes)),
        };
        writeln!(f, "a {} header of {}, {payload}\n", self.format_name(), count(len))
    }

    fn format_name(&self) -> &'static str {
        match self.verdict.format {
            Some(Format::V1) => "PROXY protocol v1",
            Some(Format::V2) => "PROXY protocol v2",
            Some(Format::Spp) => "Simple Proxy Protocol",
            None => "PROXY protocol",
        }
    }

    fn header(&self, f: &mut fmt::Formatter<'_>, header: &Header) -> fmt::Result {
        match header.version() {
            Version::V1 => self.line(f, header),
            Version::V2 => self.block(f, header),
        }
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, header: &Header) -> fmt::Result {
        row(f, Some(0), "line", &tlvs::quoted(&self.input[..header.len()]))?;
        row(f, None, "command", command_meaning(header.command()))?;
        row(f, None, "family", family_name(header.family()))?;
        row(f, None, "transport", transport_name(header.transport()))?;
        self.addresses(f, header)
    }

    fn block(&self, f: &mut fmt::Formatter<'_>, header: &Header) -> fmt::Result {
        row(f, Some(0), "signature", &hex::format(&self.input[..12]))?;
        row(f, Some(12), "version", "2")?;
        row(f, None, "command", command_meaning(header.command()))?;
        let ignored = match (header.command(), self.input[13]) {
            (Command::Proxy | Command::Unknown, _) | (Command::Local, 0) => String::new(),
            (Command::Local, byte) => format!(": LOCAL has none, 0x{byte:02x} is ignored"),
        };
        row(f, Some(13), "family", &format!("{}{ignored}", family_name(header.family())))?;
        row(f, None, "transport", transport_name(header.transport()))?;
        row(f, Some(14), "length", &count(header.len() - V2_FIXED_LEN))?;
        self.addresses(f, header)?;
        self.skipped(f, header)?;
        tlvs::write(f, header, self.input)
    }

    fn addresses(&self, f: &mut fmt::Formatter<'_>, header: &Header) -> fmt::Result {
        let (source, destination) = match header.unix(self.input) {
            Some((source, destination)) => (unix_name(&source), unix_name(&destination)),
            None => (text(header.source()), text(header.destination())),
        };
        let (source_at, destination_at) = address_offsets(header);
        row(f, source_at, "source", &source)?;
        row(f, destination_at, "destination", &destination)
    }

    /// LOCAL and UNSPEC may carry bytes that are neither addresses nor TLVs.
    fn skipped(&self, f: &mut fmt::Formatter<'_>, header: &Header) -> fmt::Result {
        let from = V2_FIXED_LEN + header.addresses().family().block_len();
        let to = match header.tlvs(self.input).next() {
            Some(Ok(tlv)) => tlv.offset(),
            Some(Err(error)) => error.offset(),
            None => header.len(),
        };
        match to.saturating_sub(from) {
            0 => Ok(()),
            bytes => {
                row(f, Some(from), "skipped", &format!("{}, which say nothing here", count(bytes)))
            }
        }
    }

    fn incomplete(&self, f: &mut fmt::Formatter<'_>, need: usize) -> fmt::Result {
        let len = self.input.len();
        writeln!(
            f,
            "{} of a {} header; at least {} missing",
            count(len),
            self.format_name(),
            if need == 1 { "1 byte is".to_owned() } else { format!("{need} bytes are") }
        )?;
        self.dump(f, len, "the next byte goes here")
    }

    fn refused(&self, f: &mut fmt::Formatter<'_>, error: Error) -> fmt::Result {
        let (kind, at) = (error.kind(), error.offset());
        if self.spp && kind == ErrorKind::NotProxy {
            writeln!(f, "the datagram does not begin with 56 ec")?;
        } else {
            writeln!(f, "{kind}")?;
        }
        let rule = if self.spp {
            "Cloudflare's description of SPP".to_owned()
        } else {
            format!("spec {}", kind.section())
        };
        writeln!(f, "  at byte {at}, {rule} ({})", kind.name())?;
        if let Some(hint) = hint(error, self.input) {
            writeln!(f, "  hint: {hint}")?;
        }
        self.dump(f, at, &format!("byte {at}"))?;
        match self.lenient() {
            Some(header) => {
                writeln!(f, "\nWithout that rule it would say:\n")?;
                self.header(f, &header)
            }
            None => Ok(()),
        }
    }

    fn dump(&self, f: &mut fmt::Formatter<'_>, at: usize, label: &str) -> fmt::Result {
        if self.input.is_empty() {
            return Ok(());
        }
        write!(f, "\n{}", Dump { bytes: self.input, at, label })
    }

    /// Reads a refused v2 header by the fewest rules: a broken checksum or TLV can be looked at.
    fn lenient(&self) -> Option<Header> {
        if self.verdict.format != Some(Format::V2) {
            return None;
        }
        let mut decoder = Decoder::new(Options::new().crc32c(Crc32cPolicy::Ignore));
        match decoder.decode(self.input) {
            Ok(Decoded::Header(header)) => Some(header),
            Ok(Decoded::Need(_) | Decoded::Absent) | Err(_) => None,
        }
    }
}

const fn command_meaning(command: Command) -> &'static str {
    match command {
        Command::Proxy => "PROXY: the connection is relayed for a client",
        Command::Local => "LOCAL: the sender speaks for itself; use the connection's own addresses",
        Command::Unknown => "UNKNOWN: the client is not known; use the connection's own addresses",
    }
}

fn row(f: &mut fmt::Formatter<'_>, at: Option<usize>, name: &str, value: &str) -> fmt::Result {
    let at = at.map_or(String::new(), |at| at.to_string());
    writeln!(f, "{at:>5}  {name:<12} {value}")
}

fn text(addr: Option<SocketAddr>) -> String {
    addr.map_or("none".to_owned(), |addr| addr.to_string())
}

fn unix_name(addr: &UnixAddr<'_>) -> String {
    match addr {
        UnixAddr::Unnamed => "unix: (no name)".to_owned(),
        UnixAddr::Path(path) => format!("unix: {}", tlvs::quoted(path)),
        UnixAddr::Abstract(name) => {
            format!("unix-abstract: {} {}", hex::format(name), tlvs::quoted(name))
        }
    }
}

fn count(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}
