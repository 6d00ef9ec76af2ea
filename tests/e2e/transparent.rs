//! `source`: what endpoints see connections come from, in network namespaces of their own, which takes root.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use crate::common::deadline::PATIENCE;
use crate::common::process::{Proc, Stream, require_program};
use crate::life::server::{Server, run, without_low_ports, written};
use crate::life::session::Session;
use crate::support::local;
use crate::support::namespace::in_a_namespace;

const UPSTREAMS: &str = include_str!("../../docs/upstreams.md");
const V4: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";
const V6: &str = "PROXY TCP6 2001:db8::7 2001:db8::1 51820 443\r\n";
const CLIENT_V4: &str = "203.0.113.7:51820";
const CLIENT_V6: &str = "[2001:db8::7]:51820";

#[track_caller]
fn command(line: &str) {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().expect("there is a word")).args(words).status();
    assert!(status.expect("it can be run").success(), "{line}");
}

/// What the page says is to be done for endpoints of this host.
#[track_caller]
fn routed() {
    let (_, page) = UPSTREAMS.split_once("## A transparent source").expect("the page has it");
    let (_, block) = page.split_once("```sh\n").expect("it has lines");
    let (lines, _) = block.split_once("```").expect("they end");
    let lines: Vec<_> = lines.lines().filter(|line| line.starts_with("ip ")).collect();
    assert_eq!(lines.len(), 4, "a rule and a route for each family");
    lines.into_iter().for_each(command);
}

fn text(endpoints: &str, source: &str) -> String {
    format!(
        "config_version = 1\nserver.workers = 1\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0']\nupstream = 'far'\n\
         [listener.proxy_protocol]\naccept = 'optional'\ntrust = 'any'\n\
         [upstream.far]\nendpoints = [{endpoints}]\nsource = '{source}'\n"
    )
}

struct Far(TcpListener);

impl Far {
    fn at(ip: impl Into<IpAddr>) -> Far {
        Far(TcpListener::bind((ip.into(), 0)).expect("a port is free"))
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    #[track_caller]
    fn accept(&self) -> (TcpStream, SocketAddr) {
        let (stream, peer) = self.0.accept().expect("somebody connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        (stream, peer)
    }
}

/// Sends `bytes` and returns whom the endpoint sees; what it answers arrives.
#[track_caller]
fn seen(server: &Server, far: &Far, bytes: &[u8]) -> SocketAddr {
    let mut client = Session::connect(server.addr());
    client.send(bytes);
    let (mut stream, peer) = far.accept();
    stream.write_all(b"answer").expect("it stands");
    client.finish();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it ends");
    drop(stream);
    assert_eq!(client.rest().0, b"answer");
    peer
}

#[test]
fn sshd_sees_the_client_of_either_family() {
    in_a_namespace(|| {
        let sshd =
            require_program("sshd", "apt-get install -y --no-install-recommends openssh-server");
        routed();
        // Where it wants a directory of its own.
        command("mount -t tmpfs none /run");
        fs::create_dir("/run/sshd").expect("it is ours");
        let dir = tempfile::TempDir::new().expect("a directory can be made");
        let key = dir.path().join("key");
        let mut keygen = Command::new("ssh-keygen");
        let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.expect("it comes with sshd").success());
        for (ip, header, client) in [("127.0.0.1", V4, CLIENT_V4), ("[::1]", V6, CLIENT_V6)] {
            let listen = format!("ListenAddress={ip}:2222");
            let mut daemon = Command::new(&sshd);
            daemon.args(["-D", "-e", "-f", "/dev/null", "-o", &listen, "-o", "LogLevel=VERBOSE"]);
            daemon.args(["-o", "PidFile=none", "-h"]).arg(&key);
            let mut daemon = Proc::spawn("sshd", &mut daemon);
            daemon.wait_for_line(Stream::Stderr, "sshd's port", |line| {
                line.contains("Server listening").then_some(())
            });
            let mut server = Server::start(&text(&format!("'{ip}:2222'"), "client"));
            assert!(server.records("answers to clients").is_empty());
            let mut stream = TcpStream::connect(server.addr()).expect("it listens");
            stream.write_all(header.as_bytes()).expect("it stands");
            let mut banner = String::new();
            BufReader::new(&stream).read_line(&mut banner).expect("a server that speaks first");
            assert!(banner.starts_with("SSH-2.0-OpenSSH"), "{banner}");
            drop(stream);
            let client: SocketAddr = client.parse().expect("an address");
            let line = format!("Connection from {} port {}", client.ip(), client.port());
            daemon.wait_for_line(Stream::Stderr, &line, |said| said.contains(&line).then_some(()));
            server.stop();
            daemon.signal(Signal::TERM);
            daemon.wait_for_exit();
        }
    });
}

#[test]
fn the_client_comes_with_his_port_and_with_another_where_that_is_taken() {
    in_a_namespace(|| {
        routed();
        for (ip, header, client) in [
            (IpAddr::from([127, 0, 0, 1]), V4, CLIENT_V4),
            (Ipv6Addr::LOCALHOST.into(), V6, CLIENT_V6),
        ] {
            let far = Far::at(ip);
            let text = text(&format!("'{}'", far.addr()), "client");
            let mut server = Server::start(&text);
            let client: SocketAddr = client.parse().expect("an address");
            let mut first = Session::connect(server.addr());
            first.send(header.as_bytes());
            let (stream, peer) = far.accept();
            assert_eq!(peer, client);
            // The pair is taken while it stands, and, where the endpoint ended it first, for a minute more.
            for _ in 0..3 {
                let peer = seen(&server, &far, header.as_bytes());
                assert_eq!((peer.ip(), peer.port() == client.port()), (client.ip(), false));
            }
            drop((first, stream));
            // Health checks, and who has no address but his own.
            assert_eq!(seen(&server, &far, &local()).ip(), ip);
            let low = header.replace("51820", "22");
            assert_eq!(seen(&server, &far, low.as_bytes()), SocketAddr::new(client.ip(), 22));
            let counters = server.stop();
            assert_eq!(counters["connect_failures"], 0);
            // A low port takes a permission, and another one of his does not.
            let mut server = Server::start_with(&text, |file| {
                let mut command = without_low_ports(env!("CARGO_BIN_EXE_ppserver"));
                command.args(["run", "-c"]).arg(file);
                command
            });
            let peer = seen(&server, &far, low.replace("22 443", "23 443").as_bytes());
            assert_eq!((peer.ip(), peer.port() > 1023), (client.ip(), true));
            server.stop();
        }
    });
}

#[test]
fn an_endpoint_of_the_other_family_gets_nobody_and_no_client_comes_from_what_is_no_host() {
    in_a_namespace(|| {
        routed();
        let (v4, v6) = (Far::at([127, 0, 0, 1]), Far::at(Ipv6Addr::LOCALHOST));
        let both = format!("'{}', '{}'", v4.addr(), v6.addr());
        let mut server = Server::start(&text(&both, "client"));
        for _ in 0..4 {
            assert_eq!(seen(&server, &v4, V4.as_bytes()).ip(), IpAddr::from([203, 0, 113, 7]));
            assert_eq!(
                seen(&server, &v6, V6.as_bytes()).to_string().split(']').next(),
                Some("[2001:db8::7")
            );
        }
        for claimed in ["127.0.0.1", "127.1.2.3", "0.0.0.0", "224.0.0.1", "255.255.255.255"] {
            let mut client = Session::connect(server.addr());
            client.send(format!("PROXY TCP4 {claimed} 192.0.2.1 51820 443\r\n").as_bytes());
            client.assert_reset();
        }
        for claimed in ["::1", "::", "ff02::1", "fe80::1"] {
            let mut client = Session::connect(server.addr());
            client.send(format!("PROXY TCP6 {claimed} 2001:db8::1 51820 443\r\n").as_bytes());
            client.assert_reset();
        }
        // Nothing of it is held against endpoints.
        assert_eq!(seen(&server, &v4, V4.as_bytes()).ip(), IpAddr::from([203, 0, 113, 7]));
        let counters = server.stop();
        assert_eq!(
            (&counters["closed"]["connect_failed"], &counters["connect_failures"]),
            (&9.into(), &0.into())
        );
    });
}

#[test]
fn a_source_of_ours_is_what_endpoints_see_and_its_ports_are_counted() {
    in_a_namespace(|| {
        let far = Far::at([127, 0, 0, 1]);
        let mut server = Server::start(&text(&format!("'{}'", far.addr()), "127.0.0.9"));
        for bytes in [V4.as_bytes(), &local(), b"plain"] {
            assert_eq!(seen(&server, &far, bytes).ip(), IpAddr::from([127, 0, 0, 9]));
        }
        server.stop();
        // There are four ports for this endpoint from that address.
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "60000 60003").expect("it is ours");
        let far = Far(TcpListener::bind("127.0.0.1:2000").expect("it is free"));
        let mut server =
            Server::start(&text("'127.0.0.1:2000'", "127.0.0.9").replace(":0'", ":2001'"));
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 30000").expect("it is ours");
        let mut clients: Vec<_> = (0..6).map(|_| Session::connect(server.addr())).collect();
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "60000 60003").expect("it is ours");
        let (few, many) = clients.split_at_mut(4);
        let _served: Vec<_> = few
            .iter_mut()
            .map(|client| {
                client.send(b"x");
                far.accept()
            })
            .collect();
        for client in many {
            client.send(b"x");
            let (bytes, _) = client.rest();
            assert!(bytes.is_empty());
        }
        let counters = server.stop();
        assert_eq!(counters["closed"]["connect_failed"], 2);
    });
}

#[test]
fn checks_and_trials_come_from_a_source_of_ours() {
    in_a_namespace(|| {
        let source = IpAddr::from([127, 0, 0, 9]);
        let far = Far::at([127, 0, 0, 1]);
        let text = |more: &str| text(&format!("'{}'", far.addr()), "127.0.0.9") + more;
        let checked = text("health = { check = 'tcp', interval = '1s' }\n");
        let mut server = Server::start(&checked);
        assert_eq!(far.accept().1.ip(), source, "there is no client");
        server.stop();
        let tried = text("passive = { failures = 1, eject = '100ms', max = '100ms' }\n");
        let addr = far.addr();
        drop(far);
        let mut server = Server::start(&tried);
        let mut client = Session::connect(server.addr());
        client.send(b"plain");
        client.assert_reset();
        let far = Far(TcpListener::bind(addr).expect("nobody else is here"));
        assert_eq!(far.accept().1.ip(), source, "the client is gone");
        server.wait_for("endpoint up: a connect of ours stood", 0);
        server.stop();
    });
}

#[test]
fn without_the_capability_the_start_says_what_gives_it_and_without_routes_what_makes_them() {
    in_a_namespace(|| {
        let far = Far::at([127, 0, 0, 1]);
        let text = text(&format!("'{}'", far.addr()), "client");
        let (_dir, file) = written(&text);
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin"]);
        command.arg(env!("CARGO_BIN_EXE_ppserver")).args(["run", "-c"]).arg(&file);
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(77), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("`setcap cap_net_bind_service,cap_net_raw+ep"),
            "{}",
            ran.stderr
        );
        let mut server = Server::start(&text);
        let warned = server.wait_for("answers to clients do not come back", 0);
        let lines = warned["lines"].as_str().expect("there are lines").to_owned();
        server.stop();
        lines.split("; ").for_each(self::command);
        let mut server = Server::start(&text);
        assert!(server.records("answers to clients").is_empty());
        assert_eq!(seen(&server, &far, V4.as_bytes()).to_string(), CLIENT_V4);
        server.stop();
        let without = text.replace("client", "");
        let mut server = Server::start(&without);
        let refused = server.reload(&text, "reload refused");
        let why = refused["why"].as_str().expect("it says why");
        assert!(why.contains("a restart is needed"), "it was given up: {why}");
        server.stop();
    });
}
