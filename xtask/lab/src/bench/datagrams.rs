//! The cases of datagrams: what each sends, and how a contender is told to relay it.
//!
//! Plain datagrams come in, from a peer as from a client: nginx takes no header over UDP. What leaves is behind the header
//! of the contender's lane, which the sink checks. Every proxy asks for the same room to receive.

use std::path::Path;

use anyhow::{Result, bail};
use ppload::Framing;
use tempfile::TempDir;

use super::cases::Amount;
use super::contender::{Contender, Kind, Tuning, nginx_stream, stream_module};
use super::setup::write;
use crate::ports;
use crate::process::Cores;

/// Datagrams a second.
const WARM_UP_RATE: u32 = 2000;
const TRACED_RATE: u32 = 12_000;

/// A contender with the header that it sends.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) contender: Contender,
    pub(super) framing: Framing,
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Relayed one way.
    Datagram,
    /// With its answer, and the flow that is only of these two.
    Question,
}

impl Unit {
    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Question => "question",
        }
    }
}

/// A load of datagrams.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// For file names.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) cores: Cores,
    pub(super) unit: Unit,
    /// The words behind `load`, without address, header and rate.
    pub(super) words: Vec<String>,
    /// Datagrams a second, in open loop.
    pub(super) rate: Option<u32>,
    /// The words behind `sink`, likewise.
    pub(super) sink: &'static [&'static str],
}

impl Load {
    /// What sends for so long.
    pub(super) fn measured(&self, span: &str) -> Vec<String> {
        self.words_at(self.rate, ["--for", span])
    }

    /// The same, so slowly that nothing is lost by it.
    pub(super) fn warm_up(&self) -> Vec<String> {
        self.words_at(self.rate.map(|rate| rate.min(WARM_UP_RATE)), ["--for", "300ms"])
    }

    /// What sends for counting system calls, so slowly that a tracer keeps up.
    pub(super) fn traced(&self, amount: Amount) -> Vec<String> {
        let rate = self.rate.map(|rate| rate.min(TRACED_RATE));
        self.words_at(rate, ["--count", &amount.traced.to_string()])
    }

    fn words_at(&self, rate: Option<u32>, more: [&str; 2]) -> Vec<String> {
        let rate = rate.map(|rate| ["--rate".to_owned(), rate.to_string()]);
        let more = rate.into_iter().flatten().chain(more.map(str::to_owned));
        self.words.iter().cloned().chain(more).collect()
    }
}

/// 200 players, who hear of each of their moves; all on one core too, where waking others hides nothing.
pub(super) fn game() -> [Load; 2] {
    let apart = Load {
        name: "udp-game",
        title: "200 flows, 60 datagrams of 64 bytes a second each, all answered",
        cores: Cores::APART,
        unit: Unit::Datagram,
        words: split("udp-game --connections 200 --bytes 64"),
        rate: Some(12_000),
        sink: &[],
    };
    let one = Load {
        name: "udp-game-one-core",
        title: "the same, everybody on one core",
        cores: Cores::ONE,
        ..apart.clone()
    };
    [apart, one]
}

/// Datagrams as QUIC's, one way.
pub(super) fn bulk() -> [Load; 3] {
    let gro = Load {
        name: "udp-bulk-gso-gro",
        title: "datagrams of 1,200 bytes, 50,000 a second, 40 a call; the sink with GRO",
        cores: Cores::APART,
        unit: Unit::Datagram,
        words: split("udp-bulk --connections 4 --gso 40"),
        rate: Some(50_000),
        sink: &["--gro"],
    };
    let plain_sink = Load {
        name: "udp-bulk-gso",
        title: "the same; the sink receives one at a time",
        sink: &[],
        ..gro.clone()
    };
    let plain = Load {
        name: "udp-bulk-plain",
        title: "the same, but one a call of the sender",
        words: split("udp-bulk --connections 4"),
        ..plain_sink.clone()
    };
    [gro, plain_sink, plain]
}

/// Flows of one question each.
pub(super) fn dns() -> [Load; 1] {
    [Load {
        name: "udp-dns",
        title: "questions of 64 bytes, a new flow each, 64 at a time, everybody on one core",
        cores: Cores::ONE,
        unit: Unit::Question,
        words: split("udp-dns --connections 64"),
        rate: None,
        sink: &[],
    }]
}

/// Ourselves behind each header, v2 in each datagram first, and those peers that relay datagrams.
pub(super) fn lanes(contenders: &[Contender]) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for contender in contenders {
        let as_it_is = |framing| Lane { contender: contender.clone(), framing };
        match contender.kind {
            Kind::Ppserver if contender.name == "ppserver" => {
                let named = |name, framing| Lane {
                    contender: contender.tuned(name, Tuning::PLAIN),
                    framing,
                };
                lanes.push(as_it_is(Framing::V2));
                lanes.push(named("plain", Framing::None));
                lanes.push(named("spp", Framing::Spp));
            }
            Kind::Ppserver => lanes.push(as_it_is(Framing::V2)),
            Kind::Nginx | Kind::Envoy => lanes.push(as_it_is(Framing::None)),
            Kind::Haproxy => {}
        }
    }
    lanes
}

impl Lane {
    /// The words that have the program relay a load's datagrams.
    pub(super) fn words(&self, load: &Load, dir: &TempDir) -> Result<Vec<String>> {
        let dir = dir.path();
        Ok(match self.contender.kind {
            Kind::Ppserver => {
                let file = write(dir, "ppserver.toml", &ppserver_toml(load, self.framing))?;
                vec!["run".to_owned(), "-c".to_owned(), file]
            }
            Kind::Nginx => {
                let module = stream_module(&self.contender.program)?;
                let file = write(dir, "nginx.conf", &nginx_conf(load, dir, &module))?;
                ["-e", "stderr", "-c", &file].map(str::to_owned).to_vec()
            }
            Kind::Envoy => {
                let file = write(dir, "envoy.yaml", &envoy_yaml())?;
                let words = ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"];
                words.iter().map(|word| (*word).to_owned()).chain([file]).collect()
            }
            Kind::Haproxy => bail!("HAProxy relays no datagrams"),
        })
    }
}

/// The word for a header, of our generator and sink.
pub(super) fn word(framing: Framing) -> &'static str {
    match framing {
        Framing::None => "none",
        Framing::V2 => "v2",
        Framing::V2First => "v2-first",
        Framing::Spp => "spp",
    }
}

/// Flows that were answered are waited for at the end, but here nobody asks any more.
fn ppserver_toml(load: &Load, framing: Framing) -> String {
    let responses = if load.unit == Unit::Question { "responses = 1\n" } else { "" };
    let send = match framing {
        Framing::None => "\"off\"",
        Framing::V2 => "\"v2\"",
        Framing::V2First => "\"v2\"\n  datagrams = \"first\"",
        Framing::Spp => "\"spp\"",
    };
    format!(
        "config_version = 1
[server]
workers = 1
shutdown_grace = \"100ms\"
[[listener]]
name = \"bench\"
protocol = \"udp\"
bind = [\"{listen}\"]
upstream = \"backend\"
{responses}  [listener.proxy_protocol]
  accept = \"off\"
[upstream.backend]
endpoints = [\"{backend}\"]
  [upstream.backend.proxy_protocol]
  send = {send}
",
        listen = ports::addr(ports::PROXY),
        backend = ports::addr(ports::BACKEND),
    )
}

fn nginx_conf(load: &Load, dir: &Path, module: &str) -> String {
    let responses = if load.unit == Unit::Question { "proxy_responses 1;" } else { "" };
    let server = format!(
        "listen {listen} udp rcvbuf=4m;
        proxy_pass {backend};
        {responses}",
        listen = ports::addr(ports::PROXY),
        backend = ports::addr(ports::BACKEND),
    );
    nginx_stream(dir, module, &server)
}

/// Without `prefer_gro` it takes what came together for one datagram.
fn envoy_yaml() -> String {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3";
    let address =
        |port: u16| format!("{{ protocol: UDP, address: 127.0.0.1, port_value: {port} }}");
    format!(
        "static_resources:
  listeners:
  - name: bench
    address: {{ socket_address: {listen} }}
    udp_listener_config: {{ downstream_socket_config: {{ prefer_gro: true }} }}
    listener_filters:
    - name: envoy.filters.udp_listener.udp_proxy
      typed_config:
        \"@type\": {TYPES}.UdpProxyConfig
        stat_prefix: bench
        matcher:
          on_no_match:
            action:
              name: route
              typed_config:
                \"@type\": {TYPES}.Route
                cluster: backend
  clusters:
  - name: backend
    type: STATIC
    circuit_breakers:
      thresholds:
      - {{ max_connections: 16384 }}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {backend} }} }}
",
        listen = address(ports::PROXY),
        backend = address(ports::BACKEND),
    )
}

fn split(words: &str) -> Vec<String> {
    words.split_ascii_whitespace().map(str::to_owned).collect()
}
