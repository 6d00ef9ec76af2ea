//! Starts that fail: the exit code is for scripts, the message for people.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::Proc;
use crate::common::socket::ReservedPort;
use crate::life::server::{Ran, bound, file, ppserver, privileged_port, run, without_low_ports};

impl Ran {
    /// Asserts this exit code, an empty stdout, and all of `words` on stderr.
    #[track_caller]
    fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing:\n{}", self.stderr);
        }
    }
}

/// Runs with these flags, and an upstream nobody is asked for.
#[track_caller]
fn run_flags(flags: &[&str]) -> Ran {
    run(ppserver().args(["run", "--to", "127.0.0.1:9"]).args(flags))
}

/// Runs with this file.
#[track_caller]
fn run_file(text: &str) -> Ran {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("ppserver.toml");
    fs::write(&path, text).expect("a file in it can be written");
    run(ppserver().args(["run", "-c"]).arg(path))
}

#[test]
fn arguments_that_are_not_enough_are_told_what_is() {
    let words = ["-c FILE", "--listen ADDR", "--to ADDR"];
    run(ppserver().arg("run")).assert_failed(2, &words);
    run_flags(&[]).assert_failed(2, &words);
    for bad in ["localhost:80", ":80", "80", "127.0.0.1", "127.0.0.1:99999"] {
        run_flags(&["--listen", bad]).assert_failed(2, &[bad, "0.0.0.0:443", "[::]:443"]);
    }
}

#[track_caller]
fn assert_taken(addr: SocketAddr) {
    let addr = addr.to_string();
    let words = [addr.as_str(), "Address already in use", "ss -tanp", "holds the port"];
    run_flags(&["--listen", &addr]).assert_failed(69, &words);
}

#[test]
fn a_taken_port_exits_69_and_says_how_to_find_its_holder() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    assert_taken(holder.local_addr().expect("it is bound"));
}

#[test]
fn a_port_whose_holder_shares_ports_is_taken_all_the_same() {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket can be made");
    holder.set_reuse_port(true).expect("SO_REUSEPORT can be set");
    holder.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port is free");
    holder.listen(1).expect("a bound socket can listen");
    let addr = holder.local_addr().expect("it is bound").as_socket();
    assert_taken(addr.expect("the socket is INET"));
}

#[test]
fn of_two_starts_at_once_one_serves_and_the_other_exits_69() {
    for round in 0..20 {
        let port = ReservedPort::new();
        let addr = port.addr().to_string();
        let start = || {
            let mut command = ppserver();
            Proc::spawn("ppserver", command.args(["run", "--to", "127.0.0.1:9", "--listen", &addr]))
        };
        let mut starts = [start(), start()];
        let ended = || starts.iter_mut().position(|proc| !proc.is_running());
        let ended = poll_for(PATIENCE, ended).unwrap_or_else(|| panic!("{round}: both serve"));
        assert_eq!(starts[ended].wait_for_exit().code(), Some(69), "round {round}");
        let other = &mut starts[1 - ended];
        assert_eq!(bound(other, 1), [port.addr()], "round {round}");
        other.signal(Signal::TERM);
        assert_eq!(other.wait_for_exit().code(), Some(0), "round {round}");
    }
}

#[test]
fn an_address_of_no_interface_exits_69_and_says_so() {
    // TEST-NET-1 (RFC 5737).
    let ran = run_flags(&["--listen", "192.0.2.1:0"]);
    ran.assert_failed(69, &["192.0.2.1:0", "no interface of this host has that address"]);
}

#[test]
fn a_privileged_port_exits_77_without_the_privilege() {
    let unprivileged = |port: u16| {
        let mut command = without_low_ports(env!("CARGO_BIN_EXE_ppserver"));
        command.args(["run", "--to", "127.0.0.1:9", "--listen", &format!("127.0.0.1:{port}")]);
        command
    };
    if let Some(port) = privileged_port() {
        let words = [&format!("127.0.0.1:{port}"), "Permission denied", "CAP_NET_BIND_SERVICE"];
        run(&mut unprivileged(port)).assert_failed(77, &words);
    } else {
        // As in most containers: no port is privileged, so the same user must get a low one.
        let mut proc = Proc::spawn("ppserver", &mut unprivileged(1));
        assert_eq!(bound(&proc, 1)[0].port(), 1);
        proc.signal(Signal::TERM);
        assert_eq!(proc.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn a_broken_file_exits_78_with_every_error_and_its_place() {
    let text = file(
        &["server.worker = 2", "timeouts.idle = 5"],
        "127.0.0.1:9".parse().expect("an address"),
    )
    .replace("['127.0.0.1']", "['10.0.0.0/33']");
    run_file(&text).assert_failed(
        78,
        &["3 errors", ":2:", "did you mean `workers`", ":3:", "timeouts", ":10:", "10.0.0.0/33"],
    );
}

#[test]
fn a_file_that_is_not_there_exits_78_and_is_named() {
    let ran = run(ppserver().args(["run", "-c", "/nonexistent/ppserver.toml"]));
    ran.assert_failed(78, &["/nonexistent/ppserver.toml", "No such file"]);
}

#[test]
fn wrong_flags_exit_2_and_say_what_is_meant() {
    run_flags(&["--listen", "127.0.0.1:0", "--acept", "v1"])
        .assert_failed(2, &["--acept", "--accept"]);
    run_flags(&["--listen", "127.0.0.1:0", "--accept", "v1"]).assert_failed(2, &["--trust"]);
    run_flags(&["--listen", "localhost"]).assert_failed(2, &["localhost", "--listen"]);
    run_flags(&[]).assert_failed(2, &["--listen"]);
    run_flags(&["--listen", "127.0.0.1:0", "--accept", "v1", "--trust", "10.0.0.0/33"])
        .assert_failed(2, &["10.0.0.0/33"]);
    run_flags(&["--listen", "[::ffff:127.0.0.1]:0", "--to", "http://web:80"]).assert_failed(
        2,
        &["--listen", "write \"127.0.0.1:0\"", "--to", "drop the \"http://\"", "2 errors"],
    );
}
