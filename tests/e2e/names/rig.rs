//! A network with a name server in it, backends that say who they are, and a server in front of them.
//!
//! Everything is in namespaces of the test's own: resolv.conf(5) and hosts(5) are files of ours, mounted over those of
//! the host, and the name server is at port 53.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, Stream, require_program};
use crate::life::server::{Server, wait_for};
use crate::support::http::Door;

/// Where every backend listens.
pub(super) const PORT: u16 = 8000;

/// The server is asked here where nothing else is said.
pub(super) const NAME_SERVER: &str = "nameserver 127.0.0.1\n";

/// A message of the log, of a name that stands for others.
pub(super) const CHANGED: &str = "stands for others now";

/// A message of the log, of a name whose answer failed.
pub(super) const LOST: &str = "not found out";

/// The files of the system, as the test has them.
pub(super) struct System {
    dir: TempDir,
}

impl System {
    /// With this resolv.conf(5), and a hosts(5) that knows nobody.
    #[track_caller]
    pub(super) fn with(resolv_conf: &str) -> System {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let system = System { dir };
        for (name, text) in [("resolv.conf", resolv_conf), ("hosts", "")] {
            let ours = system.path(name);
            fs::write(&ours, text).expect("a file in it can be written");
            let mount =
                Command::new("mount").arg("--bind").arg(&ours).arg(format!("/etc/{name}")).status();
            assert!(mount.expect("mount can be run").success(), "the mount namespace is ours");
        }
        system
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes a file in place, as it is mounted.
    #[track_caller]
    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file is ours");
    }
}

/// A running dnsmasq, which knows what is in a file, for a second each.
pub(super) struct NameServer {
    proc: Proc,
    hosts: PathBuf,
}

impl NameServer {
    /// Starts one that knows these lines of hosts(5), and what further arguments say.
    #[track_caller]
    pub(super) fn start(dir: &Path, hosts: &str, args: &[&str]) -> NameServer {
        let install = "apt-get install -y --no-install-recommends dnsmasq-base";
        let dnsmasq = require_program("dnsmasq", install);
        let file = dir.join("dnsmasq.hosts");
        fs::write(&file, hosts).expect("the directory is ours");
        let mut command = Command::new(dnsmasq);
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
            .args([
                "--local=/internal/",
                "--local-ttl=1",
                "--user=root",
                "--group=root",
                "--pid-file",
            ])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-"])
            .arg(format!("--addn-hosts={}", file.display()))
            .args(args);
        let mut server = NameServer { proc: Proc::spawn("dnsmasq", &mut command), hosts: file };
        let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, 53)).is_ok().then_some(());
        let is_there = poll_for(PATIENCE, answers).is_some() && server.proc.is_running();
        assert!(is_there, "{}", server.proc.transcript());
        server
    }

    /// From now on it knows these lines instead.
    #[track_caller]
    pub(super) fn say(&self, hosts: &str) {
        fs::write(&self.hosts, hosts).expect("the file is ours");
        self.proc.signal(Signal::HUP);
    }

    /// The lines of its log that have this in them.
    pub(super) fn lines(&self, part: &str) -> Vec<String> {
        let lines = self.proc.lines(Stream::Stderr);
        lines.into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Ends it, and waits until its port is free.
    #[track_caller]
    pub(super) fn stop(mut self) {
        self.proc.signal(Signal::TERM);
        self.proc.wait_for_exit();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.proc.end();
    }
}

/// A name server that answers each question with what is made of it, at port 53 of this address; until the test ends.
#[track_caller]
pub(super) fn answers(ip: [u8; 4], answer: fn(&[u8]) -> Option<Vec<u8>>) {
    let socket = UdpSocket::bind((Ipv4Addr::from(ip), 53)).expect("the port is ours");
    thread::spawn(move || {
        let mut question = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..len]) {
                // Who asked may have gone.
                drop(socket.send_to(&answer, from));
            }
        }
    });
}

/// Begins a backend at this address: it says which it is, and then what it is told; until the test ends.
#[track_caller]
pub(super) fn backend(ip: &'static str) {
    let listener = TcpListener::bind(format!("{ip}:{PORT}")).expect("the port is ours");
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a client comes");
            thread::spawn(move || {
                socket.write_all(format!("{ip}\n").as_bytes())?;
                std::io::copy(&mut &socket, &mut &socket)
            });
        }
    });
}

/// A connection through the server, and which backend it went to.
pub(super) struct Link {
    stream: TcpStream,
    pub(super) backend: String,
}

/// Connects; `None` if it is reset.
#[track_caller]
pub(super) fn connect(to: SocketAddr) -> Option<Link> {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let mut backend = String::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) if byte == *b"\n" => return Some(Link { stream, backend }),
            Ok(1) => backend.push(char::from(byte[0])),
            Ok(_) => panic!("it was closed behind `{backend}`"),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                return None;
            }
        }
    }
}

impl Link {
    /// Sends something, which must come back.
    #[track_caller]
    pub(super) fn echo(&mut self) {
        assert!(self.echoes(), "it stands");
    }

    /// Whether something that is sent comes back.
    pub(super) fn echoes(&mut self) -> bool {
        let mut back = [0; 4];
        let sent = self.stream.write_all(b"ping");
        sent.and_then(|()| self.stream.read_exact(&mut back)).is_ok_and(|()| back == *b"ping")
    }
}

/// Connects again and again, of which none may fail, until one goes to this backend.
#[track_caller]
pub(super) fn connect_until(to: SocketAddr, backend: &str) -> Link {
    let link = poll_for(PATIENCE, || {
        Some(connect(to).expect("nobody is reset")).filter(|link| link.backend == backend)
    });
    link.unwrap_or_else(|| panic!("nobody went to {backend}"))
}

/// A configuration with a door, whose upstream has these endpoints.
pub(super) fn text(endpoints: &str) -> String {
    format!(
        "config_version = 1\nadmin.listen = '127.0.0.1:0'\nserver.workers = 2\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0']\nupstream = 'web'\n\
         [upstream.web]\nendpoints = [{endpoints}]\ndns = {{ min = '1s', max = '2s' }}\n"
    )
}

/// The door of a server.
#[track_caller]
pub(super) fn door(server: &Server) -> Door {
    let opened = wait_for(&server.proc, "admin door opens", 0);
    let addr = opened["admin"].as_str().and_then(|addr| addr.parse().ok());
    Door::Tcp(addr.expect("it is an address"))
}

/// The endpoints of the first pool: the address, and the name that it came from.
#[track_caller]
pub(super) fn endpoints(door: &Door) -> Vec<(String, Value)> {
    let pools = door.get("/api/v1/upstreams").json(200);
    let endpoints = pools["pools"][0]["endpoints"].as_array().expect("a list").clone();
    let text = |endpoint: &Value| endpoint["address"].as_str().expect("a text").to_owned();
    endpoints.iter().map(|endpoint| (text(endpoint), endpoint["name"].clone())).collect()
}
