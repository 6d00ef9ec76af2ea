//! What every contender is told to do in a case, whatever its own language for it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ppload::Header;

use super::backend::BODY;
use super::reconcile::Driven;
use crate::ports;

/// What arrives at the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A PROXY header in front of each connection, which is required.
    Header,
    /// Plain bytes.
    Plain,
}

impl Inbound {
    /// What stands in front of a connection.
    pub(super) fn header(self) -> Header {
        match self {
            Self::Header => Header::V2,
            Self::Plain => Header::None,
        }
    }
}

/// How payload is moved, where a contender has a choice that its default does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    /// The default.
    Usual,
    /// Inside the kernel, always.
    Spliced,
}

/// The job of the proxy in a case. What it sends is always a v2 header, v1 from nginx (as Debian
/// ships it, it knows no other).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) inbound: Inbound,
    pub(super) transfer: Transfer,
}

/// Writes a configuration into `dir` and returns its path as text.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> Result<String> {
    let file = dir.join(name);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    file.into_os_string().into_string().ok().context("the temporary directory is UTF-8")
}

/// How long a page may take.
const PAGE_WAIT: Duration = Duration::from_secs(5);

/// Fetches a page of a status port.
pub(super) fn fetch(port: u16, path: &str) -> Result<String> {
    get(port, Header::None, path).context("asking for the counts")
}

/// Asks nginx for its page once, through the proxy, and looks at all of the answer: wrk looks at no
/// more than the status of any.
pub(super) fn probe(port: u16, inbound: Inbound) -> Result<Driven> {
    let page = get(port, inbound.header(), "/").context("one exchange to look at")?;
    match page.split_once("\r\n\r\n") {
        Some((_, BODY)) => Ok(Driven { connections: 1, exchanges: 1, ..Driven::default() }),
        _ => bail!("the answer that came through the proxy is not the backend's: {page:?}"),
    }
}

/// An answer to its end, head included.
fn get(port: u16, header: Header, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(ports::addr(port))?;
    stream.set_read_timeout(Some(PAGE_WAIT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(&[header.bytes(), request.as_bytes()].concat())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("the answer is {:?}", text.lines().next().unwrap_or_default());
    }
    Ok(text)
}

/// Connections of nginx's stub_status that were accepted and then dropped for want of a slot.
pub(super) fn read_dropped(page: &str) -> Option<u64> {
    let (accepted, handled, _) = stub_counts(page)?;
    accepted.checked_sub(handled)
}

/// Reads nginx's stub_status: connections accepted and requests read, of all its ports, those that
/// asked for the counts left out (this is the `asked`th time).
pub(super) fn read_stub_status(page: &str, asked: u64) -> Option<(u64, u64)> {
    let (accepted, _, requests) = stub_counts(page)?;
    Some((accepted.checked_sub(asked)?, requests.checked_sub(asked)?))
}

/// Accepted, handled, requests.
fn stub_counts(page: &str) -> Option<(u64, u64, u64)> {
    let counts = page.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1)?;
    let mut numbers = counts.split_ascii_whitespace().map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_that_is_not_the_backends_is_an_error() {
        for (inbound, status, body, is_good) in [
            (Inbound::Header, "200 OK", BODY.to_owned(), true),
            (Inbound::Plain, "200 OK", BODY.to_owned(), true),
            (Inbound::Plain, "200 OK", BODY.replace('a', "b"), false),
            (Inbound::Plain, "200 OK", BODY[1..].to_owned(), false),
            (Inbound::Plain, "502 Bad Gateway", BODY.to_owned(), false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"close\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.extend(byte);
                }
                write!(stream, "HTTP/1.1 {status}\r\nX: y\r\n\r\n{body}").unwrap();
                asked
            });
            assert_eq!(probe(port, inbound).is_ok(), is_good, "{status}");
            let asked = server.join().unwrap();
            assert!(asked.starts_with(&[inbound.header().bytes(), b"GET / "].concat()));
        }
    }

    #[test]
    fn stub_status_is_read_without_those_who_ask() {
        let page = "HTTP/1.1 200 OK\r\n\r\nActive connections: 1 \nserver accepts handled \
                    requests\n 105 103 307 \nReading: 0 Writing: 1 Waiting: 0 \n";
        assert_eq!(read_stub_status(page, 5), Some((100, 302)));
        assert_eq!(read_dropped(page), Some(2));
        assert_eq!(read_stub_status("HTTP/1.1 200 OK\r\n\r\n", 1), None);
    }
}
