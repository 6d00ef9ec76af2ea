//! The access log: one JSON object a line for each closed connection.
//!
//! Workers format and hand over; one thread writes. A worker never waits: when the writer cannot
//! keep up, lines are dropped and counted. Invariant: a line holds nothing a peer wrote: names come
//! from the configuration, addresses are printed from their parsed form, and the rest is numbers;
//! serde_json escapes what is left.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, channel, sync_channel,
};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;

use crate::config::{Output, Probes};
use crate::core::intent::Purpose;
use crate::telemetry::timestamp::Timestamp;

/// Lines that may wait for the writer; beyond it they are dropped.
const LINES_MAX: usize = 8192;

/// What is known of a closed connection.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The client: the carried address, or the peer if none was carried.
    pub client: SocketAddr,
    /// The socket's peer.
    pub peer: SocketAddr,
    /// The upstream's name.
    pub upstream: &'a str,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// Payload bytes from the client that went upstream.
    pub bytes_in: u64,
    /// Payload bytes that went to the client.
    pub bytes_out: u64,
    /// From accept to close, in milliseconds, without the time in which the process stood still.
    pub duration_ms: u128,
    /// The close reason.
    pub end: &'static str,
}

impl Record<'_> {
    /// Returns the line, its end included. `unix_time` is that of the close.
    pub fn to_line(&self, unix_time: Duration) -> String {
        let time = Timestamp::of(unix_time);
        let mut line = serde_json::to_string(&Line { time, record: self }).expect("plain values");
        line.push('\n');
        line
    }
}

#[derive(Serialize)]
struct Line<'a> {
    /// That of the close.
    time: Timestamp,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

/// What a worker writes through.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: SyncSender<String>,
    probes: Probes,
}

/// An output that is open.
pub struct Opened {
    output: Output,
    sink: Box<dyn Write + Send>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.output).finish()
    }
}

/// Opens an output. Blocks where a file does: a FIFO waits for its reader.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(output: &Output) -> io::Result<Opened> {
    Ok(Opened { output: output.clone(), sink: sink(output, 0)? })
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    output: Output,
    lines: SyncSender<String>,
    /// The output is to be opened anew.
    is_reopening: Arc<AtomicBool>,
    ending: Ending,
}

impl Writer {
    /// Starts to write, until it is [retired](Self::retire) and the last handle is gone. What the output
    /// refuses is counted in `lost`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(opened: Opened, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let Opened { output, sink: first } = opened;
        let (lines, waiting) = sync_channel(LINES_MAX);
        let (alive, ended) = channel::<()>();
        let is_reopening = Arc::<AtomicBool>::default();
        let (is_due, again) = (Arc::clone(&is_reopening), output.clone());
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            // Does not wait for a reader: lines would be lost meanwhile.
            let reopen = || {
                let is_due = is_due.swap(false, Ordering::Relaxed);
                is_due.then(|| sink(&again, libc::O_NONBLOCK))
            };
            write_lines(&waiting, first, reopen, &lost);
            drop(alive);
        })?;
        Ok(Self { output, lines, is_reopening, ending: Ending(ended) })
    }

    /// Returns what a worker writes through.
    pub fn handle(&self, probes: Probes) -> AccessLog {
        AccessLog { lines: self.lines.clone(), probes }
    }

    /// Where it writes to.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Has a file opened anew: somebody may have renamed it.
    pub fn reopen(&self) {
        self.is_reopening.store(true, Ordering::Relaxed);
        // No bytes, only to wake it: where this does not fit, lines do.
        let _ = self.lines.try_send(String::new());
    }

    /// Leaves it to those who have handles.
    #[must_use]
    pub fn retire(self) -> Ending {
        self.ending
    }
}

/// The end of a writer, which is yet to come.
#[derive(Debug)]
pub struct Ending(Receiver<()>);

impl Ending {
    /// Whether it has not come yet.
    pub fn is_due(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Empty))
    }

    /// Waits for it, for `span` at most; says whether it came.
    pub fn wait(&self, span: Duration) -> bool {
        matches!(self.0.recv_timeout(span), Err(RecvTimeoutError::Disconnected))
    }
}

impl AccessLog {
    /// Hands a line over; `false` means it was dropped. `unix_time` is that of the close.
    pub fn write(&self, record: &Record<'_>, purpose: Purpose, unix_time: Duration) -> bool {
        if purpose == Purpose::HealthCheck && self.probes == Probes::Counted {
            return true;
        }
        self.lines.try_send(record.to_line(unix_time)).is_ok()
    }
}

/// Opens with flags beside the usual ones, which hold for opening alone: 0, or O_NONBLOCK.
fn sink(output: &Output, flags: libc::c_int) -> io::Result<Box<dyn Write + Send>> {
    Ok(match output {
        Output::Stdout => Box::new(io::stdout()),
        Output::Stderr => Box::new(io::stderr()),
        Output::File(path) => {
            let file = File::options().create(true).append(true).custom_flags(flags).open(path)?;
            rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
            Box::new(file)
        }
    })
}

/// Writes until nobody can send a line any more.
fn write_lines<W: Write>(
    waiting: &Receiver<String>,
    output: W,
    reopen: impl Fn() -> Option<io::Result<W>>,
    lost: &AtomicU64,
) {
    let buffered = |output| io::BufWriter::with_capacity(64 * 1024, output);
    let mut output = buffered(output);
    let mut is_broken = false;
    while let Ok(line) = waiting.recv() {
        match reopen() {
            Some(Ok(opened)) => {
                let old = std::mem::replace(&mut output, buffered(opened));
                lost.fetch_add(lines_left(old), Ordering::Relaxed);
            }
            Some(Err(error)) => tracing::error!(%error, "the access log stays as it was"),
            None => {}
        }
        for line in std::iter::once(line).chain(waiting.try_iter()) {
            if output.write_all(line.as_bytes()).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        // What it does not write now it tries again next time.
        let flushed = output.flush();
        if let (Err(error), false) = (&flushed, is_broken) {
            tracing::error!(%error, "the access log cannot be written; lines wait or are lost");
        }
        is_broken = flushed.is_err();
    }
    lost.fetch_add(lines_left(output), Ordering::Relaxed);
}

/// Tries a last time to write what is buffered, and returns how many lines are lost.
fn lines_left(mut output: io::BufWriter<impl Write>) -> u64 {
    // What fails is still in the buffer.
    let _ = output.flush();
    let (_, left) = output.into_parts();
    let ends = left.unwrap_or_default().into_iter().filter(|byte| *byte == b'\n');
    u64::try_from(ends.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::close_reason::CloseReason;

    #[test]
    fn a_line_is_one_json_object_whatever_the_names_hold() {
        let addr = "[2001:db8::1]:1".parse().unwrap();
        let record = Record {
            listener: "a\"b\n",
            client: addr,
            peer: addr,
            upstream: "web",
            endpoint: None,
            bytes_in: 1,
            bytes_out: 2,
            duration_ms: 3,
            end: CloseReason::Done.name(),
        };
        let (lines, waiting) = sync_channel(1);
        let log = AccessLog { lines, probes: Probes::Counted };
        assert!(log.write(&record, Purpose::Service, Duration::from_millis(1_500)));
        assert!(!log.write(&record, Purpose::Service, Duration::ZERO), "full: dropped");
        let line = waiting.recv().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["listener"], "a\"b\n");
        assert_eq!(value["client"], "[2001:db8::1]:1");
        assert_eq!(value["time"], "1970-01-01T00:00:01.500Z");
    }

    /// Refuses so many writes, and takes the others.
    struct Disk<'a> {
        refusals: usize,
        written: &'a mut Vec<u8>,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(left) = self.refusals.checked_sub(1) {
                self.refusals = left;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_the_output_refuses_are_written_later_or_counted() {
        // One of them fits into the buffer, and no second one does.
        let long = "x".repeat(40 * 1024) + "\n";
        let all = [&long, &long, &long, "end\n"];
        // Both others are refused, and the buffer once.
        for (refusals, expected, expected_lost) in
            [(0, all.concat(), 0), (3, long.clone() + "end\n", 2), (usize::MAX, String::new(), 4)]
        {
            let (lines, waiting) = sync_channel(all.len());
            all.into_iter().for_each(|line| lines.send(line.to_owned()).unwrap());
            drop(lines);
            let (lost, mut written) = (AtomicU64::new(0), Vec::new());
            write_lines(&waiting, Disk { refusals, written: &mut written }, || None, &lost);
            assert!(written == expected.into_bytes(), "{refusals} refusals");
            assert_eq!(lost.into_inner(), expected_lost, "{refusals} refusals");
        }
    }

    #[test]
    fn probes_get_no_line_unless_asked_for() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let record = Record {
            listener: "edge",
            client: addr,
            peer: addr,
            upstream: "web",
            endpoint: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0,
            end: CloseReason::Probe.name(),
        };
        let (lines, waiting) = sync_channel(2);
        let mut log = AccessLog { lines, probes: Probes::Counted };
        log.write(&record, Purpose::HealthCheck, Duration::ZERO);
        assert!(waiting.try_recv().is_err());
        log.probes = Probes::Logged;
        log.write(&record, Purpose::HealthCheck, Duration::ZERO);
        assert!(waiting.try_recv().is_ok());
    }
}
