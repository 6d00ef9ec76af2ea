//! strace on the worker of a server: what it calls, and calls that fail or stop it.

use std::process::Command;

use rustix::process::{Pid, Signal};

use super::wait_for_worker;
use crate::common::process::{Proc, Stream, require_program};

/// Attaches strace to the worker alone: other threads use the same calls for their own ends.
#[track_caller]
pub(crate) fn attach(pid: Pid, args: &[&str]) -> Proc {
    let program = require_program("strace", "apt-get install -y --no-install-recommends strace");
    let thread = wait_for_worker(pid, 'S');
    let strace = Proc::spawn("strace", Command::new(program).args(args).args(["-p", &thread]));
    // It fails where processes may not be traced: be root, or set kernel.yama.ptrace_scope to 0.
    strace
        .wait_for_line(Stream::Stderr, "attached", |line| line.contains("attached").then_some(()));
    strace
}

/// Takes strace off, and returns what it wrote.
#[track_caller]
pub(crate) fn detach(mut strace: Proc) -> Vec<String> {
    strace.signal(Signal::INT);
    strace.wait_for_exit();
    strace.lines(Stream::Stderr)
}
