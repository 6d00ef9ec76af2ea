//! `decode`: what a header says, for a human or for a script.
//!
//! Reads the input whole, lets `ppcore` judge it, and hands the verdict to [`report`] (JSON) or to
//! [`text`]. It has no opinion of its own on what is valid.

mod dump;
mod report;
mod text;
mod tlvs;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ppcore::{
    Addresses, Crc32cPolicy, Decoded, Decoder, Error, ErrorKind, Header, Options, TlvFraming,
    Version, decode_datagram, spp,
};
use pptrust::{Lookalike, looks_like};

use crate::cli::{Exit, Failure, answer, hex};
pub(super) use dump::Dump;

/// The most input that is read: a header takes 64 KiB, 3 or 4 times that as hex text, and a capture
/// longer than this is not about its header.
const INPUT_BYTES_MAX: u64 = 16 << 20;

const HELP: &str = "\
The input begins with the header; what stands behind it is payload. v1 and v2 are told apart by
their first byte. Without options CRC32C is verified when present, broken TLV framing is reported
but does not refuse the header, and a v2 header may have any length.

Examples:
  ppserver decode capture.bin
  echo 50524f585920554e4b4e4f574e0d0a | ppserver decode --hex
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 | ppserver decode --json
  head -c 20 capture.bin | ppserver decode --eof     # what a server says when the peer leaves here

Exit codes:
  0  a good header
  1  an error, or not a PROXY protocol header
  2  no answer: wrong arguments, bad hex text, FILE or stdin cannot be read, or stdout not written
  3  incomplete: good so far";

/// Explains a PROXY protocol header: every field, every TLV, the byte where it goes wrong
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The input is hex text: white space, `0x` and either case are fine
    #[arg(long)]
    hex: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Treat a CRC32C TLV as any other, do not verify it
    #[arg(long)]
    no_verify_crc: bool,
    /// Refuse a header whose TLVs are framed badly
    #[arg(long)]
    strict_tlv: bool,
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
    let input = read_input(args)?;
    let verdict = judge(args, &input);
    let output = if args.json {
        report::json(&verdict, &input)
    } else {
        text::Explanation { verdict: &verdict, input: &input, spp: args.spp }.to_string()
    };
    answer(output.as_bytes())?;
    let exit = match verdict.outcome {
        Outcome::Header(_) | Outcome::Spp(_) => Exit::Ok,
        Outcome::Need(_) => Exit::Incomplete,
        Outcome::Refused(_) => Exit::Failed,
    };
    Ok(exit.into())
}

/// Returns the text for an input, as `ppserver decode` prints it.
#[cfg(fuzzing)]
pub fn explain(input: &[u8]) -> String {
    let args = Args {
        hex: false,
        json: false,
        no_verify_crc: false,
        strict_tlv: false,
        max_v2_len: u16::MAX,
        eof: false,
        datagram: false,
        spp: false,
        chunk: None,
        file: None,
    };
    let verdict = judge(&args, input);
    text::Explanation { verdict: &verdict, input, spp: false }.to_string()
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

fn judge(args: &Args, input: &[u8]) -> Verdict {
    if args.spp {
        let format = input.starts_with(&spp::MAGIC).then_some(Format::Spp);
        return Verdict {
            format,
            outcome: spp::decode(input).map_or_else(Outcome::Refused, Outcome::Spp),
        };
    }
    let options = args.options();
    let mut decoder = Decoder::new(options);
    let fed = feed(&mut decoder, input, args.chunk);
    let decided = if args.datagram {
        decode_datagram(options, input)
    } else if args.eof {
        decoder.finish(input)
    } else {
        fed
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
        Options::new().v2_len_max(self.max_v2_len).crc32c(crc32c).tlv_framing(framing)
    }

    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| path.as_os_str() != "-")
    }
}

fn read_input(args: &Args) -> Result<Vec<u8>, Failure> {
    let name = args.path().map_or("stdin".into(), |path| format!("{path:?}"));
    let cannot = |error| Failure::usage(format!("cannot read {name}: {error}"));
    let bytes = match args.path() {
        Some(path) => File::open(path).and_then(read_limited),
        None => read_stdin(args),
    };
    let bytes = bytes.map_err(cannot)?;
    if !args.hex {
        return Ok(bytes);
    }
    hex::parse(&bytes).map_err(|error| Failure::usage(format!("{name} is no hex text: {error}")))
}

fn read_stdin(args: &Args) -> io::Result<Vec<u8>> {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        let what = if args.hex { "hex text" } else { "raw bytes (--hex takes hex text)" };
        writeln!(io::stderr(), "reading {what} from the terminal: end with Enter and Ctrl-D")?;
    }
    read_limited(stdin)
}

fn read_limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= INPUT_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("more than {} MiB; cut it first", INPUT_BYTES_MAX >> 20)))
    }
}

/// Says what the input looks like if it is no header or a bad one, and what to do about it.
fn hint(error: Error, input: &[u8]) -> Option<String> {
    let is_absent = error.kind() == ErrorKind::NotProxy;
    let is_hex_text = input.len() > 1
        && input.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace());
    if is_absent && is_hex_text {
        return Some("it looks like hex text: try --hex".to_owned());
    }
    let like = looks_like(input)?;
    let advice = match is_absent {
        true if like == Lookalike::Spp => "try --spp",
        true if matches!(like, Lookalike::Header | Lookalike::MixedLine) => "drop --spp",
        true => "the sender sends no header",
        false if like == Lookalike::MixedLine => "nginx writes one behind set_real_ip_from",
        false => return None,
    };
    Some(format!("it looks like {like}: {advice}"))
}
