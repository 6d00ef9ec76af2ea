//! Endpoints that lead back to a listener: through its own address, or through a wildcard that takes every
//! address of this host.
//!
//! Where a listener takes no headers and relays to itself, each connection opens another until one client has
//! every slot: that is an error. Elsewhere headers and trust may end the round, one listener may be meant to
//! lead to another, and an address of this host that is not loopback may be somebody else's for whoever
//! connects from here, as where IPVS puts the addresses of services on an interface: a warning. Sockets that are
//! passed have addresses that nobody knows here.

use std::cell::LazyCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::codes::Code;
use crate::config::diagnostics::{Diagnostics, Place, Report};
use crate::config::validate::{Draft, ListenerDraft, UpstreamDraft};
use crate::config::{Bind, Config, Endpoint, Entry, HeaderMode, Host, Listener};
use crate::core::addr::Addr;

/// An address that is listened on.
struct Port<'a> {
    listener: &'a str,
    bind: Addr,
    /// Whether the listener relays to the upstream in question.
    is_user: bool,
    takes_headers: bool,
}

/// The networks and addresses of this host, looked up when the first endpoint asks.
type Own = LazyCell<Vec<IpNet>, fn() -> Vec<IpNet>>;

pub(super) fn check(draft: &Draft, host: Host, faults: &mut Diagnostics) {
    let own = Own::new(host.own_networks);
    for upstream in &draft.upstreams {
        check_upstream(draft, upstream, &own, faults);
    }
}

fn check_upstream(draft: &Draft, upstream: &UpstreamDraft, own: &Own, faults: &mut Diagnostics) {
    let users = || draft.listeners.iter().filter(|it| it.may_use(&upstream.name.value));
    let is_reached =
        |listener: &&ListenerDraft| users().any(|it| it.protocol.value == listener.protocol.value);
    let ports = || {
        draft.listeners.iter().filter(is_reached).flat_map(|listener| {
            let is_user = listener.may_use(&upstream.name.value);
            let addrs = listener.bind.iter().filter_map(|bind| bind.value.addr());
            addrs.map(move |bind| Port {
                listener: listener.name.as_ref().map_or("", |name| &name.value),
                bind,
                is_user,
                takes_headers: listener.accept.value != Some(HeaderMode::Off),
            })
        })
    };
    for endpoint in &upstream.endpoints {
        let Entry { endpoint: value, .. } = &endpoint.entry.value;
        let found = known(value)
            .into_iter()
            .find_map(|addr| ports().find(|port| port.takes(addr, own)).map(|port| (addr, port)));
        if let Some((addr, port)) = found {
            let is_loop = port.certainly_takes(addr) && port.is_user && !port.takes_headers;
            let code = if is_loop { Code::Loop } else { Code::OwnListener };
            let (message, help) = words(&value.to_string(), &port);
            faults.add(code, endpoint.place.clone(), message).with_help(help);
        }
    }
}

/// An address behind a name that leads back to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadsBack {
    /// The index of its upstream.
    pub upstream: usize,
    /// The address.
    pub addr: SocketAddr,
    /// Whether a connection there comes to us and to nobody else.
    pub is_certain: bool,
    message: String,
    help: String,
}

/// Finds addresses that lead back to a listener and were found behind names; what the check of the configuration knew
/// is left out. `endpoints` are those of each upstream.
pub fn own_listeners(config: &Config, endpoints: &[Vec<SocketAddr>], host: Host) -> Vec<LeadsBack> {
    let mut found = Vec::new();
    let own = Own::new(host.own_networks);
    for (index, (upstream, addrs)) in config.upstreams.iter().zip(endpoints).enumerate() {
        let known: Vec<_> =
            upstream.endpoints.iter().flat_map(|entry| known(&entry.endpoint)).collect();
        for addr in addrs.iter().filter(|addr| !known.contains(&Addr::Inet(**addr))) {
            let users =
                || config.listeners.iter().filter(|it| it.upstreams().any(|it| it == index));
            let is_reached =
                |listener: &&Listener| users().any(|it| it.protocol == listener.protocol);
            let mut ports = config.listeners.iter().filter(is_reached).flat_map(|listener| {
                listener.bind.iter().filter_map(Bind::addr).map(|bind| Port {
                    listener: &listener.name,
                    bind,
                    is_user: listener.upstreams().any(|used| used == index),
                    takes_headers: listener.accept != HeaderMode::Off,
                })
            });
            if let Some(port) = ports.find(|port| port.takes((*addr).into(), &own)) {
                let is_certain = port.certainly_takes((*addr).into());
                let (message, help) =
                    words(&format!("upstream `{}`: {addr}", upstream.name), &port);
                let help = if is_certain { format!("it is left out; {help}") } else { help };
                found.push(LeadsBack { upstream: index, addr: *addr, is_certain, message, help });
            }
        }
    }
    found
}

impl LeadsBack {
    /// Warns of all of them.
    pub fn warnings<'a>(all: impl Iterator<Item = &'a Self>) -> Report {
        let mut faults = Diagnostics::default();
        for LeadsBack { message, help, .. } in all {
            faults.add(Code::OwnListener, Place::Nowhere, message.clone()).with_help(help.clone());
        }
        faults.into_report(None)
    }
}

impl Port<'_> {
    /// Whether a connection to `addr` comes here.
    fn takes(&self, addr: Addr, own: &Own) -> bool {
        let (Some(bind), Some(addr)) = (self.bind.inet(), addr.inet()) else {
            return self.bind == addr;
        };
        let (here, there) = (bind.ip(), addr.ip());
        let is_part = here.is_unspecified() && here.is_ipv4() == there.is_ipv4();
        let is_ours = || there.is_loopback() || own.iter().any(|network| network.contains(&there));
        bind.port() == addr.port() && (here == there || is_part && is_ours())
    }

    /// Whether one that comes here can come nowhere else.
    fn certainly_takes(&self, addr: Addr) -> bool {
        self.bind == addr || addr.inet().is_some_and(|addr| addr.ip().is_loopback())
    }
}

/// The addresses of an endpoint that are known without asking a name server.
fn known(endpoint: &Endpoint) -> Vec<Addr> {
    match endpoint {
        Endpoint::Addr(addr) => vec![*addr],
        Endpoint::Name { host, port } if host.eq_ignore_ascii_case("localhost") => {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            loopback.map(|ip| SocketAddr::new(ip, *port).into()).into()
        }
        Endpoint::Name { .. } | Endpoint::Srv(_) | Endpoint::File(_) => Vec::new(),
    }
}

/// Says that an endpoint leads back to a port, and what to do.
fn words(endpoint: &str, port: &Port<'_>) -> (String, String) {
    let Port { listener, bind, is_user, takes_headers } = port;
    let (outcome, unless) = match (is_user, takes_headers) {
        (true, false) => ("each connection would open another", ""),
        (true, true) => ("connections may go round", ""),
        (false, _) => {
            ("connections pass here twice", ", unless one listener is meant to lead to another")
        }
    };
    let message = format!("{endpoint} leads back to {bind}, where `{listener}` listens: {outcome}");
    (message, format!("name the address of the backend{unless}"))
}
