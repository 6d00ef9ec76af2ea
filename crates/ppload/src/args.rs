//! The command lines of `load` and `sink`, and what they mean.
//!
//! Invariant: whatever the arguments, a run ends: in count, in time and in descriptors; and it
//! reaches nothing but this machine.

use std::net::SocketAddr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args as _, Command, ValueEnum};

use crate::pattern::Check;
use crate::udp::{Framing, HEADER_BYTES_MAX, Kind, PAYLOAD_BYTES_MIN};
use crate::wire::Header;

/// The longest run.
const FOR_MAX: Duration = Duration::from_secs(3600);
/// The most connections at a time: what a hard descriptor limit of 20,000 leaves room for.
const CONNECTIONS_MAX: i64 = 16_384;
const COUNT_MAX: u64 = 1_000_000_000;
const RATE_MAX: i64 = 200_000;
/// The most bytes of one body.
const BYTES_MAX: u64 = 1 << 40;

const SMALL_BODY: u64 = 128;
const BULK_BODY: u64 = 64 << 20;
const BULK_COUNT: u64 = 16;
const HOLD: Duration = Duration::from_secs(10);
const SMALL_DATAGRAM: u64 = 64;
/// What QUIC sends at least.
const BULK_DATAGRAM: u64 = 1200;
/// The longest payload behind any header that is sent; IPv4 has 65,507 bytes for both (udp(7)).
const DATAGRAM_BYTES_MAX: u64 = 65_507 - HEADER_BYTES_MAX as u64;
const DATAGRAM_BYTES_MIN: u64 = PAYLOAD_BYTES_MIN as u64;
/// Datagrams of one call: what every kernel that has UDP_SEGMENT takes.
const GSO_MAX: i64 = 64;
/// Bytes of one call without headers, which find room below 65,507.
const GSO_BYTES_MAX: u64 = 60_000;
/// Datagrams a second of each flow of a game.
const GAME_RATE: u32 = 60;
const BULK_RATE: u32 = 20_000;

const LOAD_HELP: &str = "\
Examples, with ppserver between both:
  ppload sink --proxy --listen 127.0.0.1:9000 &
  ppserver run --listen 127.0.0.1:8000 --to 127.0.0.1:9000 --send v2 \\
    --accept v2 --trust 127.0.0.1 &
  ppload load short --to 127.0.0.1:8000 --count 100000
  ppload load short --to 127.0.0.1:8000 --rate 5000 --for 30s    # open loop
  ppload load down --to 127.0.0.1:8000 --connections 4 --bytes 64MiB --json

Datagrams, with a listener of protocol = \"udp\" between both:
  ppload sink --udp v2 --listen 127.0.0.1:9000 &
  ppload load udp-game --to 127.0.0.1:8000 --connections 200 --rate 12000
  ppload load udp-bulk --to 127.0.0.1:8000 --rate 50000 --gso 16

Latency counts from the moment a request was meant to begin: with --rate a late start does not
hide the wait it caused. Ctrl-C prints what there is; a second one ends at once.

Exit codes: 0 if at least one exchange was completed, or one datagram answered (sent, in udp-bulk); the
report counts those that failed. Else 1;
2 for wrong arguments.";

/// What the connections of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Connect, send header and request in one write, read the answer to its end, close
    Short,
    /// Requests on connections that stay open; the first on each comes before the clock starts
    Keepalive,
    /// Download --bytes on each connection
    Down,
    /// Upload --bytes on each connection
    Up,
    /// Both at once, --bytes each way
    Both,
    /// Open --connections, exchange one request on each, hold them for --hold
    Idle,
    /// Datagrams of flows that stay, --rate of all together [default: 60 each], each answered
    UdpGame,
    /// Datagrams of flows that stay, --rate of all together [default: 20,000], none answered
    UdpBulk,
    /// Datagrams, each of a new flow: a question and its answer
    UdpDns,
}

impl Case {
    fn datagrams(self) -> Option<Kind> {
        match self {
            Self::UdpGame => Some(Kind::Game),
            Self::UdpBulk => Some(Kind::Bulk),
            Self::UdpDns => Some(Kind::Dns),
            Self::Short | Self::Keepalive | Self::Down | Self::Up | Self::Both | Self::Idle => None,
        }
    }
}

/// What goes in front of connections, or of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Proxy {
    /// No header
    None,
    /// A text line; connections only
    V1,
    /// The binary form; in front of each datagram
    V2,
    /// The same in front of each flow's first datagram
    V2First,
    /// Cloudflare's Simple Proxy Protocol; datagrams only
    Spp,
}

impl Proxy {
    fn of_connections(self) -> Option<Header> {
        match self {
            Self::None => Some(Header::None),
            Self::V1 => Some(Header::V1),
            Self::V2 => Some(Header::V2),
            Self::V2First | Self::Spp => None,
        }
    }

    fn of_datagrams(self) -> Option<Framing> {
        match self {
            Self::None => Some(Framing::None),
            Self::V2 => Some(Framing::V2),
            Self::V2First => Some(Framing::V2First),
            Self::Spp => Some(Framing::Spp),
            Self::V1 => None,
        }
    }
}

/// Put load on a proxy over loopback and report what came of it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = LOAD_HELP)]
pub struct LoadArgs {
    /// What the connections do
    #[arg(value_name = "CASE")]
    pub(super) case: Case,
    /// Where to connect: a loopback address
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(super) to: SocketAddr,
    /// The PROXY header in front of the first request, or of datagrams
    #[arg(long, value_name = "VERSION", default_value = "v2")]
    proxy: Proxy,
    /// Send the header in so many pieces of about the same size, one a turn of the loop
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) pieces: u8,
    /// The most connections open, or flows, at a time
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(super) connections: u32,
    /// Requests (keepalive), datagrams or connections (all others but idle) to make [default: what fits
    /// into --for; 16 for down, up and both]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    pub(super) count: Option<u64>,
    /// Begin nothing after this time; `keepalive` counts it from when all connections stand
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = run_time)]
    pub(super) run_for: Duration,
    /// Open loop: begin this many requests, or send this many datagrams, a second, whatever becomes of the earlier ones
    #[arg(long, value_name = "PER-SECOND",
        value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(super) rate: Option<u32>,
    /// The size of bodies: of the answer, in `up` of the request [default: 128, bulk: 64MiB]; of a datagram
    /// without its header [default: 64, bulk: 1200]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) bytes: Option<u64>,
    /// How closely bodies are compared with what belongs there: answers here, uploads by the sink.
    /// Their length always is
    #[arg(long, value_name = "HOW", default_value = "full")]
    pub(super) check: Check,
    /// Give up on a request after this time
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = run_time)]
    pub(super) timeout: Duration,
    /// Send so many datagrams of `udp-bulk` in one call (UDP_SEGMENT)
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=GSO_MAX))]
    pub(super) gso: u16,
    /// How long `idle` holds its connections [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = run_time)]
    pub(super) hold: Option<Duration>,
    /// Print the report as one JSON object; latencies are in microseconds
    #[arg(long)]
    pub(super) json: bool,
}

impl LoadArgs {
    /// Refuses options that mean nothing for the case.
    ///
    /// # Errors
    /// Which option, as clap says it.
    pub(super) fn validate(&self) -> Result<(), clap::Error> {
        let is_idle = self.case == Case::Idle;
        let what = if is_idle && self.count.is_some() {
            "`idle` opens --connections, and exchanges one request on each: it takes no --count"
        } else if !is_idle && self.hold.is_some() {
            "only `idle` takes --hold"
        } else if self.gso > 1 && self.case != Case::UdpBulk {
            "only `udp-bulk` takes --gso"
        } else if self.datagrams().is_none() {
            match self.proxy.of_connections() {
                Some(_) => return Ok(()),
                None => "--proxy v2-first and spp are of datagrams",
            }
        } else if self.proxy.of_datagrams().is_none() {
            "no datagram has a header of version 1"
        } else if self.pieces > 1 {
            "--pieces is of connections: a datagram comes whole"
        } else if !(DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX).contains(&self.bytes_of_datagram()) {
            "a datagram has at least 44 bytes and at most 65469"
        } else if self.gso > 1 && self.proxy == Proxy::V2First {
            "datagrams of one call have one length: --gso goes with no --proxy v2-first"
        } else if self.gso > 1 && u64::from(self.gso) * self.bytes_of_datagram() > GSO_BYTES_MAX {
            "the datagrams of one call (--gso) have at most 60000 bytes together"
        } else {
            return Ok(());
        };
        let mut command = Self::augment_args(Command::new("ppload load"));
        Err(command.error(ErrorKind::ArgumentConflict, what))
    }

    /// What the flows of a run of datagrams do; `None` for one of connections.
    pub(super) fn datagrams(&self) -> Option<Kind> {
        self.case.datagrams()
    }

    /// What goes in front of connections.
    pub(super) fn header(&self) -> Header {
        self.proxy.of_connections().unwrap_or(Header::None)
    }

    /// What goes in front of datagrams.
    pub(super) fn framing(&self) -> Framing {
        self.proxy.of_datagrams().unwrap_or(Framing::None)
    }

    /// Calls that send, a second, in open loop.
    pub(super) fn rate_of_turns(&self) -> Option<u32> {
        let rate = match self.case {
            Case::UdpGame => Some(self.rate.unwrap_or(GAME_RATE * self.connections)),
            Case::UdpBulk => Some(self.rate.unwrap_or(BULK_RATE)),
            Case::Short
            | Case::Keepalive
            | Case::Down
            | Case::Up
            | Case::Both
            | Case::Idle
            | Case::UdpDns => self.rate,
        };
        rate.map(|rate| (rate / u32::from(self.gso)).max(1))
    }

    /// Bytes of a datagram, without its header.
    pub(super) fn datagram_bytes(&self) -> usize {
        usize::try_from(self.bytes_of_datagram()).expect("a datagram is short")
    }

    fn bytes_of_datagram(&self) -> u64 {
        let default = if self.case == Case::UdpBulk { BULK_DATAGRAM } else { SMALL_DATAGRAM };
        self.bytes.unwrap_or(default)
    }

    /// How long idle connections are held.
    pub(super) fn hold(&self) -> Duration {
        self.hold.unwrap_or(HOLD)
    }

    /// Bytes of the bodies: up, down.
    pub(super) fn bodies(&self) -> (u64, u64) {
        match self.case {
            Case::Short | Case::Keepalive | Case::Idle => (0, self.bytes.unwrap_or(SMALL_BODY)),
            Case::Down => (0, self.bytes.unwrap_or(BULK_BODY)),
            Case::Up => (self.bytes.unwrap_or(BULK_BODY), 0),
            Case::Both => (self.bytes.unwrap_or(BULK_BODY), self.bytes.unwrap_or(BULK_BODY)),
            Case::UdpGame | Case::UdpBulk | Case::UdpDns => (0, 0),
        }
    }

    /// How many exchanges to begin at most.
    pub(super) fn count_max(&self) -> u64 {
        match self.case {
            Case::Short | Case::Keepalive | Case::UdpGame | Case::UdpBulk | Case::UdpDns => {
                self.count.unwrap_or(COUNT_MAX)
            }
            Case::Down | Case::Up | Case::Both => self.count.unwrap_or(BULK_COUNT),
            Case::Idle => self.connections.into(),
        }
    }
}

/// Answer requests, receive and send bulk data: the server behind the proxy under load
///
/// It prints where it listens on stderr, and its counts on stdout when it is stopped. `load` sends a
/// header unless told `--proxy none`: without a proxy between both, that needs `--proxy` here.
#[derive(Clone, Debug, clap::Args)]
pub struct SinkArgs {
    /// Where to listen: a loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub(super) listen: SocketAddr,
    /// Every connection begins with a PROXY header, of either version, which is skipped
    #[arg(long)]
    pub(super) proxy: bool,
    /// Take datagrams in place of connections, behind this header, which must name the client that sent them
    #[arg(long, value_name = "HEADER", conflicts_with_all = ["proxy", "bytes", "connections"])]
    pub(super) udp: Option<Framing>,
    /// Receive datagrams together (UDP_GRO)
    #[arg(long, requires = "udp")]
    pub(super) gro: bool,
    /// Bytes of the answer to a request that names no size
    #[arg(long, value_name = "SIZE", default_value_t = SMALL_BODY, value_parser = size)]
    pub(super) bytes: u64,
    /// The most connections open at a time
    #[arg(long, value_name = "N", default_value_t = 16_384,
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(super) connections: u32,
    /// Stop after this time
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = run_time)]
    pub(super) run_for: Duration,
    /// Print the counts as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A generator of load is a weapon on a network; this one stays on its machine.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = text.parse().map_err(|_| "an address is IP:PORT".to_owned())?;
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err(format!("{} is not a loopback address (127.0.0.0/8, ::1)", addr.ip()))
    }
}

fn run_time(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span.is_zero() || span > FOR_MAX {
        return Err(format!("between 1ns and {}", humantime::format_duration(FOR_MAX)));
    }
    Ok(span)
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => return Err(format!("`{unit}` is none of B, KiB, MiB, GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "a size is a number and a unit".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes <= BYTES_MAX)
        .ok_or_else(|| "at most 1024GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(words: &[&str]) -> Result<LoadArgs, clap::Error> {
        let always = ["load", "short", "--to", "127.0.0.1:1"];
        Line::try_parse_from(always.iter().chain(words)).map(|line| line.load)
    }

    #[test]
    fn only_loopback_addresses_are_taken() {
        for good in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80"] {
            loopback(good).expect(good);
        }
        for bad in ["10.0.0.1:80", "0.0.0.0:80", "[::]:80", "192.0.2.1:80", "localhost:80"] {
            loopback(bad).expect_err(bad);
        }
    }

    #[test]
    fn every_argument_has_its_bounds() {
        for bad in [
            ["--connections", "0"],
            ["--connections", "16385"],
            ["--count", "0"],
            ["--rate", "0"],
            ["--rate", "200001"],
            ["--for", "0s"],
            ["--for", "2h"],
            ["--bytes", "2000GiB"],
            ["--bytes", "1KB"],
            ["--bytes", "-1"],
        ] {
            parse(&bad).expect_err(bad[1]);
        }
        let args = parse(&["--count", "7", "--bytes", "2KiB", "--for", "1h"]).unwrap();
        assert_eq!((args.count_max(), args.bodies()), (7, (0, 2048)));
    }

    #[test]
    fn options_that_mean_nothing_for_a_case_are_refused() {
        for (words, idle, short) in [
            (["--count", "5"], false, true),
            (["--hold", "5s"], true, false),
            (["--check", "ends"], true, true),
            (["--proxy", "spp"], false, false),
            (["--gso", "2"], false, false),
        ] {
            let mut args = parse(&words).unwrap();
            assert_eq!(args.validate().is_ok(), short, "short {words:?}");
            args.case = Case::Idle;
            assert_eq!(args.validate().is_ok(), idle, "idle {words:?}");
        }
    }

    #[test]
    fn options_that_mean_nothing_for_datagrams_are_refused() {
        for (words, is_taken) in [
            (&["--proxy", "spp"][..], true),
            (&["--proxy", "v2-first"], true),
            (&["--proxy", "v1"], false),
            (&["--pieces", "2"], false),
            (&["--hold", "5s"], false),
            (&["--bytes", "44B"], true),
            (&["--bytes", "43B"], false),
            (&["--bytes", "65469B"], true),
            (&["--bytes", "65470B"], false),
            (&["--gso", "50"], true),
            (&["--gso", "51"], false),
            (&["--gso", "2", "--proxy", "v2-first"], false),
        ] {
            let mut args = parse(words).unwrap();
            args.case = Case::UdpBulk;
            assert_eq!(args.validate().is_ok(), is_taken, "{words:?}");
        }
    }

    #[test]
    fn datagrams_have_a_rate_and_those_of_one_call_share_it() {
        for (case, words, rate) in [
            (Case::UdpGame, &["--connections", "200"][..], Some(12_000)),
            (Case::UdpBulk, &["--rate", "50000", "--gso", "10"], Some(5000)),
            (Case::UdpBulk, &["--rate", "1", "--gso", "10"], Some(1)),
            (Case::UdpDns, &[], None),
        ] {
            let mut args = parse(words).unwrap();
            args.case = case;
            assert_eq!(args.rate_of_turns(), rate, "{case:?}");
        }
    }

    #[test]
    fn without_a_count_every_case_is_bounded_still() {
        let mut args = parse(&[]).unwrap();
        for case in Case::value_variants() {
            args.case = *case;
            assert!((1..=COUNT_MAX).contains(&args.count_max()), "{case:?}");
        }
    }
}
