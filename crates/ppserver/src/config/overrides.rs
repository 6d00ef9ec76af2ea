//! What is said beside a file and wins over it, at the start and at each reload.

use std::time::Duration;

use super::diagnostics::{Diagnostics, Place};
use super::parse::{At, ranged};
use super::read::{ACCESS_OUTPUTS, GRACE, access_output};
use super::units::{format_duration, parse_duration};
use super::{Config, LogFormat, LogLevel, Output, Report, Server, Toggle};

const GRACE_FLAG: Place = Place::Flag("--grace");
const ACCESS_LOG_FLAG: Place = Place::Flag("--access-log");

/// The flags that go with a file and without one, as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommonFlags {
    /// `--log-level`.
    pub log_level: Option<LogLevel>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--access-log off`, or where it goes.
    pub access_log: Option<String>,
    /// `--grace`.
    pub grace: Option<String>,
}

/// What they say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    /// `Some(None)` is off.
    access_log: Option<Option<Output>>,
    grace: Option<Duration>,
}

impl Overrides {
    /// Checks them by the rules of a file.
    ///
    /// # Errors
    ///
    /// The report of all errors, without places.
    pub fn new(flags: &CommonFlags) -> Result<Self, Report> {
        let mut faults = Diagnostics::default();
        let overrides = Self::read(flags, &mut faults);
        let report = faults.into_report(None);
        if report.has_errors() { Err(report) } else { Ok(overrides) }
    }

    pub(super) fn read(flags: &CommonFlags, faults: &mut Diagnostics) -> Self {
        let CommonFlags { log_level, log_format, access_log, grace } = flags;
        let grace = grace.as_deref().and_then(|text| {
            let text = At::new(text, GRACE_FLAG);
            let default = format_duration(Server::default().shutdown_grace);
            ranged(
                "shutdown_grace",
                &text,
                parse_duration,
                GRACE,
                format_duration,
                &default,
                faults,
            )
        });
        let access_log = access_log.as_deref().and_then(|text| match text {
            "off" => Some(None),
            _ => {
                let words = format!("\"off\", {ACCESS_OUTPUTS}");
                access_output("output", At::new(text, ACCESS_LOG_FLAG), &words, faults).map(Some)
            }
        });
        Self { log_level: *log_level, log_format: *log_format, access_log, grace }
    }

    /// Puts them into a configuration.
    pub fn apply(&self, config: &mut Config) {
        let Self { log_level, log_format, access_log, grace } = self;
        config.log.level = log_level.unwrap_or(config.log.level);
        config.log.format = log_format.unwrap_or(config.log.format);
        config.server.shutdown_grace = grace.unwrap_or(config.server.shutdown_grace);
        match access_log {
            None => {}
            Some(None) => config.access_log.state = Toggle::Off,
            Some(Some(output)) => {
                config.access_log.state = Toggle::On;
                config.access_log.output = output.clone();
            }
        }
    }
}
