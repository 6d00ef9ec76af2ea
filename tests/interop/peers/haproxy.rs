//! HAProxy: in front of us as the load balancer, or behind us as a server that wants a header.

use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::process::{Proc, Stream};
use crate::common::socket::ReservedPort;
use crate::peers::{go, peer, wait_for_listener};

/// A running HAProxy with one frontend.
pub(crate) struct Haproxy {
    proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Haproxy {
    /// A TCP load balancer whose only server is `target`, an address or `unix@PATH`, with these server `options`.
    #[track_caller]
    pub(crate) fn forwarding_to(target: impl Display, options: &str) -> Haproxy {
        Haproxy::start(|_, bind| {
            format!(
                "listen balancer\n\
                 \tmode tcp\n\
                 \tbind {bind}\n\
                 \tunique-id-format interop-%ci-%cp\n\
                 \tserver target {target} {options}\n"
            )
        })
    }

    /// The same, where the balancer ends TLS for the host `name`; another HAProxy in the same
    /// process begins it, from the address `client`, so that plain bytes go in here.
    #[track_caller]
    pub(crate) fn forwarding_tls_to(
        target: SocketAddr,
        options: &str,
        client: IpAddr,
        name: &str,
    ) -> Haproxy {
        let inner = ReservedPort::new();
        Haproxy::start(|dir, bind| {
            let certificate = dir.join("certificate.pem");
            fs::write(&certificate, go::certificate(name)).expect("a file in it can be written");
            format!(
                "listen balancer\n\
                 \tmode tcp\n\
                 \tbind {inner} ssl crt {certificate}\n\
                 \tunique-id-format interop-%ci-%cp\n\
                 \tserver target {target} {options}\n\
                 listen tls_client\n\
                 \tmode tcp\n\
                 \tbind {bind}\n\
                 \tserver inner {inner} source {client} ssl verify none sni str({name})\n",
                inner = inner.addr(),
                certificate = certificate.display(),
            )
        })
    }

    /// An HTTP server that requires a header and fetches from `origin`.
    #[track_caller]
    pub(crate) fn behind_proxy_protocol(origin: SocketAddr) -> Haproxy {
        Haproxy::start(|_, bind| {
            format!(
                "listen behind\n\
                 \tmode http\n\
                 \tbind {bind} accept-proxy\n\
                 \tlog stdout format raw local0\n\
                 \tlog-format \"seen %ci:%cp %fi:%fp %HM %HP\"\n\
                 \tserver origin {origin}\n"
            )
        })
    }

    /// Where its frontend listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Waits for the log line of a request for `path`: the client and server address it believes.
    #[track_caller]
    pub(crate) fn seen(&self, path: &str) -> String {
        self.proc.wait_for_line(Stream::Stdout, path, |line| {
            let (addresses, request) = line.strip_prefix("seen ")?.rsplit_once(" GET ")?;
            (request == path).then(|| addresses.to_owned())
        })
    }

    /// How many requests it has logged.
    pub(crate) fn requests(&self) -> usize {
        self.proc.lines(Stream::Stdout).iter().filter(|line| line.starts_with("seen ")).count()
    }

    #[track_caller]
    fn start(frontend: impl FnOnce(&Path, SocketAddr) -> String) -> Haproxy {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let port = ReservedPort::new();
        let config = dir.path().join("haproxy.cfg");
        let text = format!(
            "global\n\
             \tmaxconn 256\n\
             defaults\n\
             \ttimeout connect 10s\n\
             \ttimeout client 30s\n\
             \ttimeout server 30s\n\
             {}",
            frontend(dir.path(), port.addr())
        );
        fs::write(&config, text).expect("a file in it can be written");
        let mut command = Command::new(peer("haproxy"));
        let mut proc = Proc::spawn("haproxy", command.arg("-db").arg("-f").arg(&config));
        wait_for_listener(&mut proc, port.addr());
        Haproxy { proc, port, _dir: dir }
    }
}
