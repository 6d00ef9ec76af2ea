//! A server with a door, and who talks to it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::ppserver::Ppserver;
use crate::common::process::Stream;
use crate::common::socket::Client;
use crate::common::wire::v2;

/// The only peer that is trusted.
pub(crate) const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who the balancer says is calling, and whom.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), 51_820);
const EDGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);

/// A running server, and its door.
pub(crate) struct Served {
    pub(crate) server: Ppserver,
    pub(crate) door: SocketAddr,
}

impl Served {
    /// One listener, `edge`, in front of `to`.
    #[track_caller]
    pub(crate) fn start(to: SocketAddr) -> Served {
        Served::with(&file("127.0.0.1:0", &[listener("edge", to)]))
    }

    /// With this text in its file.
    #[track_caller]
    pub(crate) fn with(text: &str) -> Served {
        let mut server = Ppserver::with_config(text);
        let door = server.proc().wait_for_line(Stream::Stderr, "an admin door", |line| {
            let record: Value = serde_json::from_str(line).ok()?;
            record["admin"].as_str()?.parse().ok()
        });
        Served { server, door }
    }

    /// Has it read its file again.
    pub(crate) fn reload(&mut self) {
        self.server.proc().signal(Signal::HUP);
    }

    /// Where the page is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.door)
    }
}

/// A file with a door, and these listeners.
pub(crate) fn file(door: &str, listeners: &[String]) -> String {
    format!(
        "config_version = 1\nserver.workers = 1\nadmin.listen = '{door}'\n\
         access_log.enabled = false\n{}",
        listeners.concat()
    )
}

/// A listener that wants headers, and an upstream of the same name.
pub(crate) fn listener(name: &str, to: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = '{name}'\nbind = ['127.0.0.1:0']\nupstream = '{name}'\n\
         [listener.proxy_protocol]\naccept = 'require'\ntrust = ['{BALANCER}']\n\
         [upstream.{name}]\nendpoints = ['{to}']\n"
    )
}

/// A connection that stands as far as the upstream: it echoes.
#[track_caller]
pub(crate) fn session(to: SocketAddr) -> TcpStream {
    let mut session = TcpStream::connect(to).expect("it listens");
    session.write_all(&v2(CLIENT, EDGE)).expect("it is read");
    echo(&mut session, b"x");
    session
}

/// Sends bytes and reads them back.
#[track_caller]
pub(crate) fn echo(session: &mut TcpStream, bytes: &[u8]) {
    session.write_all(bytes).expect("it is read");
    let mut back = vec![0; bytes.len()];
    session.read_exact(&mut back).expect("an echo comes back");
    assert_eq!(back, bytes);
}

/// Sends these bytes, for which it is reset.
#[track_caller]
pub(crate) fn refused(to: SocketAddr, bytes: &[u8]) {
    Client::connect(BALANCER, to).exchange(bytes).assert_reset();
}
