//! sshd: a server that speaks first, and knows nothing of the PROXY protocol.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::common::process::Proc;
use crate::common::socket::ReservedPort;
use crate::peers::{peer, wait_for_listener};

/// A running sshd.
pub(crate) struct Sshd {
    _proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Sshd {
    /// Starts it, which takes root.
    #[track_caller]
    pub(crate) fn start() -> Sshd {
        let (dir, port) = (TempDir::new().expect("a directory can be made"), ReservedPort::new());
        let key = dir.path().join("key");
        let mut keygen = Command::new(peer("ssh-keygen"));
        let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.expect("it comes with sshd").success());
        // It wants a directory of its own, and has it where nobody else looks.
        let begin = "mount -t tmpfs none /run && mkdir /run/sshd && exec \"$@\"";
        let mut command = Command::new(peer("unshare"));
        command.args(["--mount", "sh", "-c", begin, "sh"]).arg(peer("sshd"));
        command.args(["-D", "-e", "-f", "/dev/null", "-o", "PidFile=none", "-h"]).arg(&key);
        command.args(["-o", &format!("ListenAddress={}", port.addr())]);
        let mut proc = Proc::spawn("sshd", &mut command);
        wait_for_listener(&mut proc, port.addr());
        Sshd { _proc: proc, port, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}
