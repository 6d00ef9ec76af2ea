//! QUIC between quinn and quinn, whose datagrams have 1,200 bytes at least: through a v2 header in front of each of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::crypto::ring;
use quinn::rustls::pki_types::PrivatePkcs8KeyDer;
use quinn::rustls::version::TLS13;
use quinn::rustls::{ClientConfig, RootCertStore, ServerConfig};
use quinn::{Connection, Endpoint};

use crate::common::payload::{MIB, assert_same, random};
use crate::common::ppserver::Ppserver;

const NAME: &str = "quic.test";

/// Ours in front of somebody, taking and sending what is said; no datagram is ever cut in pieces, as QUIC wants it.
#[track_caller]
fn ours(upstream: SocketAddr, accept: &str, send: &str) -> Ppserver {
    Ppserver::with_config(&format!(
        "config_version = 1\n[[listener]]\nname = \"quic\"\nprotocol = \"udp\"\nbind = [\"127.0.0.1:0\"]\n\
         dont_fragment = \"probe\"\nupstream = \"far\"\n[listener.proxy_protocol]\n{accept}\n\
         [upstream.far]\nendpoints = [\"{upstream}\"]\n[upstream.far.proxy_protocol]\nsend = \"{send}\"\n"
    ))
}

/// A server and a client that trusts it.
fn endpoints() -> (Endpoint, Endpoint) {
    let issued = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let certificate = issued.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .expect("they belong together");
    let server = QuicServerConfig::try_from(server).expect("QUIC has its cipher suite");
    let server = quinn::ServerConfig::with_crypto(Arc::new(server));
    let server = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");

    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("it is one");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = QuicClientConfig::try_from(client).expect("QUIC has its cipher suite");
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));
    (server, endpoint)
}

/// Sends back what each stream says.
async fn echo(server: Endpoint) -> SocketAddr {
    let connection = server.accept().await.expect("it listens").await.expect("a handshake");
    let peer = connection.remote_address();
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let said = receive.read_to_end(4 * MIB).await.expect("it is whole");
        send.write_all(&said).await.expect("it is taken");
        send.finish().expect("it is open");
    }
    peer
}

async fn ask(connection: &Connection, payload: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    send.write_all(payload).await.expect("it is taken");
    send.finish().expect("it is open");
    receive.read_to_end(4 * MIB).await.expect("it is whole")
}

#[test]
fn a_quic_connection_passes_behind_v2_in_each_datagram() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (server, client) = endpoints();
        let address = server.local_addr().expect("it is bound");
        // quinn takes no header: one of ours takes them off again.
        let inner = ours(address, "accept = \"require\"\ntrust = [\"127.0.0.0/8\"]", "off");
        let outer = ours(inner.addr(), "accept = \"off\"", "v2");
        let served = tokio::spawn(echo(server));
        let connecting = client.connect(outer.addr(), NAME).expect("it has a configuration");
        let connection = connecting.await.expect("a handshake");
        for (seed, len) in [(41, 1), (42, 1_200), (43, 2 * MIB)] {
            let payload = random(seed, len);
            assert_same(&ask(&connection, &payload).await, &payload);
        }
        assert_eq!(connection.remote_address(), outer.addr());
        connection.close(0u8.into(), b"done");
        let peer = served.await.expect("it ends");
        assert_ne!(peer, client.local_addr().expect("it is bound"), "it came through ours");
    });
}
