//! The listeners on UNIX sockets: the client is who the header says, and where none counts nobody is made up.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ppnet::{Addr, Config, Endpoints, Greeting, Policy, Reason, Refused, Trust};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::deadline::PATIENCE;
use crate::common::wire::v1;
use crate::examples::start_unix;
use crate::peers::curl::fetch;
use crate::peers::haproxy::Haproxy;
use crate::peers::nginx::NginxStream;
use crate::rig::CLIENT;

fn client() -> std::net::SocketAddr {
    "203.0.113.7:51820".parse().expect("an address")
}

fn server() -> std::net::SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

/// Where a socket can be bound.
struct Place {
    _dir: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("app.sock");
    Place { _dir: dir, path }
}

/// Terms that pass on who was refused.
fn terms(trust: Trust) -> (Config, Receiver<(Addr, Refused)>) {
    let (tell, told) = channel();
    let config = Config::new(trust).on_refused(move |peer, why| {
        tell.send((peer.clone(), why)).expect("the test waits");
    });
    (config, told)
}

/// Sends `sent` from a socket of its own, to be closed by the server.
fn call(path: &Path, sent: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.write_all(sent).expect("it is open");
    stream
}

/// What both listeners make of a first client with a header, a second with LOCAL and a third without any.
#[track_caller]
fn assert_ends(seen: [Endpoints<Addr>; 2], path: &Path, told: &Receiver<(Addr, Refused)>) {
    let [first, local] = seen;
    let own = Addr::Path(path.into());
    assert_eq!((first.peer_addr(), first.local_addr()), (client().into(), server().into()));
    assert_eq!((first.socket_peer_addr(), first.socket_local_addr()), (Addr::Unnamed, own.clone()));
    assert_eq!((local.peer_addr(), local.local_addr()), (Addr::Unnamed, own));
    let (peer, refused) = told.recv_timeout(PATIENCE).expect("one is refused");
    assert_eq!((peer, refused.first_bytes()), (Addr::Unnamed, &b"EHLO a\r\n"[..]));
    assert!(matches!(refused.reason(), Reason::Header(_)), "{refused}");
}

fn local() -> Vec<u8> {
    Greeting::local().to_bytes().expect("it fits")
}

#[test]
fn on_unix_sockets_the_client_is_who_the_header_says_on_std() {
    let at = place();
    let (config, told) = terms(Trust::unix(Policy::Require));
    let listener = ppnet::Listener::bind_unix(&at.path, config).expect("the path is free");
    assert_eq!(listener.local_addr(), Addr::Path(at.path.as_path().into()));
    let header = Greeting::v2(client(), server()).to_bytes().expect("it fits");
    let mut far = ppnet::connect_unix(&at.path, &header).expect("it listens");
    far.write_all(b"ping").expect("it is open");
    let first = listener.accept().expect("it has its header");
    let ends = first.endpoints().clone();
    let (mut reader, mut writer) = first.into_split().expect("descriptors are left");
    let mut said = [0; 4];
    reader.read_exact(&mut said).expect("it is there");
    writer.write_all(&said).expect("it is open");
    far.read_exact(&mut said).expect("it is echoed");
    assert_eq!(&said, b"ping");
    let _far = (call(&at.path, b"EHLO a\r\n"), call(&at.path, &local()));
    let second = listener.accept().expect("it has its header");
    assert_ends([ends, second.endpoints().clone()], &at.path, &told);
}

#[tokio::test]
async fn on_unix_sockets_the_client_is_who_the_header_says_on_tokio() {
    let at = place();
    let (config, told) = terms(Trust::unix(Policy::Require));
    let listener = ppnet::tokio::Listener::bind_unix(&at.path, config).expect("the path is free");
    assert_eq!(listener.local_addr().expect("it is bound"), Addr::Path(at.path.as_path().into()));
    let header = Greeting::v2(client(), server()).to_bytes().expect("it fits");
    let far = ppnet::tokio::connect_unix(&at.path, &header).await;
    let mut far = far.expect("it listens");
    far.write_all(b"ping").await.expect("it is open");
    let first = listener.accept().await.expect("it has its header");
    let ends = first.endpoints().clone();
    let (mut reader, mut writer) = first.into_split();
    let mut said = [0; 4];
    reader.read_exact(&mut said).await.expect("it is there");
    writer.write_all(&said).await.expect("it is open");
    far.read_exact(&mut said).await.expect("it is echoed");
    assert_eq!(&said, b"ping");
    let _far = (call(&at.path, b"EHLO a\r\n"), call(&at.path, &local()));
    let second = listener.accept().await.expect("it has its header");
    assert_ends([ends, second.endpoints().clone()], &at.path, &told);
    // Waits, and is taken along.
    let _late = call(&at.path, &header);
    let mut rest = listener.drain();
    assert_eq!(rest.next().await.expect("one is left").peer_addr(), client().into());
    assert!(rest.next().await.is_none());
}

// A list of networks says nothing about them.
#[test]
fn a_peer_on_a_unix_socket_is_in_no_network() {
    let at = place();
    let (config, told) = terms(Trust::networks(["0.0.0.0/0", "::/0"]).expect("networks"));
    let listener = ppnet::Listener::bind_unix(&at.path, config).expect("the path is free");
    let mut far = call(&at.path, b"");
    std::thread::spawn(move || listener.accept());
    let (peer, refused) = told.recv_timeout(PATIENCE).expect("it is refused");
    assert!(matches!(refused.reason(), Reason::Denied), "{refused}");
    assert_eq!(peer, Addr::Unnamed);
    assert_eq!(far.read(&mut [0]).expect("it ends"), 0);
}

#[test]
fn what_a_unix_socket_of_ones_own_brings_is_read_by_handshake() {
    let config = Config::new(Trust::unix(Policy::Use));
    for (sent, peer) in [
        (v1(client(), server()), Addr::from(client())),
        (b"PROXY UNKNOWN\r\n".to_vec(), Addr::Unnamed),
        (b"plain".to_vec(), Addr::Unnamed),
    ] {
        let (mut far, near) = UnixStream::pair().expect("descriptors are left");
        far.write_all(&sent).expect("it is open");
        let stream = ppnet::handshake(near, Addr::Unnamed, Addr::Unnamed, &config);
        assert_eq!(stream.expect("it may come").peer_addr(), peer);
    }
}

#[test]
fn behind_haproxy_and_nginx_on_a_unix_socket_the_client_is_theirs() {
    let at = place();
    let whoami = start_unix("whoami", &at.path);
    let path = at.path.display();
    for send in ["send-proxy", "send-proxy-v2"] {
        let haproxy = Haproxy::forwarding_to(format!("unix@{path}"), send);
        let got = fetch(CLIENT, &[&format!("http://{}/", haproxy.addr())]).expect("served");
        let body = String::from_utf8_lossy(&got.body).into_owned();
        let expected =
            format!("you are {}, and called {} through unix:\n", got.local, haproxy.addr());
        assert_eq!(body, expected, "{send}");
    }
    let nginx = NginxStream::forwarding_to(format!("unix:{path}"), "proxy_protocol on;");
    let got = fetch(CLIENT, &[&format!("http://{}/", nginx.addr())]).expect("served");
    let expected = format!("you are {}, and called {} through unix:\n", got.local, nginx.addr());
    assert_eq!(String::from_utf8_lossy(&got.body), expected);
    drop(whoami);
}
