//! squid: an HTTP forward proxy that requires a header, and serves only clients it was told of.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::Proc;
use crate::common::socket::ReservedPort;
use crate::peers::{peer, wait_for_listener};

/// A running squid.
pub(crate) struct Squid {
    proc: Proc,
    port: ReservedPort,
    dir: TempDir,
}

impl Squid {
    /// Starts it; only `clients` may use it, by the addresses of their headers.
    #[track_caller]
    pub(crate) fn behind_proxy_protocol(clients: &[IpAddr]) -> Squid {
        let dir = TempDir::new().expect("a temporary directory can be made");
        // Started as root it becomes the user `proxy`, which writes its logs here.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("it is ours");
        let port = ReservedPort::new();
        let clients: Vec<String> = clients.iter().map(IpAddr::to_string).collect();
        let text = format!(
            "http_port {port} require-proxy-header\n\
             acl sender src 127.0.0.0/8\n\
             proxy_protocol_access allow sender\n\
             acl client src {clients}\n\
             http_access allow client\n\
             http_access deny all\n\
             cache deny all\n\
             strip_query_terms off\n\
             logformat seen %>a:%>p %>la:%>lp %rm %ru %>Hs\n\
             access_log stdio:{dir}/access.log logformat=seen\n\
             cache_log {dir}/cache.log\n\
             coredump_dir {dir}\n\
             pid_filename none\n\
             netdb_filename none\n\
             pinger_enable off\n\
             visible_hostname interop.invalid\n\
             shutdown_lifetime 0 seconds\n",
            port = port.addr(),
            clients = clients.join(" "),
            dir = dir.path().display(),
        );
        let config = dir.path().join("squid.conf");
        fs::write(&config, text).expect("a file in it can be written");
        let mut command = Command::new(peer("squid"));
        let mut proc = Proc::spawn("squid", command.args(["-N", "-d1", "-f"]).arg(&config));
        wait_for_listener(&mut proc, port.addr());
        Squid { proc, port, dir }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Waits for the log line of a request (`METHOD URL STATUS`): the client and server address
    /// of its header.
    #[track_caller]
    pub(crate) fn seen(&self, request: &str) -> String {
        let seen = poll_for(PATIENCE, || {
            let lines = self.access_log();
            let mut lines = lines.iter().filter_map(|line| line.strip_suffix(request));
            lines.next().map(|addresses| addresses.trim_end().to_owned())
        });
        seen.unwrap_or_else(|| {
            panic!("no {request} in {:?}\n{}", self.access_log(), self.proc.transcript())
        })
    }

    /// The lines of its access log so far.
    pub(crate) fn access_log(&self) -> Vec<String> {
        // It is made with the first line.
        let text = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
