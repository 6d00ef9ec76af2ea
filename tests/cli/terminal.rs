//! What changes when a stream is a terminal: a pseudo-terminal stands in for it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::ppserver;

struct Terminal {
    /// The user's end: keyboard and screen.
    user: File,
    /// The process's end.
    process: File,
}

impl Terminal {
    fn open() -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let process = File::options().read(true).write(true).open(path).unwrap();
        Self { user: user.into(), process }
    }

    /// Returns what the screen showed, once no process has the terminal open.
    fn screen(self) -> Vec<u8> {
        let Self { mut user, process } = self;
        drop(process);
        let mut shown = Vec::new();
        // pty(7): the end of the other side is EIO, behind all it wrote.
        let ended = user.read_to_end(&mut shown);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.raw_os_error() == Some(5)));
        shown
    }
}

#[test]
fn binary_is_not_written_to_a_terminal() {
    for (args, code) in [
        (["encode", "--local", "--v2"], 2),
        (["encode", "--local", "--hex"], 0),
        (["encode", "--local", "--v1"], 0),
    ] {
        let terminal = Terminal::open();
        let output = ppserver()
            .args(args)
            .stdin(Stdio::null())
            .stdout(terminal.process.try_clone().unwrap())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert_eq!(stderr.contains("use --hex"), code == 2, "{stderr}");
        assert_eq!(terminal.screen().is_empty(), code == 2, "{args:?}");
    }
}

#[test]
fn the_counters_on_a_terminal_are_lines_for_people() {
    let mut terminal = Terminal::open();
    let mut child = ppserver()
        .args(["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"])
        .stdin(Stdio::null())
        .stderr(terminal.process.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    while !shown.ends_with(b"listening") {
        let mut byte = [0];
        terminal.user.read_exact(&mut byte).unwrap();
        shown.extend(byte);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    shown.extend(terminal.screen());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("INFO counters\r\n  connections  accepted 0, active 0\r\n"), "{shown}");
    assert!(!shown.contains('{'), "{shown}");
}

#[test]
fn a_terminal_on_stdin_is_told_what_is_expected() {
    let mut terminal = Terminal::open();
    let child = ppserver()
        .args(["decode", "--json", "--hex"])
        .stdin(terminal.process.try_clone().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The line, then Ctrl-D at the beginning of the next one.
    terminal.user.write_all(b"50524f585920554e4b4e4f574e0d0a\n\x04").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("hex text from the terminal") && stderr.contains("Ctrl-D"), "{stderr}");
    assert!(String::from_utf8(output.stdout).unwrap().contains(r#""command":"UNKNOWN""#));
}
