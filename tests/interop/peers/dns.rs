//! DNS: unbound and PowerDNS's recursor, which take v2 in each datagram and over TCP; Knot DNS, which takes it in datagrams alone;
//! dnsdist, which sends it; kdig and dnsperf, which ask.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::common::process::{Proc, Stream};
use crate::common::socket::ReservedPort;
use crate::peers::{peer, wait_for_listener};

/// What every question is about.
const NAME: &str = "interop.invalid.";
/// What is answered.
pub(crate) const ANSWER: &str = "192.0.2.53";

/// A running unbound, which says of every question whose it is.
pub(crate) struct Unbound {
    proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Unbound {
    /// Starts it; only a header says who the client is.
    #[track_caller]
    pub(crate) fn behind_proxy_protocol() -> Unbound {
        let dir = TempDir::new().expect("a temporary directory can be made");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let port = ReservedPort::new();
        let (ip, number) = (port.addr().ip(), port.addr().port());
        let text = format!(
            "server:\n\
             \x20 interface: {ip}@{number}\n\
             \x20 proxy-protocol-port: {number}\n\
             \x20 access-control: 0.0.0.0/0 allow\n\
             \x20 access-control: ::/0 allow\n\
             \x20 do-daemonize: no\n\
             \x20 username: \"\"\n\
             \x20 chroot: \"\"\n\
             \x20 directory: \"{dir}\"\n\
             \x20 pidfile: \"\"\n\
             \x20 use-syslog: no\n\
             \x20 logfile: \"\"\n\
             \x20 log-queries: yes\n\
             \x20 num-threads: 1\n\
             \x20 module-config: \"iterator\"\n\
             \x20 local-zone: \"invalid.\" static\n\
             \x20 local-data: \"{NAME} A {ANSWER}\"\n\
             remote-control:\n\
             \x20 control-enable: no\n",
            dir = dir.path().display(),
        );
        let config = dir.path().join("unbound.conf");
        fs::write(&config, text).expect("a file in it can be written");
        let mut command = Command::new(peer("unbound"));
        let mut proc = Proc::spawn("unbound", command.args(["-d", "-p", "-c"]).arg(&config));
        wait_for_listener(&mut proc, port.addr());
        Unbound { proc, port, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Waits until it has been asked by a client.
    #[track_caller]
    pub(crate) fn wait_for_question_of(&self, client: IpAddr) {
        let question = format!("info: {client} {NAME} A IN");
        self.proc.wait_for_line(Stream::Stderr, &question, |line| {
            line.ends_with(&question).then_some(())
        });
    }

    /// How many questions of a client it was asked.
    pub(crate) fn questions_of(&self, client: IpAddr) -> usize {
        let question = format!("info: {client} {NAME} A IN");
        self.proc.lines(Stream::Stderr).iter().filter(|line| line.ends_with(&question)).count()
    }
}

/// A running recursor, which says of every question whose it is, unless it is to keep quiet.
pub(crate) struct Recursor {
    proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Recursor {
    /// Starts it; it takes nothing from loopback without a header.
    #[track_caller]
    pub(crate) fn behind_proxy_protocol() -> Recursor {
        Recursor::start("quiet=no")
    }

    /// The same, which tells of no question.
    #[track_caller]
    pub(crate) fn quiet() -> Recursor {
        Recursor::start("quiet=yes")
    }

    #[track_caller]
    fn start(lines: &str) -> Recursor {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let port = ReservedPort::new();
        let zone = dir.path().join("zone");
        let name = NAME.trim_end_matches('.').trim_end_matches(".invalid");
        let text = format!(
            "$TTL 60\n@ IN SOA ns.invalid. host.invalid. 1 3600 600 86400 60\n@ IN NS ns.invalid.\n\
             {name} IN A {ANSWER}\n"
        );
        fs::write(&zone, text).expect("a file in it can be written");
        let text = format!(
            "daemon=no\n\
             local-address={ip}\n\
             local-port={number}\n\
             proxy-protocol-from=127.0.0.0/8\n\
             allow-from=0.0.0.0/0, ::/0\n\
             socket-dir={dir}\n\
             security-poll-suffix=\n\
             auth-zones=invalid={zone}\n\
             threads=1\n\
             disable-syslog=yes\n\
             write-pid=no\n\
             {lines}\n",
            ip = port.addr().ip(),
            number = port.addr().port(),
            dir = dir.path().display(),
            zone = zone.display(),
        );
        fs::write(dir.path().join("recursor.conf"), text).expect("a file in it can be written");
        let mut command = Command::new(peer("pdns_recursor"));
        let command = command.arg(format!("--config-dir={}", dir.path().display()));
        let mut proc = Proc::spawn("pdns_recursor", command);
        wait_for_listener(&mut proc, port.addr());
        Recursor { proc, port, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Waits until it has been asked by a client, over `protocol`.
    #[track_caller]
    pub(crate) fn wait_for_question_of(&self, client: IpAddr, protocol: &str) {
        let (client, protocol) = (format!("remote=\"{client}:"), format!("proto=\"{protocol}\""));
        self.proc.wait_for_line(Stream::Stderr, "a question", |line| {
            let has = |part: &str| line.contains(part);
            (has("msg=\"Question\"") && has(&client) && has(&protocol)).then_some(())
        });
    }

    /// How many questions it was asked.
    pub(crate) fn questions(&self) -> usize {
        let lines = self.proc.lines(Stream::Stderr);
        lines.iter().filter(|line| line.contains("msg=\"Question\"")).count()
    }
}

/// A running Knot DNS, whose answer is the address of who asks.
pub(crate) struct Knot {
    _proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Knot {
    /// Starts it; it believes headers from loopback.
    #[track_caller]
    pub(crate) fn behind_proxy_protocol() -> Knot {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let port = ReservedPort::new();
        let zone = "@ 60 SOA ns.invalid. host.invalid. 1 3600 600 86400 60\n@ 60 NS ns.invalid.\n";
        fs::write(dir.path().join("zone"), zone).expect("a file in it can be written");
        let text = format!(
            "server:\n\
             \x20 listen: {ip}@{number}\n\
             \x20 proxy-allowlist: 127.0.0.0/8\n\
             \x20 rundir: \"{dir}\"\n\
             \x20 udp-workers: 1\n\
             \x20 tcp-workers: 1\n\
             \x20 background-workers: 1\n\
             log:\n\
             \x20 - target: stderr\n\
             \x20   any: info\n\
             database:\n\
             \x20 storage: \"{dir}\"\n\
             zone:\n\
             \x20 - domain: {NAME}\n\
             \x20   file: \"{dir}/zone\"\n\
             \x20   module: mod-whoami\n",
            ip = port.addr().ip(),
            number = port.addr().port(),
            dir = dir.path().display(),
        );
        let config = dir.path().join("knot.conf");
        fs::write(&config, text).expect("a file in it can be written");
        let mut command = Command::new(peer("knotd"));
        let mut proc = Proc::spawn("knotd", command.arg("-c").arg(&config));
        wait_for_listener(&mut proc, port.addr());
        Knot { _proc: proc, port, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}

/// A running dnsdist, which sends v2.
pub(crate) struct Dnsdist {
    _proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Dnsdist {
    /// Starts it in front of somebody, to whom it speaks from this address.
    #[track_caller]
    pub(crate) fn in_front_of(upstream: SocketAddr, from: IpAddr) -> Dnsdist {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let port = ReservedPort::new();
        let text = format!(
            "setLocal(\"{}\")\n\
             setACL({{\"0.0.0.0/0\", \"::/0\"}})\n\
             setSecurityPollSuffix(\"\")\n\
             newServer({{address=\"{upstream}\", source=\"{from}\", useProxyProtocol=true}}):setUp()\n",
            port.addr()
        );
        let config = dir.path().join("dnsdist.conf");
        fs::write(&config, text).expect("a file in it can be written");
        let mut command = Command::new(peer("dnsdist"));
        let command = command.args(["--supervised", "--disable-syslog", "-C"]).arg(&config);
        let mut proc = Proc::spawn("dnsdist", command);
        wait_for_listener(&mut proc, port.addr());
        Dnsdist { _proc: proc, port, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}

/// Asks so many times from as many sockets, 100 questions under way at a time, and returns dnsperf's lines on how many were sent,
/// answered and lost.
#[track_caller]
pub(crate) fn ask_often(server: SocketAddr, times: u32, sockets: u32) -> [String; 3] {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let questions = dir.path().join("questions");
    fs::write(&questions, format!("{NAME} A\n")).expect("a file in it can be written");
    let mut command = Command::new(peer("dnsperf"));
    command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string()]);
    command.args(["-n", &times.to_string(), "-c", &sockets.to_string(), "-q", "100", "-d"]);
    let output = command.arg(&questions).output().expect("dnsperf can be started");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    ["sent", "completed", "lost"].map(|what| {
        let name = format!("Queries {what}:");
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&name));
        line.unwrap_or_else(|| panic!("dnsperf says nothing of {what}:\n{text}")).trim().to_owned()
    })
}

/// Asks from an address, and returns what kdig says of the answer.
#[track_caller]
pub(crate) fn ask(from: IpAddr, server: SocketAddr, flags: &[&str]) -> String {
    let mut command = Command::new(peer("kdig"));
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
    command.args(["-b", &from.to_string(), "+short", "+retry=0", "+timeout=10"]);
    let output = command.args(flags).args([NAME, "A"]).output().expect("kdig can be started");
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}
