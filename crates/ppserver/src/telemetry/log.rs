//! The log on stderr: what an operator has to know, and nothing a connection can flood.
//!
//! Not the access log. Text on a terminal and JSON elsewhere, unless configured; never ANSI unless
//! stderr is a terminal, and priorities only if it is the journal. Invariants: what peers cause is limited per worker by a [`Limiter`]; and a
//! stderr that nobody reads costs lines, which are counted, and no thread but the one that writes
//! waits for it.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{self, LogFormat, LogLevel, Report};
use crate::telemetry::hex;
use crate::telemetry::summary::Summary;
use crate::telemetry::timestamp::Timestamp;

/// Lines that may wait for the writer; beyond it they are dropped.
const LINES_MAX: usize = 1024;

/// How long the end of the process waits for the last lines to be written.
const FINISH_MAX: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// What the log looks like, which may change.
static FORM: OnceLock<reload::Handle<Form, Registry>> = OnceLock::new();

type Form = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging, or goes on as `config` says now.
///
/// # Errors
/// When no thread can be started.
pub fn follow(config: &config::Log) -> io::Result<()> {
    if let Some(handle) = FORM.get() {
        // An error means that nobody logs any more.
        let _ = handle.reload(form(config));
        return Ok(());
    }
    if QUEUE.set(Queue::default()).is_ok() {
        let write = || queue().map_or((), |queue| queue.write_all_to(io::stderr()));
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    }
    let (layer, handle) = reload::Layer::new(form(config));
    // An error means that logging has been started by somebody else.
    if tracing_subscriber::registry().with(layer).try_init().is_ok() {
        let _ = FORM.set(handle);
    }
    Ok(())
}

fn form(config: &config::Log) -> Form {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let is_terminal = io::stderr().is_terminal();
    // Libraries say more than an operator has to know, and whoever they talk to may make them.
    let is_told =
        move |line: &Metadata<'_>| *line.level() <= level && line.target().starts_with("ppserver");
    // To be the outer one, whose hint counts: what is below the level costs a comparison then.
    let told = filter_fn(is_told).with_max_level_hint(level);
    let lines = fmt::layer().with_writer(Lines).with_timer(Clock);
    let lines = lines.with_target(false).with_ansi(is_terminal);
    if is_json(config) {
        let lines = lines.json().flatten_event(true);
        lines.with_current_span(false).with_span_list(false).and_then(told).boxed()
    } else {
        lines.and_then(told).boxed()
    }
}

fn is_json(config: &config::Log) -> bool {
    match config.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    }
}

/// Tells the time of a record.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", Timestamp::now())
    }
}

/// Writes the counters in the form of a record, in their order among them, but at every level.
pub fn write_counters(config: &config::Log, counters: &Summary) {
    /// In the order in which the log has them.
    #[derive(Serialize)]
    struct Record<'a> {
        timestamp: Timestamp,
        level: &'static str,
        message: &'static str,
        #[serde(flatten)]
        counters: &'a Summary,
    }
    let timestamp = Timestamp::now();
    let text = if is_json(config) {
        let record = Record { timestamp, level: "INFO", message: "counters", counters };
        serde_json::to_string(&record).expect("plain values")
    } else {
        format!("{timestamp}  INFO counters\n{counters}")
    };
    // A `Line` takes everything.
    let _ = Line::at(Level::INFO).write_all(format!("{text}\n").as_bytes());
}

/// Waits until everything so far is written, if somebody reads it.
pub fn finish() {
    if let Some(queue) = queue() {
        queue.wait_until_written();
    }
}

/// Returns how many lines were dropped because nobody read them.
pub fn lines_dropped() -> u64 {
    queue().map_or(0, |queue| queue.lock().dropped)
}

fn queue() -> Option<&'static Queue> {
    QUEUE.get()
}

/// What stands in front of a line of this level, where the journal reads it (sd-daemon(3)).
fn priority(level: Level) -> &'static str {
    match level {
        _ if !is_journal() => "",
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Whether stderr is the journal's socket, as systemd names it: `device:inode`.
fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let stderr = || rustix::fs::fstat(io::stderr()).ok();
        let is_named = |name: String| {
            stderr().is_some_and(|stat| name == format!("{}:{}", stat.st_dev, stat.st_ino))
        };
        std::env::var("JOURNAL_STREAM").is_ok_and(is_named)
    })
}

/// Writes an error for which there is no log, each line with its priority where the journal reads it.
pub fn write_error(message: &str) {
    let priority = priority(Level::ERROR);
    let lines: String = message.lines().map(|line| format!("{priority}{line}\n")).collect();
    // With stderr gone there is nobody left to tell.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Makes a [`Line`] for each record.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line::at(Level::INFO)
    }

    fn make_writer_for(&'a self, record: &Metadata<'_>) -> Line {
        Line::at(*record.level())
    }
}

/// Takes one line in one write, as tracing-subscriber writes its records.
struct Line {
    priority: &'static str,
}

impl Line {
    fn at(level: Level) -> Self {
        Self { priority: priority(level) }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let whole = [self.priority.as_bytes(), line].concat();
        match queue() {
            Some(queue) => queue.put(whole),
            None => io::stderr().write_all(&whole)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines on their way to the thread that writes. The lock is never held while it does.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Whether a line has been taken out and is not written yet.
    is_writing: bool,
    dropped: u64,
}

impl Queue {
    fn put(&self, line: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.lines.len() == LINES_MAX {
            waiting.dropped += 1;
        } else {
            waiting.lines.push_back(line);
            self.changed.notify_all();
        }
    }

    /// Writes for as long as the process lives.
    fn write_all_to(&self, mut output: impl Write) {
        let mut waiting = self.lock();
        loop {
            waiting.is_writing = false;
            let Some(line) = waiting.lines.pop_front() else {
                self.changed.notify_all();
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            waiting.is_writing = true;
            drop(waiting);
            // With stderr gone there is nobody to tell.
            let _ = output.write_all(&line);
            waiting = self.lock();
        }
    }

    fn wait_until_written(&self) {
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // A timeout means that nobody reads, and then there is nobody to tell.
        let _ = self.changed.wait_timeout_while(self.lock(), FINISH_MAX, is_busy);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the warnings about a configuration, a record each.
pub fn warnings(report: &Report) {
    for fault in report.to_json().1 {
        let (line, column, help) = (fault.line, fault.column, fault.help);
        tracing::warn!(code = fault.code.as_str(), line, column, help, "{}", fault.message);
    }
}

/// Lines of one kind a worker writes per second; the rest is counted.
const LINES_PER_SECOND: u32 = 10;

/// Keeps a kind of line from flooding the log.
#[derive(Debug)]
pub struct Limiter {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl Limiter {
    /// Creates a limiter with its first second before it.
    pub fn new(now: Instant) -> Self {
        Self { since: now, lines: 0, suppressed: 0 }
    }

    /// Says whether a line may be written, and how many were not since the last one.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines == LINES_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Shows the first bytes a peer sent, as hexadecimal: no control byte reaches the log.
pub fn first_bytes(bytes: &[u8]) -> String {
    /// Enough for a v2 header with IPv4 addresses, and for the start of anything else.
    const SHOWN_MAX: usize = 32;
    hex::first(bytes, SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_queue_are_dropped_and_counted_and_the_end_waits_a_bounded_time() {
        let queue = Queue::default();
        for _ in 0..LINES_MAX + 3 {
            queue.put(b"line\n".to_vec());
        }
        let count = |queue: &Queue| {
            let waiting = queue.lock();
            (waiting.lines.len(), waiting.dropped)
        };
        assert_eq!(count(&queue), (LINES_MAX, 3));
        // Nobody writes.
        queue.wait_until_written();
        assert_eq!(count(&queue), (LINES_MAX, 3));
    }

    // Or each line below the level is built and asked about, three of them a connection.
    #[test]
    fn what_is_below_the_level_is_passed_over_before_it_is_asked_about() {
        for (level, hint) in
            [(LogLevel::Warn, LevelFilter::WARN), (LogLevel::Trace, LevelFilter::TRACE)]
        {
            for format in [LogFormat::Text, LogFormat::Json] {
                let config = config::Log { level, format };
                assert_eq!(form(&config).max_level_hint(), Some(hint), "{config:?}");
            }
        }
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        let written = (0..25).filter(|_| limiter.allow(now).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(limiter.allow(now + Duration::from_secs(1)), Some(15));
        assert_eq!(limiter.allow(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn bytes_are_shown_in_hexadecimal_and_bounded() {
        assert_eq!(first_bytes(b"\r\n\x1b"), "0d0a1b");
        assert_eq!(first_bytes(&[0xff; 40]), format!("{}...", "ff".repeat(32)));
    }
}
