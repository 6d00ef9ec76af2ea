//! `decode`: what a header says, for a human or for a script.
//!
//! Reads the input whole, or as a [`capture`] of many, lets `ppcore` judge it, and hands the verdict to
//! [`report`] (JSON) or to [`text`]. It has no opinion of its own on what is valid.

mod capture;
mod dump;
mod packets;
mod pasted;
mod report;
mod segment;
mod stream;
mod text;
mod tlvs;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ppcore::{
    Addresses, Crc32cPolicy, Decoded, Decoder, Error, ErrorKind, Header, Options, TlvFraming,
    V1Families, Version, decode_datagram, spp,
};
use pptrust::{Lookalike, looks_like};

use self::pasted::Pasted;
use self::report::Report;
use crate::cli::{Exit, Failure, answer};
pub(super) use dump::Dump;

/// The most input that is read: a header takes 64 KiB, 3 or 4 times that as hex text, and a capture
/// longer than this is not about its header.
const INPUT_BYTES_MAX: u64 = 16 << 20;

const HELP: &str = "\
The input begins with the header; what stands behind it is payload. v1 and v2 are told apart by \
their first byte. Without options CRC32C is verified when present, broken TLV framing is reported \
but does not refuse the header, and a v2 header may have any length.

--hex takes words of hex digits (0d0a, 0d:0a, 0x0d, \\x0d) and what xxd, hexdump -C, od -t x1 and Wireshark \
print. What tcpdump -X prints are packets, as --pcap takes them from a file of tcpdump -w or dumpcap: in them \
ports say nothing, and every opener of a TCP connection and every sender of UDP datagrams is told of.

Examples:
  ppserver decode header.bin
  echo 50524f585920554e4b4e4f574e0d0a | ppserver decode --hex
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 | ppserver decode --json
  tcpdump -i any -w - tcp port 8080 | ppserver decode --pcap     # live
  head -c 20 header.bin | ppserver decode --eof     # what a server says when the peer leaves here

Exit codes:
  0  a good header, or nothing but good ones in a capture
  1  an error, or not a PROXY protocol header
  2  no answer: wrong arguments, bad hex text, FILE or stdin cannot be read, or stdout not written
  3  incomplete: good so far";

/// Explains a PROXY protocol header: every field, every TLV, the byte where it goes wrong
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The input is hex text, or a dump of hex text with offsets and characters
    #[arg(long)]
    hex: bool,
    /// The input is a capture, pcap or pcapng: tell of each flow in it
    #[arg(long, conflicts_with_all = ["hex", "eof", "datagram", "spp", "chunk"])]
    pcap: bool,
    /// Print one JSON object instead of text; of a capture one for each flow, a line each
    #[arg(long)]
    json: bool,
    /// Treat a CRC32C TLV as any other, do not verify it
    #[arg(long)]
    no_verify_crc: bool,
    /// Refuse a header whose TLVs are framed badly
    #[arg(long)]
    strict_tlv: bool,
    /// Take a v1 line whose addresses are of two families, as nginx writes one behind set_real_ip_from
    #[arg(long)]
    mixed_v1: bool,
    /// Refuse a v2 length field above N bytes
    #[arg(long, value_name = "N", default_value_t = u16::MAX)]
    max_v2_len: u16,
    /// The peer has closed behind these bytes: never incomplete
    #[arg(long)]
    eof: bool,
    /// The input is one UDP datagram: never incomplete, never cut
    #[arg(long)]
    datagram: bool,
    /// Expect Cloudflare's Simple Proxy Protocol; implies --datagram
    #[arg(long)]
    spp: bool,
    /// Feed the decoder N bytes at a time: the answer must not differ
    #[arg(long, value_name = "N", value_parser = chunk_len)]
    chunk: Option<NonZeroUsize>,
    /// Where the bytes are; stdin when absent or `-`
    file: Option<PathBuf>,
}

fn chunk_len(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "not a number of bytes, 1 or more")
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let name = args.path().map_or("stdin".into(), |path| format!("{path:?}"));
    if args.pcap {
        return capture::run(args, &name, open(args, &name)?);
    }
    let mut input = Vec::new();
    open(args, &name)?.take(INPUT_BYTES_MAX + 1).read_to_end(&mut input).map_err(cannot(&name))?;
    if u64::try_from(input.len()).is_ok_and(|len| len > INPUT_BYTES_MAX) {
        let most = INPUT_BYTES_MAX >> 20;
        return Err(cannot(&name)(io::Error::other(format!("more than {most} MiB; cut it first"))));
    }
    if args.hex {
        let pasted = pasted::read(&input);
        match pasted.map_err(|error| Failure::usage(format!("{name} is no hex text: {error}")))? {
            Pasted::Packets(packets) => return capture::run_printed(args, &packets),
            Pasted::Bytes(bytes) => input = bytes,
        }
    }
    let verdict = judge(args, args.arrival(), &input);
    let output = if args.json {
        report::line(&Report::new(&verdict, &input))
    } else {
        text::Explanation { verdict: &verdict, input: &input, spp: args.spp }.to_string()
    };
    answer(output.as_bytes())?;
    Ok(verdict.exit().into())
}

/// Returns the text for an input, as `ppserver decode` prints it.
#[cfg(fuzzing)]
pub fn explain(input: &[u8]) -> String {
    let verdict = judge(&defaults(false), Arrival::Open, input);
    text::Explanation { verdict: &verdict, input, spp: false }.to_string()
}

/// Returns what `ppserver decode --pcap` prints, as text and as JSON.
#[cfg(fuzzing)]
pub fn explain_capture(input: &[u8]) -> [String; 2] {
    [false, true].map(|json| capture::explain(&defaults(json), input))
}

#[cfg(fuzzing)]
fn defaults(json: bool) -> Args {
    Args {
        hex: false,
        pcap: false,
        json,
        no_verify_crc: false,
        strict_tlv: false,
        mixed_v1: false,
        max_v2_len: u16::MAX,
        eof: false,
        datagram: false,
        spp: false,
        chunk: None,
        file: None,
    }
}

/// Returns the bytes that `ppserver decode --hex` reads in a text, those of all packets in a row.
#[cfg(fuzzing)]
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    match pasted::read(text).ok()? {
        Pasted::Bytes(bytes) => Some(bytes),
        Pasted::Packets(packets) => Some(packets.concat()),
    }
}

/// Returns a sender's bytes as they are quoted in that text.
#[cfg(fuzzing)]
pub fn quote(value: &[u8]) -> String {
    tlvs::quoted(value)
}

/// The formats a header may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    V1,
    V2,
    Spp,
}

/// How the bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// More may follow.
    Open,
    /// None will.
    Ended,
    Datagram,
    /// In a datagram of the Simple Proxy Protocol.
    Spp,
}

/// The decoder's answer to the whole input.
#[derive(Debug)]
struct Verdict {
    /// What the sender has committed to, if it has.
    format: Option<Format>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Header(Header),
    Spp(Addresses),
    /// At least this many bytes are missing.
    Need(usize),
    Refused(Error),
}

impl Verdict {
    fn exit(&self) -> Exit {
        match self.outcome {
            Outcome::Header(_) | Outcome::Spp(_) => Exit::Ok,
            Outcome::Need(_) => Exit::Incomplete,
            Outcome::Refused(_) => Exit::Failed,
        }
    }
}

fn judge(args: &Args, arrival: Arrival, input: &[u8]) -> Verdict {
    if arrival == Arrival::Spp {
        let format = input.starts_with(&spp::MAGIC).then_some(Format::Spp);
        return Verdict {
            format,
            outcome: spp::decode(input).map_or_else(Outcome::Refused, Outcome::Spp),
        };
    }
    let options = args.options();
    let mut decoder = Decoder::new(options);
    let fed = feed(&mut decoder, input, args.chunk);
    let decided = match arrival {
        Arrival::Open => fed,
        Arrival::Ended => decoder.finish(input),
        Arrival::Datagram | Arrival::Spp => decode_datagram(options, input),
    };
    let format = decoder.version(input).map(|version| match version {
        Version::V1 => Format::V1,
        Version::V2 => Format::V2,
    });
    let outcome = match decided {
        Ok(Decoded::Header(header)) => Outcome::Header(header),
        Ok(Decoded::Need(need)) => Outcome::Need(need),
        Ok(Decoded::Absent) => unreachable!("a header is required: `options` leaves that as it is"),
        Err(error) => Outcome::Refused(error),
    };
    Verdict { format, outcome }
}

/// Shows a decoder ever more of the input, until it has decided or seen all.
fn feed(
    decoder: &mut Decoder,
    input: &[u8],
    chunk: Option<NonZeroUsize>,
) -> Result<Decoded, Error> {
    let step = chunk.map_or(input.len(), NonZeroUsize::get);
    let mut end: usize = 0;
    loop {
        end = input.len().min(end.saturating_add(step));
        let decided = decoder.decode(&input[..end]);
        if end == input.len() || !matches!(decided, Ok(Decoded::Need(_))) {
            return decided;
        }
    }
}

impl Args {
    fn options(&self) -> Options {
        let crc32c = if self.no_verify_crc { Crc32cPolicy::Ignore } else { Crc32cPolicy::Verify };
        let framing = if self.strict_tlv { TlvFraming::Strict } else { TlvFraming::Lazy };
        let families = if self.mixed_v1 { V1Families::Mixed } else { V1Families::Strict };
        Options::new()
            .v1_families(families)
            .v2_len_max(self.max_v2_len)
            .crc32c(crc32c)
            .tlv_framing(framing)
    }

    fn arrival(&self) -> Arrival {
        if self.spp {
            Arrival::Spp
        } else if self.datagram {
            Arrival::Datagram
        } else if self.eof {
            Arrival::Ended
        } else {
            Arrival::Open
        }
    }

    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| path.as_os_str() != "-")
    }
}

fn cannot(name: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::usage(format!("cannot read {name}: {error}"))
}

fn open(args: &Args, name: &str) -> Result<Box<dyn Read + Send>, Failure> {
    if let Some(path) = args.path() {
        return Ok(Box::new(File::open(path).map_err(cannot(name))?));
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let what = match (args.hex, args.pcap) {
            (true, _) => "hex text",
            (false, true) => "a capture",
            (false, false) => "raw bytes (--hex takes hex text)",
        };
        writeln!(io::stderr(), "reading {what} from the terminal: end with Enter and Ctrl-D")
            .map_err(cannot(name))?;
    }
    Ok(Box::new(stdin))
}

/// Says what the input looks like if it is no header or a bad one, and what to do about it.
fn hint(error: Error, input: &[u8]) -> Option<String> {
    let is_absent = error.kind() == ErrorKind::NotProxy;
    let is_hex_text = input.len() > 1
        && input.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace());
    if is_absent && is_hex_text {
        return Some("it looks like hex text: try --hex".to_owned());
    }
    if is_absent && packets::is_capture(input) {
        return Some("it looks like a capture: try --pcap".to_owned());
    }
    let like = looks_like(input)?;
    let is_mixed = like == Lookalike::MixedLine;
    let advice = match is_absent {
        true if like == Lookalike::Spp => "try --spp",
        true if is_mixed || like == Lookalike::Header => "drop --spp",
        true => "the sender sends no header",
        false if is_mixed && error.kind() == ErrorKind::V1BadDestinationAddress => {
            "nginx writes one behind set_real_ip_from; --mixed-v1 takes it"
        }
        false => return None,
    };
    Some(format!("it looks like {like}: {advice}"))
}
