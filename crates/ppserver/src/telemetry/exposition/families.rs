//! Every family with its name, its help and its series; docs/operations.md says what each is for.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ppcore::{Command, ErrorKind, Version};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::process::Process;
use crate::core::check_result::CheckResult;
use crate::core::close_reason::CloseReason;
use crate::core::connect_result::ConnectResult;
use crate::core::resolution_result::ResolutionResult;
use crate::core::udp::drop_reason::DropReason;
use crate::telemetry::build;
use crate::telemetry::cells::{BUCKETS, header_place};
use crate::telemetry::ledger::{
    EndpointTotals, Ledger, ListenerTotals, NameTotals, ReloadResult, Reloads, Spans, Totals,
    UpstreamTotals, WorkerTotals,
};

/// Headers that there are: LOCAL is of v2, UNKNOWN of v1.
const HEADERS: [(Version, Command); 4] = [
    (Version::V1, Command::Proxy),
    (Version::V1, Command::Unknown),
    (Version::V2, Command::Proxy),
    (Version::V2, Command::Local),
];

/// No label.
const NONE: [(&str, &str); 0] = [];

/// All that is told, at a moment.
#[derive(Debug)]
pub(super) struct Families {
    listeners: Vec<ListenerTotals>,
    upstreams: Vec<UpstreamTotals>,
    names: Vec<NameTotals>,
    workers: Vec<WorkerTotals>,
    totals: Totals,
    reloads: Reloads,
    log_lines_dropped: u64,
    process: Process,
    started: SystemTime,
}

impl Families {
    pub(super) fn of(ledger: &Ledger, log_lines_dropped: u64) -> Self {
        Self {
            listeners: ledger.listeners(),
            upstreams: ledger.upstreams(),
            names: ledger.names(),
            workers: ledger.activity(),
            totals: ledger.totals(),
            reloads: ledger.reloads(),
            log_lines_dropped,
            process: Process::read(),
            started: ledger.started(),
        }
    }

    /// One series a listener.
    fn by_listener<'a, T>(
        &'a self,
        value: impl Fn(&ListenerTotals) -> T + 'a,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 1], T)> {
        self.listeners.iter().map(move |totals| ([("listener", &*totals.name)], value(totals)))
    }

    /// All endpoints, with their upstream's name and the address as a label has it.
    fn endpoints(&self) -> impl Iterator<Item = (&str, String, &EndpointTotals)> {
        self.upstreams.iter().flat_map(|upstream| {
            let endpoints = upstream.endpoints.iter();
            endpoints.map(|totals| (&*upstream.name, totals.addr.to_string(), totals))
        })
    }

    fn of_listeners(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counter(
            to,
            "ppserver_connections_accepted",
            "Connections accepted",
            self.by_listener(|totals| totals.accepted),
        )?;
        gauge(
            to,
            "ppserver_connections_active",
            "Connections that are open: accepted less closed",
            self.by_listener(|totals| totals.active),
        )?;
        let closed = self.listeners.iter().flat_map(|totals| {
            CloseReason::ALL.iter().map(|reason| {
                let labels = [("listener", &*totals.name), ("reason", reason.name())];
                (labels, totals.closed[reason.index()])
            })
        });
        counter(to, "ppserver_connections_closed", "Connections that ended, by why", closed)?;
        let headers = self.listeners.iter().flat_map(|totals| {
            HEADERS.iter().map(|(version, command)| {
                let labels = [
                    ("listener", &*totals.name),
                    ("version", version.name()),
                    ("command", command.name()),
                ];
                let (of_version, of_command) = header_place(*version, *command);
                (labels, totals.headers[of_version][of_command])
            })
        });
        counter(to, "ppserver_headers", "PROXY headers that were complete", headers)?;
        let refusals = self.listeners.iter().flat_map(|totals| {
            ErrorKind::ALL.iter().zip(totals.refusals).map(|(kind, count)| {
                ([("listener", &*totals.name), ("reason", kind.name())], count)
            })
        });
        counter(
            to,
            "ppserver_header_refusals",
            "PROXY headers that broke a rule, by which",
            refusals,
        )?;
        histogram(
            to,
            "ppserver_header_duration_seconds",
            "From accept until the PROXY header was complete",
            self.by_listener(|totals| totals.header_duration),
        )?;
        let bytes = self.listeners.iter().flat_map(|totals| {
            [("up", totals.bytes_up), ("down", totals.bytes_down)].map(|(direction, count)| {
                ([("listener", &*totals.name), ("direction", direction)], count)
            })
        });
        counter(
            to,
            "ppserver_bytes",
            "Payload bytes relayed, up to upstreams or down to clients",
            bytes,
        )
    }

    fn of_datagrams(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let datagrams = self.listeners.iter().flat_map(|totals| {
            let [up, down] = totals.datagrams;
            [("up", up), ("down", down)].map(|(direction, count)| {
                ([("listener", &*totals.name), ("direction", direction)], count)
            })
        });
        counter(
            to,
            "ppserver_udp_datagrams",
            "Datagrams that came, up from clients or down from upstreams",
            datagrams,
        )?;
        gauge(
            to,
            "ppserver_udp_flows_active",
            "Flows of datagrams",
            self.by_listener(|totals| totals.flows_active),
        )?;
        let drops = self.listeners.iter().flat_map(|totals| {
            DropReason::ALL.iter().map(|reason| {
                let labels = [("listener", &*totals.name), ("reason", reason.name())];
                (labels, totals.datagrams_dropped[reason.index()])
            })
        });
        counter(to, "ppserver_udp_drops", "Datagrams that went nowhere, by why", drops)
    }

    fn of_upstreams(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let durations = self.upstreams.iter();
        let durations =
            durations.map(|totals| ([("upstream", &*totals.name)], totals.connect_duration));
        histogram(
            to,
            "ppserver_connect_duration_seconds",
            "From connect(2) until the connection stood",
            durations,
        )?;
        let connects = self.endpoints().flat_map(|(upstream, addr, totals)| {
            ConnectResult::ALL.iter().map(move |result| {
                let words = [upstream.to_owned(), addr.clone(), result.name().to_owned()];
                (
                    labelled(["upstream", "endpoint", "result"], words),
                    totals.connects[result.index()],
                )
            })
        });
        counter(to, "ppserver_connects", "Attempts to connect, by what came of them", connects)?;
        let up = self.endpoints();
        let up = up.map(|(upstream, addr, totals)| (at(upstream, addr), u64::from(totals.is_up())));
        gauge(to, "ppserver_endpoint_up", "Whether new connections go there", up)?;
        let active =
            self.endpoints().map(|(upstream, addr, totals)| (at(upstream, addr), totals.active));
        gauge(to, "ppserver_endpoint_connections_active", "Connections that stand there", active)?;
        let checks = self.endpoints().flat_map(|(upstream, addr, totals)| {
            totals.checks.into_iter().flat_map(move |counts| {
                let addr = addr.clone();
                CheckResult::ALL.iter().map(move |result| {
                    let words = [upstream.to_owned(), addr.clone(), result.name().to_owned()];
                    (labelled(["upstream", "endpoint", "result"], words), counts[result.index()])
                })
            })
        });
        counter(to, "ppserver_checks", "Checks of endpoints, by what came of them", checks)
    }

    fn of_names(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rounds = self.names.iter().flat_map(|totals| {
            ResolutionResult::ALL.iter().map(|result| {
                let labels = [("name", &*totals.name), ("result", result.name())];
                (labels, totals.results[result.index()])
            })
        });
        counter(to, "ppserver_resolutions", "Times a name or file was asked for, by result", rounds)
    }

    fn of_process(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Totals { accept_pauses, pipes_missing, access_lines_dropped, .. } = self.totals;
        for (name, help, count) in [
            ("ppserver_pipes_missing", "Fills copied for want of a pipe", pipes_missing),
            ("ppserver_accept_pauses", "Times accepting paused: accept(2) failed", accept_pauses),
            ("ppserver_log_lines_dropped", "Log lines lost: nobody read", self.log_lines_dropped),
            (
                "ppserver_access_lines_dropped",
                "Access log lines lost: the output was slow, or refused them",
                access_lines_dropped,
            ),
        ] {
            counter(to, name, help, [(NONE, count)])?;
        }
        let busy = self.workers.iter().enumerate().map(|(index, totals)| {
            (labelled(["worker"], [index.to_string()]), totals.busy.as_secs_f64())
        });
        counter(to, "ppserver_worker_busy_seconds", "Time a worker did not wait", busy)?;
        let reloads = ReloadResult::ALL.iter().zip(self.reloads.counts);
        let reloads = reloads.map(|(result, count)| ([("result", result.name())], count));
        counter(to, "ppserver_reloads", "Reloads asked for, by what came of them", reloads)?;
        let last = unix_time(self.reloads.last);
        gauge(
            to,
            "ppserver_config_last_reload_timestamp_seconds",
            "When what is followed was followed first",
            [(NONE, last)],
        )?;
        to.encode_descriptor("ppserver_build", "Which program this is", None, MetricType::Info)?
            .encode_info(&[("version", build::VERSION), ("commit", build::COMMIT)])?;
        let Process { cpu, descriptors_max, descriptors, resident_bytes } = self.process;
        counter(to, "process_cpu_seconds", "CPU time of all threads", [(NONE, cpu.as_secs_f64())])?;
        let started = [(NONE, unix_time(self.started))];
        gauge(to, "process_start_time_seconds", "When the process started", started)?;
        for (name, help, value) in [
            ("process_max_fds", "Descriptors that may be open", descriptors_max),
            ("process_open_fds", "Descriptors that are open", descriptors),
            ("process_resident_memory_bytes", "Memory that is resident", resident_bytes),
        ] {
            if let Some(value) = value {
                gauge(to, name, help, [(NONE, value)])?;
            }
        }
        Ok(())
    }
}

impl Collector for Families {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_listeners(&mut to)?;
        self.of_datagrams(&mut to)?;
        self.of_upstreams(&mut to)?;
        self.of_names(&mut to)?;
        self.of_process(&mut to)
    }
}

fn counter<L: EncodeLabelSet, V: EncodeCounterValue>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, V)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    series.into_iter().try_for_each(|(labels, value)| {
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    })
}

fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, V)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    series
        .into_iter()
        .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
}

fn histogram<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (L, Spans)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    let bounds = || BUCKETS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
    series.into_iter().try_for_each(|(labels, Spans { counts, sum })| {
        let buckets: Vec<_> = bounds().zip(counts).collect();
        let (sum, count) = (sum.as_secs_f64(), counts.iter().sum());
        let mut series = family.encode_family(&labels)?;
        series.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    })
}

/// Labels whose words nobody else keeps.
fn labelled<const N: usize>(
    names: [&'static str; N],
    words: [String; N],
) -> [(&'static str, String); N] {
    let mut words = words.into_iter();
    names.map(|name| (name, words.next().unwrap_or_default()))
}

/// Labels of an endpoint.
fn at(upstream: &str, addr: String) -> [(&'static str, String); 2] {
    labelled(["upstream", "endpoint"], [upstream.to_owned(), addr])
}

fn unix_time(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
