//! What a container is started with: variables, standard input, and flags beside a file.

use std::process::Command;

use rustix::process::Signal;

use crate::common::far_end::FarEnd;
use crate::common::process::{Proc, Stream};
use crate::life::server::{bound, file, ppserver, run, wait_for, written};
use crate::life::session::Session;

/// `ppserver run` with these variables and arguments, in an environment without others of ours.
fn start(variables: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = ppserver();
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("PPSERVER_")) {
        command.env_remove(name);
    }
    command.arg("run").args(args).envs(variables.iter().copied());
    command
}

/// Serves one connection that trusts this host's header, and ends.
#[track_caller]
fn assert_serves(command: &mut Command, far_end: &FarEnd) -> Proc {
    let before = far_end.accepted();
    let mut proc = Proc::spawn("ppserver", command);
    let mut session = Session::open(bound(&proc, 1)[0]);
    session.finish();
    session.rest();
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
    assert_eq!(far_end.accepted(), before + 1);
    proc
}

#[test]
fn flags_can_all_be_variables_and_a_flag_beats_its_own() {
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    let variables = [
        ("PPSERVER_LISTEN", "127.0.0.1:0"),
        ("PPSERVER_TO", &to),
        ("PPSERVER_ACCEPT", "v1,v2"),
        ("PPSERVER_TRUST", "127.0.0.0/8"),
        ("PPSERVER_OPTIONAL", "yes"),
        ("PPSERVER_ACCESS_LOG", "off"),
        ("PPSERVER_LOG_LEVEL", "info"),
        ("PPSERVER_SEND", ""),
    ];
    let proc = assert_serves(&mut start(&variables, &["--access-log", "stdout"]), &far_end);
    let listening = wait_for(&proc, "listening", 0);
    assert_eq!(listening["accept"], "optional v1,v2 up to 4096 B");
    assert_eq!(listening["send"], "off", "an empty variable says nothing");
    assert_eq!(proc.lines(Stream::Stdout).len(), 1, "the flag counts");
}

#[test]
fn a_file_comes_by_variable_or_by_standard_input_and_takes_variables_of_its_own() {
    let far_end = FarEnd::start();
    let text = file(&[], far_end.addr()).replace(&far_end.addr().to_string(), "${WEB_ADDR}");
    let (_dir, path) = written(&text);
    let path = path.to_str().expect("a UTF-8 name");
    let web = far_end.addr().to_string();
    let variables = [("PPSERVER_CONFIG", path), ("WEB_ADDR", &web)];
    assert_serves(&mut start(&variables, &[]), &far_end);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" run -c - < \"$1\"", env!("CARGO_BIN_EXE_ppserver"), path]);
    let mut proc = Proc::spawn("ppserver", shell.env("WEB_ADDR", &web));
    let addr = bound(&proc, 1)[0];
    proc.signal(Signal::HUP);
    wait_for(&proc, "SIGHUP: nothing to reload", 0);
    Session::open(addr);
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());

    let unset = run(start(&variables[..1], &[]).env_remove("WEB_ADDR"));
    assert_eq!(unset.code, Some(78));
    for word in ["error[unset-variable]: the variable `WEB_ADDR` is not set", "^^^^^^^^^^^"] {
        assert!(unset.stderr.contains(word), "{word}\n{}", unset.stderr);
    }
}

#[test]
fn the_variable_of_a_file_gives_way_to_listen_and_a_file_that_is_named_to_no_variable() {
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    let flags = ["--listen", "127.0.0.1:0", "--to", &to, "--accept", "v1", "--trust", "any"];
    assert_serves(&mut start(&[("PPSERVER_CONFIG", "/no/such/file")], &flags), &far_end);
    let (_dir, path) = written(&file(&[], far_end.addr()));
    let path = path.to_str().expect("a UTF-8 name");
    let elsewhere = [("PPSERVER_LISTEN", "192.0.2.1:1"), ("PPSERVER_TO", "192.0.2.1:2")];
    assert_serves(&mut start(&elsewhere, &["-c", path]), &far_end);
    let of_file = [("PPSERVER_CONFIG", path)];
    for (variables, args, flag) in [
        (&of_file[..], &["--to", &to][..], "--to does not go with PPSERVER_CONFIG"),
        (&[], &["-c", path, "--tlv-pass", "all"], "--tlv-pass does not go with -c"),
        (&[], &["-c", path, "--optional"], "--optional does not go with -c"),
    ] {
        let refused = run(&mut start(variables, args));
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(flag), "{flag}\n{}", refused.stderr);
    }
}

#[test]
fn what_is_said_beside_a_file_wins_over_it_after_a_reload_too() {
    let far_end = FarEnd::start();
    let (dir, path) = written(&file(&["server.shutdown_grace = '1m'"], far_end.addr()));
    let log = dir.path().join("access.log");
    let output = format!("file:{}", log.display());
    let path = path.to_str().expect("a UTF-8 name");
    let args = ["-c", path, "--access-log", &output, "--grace", "7s"];
    let mut proc = Proc::spawn("ppserver", &mut start(&[], &args));
    let addr = bound(&proc, 1)[0];
    proc.signal(Signal::HUP);
    assert_eq!(wait_for(&proc, "reloaded", 0)["changes"], "nothing");
    let mut session = Session::open(addr);
    session.finish();
    session.rest();
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
    assert_eq!(wait_for(&proc, "draining", 0)["grace"], "7s");
    assert_eq!(std::fs::read_to_string(log).expect("it is there").lines().count(), 1);
}
