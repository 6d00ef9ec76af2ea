//! The life of a server under load: reloads and upgrades that nobody notices, and processes that are killed.
//!
//! `ppload` opens short connections at a constant rate all the while and looks at every byte of their answers. A reload or
//! an upgrade may cost none of them; a process that is killed costs the sessions that it has, and nobody may be refused
//! meanwhile. Invariant: only a child of the supervisor that was started here is killed.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ppload::{After, Check, Failures, Header, LISTENING, Latency, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

use super::server::{listening, record};
use super::stream::PATIENCE;
use crate::host;
use crate::process::Process;
use crate::usage::Family;

/// Connections to begin each second.
const RATE: u32 = 2_000;
/// At a time: a second's worth may wait.
const CONNECTIONS: u32 = RATE;
const RELOADS: u32 = 100;
const UPGRADES: u32 = 20;
/// Between two of them.
const STEP: Duration = Duration::from_millis(250);
const KILLS: u32 = 20;
/// Between two of them: one that has lived for a second is replaced at once.
const KILL_EVERY: Duration = Duration::from_millis(1_500);
/// The load goes on for so long behind the last of them.
const BEHIND: Duration = Duration::from_secs(2);
/// The longest time from a kill to the first connection that is served.
const BACK_MAX: Duration = Duration::from_millis(100);

/// What became of the connections of a load.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    started: u64,
    completed: u64,
    timed_out: u64,
    /// By what went wrong.
    failed: Failures,
    latency: Latency,
}

/// What a life has cost.
#[derive(Debug, Serialize)]
pub(super) struct Life {
    reloads: u32,
    upgrades: u32,
    /// Meanwhile.
    changes: Load,
    /// Milliseconds from each kill to the end of the first exchange that was served.
    back: Vec<f64>,
    /// Meanwhile.
    kills: Load,
}

/// A supervised server and the end behind it.
struct Served {
    server: Process,
    addr: SocketAddr,
    _sink: Process,
    file: tempfile::NamedTempFile,
    sink_addr: SocketAddr,
}

/// Lives through all of it.
///
/// # Errors
/// When it cannot, or the server does not say what it does.
pub(super) fn run(program: &Path, ppload: &Path) -> Result<Life> {
    eprintln!("{RELOADS} reloads and {UPGRADES} upgrades at {RATE} connections/s");
    let mut served = Served::start(program, ppload)?;
    let changes = under_load(ppload, served.addr, STEP * (RELOADS + UPGRADES), || {
        let began = host::now();
        for step in 0..RELOADS + UPGRADES {
            wait_until(began + STEP * step);
            if step % (RELOADS / UPGRADES + 1) == RELOADS / UPGRADES {
                served.ask(Signal::USR2, "upgraded")?;
            } else {
                served.change(step)?;
                served.ask(Signal::HUP, "reloaded")?;
            }
        }
        Ok(())
    })?;
    served.server.stop()?;
    eprintln!("{KILLS} kills at {RATE} connections/s");
    let mut served = Served::start(program, ppload)?;
    let mut back = Vec::new();
    let kills = under_load(ppload, served.addr, KILL_EVERY * (KILLS + 1), || {
        let began = host::now();
        for kill in 0..KILLS {
            wait_until(began + KILL_EVERY * (kill + 1));
            back.push(served.kill()?.as_secs_f64() * 1e3);
        }
        Ok(())
    })?;
    served.server.stop()?;
    Ok(Life { reloads: RELOADS, upgrades: UPGRADES, changes, back, kills })
}

/// Does something that takes so long under load.
fn under_load(
    ppload: &Path,
    to: SocketAddr,
    span: Duration,
    work: impl FnOnce() -> Result<()>,
) -> Result<Load> {
    let [to, rate, connections] = [to.to_string(), RATE.to_string(), CONNECTIONS.to_string()];
    let span = span + BEHIND;
    let run_for = format!("{}ms", span.as_millis());
    let words = ["load", "short", "--to", &to, "--proxy", "v2", "--rate", &rate, "--json"];
    let more = ["--connections", &connections, "--for", &run_for];
    let load = Process::start("load", ppload, &[&words[..], &more].concat())?;
    let began = host::now();
    work()?;
    let took = host::now() - began;
    ensure!(took < span, "it took longer than the load, which was to last {run_for}");
    let lines = load.finish(span + PATIENCE)?;
    let json = lines.iter().rev().find(|line| line.starts_with('{'));
    let report: ppload::Report = serde_json::from_str(json.context("the load printed no report")?)?;
    let ppload::Connections { started, completed, timed_out, failed, .. } = report.connections;
    Ok(Load { started, completed, timed_out, failed, latency: report.latency })
}

impl Served {
    fn start(program: &Path, ppload: &Path) -> Result<Self> {
        let mut sink = Process::start("sink", ppload, &["sink", "--proxy"])?;
        let sink_addr = sink
            .wait_for_line("where it listens", |line| line.strip_prefix(LISTENING)?.parse().ok())?;
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text(sink_addr, 0))?;
        let name = file.path().to_str().context("the temporary directory has a UTF-8 name")?;
        let words = ["run", "--supervise", "-c", name];
        let mut server = Process::start("ppserver", program, &words)?;
        let addr = listening(&mut server, "edge")?;
        Ok(Self { server, addr, _sink: sink, file, sink_addr })
    }

    /// Makes the file another one than before.
    fn change(&self, number: u32) -> Result<()> {
        Ok(fs::write(self.file.path(), text(self.sink_addr, number))?)
    }

    /// Has something done, and waits until it is said to be.
    fn ask(&mut self, signal: Signal, message: &str) -> Result<Value> {
        let seen = self.server.lines().len();
        self.server.signal(signal)?;
        self.server.wait_for_line_behind(seen, message, |line| record(line, message))
    }

    /// Kills the process that serves, and returns how long it is until somebody is served again.
    fn kill(&mut self) -> Result<Duration> {
        let family = Family::of(self.server.id());
        let [_, ward] = family.pids() else {
            anyhow::bail!("not one process serves: {:?}", family.pids());
        };
        let ward = Pid::from_raw(i32::try_from(*ward)?).context("a process has a number")?;
        let killed = host::now();
        kill_process(ward, Signal::KILL)?;
        let served = host::poll_for(PATIENCE, || Ok(exchange(self.addr).ok()))?;
        served.context("nobody is served behind a kill")?;
        Ok(host::now() - killed)
    }
}

/// One exchange.
fn exchange(to: SocketAddr) -> io::Result<()> {
    let request = Request { up: 0, down: 1, after: After::Close, check: Check::Length };
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[Header::V2.bytes(), &request.head()].concat())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn wait_until(at: Instant) {
    host::pause(at.saturating_duration_since(host::now()));
}

/// A file that differs from one number to the next.
fn text(to: SocketAddr, number: u32) -> String {
    let idle = 30_000 + number;
    format!(
        "config_version = 1\n\
         server.workers = 2\n\
         timeouts.idle = '{idle}ms'\n\
         [[listener]]\n\
         name = 'edge'\n\
         bind = ['127.0.0.1:0']\n\
         upstream = 'edge'\n\
         [listener.proxy_protocol]\n\
         accept = 'require'\n\
         trust = ['127.0.0.1']\n\
         [upstream.edge]\n\
         endpoints = ['{to}']\n\
         [upstream.edge.proxy_protocol]\n\
         send = 'v2'\n"
    )
}

impl Life {
    /// Everything that must not be.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let (changes, kills) = (&self.changes, &self.kills);
        if changes.completed != changes.started {
            complaints.push(format!("reloads and upgrades cost {}", changes.lost()));
        }
        let refused = kills.failed.get("ECONNREFUSED").copied().unwrap_or(0);
        if refused + kills.timed_out > 0 {
            complaints.push(format!(
                "while processes were killed {refused} connections were refused and {} not served",
                kills.timed_out
            ));
        }
        let longest = self.longest();
        if longest > BACK_MAX.as_secs_f64() * 1e3 {
            complaints.push(format!("it took {longest:.0} ms to serve again behind a kill"));
        }
        complaints
    }

    fn longest(&self) -> f64 {
        self.back.iter().copied().fold(0.0, f64::max)
    }
}

impl Load {
    /// Those that did not complete, in words.
    fn lost(&self) -> String {
        let words = self.failed.iter().map(|(what, count)| format!("{count} x {what}"));
        let lost = self.started - self.completed;
        let words: Vec<_> = words.chain([format!("{} timed out", self.timed_out)]).collect();
        format!("{lost} of {} connections ({})", self.started, words.join(", "))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reloads, upgrades, changes, back, kills } = self;
        let mut sorted = back.clone();
        sorted.sort_by(f64::total_cmp);
        writeln!(
            f,
            "changes       {reloads} reloads, {upgrades} upgrades at {RATE}/s: lost {}; p99 {:.0} us, max {:.0} us",
            changes.lost(),
            changes.latency.p99,
            changes.latency.max
        )?;
        writeln!(
            f,
            "kills         {} at {RATE}/s: lost {}; served again after {:.1} ms, median {:.1} ms, max {:.1} ms",
            back.len(),
            kills.lost(),
            sorted.first().copied().unwrap_or_default(),
            sorted.get(sorted.len() / 2).copied().unwrap_or_default(),
            self.longest()
        )
    }
}
