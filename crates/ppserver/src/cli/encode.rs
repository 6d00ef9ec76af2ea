//! `encode`: writes a header, for tests and for pipes.
//!
//! It writes good headers only: `decode` accepts them, unless a CRC32C TLV given by hand is wrong.
//! Invariant: binary never reaches a terminal.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;

use ppcore::encode::{EncodeError, Encoder, v1};
use ppcore::tlv::{self, Tlvs};
use ppcore::{Addresses, Transport, V2_LEN_MAX};

use crate::cli::{Exit, Failure, answer, hex};
use crate::config::{LoggedTlv, parse_tlv_type};

const HELP: &str = "\
Addresses: 192.0.2.1:443, [2001:db8::1]:443, unix:/path, unix: (no name), unix-abstract:HEX. \
IPv4 beside IPv6 is written as v4-mapped IPv6; v4-mapped pairs are written as IPv4.

TLVs by name: alpn, authority, unique_id, netns and aws_vpc_endpoint_id take text, \
gcp_psc_connection_id and azure_link_id a number. Any other is its type and the value's bytes in hex.

Examples:
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --v1
  ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --tlv alpn=h2 --tlv 0xE1=01ff \
    --ssl TLSv1.3 --ssl-cn alice --crc32c --hex
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
    /// Add a TLV, as alpn=h2 or TYPE=HEX; may be repeated. TYPE is decimal or 0x.., HEX may be empty
    #[arg(long, value_name = "NAME=VALUE")]
    tlv: Vec<TlvArg>,
    /// Add an SSL TLV behind them: the client speaks TLS of this version, such as TLSv1.3
    #[arg(long, value_name = "VERSION", value_parser = tls_version)]
    ssl: Option<String>,
    /// In the SSL TLV, the client gave a certificate with this common name
    #[arg(long, value_name = "NAME", requires = "ssl")]
    ssl_cn: Option<String>,
    /// In the SSL TLV, what verifying the certificate came to: 0 is good [default: 0 with --ssl-cn, else 1]
    #[arg(long, value_name = "N", requires = "ssl")]
    ssl_verify: Option<u32>,
    /// Add a CRC32C TLV behind the others
    #[arg(long)]
    crc32c: bool,
    /// Write hex text and a newline instead of bytes
    #[arg(long)]
    hex: bool,
}

/// The version's name is US-ASCII (spec 2.2.6).
fn tls_version(text: &str) -> Result<String, &'static str> {
    if text.is_ascii() { Ok(text.to_owned()) } else { Err("not US-ASCII") }
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
    let tlvs =
        [(!args.tlv.is_empty(), "--tlv"), (args.ssl.is_some(), "--ssl"), (args.crc32c, "--crc32c")];
    for (is_given, flag) in tlvs {
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
        if let Some(version) = &args.ssl {
            encoder = args.ssl(encoder, version);
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
    fn ssl<'a>(&self, encoder: Encoder<'a>, version: &str) -> Encoder<'a> {
        let version = (tlv::SSL_VERSION, version.as_bytes());
        let verify = |default| self.ssl_verify.unwrap_or(default);
        match &self.ssl_cn {
            Some(name) => {
                let client = tlv::CLIENT_SSL | tlv::CLIENT_CERT_CONN | tlv::CLIENT_CERT_SESS;
                encoder.ssl(client, verify(0), &[version, (tlv::SSL_CN, name.as_bytes())])
            }
            None => encoder.ssl(tlv::CLIENT_SSL, verify(1), &[version]),
        }
    }

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
        let (name, value) = text.split_once('=').ok_or(
            "expected NAME=VALUE or TYPE=HEX, such as alpn=h2, 0xEA=01ff or, for no value, 4=",
        )?;
        match LoggedTlv::of_name(name) {
            Some(LoggedTlv::Type(kind)) => Self::named(kind, value),
            Some(LoggedTlv::InSsl(_)) => {
                Err(format!("`{name}` stands inside an SSL TLV: --ssl and --ssl-cn write one"))
            }
            None => {
                let kind = parse_tlv_type(name).ok_or_else(|| unknown(name))?;
                let value = hex::parse(value.as_bytes())
                    .map_err(|error| format!("in the value, {error}"))?;
                Ok(Self { kind, value })
            }
        }
    }
}

impl TlvArg {
    /// Takes a value in the form that the access log shows it in.
    fn named(kind: u8, value: &str) -> Result<Self, String> {
        let number = |error| format!("in the value, {error}");
        // Behind the subtype that is known, as ppcore reads it.
        let value = match kind {
            tlv::GCP => value.parse::<u64>().map_err(number)?.to_be_bytes().to_vec(),
            tlv::AWS => [&[1], value.as_bytes()].concat(),
            tlv::AZURE => [&[1], &value.parse::<u32>().map_err(number)?.to_le_bytes()[..]].concat(),
            _ => value.as_bytes().to_vec(),
        };
        let len = u16::try_from(value.len()).map_err(|_| "the value is too long".to_owned())?;
        let framed = [&[kind][..], &len.to_be_bytes(), &value].concat();
        for tlv in Tlvs::new(&framed, 0).flatten() {
            tlv.view().map_err(|error| error.to_string())?;
        }
        Ok(Self { kind, value })
    }
}

fn unknown(name: &str) -> String {
    let names = LoggedTlv::names().filter(|name| {
        LoggedTlv::of_name(name).is_some_and(|tlv| matches!(tlv, LoggedTlv::Type(_)))
    });
    let names: Vec<&str> = names.collect();
    format!("the type must be 0..255, 0x00..0xff or one of {}, and is `{name}`", names.join(", "))
}
