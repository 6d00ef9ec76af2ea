//! Sending and checking payload, and telling the ends of a connection apart.
//!
//! Invariant: bytes that are lost or wrong are an error of the kind `InvalidData`, whichever side
//! finds it, and nothing else is; a reset is none.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ppload::{Check, Pattern};

use crate::host;

/// How long a session waits for anything: far beyond every timeout of the server.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const BUFFER: usize = 64 * 1024;
/// Between two looks of a slow reader.
const STEP: Duration = Duration::from_millis(100);

/// Sends `len` bytes of the pattern, from its position `at` on.
pub(super) fn write_pattern(
    mut to: impl Write,
    pattern: &Pattern,
    at: u64,
    len: u64,
    chunk_max: u64,
) -> io::Result<()> {
    let end = at + len;
    let mut at = at;
    while at < end {
        let piece = pattern.piece(at, (end - at).min(chunk_max));
        to.write_all(piece)?;
        at += size(piece.len());
    }
    Ok(())
}

/// Receives `len` bytes and compares them with the pattern from its position `at` on.
pub(super) fn read_pattern(
    mut from: impl Read,
    pattern: &Pattern,
    at: u64,
    len: u64,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let end = at + len;
    let mut at = at;
    while at < end {
        let room = usize::try_from(end - at).map_or(BUFFER, |left| left.min(BUFFER));
        let count = from.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(lost("a FIN came before the last byte"));
        }
        if !pattern.matches(at, &buffer[..count], Check::Full) {
            return Err(lost(&format!("a wrong byte in {count} from {at}")));
        }
        at += size(count);
    }
    Ok(())
}

/// Receives `len` bytes as [`read_pattern`] does, a little at a time, over a span: never for long
/// without having read some more.
pub(super) fn read_slowly(
    stream: &TcpStream,
    pattern: &Pattern,
    len: u64,
    span: Duration,
) -> io::Result<()> {
    let steps = u64::try_from(span.as_nanos() / STEP.as_nanos()).unwrap_or(u64::MAX).max(1);
    for step in 0..steps {
        let (from, to) = (len * step / steps, len * (step + 1) / steps);
        read_pattern(stream, pattern, from, to - from)?;
        host::pause(STEP);
    }
    Ok(())
}

/// Receives exactly these bytes.
pub(super) fn expect_bytes(mut from: impl Read, expected: &[u8]) -> io::Result<()> {
    let mut came = vec![0; expected.len()];
    match from.read_exact(&mut came) {
        Ok(()) if came == expected => Ok(()),
        Ok(()) => Err(lost(&format!("{:?} came for {:?}", text(&came), text(expected)))),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(lost(&format!("a FIN came before {:?}", text(expected))))
        }
        Err(error) => Err(error),
    }
}

/// Receives the FIN, and nothing before it.
pub(super) fn expect_fin(mut from: impl Read) -> io::Result<()> {
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(lost("bytes came behind the last")),
    }
}

/// Waits for the reset; what else the socket says is wrong.
pub(super) fn expect_reset(mut stream: &TcpStream) -> io::Result<()> {
    match stream.read(&mut [0]) {
        Err(error) if is_reset(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(0) => Err(io::Error::other("a FIN came where a reset is due")),
        Ok(_) => Err(io::Error::other("bytes came where a reset is due")),
    }
}

/// Whether the socket was reset; shutdown(2) says of one that was that it is not connected.
pub(super) fn is_reset(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionReset | BrokenPipe | NotConnected)
}

/// Whether bytes were lost or wrong.
pub(super) fn is_loss(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidData
}

pub(super) fn lost(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

pub(super) fn size(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_byte_a_wrong_byte_and_an_early_end_are_losses() {
        let pattern = Pattern::new();
        let mut sent = Vec::new();
        write_pattern(&mut sent, &pattern, 5, 100_000, 999).unwrap();
        read_pattern(sent.as_slice(), &pattern, 5, 100_000).unwrap();
        let is_loss =
            |bytes: &[u8]| is_loss(&read_pattern(bytes, &pattern, 5, 100_000).unwrap_err());
        assert!(is_loss(&sent[..99_999]));
        assert!(is_loss(&sent[1..]));
        sent[70_000] ^= 1;
        assert!(is_loss(&sent));
    }
}
