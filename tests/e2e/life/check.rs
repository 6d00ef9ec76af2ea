//! `check` through the binary: what it accepts, `run` takes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::far_end::FarEnd;
use crate::life::server::{Ran, Server, file, ppserver, run};
use crate::life::session::Session;

const BROKEN: &str = "config_version = 1\nserver.worker = 2\n[[listener]]\nname = 'a'\n\
                      bind = ['127.0.0.1']\nupstream = 'nowhere'\n[upstream.u]\n\
                      endpoints = ['127.0.0.1:9']\n";

/// Runs `check` on this file.
#[track_caller]
fn check(path: &Path, flags: &[&str]) -> Ran {
    run(ppserver().args(["check", "-c"]).arg(path).args(flags))
}

fn write(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("a.toml");
    fs::write(&path, text).expect("a file in it can be written");
    (dir, path)
}

#[test]
fn the_documented_example_is_clean() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ppserver.toml");
    let ran = check(&example, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.stdout, format!("{}: ok", example.display()));
}

#[test]
fn standard_input_is_checked_too() {
    let (_dir, path) = write(BROKEN);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$0\" check -c - < \"$1\"", env!("CARGO_BIN_EXE_ppserver")]);
    let ran = run(shell.arg(path));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""));
    assert!(ran.stderr.contains("<stdin>:2:8"), "{}", ran.stderr);
}

#[test]
fn a_broken_file_exits_78_with_a_caret_below_each_fault() {
    let (_dir, path) = write(BROKEN);
    let ran = check(&path, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""));
    for place in ["a.toml:2:8", "a.toml:5:9", "a.toml:6:12"] {
        assert!(ran.stderr.contains(place), "{place}:\n{}", ran.stderr);
    }
    assert!(ran.stderr.contains("^^^^^^"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\x1b'), "no colour in a pipe: {}", ran.stderr);
}

#[test]
fn a_listener_that_relays_to_itself_is_refused_as_run_refuses_it() {
    let text = "config_version = 1\n[[listener]]\nname = 'a'\nbind = ['0.0.0.0:8443']\n\
                upstream = 'u'\n[upstream.u]\nendpoints = ['localhost:8443']\n";
    let (_dir, path) = write(text);
    for ran in [check(&path, &[]), run(ppserver().args(["run", "-c"]).arg(&path))] {
        assert_eq!(ran.code, Some(78), "{ran:?}");
        assert!(ran.stderr.contains("error[loop]: localhost:8443 leads back"), "{}", ran.stderr);
    }
    let flags = ["run", "--listen", "0.0.0.0:8443", "--to", "localhost:8443"];
    let ran = run(ppserver().args(flags));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("error[loop]: --to: localhost:8443"), "{}", ran.stderr);
}

#[test]
fn json_for_programs_says_the_same_on_stdout() {
    let (_dir, path) = write(BROKEN);
    let ran = check(&path, &["--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(78), ""));
    let answer: Value = serde_json::from_str(&ran.stdout).expect("one JSON object");
    assert_eq!(answer["ok"], false);
    let errors = answer["errors"].as_array().expect("a list");
    let mut found: Vec<_> = errors
        .iter()
        .map(|error| (error["line"].as_u64(), error["code"].as_str().expect("text")))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [(Some(2), "unknown-key"), (Some(5), "bad-value"), (Some(6), "unknown-upstream")]
    );

    let (_dir, path) = write(&file(&[], "127.0.0.1:9".parse().expect("an address")));
    let ran = check(&path, &["--format", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("one JSON object");
    assert_eq!((ran.code, &answer["ok"]), (Some(0), &Value::Bool(true)));
}

#[test]
fn the_effective_configuration_is_one_that_runs() {
    let far_end = FarEnd::start();
    let (_dir, path) = write(&file(&["timeouts.idle = '7m'"], far_end.addr()));
    let ran = check(&path, &["--effective"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.contains("idle = \"7m\""), "{}", ran.stdout);
    let mut server = Server::start(&ran.stdout);
    Session::open(server.addr()).finish();
    assert_eq!(far_end.ended(0).received, b"x");
    server.stop();
}
