//! Crowds: a silent client holds up nobody, and those without a header are bounded in number.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::MockConnectInfo;
use axum::routing::get;
use axum::serve::ListenerExt;
use ppnet::ppcore::{Command, Header, Options};
use ppnet::{Config, Endpoints, Greeting, Policy, Reason, Received, Trust};
use tokio::io::AsyncWriteExt;

use crate::common::deadline::{Deadline, PATIENCE, poll_for};
use crate::common::wire::v2;
use crate::rig::{CLIENT, assert_closed, both, connect, connect_from, echo, terms};

/// The issue's own number of silent clients, and its time for the good one.
const SILENT: usize = 100;
const ANSWER_MAX: Duration = Duration::from_millis(50);

fn client() -> SocketAddr {
    "203.0.113.7:51820".parse().expect("an address")
}

fn server() -> SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

/// Serves `whoami` on the listener, on a runtime and a thread of its own.
fn serve(config: Config) -> SocketAddr {
    let (tell, addr) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", config).await;
            let listener = listener.expect("a free port");
            tell.send(listener.local_addr().expect("it is bound")).expect("the test waits");
            let whoami = |ConnectInfo(ends): ConnectInfo<Endpoints>| async move {
                let command = ends.header().map(|header| Header::command(header));
                format!("{} {} {command:?}", ends.peer_addr(), ends.local_addr())
            };
            let app = Router::new().route("/", get(whoami));
            let app = app.into_make_service_with_connect_info::<Endpoints>();
            axum::serve(listener, app).await.expect("it never ends");
        });
    });
    addr.recv_timeout(PATIENCE).expect("the listener starts")
}

/// The answer to one request behind `header`, its body.
fn ask(addr: SocketAddr, header: &[u8]) -> String {
    let mut stream = connect(addr);
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(&[header, request].concat()).expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

#[test]
fn with_100_silent_clients_a_good_one_is_answered_through_axum_in_50_ms() {
    let addr = serve(Config::new(Trust::any()));
    // Warm: the first request pays for the runtime's and the router's first time.
    ask(addr, &v2(client(), server()));
    let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect(addr)).collect();

    let deadline = Deadline::after(ANSWER_MAX);
    let body = ask(addr, &v2(client(), server()));
    let left = deadline.left();
    assert_eq!(body, format!("{} {} {:?}", client(), server(), Some(Command::Proxy)));
    assert!(!left.is_zero(), "not answered in {ANSWER_MAX:?}");
    drop(silent);
}

#[test]
fn with_100_silent_clients_a_good_one_comes_through_both_listeners() {
    for rig in both(&terms(Policy::Require).header_timeout(PATIENCE)) {
        let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect(rig.addr)).collect();
        let mut stream = connect(rig.addr);
        echo(&mut stream, &[&v2(client(), server())[..], b"ping"].concat(), b"ping");
        assert_eq!(rig.accepted().peer_addr(), client(), "before any deadline");
        drop(silent);
    }
}

// Places are few and deadlines far: whoever comes through does so because others gave way.
fn crowded(trust: Trust) -> Config {
    Config::new(trust).handshakes_max(2).header_timeout(Duration::MAX)
}

#[test]
fn beyond_the_limit_the_oldest_silent_client_is_shed() {
    for rig in both(&crowded(Trust::any())) {
        let mut silent: Vec<TcpStream> = (0..4).map(|_| connect(rig.addr)).collect();
        let young = silent.split_off(2);
        for _ in &silent {
            assert!(matches!(rig.refused().reason(), Reason::Shed), "{:?}", rig.kind);
        }
        silent.into_iter().for_each(assert_closed);
        for mut one in young {
            echo(&mut one, &[&v2(client(), server())[..], b"ping"].concat(), b"ping");
            assert_eq!(rig.accepted().peer_addr(), client());
        }
        assert!(rig.refused_so_far().is_empty());
    }
}

#[test]
fn a_peer_with_a_crowd_of_silent_clients_sheds_its_own_and_nobody_elses() {
    const CROWD: usize = 20;
    for rig in both(&crowded(Trust::any())) {
        let mut quiet = connect_from(CLIENT, rig.addr);
        let crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(rig.addr)).collect();
        for _ in 1..CROWD {
            assert!(matches!(rig.refused().reason(), Reason::Shed), "{:?}", rig.kind);
        }
        echo(&mut quiet, &[&v2(client(), server())[..], b"ping"].concat(), b"ping");
        assert_eq!(rig.accepted().socket_peer_addr().ip(), CLIENT, "the oldest of all");
        drop(crowd);
    }
}

#[test]
fn clients_that_need_no_header_wait_for_nobody() {
    let [plain, stranger] = ["127.0.0.3", "127.0.0.4"];
    let rules = [("127.0.0.1", Policy::Require), (plain, Policy::Skip)];
    for rig in both(&crowded(Trust::rules(rules).expect("addresses"))) {
        let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect(rig.addr)).collect();
        let plain = connect_from(plain.parse().expect("an address"), rig.addr);
        assert_eq!(rig.accepted().peer_addr(), plain.local_addr().expect("it is connected"));
        assert_closed(connect_from(stranger.parse().expect("an address"), rig.addr));
        drop(silent);
    }
}

// With one place for all of them: whoever has sent its header is not silent, though nobody has read it.
#[test]
fn a_burst_of_good_clients_beyond_the_limit_loses_none() {
    const BURST: usize = 50;
    let good = |addr| {
        let mut one = connect(addr);
        one.write_all(&v2(client(), server())).expect("it is open");
        one
    };
    let config = || crowded(Trust::any()).handshakes_max(1).on_refused(|_, why| panic!("{why}"));
    let listener = ppnet::Listener::bind("127.0.0.1:0", config()).expect("a free port");
    let burst: Vec<_> = (0..BURST).map(|_| good(listener.local_addr())).collect();
    for _ in &burst {
        assert_eq!(listener.accept().expect("it has its header").peer_addr(), client());
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", config()).await;
        let listener = listener.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let burst: Vec<_> = (0..BURST).map(|_| good(addr)).collect();
        for _ in &burst {
            let stream = listener.accept().await.expect("it has its header");
            assert_eq!(stream.peer_addr(), client());
        }
    });
}

// Both edges come in one turn, and the first one's panic must not cost the second its own.
#[test]
fn a_panic_in_on_refused_costs_no_other_connection_its_turn() {
    let config = Config::new(Trust::any()).header_timeout(Duration::MAX);
    let config = config.on_refused(|_, reason| panic!("{reason}"));
    let listener = ppnet::Listener::bind("127.0.0.1:0", config).expect("a free port");
    let mut bad = connect(listener.local_addr());
    let mut good = connect(listener.local_addr());
    let mut first = connect(listener.local_addr());
    first.write_all(&v2(server(), client())).expect("it is open");
    listener.accept().expect("the first has its header, and the others have been taken in");
    bad.write_all(b"GET / HTTP/1.1\r\n").expect("it is open");
    good.write_all(&v2(client(), server())).expect("it is open");
    let (tell, accepted) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let accept = || listener.accept().expect("it has its header").peer_addr();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(accept)).expect_err("of on_refused");
        tell.send(accept())
    });
    assert_eq!(accepted.recv_timeout(PATIENCE), Ok(client()));
}

// A header that has arrived is read before its deadline is looked at, however late that is.
#[test]
fn a_blocking_server_that_comes_back_late_finds_the_headers_that_came_in_time() {
    let config = Config::new(Trust::any()).header_timeout(Duration::ZERO);
    let listener = ppnet::Listener::bind("127.0.0.1:0", config).expect("a free port");
    let (mut one, mut two) = (connect(listener.local_addr()), connect(listener.local_addr()));
    one.write_all(&v2(client(), server())).expect("it is open");
    // Takes both in; the second one has its header only while nobody is in `accept`.
    listener.accept().expect("the first has its header");
    two.write_all(&v2(server(), client())).expect("it is open");
    let second = listener.accept().expect("the second has its header");
    assert_eq!(second.peer_addr(), server());
}

// The same with more of them than one turn takes edges.
#[test]
fn a_blocking_server_that_comes_back_late_finds_them_all() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    const COUNT: i32 = 400;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a TCP socket can be made");
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any_port.into()).expect("a free port");
    socket.listen(COUNT + 1).expect("it is bound");
    let config = Config::new(Trust::any()).header_timeout(TIMEOUT);
    let listener =
        ppnet::Listener::new(TcpListener::from(socket), config).expect("an epoll can be had");
    let mut crowd: Vec<_> = (0..COUNT).map(|_| connect(listener.local_addr())).collect();
    let mut last = connect(listener.local_addr());
    last.write_all(&v2(client(), server())).expect("it is open");
    listener.accept().expect("the last has its header, and all have been taken in");
    for one in &mut crowd {
        one.write_all(&v2(server(), client())).expect("it is open");
    }
    assert_eq!(poll_for(TIMEOUT, || None::<()>), None, "nobody accepts until it has passed");
    let (tell, accepted) = std::sync::mpsc::channel();
    thread::spawn(move || {
        while tell.send(listener.accept().expect("it has its header").peer_addr()).is_ok() {}
    });
    for _ in &crowd {
        assert_eq!(accepted.recv_timeout(PATIENCE), Ok(server()));
    }
}

// No time is too long.
#[test]
fn a_header_may_be_given_all_the_time_there_is() {
    for rig in both(&terms(Policy::Require).header_timeout(Duration::MAX)) {
        connect(rig.addr).write_all(&v2(client(), server())).expect("it is open");
        assert_eq!(rig.accepted().peer_addr(), client());
    }
}

#[tokio::test]
async fn accept_is_cancel_safe() {
    let config = Config::new(Trust::any()).header_timeout(PATIENCE);
    let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", config).await;
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let mut far = ppnet::tokio::connect(addr, b"PROXY TCP4 1.2.3.4").await.expect("it listens");
    // Polled, with a connection half way, and dropped: a hundred times.
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("no header is complete"),
            () = tokio::task::yield_now() => {}
        }
    }
    far.write_all(b" 5.6.7.8 1 2\r\n").await.expect("it is open");
    let stream = listener.accept().await.expect("it was not lost");
    assert_eq!(stream.peer_addr(), "1.2.3.4:1".parse().expect("an address"));
}

// One has its header, one has half of it, one is not accepted yet, and a bad and a silent one are not waited for.
#[test]
fn a_listener_that_drains_hands_out_who_is_on_the_way_and_listens_no_more() {
    let config = || Config::new(Trust::any()).header_timeout(PATIENCE);
    let header = v2(client(), server());
    let write = |socket: &mut TcpStream, bytes: &[u8]| socket.write_all(bytes).expect("open");
    let clients = |addr| {
        let mut all: Vec<_> = (0..4).map(|_| connect(addr)).collect();
        write(&mut all[0], &header);
        write(&mut all[1], &header[..20]);
        write(&mut all[2], b"GET / HTTP/1.1\r\n");
        all
    };
    let finish = |mut all: Vec<TcpStream>, late: &mut TcpStream| {
        write(&mut all[1], &header[20..]);
        write(late, &header);
        drop(all);
    };

    let listener = ppnet::Listener::bind("127.0.0.1:0", config()).expect("a free port");
    let addr = listener.local_addr();
    let all = clients(addr);
    listener.accept().expect("the first has its header, and the others have been taken in");
    let mut late = connect(addr);
    let mut rest = listener.drain();
    TcpStream::connect(addr).expect_err("nobody listens");
    finish(all, &mut late);
    for _ in 0..2 {
        let stream = rest.next().expect("two are left").expect("it waits");
        assert_eq!(stream.peer_addr(), client());
    }
    assert!(rest.next().is_none());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", config()).await;
        let listener = listener.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let all = clients(addr);
        listener.accept().await.expect("the first has its header");
        let mut late = connect(addr);
        let mut rest = listener.drain();
        TcpStream::connect(addr).expect_err("nobody listens");
        finish(all, &mut late);
        for _ in 0..2 {
            assert_eq!(rest.next().await.expect("two are left").peer_addr(), client());
        }
        assert!(rest.next().await.is_none());
    });
}

// Two wait, one of them in the poll; the rest is drained.
#[test]
fn a_blocking_listener_that_is_stopped_ends_every_wait_and_can_be_drained() {
    let listener = ppnet::Listener::bind("127.0.0.1:0", Trust::any()).expect("a free port");
    let listener = std::sync::Arc::new(listener);
    let addr = listener.local_addr();
    let (tell, told) = std::sync::mpsc::channel();
    let threads = [tell.clone(), tell].map(|tell| {
        let listener = listener.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                tell.send(stream.expect("descriptors are left").peer_addr()).expect("it waits");
            }
        })
    });
    for _ in &threads {
        connect(addr).write_all(&v2(client(), server())).expect("it is open");
        assert_eq!(told.recv_timeout(PATIENCE), Ok(client()));
    }
    listener.stop().expect("it can be woken");
    let ended = told.recv_timeout(PATIENCE);
    assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));

    listener.accept().expect_err("it is stopped");
    connect(addr).write_all(&v2(client(), server())).expect("it is open");
    let mut rest = std::sync::Arc::into_inner(listener).expect("it is ours alone").drain();
    assert_eq!(rest.next().expect("one is left").expect("it waits").peer_addr(), client());
    assert!(rest.next().is_none());
}

#[test]
fn tasks_share_one_listener() {
    const TASKS: usize = 4;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", Trust::any()).await;
        let listener = std::sync::Arc::new(listener.expect("a free port"));
        let addr = listener.local_addr().expect("it is bound");
        let mut tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let listener = listener.clone();
                tokio::spawn(
                    async move { listener.accept().await.map(|stream| stream.peer_addr()) },
                )
            })
            .collect();
        // One that gives up its turn costs nobody else's.
        let cancelled = tasks.remove(0);
        cancelled.abort();
        cancelled.await.expect_err("it is cancelled");
        let mut far = Vec::new();
        for _ in 1..TASKS {
            let line = Greeting::v1(client(), server()).to_bytes().expect("it fits");
            far.push(ppnet::tokio::connect(addr, &line).await.expect("it listens"));
        }
        for task in tasks {
            assert_eq!(task.await.expect("it ends").expect("descriptors are left"), client());
        }
    });
}

#[tokio::test]
async fn a_handler_is_tested_without_a_connection() {
    let whoami = |ConnectInfo(ends): ConnectInfo<Endpoints>| async move {
        format!("{} {}", ends.peer_addr(), ends.socket_peer_addr())
    };
    let sent = Greeting::v2(client(), server()).to_bytes().expect("it fits");
    let header = Received::decode(Options::new(), &sent).expect("it is good").expect("it is whole");
    let ends = Endpoints::new(server(), server()).with_header(header);
    let mut app = Router::new().route("/", get(whoami)).layer(MockConnectInfo(ends));
    let answer = tower_service::Service::call(&mut app, hyper::Request::new(Body::empty())).await;
    let Ok(answer) = answer;
    let body = axum::body::to_bytes(answer.into_body(), 64).await.expect("it is short");
    assert_eq!(body, format!("{} {}", client(), server()));
}

#[test]
fn handlers_for_socket_addresses_stay_as_they_are_with_tap_io() {
    let (tell, addr) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", Trust::any()).await;
            let listener = listener.expect("a free port").tap_io(|stream| {
                stream.get_ref().set_nodelay(true).expect("it is a TCP socket");
            });
            tell.send(axum::serve::Listener::local_addr(&listener).expect("it is bound"))
                .expect("the test waits");
            let whoami =
                |ConnectInfo(client): ConnectInfo<SocketAddr>| async move { client.to_string() };
            let app = Router::new().route("/", get(whoami));
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, app).await.expect("it never ends");
        });
    });
    let addr = addr.recv_timeout(PATIENCE).expect("the listener starts");
    let line = Greeting::v1(client(), server()).to_bytes().expect("it fits");
    assert_eq!(ask(addr, &line), client().to_string());
}
