//! What of the figures would hurt, how, and the line that mends it.
//!
//! Pure. Invariant: whatever is not well has a line to mend it.

use std::net::{IpAddr, SocketAddr};

use super::host::{Figures, Holder, Transport};
use crate::config::{self, Bind, Config, Count, Endpoint, Protocol, SpliceMode, Upstream};
use crate::core::addr::Addr;

/// Of capabilities(7), as a bit.
const NET_BIND_SERVICE: u64 = 1 << 10;

/// Fewer connections than this are few for a proxy that anybody looks after.
const CONNECTIONS_FEW: u64 = 10_000;
/// What a unit of ours asks for.
const DESCRIPTORS_GOOD: u64 = 524_288;
/// What listen(2) is asked for unless the configuration says something else.
const BACKLOG: u64 = 4096;
/// Pipes of full length, without which bulk is copied.
const PIPES_FEW: u64 = 32;
const PIPE_BYTES: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;
/// How long a port rests behind a connection that we ended: TIME_WAIT of tcp(7).
const REST_SECONDS: u64 = 60;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok,
    /// It hurts under load, or somebody.
    Warn,
    /// It does not work.
    Fail,
}

/// What was looked at, and what is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) what: &'static str,
    pub(super) text: String,
    /// Lines of shell, or of a unit.
    pub(super) mend: Vec<String>,
}

impl Finding {
    pub(super) fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, text: text.into(), mend: Vec::new() }
    }

    pub(super) fn warn(what: &'static str, text: impl Into<String>, mend: &[&str]) -> Self {
        let mend = mend.iter().map(|line| (*line).to_owned()).collect();
        Self { level: Level::Warn, what, text: text.into(), mend }
    }

    pub(super) fn fail(what: &'static str, text: impl Into<String>, mend: &[&str]) -> Self {
        Self { level: Level::Fail, ..Self::warn(what, text, mend) }
    }
}

/// Judges the figures, for a configuration if there is one.
pub(super) fn figures(host: &Figures, config: Option<&Config>) -> Vec<Finding> {
    let judged = [
        Some(descriptors(host, config)),
        backlog(host, config),
        tw_reuse(host, config),
        pipes(host, config),
        conntrack(host, config),
        ipv6(host, config),
        name_servers(host, config),
    ];
    let ports =
        config.map_or_else(|| port_range(host).into_iter().collect(), |config| ports(host, config));
    judged.into_iter().flatten().chain(ports).collect()
}

fn asked_for(config: Option<&Config>) -> Count {
    config.map_or(Count::Auto, |config| config.server.max_connections)
}

fn descriptors(host: &Figures, config: Option<&Config>) -> Finding {
    let what = "open files";
    let Some(limit) = host.descriptors else { return Finding::ok(what, "no limit") };
    let addresses = config.map_or(1, |config| {
        config.listeners.iter().map(|listener| listener.bind.len()).sum::<usize>()
    });
    let workers = config.map_or(1, |config| config.server.workers.or(1));
    let doors = config.map_or(0, |config| config.admin.doors());
    let reserved = config::descriptors_reserved(workers, addresses, doors, 0);
    let room = limit.saturating_sub(u64::try_from(reserved).unwrap_or(u64::MAX)) / 2;
    let text = format!("the limit of {limit} has room for {room} connections");
    let wanted = match asked_for(config) {
        Count::Auto => CONNECTIONS_FEW,
        Count::Fixed(wanted) => u64::try_from(wanted).unwrap_or(u64::MAX),
    };
    let good = DESCRIPTORS_GOOD.max(wanted.saturating_mul(2).saturating_add(1024));
    let mend = [
        format!("LimitNOFILE={good}                # in [Service] of the unit"),
        format!(
            "ulimit -n {good}                  # in a shell; docker run --ulimit nofile={good}"
        ),
    ];
    let mend = [mend[0].as_str(), mend[1].as_str()];
    if room == 0 {
        Finding::fail(what, text, &mend)
    } else if room < wanted {
        let wanted = match asked_for(config) {
            Count::Auto => String::new(),
            Count::Fixed(wanted) => format!(", and max_connections asks for {wanted}"),
        };
        Finding::warn(what, text + &wanted, &mend)
    } else {
        Finding::ok(what, text)
    }
}

fn backlog(host: &Figures, config: Option<&Config>) -> Option<Finding> {
    let what = "somaxconn";
    let somaxconn = host.somaxconn?;
    let backlog = config.map_or(BACKLOG, |config| config.tcp.backlog.into());
    Some(if somaxconn < backlog {
        let text = format!(
            "{somaxconn}: shorter queues of new connections than the {backlog} that are asked for"
        );
        Finding::warn(what, text, &[&format!("sysctl -w net.core.somaxconn={backlog}")])
    } else {
        Finding::ok(what, format!("{somaxconn}"))
    })
}

/// Whether any connection goes to another host.
fn goes_out(config: Option<&Config>) -> bool {
    let is_local = |endpoint: &Endpoint| match endpoint {
        Endpoint::Addr(Addr::Inet(addr)) => addr.ip().is_loopback(),
        Endpoint::Addr(Addr::Unix(_)) => true,
        Endpoint::Name { host, .. } => host.eq_ignore_ascii_case("localhost"),
        Endpoint::Srv(_) | Endpoint::File(_) => false,
    };
    config.is_some_and(|config| {
        let entries = config.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        entries.map(|entry| &entry.endpoint).any(|endpoint| !is_local(endpoint))
    })
}

fn tw_reuse(host: &Figures, config: Option<&Config>) -> Option<Finding> {
    let what = "tcp_tw_reuse";
    let value = host.tw_reuse?;
    let (from, to) = host.ports.unwrap_or((32_768, 60_999));
    let rate = (u64::from(to.saturating_sub(from)) + 1) / REST_SECONDS;
    let text = format!(
        "{value}: a port rests for {REST_SECONDS} s behind each connection that we end, so that one endpoint takes no \
         more than {rate} new ones a second"
    );
    let mend = ["sysctl -w net.ipv4.tcp_tw_reuse=1"];
    Some(match value {
        0 => Finding::warn(what, text, &mend),
        // On loopback alone.
        2 if goes_out(config) => Finding::warn(what, text, &mend),
        _ => Finding::ok(what, format!("{value}")),
    })
}

fn pipes(host: &Figures, config: Option<&Config>) -> Option<Finding> {
    let what = "pipes";
    let splice = config.map(|config| &config.splice);
    if splice.is_some_and(|splice| splice.mode == SpliceMode::Off) {
        return None;
    }
    let bytes =
        splice.map_or(PIPE_BYTES, |splice| splice.pipe_bytes.try_into().unwrap_or(PIPE_BYTES));
    // CAP_SYS_RESOURCE, which lifts both limits (pipe(7)), is given up by `run`.
    if let Some(longest) = host.pipe_bytes.filter(|longest| *longest < bytes) {
        let text = format!("{longest} bytes at most, and {bytes} are asked for");
        return Some(Finding::warn(what, text, &[&format!("sysctl -w fs.pipe-max-size={bytes}")]));
    }
    let pages = host.pipe_pages.filter(|pages| *pages > 0)?;
    let each = (bytes / PAGE_BYTES).max(1);
    let count = pages / each;
    let text = format!("{pages} pages a user: {count} pipes of {bytes} bytes");
    Some(if count < PIPES_FEW {
        let good = (PIPES_FEW * 2).saturating_mul(each);
        Finding::warn(what, text, &[&format!("sysctl -w fs.pipe-user-pages-soft={good}")])
    } else {
        Finding::ok(what, text)
    })
}

fn conntrack(host: &Figures, config: Option<&Config>) -> Option<Finding> {
    let what = "conntrack";
    let (count, max) = host.conntrack?;
    let text = format!("{count} of {max} entries are in use");
    let wanted = match asked_for(config) {
        Count::Auto => CONNECTIONS_FEW,
        Count::Fixed(wanted) => u64::try_from(wanted).unwrap_or(u64::MAX),
    };
    // One for each side of a connection.
    let needed = wanted.saturating_mul(2).saturating_add(count);
    let good = needed.max(max.saturating_mul(2));
    let mend = format!("sysctl -w net.netfilter.nf_conntrack_max={good}");
    Some(if count >= max / 20 * 19 {
        let text = text + ": new connections are dropped, of everybody";
        Finding::fail(what, text, &[&mend])
    } else if needed > max {
        let text = format!("{text}, and {wanted} connections take two each");
        Finding::warn(what, text, &[&mend])
    } else {
        Finding::ok(what, text)
    })
}

fn ipv6(host: &Figures, config: Option<&Config>) -> Option<Finding> {
    let what = "IPv6";
    if host.has_ipv6 {
        return Some(Finding::ok(what, "on"));
    }
    let config = config?;
    let bound = config.listeners.iter().flat_map(|listener| &listener.bind);
    let bound = bound.filter_map(Bind::inet).find(SocketAddr::is_ipv6);
    let entries = config.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let reached = entries.filter_map(|entry| inet(&entry.endpoint)).find(SocketAddr::is_ipv6);
    let mend = ["sysctl -w net.ipv6.conf.all.disable_ipv6=0"];
    Some(match (bound, reached) {
        (Some(bound), _) => Finding::fail(what, format!("off: {bound} cannot be bound"), &mend),
        (None, Some(reached)) => {
            Finding::fail(what, format!("off: {reached} cannot be reached"), &mend)
        }
        (None, None) => Finding::ok(what, "off, and nobody asks for it"),
    })
}

fn inet(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Addr(addr) => addr.inet(),
        Endpoint::Name { .. } | Endpoint::Srv(_) | Endpoint::File(_) => None,
    }
}

fn name_servers(host: &Figures, config: Option<&Config>) -> Option<Finding> {
    let what = "name servers";
    let is_name = |upstream: &Upstream| {
        upstream.endpoints.iter().any(|entry| match &entry.endpoint {
            Endpoint::Name { .. } | Endpoint::Srv(_) => true,
            Endpoint::Addr(_) | Endpoint::File(_) => false,
        })
    };
    let asks = config.is_some_and(|config| config.upstreams.iter().any(is_name));
    Some(match host.name_servers {
        0 if asks => {
            let text = "/etc/resolv.conf has none, and there are names among the endpoints";
            Finding::warn(
                what,
                text,
                &["echo 'nameserver 192.0.2.53' >> /etc/resolv.conf    # yours"],
            )
        }
        0 => Finding::ok(what, "none"),
        count => Finding::ok(what, format!("{count}")),
    })
}

fn port_range(host: &Figures) -> Option<Finding> {
    let (from, to) = host.ports?;
    Some(Finding::ok(RANGE, format!("{from} to {to}")))
}

const RANGE: &str = "port range";

/// Whether connections go out from this port without being asked to.
fn is_outgoing(host: &Figures, port: u16) -> bool {
    let is_within = |(from, to): (u16, u16)| (from..=to).contains(&port);
    host.ports.is_some_and(is_within) && !host.reserved_ports.iter().copied().any(is_within)
}

fn ports(host: &Figures, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let reserve = |port: u16| {
        let mut all: Vec<_> = host
            .reserved_ports
            .iter()
            .map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") })
            .collect();
        all.push(port.to_string());
        format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", all.join(","))
    };
    let binds = config.listeners.iter().flat_map(|listener| &listener.bind).filter_map(Bind::inet);
    for bind in binds.filter(|bind| is_outgoing(host, bind.port())) {
        let text = format!(
            "{bind} is among the ports that connections go out from: one that does takes it away"
        );
        found.push(Finding::warn(RANGE, text, &[&reserve(bind.port())]));
    }
    let entries = config.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let here = entries.filter_map(|entry| inet(&entry.endpoint));
    for addr in here.filter(|addr| addr.ip().is_loopback() && is_outgoing(host, addr.port())) {
        let text = format!(
            "{addr} is among the ports that connections go out from: while nobody listens there, they may meet themselves"
        );
        found.push(Finding::warn(RANGE, text, &[&reserve(addr.port())]));
    }
    if let (Some((from, to)), Count::Fixed(wanted)) = (host.ports, config.server.max_connections) {
        let each = usize::from(to.saturating_sub(from)) + 1;
        for upstream in &config.upstreams {
            let is_numeric =
                |entry: &config::Entry| matches!(entry.endpoint, Endpoint::Addr(Addr::Inet(_)));
            let count = upstream.endpoints.iter().filter(|entry| is_numeric(entry)).count();
            if count == upstream.endpoints.len() && count * each < wanted {
                let text = format!(
                    "{from} to {to} are ports for {} connections to `{}`, and max_connections is {wanted}",
                    count * each,
                    upstream.name
                );
                let mend =
                    "sysctl -w net.ipv4.ip_local_port_range='10240 65535'    # or more endpoints";
                found.push(Finding::warn(RANGE, text, &[mend]));
            }
        }
    }
    if found.is_empty() {
        found.extend(port_range(host));
    }
    found
}

/// Judges who holds the ports that are to be bound, and whether they may be.
pub(super) fn binds(host: &Figures, config: &Config, holders: &[Holder]) -> Vec<Finding> {
    let mut found = Vec::new();
    let ports = config.listeners.iter().flat_map(|listener| {
        let transport = match listener.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        listener.bind.iter().filter_map(Bind::inet).map(move |addr| (addr, transport))
    });
    let doors = config.admin.listen.map(|addr| (addr, Transport::Tcp));
    for (addr, transport) in ports.chain(doors).filter(|(addr, _)| addr.port() != 0) {
        let may_bind = host.capabilities & NET_BIND_SERVICE != 0
            || host.unprivileged.is_none_or(|first| addr.port() >= first);
        let is_there = |holder: &&Holder| {
            holder.transport == transport
                && holder.addr.port() == addr.port()
                && overlap(holder.addr.ip(), addr.ip())
        };
        let holder = holders.iter().find(is_there);
        found.push(match holder.map(|holder| &holder.process) {
            Some(Some(process)) if process.name == "ppserver" => {
                let text = format!("{addr}: ppserver itself, process {}", process.pid);
                Finding::ok(PORTS, text)
            }
            Some(Some(process)) => {
                let unit = process.unit.as_ref().map(|unit| format!(", {unit}"));
                let text = format!(
                    "{addr}: {} listens there (process {}{})",
                    process.name,
                    process.pid,
                    unit.unwrap_or_default()
                );
                let mend = match &process.unit {
                    Some(unit) => format!("systemctl disable --now {unit}"),
                    None => format!("kill {}", process.pid),
                };
                Finding::fail(PORTS, text, &[&mend])
            }
            Some(None) => {
                let text = format!("{addr}: somebody listens there whom this user may not see");
                let port = addr.port();
                Finding::fail(PORTS, text, &[&format!("sudo ss -lnp 'sport = :{port}'")])
            }
            None if !may_bind => {
                let text = format!("{addr}: this user may not bind it");
                let mend = [
                    "AmbientCapabilities=CAP_NET_BIND_SERVICE    # in [Service] of the unit",
                    "setcap cap_net_bind_service+ep /usr/local/bin/ppserver",
                ];
                Finding::fail(PORTS, text, &mend)
            }
            None => Finding::ok(PORTS, format!("{addr} is free")),
        });
    }
    found
}

const PORTS: &str = "ports";

/// Whether sockets at both stand in each other's way: `[::]` of ours is IPv6 alone, and that of others mostly is not.
fn overlap(theirs: IpAddr, ours: IpAddr) -> bool {
    match (theirs.is_ipv4(), ours.is_ipv4()) {
        (true, true) | (false, false) => {
            theirs == ours || theirs.is_unspecified() || ours.is_unspecified()
        }
        (false, true) => theirs.is_unspecified(),
        (true, false) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::Process;
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("config_version = 1\n{text}");
        let host = config::Host::default();
        config::from_bytes("test".to_owned(), text.as_bytes(), host).unwrap().config
    }

    /// A host on which all is well.
    fn well() -> Figures {
        Figures {
            descriptors: Some(DESCRIPTORS_GOOD),
            somaxconn: Some(4096),
            ports: Some((32_768, 60_999)),
            reserved_ports: Vec::new(),
            unprivileged: Some(1024),
            pipe_pages: Some(16_384),
            pipe_bytes: Some(PIPE_BYTES),
            tw_reuse: Some(2),
            conntrack: None,
            has_ipv6: true,
            name_servers: 1,
            capabilities: 0,
        }
    }

    const EDGE: &str = "[[listener]]\nname = 'edge'\nbind = ['0.0.0.0:8443', '[::]:8443']\nupstream = 'app'\n\
                        [upstream.app]\nendpoints = ['127.0.0.1:8080']\n";

    /// What is not well, and how bad.
    #[track_caller]
    fn ill(host: &Figures, config: Option<&Config>) -> Vec<(Level, &'static str)> {
        let found = figures(host, config).into_iter().filter(|it| it.level != Level::Ok);
        found
            .map(|it| {
                assert!(!it.mend.is_empty(), "{it:?}");
                (it.level, it.what)
            })
            .collect()
    }

    #[test]
    fn a_host_on_which_all_is_well_is_left_in_peace() {
        let unread = Figures { has_ipv6: true, ..Figures::default() };
        for (host, config) in [(well(), None), (well(), Some(&config(EDGE))), (unread, None)] {
            assert!(ill(&host, config).is_empty(), "{host:?}");
        }
    }

    #[test]
    fn each_figure_that_hurts_is_found() {
        let fixed = config(&format!("server.max_connections = 100000\n{EDGE}"));
        let far = config(&EDGE.replace("127.0.0.1:8080", "10.0.0.7:8080"));
        let near = config(&EDGE.replace("127.0.0.1:8080", "127.0.0.1:40000"));
        let named = config(&EDGE.replace("127.0.0.1:8080", "app.internal:8080"));
        let high = config(&EDGE.replace("8443", "40443"));
        let (w, f) = (Level::Warn, Level::Fail);
        for (host, config, expected) in [
            (Figures { descriptors: Some(1024), ..well() }, None, &[(w, "open files")][..]),
            (Figures { descriptors: Some(64), ..well() }, None, &[(f, "open files")]),
            (
                Figures { descriptors: Some(65_536), ..well() },
                Some(&fixed),
                &[(w, "open files"), (w, RANGE)],
            ),
            (Figures { somaxconn: Some(128), ..well() }, None, &[(w, "somaxconn")]),
            (Figures { tw_reuse: Some(0), ..well() }, None, &[(w, "tcp_tw_reuse")]),
            (well(), Some(&far), &[(w, "tcp_tw_reuse")]),
            (Figures { pipe_pages: Some(1024), ..well() }, None, &[(w, "pipes")]),
            (Figures { pipe_bytes: Some(65_536), ..well() }, None, &[(w, "pipes")]),
            (Figures { conntrack: Some((10, 262_144)), ..well() }, Some(&fixed), &[(w, RANGE)]),
            (Figures { conntrack: Some((10, 8192)), ..well() }, None, &[(w, "conntrack")]),
            (Figures { conntrack: Some((8000, 8192)), ..well() }, None, &[(f, "conntrack")]),
            (Figures { has_ipv6: false, ..well() }, None, &[]),
            (Figures { has_ipv6: false, ..well() }, Some(&near), &[(f, "IPv6"), (w, RANGE)]),
            (
                Figures { name_servers: 0, ..well() },
                Some(&named),
                &[(w, "tcp_tw_reuse"), (w, "name servers")],
            ),
            (well(), Some(&near), &[(w, RANGE)]),
            (well(), Some(&high), &[(w, RANGE), (w, RANGE)]),
            (Figures { reserved_ports: vec![(40_000, 40_500)], ..well() }, Some(&high), &[]),
        ] {
            assert_eq!(ill(&host, config), expected, "{host:?}");
        }
    }

    #[test]
    fn the_line_that_reserves_a_port_keeps_those_that_are() {
        let near = config(&EDGE.replace("127.0.0.1:8080", "127.0.0.1:40000"));
        let host = Figures { reserved_ports: vec![(8080, 8080), (9148, 9150)], ..well() };
        let found = ports(&host, &near);
        let line = "sysctl -w net.ipv4.ip_local_reserved_ports=8080,9148-9150,40000";
        assert_eq!(found[0].mend, [line]);
    }

    fn holder(addr: &str, name: &str, unit: Option<&str>) -> Holder {
        let process = Process { pid: 7, name: name.to_owned(), unit: unit.map(str::to_owned) };
        Holder::of(addr.parse().unwrap(), Some(process))
    }

    #[test]
    fn who_holds_a_port_is_named_with_the_line_that_ends_it() {
        let edge = config(EDGE);
        let nginx = [holder("0.0.0.0:8443", "nginx", Some("nginx.service"))];
        let found = binds(&well(), &edge, &nginx);
        assert_eq!((found[0].level, found[1].level), (Level::Fail, Level::Ok));
        assert!(found[0].text.contains("nginx") && found[0].text.contains("process 7"));
        assert_eq!(found[0].mend, ["systemctl disable --now nginx.service"]);

        let by_hand = binds(&well(), &edge, &[holder("127.0.0.1:8443", "nc", None)]);
        assert_eq!(by_hand[0].mend, ["kill 7"]);
        let itself = binds(&well(), &edge, &[holder("[::]:8443", "ppserver", None)]);
        assert!(itself.iter().all(|it| it.level == Level::Ok), "{itself:?}");
        let unseen = [Holder::of("[::1]:8443".parse().unwrap(), None)];
        assert_eq!(binds(&well(), &edge, &unseen)[1].level, Level::Fail);
        let dual = binds(&well(), &edge, &[holder("[::]:8443", "docker-proxy", None)]);
        assert!(dual.iter().all(|it| it.level == Level::Fail), "it takes IPv4 too: {dual:?}");
        let elsewhere = [holder("0.0.0.0:8444", "nginx", None)];
        assert!(binds(&well(), &edge, &elsewhere).iter().all(|it| it.level == Level::Ok));
    }

    #[test]
    fn a_low_port_takes_a_capability() {
        let low = config(&EDGE.replace("8443", "443"));
        let levels = |host: &Figures| binds(host, &low, &[])[0].level;
        assert_eq!(levels(&well()), Level::Fail);
        assert_eq!(levels(&Figures { capabilities: NET_BIND_SERVICE, ..well() }), Level::Ok);
        assert_eq!(levels(&Figures { unprivileged: Some(80), ..well() }), Level::Ok);
    }
}
