//! `encode`: writes a header, for tests and for pipes.
//!
//! It writes good headers only: `decode` accepts them, unless a CRC32C TLV given by hand is wrong.
//! Invariant: binary never reaches a terminal.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;

use ppcore::encode::{EncodeError, Encoder, v1};
use ppcore::{Addresses, Transport, V2_LEN_MAX, tlv};

use crate::cli::{Exit, Failure, answer, hex};

const HELP: &str = "\
Addresses: 192.0.2.1:443, [2001:db8::1]:443, unix:/path, unix: (no name), unix-abstract:HEX.
IPv4 beside IPv6 is written as v4-mapped IPv6; v4-mapped pairs are written as IPv4.

Examples:
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --v1
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --tlv 1=6832 --crc32c --hex
  (ppserver encode --local; cat payload.bin) | nc 127.0.0.1 8080

Exit codes:
  0  written
  2  wrong arguments, binary would go to a terminal (take --hex), or stdout cannot be written";

/// Writes a PROXY protocol header to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The client's address
    #[arg(long, value_name = "ADDR")]
    src: Option<Endpoint>,
    /// The address the client connected to
    #[arg(long, value_name = "ADDR")]
    dst: Option<Endpoint>,
    /// Write the text line of version 1
    #[arg(long, conflicts_with = "v2")]
    v1: bool,
    /// Write the binary block of version 2: the default
    #[arg(long)]
    v2: bool,
    /// The sender speaks for itself (v1: UNKNOWN): no addresses are written, also where they are given
    #[arg(long)]
    local: bool,
    /// The addresses are of a datagram socket
    #[arg(long)]
    udp: bool,
    /// Add a TLV; may be repeated. TYPE is decimal or 0x.., HEX may be empty
    #[arg(long, value_name = "TYPE=HEX")]
    tlv: Vec<TlvArg>,
    /// Add a CRC32C TLV behind the others
    #[arg(long)]
    crc32c: bool,
    /// Write hex text and a newline instead of bytes
    #[arg(long)]
    hex: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let header = if args.v1 { line(args)? } else { block(args)? };
    if args.hex {
        answer(format!("{}\n", hex::format(&header)).as_bytes())?;
    } else if !args.v1 && io::stdout().is_terminal() {
        return Err(Failure::usage("stdout is a terminal and the header is binary: use --hex"));
    } else {
        answer(&header)?;
    }
    Ok(Exit::Ok.into())
}

fn line(args: &Args) -> Result<Vec<u8>, Failure> {
    for (is_given, flag) in [(!args.tlv.is_empty(), "--tlv"), (args.crc32c, "--crc32c")] {
        if is_given {
            return Err(Failure::usage(format!("v1 has no TLVs: drop {flag} or --v1")));
        }
    }
    if args.udp {
        return Err(Failure::usage("v1 cannot say UDP: drop --udp or --v1"));
    }
    let addresses = match args.pair()? {
        None => Addresses::None,
        Some(Pair::Ip(addresses)) => addresses,
        Some(Pair::Unix(..)) => {
            return Err(Failure::usage("v1 carries no UNIX addresses: drop --v1, or use --local"));
        }
    };
    filled(ppcore::V1_LEN_MAX, |out| v1(out, &addresses))
}

fn block(args: &Args) -> Result<Vec<u8>, Failure> {
    if args.crc32c && args.tlv.iter().any(|tlv| tlv.kind == tlv::CRC32C) {
        return Err(Failure::usage(
            "a header holds one CRC32C: drop --crc32c or the --tlv of type 3",
        ));
    }
    let pair = args.pair()?;
    filled(V2_LEN_MAX, |out| {
        let mut encoder = match &pair {
            None => Encoder::local(out),
            Some(Pair::Ip(addresses)) if args.udp => Encoder::datagram(out, addresses),
            Some(Pair::Ip(addresses)) => Encoder::stream(out, addresses),
            Some(Pair::Unix(source, destination)) => {
                let transport = if args.udp { Transport::Dgram } else { Transport::Stream };
                Encoder::unix(out, transport, source, destination)
            }
        };
        for tlv in &args.tlv {
            encoder = encoder.tlv(tlv.kind, &tlv.value);
        }
        if args.crc32c { encoder.crc32c().finish() } else { encoder.finish() }
    })
}

fn filled(
    len_max: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<Vec<u8>, Failure> {
    let mut out = vec![0; len_max];
    let len = write(&mut out).map_err(|error| Failure::usage(error.to_string()))?;
    out.truncate(len);
    Ok(out)
}

/// Source and destination in the shape a header carries them.
enum Pair<'a> {
    Ip(Addresses),
    Unix(&'a [u8], &'a [u8]),
}

impl Args {
    /// Returns the addresses to write; `None` for LOCAL.
    fn pair(&self) -> Result<Option<Pair<'_>>, Failure> {
        if self.local {
            return Ok(None);
        }
        match (&self.src, &self.dst) {
            (Some(Endpoint::Ip(src)), Some(Endpoint::Ip(dst))) => {
                Ok(Some(Pair::Ip(Addresses::pair(*src, *dst))))
            }
            (Some(Endpoint::Unix(src)), Some(Endpoint::Unix(dst))) => {
                Ok(Some(Pair::Unix(src, dst)))
            }
            (Some(_), Some(_)) => {
                Err(Failure::usage("--src and --dst must both be IP or both be UNIX addresses"))
            }
            (Some(_), None) => {
                Err(Failure::usage("--dst is missing: give the address connected to"))
            }
            (None, Some(_)) => Err(Failure::usage("--src is missing: give the client's address")),
            (None, None) => {
                Err(Failure::usage("no addresses: give --src and --dst, or --local for none"))
            }
        }
    }
}

/// An address in the notation of `decode`.
#[derive(Clone, Debug)]
enum Endpoint {
    Ip(SocketAddr),
    /// `sun_path` of unix(7).
    Unix(Vec<u8>),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.as_bytes().to_vec()));
        }
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            let name = hex::parse(name.as_bytes()).map_err(|error| error.to_string())?;
            return Ok(Self::Unix([&[0], name.as_slice()].concat()));
        }
        match text.parse() {
            Ok(SocketAddr::V6(addr)) if addr.scope_id() != 0 => {
                Err(format!("a header carries no scope: drop `%{}`", addr.scope_id()))
            }
            Ok(addr) => Ok(Self::Ip(addr)),
            Err(_) => {
                Err("expected IPV4:PORT, [IPV6]:PORT, unix:/PATH or unix-abstract:HEX".into())
            }
        }
    }
}

/// A TLV as `--tlv` takes it.
#[derive(Clone, Debug)]
struct TlvArg {
    kind: u8,
    value: Vec<u8>,
}

impl FromStr for TlvArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, value) = text
            .split_once('=')
            .ok_or("expected TYPE=HEX, such as 0xEA=01ff or, for no value, 4=")?;
        let (digits, radix) = match kind.strip_prefix("0x").or_else(|| kind.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None => (kind, 10),
        };
        // `from_str_radix` alone would take a sign.
        let parsed = Some(digits)
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| u8::from_str_radix(digits, radix).ok());
        let kind = parsed
            .ok_or_else(|| format!("the type must be 0..255 or 0x00..0xff, and is `{kind}`"))?;
        let value =
            hex::parse(value.as_bytes()).map_err(|error| format!("in the value, {error}"))?;
        Ok(Self { kind, value })
    }
}
