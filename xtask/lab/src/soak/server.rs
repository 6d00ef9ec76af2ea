//! The server of a soak: started, reloaded, asked for its counters, and looked at from outside.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Ports;
use crate::process::Process;
use crate::usage::Family;

/// How the server's file differs from one reload to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// A good one; the number makes it another one than before.
    Good(u64),
    /// One that is refused.
    Bad,
}

/// A running `ppserver run -c FILE`.
pub(super) struct Server {
    process: Process,
    family: Family,
    upstreams: Upstreams,
    file: PathBuf,
    _dir: TempDir,
}

/// Where the server relays to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upstreams {
    /// Follows orders.
    pub(super) live: SocketAddr,
    /// Nobody listens there.
    pub(super) dead: SocketAddr,
    /// Follows orders, but comes and goes.
    pub(super) flapping: SocketAddr,
}

/// What the kernel says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Bytes without a file behind them.
    pub(super) allocated: u64,
    /// Sockets, files and the like, without pipes: the server keeps those for later.
    pub(super) descriptors: u64,
    pub(super) pipe_ends: u64,
}

impl Server {
    pub(super) fn start(program: &Path, upstreams: Upstreams) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("ppserver.toml");
        fs::write(&file, text(upstreams, &any_ports(), File::Good(0)))?;
        let name = file.to_str().context("the temporary directory has a UTF-8 name")?;
        let words = ["run", "-c", name];
        let process = Process::start("ppserver", program, &words)?;
        let family = Family::of(process.id());
        Ok(Self { process, family, upstreams, file, _dir: dir })
    }

    /// Where it listens.
    pub(super) fn ports(&mut self) -> Result<Ports> {
        let mut port = |name: &str| listening(&mut self.process, name);
        Ok(Ports { edge: port("edge")?, dead: port("dead")?, flapping: port("flapping")? })
    }

    /// Has it reload its file, and waits until it says what came of it.
    pub(super) fn reload(&mut self, file: File) -> Result<()> {
        fs::write(&self.file, text(self.upstreams, &any_ports(), file))?;
        let message = match file {
            File::Good(_) => "reloaded",
            File::Bad => "reload refused",
        };
        self.ask(Signal::HUP, message).map(drop)
    }

    /// The counters, now.
    pub(super) fn counters(&mut self) -> Result<Value> {
        self.ask(Signal::USR1, "counters")
    }

    /// What it holds at this moment.
    pub(super) fn sample(&self) -> Result<Sample> {
        let mut sample = Sample { allocated: self.family.allocated()?, ..Sample::default() };
        for fd in fs::read_dir(format!("/proc/{}/fd", self.process.id()))? {
            // A descriptor may be closed between the two looks.
            let Ok(target) = fs::read_link(fd?.path()) else { continue };
            let is_pipe = target.to_string_lossy().starts_with("pipe:");
            *(if is_pipe { &mut sample.pipe_ends } else { &mut sample.descriptors }) += 1;
        }
        Ok(sample)
    }

    /// CPU time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        Ok(self.family.cpu()?.as_secs_f64())
    }

    /// Ends it and returns its last counters, with the number of its records by level.
    pub(super) fn stop(self) -> Result<(Value, BTreeMap<String, u64>)> {
        let lines = self.process.stop()?;
        let counters = lines.iter().rev().find_map(|line| record(line, "counters"));
        let mut levels = BTreeMap::new();
        for line in &lines {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            let level = record["level"].as_str().unwrap_or("none").to_owned();
            *levels.entry(level).or_default() += 1;
        }
        Ok((counters.context("the last counters are missing")?, levels))
    }

    fn ask(&mut self, signal: Signal, message: &str) -> Result<Value> {
        let seen = self.process.lines().len();
        self.process.signal(signal)?;
        self.process.wait_for_line_behind(seen, message, |line| record(line, message))
    }
}

/// Waits until a listener listens, and returns where.
pub(super) fn listening(process: &mut Process, name: &str) -> Result<SocketAddr> {
    process.wait_for_line(name, |line| {
        let record = record(line, "listening").filter(|it| it["listener"] == name)?;
        record["bind"].as_str()?.parse().ok()
    })
}

/// Reads a record whose message begins so.
pub(super) fn record(line: &str, message: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(line).ok()?;
    record["message"].as_str()?.starts_with(message).then_some(record)
}

/// The kernel chooses.
fn any_ports() -> [String; 3] {
    ["127.0.0.1:0"; 3].map(str::to_owned)
}

/// The server's file; `binds` are the addresses of `edge`, `dead` and `flapping`. Short timeouts: many
/// of them pass in a soak. From one good file to the next the endpoints of `flapping` change places.
pub(super) fn text(upstreams: Upstreams, binds: &[String; 3], file: File) -> String {
    let (number, rest) = match file {
        File::Good(number) => (number, ""),
        File::Bad => (0, "this is no TOML\n"),
    };
    let idle = 5000 + number % 100;
    let mut text = format!(
        "config_version = 1\n\
         server.workers = 2\n\
         timeouts = {{ header = '2s', connect = '2s', idle = '{idle}ms', half_closed = '5s' }}\n\
         {rest}"
    );
    let [edge, dead, flapping] = binds;
    let mut either = [upstreams.flapping, upstreams.live];
    if number % 2 == 1 {
        either.reverse();
    }
    for (name, bind, endpoints) in [
        ("edge", edge, &[upstreams.live][..]),
        ("dead", dead, &[upstreams.dead]),
        ("flapping", flapping, &either),
    ] {
        let endpoints =
            endpoints.iter().map(|addr| format!("'{addr}'")).collect::<Vec<_>>().join(", ");
        text += &format!(
            "[[listener]]\n\
             name = '{name}'\n\
             bind = ['{bind}']\n\
             upstream = '{name}'\n\
             [listener.proxy_protocol]\n\
             accept = 'require'\n\
             trust = ['127.0.0.1']\n\
             [upstream.{name}]\n\
             endpoints = [{endpoints}]\n\
             [upstream.{name}.proxy_protocol]\n\
             send = 'v2'\n"
        );
    }
    text
}
