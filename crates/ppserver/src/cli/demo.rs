//! `demo`: the main job on loopback, in one process.
//!
//! A whoami upstream answers what it was told of its client; the proxy stands in front of it, takes
//! PROXY headers and sends v2. Nothing is pretended: it is the server of `run`, and the upstream
//! decodes its header with `ppcore`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use ppcore::{Collector, Decoded, Header, Options};

use crate::cli::{Exit, Failure, answer};
use crate::config::{Config, Flags, Log, LogFormat, LogLevel, Version, Versions};
use crate::control::error::ServerError;
use crate::control::limits;
use crate::control::prepare::{Source, WaitForNames};
use crate::control::process::Server;
use crate::telemetry::log;

/// The port that is tried first.
const PORT: u16 = 8080;
/// The longest request head that is read.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// The longest response that is read.
const RESPONSE_BYTES_MAX: u64 = 16 * 1024;
/// How long the upstream waits for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Who the demo says it is: a client from far away (RFC 5737), and what it connected to.
const CLIENT: &str = "203.0.113.7 192.0.2.1 51820 443";
/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Shows everything on loopback in one process: an upstream, the proxy, and lines to paste
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Listen at this port; without it at 8080, or another one if that is taken
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut server = Server::new()?;
    let failed = |error: io::Error| Failure::new(Exit::Failed, error);
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let whoami = upstream.local_addr().map_err(failed)?;
    std::thread::Builder::new()
        .name("whoami".to_owned())
        .spawn(move || accept(&upstream))
        .map_err(failed)?;
    let served = serve(&mut server, args.port, whoami);
    log::finish();
    served?;
    Ok(Exit::Ok.into())
}

fn serve(server: &mut Server, port: Option<u16>, whoami: SocketAddr) -> Result<(), Failure> {
    let running = match server.start(source(port.unwrap_or(PORT), whoami)?, WaitForNames::Briefly) {
        Err(ServerError::Bind { .. }) if port.is_none() => {
            server.start(source(0, whoami)?, WaitForNames::Briefly)
        }
        started => started,
    }?;
    // Told to end while it started.
    let Some(running) = running else { return Ok(()) };
    let proxy = running.bound().first().copied().unwrap_or(whoami);
    answer(banner(proxy, whoami).as_bytes())?;
    answer(shown(proxy).as_bytes())?;
    answer(LINES_BELOW.replace("PORT", &proxy.port().to_string()).as_bytes())?;
    server.serve(running)?;
    answer(b"\nThe demo is over: its connections have ended, and its ports are closed.\n")
}

/// Does what the demo is about, and says what came of it.
fn shown(proxy: SocketAddr) -> String {
    let request = format!("GET / HTTP/1.0\r\nHost: {proxy}\r\n\r\n");
    match ask(proxy, &request) {
        Ok(response) => {
            let body = response.split_once("\r\n\r\n").map_or(&*response, |(_, body)| body);
            let body: String = body.lines().map(|line| format!("  {line}\n")).collect();
            let (up, down) = (request.len(), response.len());
            format!(
                "{body}\nppserver took the header off, sent a v2 header of its own to the upstream, and relayed \
                 {up} bytes\nof request and {down} bytes of response.\n"
            )
        }
        Err(error) => format!("  no answer: {error}\n"),
    }
}

/// Connects as a load balancer would for [`CLIENT`], and returns what comes back.
fn ask(proxy: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&proxy, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(format!("PROXY TCP4 {CLIENT}\r\n{request}").as_bytes())?;
    let mut response = String::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_string(&mut response)?;
    Ok(response)
}

fn source(port: u16, whoami: SocketAddr) -> Result<Source, Failure> {
    let flags = Flags {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()],
        to: vec![whoami.to_string()],
        accept: Some(Versions::Both),
        trust: Some("127.0.0.0/8".to_owned()),
        send: Some(Version::V2),
        ..Flags::default()
    };
    let mut loaded = Config::from_flags(flags, limits::host())
        .map_err(|report| Failure::report(&report, Exit::Usage))?;
    // A person reads it.
    loaded.config.log = Log { level: LogLevel::Warn, format: LogFormat::Text };
    Ok(Source::Flags(Box::new(loaded)))
}

fn banner(proxy: SocketAddr, whoami: SocketAddr) -> String {
    let port = proxy.port();
    format!(
        "curl --haproxy-protocol http://127.0.0.1:{port}/

Paste that line into another terminal: curl sends a PROXY v1 header with its own address, as a load
balancer would, and the answer shows which client the upstream was told.

  curl, nc, ...  --PROXY v1 or v2-->  ppserver {proxy}  --PROXY v2-->  whoami {whoami}

The demo connects once itself, as a load balancer does for a client from far away, 203.0.113.7. The upstream answers:

"
    )
}

/// What can be pasted besides.
const LINES_BELOW: &str = "
The same by hand:
printf 'PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\\r\\nGET / HTTP/1.0\\r\\n\\r\\n' \\
  | curl -s telnet://127.0.0.1:PORT

A client that sends no header is refused, and the log says why:
curl http://127.0.0.1:PORT/

Ctrl-C ends the demo.
";

/// Serves each connection on a thread of its own: a demo has few.
fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let served = std::thread::Builder::new().spawn(move || {
            if let Err(error) = whoami(stream) {
                tracing::warn!(%error, "whoami");
            }
        });
        if let Err(error) = served {
            tracing::warn!(%error, "whoami cannot start a thread");
        }
    }
}

fn whoami(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let header = read_header(&mut stream)?;
    let mut head = BufReader::new((&stream).take(HEAD_BYTES_MAX));
    let mut request = String::new();
    head.read_line(&mut request)?;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = describe(&header, stream.peer_addr()?, &request);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads exactly the header: what follows is left in the socket.
fn read_header(stream: &mut TcpStream) -> io::Result<Header> {
    let mut collector = Collector::<4096>::new(Options::new());
    let mut chunk = Vec::new();
    loop {
        let collected = collector.push(&chunk).map_err(io::Error::other)?;
        match collected.decoded {
            Decoded::Header(header) => return Ok(header),
            Decoded::Need(count) => chunk.resize(count.min(4096), 0),
            Decoded::Absent => return Err(io::Error::other("no header")),
        }
        stream.read_exact(&mut chunk)?;
    }
}

fn describe(header: &Header, peer: SocketAddr, request: &str) -> String {
    let show =
        |addr: Option<SocketAddr>| addr.map_or("not told".to_owned(), |addr| addr.to_string());
    format!(
        "client:       {}\ndestination:  {}\ntold by:      {peer} (the proxy), {:?} {:?}\nrequest:      {}\n",
        show(header.source()),
        show(header.destination()),
        header.version(),
        header.command(),
        request.trim_end().escape_debug(),
    )
}
