//! The command lines of `load` and `sink`, and what they mean.
//!
//! Invariant: whatever the arguments, a run ends: in count, in time and in descriptors; and it
//! reaches nothing but this machine.

use std::net::SocketAddr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args as _, Command, ValueEnum};

use crate::pattern::Check;
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

const LOAD_HELP: &str = "\
Examples, with ppserver between both:
  ppload sink --proxy --listen 127.0.0.1:9000 &
  ppserver run --listen 127.0.0.1:8000 --to 127.0.0.1:9000 --send v2 \\
    --accept v2 --trust 127.0.0.1 &
  ppload load short --to 127.0.0.1:8000 --count 100000
  ppload load short --to 127.0.0.1:8000 --rate 5000 --for 30s    # open loop
  ppload load down --to 127.0.0.1:8000 --connections 4 --bytes 64MiB --json

Latency counts from the moment a request was meant to begin: with --rate a late start does not
hide the wait it caused. Ctrl-C prints what there is; a second one ends at once.

Exit codes: 0 if at least one exchange was completed (the report counts those that failed), else 1;
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
    /// The PROXY header in front of the first request
    #[arg(long, value_name = "VERSION", default_value = "v2")]
    pub(super) proxy: Header,
    /// Send the header in so many pieces of about the same size, one a turn of the loop
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) pieces: u8,
    /// The most connections open at a time
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(super) connections: u32,
    /// Requests (keepalive) or connections (all others but idle) to make [default: what fits into
    /// --for; 16 for bulk]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    pub(super) count: Option<u64>,
    /// Begin nothing after this time; `keepalive` counts it from when all connections stand
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = run_time)]
    pub(super) run_for: Duration,
    /// Open loop: begin this many requests a second, whatever becomes of the earlier ones
    #[arg(long, value_name = "PER-SECOND",
        value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(super) rate: Option<u32>,
    /// The size of bodies: of the answer, in `up` of the request [default: 128, bulk: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) bytes: Option<u64>,
    /// How closely bodies are compared with what belongs there: answers here, uploads by the sink.
    /// Their length always is
    #[arg(long, value_name = "HOW", default_value = "full")]
    pub(super) check: Check,
    /// Give up on a request after this time
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = run_time)]
    pub(super) timeout: Duration,
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
        } else {
            return Ok(());
        };
        let mut command = Self::augment_args(Command::new("ppload load"));
        Err(command.error(ErrorKind::ArgumentConflict, what))
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
        }
    }

    /// How many exchanges to begin at most.
    pub(super) fn count_max(&self) -> u64 {
        match self.case {
            Case::Short | Case::Keepalive => self.count.unwrap_or(COUNT_MAX),
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
        ] {
            let mut args = parse(&words).unwrap();
            assert_eq!(args.validate().is_ok(), short, "short {words:?}");
            args.case = Case::Idle;
            assert_eq!(args.validate().is_ok(), idle, "idle {words:?}");
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
