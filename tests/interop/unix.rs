//! UNIX sockets: HAProxy in front of one, nginx behind another, curl at either.

use std::path::Path;

use tempfile::TempDir;

use crate::common::ppserver::Ppserver;
use crate::peers::curl::{fetch, fetch_here};
use crate::peers::haproxy::Haproxy;
use crate::peers::nginx::NginxHttp;
use crate::rig::CLIENT;

/// A proxy at a UNIX socket, in front of nginx at another, with this for `[listener.proxy_protocol]`.
#[track_caller]
fn ours(path: &Path, nginx: &NginxHttp, accept: &str) -> Ppserver {
    Ppserver::with_config(&format!(
        "config_version = 1\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0', 'unix:{}']\nupstream = 'web'\n\
         proxy_protocol = {{ {accept} }}\n\
         [upstream.web]\nendpoints = ['unix:{}']\nproxy_protocol.send = 'v2'\n",
        path.display(),
        nginx.behind_proxy_protocol_here().display(),
    ))
}

#[test]
fn haproxy_tells_nginx_the_client_through_unix_sockets() {
    let nginx = NginxHttp::serving(b"through");
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("edge.sock");
    let _ours = ours(&path, &nginx, "accept = 'require', trust = ['unix']");
    let haproxy = Haproxy::forwarding_to(format!("unix@{}", path.display()), "send-proxy-v2");
    let page = fetch(CLIENT, &[&format!("http://{}/file", haproxy.addr())]).expect("it is served");
    assert_eq!(page.body, b"through");
    let seen = nginx.seen("GET /file 200");
    assert_eq!(seen, format!("{} {}", page.local, haproxy.addr()));
}

#[test]
fn curl_reaches_nginx_through_unix_sockets_as_nobody() {
    let nginx = NginxHttp::serving(b"through");
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("edge.sock");
    let _ours = ours(&path, &nginx, "accept = 'off'");
    assert_eq!(fetch_here(&path, "http://localhost/file"), b"through");
    // UNSPEC has no address.
    assert_eq!(nginx.seen("GET /file 200"), "-:- -:-");
}
