//! The upstream of a soak: it does what the client's first bytes tell it to, and checks every byte.
//!
//! One thread a connection: there are a few dozen at a time. Invariant: a fault is noted before the
//! connection ends, so that the client, which sees the end, comes after it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ppload::{Found, Pattern, find_header};
use socket2::SockRef;

use super::faults::Faults;
use super::order::{COMPLETE, ORDER_BYTES, Order, Script};
use super::stream::{
    PATIENCE, expect_fin, expect_reset, is_reset, read_pattern, read_slowly, size, write_pattern,
};
use crate::host;

/// Starts it on a free port; it ends with the process.
///
/// # Errors
/// When no port is to be had.
pub(super) fn start(pattern: &Arc<Pattern>, faults: &Arc<Faults>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("an upstream's port")?;
    let addr = listener.local_addr()?;
    let (pattern, faults) = (Arc::clone(pattern), Arc::clone(faults));
    thread::spawn(move || serve_all(&listener, &pattern, &faults));
    Ok(addr)
}

/// Serves each connection by a thread of its own, until the port is closed.
pub(super) fn serve_all(listener: &TcpListener, pattern: &Arc<Pattern>, faults: &Arc<Faults>) {
    for stream in listener.incoming() {
        let (pattern, faults) = (Arc::clone(pattern), Arc::clone(faults));
        match stream {
            Ok(stream) => drop(thread::spawn(move || serve(&stream, &pattern, &faults))),
            // shutdown(2) of a listening socket.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(error) => faults.note("upstream's accept", &error),
        }
    }
}

fn serve(stream: &TcpStream, pattern: &Pattern, faults: &Faults) {
    let taken = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| take_order(stream));
    let (order, done) = match taken {
        Ok(Some(order)) => (Some(order), follow(stream, order, pattern)),
        Ok(None) => return,
        Err(error) => (None, Err(error)),
    };
    match done {
        Ok(()) => {}
        // Clients reset on purpose, and each knows itself whether it did.
        Err(error) if is_reset(&error) => {}
        Err(error) => faults.note(&format!("upstream, {order:?}"), &error),
    }
}

fn follow(stream: &TcpStream, order: Order, pattern: &Pattern) -> io::Result<()> {
    let (up, down) = (order.up, order.down);
    match order.script {
        Script::Exchange | Script::SlowExchange => {
            let read = || {
                if order.script == Script::SlowExchange {
                    return read_slowly(stream, pattern, up, order.stall);
                }
                host::pause(order.stall);
                read_pattern(stream, pattern, 0, up)
            };
            thread::scope(|scope| {
                let sent = scope.spawn(|| write_pattern(stream, pattern, 0, down, u64::MAX));
                let read = read().and_then(|()| expect_fin(stream));
                sent.join().expect("the writer does not panic").and(read)
            })?;
            let mut to = stream;
            to.write_all(COMPLETE)?;
            stream.shutdown(Shutdown::Write)
        }
        Script::EndFirst => {
            write_pattern(stream, pattern, 0, down, u64::MAX)?;
            stream.shutdown(Shutdown::Write)?;
            read_pattern(stream, pattern, 0, up).and_then(|()| expect_fin(stream))
        }
        Script::Reset => {
            write_pattern(stream, pattern, 0, down, u64::MAX)?;
            read_pattern(stream, pattern, 0, up)?;
            SockRef::from(stream).set_linger(Some(Duration::ZERO))
        }
        Script::Silence => expect_reset(stream),
    }
}

/// Reads a header of ours and the order behind it. There is none where nobody says a word: that was a connect which finds
/// out whether an ejected endpoint is back; a client who is lost so notices himself.
fn take_order(stream: &TcpStream) -> io::Result<Option<Order>> {
    let mut bytes = Vec::new();
    loop {
        let missing = match find_header(&bytes) {
            Found::Bad => return Err(io::Error::other("no header of ours stands first")),
            Found::Incomplete => 1,
            Found::At(end, ()) => match bytes[end..].first_chunk::<ORDER_BYTES>() {
                Some(order) => {
                    let order = Order::parse(order).map(Some);
                    return order.ok_or_else(|| io::Error::other("no order follows"));
                }
                None => end + ORDER_BYTES - bytes.len(),
            },
        };
        if stream.take(size(missing)).read_to_end(&mut bytes)? == 0 {
            let is_trial = bytes.is_empty();
            return if is_trial { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    }
}
