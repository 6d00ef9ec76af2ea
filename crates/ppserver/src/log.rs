//! The log on stderr: what an operator has to know, and nothing a connection can flood.
//!
//! Not the access log. Text on a terminal and JSON elsewhere, unless configured; never ANSI unless
//! stderr is a terminal. Invariant: what peers cause is limited per worker by a [`Limiter`].

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::config::{self, LogFormat, LogLevel, Report};

/// Starts logging; a second call changes nothing, since the log outlives a reload.
pub fn start(config: &config::Log) {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let is_terminal = io::stderr().is_terminal();
    let is_json = match config.format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(is_terminal);
    // An error means that logging has been started before.
    let _ = if is_json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.try_init()
    };
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
    let shown = bytes.iter().take(SHOWN_MAX).map(|byte| format!("{byte:02x}"));
    let more = if bytes.len() > SHOWN_MAX { "..." } else { "" };
    shown.chain([more.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
