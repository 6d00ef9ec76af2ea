//! The access log: a line for each closed connection, as a JSON object or as logfmt.
//!
//! Workers format and hand over; one thread writes. A worker never waits: when the writer cannot
//! keep up, lines are dropped and counted. Invariant: a line is printable whatever peers send: names
//! come from the configuration, addresses are printed from their parsed form, TLVs as [`tlvs`] has them, and the
//! rest is numbers and words of ours.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
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

use ppcore::{Header, Version};
use rustix::fs::OFlags;
use serde::{Serialize, Serializer};

use crate::config::{self, AccessLogFormat, LoggedTlv, Output, Probes};
use crate::core::addr::{Addr, Peer};
use crate::core::connection_id::ConnectionId;
use crate::core::intent::{Intent, Purpose};
use crate::telemetry::timestamp::Timestamp;
use crate::telemetry::tlvs::{self, Told};

/// Lines that may wait for the writer; beyond it they are dropped.
const LINES_MAX: usize = 8192;

/// What is known of a closed connection.
#[derive(Debug)]
pub struct Record<'a> {
    /// Its name.
    pub id: ConnectionId,
    /// The listener's name.
    pub listener: &'a str,
    /// Who came, from where, and what the header said.
    pub intent: &'a Intent<Peer>,
    /// The number of the route that was taken.
    pub route: Option<u32>,
    /// The name that the client asked for in TLS, if that was read.
    pub sni: Option<&'a str>,
    /// The upstream's name.
    pub upstream: &'a str,
    /// The endpoint of the last attempt.
    pub endpoint: Option<Addr>,
    /// Payload bytes from the client that went upstream.
    pub bytes_in: u64,
    /// Payload bytes that went to the client.
    pub bytes_out: u64,
    /// From accept to close, in milliseconds, without the time in which the process stood still.
    pub duration_ms: u128,
    /// The close reason.
    pub end: &'static str,
    /// The TLVs that were asked for.
    pub tlvs: &'a [(LoggedTlv, String)],
}

impl Record<'_> {
    /// Returns the line, its end included. `unix_time` is that of the close.
    pub fn to_line(&self, format: AccessLogFormat, unix_time: Duration) -> String {
        let line = Line {
            time: Timestamp::of(unix_time),
            id: self.id,
            listener: self.listener,
            client: self.intent.client,
            peer: self.intent.peer,
            destination: self.intent.destination,
            version: self.intent.version.map_or("none", Version::name),
            route: self.route,
            sni: self.sni,
            upstream: self.upstream,
            endpoint: self.endpoint,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_ms: self.duration_ms,
            end: self.end,
            tlvs: self.tlvs,
        };
        let mut text = match format {
            AccessLogFormat::Json => serde_json::to_string(&line).expect("plain values"),
            AccessLogFormat::Logfmt => line.to_logfmt(),
        };
        text.push('\n');
        text
    }
}

/// The fields, in the order in which a line has them.
#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    #[serde(serialize_with = "as_text")]
    id: ConnectionId,
    listener: &'a str,
    client: Peer,
    peer: Peer,
    destination: Option<SocketAddr>,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<&'a str>,
    upstream: &'a str,
    endpoint: Option<Addr>,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: u128,
    end: &'static str,
    #[serde(skip_serializing_if = "is_empty", serialize_with = "as_object")]
    tlvs: &'a [(LoggedTlv, String)],
}

fn as_text<S: Serializer>(id: &ConnectionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_object<S: Serializer>(
    tlvs: &&[(LoggedTlv, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tlvs.iter().map(|(tlv, value)| (tlv.to_string(), value)))
}

fn is_empty(tlvs: &&[(LoggedTlv, String)]) -> bool {
    tlvs.is_empty()
}

impl Line<'_> {
    /// `key=value`, where there is a value; in quotes, as JSON has them, where it is not one plain word.
    fn to_logfmt(&self) -> String {
        // No field is forgotten.
        let Self {
            time,
            id,
            listener,
            client,
            peer,
            destination,
            version,
            route,
            sni,
            upstream,
            endpoint,
            bytes_in,
            bytes_out,
            duration_ms,
            end,
            tlvs,
        } = self;
        let mut text = format!("time={time} id={id} listener={}", logfmt(listener));
        let mut put = |key: &str, value: &dyn fmt::Display| {
            write!(text, " {key}={value}").expect("a String takes all that is written");
        };
        put("client", client);
        put("peer", peer);
        destination.iter().for_each(|destination| put("destination", destination));
        put("version", version);
        route.iter().for_each(|route| put("route", route));
        sni.iter().for_each(|sni| put("sni", &logfmt(sni)));
        put("upstream", &logfmt(upstream));
        endpoint.iter().for_each(|endpoint| put("endpoint", endpoint));
        put("bytes_in", bytes_in);
        put("bytes_out", bytes_out);
        put("duration_ms", duration_ms);
        put("end", end);
        for (tlv, value) in *tlvs {
            put(&format!("tlv_{tlv}"), &logfmt(value));
        }
        text
    }
}

/// A value as logfmt has it.
fn logfmt(value: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    if !value.is_empty() && value.bytes().all(is_plain) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(serde_json::to_string(value).expect("text"))
    }
}

/// What a worker writes through.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: SyncSender<String>,
    format: AccessLogFormat,
    probes: Probes,
    tlvs: Arc<[LoggedTlv]>,
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
    pub fn handle(&self, config: &config::AccessLog) -> AccessLog {
        let config::AccessLog { state: _, output: _, format, probes, tlvs } = config;
        let (format, probes) = (*format, *probes);
        AccessLog { lines: self.lines.clone(), format, probes, tlvs: tlvs.as_slice().into() }
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
    /// Returns what is to be told of a header, which has these bytes.
    pub fn tell_tlvs(&self, header: &Header, bytes: &[u8]) -> Told {
        tlvs::tell(header, bytes, &self.tlvs)
    }

    /// Hands a line over; `false` means it was dropped. `unix_time` is that of the close.
    pub fn write(&self, record: &Record<'_>, purpose: Purpose, unix_time: Duration) -> bool {
        if purpose == Purpose::HealthCheck && self.probes == Probes::Counted {
            return true;
        }
        self.lines.try_send(record.to_line(self.format, unix_time)).is_ok()
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
    use crate::core::addr::{Addr, Peer};
    use crate::core::close_reason::CloseReason;
    use crate::core::connection_id::ConnectionIds;

    const LIMIT: usize = 1;

    /// A log whose lines can be seen, with room for [`LIMIT`].
    fn log(format: AccessLogFormat, probes: Probes) -> (AccessLog, Receiver<String>) {
        let (lines, waiting) = sync_channel(LIMIT);
        (AccessLog { lines, format, probes, tlvs: Arc::new([]) }, waiting)
    }

    fn ids() -> ConnectionIds {
        ConnectionIds::new(1, Duration::from_micros(0xABCDE))
    }

    fn record<'a>(listener: &'a str, intent: &'a Intent<Peer>) -> Record<'a> {
        Record {
            id: ids().name_next(),
            listener,
            intent,
            route: None,
            sni: None,
            upstream: "web",
            endpoint: None,
            bytes_in: 1,
            bytes_out: 2,
            duration_ms: 3,
            end: CloseReason::Done.name(),
            tlvs: &[],
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_names_hold() {
        let intent = Intent::plain(Peer::Inet("[2001:db8::1]:1".parse().unwrap()));
        let record = record("a\"b\n", &intent);
        let (log, waiting) = log(AccessLogFormat::Json, Probes::Counted);
        assert!(log.write(&record, Purpose::Service, Duration::from_millis(1_500)));
        assert!(!log.write(&record, Purpose::Service, Duration::ZERO), "full: dropped");
        let line = waiting.recv().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:01.500Z", "id": "01000000000abcdf", "listener": "a\"b\n",
            "client": "[2001:db8::1]:1", "peer": "[2001:db8::1]:1", "destination": null,
            "version": "none", "upstream": "web", "endpoint": null, "bytes_in": 1, "bytes_out": 2,
            "duration_ms": 3, "end": "done",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_line_of_logfmt_has_the_same_fields_where_they_have_a_value() {
        let addr = |text: &str| text.parse().unwrap();
        let mut intent = Intent::plain(Peer::Inet(addr("10.0.0.1:2")));
        let plain = record("edge", &intent).to_line(AccessLogFormat::Logfmt, Duration::ZERO);
        let expected = "time=1970-01-01T00:00:00.000Z id=01000000000abcdf listener=edge \
            client=10.0.0.1:2 peer=10.0.0.1:2 version=none upstream=web bytes_in=1 bytes_out=2 \
            duration_ms=3 end=done\n";
        assert_eq!(plain, expected);
        intent.destination = Some(addr("192.0.2.1:443"));
        intent.version = Some(Version::V2);
        let tlvs =
            [("authority", "a b"), ("alpn", ""), ("netns", "x=\"\\"), ("unique_id", "hex:00")];
        let tlvs = tlvs.map(|(name, value)| (LoggedTlv::of_name(name).unwrap(), value.to_owned()));
        let endpoint = Some(Addr::Inet(addr("10.0.0.9:80")));
        let full = Record { endpoint, tlvs: &tlvs, ..record("edge", &intent) };
        let full = full.to_line(AccessLogFormat::Logfmt, Duration::ZERO);
        let expected = "time=1970-01-01T00:00:00.000Z id=01000000000abcdf listener=edge \
            client=10.0.0.1:2 peer=10.0.0.1:2 destination=192.0.2.1:443 version=v2 upstream=web \
            endpoint=10.0.0.9:80 bytes_in=1 bytes_out=2 duration_ms=3 end=done \
            tlv_authority=\"a b\" tlv_alpn=\"\" tlv_netns=\"x=\\\"\\\\\" tlv_unique_id=hex:00\n";
        assert_eq!(full, expected);
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
        let intent = Intent::plain(Peer::Inet("127.0.0.1:1".parse().unwrap()));
        let record = record("edge", &intent);
        for (probes, is_written) in [(Probes::Counted, false), (Probes::Logged, true)] {
            let (log, waiting) = log(AccessLogFormat::Json, probes);
            log.write(&record, Purpose::HealthCheck, Duration::ZERO);
            assert_eq!(waiting.try_recv().is_ok(), is_written, "{probes:?}");
        }
    }
}
