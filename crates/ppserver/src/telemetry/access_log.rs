//! The access log: one JSON object a line for each closed connection.
//!
//! Workers format and hand over; one thread writes. A worker never waits: when the writer cannot
//! keep up, lines are dropped and counted. Invariant: a line holds nothing a peer wrote: names come
//! from the configuration, addresses are printed from their parsed form, and the rest is numbers;
//! serde_json escapes what is left.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use serde::Serialize;

use crate::config::{self, Output, Probes};

/// Lines that may wait for the writer; beyond it they are dropped.
const LINES_MAX: usize = 8192;

/// How long the end of the process waits for the last lines to be written.
const FINISH_MAX: Duration = Duration::from_secs(1);

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
        let time = (unix_time.as_secs_f64() * 1000.0).round() / 1000.0;
        let mut line = serde_json::to_string(&Line { time, record: self }).expect("plain values");
        line.push('\n');
        line
    }
}

#[derive(Serialize)]
struct Line<'a> {
    /// Unix time of the close, in seconds with three decimals.
    time: f64,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

/// What a connection was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve a client.
    Service,
    /// To see whether we live: a bare connect, or a LOCAL header.
    Probe,
}

/// What a worker writes through.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: SyncSender<String>,
    probes: Probes,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    /// Disconnected when it has ended.
    ended: Receiver<()>,
    orders: Arc<Orders>,
    /// Gone with [`finish`](Self::finish): the writer ends when nobody can send any more.
    wake: Option<SyncSender<String>>,
}

/// What passes between the server and the thread that writes, beside the lines.
#[derive(Debug, Default)]
struct Orders {
    /// The output is to be opened anew.
    reopen: AtomicBool,
    /// Lines that the output refused.
    lost: AtomicU64,
}

impl Writer {
    /// Waits until the last line is written, once the workers have gone. A reader that has stopped
    /// reading does not hold the process up: its lines are lost, which the log says.
    pub fn finish(&mut self) {
        self.wake = None;
        if self.ended.recv_timeout(FINISH_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("nobody reads the access log; its last lines are lost");
        }
    }

    /// Returns how many lines the output refused.
    pub fn lines_lost(&self) -> u64 {
        self.orders.lost.load(Ordering::Relaxed)
    }

    /// Has a file opened anew: somebody may have renamed it.
    pub fn reopen(&self) {
        self.orders.reopen.store(true, Ordering::Relaxed);
        // No bytes, only to wake it: where this does not fit, lines do.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(String::new()));
    }
}

impl AccessLog {
    /// Opens the output and starts the writer; it ends when it is finished and the last worker has gone.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread started.
    pub fn start(config: &config::AccessLog) -> io::Result<(Self, Writer)> {
        let output = open(&config.output)?;
        let again = config.output.clone();
        let (lines, waiting) = sync_channel(LINES_MAX);
        let (alive, ended) = channel();
        let orders = Arc::<Orders>::default();
        let wake = Some(lines.clone());
        let writer = Writer { ended, orders: Arc::clone(&orders), wake };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&waiting, output, || open(&again), &orders, alive))?;
        Ok((Self { lines, probes: config.probes }, writer))
    }

    /// Hands a line over; `false` means it was dropped. `unix_time` is that of the close.
    pub fn write(&self, record: &Record<'_>, purpose: Purpose, unix_time: Duration) -> bool {
        if purpose == Purpose::Probe && self.probes == Probes::Counted {
            return true;
        }
        self.lines.try_send(record.to_line(unix_time)).is_ok()
    }
}

fn open(output: &Output) -> io::Result<Box<dyn Write + Send>> {
    Ok(match output {
        Output::Stdout => Box::new(io::stdout()),
        Output::Stderr => Box::new(io::stderr()),
        Output::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Box::new(file.map_err(|error| {
                let path = path.display();
                io::Error::other(format!("cannot open the access log `{path}`: {error}"))
            })?)
        }
    })
}

/// Writes until the workers have gone; `_alive` goes with the thread.
fn write_lines<W: Write>(
    waiting: &Receiver<String>,
    output: W,
    open: impl Fn() -> io::Result<W>,
    Orders { reopen, lost }: &Orders,
    _alive: Sender<()>,
) {
    let buffered = |output| io::BufWriter::with_capacity(64 * 1024, output);
    let mut output = buffered(output);
    let mut is_broken = false;
    while let Ok(line) = waiting.recv() {
        if reopen.swap(false, Ordering::Relaxed) {
            match open() {
                Ok(opened) => {
                    let old = std::mem::replace(&mut output, buffered(opened));
                    lost.fetch_add(lines_left(old), Ordering::Relaxed);
                }
                Err(error) => tracing::error!(%error, "the access log stays as it was"),
            }
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
        assert_eq!(value["time"], 1.5);
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
            let (orders, mut written) = (Orders::default(), Vec::new());
            let disk = Disk { refusals, written: &mut written };
            write_lines(&waiting, disk, || unreachable!("nobody asks"), &orders, channel().0);
            assert!(written == expected.into_bytes(), "{refusals} refusals");
            assert_eq!(orders.lost.into_inner(), expected_lost, "{refusals} refusals");
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
        log.write(&record, Purpose::Probe, Duration::ZERO);
        assert!(waiting.try_recv().is_err());
        log.probes = Probes::Logged;
        log.write(&record, Purpose::Probe, Duration::ZERO);
        assert!(waiting.try_recv().is_ok());
    }
}
