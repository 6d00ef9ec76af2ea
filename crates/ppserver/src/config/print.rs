//! A configuration as TOML, with every default filled in.
//!
//! What is printed is what is in effect: keys that change nothing (`trust` of a listener that
//! accepts no headers) and a listener's times that are those of `[timeouts]` are left out. Invariant: the text reads back as the same value, without a
//! error.

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use pptrust::Networks;

use super::address::{SOURCE_CLIENT, TRUST_UNIX};
use super::choice::CheckKind;
use super::units::{format_bytes, format_duration, format_size};
use super::{
    CONFIG_VERSION, Check, CheckPolicy, Choice, Config, Count, Endpoint, Entry, EntrySend,
    Exchange, HeaderMode, Health, Limits, Listener, Output, Passive, PerClient, Presence, Protocol,
    Route, Sending, Source, Timeouts, TlvPass, TlvSet, TlvValue, Toggle, Upstream, Version,
    Versions, Way, defaults,
};
use crate::core::route::{Name, Pattern, When};
use pptrust::{Peers, Shortest};

/// The effective configuration, as `check --effective` shows it.
impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "config_version = {CONFIG_VERSION}")?;
        process(self, f)?;
        timeouts(self, f)?;
        sockets(self, f)?;
        for listener in &self.listeners {
            self::listener(listener, self, f)?;
        }
        self.upstreams.iter().try_for_each(|upstream| self::upstream(upstream, f))
    }
}

fn process(config: &Config, f: &mut impl Write) -> fmt::Result {
    writeln!(f, "\n[server]")?;
    writeln!(f, "workers = {}", count(config.server.workers))?;
    writeln!(f, "max_connections = {}", count(config.server.max_connections))?;
    writeln!(f, "shutdown_grace = {}", quoted(format_duration(config.server.shutdown_grace)))?;
    writeln!(f, "lame_duck = {}", quoted(format_duration(config.server.lame_duck)))?;

    let listen = config.admin.listen.map_or(String::new(), |addr| addr.to_string());
    let socket = config.admin.socket.as_deref().map_or(String::new(), path);
    writeln!(f, "\n[admin]")?;
    writeln!(f, "listen = {}", quoted(listen))?;
    writeln!(f, "socket = {}", quoted(socket))?;

    writeln!(f, "\n[log]")?;
    writeln!(f, "level = {}", word(config.log.level))?;
    writeln!(f, "format = {}", word(config.log.format))?;
    writeln!(f, "output = {}", quoted(defaults::LOG_OUTPUT))?;

    let output = match &config.access_log.output {
        Output::Stdout => "stdout".to_owned(),
        Output::Stderr => "stderr".to_owned(),
        Output::File(file) => format!("file:{}", path(file)),
    };
    writeln!(f, "\n[access_log]")?;
    writeln!(f, "enabled = {}", config.access_log.state.is_on())?;
    writeln!(f, "output = {}", quoted(output))?;
    writeln!(f, "format = {}", word(config.access_log.format))?;
    writeln!(f, "log_probes = {}", Toggle::from(config.access_log.probes).is_on())?;
    let tlvs = config.access_log.tlvs.iter().map(|tlv| match tlv.name() {
        Some(name) => quoted(name),
        None => tlv.to_string(),
    });
    writeln!(f, "tlvs = [{}]", list(tlvs))
}

fn sockets(config: &Config, f: &mut impl Write) -> fmt::Result {
    let keepalive = &config.tcp.keepalive;
    let (idle, interval) = (keepalive.idle, keepalive.interval);
    writeln!(f, "\n[tcp]")?;
    writeln!(f, "nodelay = {}", config.tcp.nodelay.is_on())?;
    writeln!(
        f,
        "keepalive = {{ idle = {}, interval = {}, count = {} }}",
        quoted(format_duration(idle)),
        quoted(format_duration(interval)),
        keepalive.count
    )?;
    writeln!(f, "defer_accept = {}", config.tcp.defer_accept.is_on())?;
    writeln!(f, "backlog = {}", config.tcp.backlog)?;

    writeln!(f, "\n[splice]")?;
    writeln!(f, "mode = {}", word(config.splice.mode))?;
    writeln!(f, "pipe_size = {}", quoted(format_size(config.splice.pipe_bytes)))?;
    writeln!(f, "max_pipes = {}", count(config.splice.max_pipes))
}

fn listener(listener: &Listener, config: &Config, f: &mut impl Write) -> fmt::Result {
    let upstreams = &config.upstreams;
    let upstream = upstreams.get(listener.upstream).ok_or(fmt::Error)?;
    writeln!(f, "\n[[listener]]")?;
    writeln!(f, "name = {}", quoted(&listener.name))?;
    writeln!(f, "bind = [{}]", list(listener.bind.iter().map(quoted)))?;
    writeln!(f, "protocol = {}", word(listener.protocol))?;
    writeln!(f, "upstream = {}", quoted(&upstream.name))?;
    writeln!(f, "unix_mode = {}", quoted(format!("{:04o}", listener.unix_mode)))?;
    writeln!(f, "responses = {}", listener.udp.responses)?;
    writeln!(f, "dont_fragment = {}", word(listener.udp.dont_fragment))?;

    writeln!(f, "\n[listener.proxy_protocol]")?;
    match &listener.accept {
        HeaderMode::Off => writeln!(f, "accept = {}", word::<Option<Presence>>(None))?,
        HeaderMode::Headers(policy) => {
            writeln!(f, "accept = {}", word(Some(policy.presence)))?;
            let versions = match policy.versions {
                Versions::V1 => word(Version::V1),
                Versions::V2 => word(Version::V2),
                Versions::Both => list([word(Version::V1), word(Version::V2)]),
                Versions::Spp => word(Version::Spp),
            };
            writeln!(f, "versions = [{versions}]")?;
            writeln!(f, "v1_families = {}", word(policy.v1_families))?;
            writeln!(f, "silent = {}", word(policy.silent))?;
            match &policy.trust {
                Peers::Any => writeln!(f, "trust = \"any\"")?,
                Peers::Networks(networks) => {
                    let networks = networks.iter().map(|network| quoted(Shortest(network)));
                    let unix = policy.trust_unix.is_on().then(|| quoted(TRUST_UNIX));
                    writeln!(f, "trust = [{}]", list(networks.chain(unix)))?;
                }
                Peers::Nobody => writeln!(f, "trust = [{}]", quoted(TRUST_UNIX))?,
            }
            writeln!(f, "untrusted = {}", word(policy.untrusted))?;
            writeln!(f, "local = {}", word(policy.local))?;
            writeln!(f, "header_max = {}", quoted(format_size(policy.header_bytes_max)))?;
            writeln!(f, "crc32c = {}", word(policy.crc32c))?;
            writeln!(f, "datagrams = {}", word(policy.datagrams))?;
        }
    }
    listener_timeouts(&listener.timeouts, &config.timeouts, f)?;
    limits(&listener.limits, f)?;
    listener.routes.iter().try_for_each(|route| self::route(route, upstreams, f))
}

fn limits(limits: &Limits, f: &mut impl Write) -> fmt::Result {
    let Limits { connections, flows, rate, per_client } = limits;
    writeln!(f, "\n[listener.limits]")?;
    writeln!(f, "connections = {connections}")?;
    writeln!(f, "flows = {flows}")?;
    writeln!(f, "rate = {rate}")?;
    let PerClient { connections, rate, burst, ipv6_prefix } = per_client;
    writeln!(
        f,
        "per_client = {{ connections = {connections}, rate = {rate}, burst = {burst}, ipv6_prefix = {ipv6_prefix} }}"
    )
}

fn route(route: &Route, upstreams: &[Upstream], f: &mut impl Write) -> fmt::Result {
    writeln!(f, "\n[[listener.route]]")?;
    writeln!(f, "when = {}", when(&route.when))?;
    match route.way {
        Way::To(upstream) => {
            let upstream = upstreams.get(upstream).ok_or(fmt::Error)?;
            writeln!(f, "upstream = {}", quoted(&upstream.name))
        }
        Way::Deny => writeln!(f, "deny = true"),
    }
}

fn when(when: &When) -> String {
    let When { client, peer, tlvs, sni, alpn } = when;
    let networks = |key: &str, networks: &Option<Networks>| {
        let networks = networks.as_ref()?.iter().map(|network| quoted(Shortest(network)));
        Some(format!("{key} = [{}]", list(networks)))
    };
    let tlv = |(kind, patterns): &(u8, Vec<Pattern>)| {
        format!("\"0x{kind:02X}\" = [{}]", list(patterns.iter().map(pattern)))
    };
    let tlvs = (!tlvs.is_empty()).then(|| format!("tlv = {{ {} }}", list(tlvs.iter().map(tlv))));
    let name = |name: &Name| match name {
        Name::Exact(name) => quoted(name),
        Name::Below(apex) => quoted(format_args!("*.{apex}")),
    };
    let sni = (!sni.is_empty()).then(|| format!("sni = [{}]", list(sni.iter().map(name))));
    let alpn = (!alpn.is_empty()).then(|| format!("alpn = [{}]", list(alpn.iter().map(quoted))));
    let keys = [networks("client", client), networks("peer", peer), tlvs, sni, alpn];
    match list(keys.into_iter().flatten()).as_str() {
        "" => "{}".to_owned(),
        keys => format!("{{ {keys} }}"),
    }
}

fn pattern(pattern: &Pattern) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match pattern {
        Pattern::Present => quoted("*"),
        Pattern::Id(text) => quoted(text),
        Pattern::IdPrefix(text) => quoted(format_args!("{text}*")),
        // Not every one is a number of TOML.
        Pattern::Number(number) => quoted(number),
        Pattern::Bytes(bytes) => quoted(format_args!("hex:{}", hex(bytes))),
        Pattern::BytesPrefix(bytes) => quoted(format_args!("hex:{}*", hex(bytes))),
    }
}

fn timeouts(config: &Config, f: &mut impl Write) -> fmt::Result {
    writeln!(f, "\n[timeouts]")?;
    times(config.timeouts.by_key(), f)
}

/// Those that are other than the base.
fn listener_timeouts(timeouts: &Timeouts, base: &Timeouts, f: &mut impl Write) -> fmt::Result {
    let base = base.by_key();
    let own: Vec<_> = timeouts.by_key().into_iter().filter(|it| !base.contains(it)).collect();
    if own.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n[listener.timeouts]")?;
    times(own, f)
}

fn times(
    times: impl IntoIterator<Item = (&'static str, Protocol, Duration)>,
    f: &mut impl Write,
) -> fmt::Result {
    let mut times = times.into_iter();
    times.try_for_each(|(key, _, time)| writeln!(f, "{key} = {}", quoted(format_duration(time))))
}

fn upstream(upstream: &Upstream, f: &mut impl Write) -> fmt::Result {
    let name = &upstream.name;
    writeln!(f, "\n[upstream.{name}]")?;
    writeln!(f, "endpoints = [{}]", list(upstream.endpoints.iter().map(entry)))?;
    writeln!(f, "balance = {}", word(upstream.balance))?;
    writeln!(f, "retries = {}", upstream.retries)?;
    let source = match upstream.source {
        Source::Any => String::new(),
        Source::Addr(addr) => addr.to_string(),
        Source::Client => SOURCE_CLIENT.to_owned(),
    };
    writeln!(f, "source = {}", quoted(source))?;
    let Passive { failures, eject, max } = upstream.passive;
    let (eject, max) = (quoted(format_duration(eject)), quoted(format_duration(max)));
    writeln!(f, "passive = {{ failures = {failures}, eject = {eject}, max = {max} }}")?;
    let (min, max) = (format_duration(upstream.dns.min), format_duration(upstream.dns.max));
    writeln!(f, "dns = {{ min = {}, max = {} }}", quoted(min), quoted(max))?;
    sending(upstream, f)?;
    health(upstream, f)
}

fn sending(upstream: &Upstream, f: &mut impl Write) -> fmt::Result {
    let name = &upstream.name;
    writeln!(f, "\n[upstream.{name}.proxy_protocol]")?;
    let Sending { version, destination, tlv_pass, tlv_set, crc32c, datagrams } = &upstream.send;
    writeln!(f, "send = {}", word(*version))?;
    let most = upstream.most_sent();
    if most.is_some() {
        writeln!(f, "destination = {}", word(*destination))?;
    }
    if most == Some(Version::V2) {
        match tlv_pass {
            TlvPass::All => writeln!(f, "tlv_pass = \"all\"")?,
            TlvPass::Types(types) => {
                let types = types.iter().map(|kind| format!("0x{kind:02X}"));
                writeln!(f, "tlv_pass = [{}]", list(types))?;
            }
        }
        writeln!(f, "tlv_set = [{}]", list(tlv_set.iter().map(tlv)))?;
        writeln!(f, "crc32c = {}", Toggle::from(*crc32c).is_on())?;
        writeln!(f, "datagrams = {}", word(*datagrams))?;
    }
    Ok(())
}

fn health(upstream: &Upstream, f: &mut impl Write) -> fmt::Result {
    let Health { check, slow_start, on_down } = &upstream.health;
    writeln!(f, "\n[upstream.{}.health]", upstream.name)?;
    match check {
        Check::Off => writeln!(f, "check = {}", word::<Option<CheckKind>>(None))?,
        Check::On(CheckPolicy { exchange, proxy, interval, timeout, rise, fall }) => {
            let kind = if exchange.is_some() { CheckKind::Exchange } else { CheckKind::Tcp };
            writeln!(f, "check = {}", word(Some(kind)))?;
            if let Some(Exchange { send, expect }) = exchange {
                writeln!(f, "send = {}", quoted(format_bytes(send)))?;
                writeln!(f, "expect = {}", quoted(format_bytes(expect)))?;
            }
            writeln!(f, "proxy = {}", word(*proxy))?;
            writeln!(f, "interval = {}", quoted(format_duration(*interval)))?;
            writeln!(f, "timeout = {}", quoted(format_duration(*timeout)))?;
            writeln!(f, "rise = {rise}")?;
            writeln!(f, "fall = {fall}")?;
        }
    }
    writeln!(f, "slow_start = {}", quoted(format_duration(*slow_start)))?;
    writeln!(f, "on_down = {}", word(*on_down))
}

/// An address, or a table where there is more to say.
fn entry(entry: &Entry) -> String {
    let Entry { endpoint, weight, backup, connections_max, send } = entry;
    let endpoint = match endpoint {
        Endpoint::Addr(_) | Endpoint::Name { .. } if *entry == Entry::plain(endpoint.clone()) => {
            return quoted(endpoint);
        }
        Endpoint::Addr(_) | Endpoint::Name { .. } => format!("address = {}", quoted(endpoint)),
        Endpoint::Srv(name) => format!("srv = {}", quoted(name)),
        Endpoint::File(file) => format!("file = {}", quoted(path(file))),
    };
    let backup = backup.is_on();
    let send = match send {
        EntrySend::Inherited => String::new(),
        EntrySend::Own(version) => format!(", send = {}", word(*version)),
    };
    format!(
        "{{ {endpoint}, weight = {weight}, backup = {backup}, max_connections = {connections_max}{send} }}"
    )
}

fn tlv(set: &TlvSet) -> String {
    let kind = set.kind;
    match &set.value {
        TlvValue::Bytes(bytes) => {
            format!("{{ type = 0x{kind:02X}, value = {} }}", quoted(format_bytes(bytes)))
        }
        TlvValue::From(source) => {
            format!("{{ type = 0x{kind:02X}, from = {} }}", quoted(source.word()))
        }
    }
}

fn count(count: Count) -> String {
    match count {
        Count::Auto => quoted("auto"),
        Count::Fixed(count) => count.to_string(),
    }
}

fn word<T: Choice>(value: T) -> String {
    quoted(value.word())
}

/// A TOML string, with whatever it holds escaped; a dollar is written twice, so that it names no variable.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string().replace('$', "$$")).to_string()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn list(elements: impl IntoIterator<Item = String>) -> String {
    elements.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::config::{Host, from_bytes};

    #[test]
    fn times_stand_in_their_table_and_those_of_listeners_that_are_other_ones_with_them() {
        let text = "config_version = 1\n[timeouts]\nidle = '9s'\nconnect = '8s'\n\
            [[listener]]\nname = 'a'\nbind = ['127.0.0.1:1']\nupstream = 'u'\n\
            [listener.timeouts]\nidle = '7s'\nconnect = '8s'\n\
            [[listener]]\nname = 'b'\nbind = ['127.0.0.1:2']\nupstream = 'u'\n\
            [upstream.u]\nendpoints = ['127.0.0.1:3']\n";
        let loaded = from_bytes("f".into(), text.as_bytes(), Host::default());
        let printed = loaded.expect("it has no error").config.to_string();
        let base = "\n[timeouts]\nheader = \"3s\"\ntls_hello = \"3s\"\nconnect = \"8s\"\n\
            idle = \"9s\"\nhalf_closed = \"1m\"\nflow = \"1m\"\nflow_unanswered = \"5s\"\n\n[tcp]\n";
        assert!(printed.contains(base), "{printed}");
        let own: Vec<_> = printed.split("[listener.timeouts]\n").skip(1).collect();
        assert_eq!(own.len(), 1, "{printed}");
        assert!(own[0].starts_with("idle = \"7s\"\n\n"), "{printed}");
    }
}
