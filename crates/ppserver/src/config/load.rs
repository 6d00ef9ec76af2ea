//! From a path or bytes to a [`Config`] or a [`Report`].
//!
//! The only place of the configuration that touches the file system, by one read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ipnet::IpNet;

use super::codes::Code;
use super::diagnostics::{Diagnostics, Place, Report, Source};
use super::{Config, read};

/// A larger file is refused unread: the largest sensible ones, with 100,000 networks of IPv6, are a third.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// What standard input is called in a report.
pub const STDIN_NAME: &str = "<stdin>";

/// What a configuration asks of where it runs; found out by the caller.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// The hard limit of open files; `None` if there is none or it is not known.
    pub descriptors_max: Option<u64>,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// Finds the networks and addresses that are this host's, loopback or not; asked only where it matters.
    pub own_networks: fn() -> Vec<IpNet>,
    /// Whether there is a directory at a path.
    pub is_dir: fn(&Path) -> bool,
    /// Looks a variable of the environment up; `None` if it is not set.
    pub variable: fn(&str) -> Option<String>,
}

/// A host of which nothing is known.
impl Default for Host {
    fn default() -> Self {
        let (own_networks, is_dir) = (Vec::new, |_: &Path| true);
        Self { descriptors_max: None, cpus: 0, own_networks, is_dir, variable: |_| None }
    }
}

/// A configuration that can be used, and what was noticed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings only.
    pub warnings: Report,
}

/// Reads and checks a file.
///
/// # Errors
///
/// The report of all its errors (and warnings); a file that cannot be read is one error.
pub fn load(path: &Path, host: Host) -> Result<Loaded, Report> {
    read_from(path, File::open(path), host)
}

/// Reads and checks what was opened at `path`.
///
/// # Errors
///
/// As [`load`] does.
pub fn read_from(path: &Path, opened: io::Result<impl Read>, host: Host) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = opened
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .and_then(|len| match u64::try_from(len) {
            Ok(len) if len <= FILE_BYTES_MAX => Ok(()),
            _ => Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes"))),
        });
    match read {
        Ok(()) => from_bytes(name, &bytes, host),
        Err(error) => {
            let mut faults = Diagnostics::default();
            faults
                .add(Code::Unreadable, Place::Nowhere, format!("cannot read `{name}`: {error}"))
                .with_help("-c takes the path of a configuration file: at most 8 MiB, and readable to this user");
            Err(faults.into_report(None))
        }
    }
}

/// Checks the bytes of a file that is called `name` in the report.
///
/// # Errors
///
/// The report of all its errors (and warnings).
pub fn from_bytes(name: String, bytes: &[u8], host: Host) -> Result<Loaded, Report> {
    let mut faults = Diagnostics::default();
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Err(error) = std::str::from_utf8(bytes) {
        // The valid part is unchanged in `text`, so the offset holds there too.
        let at = error.valid_up_to();
        let len = char::REPLACEMENT_CHARACTER.len_utf8();
        faults
            .add(Code::Syntax, at..at + len, format!("byte {at} is not UTF-8"))
            .with_help("save the file as UTF-8");
        return Err(faults.into_report(Some(Source { name, text })));
    }
    let config = read::config(&text, host, &mut faults);
    let report = faults.into_report(Some(Source { name, text }));
    match config {
        Some(config) if !report.has_errors() => Ok(Loaded { config, warnings: report }),
        _ => Err(report),
    }
}
