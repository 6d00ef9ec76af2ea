//! `ppserver probe` asks servers of every kind, and says what each is, letter for letter.
//!
//! What cannot be the same twice stands in the golden files as a word: `ADDR`, `TIME`, and `ended` for a reset or a FIN,
//! which of them depends on what has been read by then.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::far_end::FarEnd;
use crate::common::ppserver::Ppserver;
use crate::common::socket::ReservedPort;
use crate::peers::dns::Unbound;
use crate::peers::haproxy::Haproxy;
use crate::peers::mail::MailServer;
use crate::peers::nginx::NginxHttp;
use crate::peers::ssh::Sshd;

/// Longer than any server here takes to answer; who is silent is waited for so long.
const TIMEOUT: [&str; 2] = ["--timeout", "5s"];

#[track_caller]
fn probe(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ppserver"));
    command.arg("probe").args(args).args(TIMEOUT).output().expect("it can be run")
}

/// Asserts what the probe of a server says, and how it ends.
#[track_caller]
fn assert_says(args: &[&str], target: &str, code: i32, golden: &str) {
    let output = probe(&[args, &[target]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = masked(str::from_utf8(&output.stdout).expect("it is text"), target);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/golden");
    let should = fs::read_to_string(path.join(golden)).unwrap_or_default();
    assert!(said == should, "it says now:\n{said}\nand {golden} has:\n{should}\n{stderr}");
    assert_eq!((output.status.code(), &*stderr), (Some(code), ""));
}

/// Puts words for what is never the same twice.
fn masked(said: &str, target: &str) -> String {
    let line = |line: &str| {
        let line = line.replace(target, "ADDR");
        let (before, after) = match line.split_once(" ms") {
            Some((before, after)) => (before.to_owned(), after),
            None => return line,
        };
        let (before, _) = before.rsplit_once(' ').expect("a number stands there");
        let before =
            before.replace("closed after", "ended after").replace("reset after", "ended after");
        // The version of a package.
        let after = match after.split_once("OpenSSH_") {
            Some((start, _)) => format!("{start}OpenSSH_VERSION\""),
            None => after.to_owned(),
        };
        format!("{before} TIME{after}")
    };
    said.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn nginx_that_requires_a_header() {
    let nginx = NginxHttp::serving(b"content");
    let required = nginx.behind_proxy_protocol().to_string();
    assert_says(&[], &required, 0, "nginx-required.txt");
    let socket = format!("unix:{}", nginx.behind_proxy_protocol_here().display());
    assert_says(&[], &socket, 0, "nginx-required.txt");
    assert_says(&[], &nginx.plain().to_string(), 1, "nginx-plain.txt");
}

#[test]
fn haproxy_that_requires_a_header() {
    let nginx = NginxHttp::serving(b"content");
    let haproxy = Haproxy::behind_proxy_protocol(nginx.plain());
    assert_says(&[], &haproxy.addr().to_string(), 0, "haproxy.txt");
}

#[test]
fn postfix_that_requires_a_header() {
    let postfix = MailServer::postfix();
    assert_says(&[], &postfix.addr().to_string(), 0, "postfix.txt");
}

#[test]
fn sshd_speaks_first() {
    let sshd = Sshd::start();
    assert_says(&[], &sshd.addr().to_string(), 1, "sshd.txt");
}

#[test]
fn unbound_takes_v2_in_each_datagram() {
    let unbound = Unbound::behind_proxy_protocol();
    assert_says(&["--udp"], &unbound.addr().to_string(), 0, "unbound-udp.txt");
}

#[test]
fn an_echo_takes_a_header_for_data() {
    let far = FarEnd::start();
    let output = probe(&[&far.addr().to_string(), "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(answer["addresses"][0]["need"], "unwanted", "{answer}");
    assert_eq!((&answer["takes"], output.status.code()), (&false.into(), Some(1)));
}

fn ours(upstream: SocketAddr, accept: &str) -> Ppserver {
    Ppserver::with_config(&format!(
        "config_version = 1\ntimeouts.header = '30s'\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0']\nupstream = 'far'\n\
         [listener.proxy_protocol]\n{accept}\n[upstream.far]\nendpoints = ['{upstream}']\n"
    ))
}

#[test]
fn ours_as_it_is_configured() {
    let nginx = NginxHttp::serving(b"content");
    let probed = |accept: &str, code, golden: &str| {
        let ours = ours(nginx.plain(), accept);
        assert_says(&[], &ours.addr().to_string(), code, golden);
    };
    probed("accept = 'require'\ntrust = ['127.0.0.1']", 0, "ours-required.txt");
    probed("accept = 'optional'\ntrust = ['127.0.0.1']", 0, "ours-optional.txt");
    probed("accept = 'require'\ntrust = ['127.0.0.2']", 1, "ours-untrusting.txt");
}

#[test]
fn one_exchange_tells_the_addresses_it_is_given_and_prints_the_answer() {
    let nginx = NginxHttp::serving(b"content\n");
    let target = nginx.behind_proxy_protocol().to_string();
    let request = "GET /file HTTP/1.0\r\n\r\n";
    let addrs = ["--src", "203.0.113.7:51820", "--dst", "192.0.2.1:443"];
    for send in ["v1", "v2"] {
        let output = probe(&[&[&target, "--send", send, "--data", request], &addrs[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("it is text");
        assert!(text.starts_with(&format!("{send} to {target}: answered after ")), "{text}");
        assert!(text.ends_with("\n\ncontent\n"), "{text}");
        assert_eq!(nginx.seen("GET /file 200"), "203.0.113.7:51820 192.0.2.1:443");
    }
    let refused = probe(&[&target, "--send", "off", "--data", request]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn json_says_the_same() {
    let nginx = NginxHttp::serving(b"content");
    let output = probe(&[&nginx.behind_proxy_protocol().to_string(), "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&answer["takes"], output.status.code()), (&true.into(), Some(0)));
    let address = &answer["addresses"][0];
    assert_eq!(address["need"], "required");
    assert_eq!(address["taken"][0], "v1");
    let attempts = address["attempts"].as_array().expect("a list");
    let outcome = |way: &str| {
        let attempt = attempts.iter().find(|it| it["way"] == way).expect("it was tried");
        assert!(attempt["seconds"].is_f64(), "{attempt}");
        attempt["outcome"].as_str().expect("a word").to_owned()
    };
    assert_eq!((&*outcome("nothing"), &*outcome("v2")), ("silent", "answered"));
}

#[test]
fn each_address_of_a_name_is_probed_and_nobody_there_is_said() {
    let far = FarEnd::start();
    let output = probe(&[&format!("localhost:{}", far.addr().port()), "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    // Where localhost is ::1 too, nobody listens there.
    let said = String::from_utf8_lossy(&output.stderr);
    let is_v6 = said.contains("no connection to [::1]:");
    assert!(is_v6 || answer["addresses"][0]["address"] == far.addr().to_string(), "{output:?}");

    let nobody = ReservedPort::new();
    let target = nobody.addr().to_string();
    let output = probe(&[&target]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    assert!(said.contains(&format!("no connection to {target}: Connection refused")), "{said}");
}
