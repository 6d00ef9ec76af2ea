//! The example programs, each as a process.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::common::payload::{MIB, assert_same, random};
use crate::common::process::{Proc, Stream};
use crate::common::wire::{hex, v1, v2};
use crate::rig::connect;

/// An example that serves, and where.
pub(crate) struct Example {
    proc: Proc,
    pub(crate) addr: SocketAddr,
}

impl Example {
    /// Starts it on a free port.
    #[track_caller]
    pub(crate) fn start<T: AsRef<OsStr>>(name: &str, args: &[T]) -> Example {
        let (proc, addr) = start(name, Command::new(path(name)).args(args).arg("127.0.0.1:0"));
        Example { proc, addr: addr.parse().expect("an address") }
    }

    /// Waits until it has written `line`.
    #[track_caller]
    pub(crate) fn says(&self, line: &str) {
        self.proc.wait_for_line(Stream::Stdout, line, |said| (said == line).then_some(()));
    }
}

/// Starts an example on a UNIX socket.
#[track_caller]
pub(crate) fn start_unix(name: &str, socket: &Path) -> Proc {
    let addr = format!("unix:{}", socket.display());
    let (proc, listening) = start(name, Command::new(path(name)).arg(&addr));
    assert_eq!(listening, addr);
    proc
}

/// Runs the client, which sends its header and a payload to `addr`.
#[track_caller]
pub(crate) fn run_client(addr: SocketAddr) {
    let status = Command::new(path("client")).arg(addr.to_string()).status();
    assert!(status.expect("it runs").success());
}

/// Starts it, and waits until it says where it listens.
#[track_caller]
fn start(name: &str, command: &mut Command) -> (Proc, String) {
    let proc = Proc::spawn(name, command);
    let addr = proc.wait_for_line(Stream::Stdout, "its address", |line| {
        line.strip_prefix("listening ").map(str::to_owned)
    });
    (proc, addr)
}

/// Where cargo put an example: beside the directory of this test.
fn path(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let dir = own.parent().and_then(|deps| deps.parent()).expect("cargo's directories");
    let path = dir.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not built: `cargo test -p ppnet` builds it, `--test ppnet` alone does not",
        path.display()
    );
    path
}

fn client() -> SocketAddr {
    "203.0.113.7:51820".parse().expect("an address")
}

fn server() -> SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

#[test]
fn the_server_prints_the_addresses_of_the_clients_header() {
    let server = Example::start::<&str>("server", &[]);
    run_client(server.addr);
    server.says("local address: 20.2.2.2:2000");
    server.says("remote address: 10.1.1.1:1000");
    server.says("payload: \"ping\"");
}

#[test]
fn the_client_sends_the_28_bytes_first() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    run_client(listener.local_addr().expect("it is bound"));
    let mut received = Vec::new();
    let (mut stream, _) = listener.accept().expect("it came");
    stream.read_to_end(&mut received).expect("it ends");
    let header = hex("0d0a0d0a000d0a515549540a 21 11 000c 0a010101 14020202 03e8 07d0");
    assert_eq!(header.len(), 28);
    assert_eq!(received, [&header[..], b"ping"].concat());
}

#[test]
fn whoami_answers_with_the_callers_address() {
    let whoami = Example::start::<&str>("whoami", &[]);
    let mut stream = connect(whoami.addr);
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(&[&v2(client(), server())[..], request].concat()).expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    let peer = stream.local_addr().expect("it is connected");
    let body = format!("you are {}, and called {} through {peer}\n", client(), server());
    assert!(answer.ends_with(&body), "{answer}");
}

/// An upstream that takes one connection.
fn upstream<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    (addr, thread::spawn(move || serve(listener.accept().expect("somebody comes").0)))
}

/// Reads the head of an HTTP message, byte by byte: nothing behind it is taken.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head goes on");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is ASCII")
}

#[test]
fn the_forward_proxy_tunnels_with_pipelined_bytes_and_half_closes() {
    let payload = random(71, MIB);
    let proxy = Example::start::<&str>("forward_proxy", &[]);
    // Hears everything up to the client's FIN before it says a word: only a half-close gets it there.
    let (target, far) = upstream(|mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("it ends");
        stream.write_all(b"heard").expect("the other direction is open");
        heard
    });
    let mut stream = connect(proxy.addr);
    let connect_line = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    // The first bytes of the tunnel come in the same write as the request, unasked.
    let (early, late) = payload.split_at(1000);
    let first = [&v2(client(), server())[..], connect_line.as_bytes(), early].concat();
    stream.write_all(&first).expect("it is open");
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    stream.write_all(late).expect("it is open");
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    assert_eq!(answer, "heard");
    assert_same(&far.join().expect("it does not panic"), &payload);
    proxy.says(&format!("{} CONNECT {target} 200", client()));
}

#[test]
fn the_forward_proxy_sends_an_absolute_request_on_in_origin_form() {
    let proxy = Example::start::<&str>("forward_proxy", &[]);
    let (target, far) = upstream(|mut stream| {
        let request = head(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-hop: 1\r\n\
            connection: x-hop\r\n\r\npong",
            )
            .expect("it is open");
        request
    });
    let mut stream = connect(proxy.addr);
    let request = format!(
        "GET http://{target}/path?query HTTP/1.1\r\nHost: other\r\nProxy-Connection: keep-alive\r\n\
         Connection: close, X-Mine\r\nX-Mine: secret\r\nX-End: kept\r\n\r\n"
    );
    stream.write_all(&[&v1(client(), server())[..], request.as_bytes()].concat()).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\npong"));
    assert!(!answer.contains("x-hop: 1"), "{answer}");
    let request = far.join().expect("it does not panic");
    assert!(request.starts_with("GET /path?query HTTP/1.1\r\n"), "{request}");
    let lower = request.to_lowercase();
    assert!(lower.contains(&format!("\r\nhost: {target}\r\n")), "{request}");
    assert!(lower.contains("\r\nx-end: kept\r\n"), "{request}");
    assert!(!lower.contains("x-mine") && !lower.contains("proxy-connection"), "{request}");
    proxy.says(&format!("{} GET http://{target}/path?query 200", client()));
}

#[test]
fn the_forward_proxy_answers_for_an_upstream_that_is_not_there() {
    let proxy = Example::start::<&str>("forward_proxy", &[]);
    let gone = crate::common::socket::ReservedPort::new();
    for (line, status) in [
        (format!("CONNECT {} HTTP/1.1", gone.addr()), "502"),
        (format!("GET http://{}/ HTTP/1.1", gone.addr()), "502"),
        ("GET /origin-form HTTP/1.1".to_owned(), "400"),
    ] {
        let mut stream = connect(proxy.addr);
        let request = format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n");
        let sent = [&v2(client(), server())[..], request.as_bytes()].concat();
        stream.write_all(&sent).expect("it is open");
        let answer = head(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
}
