//! A program of a bench or a soak: kept to its cores, its output collected, stopped by its own id.
//!
//! Invariant: only a process that was started here is signalled, before it is reaped, so that the
//! id cannot have passed to a stranger; and it is gone when the value is. So a bench that is
//! interrupted only has to return: every wait for a program ends with an error then.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::host::{self, poll_for};
use crate::ports;

/// How long a program may take to say or to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long after its last answer a program that dies may still look alive.
const DYING: Duration = Duration::from_millis(200);

/// The core of the proxy under test, unless a case says otherwise.
pub(crate) const PROXY_CORE: usize = 0;
/// The core of generator and backend, likewise.
pub(crate) const LOAD_CORE: usize = 1;

/// Set by SIGINT and SIGTERM, which are sent to the whole program. A soak has a flag of its own.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM end no more than the waits for programs.
///
/// # Errors
/// When the signals cannot be caught.
pub(crate) fn heed_interrupts() -> Result<()> {
    if INTERRUPTED.get().is_none() {
        let flag = host::interrupt()?;
        INTERRUPTED.get_or_init(|| flag);
    }
    Ok(())
}

/// Whether one of them has come.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails once one of them has come.
pub(crate) fn check_interrupted() -> Result<()> {
    ensure!(!is_interrupted(), "interrupted");
    Ok(())
}

/// Looks until `look` finds something, at most for `span` and until an interrupt.
pub(crate) fn wait_for<T>(
    span: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    poll_for(span, || {
        check_interrupted()?;
        look()
    })
}

/// Where the programs of a case run: lists of cores as taskset(1) reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) proxy: &'static str,
    /// Generator and backend.
    pub(crate) load: &'static str,
}

impl Cores {
    /// The proxy alone on its core.
    pub(crate) const APART: Self = Self { proxy: "0", load: "1" };
    /// Everybody on one core.
    pub(crate) const ONE: Self = Self { proxy: "0", load: "0" };
    /// Everybody wherever the scheduler likes.
    pub(crate) const SHARED: Self = Self { proxy: "0,1", load: "0,1" };
}

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts `program` with `words`; `name` is for messages.
    pub(crate) fn start(name: &str, program: &Path, words: &[&str]) -> Result<Self> {
        Self::spawn(name, Command::new(program).args(words))
    }

    /// Starts it on `cores`, a list of taskset(1).
    pub(crate) fn pinned(name: &str, cores: &str, program: &Path, words: &[&str]) -> Result<Self> {
        // taskset becomes the program: the id stays the same, and no thread escapes the core.
        let mut command = Command::new("taskset");
        Self::spawn(name, command.args(["-c", cores]).arg(program).args(words))
    }

    fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{name} does not start"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("stdout is piped above");
        let stderr = child.stderr.take().expect("stderr is piped above");
        let readers = vec![collect(stdout, &lines), collect(stderr, &lines)];
        Ok(Self { name: name.to_owned(), child, lines, readers })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines written so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line, past or future, in which `find` finds something.
    pub(crate) fn wait_for_line<T>(
        &mut self,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        self.wait_for_line_behind(0, what, find)
    }

    /// The same, behind the first `seen` lines.
    pub(crate) fn wait_for_line_behind<T>(
        &mut self,
        seen: usize,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let found = wait_for(PATIENCE, || {
            let found = self.lines().iter().skip(seen).rev().find_map(|line| find(line));
            if found.is_none() {
                self.check_alive()?;
            }
            Ok(found)
        })?;
        found.with_context(|| self.transcript(&format!("did not say {what}")))
    }

    /// Waits until it listens on `port` of 127.0.0.1.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_until(ports::is_taken, port)
    }

    /// Waits until `port` is its own, as `is_its` says.
    pub(crate) fn wait_until(
        &mut self,
        is_its: impl Fn(u16) -> Result<bool>,
        port: u16,
    ) -> Result<()> {
        let listening = wait_for(PATIENCE, || {
            self.check_alive()?;
            Ok(is_its(port)?.then_some(()))
        })?;
        listening.with_context(|| self.transcript(&format!("does not listen on port {port}")))
    }

    fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{}", self.transcript(&format!("ended early ({status})"))),
            None => Ok(()),
        }
    }

    /// How it ended, if it did so unasked.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = poll_for(DYING, || Ok(self.child.try_wait()?)).ok()??;
        Some(self.transcript(&format!("died ({status})")))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signalling {}", self.name))
    }

    /// Waits up to `span` for it to end by itself and returns all it wrote.
    pub(crate) fn finish(self, span: Duration) -> Result<Vec<String>> {
        self.end(span, |status| status.success())
    }

    /// Asks it to end and returns all it wrote. HAProxy dies of the signal that asks.
    pub(crate) fn stop(self) -> Result<Vec<String>> {
        self.signal(Signal::TERM)?;
        let term = Some(Signal::TERM.as_raw());
        self.end(PATIENCE, |status| status.success() || status.signal() == term)
    }

    fn end(
        mut self,
        span: Duration,
        is_good: impl FnOnce(ExitStatus) -> bool,
    ) -> Result<Vec<String>> {
        let Some(status) = wait_for(span, || Ok(self.child.try_wait()?))? else {
            bail!("{}", self.transcript("does not end"));
        };
        for reader in self.readers.drain(..) {
            // A reader never panics; if it did, the lines it has read still count.
            let _ = reader.join();
        }
        if !is_good(status) {
            bail!("{}", self.transcript(&format!("failed ({status})")));
        }
        Ok(self.lines())
    }

    fn transcript(&self, what: &str) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return format!("{} {what}, and had written nothing", self.name);
        }
        let last = lines[lines.len().saturating_sub(20)..].join("\n    ");
        format!("{} {what}; its last lines:\n    {last}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::TERM);
            if !matches!(poll_for(PATIENCE, || Ok(self.child.try_wait()?)), Ok(Some(_))) {
                let _ = self.signal(Signal::KILL);
                let _ = self.child.wait();
            }
        }
    }
}

fn collect(
    pipe: impl Read + Send + 'static,
    lines: &Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

/// Runs a command that runs another and passes no signal on to it, as cargo does: an interrupt ends
/// the group of the two.
///
/// # Errors
/// When it fails or is interrupted.
pub(crate) fn run_group(command: &mut Command) -> Result<()> {
    let mut child = command.process_group(0).spawn().context("cargo does not start")?;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "cargo failed ({status})");
            return Ok(());
        }
        if let Err(interrupted) = check_interrupted() {
            kill_process_group(Pid::from_child(&child), Signal::TERM)?;
            child.wait()?;
            return Err(interrupted);
        }
        host::pause(DYING);
    }
}

/// Runs a program to its end and returns what it wrote, both streams together.
pub(crate) fn output(program: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not start", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use tools::programs;

    use super::*;

    #[test]
    fn a_program_is_heard_and_stopped() {
        let shell = programs::find("sh").unwrap();
        let words =
            ["-c", "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.01; done"];
        let mut process = Process::start("shell", &shell, &words).unwrap();
        let id = process.id();
        process.wait_for_line("hello", |line| (line == "hello").then_some(())).unwrap();
        assert_eq!(process.stop().unwrap(), ["hello", "bye"]);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn a_death_is_told_with_its_signal_and_the_last_words() {
        let shell = programs::find("sh").unwrap();
        let words = ["-c", "echo alive; while :; do sleep 0.01; done"];
        let mut process = Process::start("shell", &shell, &words).unwrap();
        process.wait_for_line("alive", |line| (line == "alive").then_some(())).unwrap();
        assert_eq!(process.death(), None);
        process.signal(Signal::KILL).unwrap();
        let death = process.death().unwrap();
        assert!(death.contains("shell died (signal: 9"), "{death}");
        assert!(death.ends_with("alive"), "{death}");
    }

    #[test]
    fn a_program_that_ends_early_shows_its_last_words() {
        let shell = programs::find("sh").unwrap();
        let mut process =
            Process::start("shell", &shell, &["-c", "echo no config >&2; exit 1"]).unwrap();
        let error = process.wait_for_port(1).unwrap_err().to_string();
        assert!(error.contains("shell ended early"), "{error}");
        let error = process.finish(PATIENCE).unwrap_err().to_string();
        assert!(error.contains("failed") && error.contains("no config"), "{error}");
    }
}
