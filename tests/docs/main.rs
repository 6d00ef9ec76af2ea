//! What the pages show: a session goes as it stands there, and a command line is one.
//!
//! A block of `console` is a session: its commands run in a shell, in a directory of their own that holds the page's last
//! TOML block as `ppserver.toml`, and the lines below a command are what it writes, `...` standing for any number of
//! them. In every other block, commands of ppserver are read by ppserver, and not run.

mod page;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use page::{Block, Page};

const PPSERVER: &str = env!("CARGO_BIN_EXE_ppserver");

#[test]
fn every_session_goes_as_the_page_shows_it() {
    let mut sessions = 0;
    for page in Page::all() {
        let mut config = None;
        for block in page.blocks() {
            match block.language {
                "toml" => config = Some(block.text),
                "console" => {
                    sessions += 1;
                    run_session(&page, &block, config);
                }
                _ => {}
            }
        }
    }
    assert!(sessions >= 6, "{sessions} sessions: the pages of the front have as many");
}

/// `--help` behind the rest: ppserver reads every word before it, complains of what it does not know, and runs nothing.
#[test]
fn every_command_line_is_one_that_ppserver_reads() {
    let mut count = 0;
    for page in Page::all() {
        for block in page.blocks() {
            for command in block.commands_of("ppserver") {
                count += 1;
                let output = Command::new(PPSERVER)
                    .args(&command.words)
                    .arg("--help")
                    .stdin(Stdio::null())
                    .output()
                    .expect("it runs");
                let (name, line, words) = (&page.name, command.line, command.words.join(" "));
                let why = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{name}:{line}: ppserver {words}\n{why}");
            }
        }
    }
    assert!(count >= 10, "{count} command lines: the README alone has as many");
}

#[track_caller]
fn run_session(page: &Page, block: &Block<'_>, config: Option<&str>) {
    let dir = tempfile::tempdir().expect("a directory");
    if let Some(config) = config {
        fs::write(dir.path().join("ppserver.toml"), config).expect("it can be written");
    }
    for exchange in block.exchanges() {
        let (shown, said) = (&exchange.shown, said(dir.path(), exchange.command));
        let said: Vec<&str> = said.lines().map(str::trim_end).collect();
        assert!(
            is_shown(shown, &said),
            "{}:{}: {}\n-- shown\n{}\n-- said\n{}",
            page.name,
            exchange.line,
            exchange.command,
            shown.join("\n"),
            said.join("\n")
        );
    }
}

/// What a command writes on both of its outputs, as a terminal shows it.
fn said(dir: &Path, command: &str) -> String {
    let own = Path::new(PPSERVER).parent().expect("a file is in a directory");
    let mut path = OsString::from(own);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(dir)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim_end().to_owned()
}

/// Whether the lines are those that are shown, of which `...` is any number.
fn is_shown(shown: &[&str], said: &[&str]) -> bool {
    match shown {
        [] => said.is_empty(),
        ["...", rest @ ..] => (0..=said.len()).any(|skipped| is_shown(rest, &said[skipped..])),
        [line, rest @ ..] => said
            .split_first()
            .is_some_and(|(first, others)| first == line && is_shown(rest, others)),
    }
}

#[test]
fn dots_are_any_number_of_lines_and_every_other_line_is_itself() {
    assert!(is_shown(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(is_shown(&["a", "..."], &["a"]));
    assert!(!is_shown(&["a", "...", "d"], &["a", "b"]));
    assert!(!is_shown(&["a"], &["a", "b"]));
    assert!(!is_shown(&["a", "b"], &["a"]));
}
