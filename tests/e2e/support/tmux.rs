//! A real terminal: tmux with a server of its own, whose screen is read and whose keys are pressed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::require_program;

/// What puts it on a Debian or Ubuntu machine.
const INSTALL: &str = "apt-get install -y --no-install-recommends tmux";

/// A terminal with one window, which is gone with this.
pub(crate) struct Tmux {
    program: PathBuf,
    dir: TempDir,
}

impl Tmux {
    /// Opens 80 x 24 in which `sh` runs a script, in a world of these variables.
    #[track_caller]
    pub(crate) fn open(script: &str, variables: &[(&str, &str)]) -> Tmux {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let tmux = Tmux { program: require_program("tmux", INSTALL), dir };
        let mut command = tmux.command();
        command.args(["-u", "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"]);
        command.env_remove("NO_COLOR").env("SHELL", "/bin/sh").envs(variables.iter().copied());
        finished(command.arg("sh").arg("-c").arg(script));
        tmux
    }

    /// A directory for what the script leaves.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What stands on the screen.
    #[track_caller]
    pub(crate) fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// The same, with the sequences that make colours.
    #[track_caller]
    pub(crate) fn coloured_screen(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"])
    }

    /// Waits until all of these words stand on the screen, which is returned.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &[&str]) -> String {
        let has_all = |screen: &String| words.iter().all(|word| screen.contains(word));
        let found = poll_for(PATIENCE, || Some(self.screen()).filter(has_all));
        found.unwrap_or_else(|| panic!("no screen has {words:?}; the last one:\n{}", self.screen()))
    }

    /// Presses keys, by the names that tmux has for them.
    #[track_caller]
    pub(crate) fn press(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    pub(crate) fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.ask(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// The value of one of its variables, such as `alternate_on`.
    #[track_caller]
    pub(crate) fn variable(&self, name: &str) -> String {
        self.ask(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    #[track_caller]
    fn ask(&self, words: &[&str]) -> String {
        String::from_utf8(finished(self.command().args(words)).stdout).expect("it speaks UTF-8")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-S").arg(self.dir.path().join("tmux.sock")).env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Its own server, and with it what runs in the window.
        drop(self.command().arg("kill-server").output());
    }
}

#[track_caller]
fn finished(command: &mut Command) -> Output {
    let output = command.output().expect("tmux starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
