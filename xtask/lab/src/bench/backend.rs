//! The servers behind the proxy: nginx for requests, our own sink for everything else.

use std::path::Path;

use anyhow::{Context, Result};
use ppload::{LISTENING, SinkReport};
use tempfile::TempDir;

use super::contender::nginx_http;
use super::flood::Source;
use super::reconcile::{Bytes, Seen, Served};
use super::rules;
use super::setup::{fetch, read_stub_status, write};
use crate::ports;
use crate::process::{Cores, Process};
use crate::usage::Family;

/// The body of nginx's answer: as long as the sink's.
pub(super) const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Which server stands behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Nginx,
    /// The same at a hundred addresses.
    NginxFarm,
    Sink,
    /// A thread a connection, which the load of `mixed` needs.
    Threads,
}

/// A backend at work. Every connection to it begins with a PROXY header.
pub(super) enum Serving {
    Nginx { process: Process, _dir: TempDir },
    Sink { process: Process },
    Threads(Source),
}

impl Backend {
    /// Starts it and waits until it listens.
    pub(super) fn start(self, cores: Cores, nginx: &Path, ppload: &Path) -> Result<Serving> {
        match self {
            Self::Nginx | Self::NginxFarm => {
                let dir = tempfile::tempdir()?;
                let count = if self == Self::Nginx { 1 } else { rules::ENDPOINTS };
                let file = write(dir.path(), "nginx.conf", &nginx_conf(dir.path(), count))?;
                let words = ["-e", "stderr", "-c", &file];
                let mut process = Process::pinned("nginx (backend)", cores.load, nginx, &words)?;
                process.wait_for_port(ports::BACKEND)?;
                process.wait_for_port(ports::BACKEND_STATUS)?;
                Ok(Serving::Nginx { process, _dir: dir })
            }
            Self::Sink => {
                let listen = ports::addr(ports::BACKEND).to_string();
                let words = ["sink", "--proxy", "--listen", &listen, "--json"];
                let mut process = Process::pinned("sink", cores.load, ppload, &words)?;
                process.wait_for_line("where it listens", |line| {
                    line.starts_with(LISTENING).then_some(())
                })?;
                Ok(Serving::Sink { process })
            }
            Self::Threads => Ok(Serving::Threads(Source::start(ports::addr(ports::BACKEND))?)),
        }
    }
}

impl Serving {
    /// Lets it finish, ends it and returns what it counted since its start.
    pub(super) fn stop(self) -> Result<Served> {
        match self {
            Self::Nginx { process, _dir } => {
                Family::of(process.id()).wait_until_quiet()?;
                let page = fetch(ports::BACKEND_STATUS, "/status")?;
                let counts = read_stub_status(&page, 1);
                let (accepted, requests) = counts.context("nginx's status is not as expected")?;
                process.stop()?;
                let seen = Seen { accepted, failures: 0, requests: Some(requests) };
                Ok(Served { seen, bytes: None })
            }
            Self::Sink { process } => {
                Family::of(process.id()).wait_until_quiet()?;
                let lines = process.stop()?;
                let json = lines.iter().rev().find(|line| line.starts_with('{'));
                let report: SinkReport =
                    serde_json::from_str(json.context("the sink printed no counts")?)?;
                let seen = Seen {
                    accepted: report.accepted,
                    failures: report.failures(),
                    requests: Some(report.answers),
                };
                let bytes = Bytes { up: report.bytes_received, down: report.bytes_sent };
                Ok(Served { seen, bytes: Some(bytes) })
            }
            Self::Threads(source) => Ok(source.stop()),
        }
    }
}

fn nginx_conf(dir: &Path, count: u8) -> String {
    let listen = |addr| format!("        listen {addr} proxy_protocol backlog=4096;\n");
    let server = format!(
        "    server {{
{listen}        keepalive_requests 1000000000;
        keepalive_timeout 5m;
        location / {{ return 200 \"{BODY}\"; }}
    }}
",
        listen = ports::backends(count).map(listen).collect::<String>(),
    );
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
{http}",
        dir = dir.display(),
        http = nginx_http(dir, ports::BACKEND_STATUS, &server),
    )
}
