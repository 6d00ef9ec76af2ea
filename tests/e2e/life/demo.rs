//! `demo`: the first command of the README, in the hands of somebody who just pastes.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::deadline::poll_for;
use crate::common::process::{Proc, Stream, require_program};
use crate::common::socket::ReservedPort;
use crate::life::server::ppserver;

/// How soon there has to be something to paste.
const PROMPT: Duration = Duration::from_secs(8);

/// A demo, and the first line it printed.
#[track_caller]
fn demo() -> (Proc, String) {
    let proc = Proc::spawn("demo", ppserver().arg("demo"));
    let line = poll_for(PROMPT, || proc.lines(Stream::Stdout).first().cloned());
    let line = line.unwrap_or_else(|| panic!("nothing to paste\n{}", proc.transcript()));
    (proc, line)
}

/// The port in a line that is a complete command by itself.
#[track_caller]
fn port(line: &str) -> u16 {
    let url = line.strip_prefix("curl --haproxy-protocol http://127.0.0.1:");
    let port = url.and_then(|rest| rest.strip_suffix('/'));
    port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("not the line: {line}"))
}

/// What a shell shows for this line, and the port curl had on its side.
#[track_caller]
fn paste(line: &str) -> (String, String) {
    require_program("curl", "apt-get install curl");
    let output = Command::new("sh")
        .args(["-c", &format!("{line} --silent --show-error --write-out '%{{local_port}}'")])
        .env("NO_PROXY", "*")
        .output()
        .expect("sh runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (answer, port) = text.rsplit_once('\n').expect("the answer ends with a newline");
    (answer.to_owned(), port.to_owned())
}

#[test]
fn the_first_line_pasted_shows_the_clients_address() {
    let (_demo, line) = demo();
    let (answer, local_port) = paste(&line);
    let client = format!("client:       127.0.0.1:{local_port}\n");
    assert!(answer.starts_with(&client), "{client}{answer}");
    let destination = format!("destination:  127.0.0.1:{}\n", port(&line));
    assert!(answer.contains(&destination), "{destination}{answer}");
    assert!(answer.contains("request:      GET / HTTP/1.1"), "{answer}");
}

#[test]
fn a_taken_port_gives_another() {
    // If it cannot be bound here, somebody else has it, which is as good.
    let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080));
    let (_first, first_line) = demo();
    let (_second, second_line) = demo();
    let ports = [8080, port(&first_line), port(&second_line)];
    assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2], "{ports:?}");
    for line in [first_line, second_line] {
        assert!(paste(&line).0.contains("client:       127.0.0.1:"));
    }
}

#[test]
fn it_shows_itself_what_it_is_about_and_says_what_was_relayed() {
    let (mut demo, line) = demo();
    demo.wait_for_line(Stream::Stdout, "the end of the banner", |line| {
        line.starts_with("Ctrl-C").then_some(())
    });
    let lines = demo.lines(Stream::Stdout);
    assert_eq!(lines[0], line, "the line to paste stands first");
    let said = lines.join("\n");
    let port = port(&line);
    for word in [
        "\n  client:       203.0.113.7:51820\n",
        "\n  destination:  192.0.2.1:443\n",
        "\n  request:      GET / HTTP/1.0\n",
        &format!(
            "relayed {} bytes\n",
            format!("GET / HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").len()
        ),
        &format!("\n  | curl -s telnet://127.0.0.1:{port}\n"),
    ] {
        assert!(said.contains(word), "{word}\n{said}");
    }
    demo.signal(Signal::TERM);
    assert_eq!(demo.wait_for_exit().code(), Some(0));
    let last = demo.lines(Stream::Stdout).pop();
    assert!(last.is_some_and(|last| last.starts_with("The demo is over")));
    assert!(!demo.lines(Stream::Stderr).iter().any(|line| line.starts_with('{')), "for people");
}

#[test]
fn a_port_that_is_asked_for_is_that_port_or_none() {
    let reserved = ReservedPort::new();
    let port = reserved.addr().port().to_string();
    let mut first = Proc::spawn("demo", ppserver().args(["demo", "--port", &port]));
    let line = poll_for(PROMPT, || first.lines(Stream::Stdout).first().cloned());
    assert_eq!(line, Some(format!("curl --haproxy-protocol http://127.0.0.1:{port}/")));
    let mut second = Proc::spawn("demo", ppserver().args(["demo", "--port", &port]));
    assert_eq!(second.wait_for_exit().code(), Some(69), "{}", second.transcript());
    first.signal(Signal::INT);
    assert_eq!(first.wait_for_exit().code(), Some(0));
}

#[test]
fn it_ends_in_peace_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut demo, _) = demo();
        demo.signal(signal);
        assert_eq!(demo.wait_for_exit().code(), Some(0), "{signal:?}");
    }
}
