//! A Go program on pires/go-proxyproto, as server and as client.

use std::env;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::common::process::{Proc, Stream};
use crate::peers::{peer, require_path};

/// Where Debian installs the sources of Go libraries.
const GOPATH: &str = "/usr/share/gocode";

/// An echo server that requires a header and prints what it was told.
pub(crate) struct GoServer {
    proc: Proc,
    addr: SocketAddr,
}

impl GoServer {
    #[track_caller]
    pub(crate) fn start() -> GoServer {
        let proc = Proc::spawn("go server", Command::new(program()).arg("serve"));
        let addr = proc.wait_for_line(Stream::Stdout, "its address", |line| {
            line.strip_prefix("listening ").map(|addr| addr.parse().expect("an address"))
        });
        GoServer { proc, addr }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the first header: `version=N remote=ADDR local=ADDR vpce="..."`.
    #[track_caller]
    pub(crate) fn told(&self) -> String {
        self.proc.wait_for_line(Stream::Stdout, "a header", |line| {
            line.strip_prefix("told ").map(str::to_owned)
        })
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.proc.lines(Stream::Stdout).iter().filter(|line| *line == "accepted").count()
    }
}

/// Sends the example header, 192.168.100.200:55407 -> 192.168.100.201:8080, and `payload` from
/// the address `from`, with these further flags; the answer.
///
/// # Errors
/// With the program's message, when it failed.
#[track_caller]
pub(crate) fn send(
    from: IpAddr,
    flags: &[&str],
    to: SocketAddr,
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let input = dir.path().join("payload");
    fs::write(&input, payload).expect("a file in it can be written");
    let mut command = Command::new(program());
    command.args(["send", "-from", &from.to_string()]).args(flags).arg(to.to_string());
    command.stdin(Stdio::from(File::open(&input).expect("the file was written")));
    let output = command.output().expect("the program runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(output.stdout) } else { Err(message) }
}

/// A certificate for `name` and its key, in PEM, for a peer that speaks TLS.
#[track_caller]
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    let output = Command::new(program()).args(["certificate", name]).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The program, built once per run; the build cache stays in the target directory.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        require_path("/usr/share/gocode/src/github.com/pires/go-proxyproto");
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-go");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/go/peer");
        let program = scratch.join("peer");
        let mut command = Command::new(peer("go"));
        command.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOFLAGS", "");
        command.env("GOCACHE", scratch.join("cache"));
        command.args(["build", "-o"]).arg(&program).arg(".").current_dir(sources);
        let output = command.output().expect("go runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    })
}
