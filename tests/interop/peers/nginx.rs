//! nginx: behind us as an HTTP server that wants a header, or in front of us as a TCP proxy that
//! sends one.

use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::process::{Proc, Stream};
use crate::common::socket::ReservedPort;
use crate::peers::curl::fetch;
use crate::peers::openssl::self_signed;
use crate::peers::{peer, require_path, wait_for_listener};
use crate::rig::CLIENT;

/// An HTTP server with two ports, one of which requires a header, as a UNIX socket does; files can be fetched and put.
pub(crate) struct NginxHttp {
    proc: Proc,
    behind: ReservedPort,
    plain: ReservedPort,
    dir: TempDir,
}

impl NginxHttp {
    /// Starts it with this content at `/file`.
    #[track_caller]
    pub(crate) fn serving(file: &[u8]) -> NginxHttp {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("a directory in it can be made");
        fs::write(root.join("file"), file).expect("a file in it can be written");
        let (behind, plain) = (ReservedPort::new(), ReservedPort::new());
        let http = format!(
            "http {{
                log_format seen 'seen $proxy_protocol_addr:$proxy_protocol_port '
                    '$proxy_protocol_server_addr:$proxy_protocol_server_port '
                    '$request_method $request_uri $status';
                access_log /dev/stdout seen;
                {temp}
                server {{
                    listen {behind} proxy_protocol;
                    listen unix:{here} proxy_protocol;
                    listen {plain};
                    root {root};
                    client_max_body_size 16m;
                    dav_methods PUT;
                    location = /accepted {{ stub_status; access_log off; }}
                }}
            }}",
            temp = temp_paths(dir.path()),
            root = root.display(),
            here = socket(dir.path()).display(),
            behind = behind.addr(),
            plain = plain.addr(),
        );
        let mut proc = start(dir.path(), "", &http);
        wait_for_listener(&mut proc, behind.addr());
        wait_for_listener(&mut proc, plain.addr());
        NginxHttp { proc, behind, plain, dir }
    }

    /// The port that requires a header.
    pub(crate) fn behind_proxy_protocol(&self) -> SocketAddr {
        self.behind.addr()
    }

    /// The UNIX socket that requires one.
    pub(crate) fn behind_proxy_protocol_here(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// The port that takes none.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.plain.addr()
    }

    /// Waits for the log line of a request (`METHOD URI STATUS`): the client and server address
    /// of its header.
    #[track_caller]
    pub(crate) fn seen(&self, request: &str) -> String {
        self.proc.wait_for_line(Stream::Stdout, request, |line| {
            let (addresses, logged) = split_addresses(line.strip_prefix("seen ")?)?;
            (logged == request).then(|| addresses.to_owned())
        })
    }

    /// What was put at `/name`.
    pub(crate) fn stored(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join("root").join(name)).expect("the file was put")
    }

    /// How many connections both ports have accepted, the one that asks included.
    #[track_caller]
    pub(crate) fn accepted(&self) -> u64 {
        let page = fetch(CLIENT, &[&format!("http://{}/accepted", self.plain())]).expect("served");
        let text = String::from_utf8(page.body).expect("the page is ASCII");
        let counts = text.lines().nth(2).expect("the third line has the counts");
        let accepts = counts.split_ascii_whitespace().next().expect("the first count");
        accepts.parse().expect("a number")
    }
}

/// An HTTPS server that requires a header and says its name.
pub(crate) struct NginxTls {
    proc: Proc,
    port: ReservedPort,
    dir: TempDir,
}

impl NginxTls {
    /// Starts it with a certificate of its own for this name.
    #[track_caller]
    pub(crate) fn named(name: &str) -> NginxTls {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
        self_signed(name, &key, &certificate);
        let port = ReservedPort::new();
        let http = format!(
            "http {{
                log_format seen 'seen $proxy_protocol_addr:$proxy_protocol_port $ssl_server_name $server_protocol';
                access_log /dev/stdout seen;
                {temp}
                server {{
                    listen {port} ssl http2 proxy_protocol;
                    ssl_certificate {certificate};
                    ssl_certificate_key {key};
                    location / {{ return 200 '{name}'; }}
                }}
            }}",
            temp = temp_paths(dir.path()),
            port = port.addr(),
            certificate = certificate.display(),
            key = key.display(),
        );
        let mut proc = start(dir.path(), "", &http);
        wait_for_listener(&mut proc, port.addr());
        NginxTls { proc, port, dir }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The certificate to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    /// Waits for the log line of a client by its header: the name it asked for, and what it spoke.
    #[track_caller]
    pub(crate) fn seen(&self, client: SocketAddr) -> String {
        let begin = format!("seen {client} ");
        self.proc.wait_for_line(Stream::Stdout, &begin, |line| {
            line.strip_prefix(&begin).map(str::to_owned)
        })
    }
}

/// A TCP proxy in front of `target`.
pub(crate) struct NginxStream {
    _proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl NginxStream {
    /// Starts it with these directives beside `proxy_pass`.
    #[track_caller]
    pub(crate) fn forwarding_to(target: impl Display, directives: &str) -> NginxStream {
        NginxStream::listening(ReservedPort::new(), "", target, directives)
    }

    /// The same for datagrams.
    #[track_caller]
    pub(crate) fn forwarding_datagrams_to(target: SocketAddr) -> NginxStream {
        let port = ReservedPort::new();
        // What listens last is waited for.
        let parameter = format!("udp; listen {}", port.addr());
        NginxStream::listening(port, &parameter, target, "")
    }

    /// The same, with clients that send headers.
    #[track_caller]
    pub(crate) fn behind_headers(target: SocketAddr, directives: &str) -> NginxStream {
        NginxStream::behind_headers_at(IpAddr::V4(Ipv4Addr::LOCALHOST), target, directives)
    }

    /// The same on another loopback address.
    #[track_caller]
    pub(crate) fn behind_headers_at(
        ip: IpAddr,
        target: SocketAddr,
        directives: &str,
    ) -> NginxStream {
        NginxStream::listening(ReservedPort::at(ip), "proxy_protocol", target, directives)
    }

    #[track_caller]
    fn listening(
        port: ReservedPort,
        parameter: &str,
        target: impl Display,
        directives: &str,
    ) -> NginxStream {
        let module = require_path("/usr/lib/nginx/modules/ngx_stream_module.so");
        let dir = TempDir::new().expect("a temporary directory can be made");
        let load = format!("load_module {};", module.display());
        // Without proxy_half_close it drops the answer to a client that has sent its FIN.
        let stream = format!(
            "stream {{ server {{
                listen {} {parameter};
                proxy_pass {target};
                proxy_half_close on;
                {directives}
            }} }}",
            port.addr()
        );
        let mut proc = start(dir.path(), &load, &stream);
        wait_for_listener(&mut proc, port.addr());
        NginxStream { _proc: proc, port, _dir: dir }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("behind.sock")
}

/// Where it would keep files, as root or not.
fn temp_paths(dir: &Path) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", dir.display()))
        .join("\n")
}

#[track_caller]
fn start(dir: &Path, load: &str, block: &str) -> Proc {
    let config = dir.join("nginx.conf");
    // One process: nothing is left behind when it is killed, and it keeps its user.
    let text = format!(
        "{load}
        daemon off;
        master_process off;
        pid {dir}/nginx.pid;
        error_log stderr info;
        events {{ worker_connections 256; }}
        {block}",
        dir = dir.display(),
    );
    fs::write(&config, text).expect("a file in it can be written");
    let mut command = Command::new(peer("nginx"));
    Proc::spawn("nginx", command.arg("-p").arg(dir).arg("-e").arg("stderr").arg("-c").arg(&config))
}

/// Splits a log line behind its second word.
fn split_addresses(line: &str) -> Option<(&str, &str)> {
    let (second, _) = line.match_indices(' ').nth(1)?;
    Some((&line[..second], &line[second + 1..]))
}
