//! A listener under test with a server behind it, blocking or on tokio, and a client in front.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use ppnet::{Config, Endpoints, Policy, Refused, Trust};
use tokio::io::AsyncWriteExt;

use crate::common::deadline::PATIENCE;

/// Where the clients of the tests connect from.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where clients of a balancer connect from.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blocking,
    Tokio,
}

/// An echo server on a listener of ours.
pub(crate) struct Rig {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
    accepted: Receiver<Endpoints>,
    refused: Receiver<Refused>,
}

/// The terms that give every peer this policy.
pub(crate) fn terms(policy: Policy) -> Config {
    Config::new(Trust::by(move |_| policy))
}

/// One rig on each listener.
pub(crate) fn both(config: &Config) -> [Rig; 2] {
    both_at("127.0.0.1:0", config)
}

/// The same, bound to this address.
pub(crate) fn both_at(addr: &'static str, config: &Config) -> [Rig; 2] {
    [Kind::Blocking, Kind::Tokio].map(|kind| Rig::start(kind, addr, config.clone()))
}

impl Rig {
    fn start(kind: Kind, bound_to: &'static str, config: Config) -> Self {
        let (tell_accepted, accepted) = channel();
        let (tell_refused, refused) = channel();
        let config = config.on_refused(move |_, why| {
            // The rig may be gone, as in a test that does not look.
            tell_refused.send(why).ok();
        });
        let (tell_addr, addr) = channel();
        thread::spawn(move || match kind {
            Kind::Blocking => {
                let listener = ppnet::Listener::bind(bound_to, config).expect("a free port");
                tell_addr.send(listener.local_addr()).expect("the test waits");
                for stream in listener.incoming() {
                    let mut stream = stream.expect("descriptors are left");
                    tell_accepted.send(stream.endpoints().clone()).ok();
                    thread::spawn(move || {
                        let mut writer = stream.get_ref().try_clone()?;
                        io::copy(&mut stream, &mut writer)?;
                        writer.shutdown(Shutdown::Write)
                    });
                }
            }
            Kind::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let listener = ppnet::tokio::Listener::bind(bound_to, config).await;
                    let listener = listener.expect("a free port");
                    tell_addr.send(listener.local_addr().expect("it is bound")).expect("it waits");
                    loop {
                        let stream = listener.accept().await.expect("descriptors are left");
                        tell_accepted.send(stream.endpoints().clone()).ok();
                        tokio::spawn(async move {
                            let (mut reader, mut writer) = stream.into_split();
                            tokio::io::copy(&mut reader, &mut writer).await?;
                            writer.shutdown().await
                        });
                    }
                });
            }
        });
        let addr = addr.recv_timeout(PATIENCE).expect("the listener starts");
        Self { kind, addr, accepted, refused }
    }

    /// The next connection that came through.
    #[track_caller]
    pub(crate) fn accepted(&self) -> Endpoints {
        match self.accepted.recv_timeout(PATIENCE) {
            Ok(endpoints) => endpoints,
            Err(_) => panic!("{:?}: nobody came; {:?}", self.kind, self.refused.try_recv()),
        }
    }

    /// The reason why the next connection did not.
    #[track_caller]
    pub(crate) fn refused(&self) -> Refused {
        self.refused.recv_timeout(PATIENCE).expect("a connection is refused")
    }

    /// The reasons of those refused up to now, which nobody has asked for.
    pub(crate) fn refused_so_far(&self) -> Vec<Refused> {
        self.refused.try_iter().collect()
    }

    /// Whether any connection has come through that nobody asked for.
    pub(crate) fn has_more(&self) -> bool {
        self.accepted.try_recv().is_ok()
    }
}

/// Connects, with patience for reads.
#[track_caller]
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    stream.set_nodelay(true).expect("it is a TCP socket");
    stream
}

/// Connects from this address of loopback.
#[track_caller]
pub(crate) fn connect_from(source: IpAddr, addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::new(source, 0).into()).expect("loopback has more than one address");
    socket.connect(&addr.into()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    socket.into()
}

/// Sends `bytes` and reads as many back as are payload.
#[track_caller]
pub(crate) fn echo(stream: &mut TcpStream, bytes: &[u8], payload: &[u8]) {
    stream.write_all(bytes).expect("it is open");
    let mut back = vec![0; payload.len()];
    stream.read_exact(&mut back).expect("it is echoed");
    assert_eq!(back.escape_ascii().to_string(), payload.escape_ascii().to_string());
}

/// Asserts that the peer has ended the connection, with nothing said.
#[track_caller]
pub(crate) fn assert_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(rest, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}
