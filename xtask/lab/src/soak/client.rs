//! The clients of a soak: one session each, from its connect to its end.
//!
//! Invariant: a session is right only when everything it was to see has come: every byte, and the
//! end that its kind has, a FIN or a reset.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use ppload::{Header, Pattern};
use socket2::{Domain, SockRef, Socket, Type};

use super::order::{COMPLETE, Order, Script};
use super::plan::{Kind, Plan, Rng};
use super::stream::{
    PATIENCE, expect_bytes, expect_fin, expect_reset, is_reset, read_pattern, read_slowly,
    write_pattern,
};
use crate::host;

/// What the server's file trusts, and what it does not.
const TRUSTED: Ipv4Addr = Ipv4Addr::LOCALHOST;
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What a slow reader's kernel takes ahead of it: little, so that the rest waits in the proxy's.
const SLOW_BUFFER: usize = 16 * 1024;
/// So much fits any socket's buffer: it is sent before anything is read.
const AT_ONCE_MAX: u64 = 16 * 1024;

/// Headers that break a rule, each with the rest of what its sender would say.
const MALFORMED: [&[u8]; 8] = [
    b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 65536\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.01 51820 443\r\n",
    b"PROXY TCP6 203.0.113.7 192.0.2.1 51820 443\r\n",
    b"PROXY TCP4 203.0.113.7  192.0.2.1 51820 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\n\n",
    // Version 3; a family that is none; addresses that do not fit their length.
    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0C\xCB\x00\x71\x07\xC0\x00\x02\x01\xCA\x6C\x01\xBB",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x41\x00\x0C\xCB\x00\x71\x07\xC0\x00\x02\x01\xCA\x6C\x01\xBB",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\xCB\x00\x71\x07",
];

/// Where the server's listeners are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Relays to the upstream that follows orders.
    pub(super) edge: SocketAddr,
    /// Relays to a port where nobody listens.
    pub(super) dead: SocketAddr,
    /// Relays to an endpoint that comes and goes, or else to the upstream that follows orders.
    pub(super) flapping: SocketAddr,
}

/// Runs one session.
///
/// # Errors
/// Whatever should not have happened; see [`is_loss`](super::stream::is_loss).
pub(super) fn run(plan: &Plan, ports: Ports, pattern: &Pattern) -> io::Result<()> {
    let mut rng = plan.rng;
    let header = if rng.below(2) == 0 { Header::V1 } else { Header::V2 }.bytes();
    let edge = || connect(TRUSTED, ports.edge);
    match plan.kind {
        Kind::Exchange
        | Kind::Bulk
        | Kind::UpstreamEndsFirst
        | Kind::AllAtOnce
        | Kind::SlowHeader
        | Kind::SlowReader
        | Kind::Urgent => converse(&edge()?, header, plan, pattern),
        Kind::SlowTransfer => {
            let stream = edge()?;
            SockRef::from(&stream).set_recv_buffer_size(SLOW_BUFFER)?;
            slow_transfer(&stream, header, plan, pattern)
        }
        Kind::Flapping => {
            through_flapping(&connect(TRUSTED, ports.flapping)?, header, plan, pattern)
        }
        Kind::ClientResets => {
            let stream = edge()?;
            send_order(&stream, header, &order(plan, Script::Exchange))?;
            // Somewhere in the middle, or before the first byte of payload.
            let sent = rng.below(plan.up + 1).min(AT_ONCE_MAX);
            write_pattern(&stream, pattern, 0, sent, u64::MAX)?;
            if rng.below(2) == 0 {
                read_pattern(&stream, pattern, 0, rng.below(plan.down + 1))?;
            }
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        }
        Kind::UpstreamResets => upstream_resets(&edge()?, header, plan, pattern),
        Kind::HalfHeader | Kind::Truncated => {
            let stream = edge()?;
            let len = header.len() - 1;
            let cut = usize::try_from(rng.below(super::stream::size(len))).unwrap_or(0) + 1;
            (&stream).write_all(&header[..cut])?;
            if plan.kind == Kind::Truncated {
                match stream.shutdown(Shutdown::Write) {
                    Err(error) if is_reset(&error) => return Ok(()),
                    done => done?,
                }
            }
            expect_reset(&stream)
        }
        Kind::Malformed => {
            let which = usize::try_from(rng.below(8)).unwrap_or(0);
            refused(&edge()?, MALFORMED[which])
        }
        Kind::NoHeader => refused(&edge()?, b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n"),
        Kind::Untrusted => match connect(STRANGER, ports.edge) {
            // The reset can be there before connect(2) returns.
            Err(error) if is_reset(&error) => Ok(()),
            stream => refused(&stream?, header),
        },
        Kind::Probe => edge().map(drop),
        Kind::DeadUpstream => refused(&connect(TRUSTED, ports.dead)?, header),
        Kind::Silence => {
            let stream = edge()?;
            send_order(&stream, header, &order(plan, Script::Silence))?;
            expect_reset(&stream)
        }
    }
}

/// One exchange that nothing disturbs: the one whose time is taken.
///
/// # Errors
/// Whatever should not have happened.
pub(super) fn probe(to: SocketAddr, pattern: &Pattern) -> io::Result<()> {
    let (up, down) = (512, 512);
    let plan = Plan { kind: Kind::Exchange, up, down, stall: Duration::ZERO, rng: Rng::new(0) };
    converse(&connect(TRUSTED, to)?, Header::V2.bytes(), &plan, pattern)
}

/// A conversation that comes to its end.
fn converse(stream: &TcpStream, header: &[u8], plan: &Plan, pattern: &Pattern) -> io::Result<()> {
    let mut rng = plan.rng;
    let ends_first = plan.kind == Kind::UpstreamEndsFirst;
    let script = if ends_first { Script::EndFirst } else { Script::Exchange };
    let (up, down) = (plan.up, plan.down);
    let mut order = order(plan, script);
    let upstream_is_slow = plan.kind == Kind::SlowReader && rng.below(2) == 0;
    if upstream_is_slow {
        order.stall = plan.stall;
    }
    if plan.kind == Kind::AllAtOnce {
        order.up = up.min(AT_ONCE_MAX);
        let payload = pattern.piece(0, order.up);
        let mut to = stream;
        to.write_all(&[header, &order.bytes(), payload].concat())?;
        stream.shutdown(Shutdown::Write)?;
    } else if plan.kind == Kind::SlowHeader {
        dribble(stream, &[header, &order.bytes()].concat(), &mut rng)?;
    } else {
        send_order(stream, header, &order)?;
    }
    let chunk_max = 1 + rng.below(64 * 1024);
    let send = || -> io::Result<()> {
        let before = if plan.kind == Kind::Urgent { up / 2 } else { 0 };
        if plan.kind == Kind::AllAtOnce {
            return Ok(());
        }
        if plan.kind == Kind::Urgent {
            write_pattern(stream, pattern, 0, before, chunk_max)?;
            SockRef::from(stream).send_out_of_band(b"!")?;
        }
        write_pattern(stream, pattern, before, up - before, chunk_max)?;
        stream.shutdown(Shutdown::Write)
    };
    let receive = || -> io::Result<()> {
        if plan.kind == Kind::SlowReader && !upstream_is_slow {
            host::pause(plan.stall);
        }
        read_pattern(stream, pattern, 0, down)?;
        match script {
            Script::Exchange | Script::SlowExchange => expect_bytes(stream, COMPLETE)?,
            Script::EndFirst | Script::Reset | Script::Silence => {}
        }
        expect_fin(stream)
    };
    if up <= AT_ONCE_MAX {
        return send().and_then(|()| receive());
    }
    thread::scope(|scope| {
        let sent = scope.spawn(send);
        let received = receive();
        sent.join().expect("the writer does not panic").and(received)
    })
}

/// A side that reads slowly but reads on gets everything: the upstream, or the client before either
/// FIN, between them, or behind both.
fn slow_transfer(
    stream: &TcpStream,
    header: &[u8],
    plan: &Plan,
    pattern: &Pattern,
) -> io::Result<()> {
    let mut rng = plan.rng;
    let small = plan.up.min(AT_ONCE_MAX);
    let begin = |order: Order| {
        send_order(stream, header, &order)?;
        write_pattern(stream, pattern, 0, order.up, u64::MAX)
    };
    let begin_download = |script| begin(Order { up: small, ..order(plan, script) });
    let read_all = || read_slowly(stream, pattern, plan.down, plan.stall);
    let end = || stream.shutdown(Shutdown::Write);
    match rng.below(4) {
        0 => {
            let slow = order(plan, Script::SlowExchange);
            begin(Order { down: small, stall: plan.stall, ..slow })?;
            end()?;
            read_pattern(stream, pattern, 0, small)?;
            expect_bytes(stream, COMPLETE)?;
            expect_fin(stream)
        }
        1 => {
            begin_download(Script::Exchange)?;
            read_all()?;
            end()?;
            expect_bytes(stream, COMPLETE)?;
            expect_fin(stream)
        }
        2 => {
            begin_download(Script::EndFirst)?;
            read_all()?;
            expect_fin(stream)?;
            end()
        }
        _ => {
            begin_download(Script::EndFirst)?;
            end()?;
            read_all()?;
            expect_fin(stream)
        }
    }
}

/// An exchange through an endpoint that may close its port at any moment. `ConnectionAborted` is a
/// reset before the first byte of the answer.
fn through_flapping(
    stream: &TcpStream,
    header: &[u8],
    plan: &Plan,
    pattern: &Pattern,
) -> io::Result<()> {
    let [up, down] = [plan.up, plan.down + 1].map(|len| len.min(AT_ONCE_MAX));
    let order = Order { up, down, ..order(plan, Script::Exchange) };
    let payload = pattern.piece(0, up);
    let mut to = stream;
    let begun = to
        .write_all(&[header, &order.bytes(), payload].concat())
        .and_then(|()| read_pattern(stream, pattern, 0, 1));
    begun.map_err(|error| match is_reset(&error) {
        true => io::Error::new(ErrorKind::ConnectionAborted, "a reset before the first byte"),
        false => error,
    })?;
    read_pattern(stream, pattern, 1, down - 1)?;
    stream.shutdown(Shutdown::Write)?;
    expect_bytes(stream, COMPLETE)?;
    expect_fin(stream)
}

/// The upstream resets once it has the client's payload, before or behind the last byte of its own.
fn upstream_resets(
    stream: &TcpStream,
    header: &[u8],
    plan: &Plan,
    pattern: &Pattern,
) -> io::Result<()> {
    let mut rng = plan.rng;
    let order = Order { up: 1, ..order(plan, Script::Reset) };
    send_order(stream, header, &order)?;
    if rng.below(2) == 0 {
        // The client has everything before it lets the upstream go on: nothing may be missing.
        read_pattern(stream, pattern, 0, order.down)?;
        write_pattern(stream, pattern, 0, 1, 1)?;
        return expect_reset(stream);
    }
    write_pattern(stream, pattern, 0, 1, 1)?;
    match read_pattern(stream, pattern, 0, order.down) {
        Ok(()) => expect_reset(stream),
        // The upstream's kernel threw away what it had not sent yet; a FIN in its place, which is
        // a loss, would pass the rest off as the whole.
        Err(error) if is_reset(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends what the server refuses; the reset may come before all is sent.
fn refused(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    match stream.write_all(bytes) {
        Err(error) if is_reset(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => expect_reset(stream),
    }
}

/// Sends a few bytes at a time.
fn dribble(mut stream: &TcpStream, mut bytes: &[u8], rng: &mut Rng) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while !bytes.is_empty() {
        let len = usize::try_from(rng.below(5) + 1).unwrap_or(1).min(bytes.len());
        let (piece, rest) = bytes.split_at(len);
        stream.write_all(piece)?;
        bytes = rest;
        host::pause(Duration::from_millis(rng.below(4)));
    }
    Ok(())
}

fn order(plan: &Plan, script: Script) -> Order {
    Order { script, up: plan.up, down: plan.down, stall: Duration::ZERO }
}

fn send_order(mut stream: &TcpStream, header: &[u8], order: &Order) -> io::Result<()> {
    stream.write_all(&[header, &order.bytes()].concat())
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if from != TRUSTED {
        socket.bind(&SocketAddr::from((IpAddr::V4(from), 0)).into())?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}
