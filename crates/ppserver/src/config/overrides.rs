//! What is said beside a file and wins over it, at the start and at each reload.

use std::time::Duration;

use super::address;
use super::codes::Code;
use super::diagnostics::{Diagnostics, Place};
use super::door::Door;
use super::parse::{At, ranged};
use super::read::{ACCESS_OUTPUTS, GRACE, access_output};
use super::units::{format_duration, parse_duration};
use super::{Admin, Config, LogFormat, LogLevel, Output, Report, Server, Toggle};

const GRACE_FLAG: Place = Place::Flag("--grace");
const ADMIN_FLAG: Place = Place::Flag("--admin");
const ACCESS_LOG_FLAG: Place = Place::Flag("--access-log");

/// The flags that go with a file and without one, as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommonFlags {
    /// `--admin`, once or more: an address, and the path of a socket.
    pub admin: Vec<String>,
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
    /// `None` leaves them to the file.
    admin: Option<Admin>,
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
        let CommonFlags { admin, log_level, log_format, access_log, grace } = flags;
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
        let admin = (!admin.is_empty()).then(|| doors(admin, faults));
        Self { admin, log_level: *log_level, log_format: *log_format, access_log, grace }
    }

    /// Puts them into a configuration.
    pub fn apply(&self, config: &mut Config) {
        let Self { admin, log_level, log_format, access_log, grace } = self;
        if let Some(admin) = admin {
            config.admin = admin.clone();
        }
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

/// The doors that can be read; there is one of each kind.
fn doors(texts: &[String], faults: &mut Diagnostics) -> Admin {
    let mut admin = Admin::default();
    for text in texts {
        let is_second = match text.parse() {
            Ok(Door::Address(addr)) => address::listen(At::new(&*addr, ADMIN_FLAG), faults)
                .is_some_and(|addr| admin.listen.replace(addr.value).is_some()),
            Ok(Door::Socket(path)) => {
                let path = path.to_string_lossy();
                let path = address::socket_path(At::new(&*path, ADMIN_FLAG), faults);
                path.is_some_and(|path| admin.socket.replace(path.value).is_some())
            }
            Err(why) => {
                faults
                    .add(Code::BadValue, ADMIN_FLAG, format!("`{text}` is no door: {why}"))
                    .with_help("127.0.0.1:9464, or /run/ppserver/admin.sock");
                false
            }
        };
        if is_second {
            let message = "one address and one path is all there can be";
            faults.add(Code::Duplicate, ADMIN_FLAG, message).with_help("leave out the others");
        }
    }
    admin
}
