//! Our own binary, started with flags or a configuration and asked where it listens.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::process::{Proc, Stream};

/// A configuration, in a directory that the server is started in.
const FILE: &str = "ppserver.toml";

/// A running `ppserver run` with one listener.
pub(crate) struct Ppserver {
    proc: Proc,
    addr: SocketAddr,
    _dir: Option<TempDir>,
}

impl Ppserver {
    /// `ppserver run FLAGS`; the listener is asked to bind port 0.
    #[track_caller]
    pub(crate) fn with_flags(flags: &[&str]) -> Ppserver {
        Ppserver::start(flags, None)
    }

    /// `ppserver run -c FILE` with this text in the file.
    #[track_caller]
    pub(crate) fn with_config(text: &str) -> Ppserver {
        let dir = TempDir::new().expect("a temporary directory can be made");
        fs::write(dir.path().join(FILE), text).expect("a file in it can be written");
        Ppserver::start(&["-c", FILE], Some(dir))
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process, for signals and for its log.
    pub(crate) fn proc(&mut self) -> &mut Proc {
        &mut self.proc
    }

    #[track_caller]
    fn start(args: &[&str], dir: Option<TempDir>) -> Ppserver {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppserver"));
        if let Some(dir) = &dir {
            command.current_dir(dir.path());
        }
        let proc = Proc::spawn("ppserver", command.arg("run").args(args));
        let addr = proc.wait_for_line(Stream::Stderr, "the bound address", bound_address);
        Ppserver { proc, addr, _dir: dir }
    }
}

impl Drop for Ppserver {
    fn drop(&mut self) {
        assert_all_ended(&mut self.proc);
    }
}

/// Ends a server that still runs, and fails unless each connection that it accepted was counted once as ended. One
/// that had to be killed, or whose log is for people, says nothing of that.
#[track_caller]
pub(crate) fn assert_all_ended(proc: &mut Proc) {
    let ended_well = proc.end().is_some_and(|status| status.success());
    let last = proc.lines(Stream::Stderr).pop();
    let last = last.and_then(|line| serde_json::from_str::<Value>(&line).ok());
    let counters = last.filter(|record| record["message"] == "counters");
    if let Some(counters) = counters.filter(|_| ended_well && !thread::panicking()) {
        assert_eq!(counters["active"], 0, "{counters}");
        assert_balanced(&counters);
    }
}

/// `accepted == active + the sum of closed`.
#[track_caller]
pub(crate) fn assert_balanced(counters: &Value) {
    let closed = counters["closed"].as_object().expect("an object of reasons");
    let closed: u64 = closed.values().map(|count| count.as_u64().expect("a count")).sum();
    let active = counters["active"].as_u64().expect("a count");
    assert_eq!(counters["accepted"], active + closed, "{counters}");
}

/// The address in a listener's start line, which is a JSON object as stderr is not a terminal.
fn bound_address(line: &str) -> Option<SocketAddr> {
    let record: Value = serde_json::from_str(line).ok()?;
    record.get("listener")?;
    record.get("bind")?.as_str()?.parse().ok()
}
