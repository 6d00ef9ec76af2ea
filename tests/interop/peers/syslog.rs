//! syslog over UDP: rsyslog, which receives, and logger, which sends.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, require_program};
use crate::common::socket::ReservedPort;
use crate::peers::{peer, wait_for_datagram_socket};

/// A running rsyslog.
pub(crate) struct Rsyslog {
    _proc: Proc,
    port: ReservedPort,
    log: PathBuf,
    _dir: TempDir,
}

impl Rsyslog {
    /// Starts it.
    #[track_caller]
    pub(crate) fn start() -> Rsyslog {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let port = ReservedPort::new();
        let log = dir.path().join("log");
        let text = format!(
            "module(load=\"imudp\")\n\
             input(type=\"imudp\" address=\"{ip}\" port=\"{number}\")\n\
             template(name=\"t\" type=\"string\" string=\"%fromhost-ip% %syslogtag%%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{log}\" template=\"t\")\n",
            ip = port.addr().ip(),
            number = port.addr().port(),
            log = log.display(),
        );
        let config = dir.path().join("rsyslog.conf");
        fs::write(&config, text).expect("a file in it can be written");
        let mut command = Command::new(peer("rsyslogd"));
        command.args(["-n", "-i"]).arg(dir.path().join("pid")).arg("-f").arg(config);
        let mut proc = Proc::spawn("rsyslogd", &mut command);
        wait_for_datagram_socket(&mut proc, port.addr());
        Rsyslog { _proc: proc, port, log, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Waits until its log satisfies `is_it`, and returns its lines.
    #[track_caller]
    pub(crate) fn wait_for(&self, is_it: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let found = poll_for(PATIENCE, || {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            lines = text.lines().map(str::to_owned).collect();
            is_it(&lines).then_some(())
        });
        assert!(found.is_some(), "what came: {lines:?}");
        lines
    }
}

/// Sends each of these lines as a message, in one flow.
#[track_caller]
pub(crate) fn log(server: SocketAddr, lines: &[String]) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let file = dir.path().join("lines");
    fs::write(&file, lines.join("\n") + "\n").expect("a file in it can be written");
    let install = "apt-get install -y --no-install-recommends bsdutils";
    let mut command = Command::new(require_program("logger", install));
    command.args(["--udp", "--rfc3164", "--tag", "app", "--server", &server.ip().to_string()]);
    command.args(["--port", &server.port().to_string(), "--file"]).arg(&file);
    let status = command.status().expect("logger can be started");
    assert!(status.success(), "{status}");
}
