//! `probe`: what does this server take? Speaks to it in every way, and says what came of each.
//!
//! `way` what is said, `exchange` one connection, `verdict` what follows, `report` how it is told.
//! Invariant: nothing is sent but headers and the data that stands in the help or was given.

mod exchange;
mod report;
mod verdict;
mod way;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use self::exchange::{Attempt, Kind, Outcome, Target, Until};
use self::report::{Answer, Probed};
use self::verdict::Verdict;
use self::way::{DATAGRAMS, Pair, STREAM, Way};
use crate::cli::{Exit, Failure, answer, hex};
use crate::config::Endpoint;
use crate::core::addr::Addr;

/// What is said unless something else is to be: most servers of streams answer it, if only with an error.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
/// The same over UDP: the address of localhost, which a DNS server knows by itself (RFC 6761).
const QUESTION: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";

/// How much longer than the others is listened to one who may speak by himself, at most.
const LISTEN: Duration = Duration::from_secs(1);
/// Of an answer among many, and of the one that is asked for.
const FIRST_BYTES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of a name; a pool has no more of one either that anybody wants to wait for here.
const ADDRESSES_MAX: usize = 8;

const HELP: &str = "\
Connects in every way at once: without a word, without a header, with v1, v2, LOCAL, v2 in two pieces, v2 with a wrong
checksum; --udp: v2 in each of two datagrams, in the first of them, SPP. Behind each goes the data: `GET / HTTP/1.0`,
or over UDP a question of DNS, unless --data says something else. The headers tell this host's own addresses unless
--src and --dst say others. A name is probed at each of its addresses. It judges by whether headers are answered as
nothing is; a server may log what it refuses.

Examples:
  ppserver probe web.internal:8080
  ppserver probe unix:/run/web.sock
  ppserver probe --udp 192.0.2.53:53
  ppserver probe 127.0.0.1:6379 --data $'PING\\r\\n'
  ppserver probe web:8080 --send v2 --src 203.0.113.7:51820 --dst 192.0.2.1:443

Exit codes:
  0  it takes v1 or v2; --udp: v2 or SPP; --send: it answers. Of several addresses: each
  1  it does not, or cannot be reached
  2  wrong arguments";

/// Asks a server which PROXY headers it takes
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The server: an address, a name, or a UNIX socket
    #[arg(value_name = "HOST:PORT|unix:PATH")]
    target: Endpoint,
    /// It is a server of datagrams
    #[arg(long)]
    udp: bool,
    /// Send this once instead, and print all of the answer
    #[arg(long, value_name = "HEADER")]
    send: Option<Header>,
    /// The client's address in the header
    #[arg(long, value_name = "ADDR", requires = "dst")]
    src: Option<SocketAddr>,
    /// The address that the client connected to
    #[arg(long, value_name = "ADDR", requires = "src")]
    dst: Option<SocketAddr>,
    /// What goes behind the header: text, or `hex:` and bytes
    #[arg(long, value_name = "TEXT")]
    data: Option<Data>,
    /// How long a connect and each answer may take
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = timeout)]
    timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--send` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Header {
    /// No header
    Off,
    V1,
    V2,
    /// LOCAL of v2
    Local,
    /// Cloudflare's, over UDP
    Spp,
}

#[derive(Clone, Debug)]
struct Data(Vec<u8>);

impl std::str::FromStr for Data {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("hex:") {
            Some(text) => hex::parse(text.as_bytes()).map(Self).map_err(|error| error.to_string()),
            None => Ok(Self(text.as_bytes().to_vec())),
        }
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(1)..=Duration::from_secs(3600);
    if range.contains(&timeout) { Ok(timeout) } else { Err("1ms at least, and 1h at most".into()) }
}

impl Args {
    fn kind(&self) -> Kind {
        if self.udp { Kind::Datagrams } else { Kind::Stream }
    }

    fn target(&self, addr: Addr) -> Target<'_> {
        let unless_given = if self.udp { QUESTION } else { REQUEST };
        Target {
            addr,
            kind: self.kind(),
            pair: self.src.zip(self.dst).map(|(src, dst)| Pair { src, dst }),
            data: self.data.as_ref().map_or(unless_given, |data| &data.0),
            timeout: self.timeout,
            answer_bytes_max: if self.send.is_some() { ANSWER_BYTES_MAX } else { FIRST_BYTES_MAX },
        }
    }

    fn way(&self, header: Header) -> Result<Way, Failure> {
        match (header, self.udp) {
            (Header::Off, _) => Ok(Way::Plain),
            (Header::V1, false) => Ok(Way::V1),
            (Header::V1, true) => {
                Err(Failure::usage("v1 cannot say UDP: drop --udp, or --send v2"))
            }
            (Header::V2, _) => Ok(Way::V2),
            (Header::Local, _) => Ok(Way::Local),
            (Header::Spp, true) => Ok(Way::Spp),
            (Header::Spp, false) => Err(Failure::usage("SPP is a header of datagrams: add --udp")),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let way = args.send.map(|header| args.way(header)).transpose()?;
    let addrs = addresses(&args.target)?;
    if args.udp && addrs.iter().any(|addr| addr.inet().is_none()) {
        return Err(Failure::usage("a UNIX socket takes no UDP: drop --udp"));
    }
    let takes = match way {
        Some(way) => exchange_once(args, way, &addrs)?,
        None => probe(args, &addrs)?,
    };
    Ok(if takes { Exit::Ok } else { Exit::Failed }.into())
}

/// What a name stands for.
fn addresses(target: &Endpoint) -> Result<Vec<Addr>, Failure> {
    let found = match target {
        Endpoint::Addr(addr) => return Ok(vec![*addr]),
        Endpoint::Name { host, port } => (host.as_str(), *port).to_socket_addrs(),
        Endpoint::Srv(_) | Endpoint::File(_) => unreachable!("no text reads as one"),
    };
    let unknown = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("no address of {target}: {why}"))
    };
    let mut addrs: Vec<Addr> = Vec::new();
    for addr in found.map_err(|error| unknown(&error))? {
        if !addrs.contains(&addr.into()) {
            addrs.push(addr.into());
        }
    }
    addrs.truncate(ADDRESSES_MAX);
    if addrs.is_empty() { Err(unknown(&"the name has none")) } else { Ok(addrs) }
}

fn unreached(addr: &Addr, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("no connection to {addr}: {error}"))
}

/// One exchange with the first address that can be reached. Returns whether it was answered.
fn exchange_once(args: &Args, way: Way, addrs: &[Addr]) -> Result<bool, Failure> {
    let mut last = None;
    for addr in addrs {
        let attempt = exchange::speak(args.target(*addr), way, Until::End);
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => {
                last = Some(unreached(addr, &error));
                continue;
            }
        };
        let addr = addr.to_string();
        let told = if args.json {
            object(&Answer::of_exchange(&args.target.to_string(), args.kind(), addr, &attempt))?
        } else {
            report::exchanged(&attempt, args.kind(), &addr)
        };
        answer(told.as_bytes())?;
        return Ok(matches!(attempt.outcome, Outcome::Answered(_)));
    }
    Err(last.expect("there is an address"))
}

/// Every way with every address. Returns whether each takes headers.
fn probe(args: &Args, addrs: &[Addr]) -> Result<bool, Failure> {
    let endpoint = args.target.to_string();
    let mut all = Vec::new();
    for addr in addrs {
        let attempts = attempts(args.target(*addr)).map_err(|error| unreached(addr, &error))?;
        let verdict = Verdict::of(&attempts);
        let probed = Probed { address: addr.to_string(), kind: args.kind(), attempts, verdict };
        if !args.json {
            answer(report::text(&probed, &endpoint).as_bytes())?;
        }
        all.push(probed);
    }
    let takes = all.iter().all(|probed| probed.verdict.takes_any());
    if args.json {
        answer(object(&Answer::new(&endpoint, takes, &all))?.as_bytes())?;
    }
    Ok(takes)
}

/// Speaks in every way at once, so that it takes no longer than the slowest.
fn attempts(target: Target<'_>) -> io::Result<Vec<Attempt>> {
    let speak = |way| exchange::speak(target, way, Until::FirstBytes);
    if target.kind == Kind::Datagrams {
        return at_once(&DATAGRAMS, speak);
    }
    let are_over = AtomicBool::new(false);
    let longer = LISTEN.min(target.timeout);
    let (listened, spoken) = thread::scope(|scope| {
        let listened = scope.spawn(|| exchange::listen(target, &are_over, longer));
        let spoken = at_once(&STREAM, speak);
        are_over.store(true, Ordering::Release);
        (listened.join().expect("it does not panic"), spoken)
    });
    let mut attempts = vec![listened?];
    attempts.extend(spoken?);
    Ok(attempts)
}

fn at_once(
    ways: &[Way],
    speak: impl Fn(Way) -> io::Result<Attempt> + Sync,
) -> io::Result<Vec<Attempt>> {
    let speak = &speak;
    thread::scope(|scope| {
        let spoken: Vec<_> = ways.iter().map(|way| scope.spawn(move || speak(*way))).collect();
        spoken.into_iter().map(|attempt| attempt.join().expect("it does not panic")).collect()
    })
}

fn object(answer: &Answer) -> Result<String, Failure> {
    let text = serde_json::to_string(answer);
    text.map(|text| text + "\n").map_err(|error| Failure::new(Exit::Failed, error))
}
