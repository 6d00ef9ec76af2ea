//! Names that are followed: what endpoints stand for now, and that they stand for something else.
//!
//! ```text
//! Names::follow(configuration) -> Followed: one task a name, SRV name or file, whoever uses it
//!                                    \-> ask | file -> found -> changed() -> the loop makes another plan of it
//! ```
//!
//! A task lives as long as a configuration that needs it: what a reload goes on with keeps what it stood for. Addresses
//! in numbers are followed by nobody. Invariant: what is found changes nothing by itself.

mod ask;
mod file;
mod follow;
mod found;
mod source;
mod srv;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::config::{self, Config, Dns, Endpoint, Version};
use crate::core::addr::Addr;
use crate::core::pool::endpoint::{self, HeaderSent};
use crate::core::pool::resolution::AskTerms;
use crate::telemetry::cells::NameCells;
use ask::Asker;
use file::Files;
use follow::{Follower, State};
use found::Found;
pub(super) use found::Member;
use source::Source;

/// All that is followed.
#[derive(Clone, Debug)]
pub(super) struct Names(Arc<Shared>);

/// What those who follow share.
#[derive(Debug)]
struct Shared {
    asker: Asker,
    files: Files,
    /// Told when something stands for others.
    changed: Notify,
    running: Mutex<HashMap<(Source, Dns), Weak<Name>>>,
}

/// One that is followed, until this is dropped.
#[derive(Debug)]
struct Name {
    source: Source,
    state: watch::Receiver<State>,
    cells: Arc<NameCells>,
    task: AbortHandle,
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The names of a configuration, as long as it is followed.
#[derive(Debug)]
pub(super) struct Followed {
    /// By the index of the upstream, in its order.
    upstreams: Vec<Vec<Entry>>,
}

/// An entry of `endpoints`.
#[derive(Debug)]
struct Entry {
    origin: Origin,
    /// Times what is said where it was found.
    weight: u32,
    is_backup: bool,
    /// Of each endpoint.
    connections_max: u64,
    header: HeaderSent,
}

/// Where the endpoints of an entry come from.
#[derive(Debug)]
enum Origin {
    Addr(Addr),
    /// A name with the port that goes with it, and how it is shown.
    Name(Arc<Name>, Option<u16>, Arc<str>),
}

/// What is known of a name.
#[derive(Debug)]
pub(super) struct Known {
    /// The index of its upstream.
    pub(super) upstream: usize,
    /// As it is written there.
    pub(super) name: String,
    pub(super) addrs: Vec<SocketAddr>,
    /// Why there are none, or not all.
    pub(super) why: Option<String>,
}

impl Names {
    /// Follows nothing yet.
    pub(super) fn new() -> Self {
        let (asker, files) = (Asker::new(), Files::new());
        let (changed, running) = (Notify::new(), Mutex::default());
        Self(Arc::new(Shared { asker, files, changed, running }))
    }

    /// Follows the names of a configuration; those that are followed already go on.
    pub(super) fn follow(&self, config: &Config) -> Followed {
        let upstreams = config.upstreams.iter().map(|upstream| {
            let entry = |entry: &config::Entry| Entry {
                origin: self.origin(&entry.endpoint, upstream.dns),
                weight: entry.weight,
                is_backup: entry.backup.is_on(),
                connections_max: u64::from(entry.connections_max),
                header: match entry.send.or(upstream.send.version) {
                    None => HeaderSent::Off,
                    Some(Version::V1) => HeaderSent::V1,
                    Some(Version::Spp) => HeaderSent::Spp,
                    Some(Version::V2) => HeaderSent::V2,
                },
            };
            upstream.endpoints.iter().map(entry).collect()
        });
        Followed { upstreams: upstreams.collect() }
    }

    /// Waits until something stands for others.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn origin(&self, endpoint: &Endpoint, dns: Dns) -> Origin {
        let (source, port) = match endpoint {
            Endpoint::Addr(addr) => return Origin::Addr(*addr),
            Endpoint::Name { host, port } => (Source::Host(host.clone()), Some(*port)),
            Endpoint::Srv(name) => (Source::Srv(name.clone()), None),
            Endpoint::File(path) => (Source::File(path.clone()), None),
        };
        Origin::Name(self.name(source, dns), port, endpoint.to_string().into())
    }

    fn name(&self, source: Source, dns: Dns) -> Arc<Name> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, name| name.strong_count() > 0);
        let key = (source, dns);
        if let Some(name) = running.get(&key).and_then(Weak::upgrade) {
            return name;
        }
        // On other terms it stands for the same.
        let same = running.iter().filter(|((source, _), _)| *source == key.0);
        let same = same.filter_map(|(_, name)| name.upgrade()).next();
        let (found, cells) = same.map_or_else(Default::default, |name| {
            (Arc::clone(&name.state.borrow().found), Arc::clone(&name.cells))
        });
        let (state, receiver) = watch::channel(State { found, ..State::default() });
        let follower = Follower {
            source: key.0.clone(),
            terms: AskTerms { min: dns.min, max: dns.max },
            shared: Arc::clone(&self.0),
            state,
            cells: Arc::clone(&cells),
        };
        let task = tokio::spawn(follower.run()).abort_handle();
        let name = Arc::new(Name { source: key.0.clone(), state: receiver, cells, task });
        running.insert(key, Arc::downgrade(&name));
        name
    }
}

impl Followed {
    fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.upstreams.iter().flatten().filter_map(|entry| match &entry.origin {
            Origin::Addr(_) => None,
            Origin::Name(name, ..) => Some(name),
        })
    }

    /// Waits until of each it is known what it stands for, or that this is not known.
    pub(super) async fn settled(&self) {
        for name in self.names() {
            // A task that has panicked knows no more.
            drop(name.state.clone().wait_for(|state| state.is_settled).await);
        }
    }

    /// Waits until an upstream has an endpoint, whichever of its names stands for it.
    pub(super) async fn found(&self, upstream: usize) {
        let entries = &self.upstreams[upstream];
        let mut waiting = tokio::task::JoinSet::new();
        for entry in entries {
            let Origin::Name(name, ..) = &entry.origin else { return };
            let mut state = name.state.clone();
            waiting.spawn(async move {
                drop(state.wait_for(|state| !state.found.is_empty()).await);
            });
        }
        waiting.join_next().await;
    }

    /// Returns the names of which nothing is known.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let unsettled = self.names().filter(|name| !name.state.borrow().is_settled);
        let unsettled: HashSet<_> = unsettled.map(|name| name.source.to_string()).collect();
        let mut unsettled: Vec<_> = unsettled.into_iter().collect();
        unsettled.sort_unstable();
        unsettled
    }

    /// Returns the members of each upstream, in its order; of two at one address the first.
    pub(super) fn members(&self) -> Vec<Vec<Member>> {
        let members = |entries: &Vec<Entry>| {
            let mut seen = HashSet::new();
            let all = entries.iter().flat_map(Entry::members);
            all.filter(|member| seen.insert(member.addr())).collect()
        };
        self.upstreams.iter().map(members).collect()
    }

    /// Returns what each name stands for, in the order of the configuration.
    pub(super) fn known(&self) -> Vec<Known> {
        let upstreams = self.upstreams.iter().enumerate();
        let entries = upstreams.flat_map(|(at, entries)| entries.iter().map(move |it| (at, it)));
        let known = |(upstream, entry): (usize, &Entry)| {
            let Origin::Name(name, port, shown) = &entry.origin else { return None };
            let state = name.state.borrow();
            let addrs = state.found.iter().map(|found| with_port(found.addr, *port)).collect();
            Some(Known { upstream, name: shown.to_string(), addrs, why: state.why.clone() })
        };
        entries.filter_map(known).collect()
    }

    /// Returns where each name is counted.
    pub(super) fn cells(&self) -> Vec<(String, Arc<NameCells>)> {
        self.names().map(|name| (name.source.to_string(), Arc::clone(&name.cells))).collect()
    }
}

impl Entry {
    fn members(&self) -> Vec<Member> {
        let Self { weight, is_backup, connections_max, header, .. } = *self;
        let written = |addr| endpoint::Member { addr, weight, is_backup, connections_max, header };
        let member = |found: Found, from: &Arc<str>| Member {
            member: endpoint::Member {
                weight: weight * found.weight,
                is_backup: is_backup || found.is_backup,
                ..written(found.addr.into())
            },
            from: Some(Arc::clone(from)),
        };
        match &self.origin {
            Origin::Addr(addr) => vec![Member { member: written(*addr), from: None }],
            Origin::Name(name, port, shown) => {
                let found = Arc::clone(&name.state.borrow().found);
                let found = found.iter().map(|it| Found { addr: with_port(it.addr, *port), ..*it });
                found.map(|found| member(found, shown)).collect()
            }
        }
    }
}

fn with_port(mut addr: SocketAddr, port: Option<u16>) -> SocketAddr {
    if let Some(port) = port {
        addr.set_port(port);
    }
    addr
}
