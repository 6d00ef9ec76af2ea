//! Real TLS clients through routes to real TLS servers, which never notice: each shakes hands with the server that
//! its hello asked for, whose certificate it checks, and the server is told who it is.

use crate::common::ppserver::Ppserver;
use crate::peers::curl::fetch;
use crate::peers::nginx::NginxTls;
use crate::peers::openssl::handshake;
use crate::rig::BALANCER;

struct Rig {
    ours: Ppserver,
    own: NginxTls,
    named: NginxTls,
    h2: NginxTls,
}

/// Three servers: one by a name, one by a protocol, and one for the rest.
#[track_caller]
fn rig() -> Rig {
    let [own, named, h2] = ["own.test", "www.a.test", "h2.test"].map(NginxTls::named);
    let upstream = |name: &str, server: &NginxTls| {
        let addr = server.addr();
        format!(
            "[upstream.{name}]\nendpoints = ['{addr}']\n[upstream.{name}.proxy_protocol]\nsend = 'v2'\n"
        )
    };
    let ours = Ppserver::with_config(&format!(
        "config_version = 1
        [[listener]]
        name = 'edge'
        bind = ['127.0.0.1:0']
        upstream = 'own'
        [listener.proxy_protocol]
        accept = 'optional'
        trust = ['127.0.0.0/8']
        [[listener.route]]
        when = {{ sni = ['*.a.test'] }}
        upstream = 'named'
        [[listener.route]]
        when = {{ alpn = ['h2'] }}
        upstream = 'h2'
        {}{}{}",
        upstream("own", &own),
        upstream("named", &named),
        upstream("h2", &h2),
    ));
    Rig { ours, own, named, h2 }
}

#[test]
fn curl_reaches_the_server_that_it_names_behind_its_header_and_checks_its_certificate() {
    let rig = rig();
    let port = rig.ours.addr().port();
    for (server, name, version, spoken) in [
        (&rig.named, "www.a.test", "--http1.1", "HTTP/1.1"),
        (&rig.named, "www.a.test", "--http2", "HTTP/2.0"),
        (&rig.h2, "h2.test", "--http2", "HTTP/2.0"),
        (&rig.own, "own.test", "--http1.1", "HTTP/1.1"),
    ] {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let (url, certificate) = (format!("https://{name}:{port}/"), server.certificate());
        let certificate = certificate.to_str().expect("it is UTF-8");
        let args = ["--haproxy-protocol", version, "--resolve", &resolve, "--cacert", certificate];
        let got = fetch(BALANCER, &[&args[..], &[&url]].concat()).expect("served");
        assert_eq!(String::from_utf8_lossy(&got.body), name);
        assert_eq!(server.seen(got.local), format!("{name} {spoken}"));
    }
}

#[test]
fn openssl_reaches_the_server_that_its_hello_asks_for_with_and_without_a_name_in_every_version() {
    let rig = rig();
    let h2 = Some("h2".to_owned());
    for (args, server, protocol) in [
        (&["-servername", "www.a.test"][..], "www.a.test", None),
        (&["-servername", "www.a.test", "-alpn", "h2"], "www.a.test", h2.clone()),
        (&["-servername", "x.y.a.test", "-tls1_2"], "www.a.test", None),
        (&["-servername", "a.test"], "own.test", None),
        (&["-noservername"], "own.test", None),
        (&["-noservername", "-alpn", "http/1.1,h2"], "h2.test", h2),
        (&["-noservername", "-tls1_2"], "own.test", None),
    ] {
        assert_eq!(handshake(rig.ours.addr(), args), (server.to_owned(), protocol), "{args:?}");
    }
}

#[test]
fn a_client_that_speaks_plain_http_to_routes_by_name_is_told_so_by_the_server() {
    let rig = rig();
    let url = format!("http://{}/", rig.ours.addr());
    let got = fetch(BALANCER, &["--haproxy-protocol", &url]).expect("answered");
    assert_eq!(got.status, 400);
    assert!(String::from_utf8_lossy(&got.body).contains("plain HTTP request"));
}
