//! A server under test: started as asked, found by its start lines, questioned by signals.
//!
//! `common::ppserver` is for tests of what goes through a server. This one keeps the file, so that
//! it can be changed, takes any number of ports, and can be started with limits of its own.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, prlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::ppserver::assert_all_ended;
use crate::common::process::{Proc, Stream};
use crate::life::procfs;

/// The binary under test.
pub(crate) fn ppserver() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ppserver"))
}

/// A file with one listener, `edge`, which trusts 127.0.0.1 alone and relays to `to`. `settings` are
/// lines for its top, such as `server.workers = 1`.
pub(crate) fn file(settings: &[&str], to: SocketAddr) -> String {
    format!("config_version = 1\n{}\n{}", settings.join("\n"), listener("edge", to))
}

/// The tables of one more listener, with an upstream of the same name.
pub(crate) fn listener(name: &str, to: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = '{name}'\nbind = ['127.0.0.1:0']\nupstream = '{name}'\n\
         [listener.proxy_protocol]\naccept = 'require'\ntrust = ['127.0.0.1']\n\
         [upstream.{name}]\nendpoints = ['{to}']\n"
    )
}

/// What a command that ended by itself left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ran {
    let mut proc = Proc::spawn("ppserver", command);
    let code = proc.wait_for_exit().code();
    let text = |stream| proc.lines(stream).join("\n");
    Ran { code, stdout: text(Stream::Stdout), stderr: text(Stream::Stderr) }
}

/// Raises this process's own soft limit of descriptors, for tests with hundreds of sockets.
pub(crate) fn raise_own_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("the soft limit may be raised to the hard one");
}

/// A port that is free on every address and stays so: below the ephemeral range, so that no other
/// test's client is given it as its source port, which a wildcard bind would run into; and no two calls
/// return the same.
pub(crate) fn wildcard_port() -> u16 {
    static TAKEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.expect("Linux tells its ephemeral range");
    let low: u16 = range.split_whitespace().next().expect("a range").parse().expect("a port");
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: &u16| {
        !taken.contains(port)
            && TcpListener::bind(("0.0.0.0", *port)).is_ok()
            && TcpListener::bind(("::", *port)).is_ok()
    };
    let port = (low / 2..low).find(is_free).expect("a port below the ephemeral range is free");
    taken.push(port);
    port
}

/// A program without the permission for low ports.
pub(crate) fn without_low_ports(program: impl AsRef<OsStr>) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-net_bind_service").arg(program);
    command
}

/// The highest port that takes a permission, unless none does.
pub(crate) fn privileged_port() -> Option<u16> {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first_free: u16 =
        fs::read_to_string(path).expect("Linux has it").trim().parse().expect("it is a port");
    first_free.checked_sub(1).filter(|port| *port > 0)
}

/// A configuration in a file, which is there as long as its directory.
#[track_caller]
pub(crate) fn written(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let file = dir.path().join("ppserver.toml");
    fs::write(&file, text).expect("a file in it can be written");
    (dir, file)
}

/// A running `ppserver run -c FILE`.
pub(crate) struct Server {
    pub(crate) proc: Proc,
    bound: Vec<SocketAddr>,
    file: PathBuf,
    _dir: TempDir,
}

impl Server {
    /// Starts with this text in its file, which has one address to bind.
    #[track_caller]
    pub(crate) fn start(text: &str) -> Server {
        Server::start_ports(text, 1)
    }

    /// Starts with a file that has so many addresses to bind.
    #[track_caller]
    pub(crate) fn start_ports(text: &str, ports: usize) -> Server {
        Server::launch(text, ports, |file| {
            let mut command = ppserver();
            command.args(["run", "-c"]).arg(file);
            Proc::spawn("ppserver", &mut command)
        })
    }

    /// Starts with this text in the file that a command is told.
    #[track_caller]
    pub(crate) fn start_with(text: &str, command: impl FnOnce(&Path) -> Command) -> Server {
        Server::launch(text, 1, |file| Proc::spawn("ppserver", &mut command(file)))
    }

    /// Starts from a shell that has done `setup`, such as `ulimit -n 256`.
    #[track_caller]
    pub(crate) fn start_after(setup: &str, text: &str) -> Server {
        Server::start_with(text, |file| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{setup} && exec \"$0\" run -c \"$1\"")]);
            command.arg(env!("CARGO_BIN_EXE_ppserver")).arg(file);
            command
        })
    }

    /// Starts a process, however that is done, with this text in the file that it is told.
    #[track_caller]
    pub(crate) fn launch(text: &str, ports: usize, start: impl FnOnce(&Path) -> Proc) -> Server {
        let (dir, file) = written(text);
        let proc = start(&file);
        let bound = bound(&proc, ports);
        Server { proc, bound, file, _dir: dir }
    }

    /// Where its first port is.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.bound[0]
    }

    /// Where it listens, in the order of the file.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.bound
    }

    pub(crate) fn pid(&self) -> Pid {
        self.proc.pid()
    }

    /// Leaves it room for `more` descriptors beyond those it has.
    #[track_caller]
    pub(crate) fn limit_descriptors(&self, more: usize) {
        let open = procfs::descriptors(self.pid());
        // New ones get the lowest free number, which must be below the limit (getrlimit(2)).
        let limit = (0..).filter(|number| !open.contains_key(number)).nth(more);
        self.set_descriptor_limit(limit.expect("few numbers are in use"));
    }

    /// Takes `limit_descriptors` back.
    #[track_caller]
    pub(crate) fn unlimit_descriptors(&self) {
        self.set_descriptor_limit(procfs::descriptor_limits(self.pid()).1);
    }

    #[track_caller]
    fn set_descriptor_limit(&self, soft: usize) {
        let hard = procfs::descriptor_limits(self.pid()).1;
        let limit = [soft, hard].map(|limit| u64::try_from(limit).ok());
        let limit = Rlimit { current: limit[0], maximum: limit[1] };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("it is our child");
    }

    /// The file it was started with.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Puts `text` into its file, asks it to reload, and waits for the record of what came of it,
    /// whose message begins with `message`.
    #[track_caller]
    pub(crate) fn reload(&self, text: &str, message: &str) -> Value {
        fs::write(&self.file, text).expect("the file can be written");
        self.hang_up(message)
    }

    /// Sends SIGHUP and waits for a new record whose message begins with `message`.
    #[track_caller]
    pub(crate) fn hang_up(&self, message: &str) -> Value {
        self.ask(Signal::HUP, message)
    }

    /// The counters, now.
    #[track_caller]
    pub(crate) fn counters(&self) -> Value {
        self.ask(Signal::USR1, "counters")
    }

    /// Waits until the counters are as wanted.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = poll_for(PATIENCE, || Some(self.counters()).filter(&is_so));
        found.unwrap_or_else(|| panic!("the counters never said: {what}"))
    }

    /// The JSON records so far whose message begins with `message`.
    pub(crate) fn records(&self, message: &str) -> Vec<Value> {
        let lines = self.proc.lines(Stream::Stderr);
        lines.iter().filter_map(|line| record_of(line, message)).collect()
    }

    /// Waits for record number `nth` (from 0) whose message begins with `message`.
    #[track_caller]
    pub(crate) fn wait_for(&self, message: &str, nth: usize) -> Value {
        wait_for(&self.proc, message, nth)
    }

    /// Waits for its end, which must be exit code 0, and returns the counters it left.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Value {
        let status = self.proc.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{}", self.proc.transcript());
        self.records("counters").pop().expect("the last line is the counters")
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Value {
        self.proc.signal(Signal::TERM);
        self.ended()
    }

    /// Whether it ends within `span`.
    pub(crate) fn ends_within(&mut self, span: Duration) -> bool {
        poll_for(span, || (!self.proc.is_running()).then_some(())).is_some()
    }

    #[track_caller]
    fn ask(&self, signal: Signal, message: &str) -> Value {
        let before = self.records(message).len();
        self.proc.signal(signal);
        self.wait_for(message, before)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        assert_all_ended(&mut self.proc);
    }
}

/// Waits for so many start lines and returns their addresses.
#[track_caller]
pub(crate) fn bound(proc: &Proc, ports: usize) -> Vec<SocketAddr> {
    let bind = |nth| wait_for(proc, "listening", nth)["bind"].as_str().map(str::to_owned);
    let addr = |nth| bind(nth).and_then(|text| text.parse().ok()).expect("`bind` is an address");
    (0..ports).map(addr).collect()
}

/// Waits for record number `nth` (from 0) whose message begins with `message`.
#[track_caller]
pub(crate) fn wait_for(proc: &Proc, message: &str, nth: usize) -> Value {
    let mut seen = 0;
    proc.wait_for_line(Stream::Stderr, &format!("`{message}` number {nth}"), |line| {
        let record = record_of(line, message)?;
        seen += 1;
        (seen > nth).then_some(record)
    })
}

/// The JSON record on a line, if its message begins with `message`.
pub(crate) fn record_of(line: &str, message: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(line).ok()?;
    record["message"].as_str()?.starts_with(message).then_some(record)
}
