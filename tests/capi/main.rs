//! The C library as C programs meet it: installed, found by pkg-config, linked both ways.
//!
//! The C sources beside this file are built with AddressSanitizer and UBSan; what the library reads and
//! writes ends at a page that faults, since the sanitizers see nothing of Rust's code.

#[expect(dead_code, reason = "the oracle's answers are the expectation here")]
#[path = "../support/conformance.rs"]
mod conformance;
#[path = "../naive.rs"]
mod naive;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use naive::{Answer, Input, Options};

const STRICT: &str = "-std=c99 -Wall -Wextra -Wpedantic -Werror -g";
const SANITIZED: &str = "-fsanitize=address,undefined -fno-sanitize-recover=all";

/// Where the library is installed, once for all tests.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut install = Command::new(cargo);
        install.args(["capi-install", "--prefix"]).arg(&prefix).current_dir(root());
        succeed(&mut install);
        prefix
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a program to its end.
fn succeed(command: &mut Command) -> String {
    let program = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("{program:?}: {error}; on Debian and Ubuntu: apt-get install gcc g++ pkgconf")
    });
    finished(&output)
}

fn finished(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn pkg_config(words: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")).args(words).arg("ppcapi");
    succeed(&mut command).split_whitespace().map(str::to_owned).collect()
}

#[derive(Clone, Copy)]
enum Link {
    Shared,
    Static,
}

/// Builds a C source against the installed library.
fn built(compiler: &str, source: &Path, flags: &str, link: Link) -> PathBuf {
    let (kind, libs) = match link {
        Link::Shared => ("shared", pkg_config(&["--cflags", "--libs"])),
        // By its full name, or the linker prefers the shared one.
        Link::Static => ("static", {
            let words = pkg_config(&["--cflags", "--libs", "--static"]);
            let archive = prefix().join("lib/libppcapi.a").display().to_string();
            let named = |word: String| if word == "-lppcapi" { archive.clone() } else { word };
            words.into_iter().map(named).collect()
        }),
    };
    let name = source.file_stem().expect("a source has a name").to_string_lossy();
    let program = prefix().join(format!("{name}-{compiler}-{kind}"));
    let mut command = Command::new(compiler);
    command.args(flags.split_whitespace()).arg(source).args(libs).arg("-o").arg(&program);
    command.arg(format!("-Wl,-rpath,{}", prefix().join("lib").display()));
    succeed(&mut command);
    program
}

fn c_source(name: &str) -> PathBuf {
    root().join("tests/capi").join(name)
}

/// A case as vectors.c reads it.
fn question(bytes: &[u8], options: &Options) -> String {
    let mode = match options.input {
        Input::Open => "open",
        Input::Closed => "closed",
        Input::Datagram => "datagram",
        Input::Spp => "spp",
    };
    let hex = if bytes.is_empty() { "-".to_owned() } else { hex(bytes) };
    let flags = [options.verify_crc, options.strict_tlv].map(u8::from);
    format!("{mode} {} {} {} {hex}\n", flags[0], flags[1], options.max_v2_len)
}

/// What vectors.c is to answer, in the oracle's words.
fn expected(answer: &Answer, options: &Options) -> String {
    match answer {
        Answer::Incomplete { need, .. } => format!("need {need}"),
        Answer::Absent => "absent 0".to_owned(),
        Answer::NotProxy { .. } if options.input == Input::Spp => "not_proxy".to_owned(),
        Answer::Error { kind, .. } if options.input == Input::Spp => (*kind).to_owned(),
        Answer::NotProxy { offset } => format!("not_proxy {offset}"),
        Answer::Error { kind, offset, .. } => format!("{kind} {offset}"),
        Answer::Ok(header) if header.version == "spp" => {
            format!("spp {} {}", address(header.src.as_deref()), address(header.dst.as_deref()))
        }
        Answer::Ok(header) => {
            let mut line = format!(
                "ok {} {} {} {} {} {} {}",
                header.version,
                header.command,
                header.family,
                header.transport,
                address(header.src.as_deref()),
                address(header.dst.as_deref()),
                header.consumed
            );
            for (kind, value) in &header.tlvs {
                let _ = write!(line, " {kind:02x}={}", hex(value));
            }
            if let Some(kind) = header.tlv_error {
                let _ = write!(line, " !{kind}");
            }
            line
        }
    }
}

fn address(text: Option<&str>) -> String {
    let Some(text) = text else { return "-".to_owned() };
    if let Some(name) = text.strip_prefix("unix-abstract:") {
        return format!("abstract:{name}");
    }
    if let Some(path) = text.strip_prefix("unix:") {
        // The oracle writes a byte as the character of that number.
        let bytes: Vec<u8> =
            path.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect();
        return if bytes.is_empty() {
            "unnamed".to_owned()
        } else {
            format!("path:{}", hex(&bytes))
        };
    }
    match text.parse().expect("an address") {
        SocketAddr::V4(addr) => format!("{}:{}", hex(&addr.ip().octets()), addr.port()),
        SocketAddr::V6(addr) => format!("{}:{}", hex(&addr.ip().octets()), addr.port()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn every_vector_is_decoded(link: Link) {
    let program = built("gcc", &c_source("vectors.c"), &format!("{STRICT} {SANITIZED}"), link);
    let vectors = conformance::load();
    let questions: String =
        vectors.iter().map(|vector| question(&vector.bytes(), &vector.options())).collect();
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it has been built");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let answers = finished(&child.wait_with_output().expect("it ends"));
    writer.join().expect("it does not panic").expect("all is read");
    let lines: Vec<&str> = answers.lines().collect();
    assert_eq!(lines.len(), vectors.len());
    for (vector, line) in vectors.iter().zip(lines) {
        let answer = naive::decode(&vector.bytes(), &vector.options());
        assert_eq!(line, expected(&answer, &vector.options()), "{}", vector.name);
    }
}

#[test]
fn every_vector_is_decoded_through_the_static_library() {
    every_vector_is_decoded(Link::Static);
}

#[test]
fn every_vector_is_decoded_through_the_shared_library() {
    every_vector_is_decoded(Link::Shared);
}

#[test]
fn every_function_refuses_null_short_misaligned_and_uninitialised() {
    for link in [Link::Static, Link::Shared] {
        let flags = format!("{STRICT} {SANITIZED} -fno-sanitize=alignment");
        let said = succeed(&mut Command::new(built("gcc", &c_source("calls.c"), &flags, link)));
        let checks = said.strip_suffix(" checks\n").map(str::parse::<u32>);
        assert!(matches!(checks, Some(Ok(296))), "{said}");
    }
}

#[test]
fn the_cpp_example_tells_who_the_client_is() {
    let source = root().join("crates/ppcapi/examples/client.cc");
    let flags = "-std=c++17 -Wall -Wextra -Wpedantic -Werror";
    let program = built("g++", &source, flags, Link::Shared);
    assert_eq!(told(&mut Command::new(program)), CLIENTS);
}

#[test]
fn the_python_example_tells_who_the_client_is() {
    let mut python = Command::new("python3");
    python.arg(root().join("crates/ppcapi/examples/client.py"));
    python.env("LD_LIBRARY_PATH", prefix().join("lib"));
    assert_eq!(told(&mut python), CLIENTS);
}

/// What both examples print of [`told`]'s input.
const CLIENTS: &str = "203.0.113.7 port 51820, alpn h2, 3 bytes of payload\n";

/// What a program prints of a header with an ALPN and payload.
fn told(command: &mut Command) -> String {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xcb\0\x71\x07\xc0\0\x02\x01\xca\x6c\x01\xbb\x01\0\x02h2GET";
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{error}; on Debian and Ubuntu: apt-get install g++ python3")
    });
    child.stdin.take().expect("it is piped").write_all(header).expect("it reads");
    finished(&child.wait_with_output().expect("it ends"))
}

#[test]
fn addresses_become_those_of_sockets() {
    let flags = format!("{STRICT} {SANITIZED}");
    let program = built("gcc", &c_source("sockaddr.c"), &flags, Link::Shared);
    assert_eq!(succeed(&mut Command::new(program)), "fine\n");
}

#[test]
fn what_is_installed_is_small_and_says_where_it_is() {
    let shared = std::fs::metadata(prefix().join("lib/libppcapi.so")).expect("it is installed");
    // A tenth more than what it takes: symbols of std would be ten times as much.
    assert!(shared.len() < 500_000, "{} bytes", shared.len());
    for (name, dir) in [("libdir", "lib"), ("includedir", "include")] {
        let said = pkg_config(&[&format!("--variable={name}")]);
        assert_eq!(said, [prefix().join(dir).display().to_string()]);
    }
}

#[test]
fn the_example_tells_a_client_its_address() {
    let source = root().join("crates/ppcapi/examples/whoami.c");
    let program = built("gcc", &source, "-std=c99 -Wall -Wextra -Wpedantic -Werror", Link::Shared);
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xD8/run/x"[..], &[0; 210]].concat();
    let datagram = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0C"[..], &[1; 12]].concat();
    for (header, expected) in [
        (
            &b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n"[..],
            "you are 203.0.113.7 port 51820\n",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 51820 443\r\n", "you are 2001:db8::7 port 51820\n"),
        (b"PROXY UNKNOWN\r\n", "you are the balancer itself\n"),
        (&unix, "you are the balancer itself\n"),
        (&datagram, "you are the balancer itself\n"),
    ] {
        assert_eq!(whoami(&program, header), expected);
    }
}

/// What the example tells a client that sends this header.
fn whoami(program: &Path, header: &[u8]) -> String {
    let mut server =
        Command::new(program).stdout(Stdio::piped()).spawn().expect("it has been built");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
    let port: u16 =
        line.trim_end().rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a port");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("no such time is refused");
    client.write_all(header).expect("it reads");
    let mut told = String::new();
    client.read_to_string(&mut told).expect("it answers and closes");
    assert!(server.wait().expect("it ends").success());
    told
}
