//! Connections cost no allocation: a worker's memory is that of its table, its timers and its pools,
//! which grow to what is needed at a time and stay.
//!
//! A binary of its own, because the counting allocator is the whole process's.
#![expect(clippy::unwrap_used, reason = "all of it is tests")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ppserver::config::{Choice, Host, Protocol, from_bytes};
use ppserver::core::pool::Pool;
use ppserver::core::pool::balance::Balance;
use ppserver::core::pool::endpoint::{Endpoint, HeaderSent, Member};
use ppserver::data::PipeLimits;
use ppserver::data::orders::{Claim, Ejections, Order, Plan, Reply, Setup, Share};
use ppserver::data::sys::{self, Keepalive, ListenOptions, Sharing};
use ppserver::data::worker::Worker;
use ppserver::telemetry::ledger::Ledger;
use ppserver::telemetry::log;
use ppserver::telemetry::refusals::Refusals;
use socket2::Socket;

const HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x01\x01\x14\x02\x02\x02\x03\xe8\x07\xd0";
/// How many connections are made before those that count.
const WARM_UP: usize = 200;

/// Answers each connection behind its first bytes until it is told to end.
fn answer(upstream: &TcpListener, count: usize) {
    for _ in 0..count {
        let (mut socket, _) = upstream.accept().unwrap();
        let mut buffer = [0; 4096];
        // Header and request come in one segment; what is behind them is the client's end.
        assert!(socket.read(&mut buffer).unwrap() > HEADER.len());
        socket.write_all(b"answer").unwrap();
    }
}

fn exchange(proxy: SocketAddr) {
    let mut client = TcpStream::connect(proxy).unwrap();
    client.write_all(&[HEADER, b"request"].concat()).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    client.shutdown(Shutdown::Write).unwrap();
}

/// Asks by a datagram; each client is another flow, which ends with its answer.
fn ask(proxy: SocketAddr) {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect(proxy).unwrap();
    let mut datagram = [HEADER, b"question"].concat();
    datagram[13] += 1;
    client.send(&datagram).unwrap();
    let mut answer = [0; 64];
    assert_eq!(client.recv(&mut answer).unwrap(), b"answer".len());
}

/// Answers each datagram.
fn answer_datagrams(upstream: &UdpSocket, count: usize) {
    for _ in 0..count {
        let mut buffer = [0; 4096];
        let (len, peer) = upstream.recv_from(&mut buffer).unwrap();
        assert_eq!(len, HEADER.len() + b"question".len());
        upstream.send_to(b"answer", peer).unwrap();
    }
}

/// Runs a worker for `count` flows behind the warm-up; returns how often it allocated.
fn allocations_for_flows(count: usize) -> u64 {
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = upstream.local_addr().unwrap();
    let port = sys::datagrams::bind((Ipv4Addr::LOCALHOST, 0).into(), Sharing::Exclusive).unwrap();
    let answer = |count| answer_datagrams(&upstream, count);
    allocations(port, Protocol::Udp, endpoint, count, answer, ask)
}

/// Runs a worker for `count` connections behind the warm-up; returns how often it allocated.
fn allocations_for(count: usize) -> u64 {
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = upstream.local_addr().unwrap();
    let port = sys::bind((Ipv4Addr::LOCALHOST, 0).into(), Sharing::Exclusive).unwrap();
    let keepalive =
        Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 };
    let options = ListenOptions { nodelay: true, keepalive, defer_accept: false, backlog: 128 };
    sys::listen(&port, &options).unwrap();
    let answer = |count| answer(&upstream, count);
    allocations(port, Protocol::Tcp, endpoint, count, answer, exchange)
}

/// Runs a worker that serves a port of a protocol, in front of an endpoint.
fn allocations(
    port: Socket,
    protocol: Protocol,
    endpoint: SocketAddr,
    count: usize,
    answer: impl FnOnce(usize) + Send,
    exchange: fn(SocketAddr),
) -> u64 {
    let proxy = port.local_addr().unwrap().as_socket().unwrap();
    let (word, responses) = (protocol.word(), u8::from(protocol == Protocol::Udp));
    let text = format!(
        "config_version = 1
# Nothing may be kept until then of a connection that is gone.
[timeouts]
idle = \"1d\"
[[listener]]
name = \"edge\"
protocol = \"{word}\"
responses = {responses}
bind = [\"{proxy}\"]
upstream = \"web\"
  [listener.proxy_protocol]
  accept = \"require\"
  trust = [\"127.0.0.0/8\"]
[upstream.web]
endpoints = [\"{endpoint}\"]
  [upstream.web.proxy_protocol]
  send = \"v2\"
"
    );
    let loaded =
        from_bytes("test".to_owned(), text.as_bytes(), Host { cpus: 1, ..Host::default() });
    let config = loaded.unwrap().config;
    // At its usual level, which has no line for a connection that is served.
    log::follow(&config.log).unwrap();
    let member = Member { header: HeaderSent::V2, ..Member::at(endpoint) };
    let pool = Pool {
        endpoints: vec![Endpoint::new(member, 1)],
        attempts_max: 2,
        failures_max: 2,
        balance: Balance::RoundRobin,
    };
    let limits = config.listeners.iter().map(|_| None).collect();
    let plan = Plan { config, pools: vec![pool], limits };
    let ledger = Ledger::new(1);
    ledger.follow(&plan.config, &plan.pools);
    let setup = Setup {
        cells: ledger.cells(0, &plan.config, &plan.pools),
        plan: Arc::new(plan),
        ports: vec![Share {
            claim: Arc::new(Claim { addr: proxy.into(), protocol, is_lent: false }),
            listener: 0,
            sockets: vec![Arc::new(port)],
        }],
        access_log: None,
        connections_max: 64,
        pipes: PipeLimits::new(64 << 10, 0, 4),
    };
    let refused = [Refusals::new()].into();
    let (worker, line) =
        Worker::new(0, Arc::clone(ledger.workers()), refused, Ejections::new(|_| {})).unwrap();
    line.send(Order::Follow(Box::new(setup), Reply::new(Result::unwrap)));
    thread::scope(|scope| {
        scope.spawn(|| answer(WARM_UP + count));
        let worker = scope.spawn(|| {
            let mut ended = Ok(());
            let used = allocation_counter::measure(|| ended = worker.run());
            ended.unwrap();
            used.count_total
        });
        for _ in 0..WARM_UP + count {
            exchange(proxy);
        }
        line.send(Order::Drain(Reply::new(Result::unwrap)));
        worker.join().unwrap()
    })
}

#[test]
fn a_connection_in_steady_state_allocates_nothing() {
    let (few, many) = (allocations_for(100), allocations_for(2100));
    // 2,000 more connections leave 2,000 more reminders of their header deadlines behind, for which
    // one vector doubles a few times.
    assert!(many <= few + 8, "{few} allocations for 100 connections, {many} for 2,100");
}

#[test]
fn a_flow_of_datagrams_in_steady_state_allocates_nothing() {
    let (few, many) = (allocations_for_flows(100), allocations_for_flows(2100));
    assert!(many <= few + 8, "{few} allocations for 100 flows, {many} for 2,100");
}
