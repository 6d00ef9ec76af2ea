//! Hosts as network namespaces around ours, which is their router and everybody's client, and the files of a recipe.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use socket2::{Domain, Socket, Type};

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::ppserver::assert_all_ended;
use crate::common::process::{Proc, Stream, require_program};
use crate::common::socket::Client;

/// What puts every program of the recipes on a Debian or Ubuntu machine.
const INSTALL: &str = "apt-get install -y --no-install-recommends haproxy nginx libnginx-mod-stream postfix \
     dovecot-imapd openssh-server dnsdist unbound knot-dnsutils bird2 procps squid curl openssl iproute2";

/// Where a program is, by its name or path.
#[track_caller]
pub(crate) fn require(program: &str) -> PathBuf {
    require_program(program, INSTALL)
}

/// Where the recipes are.
pub(crate) fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes")
}

/// A recipe, by the name of its directory.
pub(crate) struct Recipe(PathBuf);

impl Recipe {
    #[track_caller]
    pub(crate) fn named(name: &str) -> Recipe {
        let dir = recipes().join(name).canonicalize();
        Recipe(dir.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// The path of one of its files.
    #[track_caller]
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.0.join(name);
        assert!(path.is_file(), "there is no {}", path.display());
        path.into_os_string().into_string().expect("its path is UTF-8")
    }
}

/// Another host.
pub(crate) struct Host(&'static str);

impl Host {
    /// Makes it; it has these addresses, and everything else lies behind us.
    #[track_caller]
    pub(crate) fn with(name: &'static str, addresses: &[&str]) -> Host {
        sh(&format!(
            "ip netns add {name}
             ip link add {name} type veth peer name uplink netns {name}
             ip -6 addr add fe80::1/64 dev {name} nodad
             ip link set {name} up"
        ));
        let host = Host(name);
        host.sh("echo 0 > /proc/sys/net/ipv6/conf/uplink/accept_dad
                 ip link set lo up
                 ip link set uplink up");
        for address in addresses {
            host.sh(&format!("ip addr add {address} dev uplink {}", nodad(address)));
            sh(&format!("ip route add {address} dev {name}"));
        }
        host.sh("ip route add 169.254.0.1 dev uplink
                 ip route add default via 169.254.0.1
                 ip -6 route add default via fe80::1 dev uplink");
        host
    }

    /// A command that runs there.
    #[track_caller]
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(require("ip"));
        command.args(["netns", "exec", self.0]).arg(require(program));
        command
    }

    /// Runs lines of a shell there, and returns what they print.
    #[track_caller]
    pub(crate) fn sh(&self, lines: &str) -> String {
        succeeded(self.command("sh").args(["-euc", lines]))
    }

    /// Starts a program there and waits until it listens at this port of TCP.
    #[track_caller]
    pub(crate) fn start(&self, port: u16, program: &str, args: &[&str]) -> Proc {
        let mut proc = Proc::spawn(program, self.command(program).args(args));
        let listening = poll_for(PATIENCE, || {
            let found = succeeded(self.command("ss").args(["-Hltn", &format!("sport = :{port}")]));
            (!found.is_empty() || !proc.is_running()).then_some(!found.is_empty())
        });
        assert_eq!(listening, Some(true), "nobody at {port}\n{}", proc.transcript());
        proc
    }

    /// Starts ours there with a file, and waits until it serves.
    #[track_caller]
    pub(crate) fn ppserver(&self, config: &str) -> Ppserver {
        let mut command = self.command(env!("CARGO_BIN_EXE_ppserver"));
        let proc = Proc::spawn("ppserver", command.args(["run", "-c", config]));
        let ready = |line: &str| line.contains("\"listening\"").then_some(());
        proc.wait_for_line(Stream::Stderr, "its port", ready);
        Ppserver(proc)
    }
}

/// Ours; each connection has ended, and been counted, when the value goes.
pub(crate) struct Ppserver(Proc);

impl Ppserver {
    /// Waits for a line of its log that holds all of `words`.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &[&str]) {
        self.0.wait_for_line(Stream::Stderr, &words.join(" "), |line| {
            words.iter().all(|word| line.contains(word)).then_some(())
        });
    }
}

impl Drop for Ppserver {
    fn drop(&mut self) {
        assert_all_ended(&mut self.0);
    }
}

/// Makes this namespace the router of the hosts, and gives it the addresses of clients.
#[track_caller]
pub(crate) fn internet(clients: &[&str]) {
    // `ip netns` keeps its names in /run, and servers their files there and in /var/log.
    sh("mount -t tmpfs -o mode=755 tmpfs /run
        mount -t tmpfs -o mode=755 tmpfs /var/log
        mkdir /var/log/nginx
        echo 1 > /proc/sys/net/ipv4/ip_forward
        echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
        ip addr add 169.254.0.1 dev lo");
    for address in clients {
        sh(&format!("ip addr add {address} dev lo {}", nodad(address)));
    }
}

/// Runs lines of a shell, and returns what they print.
#[track_caller]
pub(crate) fn sh(lines: &str) -> String {
    succeeded(Command::new("sh").args(["-euc", lines]))
}

/// Runs a command, which is to succeed, and returns what it prints.
#[track_caller]
pub(crate) fn succeeded(command: &mut Command) -> String {
    let output = ran(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn ran(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Looks until `look` finds something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    poll_for(PATIENCE, look).unwrap_or_else(|| panic!("not seen: {what}"))
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { "nodad" } else { "" }
}

/// A connection from one of our addresses.
#[track_caller]
pub(crate) fn connect(from: &str, to: &str) -> TcpStream {
    let [from, to] = [format!("{from}:0"), to.to_owned()]
        .map(|addr| addr.parse::<SocketAddr>().expect("an address"));
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("it can be made");
    socket.bind(&from.into()).expect("it is ours");
    socket.connect_timeout(&to.into(), PATIENCE).unwrap_or_else(|error| panic!("{to}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket.into()
}

/// Sends `bytes` from one of our addresses, and is reset, be it before the connection was seen to stand.
#[track_caller]
pub(crate) fn refused(from: &str, to: &str, bytes: &[u8]) {
    let (from, to) = (from.parse().expect("an address"), to.parse().expect("an address"));
    Client::connect(from, to).exchange(bytes).assert_reset();
}
