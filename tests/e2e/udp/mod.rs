//! Datagrams: a listener of them between plain sockets, which say what they were sent.

mod checks;
mod drops;
mod life;
mod link;
mod network;
mod relay;
mod shown;

use std::io;
use std::net::{SocketAddr, UdpSocket};

use serde_json::Value;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::Stream;
use crate::common::wire::SIGNATURE;
use crate::life::server::Server;
use crate::support::http::Door;
use crate::support::resident_bytes;

/// Takes headers from everybody.
const REQUIRE: &str = "accept = \"require\"\ntrust = \"any\"";

/// A listener of datagrams; what is not said has its default, but for one worker and an access log of every flow.
struct Setup {
    bind: String,
    listener: String,
    accept: String,
    endpoints: Vec<SocketAddr>,
    upstream: String,
    send: String,
}

impl Setup {
    fn to(endpoints: &[SocketAddr]) -> Setup {
        Setup {
            bind: "127.0.0.1:0".to_owned(),
            listener: String::new(),
            accept: String::new(),
            endpoints: endpoints.to_vec(),
            upstream: String::new(),
            send: String::new(),
        }
    }

    fn bind(self, addr: &str) -> Setup {
        Setup { bind: addr.to_owned(), ..self }
    }

    /// Lines of `[[listener]]`.
    fn listener(self, lines: &str) -> Setup {
        Setup { listener: lines.to_owned(), ..self }
    }

    /// Lines of `[listener.proxy_protocol]`.
    fn accept(self, lines: &str) -> Setup {
        Setup { accept: lines.to_owned(), ..self }
    }

    /// Lines of `[upstream.far]`.
    fn upstream(self, lines: &str) -> Setup {
        Setup { upstream: lines.to_owned(), ..self }
    }

    /// Lines of `[upstream.far.proxy_protocol]`.
    fn send(self, lines: &str) -> Setup {
        Setup { send: lines.to_owned(), ..self }
    }

    fn text(&self) -> String {
        let Setup { bind, listener, accept, endpoints, upstream, send } = self;
        let endpoints: Vec<_> = endpoints.iter().map(|addr| format!("\"{addr}\"")).collect();
        let endpoints = endpoints.join(", ");
        format!(
            "config_version = 1\n[server]\nworkers = 1\nshutdown_grace = \"100ms\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [access_log]\nenabled = true\nlog_probes = true\n\
             [[listener]]\nname = \"edge\"\nprotocol = \"udp\"\nbind = [\"{bind}\"]\nupstream = \"far\"\n{listener}\n\
             [listener.proxy_protocol]\n{accept}\n\
             [upstream.far]\nendpoints = [{endpoints}]\n{upstream}\n\
             [upstream.far.proxy_protocol]\n{send}\n"
        )
    }

    #[track_caller]
    fn start(&self) -> Server {
        Server::start(&self.text())
    }
}

/// A client's socket, which takes answers from the address alone that it sends to.
#[track_caller]
fn a_client(server: &Server) -> UdpSocket {
    client_of(server.addr())
}

/// Waits for line number `nth` (from 0) of a flow whose datagrams came from a peer.
#[track_caller]
fn line_of(server: &Server, peer: &UdpSocket, nth: usize) -> Value {
    let peer = addr(peer).to_string();
    let mut seen = 0;
    server.proc.wait_for_line(Stream::Stdout, "a flow's line", |line| {
        let line: Value = serde_json::from_str(line).expect("the access log is JSON");
        seen += usize::from(line["peer"] == peer);
        (seen > nth).then_some(line)
    })
}

/// Waits until the values of a family that are not 0, by the last label, are these: what came of a datagram is told behind it.
#[track_caller]
fn assert_counted<const N: usize>(server: &Server, family: &str, expected: [(&str, u64); N]) {
    let mut expected = expected.map(|(label, count)| (label.to_owned(), count));
    expected.sort();
    let mut found = Vec::new();
    let is_so = poll_for(PATIENCE, || {
        found = counted(server, family);
        (found == expected).then_some(())
    });
    assert!(is_so.is_some(), "{family}: {found:?}, not {expected:?}");
}

/// More datagrams than so many came through, and the server's memory is bounded.
#[track_caller]
fn assert_flooded(server: &Server, sources: u32) {
    const MEMORY_MAX: usize = 64 << 20;
    let came = counted(server, "ppserver_udp_datagrams_total");
    let up = came.iter().find(|(direction, _)| direction == "up").map_or(0, |(_, up)| *up);
    assert!(up > u64::from(sources), "{up} came through");
    let memory = resident_bytes(server.pid().as_raw_nonzero().get());
    eprintln!("{up} datagrams came, {memory} bytes are resident");
    assert!(memory <= MEMORY_MAX, "{memory} bytes");
}

/// Returns the values of a family that are not 0, by the last label.
#[track_caller]
fn counted(server: &Server, family: &str) -> Vec<(String, u64)> {
    let door = server.wait_for("admin door opens", 0)["admin"].as_str().map(str::to_owned);
    let door = Door::Tcp(door.expect("it is text").parse().expect("it is an address"));
    let text = door.get("/metrics").body;
    let lines = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
    let values = lines.filter_map(|line| {
        let (labels, value) = line.split_once("} ")?;
        let label = labels.rsplit_once("=\"")?.1.trim_end_matches('"');
        Some((label.to_owned(), value.parse().ok()?))
    });
    let mut found: Vec<_> = values.filter(|(_, value)| *value > 0).collect();
    found.sort();
    found
}

#[track_caller]
fn client_of(server: SocketAddr) -> UdpSocket {
    let socket = bound(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
    socket.connect(server).expect("loopback is up");
    socket
}

/// A socket at an address, which waits for a datagram no longer than a test may take.
#[track_caller]
fn bound(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("a port is free");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket
}

#[track_caller]
fn addr(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

/// Waits for the next datagram.
#[track_caller]
fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buf = vec![0; 65_536];
    let (len, peer) = socket.recv_from(&mut buf).expect("a datagram comes");
    buf.truncate(len);
    (buf, peer)
}

/// Waits for the next datagram of the peer of a connected socket.
#[track_caller]
fn answer(socket: &UdpSocket) -> Vec<u8> {
    next(socket).0
}

/// Fails if a datagram has come.
#[track_caller]
fn assert_silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("it is a socket");
    let found = socket.recv(&mut [0; 65_536]);
    let error = found.expect_err("nothing has come");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("it is a socket");
}

/// A v2 header of datagrams, byte by byte.
fn v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = crate::common::wire::v2(source, destination);
    header[13] += 1;
    header
}

/// A v2 header of a balancer that speaks for itself.
fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0][..]].concat()
}

/// A header of Cloudflare's, byte by byte.
fn spp(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = vec![0x56, 0xEC];
    for addr in [source, destination] {
        let ip = match addr.ip() {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            std::net::IpAddr::V6(ip) => ip,
        };
        header.extend_from_slice(&ip.octets());
    }
    for addr in [source, destination] {
        header.extend_from_slice(&addr.port().to_be_bytes());
    }
    header
}

fn told() -> (SocketAddr, SocketAddr) {
    let source = "192.0.2.7:51000".parse().expect("an address");
    (source, "198.51.100.1:53".parse().expect("an address"))
}
