//! Running cargo and other programs, shown before they run, their output passed straight through.
//!
//! Invariant: a program that cannot be started or exits with a code that is not expected, which is
//! nearly always 0, is an error that names it; no exit code is dropped.
#![expect(clippy::print_stdout, reason = "a command line shows what it runs")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Returns the cargo that started this process, so that a toolchain chosen with `cargo +x` holds
/// for every step.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs `command` to its end with its output on ours.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn run(command: &mut Command) -> Result<()> {
    run_expecting(command, &[0])
}

/// Runs `command` to its end with its output on ours.
///
/// # Errors
/// When it cannot be started or does not exit with one of `codes`.
pub fn run_expecting(command: &mut Command, codes: &[i32]) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{shown}` did not start"))?;
    if !status.code().is_some_and(|code| codes.contains(&code)) {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs rustup, which installs what a step needs besides the toolchain that it was started with.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn rustup(words: &[&str]) -> Result<()> {
    run(Command::new("rustup").args(words))
        .with_context(|| format!("this needs what the line installs: rustup {}", words.join(" ")))
}

/// Checks that a component of the toolchain answers, and says how to get it when it does not.
///
/// # Errors
/// When `cargo SUBCOMMAND --version` does not succeed.
pub fn needs_component(subcommand: &str, component: &str) -> Result<()> {
    let install = format!("rustup component add {component}");
    needs(cargo().args([subcommand, "--version"]), &install)
}

/// Checks that a program answers, and says how to get it when it does not.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn needs(program: &mut Command, install: &str) -> Result<()> {
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !program.status().is_ok_and(|status| status.success()) {
        bail!("`{}` does not answer: {install}", shown(program));
    }
    Ok(())
}

/// The command as one would type it: variables set for it, the program's bare name, arguments.
fn shown(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(line, "{}={} ", name.display(), quoted(&value.to_string_lossy()));
        }
    }
    let program = std::path::Path::new(command.get_program());
    line.push_str(&program.file_name().unwrap_or(program.as_os_str()).to_string_lossy());
    for argument in command.get_args() {
        let _ = write!(line, " {}", quoted(&argument.to_string_lossy()));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/some/where/cargo");
        command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps"]);
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_program_that_fails_is_an_error_that_names_it() {
        let error = run(&mut Command::new("false")).expect_err("`false` exits with 1");
        assert!(error.to_string().contains("`false` failed"), "{error}");
    }

    #[test]
    fn a_missing_component_is_answered_with_the_line_that_adds_it() {
        let error = needs_component("no-such-subcommand", "the-component")
            .expect_err("there is no such subcommand");
        assert!(error.to_string().contains("rustup component add the-component"), "{error}");
    }

    #[test]
    fn what_cannot_be_had_is_an_error_with_the_line_that_installs_it() {
        let error = rustup(&["target", "add", "no-such-target"]).expect_err("there is none");
        let text = format!("{error:#}");
        assert!(text.contains("rustup target add no-such-target"), "{text}");
    }
}
