//! What every contender is told to do in a case, whatever its own language for it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::ports;

/// What arrives at the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A PROXY header in front of each connection, which is required.
    Header,
    /// Plain bytes.
    Plain,
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

/// How long a status page may take.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// Fetches a page of a status port.
pub(super) fn fetch(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(ports::addr(port)).context("connecting for the counts")?;
    stream.set_read_timeout(Some(STATUS_WAIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("reading the counts")?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("the counts are not there: {}", text.lines().next().unwrap_or("no answer"));
    }
    Ok(text)
}

/// Reads nginx's stub_status: connections accepted and requests read, of all its ports, those that
/// asked for the counts left out (this is the `asked`th time).
pub(super) fn read_stub_status(page: &str, asked: u64) -> Option<(u64, u64)> {
    let counts = page.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1)?;
    let mut numbers = counts.split_ascii_whitespace().map(str::parse::<u64>);
    let (accepted, _handled, requests) =
        (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((accepted.checked_sub(asked)?, requests.checked_sub(asked)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stub_status_is_read_without_those_who_ask() {
        let page = "HTTP/1.1 200 OK\r\n\r\nActive connections: 1 \nserver accepts handled \
                    requests\n 105 105 307 \nReading: 0 Writing: 1 Waiting: 0 \n";
        assert_eq!(read_stub_status(page, 5), Some((100, 302)));
        assert_eq!(read_stub_status("HTTP/1.1 200 OK\r\n\r\n", 1), None);
    }
}
