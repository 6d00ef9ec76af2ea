//! No payload byte is lost or read twice, whatever the cut and whatever the way of reading; and
//! connectors send their header first.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ppnet::{Config, Greeting, Policy, Reason, Silence, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::payload::{MIB, assert_same, random};
use crate::common::wire::{v1, v2};
use crate::rig::{both, connect, terms};

fn client() -> SocketAddr {
    "203.0.113.7:51820".parse().expect("an address")
}

fn server() -> SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

#[test]
fn a_megabyte_in_the_same_write_as_the_header_comes_back_whole() {
    let payload = random(1, MIB);
    for header in [v1(client(), server()), v2(client(), server())] {
        for rig in both(&terms(Policy::Require)) {
            let mut writer = connect(rig.addr);
            let mut reader = writer.try_clone().expect("descriptors are left");
            let sent = [&header[..], &payload[..]].concat();
            let sender = thread::spawn(move || {
                writer.write_all(&sent)?;
                writer.shutdown(std::net::Shutdown::Write)
            });
            let mut back = Vec::new();
            reader.read_to_end(&mut back).expect("it is echoed");
            sender.join().expect("it does not panic").expect("it is sent");
            assert_same(&back, &payload);
        }
    }
}

/// The task that reads the header panics, and without the listener's word nobody would hear of it.
#[test]
#[should_panic(expected = "timers are disabled")]
fn a_runtime_without_timers_panics_where_connections_are_accepted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime
        .expect("a runtime")
        .block_on(async {
            let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", Trust::any())
                .await
                .expect("a free port");
            let _client = connect(listener.local_addr().expect("it is bound"));
            listener.accept().await
        })
        .expect("it does not come so far");
}

/// One connection through the blocking listener, with `sent` behind its header in one write.
fn blocking_pair(sent: &[u8]) -> (TcpStream, ppnet::Stream<TcpStream>) {
    let listener = ppnet::Listener::bind("127.0.0.1:0", Trust::any()).expect("a free port");
    let mut far = connect(listener.local_addr());
    far.write_all(&[&v2(client(), server())[..], sent].concat()).expect("it is open");
    let near = listener.accept().expect("it has its header");
    (far, near)
}

#[test]
fn blocking_reads_vectored_reads_and_the_rest_make_up_the_payload() {
    let (mut far, mut near) = blocking_pair(b"one two three four");
    let mut one = [0; 4];
    near.read_exact(&mut one).expect("it is there");
    let (mut two, mut three) = ([0; 3], [0; 3]);
    let mut slices = [IoSliceMut::new(&mut two), IoSliceMut::new(&mut three)];
    assert_eq!(near.read_vectored(&mut slices).expect("it is there"), 6);
    let (mut socket, leftover) = near.into_inner();
    far.write_all(b" five").expect("it is open");
    drop(far);
    let mut rest = leftover;
    socket.read_to_end(&mut rest).expect("it ends");
    assert_eq!([&one[..], &two, &three, &rest].concat(), b"one two three four five");
}

#[test]
fn blocking_halves_are_read_and_written_by_two_threads() {
    let (mut far, near) = blocking_pair(b"ping");
    let (mut reader, mut writer) = near.into_split().expect("descriptors are left");
    let writing =
        thread::spawn(move || writer.write_vectored(&[IoSlice::new(b"po"), IoSlice::new(b"ng")]));
    let mut got = [0; 4];
    reader.read_exact(&mut got).expect("it is there");
    assert_eq!((&got, reader.peer_addr()), (b"ping", client()));
    far.read_exact(&mut got).expect("it is sent");
    assert_eq!(&got, b"pong");
    assert_eq!(writing.join().expect("it does not panic").expect("it is open"), 4);
}

#[tokio::test]
async fn a_header_byte_by_byte_takes_no_byte_of_the_payload() {
    for header in [v1(client(), server()), v2(client(), server())] {
        // A pipe of one byte: every read gives one.
        let (mut far, near) = tokio::io::duplex(1);
        let sender = tokio::spawn(async move {
            far.write_all(&[&header[..], b"payload"].concat()).await?;
            far.shutdown().await
        });
        let config = Config::new(Trust::any());
        let stream = ppnet::tokio::handshake(near, server(), client(), &config).await;
        let stream = stream.expect("the header is good");
        assert_eq!(stream.peer_addr(), client());
        let (mut near, mut payload) = stream.into_inner();
        near.read_to_end(&mut payload).await.expect("it ends");
        assert_eq!(payload, b"payload");
        sender.await.expect("it does not panic").expect("it is sent");
    }
}

// A reader that gives a byte at a time, and a socket whose own timeout ends the wait.
#[test]
fn a_header_is_read_from_any_reader_and_a_silent_socket_is_not_waited_for() {
    struct Drops<'a>(&'a [u8]);
    impl Read for Drops<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let len = buf.len().min(1);
            Read::read(&mut self.0, &mut buf[..len])
        }
    }
    let config = Config::new(Trust::any());
    for header in [v1(client(), server()), v2(client(), server())] {
        let sent = [&header[..], b"payload"].concat();
        let stream = ppnet::handshake(Drops(&sent), server(), client(), &config);
        let mut stream = stream.expect("the header is good");
        assert_eq!(stream.peer_addr(), client());
        let mut payload = Vec::new();
        stream.read_to_end(&mut payload).expect("it ends");
        assert_eq!(payload, b"payload");
    }

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for (silence, is_let_in) in [(Silence::Absent, true), (Silence::Refuse, false)] {
        let config = terms(Policy::Use).silence(silence);
        let near = TcpStream::connect(listener.local_addr().expect("it is bound"));
        let near = near.expect("it listens");
        near.set_read_timeout(Some(Duration::from_millis(1))).expect("it is not zero");
        match ppnet::handshake(near, client(), server(), &config) {
            Ok(stream) => assert_eq!((stream.peer_addr(), is_let_in), (client(), true)),
            Err(refused) => {
                assert!(matches!(refused.reason(), Reason::TimedOut) && !is_let_in, "{refused}");
            }
        }
    }
    // It trickles, and the time is over before the header is.
    let trickle = Drops(b"PROXY TCP4 ");
    let config = Config::new(Trust::any()).header_timeout(Duration::ZERO);
    let late = ppnet::handshake(trickle, server(), client(), &config);
    let late = late.map(drop).expect_err("it is late");
    assert!(matches!(late.reason(), Reason::TimedOut), "{late}");
    assert_eq!(late.first_bytes(), b"P");
}

#[test]
fn the_sockets_of_listeners_and_connections_can_be_had() {
    let listener = ppnet::Listener::bind("127.0.0.1:0", Trust::any()).expect("a free port");
    assert!(socket2::SockRef::from(&listener).is_listener().expect("it is a socket"));
    let mut far = connect(listener.local_addr());
    far.write_all(&v2(client(), server())).expect("it is open");
    let near = listener.accept().expect("it has its header");
    assert!(socket2::SockRef::from(&near).peer_addr().expect("it is connected").is_ipv4());
    let socket = listener.into_inner().expect("its mode can be set");
    let _next = connect(socket.local_addr().expect("it is bound"));
    // Would fail were it not in blocking mode: the connection may not have been there when it was asked.
    socket.accept().expect("it goes on without us");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", Trust::any()).await;
        let listener = listener.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        assert_eq!(listener.get_ref().local_addr().expect("it is bound"), addr);
        let _far = connect(addr);
        listener.into_inner().accept().await.expect("it goes on without us");
    });
}

#[tokio::test]
async fn halves_of_tokio_keep_leftovers_and_addresses() {
    let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", Trust::any()).await;
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let header = Greeting::v2(client(), server()).to_bytes().expect("it fits");
    let mut far = ppnet::tokio::connect(addr, &[&header[..], b"ping"].concat()).await;
    let far = far.as_mut().expect("it listens");
    let stream = listener.accept().await.expect("it has its header");
    assert!(tokio::io::AsyncWrite::is_write_vectored(&stream));
    let (mut reader, mut writer) = stream.into_split();
    let mut got = [0; 2];
    reader.read_exact(&mut got).await.expect("it is there");
    assert_eq!((&got, reader.peer_addr()), (b"pi", client()));
    let (mut half, rest) = reader.into_inner();
    assert_eq!(rest, b"ng");
    let written = writer.write_vectored(&[IoSlice::new(b"p"), IoSlice::new(b"o")]).await;
    assert_eq!(written.expect("it is open"), 2);
    drop(writer);
    let mut back = Vec::new();
    far.read_to_end(&mut back).await.expect("dropping the half shuts it down");
    assert_eq!(back, b"po");
    far.write_all(b"!").await.expect("it is open");
    far.shutdown().await.expect("it is open");
    let mut last = Vec::new();
    half.read_to_end(&mut last).await.expect("it ends");
    assert_eq!(last, b"!");
}

#[tokio::test]
async fn the_listener_is_a_stream_of_connections() {
    let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", Trust::any()).await;
    let mut listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    for _ in 0..3 {
        let line = Greeting::v1(client(), server()).to_bytes().expect("it fits");
        let _far = ppnet::tokio::connect(addr, &line).await.expect("it listens");
        let next = std::future::poll_fn(|cx| {
            futures_core::Stream::poll_next(std::pin::Pin::new(&mut listener), cx)
        });
        let stream = next.await.expect("it has no end").expect("descriptors are left");
        assert_eq!(stream.peer_addr(), client());
    }
}

#[test]
fn connectors_send_the_header_alone_and_first() {
    let greeting = Greeting::v2(client(), server()).tlv(0xE0, b"x").crc32c();
    let header = greeting.to_bytes().expect("it fits");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let received = |mut stream: TcpStream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map(|_| all).expect("it ends")
    };

    let near = ppnet::connect(addr, &header).expect("it listens");
    assert!(near.nodelay().expect("it is a TCP socket"));
    drop(near);
    assert_eq!(received(listener.accept().expect("it came").0), header);

    let near = runtime.block_on(ppnet::tokio::connect(addr, &header)).expect("it listens");
    assert!(near.nodelay().expect("it is a TCP socket"));
    drop(near);
    assert_eq!(received(listener.accept().expect("it came").0), header);
}
