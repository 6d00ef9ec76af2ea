//! What puts the load on: wrk, which everybody has, and our own generator, which sees more.
//!
//! Two of them, so that no figure rests on our own tool alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ppload::{HOLDING, Kept, Latency, Report};
use serde::Deserialize;

use super::reconcile::{Bytes, Driven};
use super::setup::{Inbound, write};
use crate::ports;
use crate::process::{Cores, Process};

/// What a driver may take beyond the time it was told to run.
const OVERTIME: Duration = Duration::from_secs(60);

/// What becomes of wrk's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// One request each.
    Close,
    /// They stay for the run.
    Keep,
}

/// How the load is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    Wrk {
        keeping: Keeping,
        run_for: Duration,
    },
    /// The words behind `load`, without the address.
    Load(Vec<String>),
}

/// The programs that drivers need.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) wrk: PathBuf,
    /// For `load` and `sink`.
    pub(super) ppload: PathBuf,
}

/// What a run of a driver came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) driven: Driven,
    /// Those that were measured, without what came before.
    pub(super) exchanges: u64,
    pub(super) seconds: f64,
    /// From our own generator; wrk's leave out what a stalled connection did not send.
    pub(super) latency: Option<Latency>,
    /// How well our generator kept its rate, where it had one to keep.
    pub(super) schedule: Option<Kept>,
    pub(super) notes: Vec<String>,
}

/// Connections at a time with wrk.
pub(super) const CONNECTIONS: u64 = 64;

impl Driver {
    pub(super) fn load(words: &[&str]) -> Self {
        Self::Load(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Runs it to its end against the proxy, and `begin` when what is measured begins: connections that
    /// stay are opened by our generator before its clock starts.
    pub(super) fn run<T>(
        &self,
        inbound: Inbound,
        cores: Cores,
        programs: &Programs,
        begin: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Outcome)> {
        match self {
            Self::Wrk { keeping, run_for } => {
                Ok((begin()?, wrk(*keeping, inbound, *run_for, cores, &programs.wrk)?))
            }
            Self::Load(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let start = || start_load(&words, inbound, cores, &programs.ppload);
                let (begun, load) = if words.first() == Some(&"keepalive") {
                    let mut load = start()?;
                    wait_until_held(&mut load)?;
                    (begin()?, load)
                } else {
                    (begin()?, start()?)
                };
                Ok((begun, load.finish(OVERTIME).and_then(|lines| read_load(&lines))?))
            }
        }
    }
}

/// Starts our generator.
pub(super) fn start_load(
    words: &[&str],
    inbound: Inbound,
    cores: Cores,
    ppload: &Path,
) -> Result<Process> {
    let to = ports::addr(ports::PROXY).to_string();
    let header = match inbound {
        Inbound::Header => "v2",
        Inbound::Plain => "none",
    };
    let always = ["--to", &to, "--proxy", header, "--json"];
    let words = [&["load"], words, &always].concat();
    Process::pinned("load", cores.load, ppload, &words)
}

/// Waits until all its connections stand, and returns how many.
pub(super) fn wait_until_held(load: &mut Process) -> Result<u64> {
    load.wait_for_line("that all connections stand", |line| {
        line.strip_prefix(HOLDING)?.parse().ok()
    })
}

/// Reads what our generator printed.
pub(super) fn read_load(lines: &[String]) -> Result<Outcome> {
    let json = lines.iter().rev().find(|line| line.starts_with('{'));
    let report: Report = serde_json::from_str(json.context("the generator printed no report")?)?;
    let never = report.schedule.map_or(0, |kept| kept.never_started);
    let driven = Driven {
        connections: report.connections.completed,
        exchanges: report.opened + report.exchanges,
        failures: report.connections.failures() + report.connections.abandoned + never,
        slack: 0,
        bytes: Bytes { up: report.bytes_sent, down: report.bytes_received },
    };
    Ok(Outcome {
        driven,
        exchanges: report.exchanges,
        seconds: report.seconds,
        latency: Some(report.latency),
        schedule: report.schedule,
        notes: report.bottleneck,
    })
}

/// What the script below prints at the end.
#[derive(Debug, Deserialize)]
struct WrkReport {
    requests: u64,
    duration_us: f64,
    errors: u64,
}

fn wrk(
    keeping: Keeping,
    inbound: Inbound,
    run_for: Duration,
    cores: Cores,
    wrk: &Path,
) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let script = write(dir.path(), "bench.lua", &script(keeping, inbound))?;
    let connections = CONNECTIONS.to_string();
    let span = format!("{}s", run_for.as_secs().max(1));
    let url = format!("http://{}/", ports::addr(ports::PROXY));
    let words = ["-t", "1", "-c", &connections, "-d", &span, "-s", &script, &url];
    let lines = Process::pinned("wrk", cores.load, wrk, &words)?.finish(run_for + OVERTIME)?;
    let json = lines.iter().rev().find(|line| line.starts_with('{'));
    let report: WrkReport = serde_json::from_str(json.context("wrk printed no summary")?)?;
    let driven = Driven {
        connections: match keeping {
            Keeping::Close => report.requests,
            Keeping::Keep => CONNECTIONS,
        },
        exchanges: report.requests,
        failures: report.errors,
        slack: CONNECTIONS + 1,
        bytes: Bytes::default(),
    };
    let seconds = report.duration_us / 1e6;
    let exchanges = report.requests;
    Ok(Outcome { driven, exchanges, seconds, latency: None, schedule: None, notes: Vec::new() })
}

/// The first request that it returns is only looked at, by wrk's own HTTP parser, and must be a
/// plain one; those that follow are sent.
fn script(keeping: Keeping, inbound: Inbound) -> String {
    let mut header = String::new();
    for byte in inbound.header().bytes() {
        let _ = write!(header, "\\{byte:03}");
    }
    let close = match keeping {
        Keeping::Close => "Connection: close\\r\\n",
        Keeping::Keep => "",
    };
    format!(
        "local header = \"{header}\"
local plain = \"GET / HTTP/1.1\\r\\nHost: bench\\r\\n{close}\\r\\n\"
local sent = header .. plain
local is_checked = false
function request()
  if is_checked then return sent end
  is_checked = true
  return plain
end
function done(summary, latency, requests)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('\\n{{\"requests\":%d,\"duration_us\":%d,\"errors\":%d}}\\n',
    summary.requests, summary.duration, errors))
end
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_of_the_script_is_plain_and_the_rest_carry_the_header() {
        let text = script(Keeping::Close, Inbound::Header);
        assert!(
            text.contains("local header = \"\\013\\010\\013\\010\\000\\013\\010\\081"),
            "{text}"
        );
        assert!(text.contains("Connection: close"), "{text}");
        let text = script(Keeping::Keep, Inbound::Plain);
        assert!(text.contains("local header = \"\""), "{text}");
        assert!(!text.contains("Connection: close"), "{text}");
    }

    #[test]
    fn a_report_of_our_generator_becomes_an_outcome() {
        let mut report = Report { opened: 3, exchanges: 4, seconds: 0.5, ..Report::default() };
        (report.bytes_sent, report.bytes_received) = (300, 900);
        report.connections.completed = 6;
        report.connections.timed_out = 1;
        let lines = ["holding 6".to_owned(), serde_json::to_string(&report).unwrap()];
        let outcome = read_load(&lines).unwrap();
        let bytes = Bytes { up: 300, down: 900 };
        let driven = Driven { connections: 6, exchanges: 7, failures: 1, slack: 0, bytes };
        assert_eq!(outcome.driven, driven);
        assert!(read_load(&lines[..1]).is_err());
    }
}
