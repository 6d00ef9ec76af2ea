//! An error from every system call of a connection's way, one at a time (strace's `inject`).
//!
//! Not EAGAIN: under edge triggering it would be a lie that no kernel tells, and waiting for the
//! next edge the right answer. The connection that is hit may be served or reset, but an answer that
//! ends with a FIN is whole.

use std::process::Command;

use rustix::process::Signal;

use super::Calm;
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::payload::{self, assert_same};
use crate::common::process::{Proc, Stream, require_program};
use crate::common::socket::{Answer, Client};
use crate::life::procfs;
use crate::life::server::{Server, file};
use crate::life::session::HEADER;

/// Calls of one kind that are hit, each in a conversation of its own; fewer if there are no more.
const CALLS_MAX: usize = 6;
/// Enough payload to be spliced.
const PAYLOAD: usize = 512 * 1024;

/// The calls of a connection's way, each with errors that its manual page lists.
const CALLS: [(&str, &[&str]); 11] = [
    ("accept4", &["ECONNABORTED", "EMFILE", "ENOMEM", "EPROTO", "EINTR"]),
    ("epoll_wait", &["EINTR"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("recvfrom", &["ECONNRESET", "ETIMEDOUT", "ENOMEM", "EINTR"]),
    ("socket", &["EMFILE", "ENOBUFS"]),
    ("connect", &["ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH", "ETIMEDOUT"]),
    ("sendto", &["EPIPE", "ECONNRESET", "ENOBUFS", "EINTR"]),
    ("splice", &["EINVAL", "ENOMEM", "ECONNRESET", "EINTR"]),
    ("pipe2", &["EMFILE", "ENFILE"]),
    ("setsockopt", &["ENOBUFS", "EINVAL"]),
    ("shutdown", &["ENOTCONN", "ENOBUFS"]),
];

#[test]
fn an_error_from_any_system_call_costs_at_most_the_connection_it_hits() {
    let far_end = FarEnd::start();
    let settings = ["server.workers = 1", "splice.mode = 'always'"];
    let payload = payload::random(1, PAYLOAD);
    for (call, errors) in CALLS {
        for error in errors {
            // A server for each: pipes are kept for later, and its first connection makes them.
            let server = Server::start(&file(&settings, far_end.addr()));
            let calm = Calm::of(&server);
            for nth in 1..=CALLS_MAX {
                let blow = format!("{call} {error} number {nth}");
                let strace = inject(&server, call, error, nth);
                let client = Client::connect(server.addr().ip(), server.addr());
                match client.exchange(&[HEADER, &payload].concat()) {
                    Answer::Complete(bytes) => assert_same(&bytes, &payload),
                    Answer::Reset => {}
                }
                let was_hit = detach(strace);
                assert!(was_hit || nth > 1, "{blow}: the server makes no such call");
                calm.assert_back(&server, &blow);
                if !was_hit {
                    break;
                }
            }
        }
    }
}

/// Attaches strace, so that call number `nth` from now on fails.
#[track_caller]
fn inject(server: &Server, call: &str, error: &str, nth: usize) -> Proc {
    let program = require_program("strace", "apt-get install -y --no-install-recommends strace");
    // The worker alone: other threads use the same calls for their own ends.
    let thread = poll_for(PATIENCE, || procfs::thread_id(server.pid(), "worker-0"));
    let thread = thread.expect("the worker has its name");
    let fault = format!("inject={call}:error={error}:when={nth}");
    let mut command = Command::new(program);
    command.args(["-e", &format!("trace={call}"), "-e", &fault, "-p", &thread]);
    let strace = Proc::spawn("strace", &mut command);
    // It fails where processes may not be traced: be root, or set kernel.yama.ptrace_scope to 0.
    strace
        .wait_for_line(Stream::Stderr, "attached", |line| line.contains("attached").then_some(()));
    strace
}

/// Takes strace off; says whether the fault came about.
#[track_caller]
fn detach(mut strace: Proc) -> bool {
    strace.signal(Signal::INT);
    strace.wait_for_exit();
    strace.lines(Stream::Stderr).iter().any(|line| line.contains("(INJECTED)"))
}
