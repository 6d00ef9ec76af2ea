//! A process under test: its output is drained from the start, and it is gone when the value is.
//!
//! Invariant: only the process that was spawned here is signalled, by its own id, before it is
//! reaped, so that the id cannot have passed to a stranger.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::deadline::{Deadline, PATIENCE, poll_for};

/// How long a dropped process has between SIGTERM and SIGKILL.
const DROP_GRACE: Duration = Duration::from_secs(3);

/// A running program, stopped on drop; its output is shown when the test fails.
pub(crate) struct Proc {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// Which stream a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

struct OutputState {
    lines: Vec<(Stream, String)>,
    /// Streams not yet at their end, 0..=2.
    open: usize,
}

impl Proc {
    /// Starts `command` with empty input and drained output; `name` is for messages.
    #[track_caller]
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Proc {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Proc::spawn_with(name, command)
    }

    /// As `spawn`, with the input and the output that `command` was told; the latter is drained if it is a pipe.
    #[track_caller]
    pub(crate) fn spawn_with(name: &str, command: &mut Command) -> Proc {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let open = 1 + usize::from(stdout.is_some());
        let state = Mutex::new(OutputState { lines: Vec::new(), open });
        let output = Arc::new(Output { state, changed: Condvar::new() });
        if let Some(stdout) = stdout {
            drain(Stream::Stdout, stdout, &output);
        }
        drain(Stream::Stderr, stderr.expect("it is piped above"), &output);
        Proc { name: name.to_owned(), child, output }
    }

    /// Waits for the first line of `stream`, past or future, in which `find` finds something.
    #[track_caller]
    pub(crate) fn wait_for_line<T>(
        &self,
        stream: Stream,
        what: &str,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let deadline = Deadline::after(PATIENCE);
        let mut looked_at = 0;
        let mut state = self.output.lock();
        loop {
            let new = &state.lines[looked_at..];
            if let Some(found) =
                new.iter().filter(|(from, _)| *from == stream).find_map(|(_, line)| find(line))
            {
                return found;
            }
            looked_at = state.lines.len();
            let left = deadline.left();
            if left.is_zero() || state.open == 0 {
                drop(state);
                panic!("{}: no line on {stream:?} with {what}\n{}", self.name, self.transcript());
            }
            let waited = self.output.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The lines written to `stream` so far.
    pub(crate) fn lines(&self, stream: Stream) -> Vec<String> {
        let state = self.output.lock();
        let of_stream = state.lines.iter().filter(|(from, _)| *from == stream);
        of_stream.map(|(_, line)| line.clone()).collect()
    }

    /// Whether it has not exited yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of this process can be waited for").is_none()
    }

    /// Its process id, for what /proc says of it.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends `signal` to it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("an unreaped child can be signalled");
    }

    /// Waits until it has exited and its last line is read.
    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let Some(status) = self.exited_within(PATIENCE) else {
            panic!("{} does not exit\n{}", self.name, self.transcript());
        };
        self.read_to_end();
        status
    }

    /// Ends it, if it still runs; returns how it ended, its last line being read.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        let status = self.stop();
        self.read_to_end();
        status
    }

    /// Everything it has written, as the block a failure message shows.
    pub(crate) fn transcript(&self) -> String {
        let state = self.output.lock();
        let mut text = format!("--- {} wrote {} lines\n", self.name, state.lines.len());
        for (stream, line) in &state.lines {
            text.push_str(&format!("{stream:?}: {line}\n"));
        }
        text
    }

    fn stop(&mut self) -> Option<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::TERM);
            if self.exited_within(DROP_GRACE).is_none() {
                self.signal(Signal::KILL);
            }
        }
        self.exited_within(DROP_GRACE)
    }

    fn read_to_end(&self) {
        let deadline = Deadline::after(PATIENCE);
        let mut state = self.output.lock();
        while state.open > 0 && !deadline.left().is_zero() {
            let waited = self.output.changed.wait_timeout(state, deadline.left());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn exited_within(&mut self, span: Duration) -> Option<ExitStatus> {
        poll_for(span, || self.child.try_wait().expect("a child of this process can be waited for"))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            eprint!("{}", self.transcript());
        }
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of `program`, or a failure that says what to install.
#[track_caller]
pub(crate) fn require_program(program: &str, install: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    // Servers live in sbin, which an unprivileged user's PATH often lacks.
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places
        .map(|place| place.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{program} is needed and not installed: {install}"))
}

fn drain(stream: Stream, pipe: impl Read + Send + 'static, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            output.lock().lines.push((stream, line));
            output.changed.notify_all();
        }
        output.lock().open -= 1;
        output.changed.notify_all();
    });
}
