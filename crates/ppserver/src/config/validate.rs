//! Draft to [`Config`]: what no single key can know, such as names that must be unique and names
//! that must exist.
//!
//! Both ways in (file and flags) end here, so that both obey the same rules. Invariant: a `Config`
//! is built only from a draft in which every listener has a name, and every upstream that is named exists.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::choice::{CheckKind, Choice};
use super::codes::Code;
use super::diagnostics::{Diagnostics, Place, Quote};
use super::parse::{At, Written};
use super::{
    AccessLog, Admin, Balance, Bind, Check, CheckPolicy, Config, Dns, Endpoint, Entry, Exchange,
    HeaderMode, Health, Host, Limits, Listener, Log, OnDown, Passive, PerClient, Protocol, Route,
    Sending, Server, Source, Splice, Tcp, Timeouts, Udp, Upstream, Version, Way, lint,
};
use crate::core::addr::Addr;
use crate::core::route::When;

/// Names and files that are followed; a tenth of it is a lot.
const NAMES_MAX: usize = 1024;

/// Everything that was read, with its places, before it is known to fit together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) server: Written<Server>,
    pub(super) admin: AdminDraft,
    pub(super) log: Log,
    pub(super) access_log: Written<AccessLog>,
    /// `[timeouts]`, which those of the listeners hold already.
    pub(super) timeouts: Written<Timeouts>,
    pub(super) tcp: Tcp,
    pub(super) splice: Written<Splice>,
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) upstreams: Vec<UpstreamDraft>,
}

/// `[admin]`, before its address is known to be nobody else's.
#[derive(Debug, Default)]
pub(super) struct AdminDraft {
    pub(super) listen: Option<At<SocketAddr>>,
    pub(super) socket: Option<PathBuf>,
}

impl Draft {
    /// Every address of a protocol that is listened on, as far as they are known.
    fn addrs(&self, protocol: Protocol) -> impl Iterator<Item = (Addr, &Place)> {
        let admin = self.admin.listen.iter().filter(move |_| protocol == Protocol::Tcp);
        let admin = admin.map(|addr| (addr.value.into(), &addr.place));
        let listeners = self.listeners.iter();
        let listeners = listeners.filter(move |listener| listener.protocol.value == protocol);
        let binds = listeners.flat_map(|listener| &listener.bind);
        binds.filter_map(|bind| Some((bind.value.addr()?, &bind.place))).chain(admin)
    }

    fn binds(&self) -> impl Iterator<Item = &At<Bind>> {
        self.listeners.iter().flat_map(|listener| &listener.bind)
    }
}

/// A listener whose upstream is still a name.
#[derive(Debug)]
pub(super) struct ListenerDraft {
    /// `None` after a fault.
    pub(super) name: Option<At<String>>,
    pub(super) bind: Vec<At<Bind>>,
    pub(super) protocol: At<Protocol>,
    pub(super) udp: Written<Udp>,
    /// `None` after a fault.
    pub(super) upstream: Option<At<String>>,
    pub(super) unix_mode: At<u32>,
    /// `None` after a fault.
    pub(super) accept: Written<Option<HeaderMode>>,
    /// The entries of `trust` as they were written.
    pub(super) trusted: Vec<At<IpNet>>,
    pub(super) timeouts: Written<Timeouts>,
    pub(super) limits: Written<Limits>,
    /// Its part for each client.
    pub(super) per_client: Written<PerClient>,
    pub(super) routes: Vec<RouteDraft>,
}

impl ListenerDraft {
    /// The names of all upstreams that its connections may go to.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = &At<String>> {
        self.upstream.iter().chain(self.routes.iter().filter_map(|route| match &route.way {
            Some(WayDraft::To(upstream)) => Some(upstream),
            Some(WayDraft::Deny) | None => None,
        }))
    }

    /// Whether its connections may go to the upstream of this name.
    pub(super) fn may_use(&self, upstream: &str) -> bool {
        self.upstreams().any(|used| used.value == upstream)
    }
}

/// A route whose upstream is still a name.
#[derive(Debug)]
pub(super) struct RouteDraft {
    pub(super) place: Place,
    /// `None` after a fault.
    pub(super) when: Written<Option<When>>,
    /// Its networks as they were written.
    pub(super) networks: Vec<At<IpNet>>,
    /// `None` after a fault.
    pub(super) way: Option<WayDraft>,
}

/// Where a route leads.
#[derive(Debug)]
pub(super) enum WayDraft {
    To(At<String>),
    Deny,
}

/// An upstream with its places.
#[derive(Debug)]
pub(super) struct UpstreamDraft {
    pub(super) name: At<String>,
    pub(super) endpoints: Vec<EntryDraft>,
    pub(super) balance: Balance,
    pub(super) retries: At<usize>,
    pub(super) source: At<Source>,
    pub(super) passive: Written<Passive>,
    pub(super) dns: Written<Dns>,
    pub(super) send: Written<Sending>,
    /// The entries of `tlv_pass` as they were written.
    pub(super) passed: Vec<At<u8>>,
    pub(super) health: Written<HealthDraft>,
}

/// `health` with all that was written, also what no check needs.
#[derive(Debug)]
pub(super) struct HealthDraft {
    /// `None` is no check.
    pub(super) kind: Option<CheckKind>,
    pub(super) exchange: Exchange,
    /// Without its exchange.
    pub(super) policy: CheckPolicy,
    pub(super) slow_start: Duration,
    pub(super) on_down: OnDown,
}

/// As of a table that is not there.
impl Default for HealthDraft {
    fn default() -> Self {
        let Health { check: _, slow_start, on_down } = Health::default();
        let exchange = Exchange { send: Vec::new(), expect: Vec::new() };
        Self { kind: None, exchange, policy: CheckPolicy::default(), slow_start, on_down }
    }
}

impl HealthDraft {
    fn health(self) -> Health {
        let Self { kind, exchange, policy, slow_start, on_down } = self;
        let check = match kind {
            None => Check::Off,
            Some(CheckKind::Tcp) => Check::On(policy),
            Some(CheckKind::Exchange) => {
                Check::On(CheckPolicy { exchange: Some(exchange), ..policy })
            }
        };
        Health { check, slow_start, on_down }
    }
}

impl UpstreamDraft {
    /// Returns the version that holds most of those that are sent.
    pub(super) fn most_sent(&self) -> Option<Version> {
        most_sent(self.send.value.version, &self.endpoints)
    }

    /// Returns what its endpoints are sent.
    fn sent(&self) -> impl Iterator<Item = Option<Version>> {
        let version = self.send.value.version;
        self.endpoints.iter().map(move |draft| draft.entry.value.send.or(version))
    }
}

/// Returns the version that holds most of those that are sent to `endpoints`, whose upstream's is `version`.
pub(super) fn most_sent(version: Option<Version>, endpoints: &[EntryDraft]) -> Option<Version> {
    let sent = endpoints.iter().map(|draft| draft.entry.value.send.or(version));
    sent.max().unwrap_or(version)
}

/// An entry of `endpoints`, and where its address stands.
#[derive(Debug)]
pub(super) struct EntryDraft {
    pub(super) entry: Written<Entry>,
    pub(super) place: Place,
}

impl EntryDraft {
    /// One with nothing but its address.
    pub(super) fn plain(endpoint: At<Endpoint>) -> Self {
        let entry = Written::new(Entry::plain(endpoint.value), Vec::new());
        Self { entry, place: endpoint.place }
    }
}

/// Checks the draft as a whole. An answer is of use only if no fault is an error.
pub(super) fn config(draft: Draft, host: Host, faults: &mut Diagnostics) -> Option<Config> {
    let names = draft.listeners.iter().filter_map(|listener| listener.name.as_ref());
    check_unique("listener name", names.map(|name| (&name.value, &name.place)), faults);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        // The kernel chooses another port for each 0.
        let is_known = |addr: &Addr| addr.inet().is_none_or(|addr| addr.port() != 0);
        let addrs = draft.addrs(protocol).filter(|(addr, _)| is_known(addr));
        check_unique("address", addrs, faults);
        check_overlaps(&draft, protocol, faults);
    }
    let inherited = draft.binds().filter(|bind| bind.value.addr().is_none());
    check_unique("bind", inherited.map(|bind| (&bind.value, &bind.place)), faults);
    check_upstreams(&draft, faults);
    check_protocols(&draft, faults);
    check_checks(&draft, faults);
    check_names(&draft, faults);
    lint::check(&draft, host, faults);
    build(draft)
}

fn check_unique<'d, T: Copy + Eq + Hash + std::fmt::Display>(
    what: &str,
    list: impl Iterator<Item = (T, &'d Place)>,
    faults: &mut Diagnostics,
) {
    let mut first: HashMap<T, &Place> = HashMap::new();
    for (item, place) in list {
        if let Some(earlier) = first.get(&item) {
            faults
                .add(Code::Duplicate, place.clone(), format!("the {what} `{item}` is used twice"))
                .with_help("give each its own")
                .with_first(earlier);
        } else {
            first.insert(item, place);
        }
    }
}

/// The kernel refuses an address beside the wildcard of its family on the same port.
fn check_overlaps(draft: &Draft, protocol: Protocol, faults: &mut Diagnostics) {
    let inet = draft.addrs(protocol).filter_map(|(addr, place)| Some((addr.inet()?, place)));
    let (wild, single): (Vec<_>, Vec<_>) = inet.partition(|(addr, _)| addr.ip().is_unspecified());
    for (addr, place) in single.into_iter().filter(|(addr, _)| addr.port() != 0) {
        let is_over =
            |wild: &SocketAddr| wild.port() == addr.port() && wild.is_ipv4() == addr.is_ipv4();
        let Some((wild, first)) = wild.iter().find(|(wild, _)| is_over(wild)) else { continue };
        let message = format!("`{addr}` is part of `{wild}`");
        faults
            .add(Code::Duplicate, place.clone(), message)
            .with_help("remove one of them, or give it another port")
            .with_first(first);
    }
}

fn check_upstreams(draft: &Draft, faults: &mut Diagnostics) {
    let names = || draft.upstreams.iter().map(|upstream| upstream.name.value.as_str());
    for used in draft.listeners.iter().flat_map(ListenerDraft::upstreams) {
        let name = used.value.as_str();
        if names().any(|known| known == name) {
            continue;
        }
        let message = format!("there is no upstream `{name}`");
        faults
            .add(Code::UnknownUpstream, used.place.clone(), message)
            .with_help(format!("add [upstream.{name}] with endpoints = [\"host:port\"]"))
            .with_nearest(name, names(), Quote::Double);
    }
}

/// What connections and datagrams do not share.
fn check_protocols(draft: &Draft, faults: &mut Diagnostics) {
    for listener in &draft.listeners {
        let protocol = listener.protocol.value;
        let is_inet = |bind: &&At<Bind>| bind.value.addr().is_some_and(|it| it.inet().is_some());
        let others = listener.bind.iter().filter(|bind| !is_inet(bind));
        for bind in others.filter(|_| protocol == Protocol::Udp) {
            let message = format!("`{}` is no socket of datagrams", bind.value);
            faults
                .add(Code::NotSupported, bind.place.clone(), message)
                .with_help("an address with a port: bind = [\"0.0.0.0:53\"]");
        }
        for used in listener.upstreams() {
            let of_name = |upstream: &&UpstreamDraft| upstream.name.value == used.value;
            let Some(upstream) = draft.upstreams.iter().find(of_name) else { continue };
            let is_unix = |draft: &EntryDraft| matches!(&draft.entry.value.endpoint, Endpoint::Addr(addr) if addr.inet().is_none());
            if protocol == Protocol::Udp && upstream.endpoints.iter().any(is_unix) {
                let message = format!("a UNIX socket of `{}` takes no datagrams", used.value);
                faults
                    .add(Code::BadValue, used.place.clone(), message)
                    .with_help("make an upstream for each protocol");
            }
            if protocol == Protocol::Udp && upstream.source.value == Source::Client {
                let message = format!("`{}` is to see its clients' addresses", used.value);
                faults
                    .add(Code::NotSupported, used.place.clone(), message)
                    .with_help("datagrams leave from ours: tell the client in a header");
            }
            let (version, what) = match protocol {
                Protocol::Tcp => (Version::Spp, "connections"),
                Protocol::Udp => (Version::V1, "datagrams"),
            };
            if upstream.sent().any(|sent| sent == Some(version)) {
                let word = version.word();
                let message = format!("`{}` is sent {word}, which {what} do not carry", used.value);
                faults
                    .add(Code::BadValue, used.place.clone(), message)
                    .with_help("make an upstream for each protocol");
            }
        }
    }
}

/// What is checked is checked as its clients come.
fn check_checks(draft: &Draft, faults: &mut Diagnostics) {
    for upstream in &draft.upstreams {
        let name = &upstream.name.value;
        let table = &upstream.health;
        let users = || draft.listeners.iter().filter(|listener| listener.may_use(name));
        let is_of = |protocol| users().any(|listener| listener.protocol.value == protocol);
        if !is_of(Protocol::Udp) {
            continue;
        }
        let (message, help) = match (table.value.kind, is_of(Protocol::Tcp)) {
            (Some(CheckKind::Tcp), false) => (
                format!("`{name}` takes datagrams alone, and a check that connects finds nobody"),
                "check = \"exchange\" sends a datagram (`send`) and waits for one; or \"off\"",
            ),
            (Some(CheckKind::Exchange), true) => (
                format!(
                    "`{name}` takes connections and datagrams, and an exchange is over one of them"
                ),
                "make an upstream for each protocol, or check = \"tcp\"",
            ),
            (Some(CheckKind::Exchange), false) if table.value.exchange.send.is_empty() => (
                format!("nobody answers a datagram of `{name}`'s check in which nothing is asked"),
                "add a question: send = \"hex:...\"",
            ),
            (Some(CheckKind::Tcp | CheckKind::Exchange) | None, _) => continue,
        };
        faults.add(Code::BadValue, table.place_of("check"), message).with_help(help);
    }
}

/// Each is a task of its own, and asks servers that are others'.
fn check_names(draft: &Draft, faults: &mut Diagnostics) {
    let mut names = HashSet::new();
    for upstream in &draft.upstreams {
        for EntryDraft { entry, place } in &upstream.endpoints {
            let endpoint = &entry.value.endpoint;
            if endpoint.is_followed()
                && names.insert((endpoint.to_string(), upstream.dns.value))
                && names.len() == NAMES_MAX + 1
            {
                let message = format!("there are more than {NAMES_MAX} names and files");
                faults
                    .add(Code::BadValue, place.clone(), message)
                    .with_help("a name may stand for many endpoints, and a file have many lines");
            }
        }
    }
}

fn build(draft: Draft) -> Option<Config> {
    let mut indices = HashMap::new();
    for (index, upstream) in draft.upstreams.iter().enumerate() {
        indices.insert(upstream.name.value.clone(), index);
    }
    let route = |route: RouteDraft| {
        let way = match route.way? {
            WayDraft::To(upstream) => Way::To(*indices.get(&upstream.value)?),
            WayDraft::Deny => Way::Deny,
        };
        Some(Route { when: route.when.value?, way })
    };
    let listener = |listener: ListenerDraft| {
        Some(Listener {
            name: listener.name?.value,
            bind: listener.bind.into_iter().map(|bind| bind.value).collect(),
            protocol: listener.protocol.value,
            udp: listener.udp.value,
            upstream: *indices.get(&listener.upstream?.value)?,
            unix_mode: listener.unix_mode.value,
            accept: listener.accept.value?,
            timeouts: listener.timeouts.value,
            limits: Limits { per_client: listener.per_client.value, ..listener.limits.value },
            routes: listener.routes.into_iter().map(route).collect::<Option<_>>()?,
        })
    };
    let upstream = |upstream: UpstreamDraft| Upstream {
        name: upstream.name.value,
        endpoints: upstream.endpoints.into_iter().map(|draft| draft.entry.value).collect(),
        balance: upstream.balance,
        retries: upstream.retries.value,
        source: upstream.source.value,
        passive: upstream.passive.value,
        dns: upstream.dns.value,
        send: upstream.send.value,
        health: upstream.health.value.health(),
    };
    Some(Config {
        server: draft.server.value,
        admin: Admin {
            listen: draft.admin.listen.map(|addr| addr.value),
            socket: draft.admin.socket,
        },
        log: draft.log,
        access_log: draft.access_log.value,
        timeouts: draft.timeouts.value,
        tcp: draft.tcp,
        splice: draft.splice.value,
        listeners: draft.listeners.into_iter().map(listener).collect::<Option<_>>()?,
        upstreams: draft.upstreams.into_iter().map(upstream).collect(),
    })
}
