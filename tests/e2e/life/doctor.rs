//! `doctor` in a network of its own: what is wrong there is found, and the lines that it prints mend it.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::life::server::{ppserver, run, written};
use crate::support::namespace::in_a_namespace;

/// What it finds that is not well: how bad, what, and the lines.
#[track_caller]
fn ill(file: &std::path::Path, code: i32) -> Vec<(String, String, Vec<String>)> {
    let ran = run(ppserver().args(["doctor", "--json", "-c"]).arg(file));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{}", ran.stdout);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_eq!(answer["ok"], code == 0);
    let findings = answer["findings"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let ill = findings.filter(|it| it["level"] != "ok").map(|it| {
        let mend = it["mend"].as_array().expect("a list").iter().map(text).collect();
        (text(&it["level"]), text(&it["what"]), mend)
    });
    ill.collect()
}

/// Does what a line says, as a shell would.
#[track_caller]
fn mend(line: &str) {
    let line = line.split('#').next().unwrap_or_default().trim();
    let done = match line.strip_prefix("sysctl -w ").and_then(|set| set.split_once('=')) {
        // Not every Debian has sysctl.
        Some((key, value)) => {
            let path = format!("/proc/sys/{}", key.replace('.', "/"));
            fs::write(path, value.trim_matches('\'')).is_ok()
        }
        None => Command::new("sh").args(["-c", line]).status().is_ok_and(|it| it.success()),
    };
    assert!(done, "{line}");
}

#[test]
fn what_hurts_is_found_and_its_lines_mend_it() {
    in_a_namespace(|| {
        for (key, value) in [
            ("core/somaxconn", "128"),
            ("ipv4/tcp_tw_reuse", "0"),
            ("ipv4/ip_local_port_range", "32768 60999"),
            ("ipv6/conf/all/disable_ipv6", "1"),
        ] {
            fs::write(format!("/proc/sys/net/{key}"), value).expect("the namespace is ours");
        }
        let (_dir, file) = written(
            "config_version = 1\n[[listener]]\nname = 'edge'\nbind = ['0.0.0.0:8443', '[::]:8443']\n\
             upstream = 'app'\n[upstream.app]\nendpoints = ['127.0.0.1:40000']\nsource = 'client'\n",
        );
        let found = ill(&file, 1);
        let what: Vec<_> = found.iter().map(|(level, what, _)| (&**level, &**what)).collect();
        for expected in [
            ("warn", "somaxconn"),
            ("warn", "tcp_tw_reuse"),
            ("FAIL", "IPv6"),
            ("warn", "port range"),
            ("FAIL", "source"),
        ] {
            assert!(what.contains(&expected), "{expected:?}: {found:?}");
        }
        let net = ["somaxconn", "tcp_tw_reuse", "IPv6", "port range", "source"];
        for (_, what, lines) in found.iter().filter(|(_, what, _)| net.contains(&&**what)) {
            assert!(!lines.is_empty(), "{what}");
            lines.iter().for_each(|line| mend(line));
        }
        let left = ill(&file, 0);
        assert!(left.iter().all(|(_, what, _)| !net.contains(&&**what)), "{left:?}");
    });
}

#[test]
fn who_holds_a_port_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = holder.local_addr().expect("it is bound");
    let (_dir, file) = written(&format!(
        "config_version = 1\n[[listener]]\nname = 'edge'\nbind = ['{addr}']\nupstream = 'app'\n\
         [upstream.app]\nendpoints = ['127.0.0.1:9']\n"
    ));
    let found = ill(&file, 1);
    let ports = found.iter().find(|(_, what, _)| what == "ports").expect("it is taken");
    assert_eq!((&*ports.0, &*ports.2), ("FAIL", &[format!("kill {}", std::process::id())][..]));
    drop(holder);
    assert!(ill(&file, 0).iter().all(|(_, what, _)| what != "ports"));
}

#[test]
fn a_name_that_stands_for_nothing_fails() {
    let (_dir, file) = written(
        "config_version = 1\n[[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0']\nupstream = 'app'\n\
         [upstream.app]\nendpoints = [{ file = '/nonexistent/endpoints' }]\n",
    );
    let found = ill(&file, 1);
    assert!(
        found.iter().any(|(level, what, _)| (&**level, &**what) == ("FAIL", "names")),
        "{found:?}"
    );
}

#[test]
fn without_a_file_the_host_alone_is_looked_at_and_a_broken_one_is_told() {
    let ran = run(ppserver().arg("doctor"));
    assert_eq!(ran.stderr, "");
    for what in ["open files", "somaxconn", "port range"] {
        assert!(ran.stdout.contains(what), "{what}: {}", ran.stdout);
    }
    // A limit that has room for nobody.
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64 && exec \"$0\" doctor", env!("CARGO_BIN_EXE_ppserver")]);
    let ran = run(&mut shell);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("FAIL  open files"), "{}", ran.stdout);
    let (_dir, file) = written("x = 1\n");
    let ran = run(ppserver().args(["doctor", "-c"]).arg(&file));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""), "{}", ran.stderr);
}
