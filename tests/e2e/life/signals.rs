//! Signals at every moment: also while the process waits for a file, an endpoint or a reader, for each of which it may
//! wait for ever.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::process::{Proc, Stream, require_program};
use crate::common::socket::ReservedPort;
use crate::life::procfs;
use crate::life::server::{Server, bound, file, ppserver, wait_for, written};
use crate::life::session::Session;

/// "At once", on a busy machine: far below what is waited for.
const SOON: Duration = Duration::from_secs(2);

/// Makes a FIFO: whoever opens it waits for the other end.
#[track_caller]
pub(crate) fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a FIFO can be made");
}

/// Waits until somebody reads a FIFO, and returns the other end: the reader waits for it to go.
#[track_caller]
pub(crate) fn writer(fifo: &Path) -> fs::File {
    // Without a reader that fails (fifo(7)).
    let writer = || open(fifo, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
    poll_for(PATIENCE, writer).expect("the FIFO is read").into()
}

/// What a start waits for.
struct Wait {
    /// Writes to it, once the server waits there.
    far: fs::File,
    proc: Proc,
    fifo: PathBuf,
    _dir: TempDir,
}

impl Wait {
    /// A start that waits for its file.
    #[track_caller]
    fn for_the_file() -> Wait {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let path = dir.path().join("ppserver.toml");
        fifo(&path);
        let proc = Proc::spawn("ppserver", ppserver().args(["run", "-c"]).arg(&path));
        Wait { far: writer(&path), proc, fifo: path, _dir: dir }
    }

    /// A start that waits until an upstream has an endpoint, which a file would say.
    #[track_caller]
    fn for_an_endpoint() -> Wait {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let path = dir.path().join("web.txt");
        fifo(&path);
        let endpoints = format!("endpoints = [{{ file = '{}' }}]", path.display());
        let nobody = ([127, 0, 0, 1], 9).into();
        let text = file(&[], nobody).replace("endpoints = ['127.0.0.1:9']", &endpoints);
        let file = dir.path().join("ppserver.toml");
        fs::write(&file, text).expect("the directory is ours");
        let mut command = ppserver();
        let proc = Proc::spawn("ppserver", command.args(["run", "--wait-names", "-c"]).arg(&file));
        Wait { far: writer(&path), proc, fifo: path, _dir: dir }
    }

    #[track_caller]
    fn assert_ends_at_once(mut self, signal: Signal) {
        for signal in [Signal::HUP, Signal::USR1, signal] {
            self.proc.signal(signal);
        }
        let ended = poll_for(SOON, || (!self.proc.is_running()).then_some(()));
        assert!(ended.is_some(), "{signal:?}: it does not end\n{}", self.proc.transcript());
        assert_eq!(self.proc.wait_for_exit().code(), Some(0), "{}", self.proc.transcript());
        let said = self.proc.lines(Stream::Stderr);
        assert!(!said.iter().any(|line| line.contains("listening")), "{said:?}");
    }
}

#[test]
fn a_start_that_waits_for_ever_ends_at_once_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        Wait::for_the_file().assert_ends_at_once(signal);
        Wait::for_an_endpoint().assert_ends_at_once(signal);
    }
}

#[test]
fn signals_that_come_during_a_start_are_answered_behind_it() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let Wait { mut far, proc, fifo, _dir } = Wait::for_the_file();
    for signal in [Signal::HUP, Signal::USR1] {
        proc.signal(signal);
    }
    far.write_all(file(&[], ends[0].addr()).as_bytes()).expect("a FIFO has room for it");
    drop(far);
    let addr = bound(&proc, 1)[0];
    wait_for(&proc, "counters", 0);
    writer(&fifo).write_all(file(&[], ends[1].addr()).as_bytes()).expect("a FIFO has room for it");
    wait_for(&proc, "reloaded", 0);
    Session::open(addr);
    assert_eq!(ends.map(|end| end.accepted()), [0, 1]);
}

#[test]
fn a_reload_that_hangs_is_given_up_and_the_next_one_works() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let mut server = Server::start(&file(&[], ends[0].addr()));
    fs::remove_file(server.file()).expect("it is there");
    fifo(server.file());
    server.proc.signal(Signal::HUP);
    let _silent = writer(server.file());
    server.counters();
    Session::open(server.addr());
    let refused = server.wait_for("reload refused", 0);
    assert!(
        refused["why"].as_str().is_some_and(|why| why.contains("no answer within")),
        "{refused}"
    );
    fs::remove_file(server.file()).expect("it is there");
    server.reload(&file(&[], ends[1].addr()), "reloaded");
    Session::open(server.addr());
    assert_eq!(ends.map(|end| end.accepted()), [1, 1]);
    server.stop();
}

#[test]
fn a_reload_that_hangs_keeps_no_server_alive() {
    let mut server = Server::start(&file(&[], "127.0.0.1:9".parse().expect("an address")));
    fs::remove_file(server.file()).expect("it is there");
    fifo(server.file());
    server.proc.signal(Signal::HUP);
    let _silent = writer(server.file());
    server.proc.signal(Signal::TERM);
    assert!(server.ends_within(SOON), "{}", server.proc.transcript());
    server.ended();
}

/// A start whose access log is a FIFO that nobody reads, and the port it is to listen at.
#[track_caller]
fn unread_access_log() -> (Proc, ReservedPort, PathBuf, TempDir) {
    let port = ReservedPort::new();
    let (dir, path) = written("");
    let log = dir.path().join("access.log");
    fifo(&log);
    let output = format!("access_log.output = 'file:{}'", log.display());
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let text = file(&["access_log.enabled = true", &output], nowhere);
    fs::write(&path, text.replace("127.0.0.1:0", &port.addr().to_string())).expect("it is there");
    let proc = Proc::spawn("ppserver", ppserver().args(["run", "-c"]).arg(&path));
    (proc, port, log, dir)
}

#[test]
fn an_access_log_that_nobody_reads_fails_the_start_before_anything_listens() {
    let (mut proc, port, log, _dir) = unread_access_log();
    let waits = poll_for(PATIENCE, || procfs::thread_id(proc.pid(), "opener"));
    waits.expect("it is to be opened");
    let refused = std::net::TcpStream::connect(port.addr()).expect_err("nothing listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(proc.wait_for_exit().code(), Some(1), "{}", proc.transcript());
    let said = proc.lines(Stream::Stderr).join("\n");
    for word in ["access log", log.to_str().expect("a UTF-8 name"), "no answer within"] {
        assert!(said.contains(word), "`{word}` is missing:\n{said}");
    }
    assert!(!said.contains("listening"), "{said}");
}

#[test]
fn a_start_that_waits_for_a_reader_of_its_access_log_ends_when_told_to_and_goes_on_when_one_comes()
{
    let (mut proc, _port, _log, _dir) = unread_access_log();
    let waits = poll_for(PATIENCE, || procfs::thread_id(proc.pid(), "opener"));
    waits.expect("it is to be opened");
    proc.signal(Signal::TERM);
    let ended = poll_for(SOON, || (!proc.is_running()).then_some(()));
    assert!(ended.is_some(), "{}", proc.transcript());
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());

    let (mut proc, _port, log, _dir) = unread_access_log();
    let _reader = open(&log, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .expect("it can be opened for reading first");
    bound(&proc, 1);
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
}

/// As process 1 of a container, whose signals the kernel drops unless they are handled.
#[test]
fn process_1_ends_at_once_while_it_starts() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("ppserver.toml");
    fifo(&path);
    require_program("unshare", "apt-get install util-linux");
    let mut command = Command::new("unshare");
    // Without the privilege a user namespace gives it, where those are allowed.
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
    command.arg(env!("CARGO_BIN_EXE_ppserver")).args(["run", "-c"]).arg(&path);
    let mut unshare = Proc::spawn("unshare", &mut command);
    let _silent = poll_for(PATIENCE, || {
        assert!(
            unshare.is_running(),
            "a PID namespace is needed, and not to be had here:\n{}",
            unshare.transcript()
        );
        open(&path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok()
    });
    let server = procfs::children(unshare.pid())[0];
    assert_eq!(procfs::innermost_pid(server), 1);
    kill_process(server, Signal::TERM).expect("it is a child of our child");
    let ended = poll_for(SOON, || (!unshare.is_running()).then_some(()));
    assert!(ended.is_some(), "{}", unshare.transcript());
    // unshare ends as its child did.
    assert_eq!(unshare.wait_for_exit().code(), Some(0), "{}", unshare.transcript());
}

#[test]
fn a_limit_of_file_sizes_costs_lines_and_no_process() {
    const CONNECTIONS: usize = 20;
    let far_end = FarEnd::start();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let log = dir.path().join("access.log");
    let output = format!("access_log.output = 'file:{}'", log.display());
    let text = file(&["access_log.enabled = true", &output], far_end.addr());
    // In blocks of 512 bytes: room for a few lines of about 200.
    let mut server = Server::start_after("ulimit -f 2", &text);
    for _ in 0..CONNECTIONS {
        let mut session = Session::open(server.addr());
        session.finish();
        session.rest();
    }
    let counters = server.stop();
    let text = fs::read_to_string(&log).expect("it is there");
    // The last one may be there in part.
    let written = text.matches('\n').count();
    let dropped = counters["access_lines_dropped"].as_u64().and_then(|lines| lines.try_into().ok());
    let dropped: usize = dropped.expect("a count");
    assert!(written > 0 && dropped > 0, "{text}{counters}");
    assert_eq!(written + dropped, CONNECTIONS, "{text}{counters}");
    assert_eq!(server.records("the access log cannot be written").len(), 1);
}
