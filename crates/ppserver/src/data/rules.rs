//! What a listener's connections are told when they begin: who is let in, and on what terms.
//!
//! Made from the configuration, for one worker; a reload makes new ones, which go on with what those of
//! the same name had learned, and connections that run keep theirs. Invariant: nothing here changes but
//! what the upstream knows of its endpoints, and what is learned of being early.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use ppcore::tlv::Tlvs;
use ppcore::{Crc32cPolicy, Error, Header, Options, TlvFraming};
use pptrust::{Admission, Intro, Outgoing, Trust};

use super::hello::Hello;
use super::listing::Labels;
use super::orders::Plan;
use crate::config::{
    self, ChecksumPolicy, Datagrams, DontFragment, HeaderMode, HeaderPolicy, LocalPolicy, Presence,
    Silent, SpliceMode, Untrusted, Version, Versions, Way,
};
use crate::core::addr::{Addr, Peer};
use crate::core::early::Early;
use crate::core::intent::{Intent, Purpose};
use crate::core::limits::Limits;
use crate::core::pool::Upstream;
use crate::core::pool::endpoint::{Endpoint, HeaderSent};
use crate::core::route::{Known, When};
use crate::core::session::{FirstBytes, Policy, Splicing};
use crate::core::udp;
use crate::data::sys;
use crate::data::sys::datagrams::Fragments;
use crate::telemetry::cells::{Cells, ListenerCells, PoolCells};
use crate::telemetry::refusals;

/// Where a connection goes.
#[derive(Debug)]
pub(super) struct Target {
    /// The listener's name and the upstream's, as they are shown.
    pub(super) labels: Labels,
    pub(super) upstream: Arc<Upstream>,
    /// Where it is counted, endpoints in the upstream's order.
    pub(super) cells: PoolCells,
    /// The headers that endpoints are sent, by [`HeaderSent`].
    sends: [Outgoing; 4],
    /// Whether one of those that may be sent takes something from the ClientHello.
    needs_hello: bool,
    /// What they see connections come from.
    pub(super) source: config::Source,
    /// Which datagrams carry one.
    pub(super) datagrams: Datagrams,
}

impl Target {
    /// Returns the header that an endpoint is sent.
    pub(super) fn send(&self, endpoint: &Endpoint) -> &Outgoing {
        &self.sends[endpoint.member.header as usize]
    }

    /// Returns the one that needs most of what came, of those that may be sent.
    fn most_sent(&self) -> &Outgoing {
        &self.sends[self.upstream.most_sent() as usize]
    }
}

/// One of a listener's routes.
#[derive(Debug)]
struct Route {
    when: When,
    /// `None` denies.
    target: Option<Target>,
}

/// A route that was taken, by its place among its listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken(u16);

/// What is known of where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The route that it takes, if it takes one.
    Made(Option<Taken>),
    /// The first route that may hold goes by the ClientHello, or what is sent where it leads takes from that.
    NeedsHello,
}

impl Route {
    fn takes_tlvs(&self) -> bool {
        let is_sent_some = |target: &Target| target.most_sent().takes_tlvs();
        !self.when.tlvs.is_empty() || self.target.as_ref().is_some_and(is_sent_some)
    }

    fn needs_hello(&self) -> bool {
        self.when.needs_hello() || self.target.as_ref().is_some_and(|target| target.needs_hello)
    }
}

impl Taken {
    /// Returns how it is called: its number in the file, from 1 on.
    pub(super) fn number(self) -> u32 {
        u32::from(self.0) + 1
    }
}

/// What of the terms of a listener is about datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramRules {
    /// Those of its flows; of all workers together there are so many.
    pub(super) terms: udp::Terms,
    /// Whether what comes carries SPP, where it carries a header.
    pub(super) is_spp: bool,
    pub(super) fragments: Fragments,
}

impl DatagramRules {
    fn new(listener: &config::Listener) -> Self {
        let timeouts = &listener.timeouts;
        let (headers, is_spp) = match &listener.accept {
            HeaderMode::Headers(policy) => {
                let is_spp = policy.versions == Versions::Spp;
                match policy.datagrams {
                    Datagrams::First if !is_spp => (udp::Headers::First, is_spp),
                    Datagrams::First | Datagrams::Each => (udp::Headers::Each, is_spp),
                }
            }
            HeaderMode::Off => (udp::Headers::Each, false),
        };
        let terms = udp::Terms {
            headers,
            flows_max: usize::try_from(listener.limits.flows).unwrap_or(usize::MAX),
            silence_max: timeouts.flow,
            unanswered_max: timeouts.flow_unanswered,
            responses: listener.udp.responses.into(),
        };
        let fragments = match listener.udp.dont_fragment {
            DontFragment::Kernel => Fragments::Kernel,
            DontFragment::Probe => Fragments::Never,
            DontFragment::Off => Fragments::Always,
        };
        Self { terms, is_spp, fragments }
    }
}

/// The terms of one listener.
#[derive(Debug)]
pub(super) struct Rules {
    /// Where its connections are counted.
    pub(super) cells: Arc<ListenerCells>,
    pub(super) accept: HeaderMode,
    pub(super) options: Options,
    /// How much its clients may have; `None` where that is not limited.
    pub(super) limits: Option<Limits>,
    /// Where those go that take no route.
    own: Target,
    routes: Box<[Route]>,
    /// Whether some of these go by TLVs, or send them on: asked of each header, and there may be many routes.
    takes_tlvs: bool,
    pub(super) nodelay: bool,
    pub(super) keepalive: sys::Keepalive,
    /// Whether to receive right behind the accept. Who waits for the server's first word makes it too
    /// early, as does who connects to see whether anybody is there.
    pub(super) early_receive: Arc<Early>,
    /// What of them is about datagrams.
    pub(super) datagrams: DatagramRules,
    /// Where an endpoint's port is among these, a connect to it can meet itself.
    ephemeral_ports: RangeInclusive<u16>,
    trust: Trust,
    /// What the header of a peer at a UNIX socket is worth.
    unix_policy: pptrust::Policy,
    /// Of those who begin with a header, and of all others.
    policies: [Arc<Policy>; 2],
}

impl Rules {
    /// Makes the rules of every listener, as they follow `old` ones; `worker` spreads the workers over the
    /// endpoints of upstreams that are new.
    pub(super) fn all(
        plan: &Plan,
        cells: &Cells,
        old: &[Arc<Self>],
        worker: usize,
        now: Instant,
    ) -> Vec<Arc<Self>> {
        let config = &plan.config;
        let upstreams: Vec<Arc<Upstream>> = config
            .upstreams
            .iter()
            .zip(&plan.pools)
            .map(|(config::Upstream { name, .. }, pool)| {
                let mut old = old.iter().flat_map(|rules| rules.targets());
                let upstream = match old.find(|old| old.upstream.name == *name) {
                    Some(old) => old.upstream.reloaded(pool.clone()),
                    None => Upstream::new(name.clone(), pool.clone(), worker, now),
                };
                Arc::new(upstream)
            })
            .collect();
        let listeners = config.listeners.iter().zip(&cells.listeners).zip(&plan.limits);
        let rules = listeners.map(|((listener, own), limits)| {
            let old = old.iter().find(|rules| rules.name() == listener.name);
            let early = old
                .map_or_else(|| Arc::new(Early::new()), |rules| Arc::clone(&rules.early_receive));
            let name: Arc<str> = listener.name.as_str().into();
            let target = |index: usize| {
                let versions = [None, Some(Version::V1), Some(Version::Spp), Some(Version::V2)];
                let sends = versions.map(|version| config.upstreams[index].send.outgoing(version));
                let upstream = Arc::clone(&upstreams[index]);
                Target {
                    labels: Labels {
                        listener: Arc::clone(&name),
                        upstream: upstream.name.as_str().into(),
                    },
                    cells: cells.upstreams[index].clone(),
                    needs_hello: sends[upstream.most_sent() as usize].needs_hello(),
                    datagrams: match upstream.most_sent() {
                        HeaderSent::V2 => config.upstreams[index].send.datagrams,
                        HeaderSent::Off | HeaderSent::V1 | HeaderSent::Spp => Datagrams::Each,
                    },
                    upstream,
                    sends,
                    source: config.upstreams[index].source,
                }
            };
            let route = |route: &config::Route| Route {
                when: route.when.clone(),
                target: match route.way {
                    Way::To(index) => Some(target(index)),
                    Way::Deny => None,
                },
            };
            let routes = listener.routes.iter().map(route).collect();
            let own_target = target(listener.upstream);
            let limits = limits.clone();
            Self::new(config, listener, Arc::clone(own), limits, own_target, routes, early).into()
        });
        rules.collect()
    }

    fn new(
        config: &config::Config,
        listener: &config::Listener,
        cells: Arc<ListenerCells>,
        limits: Option<Limits>,
        own: Target,
        routes: Box<[Route]>,
        early_receive: Arc<Early>,
    ) -> Self {
        let timeouts = &listener.timeouts;
        Self {
            cells,
            options: options(&listener.accept),
            accept: listener.accept.clone(),
            nodelay: config.tcp.nodelay.is_on(),
            keepalive: keepalive(&config.tcp),
            early_receive,
            datagrams: DatagramRules::new(listener),
            ephemeral_ports: sys::ephemeral_ports(),
            trust: trust(&listener.accept),
            unix_policy: unix_policy(&listener.accept),
            policies: [first_bytes(&listener.accept), FirstBytes::Payload].map(|first_bytes| {
                Arc::new(Policy {
                    first_bytes,
                    header_timeout: timeouts.header,
                    hello_timeout: timeouts.tls_hello,
                    connect_timeout: timeouts.connect,
                    idle_timeout: timeouts.idle,
                    half_closed_timeout: timeouts.half_closed,
                    splicing: match config.splice.mode {
                        SpliceMode::Auto => Splicing::Auto,
                        SpliceMode::Always => Splicing::Always,
                        SpliceMode::Off => Splicing::Off,
                    },
                })
            }),
            limits,
            takes_tlvs: own.most_sent().takes_tlvs() || routes.iter().any(Route::takes_tlvs),
            own,
            routes,
        }
    }

    /// Returns the listener's name.
    pub(super) fn name(&self) -> &str {
        &self.own.labels.listener
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        let routed = self.routes.iter().filter_map(|route| route.target.as_ref());
        std::iter::once(&self.own).chain(routed)
    }

    /// Says what a peer's header is worth.
    pub(super) fn policy(&self, peer: SocketAddr) -> pptrust::Policy {
        self.trust.policy(peer)
    }

    /// Says on what terms a peer is let in; `None` if it is not.
    pub(super) fn admit(&self, peer: Peer) -> Option<&Arc<Policy>> {
        let [header, plain] = &self.policies;
        let policy = match peer {
            Peer::Inet(addr) => self.trust.policy(addr),
            Peer::Unix => self.unix_policy,
        };
        match policy.admission() {
            Admission::Header => Some(header),
            Admission::Plain => Some(plain),
            Admission::Denied => None,
        }
    }

    /// Finds the route that a connection takes, if it takes one. A LOCAL one goes where nobody is chosen. `hello` is
    /// `None` until it was read, or has had its time.
    pub(super) fn route(
        &self,
        intent: &Intent<Peer>,
        tlvs: Option<Tlvs<'_>>,
        hello: Option<&Hello>,
    ) -> Choice {
        let is_plain = self.routes.is_empty() && !self.own.needs_hello;
        if is_plain || intent.purpose == Purpose::HealthCheck {
            return Choice::Made(None);
        }
        let (client, peer) = (intent.client.ip(), intent.peer.ip());
        let known = Known { client, peer, tlvs, hello: hello.map(Hello::asked) };
        let decides = |route: &Route| match hello {
            None => route.when.may_hold(&known),
            Some(_) => route.when.holds(&known),
        };
        let at = self.routes.iter().position(decides);
        let is_needed = match at {
            Some(at) => self.routes[at].needs_hello(),
            None => self.own.needs_hello,
        };
        match hello {
            None if is_needed => Choice::NeedsHello,
            None | Some(_) => Choice::Made(at.and_then(|at| u16::try_from(at).ok()).map(Taken)),
        }
    }

    /// Finds the route that a flow of datagrams takes, if it takes one: no condition on a ClientHello holds. A LOCAL one goes
    /// where nobody is chosen.
    pub(super) fn route_datagram(&self, intent: &Intent, tlvs: Option<Tlvs<'_>>) -> Option<Taken> {
        if intent.purpose == Purpose::HealthCheck {
            return None;
        }
        let (client, peer) = (Some(intent.client.ip()), Some(intent.peer.ip()));
        let known = Known { client, peer, tlvs, hello: None };
        let at = self.routes.iter().position(|route| route.when.holds(&known))?;
        u16::try_from(at).ok().map(Taken)
    }

    /// Says where a connection goes that has taken this route, or none.
    pub(super) fn target(&self, taken: Option<Taken>) -> &Target {
        let routed = taken.and_then(|Taken(at)| self.routes[usize::from(at)].target.as_ref());
        routed.unwrap_or(&self.own)
    }

    /// Whether a route is a denial.
    pub(super) fn is_denied(&self, taken: Option<Taken>) -> bool {
        taken.is_some_and(|Taken(at)| self.routes[usize::from(at)].target.is_none())
    }

    /// Whether more is needed of a header than it says, to choose a route or to compose what is sent.
    pub(super) fn needs_bytes(&self, header: &Header) -> bool {
        self.takes_tlvs && header.tlvs_offset() < header.len()
    }

    /// Says what becomes of a LOCAL connection.
    pub(super) fn local_policy(&self) -> LocalPolicy {
        match &self.accept {
            HeaderMode::Headers(header) => header.local,
            HeaderMode::Off => LocalPolicy::Forward,
        }
    }

    /// Says whether a connect to an endpoint may have met itself: where nobody listens at a port that the kernel
    /// gives to the connecting socket too, both ends of the connection are that socket (simultaneous open,
    /// RFC 9293 3.5).
    pub(super) fn may_meet_itself(&self, endpoint: &Addr) -> bool {
        endpoint.inet().is_some_and(|addr| self.ephemeral_ports.contains(&addr.port()))
    }

    /// Begins to read the header of a peer that is let in.
    pub(super) fn intro(&self) -> Intro {
        Intro::new(believed(&self.accept), self.options)
    }

    /// Returns the longest v2 header that is taken.
    pub(super) fn header_bytes_max(&self) -> usize {
        match &self.accept {
            HeaderMode::Headers(header) => header.header_bytes_max,
            HeaderMode::Off => 0,
        }
    }

    /// Says why a header is refused, and by which key where one decides.
    pub(super) fn why(&self, error: Error, bytes: &[u8]) -> String {
        refusals::why(error, bytes, self.header_bytes_max())
    }
}

/// Translates `[tcp]` for listening sockets.
pub(crate) fn listen_options(tcp: &config::Tcp) -> sys::ListenOptions {
    sys::ListenOptions {
        nodelay: tcp.nodelay.is_on(),
        keepalive: keepalive(tcp),
        defer_accept: tcp.defer_accept.is_on(),
        backlog: tcp.backlog,
    }
}

fn keepalive(tcp: &config::Tcp) -> sys::Keepalive {
    let config::Keepalive { idle, interval, count } = tcp.keepalive;
    sys::Keepalive { idle, interval, count }
}

/// What the decoder is told: strict framing, since a server that does not look at TLVs must not pass
/// broken ones on.
fn options(accept: &HeaderMode) -> Options {
    let options = Options::new().tlv_framing(TlvFraming::Strict);
    let HeaderMode::Headers(header) = accept else { return options };
    let v2_len_max = header.header_bytes_max.saturating_sub(ppcore::V2_FIXED_LEN);
    options
        .versions(match header.versions {
            Versions::V1 => ppcore::Versions::V1,
            // Of SPP nobody asks.
            Versions::V2 | Versions::Spp => ppcore::Versions::V2,
            Versions::Both => ppcore::Versions::Both,
        })
        .v1_families(header.v1_families)
        .crc32c(match header.crc32c {
            ChecksumPolicy::Verify => Crc32cPolicy::Verify,
            ChecksumPolicy::Ignore => Crc32cPolicy::Ignore,
            ChecksumPolicy::Require => Crc32cPolicy::Require,
        })
        .v2_len_max(u16::try_from(v2_len_max).unwrap_or(u16::MAX))
}

/// How a peer begins whose header is read.
fn first_bytes(accept: &HeaderMode) -> FirstBytes {
    match accept {
        HeaderMode::Headers(HeaderPolicy {
            presence: Presence::Optional,
            silent: Silent::Plain,
            ..
        }) => FirstBytes::HeaderOrSilence,
        HeaderMode::Headers(_) | HeaderMode::Off => FirstBytes::Header,
    }
}

/// What the header of a peer in `trust` is worth.
fn believed(accept: &HeaderMode) -> pptrust::Policy {
    match accept {
        HeaderMode::Off => pptrust::Policy::Skip,
        HeaderMode::Headers(header) => match header.presence {
            Presence::Required => pptrust::Policy::Require,
            Presence::Optional => pptrust::Policy::Use,
        },
    }
}

fn trust(accept: &HeaderMode) -> Trust {
    match accept {
        HeaderMode::Off => Trust::new([], pptrust::Policy::Skip),
        HeaderMode::Headers(header) => {
            Trust::new([(header.trust.clone(), believed(accept))], unbelieved(header))
        }
    }
}

fn unix_policy(accept: &HeaderMode) -> pptrust::Policy {
    match accept {
        HeaderMode::Headers(header) if !header.trust_unix.is_on() => unbelieved(header),
        HeaderMode::Headers(_) | HeaderMode::Off => believed(accept),
    }
}

/// What the header of a peer outside `trust` is worth.
fn unbelieved(header: &HeaderPolicy) -> pptrust::Policy {
    match header.untrusted {
        Untrusted::Reject => pptrust::Policy::Deny,
        Untrusted::Plain => pptrust::Policy::Skip,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Host;
    use crate::core::pool::Pool;
    use crate::core::pool::balance::Balance;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn now() -> Instant {
        Instant::now()
    }

    /// The rules of a listener with these keys, in a file with these.
    fn rules(top: &str, listener: &str) -> Arc<Rules> {
        let text = format!(
            "config_version = 1\n{top}\n[[listener]]\nname = 'a'\nbind = ['127.0.0.1:1']\n\
             upstream = 'u'\n{listener}\n[upstream.u]\nendpoints = ['127.0.0.1:2']\n"
        );
        let loaded = config::from_bytes("f".into(), text.as_bytes(), Host::default());
        let endpoints = Vec::new();
        let balance = Balance::RoundRobin;
        let pool = Pool { endpoints, attempts_max: 1, failures_max: 0, balance };
        let plan = Plan { config: loaded.unwrap().config, pools: vec![pool], limits: vec![None] };
        let pool = PoolCells { upstream: Arc::default(), endpoints: Vec::new() };
        let cells = Cells { listeners: vec![Arc::default()], upstreams: vec![pool] };
        Arc::clone(&Rules::all(&plan, &cells, &[], 0, now())[0])
    }

    #[test]
    fn a_session_is_told_when_to_splice() {
        for (mode, splicing) in
            [("auto", Splicing::Auto), ("always", Splicing::Always), ("off", Splicing::Off)]
        {
            let rules = rules(&format!("splice.mode = '{mode}'"), "");
            let policy = rules.admit(Peer::Inet("127.0.0.1:3".parse().unwrap()));
            assert_eq!(policy.map(|policy| policy.splicing), Some(splicing), "{mode}");
        }
    }

    #[test]
    fn a_header_is_refused_with_the_key_that_says_so() {
        let accept = "accept = 'require', trust = 'any', header_max = '52B', crc32c = 'require'";
        let rules = rules("", &format!("proxy_protocol = {{ {accept} }}"));
        let v2 = |rest: &[u8]| [&b"\r\n\r\n\0\r\nQUIT\n"[..], rest].concat();
        for (bytes, expected) in [
            (
                v2(b"\x21\x11\x00\x25"),
                "this receiver allows (byte 15, spec 2.2): header_max is 52 B",
            ),
            (v2(b"\x31\x11\x00\x25"), "(byte 12, spec 2.2)"),
            (v2(b"\x20\0\0\0"), "(byte 16, spec 2.2.3): crc32c is \"require\""),
            (
                b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n".to_vec(),
                "(byte 26, spec 2.1): v1_families is \"strict\", \"mixed\" takes such a line",
            ),
            (b"PROXY TCP4 192.0.2.7 192.0.2.256 51820 443\r\n".to_vec(), "(byte 31, spec 2.1)"),
        ] {
            let error = ppcore::Decoder::new(rules.options).decode(&bytes).unwrap_err();
            let why = rules.why(error, &bytes);
            assert!(why.ends_with(expected), "{why}");
        }
    }
}
