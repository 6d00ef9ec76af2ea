//! Any configuration reads back as it was printed, and no text panics.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use ppcore::tlv;
use pptrust::Networks;
use proptest::prelude::*;

use super::{BROKEN, EXAMPLE, FULL_SHAPE, check};
use crate::config::*;
use crate::core::addr::{Addr, UnixName};
use crate::core::route::{Name, Pattern};
use pptrust::Peers;

fn duration(range: RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn timeout() -> impl Strategy<Value = Duration> {
    duration(1..=366 * 86_400_000)
}

fn count(max: usize) -> impl Strategy<Value = Count> {
    prop_oneof![Just(Count::Auto), (1..=max).prop_map(Count::Fixed)]
}

fn choice<T: Choice + fmt::Debug>() -> impl Strategy<Value = T> {
    (0..T::WORDS.len()).prop_map(|index| T::WORDS[index].1)
}

fn toggle() -> impl Strategy<Value = Toggle> {
    prop_oneof![Just(Toggle::Off), Just(Toggle::On)]
}

fn ip() -> impl Strategy<Value = IpAddr> {
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    prop_oneof![any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))), v6]
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,64}"
}

fn networks() -> impl Strategy<Value = Networks> {
    let network = (ip(), 0..=128u8).prop_map(|(ip, len)| match ip {
        IpAddr::V4(_) => IpNet::new(ip, len % 33).unwrap(),
        IpAddr::V6(_) => IpNet::new(ip, len).unwrap(),
    });
    prop::collection::vec(network, 1..8).prop_map(|networks| Networks::new(networks).unwrap())
}

fn trust() -> impl Strategy<Value = (Peers, Toggle)> {
    let listed = (networks().prop_map(Peers::Networks), toggle());
    prop_oneof![Just((Peers::Any, Toggle::On)), Just((Peers::Nobody, Toggle::On)), listed]
}

fn accept() -> impl Strategy<Value = HeaderMode> {
    let datagrams = choice::<Datagrams>();
    let versions = prop_oneof![Just(Versions::V1), Just(Versions::V2), Just(Versions::Both)];
    let versions = (versions, choice::<V1Families>(), choice::<Silent>());
    let words =
        (choice::<Untrusted>(), choice::<LocalPolicy>(), choice::<ChecksumPolicy>(), datagrams);
    (choice::<Option<Presence>>(), versions, trust(), words, 16..=65_551usize).prop_map(
        |(presence, (versions, v1_families, silent), trust, words, header_bytes_max)| match presence
        {
            None => HeaderMode::Off,
            Some(presence) => HeaderMode::Headers(HeaderPolicy {
                presence,
                versions,
                v1_families,
                silent,
                trust: trust.0,
                trust_unix: trust.1,
                untrusted: words.0,
                local: words.1,
                header_bytes_max,
                crc32c: words.2,
                datagrams: words.3,
            }),
        },
    )
}

fn send() -> impl Strategy<Value = Sending> {
    let types = prop::collection::btree_set(any::<u8>().prop_filter("crc", |n| *n != 3), 0..6);
    let types = types.prop_map(|types| TlvPass::Types(types.into_iter().collect()));
    let tlv_pass = prop_oneof![Just(TlvPass::All), types];
    let crc32c = prop_oneof![Just(ChecksumSent::WhenReceived), Just(ChecksumSent::Always)];
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        ".{0,20}".prop_map(String::into_bytes),
        "hex:[0-9]{0,3}".prop_map(String::into_bytes),
    ];
    let value = prop_oneof![bytes.prop_map(TlvValue::Bytes), choice().prop_map(TlvValue::From)];
    let kind = any::<u8>().prop_filter("ours", |kind| !matches!(kind, 3 | 4 | 0x20..=0x28));
    let tlv = (kind, value).prop_map(|(kind, value)| match (kind, value) {
        (5, TlvValue::From(_)) => TlvSet { kind, value: TlvValue::From(TlvSource::Id) },
        (_, value) => TlvSet { kind, value },
    });
    let tlv_set = prop::collection::vec(tlv, 0..4);
    let tlvs = (tlv_pass, tlv_set, crc32c);
    (of_connections(), choice::<Destination>(), tlvs, choice::<Datagrams>()).prop_map(
        |(version, destination, (tlv_pass, tlv_set, crc32c), datagrams)| Sending {
            version,
            destination,
            tlv_pass,
            tlv_set,
            crc32c,
            datagrams,
        },
    )
}

fn of_connections() -> impl Strategy<Value = Option<Version>> {
    prop_oneof![Just(None), Just(Some(Version::V1)), Just(Some(Version::V2))]
}

/// What says nothing of the versions that are sent is not there.
fn sent_by(upstream: Upstream) -> Upstream {
    let (most, send) = (upstream.most_sent(), upstream.send);
    let Sending { version, destination, .. } = send;
    let send = match most {
        None => Sending::of(version),
        Some(Version::V1 | Version::Spp) => Sending { destination, ..Sending::of(version) },
        Some(Version::V2) => send,
    };
    Upstream { send, ..upstream }
}

fn health() -> impl Strategy<Value = Health> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let exchange = (bytes(), bytes()).prop_map(|(send, expect)| Exchange { send, expect });
    let interval = duration(100..=86_400_000);
    let rows = (1..=1_000u32, 1..=1_000u32);
    let policy = (prop::option::of(exchange), choice(), interval, duration(1..=600_000), rows);
    let policy = policy.prop_map(|(exchange, proxy, interval, timeout, (rise, fall))| {
        Check::On(CheckPolicy { exchange, proxy, interval, timeout, rise, fall })
    });
    let check = prop_oneof![Just(Check::Off), policy];
    (check, duration(0..=86_400_000), choice()).prop_map(|(check, slow_start, on_down)| Health {
        check,
        slow_start,
        on_down,
    })
}

/// A link-local address stands on some interface.
fn on_interface(ip: IpAddr, port: u16) -> SocketAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => SocketAddrV6::new(ip, port, 0, 2).into(),
        IpAddr::V6(_) | IpAddr::V4(_) => SocketAddr::new(ip.to_canonical(), port),
    }
}

/// Whether a connection can come from it.
fn is_source(ip: &IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !is_link_local && single_host(SocketAddr::new(ip, 1)).is_ok()
}

fn unix_name() -> impl Strategy<Value = UnixName> {
    let name = "[/@][^\0]{1,20}".prop_filter("no variable", |name| !name.contains("${"));
    name.prop_map(|name| UnixName::new(&name).unwrap())
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let port = || 1..=u16::MAX;
    let is_host = |ip: &IpAddr| {
        let is_broadcast = *ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
    };
    let host = ip().prop_filter("one host", is_host);
    let addr = (host, port()).prop_map(|(ip, port)| Endpoint::Addr(on_interface(ip, port).into()));
    let name = ("[a-z][a-z0-9-]{0,20}(\\.[a-z]{1,8}){0,3}\\.?", port());
    let srv = "_[a-z]{1,8}\\._tcp(\\.[a-z]{1,8}){1,3}\\.?".prop_map(Endpoint::Srv);
    let file = "[^\0]{1,20}".prop_filter("no variable", |path| !path.contains("${"));
    let file = file.prop_map(|path| Endpoint::File(PathBuf::from(path)));
    let unix = unix_name().prop_map(|name| Endpoint::Addr(Addr::Unix(name)));
    let name = name.prop_map(|(host, port)| Endpoint::Name { host, port });
    prop_oneof![addr, unix, name, srv, file]
}

fn dns() -> impl Strategy<Value = Dns> {
    let seconds = || (1..=366 * 86_400u64).prop_map(Duration::from_secs);
    (seconds(), seconds()).prop_map(|(one, other)| Dns { min: one.min(other), max: one.max(other) })
}

fn upstreams() -> impl Strategy<Value = Vec<Upstream>> {
    let own = of_connections().prop_map(EntrySend::Own);
    let send_to = prop_oneof![Just(EntrySend::Inherited), own];
    let entry = (endpoint(), 0..=1_000u32, toggle(), 0..=262_144u32, send_to);
    let entry = entry.prop_map(|(endpoint, weight, backup, connections_max, send)| Entry {
        endpoint,
        weight,
        backup,
        connections_max,
        send,
    });
    let plain = endpoint().prop_map(Entry::plain);
    let endpoints = prop::collection::vec(prop_oneof![plain, entry], 1..5);
    let spans = (100..=86_400_000u64, 100..=86_400_000u64);
    let passive = (0..=1_000u32, spans).prop_map(|(failures, (one, other))| Passive {
        failures,
        eject: Duration::from_millis(one.min(other)),
        max: Duration::from_millis(one.max(other)),
    });
    let source = prop_oneof![
        Just(Source::Any),
        Just(Source::Client),
        ip().prop_filter("one host", is_source).prop_map(|ip| Source::Addr(ip.to_canonical())),
    ];
    let body = (endpoints, choice(), (0..=15usize, source), passive, dns(), send(), health());
    prop::collection::btree_map(name(), body, 1..5).prop_map(|map| {
        let upstream =
            |(name, (endpoints, balance, (retries, source), passive, dns, send, health))| {
                Upstream { name, endpoints, balance, retries, source, passive, dns, send, health }
            };
        map.into_iter().map(upstream).map(sent_by).collect()
    })
}

fn pattern(kind: u8) -> BoxedStrategy<Pattern> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..6);
    let any_kind = prop_oneof![
        Just(Pattern::Present),
        bytes().prop_map(Pattern::Bytes),
        bytes().prop_map(Pattern::BytesPrefix),
    ];
    let text = || "[^*]{1,8}".prop_filter("no scheme", |text| !text.starts_with("hex:"));
    let text = || text().prop_filter("no variable", |text| !text.contains("${"));
    match kind {
        tlv::AZURE => {
            prop_oneof![any_kind, any::<u32>().prop_map(|it| Pattern::Number(it.into()))].boxed()
        }
        tlv::GCP => prop_oneof![any_kind, any::<u64>().prop_map(Pattern::Number)].boxed(),
        _ => {
            prop_oneof![any_kind, text().prop_map(Pattern::Id), text().prop_map(Pattern::IdPrefix),]
                .boxed()
        }
    }
}

/// To the upstreams of these indices, of which some do not exist.
fn routes() -> impl Strategy<Value = Vec<Route>> {
    let kind = prop_oneof![any::<u8>(), Just(tlv::AZURE), Just(tlv::GCP), Just(tlv::AWS)];
    let patterns = |kind| (Just(kind), prop::collection::vec(pattern(kind), 1..3));
    let tlvs = prop::collection::vec(kind.prop_flat_map(patterns), 0..3);
    let tlvs = tlvs.prop_map(|mut tlvs| {
        tlvs.sort_by_key(|(kind, _)| *kind);
        tlvs.dedup_by_key(|(kind, _)| *kind);
        tlvs
    });
    let set = || prop::option::of(networks());
    let host = || "[a-z][a-z0-9]{0,9}(\\.[a-z]{1,5}){0,2}";
    let name = prop_oneof![host().prop_map(Name::Exact), host().prop_map(Name::Below)];
    let (sni, alpn) = (prop::collection::vec(name, 0..3), prop::collection::vec("[^$]{1,9}", 0..3));
    let when = (set(), set(), tlvs, sni, alpn);
    let when =
        when.prop_map(|(client, peer, tlvs, sni, alpn)| When { client, peer, tlvs, sni, alpn });
    let way = prop_oneof![Just(Way::Deny), any::<usize>().prop_map(Way::To)];
    let route = (when, way).prop_map(|(when, way)| Route { when, way });
    prop::collection::vec(route, 0..4)
}

fn limits() -> impl Strategy<Value = Limits> {
    let rate = || 0..=1_000_000u32;
    let per_client = (0..=262_144u32, rate(), rate(), 1..=128u8);
    let per_client = per_client.prop_map(|(connections, rate, burst, ipv6_prefix)| PerClient {
        connections,
        rate,
        burst,
        ipv6_prefix,
    });
    let limits = (0..=262_144u32, 1..=1_048_576u32, rate(), per_client);
    limits.prop_map(|(connections, flows, rate, per_client)| Limits {
        connections,
        flows,
        rate,
        per_client,
    })
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let times = (timeout(), timeout(), timeout(), timeout(), timeout(), timeout(), timeout());
    times.prop_map(|(header, tls_hello, connect, idle, half_closed, flow, flow_unanswered)| {
        Timeouts { header, tls_hello, connect, idle, half_closed, flow, flow_unanswered }
    })
}

fn listeners() -> impl Strategy<Value = Vec<Listener>> {
    let udp = (choice::<Protocol>(), 0..=65_535u32, choice::<DontFragment>()).prop_map(
        |(protocol, responses, dont_fragment)| (protocol, Udp { responses, dont_fragment }),
    );
    let bind = prop::collection::vec(prop::option::weighted(0.8, ip()), 1..4);
    let mode = 0o600..=0o777u32;
    let body = (bind, udp, any::<usize>(), mode, accept(), timeouts(), limits(), routes());
    prop::collection::btree_map(name(), body, 1..5).prop_map(|map| {
        let mut port = 0;
        // Without an address it is a socket that is passed.
        let mut bind = |ip: Option<IpAddr>| {
            port += 1;
            ip.map_or_else(
                || Bind::Inherited(format!("socket {port}")),
                |ip| Bind::Addr(on_interface(ip, port).into()),
            )
        };
        map.into_iter()
            .map(
                |(
                    name,
                    (ips, (protocol, udp), upstream, mode, accept, timeouts, limits, routes),
                )| {
                    let unix_mode = mode;
                    Listener {
                        name,
                        bind: ips.into_iter().map(&mut bind).collect(),
                        protocol,
                        udp,
                        upstream,
                        unix_mode,
                        accept,
                        timeouts,
                        limits,
                        routes,
                    }
                },
            )
            .collect()
    })
}

/// Makes one of datagrams, where it is to be one and its ports and upstreams can be.
fn of_its_protocol(listener: &mut Listener, upstreams: &[Upstream]) {
    let is_fit = |upstream: &Upstream| {
        let mut sent = upstream.endpoints.iter().map(|it| it.send.or(upstream.send.version));
        let mut addrs = upstream.endpoints.iter().filter_map(|it| match &it.endpoint {
            Endpoint::Addr(addr) => Some(addr),
            Endpoint::Name { .. } | Endpoint::Srv(_) | Endpoint::File(_) => None,
        });
        addrs.all(|addr| addr.inet().is_some())
            && upstream.source != Source::Client
            && !sent.any(|version| version == Some(Version::V1))
            && matches!(&upstream.health.check, Check::Off)
    };
    let is_inet = |bind: &Bind| bind.addr().is_some_and(|addr| addr.inet().is_some());
    if !listener.bind.iter().all(is_inet) || !listener.upstreams().all(|at| is_fit(&upstreams[at]))
    {
        listener.protocol = Protocol::Tcp;
    }
    if let (Protocol::Udp, HeaderMode::Headers(policy)) = (listener.protocol, &mut listener.accept)
    {
        policy.versions = match policy.versions {
            Versions::V1 => Versions::Spp,
            Versions::V2 | Versions::Both | Versions::Spp => Versions::V2,
        };
    }
}

fn output() -> impl Strategy<Value = Output> {
    let path = "[^\0]{1,20}".prop_map(|path| Output::File(PathBuf::from(path)));
    prop_oneof![Just(Output::Stdout), Just(Output::Stderr), path]
}

fn admin() -> impl Strategy<Value = Admin> {
    let listen = prop::option::of(ip().prop_map(|ip| on_interface(ip, 0)));
    let path = "[^\0]{1,20}".prop_filter("no variable", |path| !path.contains("${"));
    let path = path.prop_filter("no scheme", |path| !path.starts_with("unix:"));
    (listen, prop::option::of(path.prop_map(PathBuf::from)))
        .prop_map(|(listen, socket)| Admin { listen, socket })
}

fn any_config() -> impl Strategy<Value = Config> {
    let span = || duration(0..=366 * 86_400_000);
    let server = (count(256), count(262_144), span(), span());
    let server = server.prop_map(|(workers, max_connections, shutdown_grace, lame_duck)| Server {
        workers,
        max_connections,
        shutdown_grace,
        lame_duck,
    });
    let log = (choice(), choice()).prop_map(|(level, format)| Log { level, format });
    let probes = prop_oneof![Just(Probes::Counted), Just(Probes::Logged)];
    let tlv = prop_oneof![
        any::<u8>().prop_map(LoggedTlv::Type),
        (0x21..=0x23u8).prop_map(LoggedTlv::InSsl),
    ];
    let tlvs = prop::collection::hash_set(tlv, 0..4);
    let access_log = (toggle(), output(), choice(), probes, tlvs);
    let access_log = access_log.prop_map(|(state, output, format, probes, tlvs)| {
        let tlvs = tlvs.into_iter().collect();
        AccessLog { state, output, format, probes, tlvs }
    });
    let seconds = || (1..=32_767u64).prop_map(Duration::from_secs);
    let keepalive = (seconds(), seconds(), 1..=127u32)
        .prop_map(|(idle, interval, count)| Keepalive { idle, interval, count });
    let tcp = (toggle(), keepalive, toggle(), 1..=65_535u32).prop_map(
        |(nodelay, keepalive, defer_accept, backlog)| Tcp {
            nodelay,
            keepalive,
            defer_accept,
            backlog,
        },
    );
    let splice = (choice(), 4096..=1_048_576usize, count(65_536))
        .prop_map(|(mode, pipe_bytes, max_pipes)| Splice { mode, pipe_bytes, max_pipes });
    (server, admin(), log, access_log, timeouts(), tcp, splice, listeners(), upstreams()).prop_map(
        |(server, admin, log, access_log, timeouts, tcp, splice, mut listeners, upstreams)| {
            for listener in &mut listeners {
                listener.upstream %= upstreams.len();
                for route in &mut listener.routes {
                    if let Way::To(upstream) = &mut route.way {
                        *upstream %= upstreams.len();
                    }
                }
                of_its_protocol(listener, &upstreams);
            }
            Config { server, admin, log, access_log, timeouts, tcp, splice, listeners, upstreams }
        },
    )
}

/// Words and signs that TOML is made of, in any order.
const TOML_LIKE: &str = "([a-z_]{1,6}|[\\[\\]{}=,.\"'#\n 0-9]|é|\\[\\[listener\\]\\]\n){0,60}";

/// What an edit puts in.
const INSERTED: &[&str] =
    &["", "[", "]", "[[", "\"", "'", "=", "\n", "#", "{", "}", ",", "é", "\0", "0", "x = 1\n"];

/// Whatever the text is, all its forms of answer can be made, and they agree.
fn judge(bytes: &[u8]) {
    let outcome = from_bytes("f.toml".into(), bytes, Host::default());
    let (is_ok, report) = match &outcome {
        Ok(loaded) => (true, &loaded.warnings),
        Err(report) => (false, report),
    };
    assert_eq!(is_ok, !report.has_errors());
    let (errors, warnings) = report.to_json();
    assert_eq!(errors.len() + warnings.len() == 0, report.is_empty());
    assert_eq!(report.render(Colour::Off).is_empty(), report.is_empty());
    assert_eq!(report.render(Colour::On).is_empty(), report.is_empty());
    if let Ok(loaded) = &outcome {
        assert_eq!(check(&loaded.config.to_string()).unwrap().config, loaded.config);
    }
}

proptest! {
    #[test]
    fn a_printed_configuration_reads_back_as_itself(config in any_config()) {
        let text = config.to_string();
        match check(&text) {
            Ok(loaded) => prop_assert_eq!(loaded.config, config),
            Err(report) => prop_assert!(false, "{}\n{}", text, report.render(Colour::Off)),
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        judge(&bytes);
    }

    #[test]
    fn no_toml_like_text_panics(text in TOML_LIKE) {
        judge(text.as_bytes());
    }

    #[test]
    fn no_mutated_file_panics(
        file in prop::sample::select(vec![EXAMPLE, FULL_SHAPE, BROKEN]),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..12usize, prop::sample::select(INSERTED)),
            1..6,
        ),
    ) {
        let mut bytes = file.as_bytes().to_vec();
        for (at, removed, inserted) in edits {
            let start = at.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, inserted.bytes());
        }
        judge(&bytes);
    }
}
