//! TLS behind the header (the `tls` example, as behind an NLB) and the header inside TLS
//! (go-proxyproto's `Test_TLSServer`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ppnet::{Addr, Config, Greeting, Reason, Refused, Trust};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::examples::Example;
use crate::peers::curl::fetch;
use crate::rig::CLIENT;

const NAME: &str = "shop.ppnet.invalid";

fn client() -> SocketAddr {
    "203.0.113.7:51820".parse().expect("an address")
}

fn server() -> SocketAddr {
    "192.0.2.1:443".parse().expect("an address")
}

fn certificate() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed([NAME.to_owned()]).expect("a key can be made")
}

fn connector(certificate: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a host name")
}

/// The files of a certificate and its key.
fn files(made: &CertifiedKey<rcgen::KeyPair>) -> (TempDir, [PathBuf; 2]) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let paths = ["certificate.pem", "key.pem"].map(|file| dir.path().join(file));
    fs::write(&paths[0], made.cert.pem()).expect("a file in it can be written");
    fs::write(&paths[1], made.signing_key.serialize_pem()).expect("a file in it can be written");
    (dir, paths)
}

#[test]
fn curl_asks_a_grpc_service_over_tls_behind_the_header_and_is_told_its_own_address() {
    let made = certificate();
    let (dir, paths) = files(&made);
    let grpc = Example::start("grpc", &paths);
    let empty = dir.path().join("message");
    // Not compressed, and no byte long.
    fs::write(&empty, [0; 5]).expect("a file in it can be written");
    let port = grpc.addr.port();
    let certificate = paths[0].display().to_string();
    let got = fetch(
        CLIENT,
        &[
            "--haproxy-protocol",
            "--http2",
            "--cacert",
            &certificate,
            "--resolve",
            &format!("{NAME}:{port}:{}", grpc.addr.ip()),
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--data-binary",
            &format!("@{}", empty.display()),
            &format!("https://{NAME}:{port}/whoami.Whoami/Ask"),
        ],
    );
    let got = got.expect("answered");
    let answer = String::from_utf8_lossy(got.body.get(5..).expect("a message")).into_owned();
    assert_eq!(answer, format!("you are {}\n", got.local));
}

#[test]
fn curl_asks_axum_over_tls_behind_the_header_and_is_told_its_own_address() {
    let made = certificate();
    let (_dir, paths) = files(&made);
    let example = Example::start("tls", &paths);
    let port = example.addr.port();
    let certificate = paths[0].display().to_string();
    let resolve = format!("{NAME}:{port}:{}", example.addr.ip());
    let url = format!("https://{NAME}:{port}/");
    let flags = ["--haproxy-protocol", "--cacert", &certificate, "--resolve", &resolve, &url];
    let got = fetch(CLIENT, &flags).expect("answered");
    let expected = format!("you are {}\n", got.local);
    assert_eq!(String::from_utf8_lossy(&got.body), expected);
}

#[tokio::test]
async fn behind_an_nlb_a_tls_client_is_told_its_own_address() {
    let made = certificate();
    let (_dir, paths) = files(&made);
    let example = Example::start("tls", &paths);

    // Silent ones at both stages: without a header, and without a hello.
    let header = Greeting::v2(client(), server()).crc32c().to_bytes().expect("it fits");
    let _no_header = TcpStream::connect(example.addr).await.expect("it listens");
    let _no_hello = ppnet::tokio::connect(example.addr, &header).await.expect("it listens");

    let stream = ppnet::tokio::connect(example.addr, &header).await.expect("it listens");
    let tls = connector(made.cert.der()).connect(name(), stream).await;
    let mut tls = tls.expect("the hello behind the header is answered");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    tls.write_all(request).await.expect("it is open");
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.expect("it ends in peace");
    assert!(answer.ends_with(&format!("\r\n\r\nyou are {}\n", client())), "{answer}");
}

fn server_config(made: &CertifiedKey<rcgen::KeyPair>) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they belong together");
    Arc::new(config)
}

fn acceptor(made: &CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    TlsAcceptor::from(server_config(made))
}

/// A TLS listener, where it listens, and who is refused.
async fn listener(
    made: &CertifiedKey<rcgen::KeyPair>,
    terms: Config,
) -> (ppnet::tls::Listener, SocketAddr, UnboundedReceiver<(Addr, Refused)>) {
    let (tell, told) = unbounded_channel();
    let config = terms.on_refused(move |client, why| {
        tell.send((client.clone(), why)).expect("the test waits");
    });
    let listener = ppnet::tokio::Listener::bind("127.0.0.1:0", config).await;
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    (ppnet::tls::Listener::new(listener, server_config(made)), addr, told)
}

// Their headers are good, and hellos never come: the client behind the balancer is who gives way.
#[tokio::test]
async fn a_client_with_a_crowd_of_silent_handshakes_sheds_its_own_and_nobody_elses() {
    const CROWD: usize = 10;
    const PLACES: usize = 2;
    let made = certificate();
    let terms = Config::new(Trust::any()).handshakes_max(PLACES);
    let (listener, addr, mut told) = listener(&made, terms).await;
    let mut listener = listener.handshake_timeout(Duration::MAX);
    let serving = tokio::spawn(async move {
        let mut stream = listener.accept().await;
        let client = stream.get_ref().0.peer_addr();
        stream.write_all(b"220").await.map(|()| client)
    });
    let other: SocketAddr = "198.51.100.1:1".parse().expect("an address");
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let far = ppnet::tokio::connect(addr, &Greeting::v2(other, server())).await;
        crowd.push(far.expect("it listens"));
    }
    for _ in PLACES..CROWD {
        let (client, refused) = told.recv().await.expect("the listener goes on");
        assert_eq!(client, Addr::from(other));
        assert!(matches!(refused.reason(), Reason::Tls(_)), "{refused}");
        assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::ConnectionAborted);
    }
    let stream = ppnet::tokio::connect(addr, &Greeting::v2(client(), server())).await;
    let tls = connector(made.cert.der()).connect(name(), stream.expect("it listens")).await;
    let mut tls = tls.expect("it is answered, with a crowd before it");
    let mut greeting = [0; 3];
    tls.read_exact(&mut greeting).await.expect("it is there");
    assert_eq!(serving.await.expect("it does not panic").expect("it is open"), client());
    drop(crowd);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_or_is_none_is_told_with_its_client() {
    let made = certificate();
    let (listener, addr, mut told) = listener(&made, Config::new(Trust::any())).await;
    let mut listener = listener.handshake_timeout(Duration::from_millis(1));
    let serving = tokio::spawn(async move { listener.accept().await });
    for (sent, kind) in
        [(&b""[..], io::ErrorKind::TimedOut), (b"GET / HTTP/1.1\r\n", io::ErrorKind::InvalidData)]
    {
        let header = Greeting::v1(client(), server()).to_bytes().expect("it fits");
        let far = ppnet::tokio::connect(addr, &[&header[..], sent].concat()).await;
        let (who, refused) = told.recv().await.expect("the listener goes on");
        assert_eq!(who, Addr::from(client()));
        assert_eq!(io::Error::from(refused).kind(), kind);
        drop(far);
    }
    serving.abort();
}

// One waits behind its header, one has half of that, one is not accepted yet, and one will not speak TLS.
#[tokio::test]
async fn a_listener_that_drains_hands_out_who_is_on_the_way_to_tls_and_listens_no_more() {
    let made = certificate();
    let (mut listener, addr, mut told) = listener(&made, Config::new(Trust::any())).await;
    let header = Greeting::v2(client(), server()).to_bytes().expect("it fits");
    let connect =
        |sent| async move { ppnet::tokio::connect(addr, sent).await.expect("it listens") };
    let handshake = |stream| connector(made.cert.der()).connect(name(), stream);

    let behind_header = connect(&header[..]).await;
    let mut half = connect(&header[..20]).await;
    let mut plain = connect(&header[..]).await;
    let first = connect(&header[..]).await;
    let (first, accepted) = tokio::join!(handshake(first), listener.accept());
    assert_eq!(accepted.get_ref().0.peer_addr(), client());
    let late = connect(&header[..]).await;

    let mut rest = listener.drain();
    TcpStream::connect(addr).await.expect_err("nobody listens");
    half.write_all(&header[20..]).await.expect("it is open");
    plain.write_all(b"GET / HTTP/1.1\r\n").await.expect("it is open");
    let clients: Vec<_> =
        [behind_header, half, late].map(|stream| tokio::spawn(handshake(stream))).into();
    for _ in 0..3 {
        let stream = rest.next().await.expect("three are left");
        assert_eq!(stream.get_ref().0.peer_addr(), client());
    }
    assert!(rest.next().await.is_none());
    let (_, refused) = told.recv().await.expect("one was refused");
    assert!(matches!(refused.reason(), Reason::Tls(_)), "{refused}");
    for client in clients {
        client.await.expect("it does not panic").expect("it is answered");
    }
    first.expect("it was answered");
}

// Test_TLSServer: the header inside TLS.
#[tokio::test]
async fn a_header_inside_tls_is_read_by_handshake() {
    let made = certificate();
    let (near, far) = tokio::io::duplex(16 * 1024);
    let connector = connector(made.cert.der());
    let sender = tokio::spawn(async move {
        let mut tls = connector.connect(name(), far).await?;
        let header = Greeting::v2(client(), server()).to_bytes().expect("it fits");
        tls.write_all(&[&header[..], b"test"].concat()).await?;
        tls.shutdown().await?;
        // Kept open: the server still has session tickets to send.
        Ok::<_, io::Error>(tls)
    });
    let tls = acceptor(&made).accept(near).await.expect("it speaks TLS");
    let config = Config::new(Trust::networks(["10.0.0.0/8"]).expect("a network"));
    let (peer, local) = ("10.0.0.2:1".parse().expect("it"), "10.0.0.1:443".parse().expect("it"));
    let stream = ppnet::tokio::handshake(tls, peer, local, &config).await;
    let mut stream = stream.expect("the header is good");
    assert_eq!((stream.peer_addr(), stream.local_addr()), (client(), server()));
    let mut payload = String::new();
    stream.read_to_string(&mut payload).await.expect("it ends in peace");
    assert_eq!(payload, "test");
    drop(sender.await.expect("it does not panic").expect("it is sent"));
}

// Test_MisconfiguredTLSServerRespondsWithUnderlyingError: the client puts the header in front of TLS
// where the server wants it inside. TLS refuses it, with TLS's own words, before a header is read; a
// stream that fails later is refused with its own error.
#[tokio::test]
async fn an_error_of_what_is_below_is_said_in_its_own_words() {
    let made = certificate();
    let (near, mut far) = tokio::io::duplex(16 * 1024);
    let header = Greeting::v2(client(), server()).to_bytes().expect("it fits");
    far.write_all(&[&header[..], b"GET /foo/bar HTTP/1.1"].concat()).await.expect("it is open");
    let error = acceptor(&made).accept(near).await.expect_err("this is not TLS");
    assert!(error.to_string().contains("corrupt message"), "{error}");

    let config = Config::new(Trust::any());
    let failing = failing::Failing;
    let refused = ppnet::tokio::handshake(failing, server(), client(), &config).await;
    let refused = refused.map(drop).expect_err("it cannot be read");
    assert_eq!(io::Error::from(refused).to_string(), "its own words");
}

/// A stream that cannot be read.
mod failing {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, ReadBuf};

    pub(super) struct Failing;

    impl AsyncRead for Failing {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::other("its own words")))
        }
    }
}
