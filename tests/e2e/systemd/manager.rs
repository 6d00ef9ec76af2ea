//! A systemd that has been booted for a test, and the commands that ask it.
//!
//! Invariant: it has this machine's network, and nothing else of it that it could change.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, require_program};
use crate::life::procfs;
use crate::life::server::{Ran, record_of, run};

const UNIT: &str = "ppserver.service";

/// Units of the distribution that ours name, without what they would start.
const TARGETS: [&str; 7] = [
    "basic.target",
    "multi-user.target",
    "network-online.target",
    "nss-lookup.target",
    "shutdown.target",
    "sockets.target",
    "sysinit.target",
];

/// It ends with this, and all that it has started.
pub(super) struct Systemd {
    _proc: Proc,
    init: Pid,
    dir: TempDir,
}

impl Systemd {
    /// Boots one which has our units, with additions to them: (unit, lines).
    #[track_caller]
    pub(super) fn boot(text: &str, additions: &[(&str, &str)]) -> Systemd {
        require_program("systemd", "apt-get install systemd");
        require_program("nsenter", "apt-get install util-linux");
        assert!(geteuid().is_root(), "a systemd of its own takes root: sudo cargo xtask test");
        let dir = TempDir::new().expect("a temporary directory can be made");
        let [units, shared] = ["units", "shared"].map(|name| dir.path().join(name));
        for dir in [&units, &shared] {
            fs::create_dir(dir).expect("it is new");
            // The server is another user.
            fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("it is ours");
        }
        let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
        for unit in [UNIT, "ppserver.socket"] {
            fs::copy(ours.join(unit), units.join(unit)).expect("it is there");
        }
        for (unit, lines) in additions {
            let dir = units.join(format!("{unit}.d"));
            fs::create_dir(&dir).expect("it is new");
            fs::write(dir.join("addition.conf"), lines).expect("it can be written");
        }
        for target in TARGETS {
            let lines = "[Unit]\nDefaultDependencies=no\n";
            fs::write(units.join(target), lines).expect("it can be written");
        }
        let wants = "[Unit]\nWants=systemd-journald.socket systemd-journald-dev-log.socket\n";
        fs::write(units.join("default.target"), wants).expect("it can be written");
        fs::write(shared.join("ppserver.toml"), text).expect("it can be written");

        let script = dir.path().join("boot.sh");
        fs::write(&script, include_str!("boot.sh")).expect("it can be written");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh"]).arg(script);
        command.arg(units).arg(shared).arg(env!("CARGO_BIN_EXE_ppserver"));
        let proc = Proc::spawn("systemd", &mut command);
        // The script, `unshare`, and the first process of its namespace.
        let init = poll_for(PATIENCE, || {
            let unshare = *procfs::children(proc.pid()).first()?;
            let init = *procfs::children(unshare).first()?;
            let mut command = inside(init);
            command.args(["systemctl", "is-active", "default.target"]);
            (run(&mut command).code == Some(0)).then_some(init)
        });
        let init = init.unwrap_or_else(|| panic!("it does not boot\n{}", proc.transcript()));
        Systemd { _proc: proc, init, dir }
    }

    /// Runs a command there.
    #[track_caller]
    pub(super) fn run(&self, command: &[&str]) -> Ran {
        run(inside(self.init).args(command))
    }

    /// As `run`; it is to succeed.
    #[track_caller]
    pub(super) fn ask(&self, command: &[&str]) -> String {
        let ran = self.run(command);
        assert_eq!(ran.code, Some(0), "{command:?}: {ran:?}\n{}", self.journal(&[]));
        ran.stdout
    }

    /// A property of the service.
    #[track_caller]
    pub(super) fn property(&self, name: &str) -> String {
        self.ask(&["systemctl", "show", "--value", "--property", name, UNIT])
    }

    /// Waits until a property of the service has this value.
    #[track_caller]
    pub(super) fn wait_for(&self, name: &str, value: &str) {
        let has_it = poll_for(PATIENCE, || (self.property(name) == value).then_some(()));
        let state = || format!("{name}={}\n{}", self.property(name), self.journal(&[]));
        has_it.unwrap_or_else(|| panic!("not {value}: {}", state()));
    }

    /// What systemd takes for the main process of the service.
    #[track_caller]
    pub(super) fn main_pid(&self) -> Pid {
        let pid = self.property("MainPID").parse().ok().and_then(Pid::from_raw);
        pid.expect("the service runs")
    }

    /// Signals the main process.
    #[track_caller]
    pub(super) fn signal_main(&self, signal: &str) {
        self.ask(&["systemctl", "kill", "--kill-who=main", "--signal", signal, UNIT]);
    }

    /// Sets the configuration.
    pub(super) fn configure(&self, text: &str) {
        fs::write(self.dir.path().join("shared/ppserver.toml"), text).expect("it can be written");
    }

    /// The lines in the journal, those that `args` of journalctl(1) choose.
    #[track_caller]
    pub(super) fn journal(&self, args: &[&str]) -> String {
        let mut command = inside(self.init);
        run(command.args(["journalctl", "--output=cat", "--all"]).args(args)).stdout
    }

    /// Waits for record number `nth` (from 0) in the journal whose message begins with `message`.
    #[track_caller]
    pub(super) fn wait_for_record(&self, message: &str, nth: usize) -> Value {
        let find = || {
            let journal = self.journal(&["--unit", UNIT]);
            journal.lines().filter_map(|line| record_of(line, message)).nth(nth)
        };
        poll_for(PATIENCE, find)
            .unwrap_or_else(|| panic!("no `{message}` number {nth}\n{}", self.journal(&[])))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // All processes of a namespace go with its first.
        kill_process(self.init, Signal::KILL).ok();
    }
}

/// `nsenter` for a command of the namespaces of this process.
fn inside(init: Pid) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--target"]);
    command.arg(init.as_raw_nonzero().to_string());
    command
}
