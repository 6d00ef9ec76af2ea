//! What a reload changes: two plans compared by name, in the words of the configuration.
//!
//! Only tells. Invariant: order means nothing, and no field is forgotten, since each struct is taken apart
//! whole.

use crate::config::{self, Config, Listener, Route, Upstream, Way, When};
use crate::core::addr::Addr;
use crate::core::pool::Pool;
use crate::data::orders::Plan;

/// Changes that are named; the rest is counted, so that a line is bounded.
const NAMED_MAX: usize = 32;

/// Lists what is otherwise in `new`.
pub(super) fn between(old: &Plan, new: &Plan) -> Vec<String> {
    let mut changes = of_sections(&old.config, &new.config);
    changes.extend(by_name("listener", listeners(old), &listeners(new), of_listener));
    changes.extend(by_name("upstream", upstreams(old), &upstreams(new), of_upstream));
    let more = changes.len().saturating_sub(NAMED_MAX);
    changes.truncate(NAMED_MAX);
    if more > 0 {
        changes.push(format!("{more} more"));
    }
    changes
}

fn of_sections(old: &Config, new: &Config) -> Vec<String> {
    // The others are compared by name.
    // What `[timeouts]` changes is told of the listeners that it changes.
    let Config {
        server,
        admin,
        log,
        access_log,
        timeouts: _,
        tcp,
        splice,
        listeners: _,
        upstreams: _,
    } = old;
    // The number of workers cannot differ.
    let config::Server { workers: _, max_connections, shutdown_grace, lame_duck } = server;
    let config::Log { level, format } = log;
    changed(&[
        ("server.max_connections", *max_connections != new.server.max_connections),
        ("server.shutdown_grace", *shutdown_grace != new.server.shutdown_grace),
        ("server.lame_duck", *lame_duck != new.server.lame_duck),
        ("admin", *admin != new.admin),
        ("log.level", *level != new.log.level),
        ("log.format", *format != new.log.format),
        ("access_log", *access_log != new.access_log),
        ("tcp", *tcp != new.tcp),
        ("splice", *splice != new.splice),
    ])
}

/// A listener, and the names of its upstreams: an index means another one in another configuration.
struct NamedListener<'a> {
    listener: &'a Listener,
    /// Of those that no route takes.
    upstream: &'a str,
    /// Who takes each route, and where it leads if it is not denied.
    routes: Vec<(&'a When, Option<&'a str>)>,
}

fn listeners(plan: &Plan) -> Vec<(&str, NamedListener<'_>)> {
    let upstream = |index: usize| &*plan.config.upstreams[index].name;
    let route = |route: &'_ Route| match route.way {
        Way::To(index) => Some(upstream(index)),
        Way::Deny => None,
    };
    let listeners = plan.config.listeners.iter().map(|listener| {
        let routes = listener.routes.iter().map(|it| (&it.when, route(it))).collect();
        let upstream = upstream(listener.upstream);
        (&*listener.name, NamedListener { listener, upstream, routes })
    });
    listeners.collect()
}

fn of_listener(old_named: &NamedListener<'_>, named: &NamedListener<'_>) -> Vec<String> {
    let (old, new) = (old_named.listener, named.listener);
    let Listener {
        name: _,
        bind,
        protocol,
        udp,
        upstream: _,
        unix_mode,
        accept,
        timeouts,
        limits,
        routes: _,
    } = old;
    let gained = new.bind.iter().filter(|addr| !bind.contains(addr)).map(|addr| format!("+{addr}"));
    let lost = bind.iter().filter(|addr| !new.bind.contains(addr)).map(|addr| format!("-{addr}"));
    let moved: Vec<String> = gained.chain(lost).collect();
    let bind = (!moved.is_empty()).then(|| format!("bind ({})", moved.join(" ")));
    let others = changed(&[
        ("protocol", *protocol != new.protocol),
        ("responses", udp.responses != new.udp.responses),
        ("dont_fragment", udp.dont_fragment != new.udp.dont_fragment),
        ("upstream", old_named.upstream != named.upstream),
        ("unix_mode", *unix_mode != new.unix_mode),
        ("proxy_protocol", *accept != new.accept),
        ("timeouts", *timeouts != new.timeouts),
        ("limits", *limits != new.limits),
        ("route", old_named.routes != named.routes),
    ]);
    bind.into_iter().chain(others).collect()
}

/// An upstream, and the addresses behind its names.
type Resolved<'a> = (&'a Upstream, Vec<Addr>);

fn upstreams(plan: &Plan) -> Vec<(&str, Resolved<'_>)> {
    let addrs = |pool: &Pool| pool.endpoints.iter().map(|endpoint| endpoint.member.addr).collect();
    let resolved = plan.config.upstreams.iter().zip(&plan.pools);
    resolved.map(|(upstream, pool)| (&*upstream.name, (upstream, addrs(pool)))).collect()
}

fn of_upstream((old, old_addrs): &Resolved<'_>, (new, addrs): &Resolved<'_>) -> Vec<String> {
    let Upstream { name: _, endpoints, balance, retries, source, passive, dns, send, health } = old;
    changed(&[
        ("endpoints", *endpoints != new.endpoints),
        // Names stand for others now.
        ("addresses", *endpoints == new.endpoints && old_addrs != addrs),
        ("balance", *balance != new.balance),
        ("retries", *retries != new.retries),
        ("source", *source != new.source),
        ("passive", *passive != new.passive),
        ("dns", *dns != new.dns),
        ("proxy_protocol", *send != new.send),
        ("health", *health != new.health),
    ])
}

/// Names those keys that have changed.
fn changed(keys: &[(&str, bool)]) -> Vec<String> {
    let changed = keys.iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| (*key).to_owned()).collect()
}

/// Compares what has names: what is new, what is gone, and what differs in what.
fn by_name<T>(
    kind: &str,
    old: Vec<(&str, T)>,
    new: &[(&str, T)],
    differ: impl Fn(&T, &T) -> Vec<String>,
) -> Vec<String> {
    let find =
        |items: &'_ [(&str, T)], name: &str| items.iter().position(|(other, _)| *other == name);
    let mut changes = Vec::new();
    for (name, item) in new {
        let keys = match find(&old, name) {
            Some(at) => differ(&old[at].1, item),
            None => vec!["new".to_owned()],
        };
        if !keys.is_empty() {
            changes.push(format!("{kind} `{name}`: {}", keys.join(", ")));
        }
    }
    let gone = old.iter().filter(|(name, _)| find(new, name).is_none());
    changes.extend(gone.map(|(name, _)| format!("{kind} `{name}`: gone")));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, from_bytes};
    use crate::core::pool::balance::Balance;
    use crate::core::pool::endpoint::{Endpoint, Member};

    const FILE: &str = "config_version = 1\n[server]\nworkers = 2\nshutdown_grace = '1s'\n\
        [timeouts]\nidle = '1s'\n[log]\nlevel = 'info'\n[access_log]\nenabled = false\n\
        [tcp]\nbacklog = 7\n[splice]\nmode = 'auto'\n[[listener]]\nname = 'a'\n\
        bind = ['127.0.0.1:1']\nupstream = 'u'\n[listener.proxy_protocol]\naccept = 'require'\n\
        trust = ['10.0.0.0/8']\n[[listener]]\nname = 'b'\nbind = ['127.0.0.1:5']\nupstream = 'u'\n\
        timeouts = { idle = '9s' }\n[upstream.u]\nendpoints = ['127.0.0.1:2']\n";

    fn plan(text: &str, endpoint: &str) -> Plan {
        let loaded = from_bytes("f".into(), text.as_bytes(), Host::default());
        let config = loaded.expect("it has no error").config;
        let member = Member::at(endpoint.parse().unwrap());
        let pool = |_| Pool {
            endpoints: vec![Endpoint::new(member, 1)],
            attempts_max: 1,
            failures_max: 0,
            balance: Balance::RoundRobin,
        };
        let limits = config.listeners.iter().map(|_| None).collect();
        Plan { pools: config.upstreams.iter().map(pool).collect(), limits, config }
    }

    #[test]
    fn each_change_is_named_and_nothing_else() {
        const SECOND: &str = "[[listener]]\nname = 'b'\nbind = ['127.0.0.1:5']\nupstream = 'u'\n\
            timeouts = { idle = '9s' }\n";
        let swapped = format!("{SECOND}[[listener]]\nname = 'a'");
        for (old, new, expected) in [
            ("workers", "workers", ""),
            ("[server]\n", "[server]\nmax_connections = 9\n", "server.max_connections"),
            ("shutdown_grace = '1s'", "shutdown_grace = '2s'", "server.shutdown_grace"),
            ("[log]\n", "[admin]\nsocket = '/s'\n[log]\n", "admin"),
            ("[server]\n", "[server]\nlame_duck = '1s'\n", "server.lame_duck"),
            ("'info'", "'warn'", "log.level"),
            ("[log]\n", "[log]\nformat = 'text'\n", "log.format"),
            ("enabled = false", "enabled = true", "access_log"),
            ("backlog = 7", "backlog = 8", "tcp"),
            ("mode = 'auto'", "mode = 'off'", "splice"),
            // `b` has its own.
            ("idle = '1s'", "idle = '2s'", "listener `a`: timeouts"),
            ("10.0.0.0/8", "10.0.0.0/9", "listener `a`: proxy_protocol"),
            ("'127.0.0.1:1'", "'127.0.0.1:4'", "listener `a`: bind (+127.0.0.1:4 -127.0.0.1:1)"),
            ("'127.0.0.1:1'", "'127.0.0.1:4', '127.0.0.1:1'", "listener `a`: bind (+127.0.0.1:4)"),
            ("name = 'a'", "name = 'c'", "listener `c`: new; listener `a`: gone"),
            ("127.0.0.1:2", "127.0.0.1:3", "upstream `u`: endpoints"),
            ("[upstream.u]\n", "[upstream.u]\nretries = 3\n", "upstream `u`: retries"),
            ("[upstream.u]\n", "[upstream.u]\nbalance = 'first'\n", "upstream `u`: balance"),
            ("[upstream.u]\n", "[upstream.u]\npassive.failures = 3\n", "upstream `u`: passive"),
            ("[upstream.u]\n", "[upstream.u]\nhealth.check = 'tcp'\n", "upstream `u`: health"),
            ("[upstream.u]\n", "[upstream.u]\ndns = { max = '9m' }\n", "upstream `u`: dns"),
            (SECOND, "", "listener `b`: gone"),
            (
                "[[listener]]\nname = 'b'",
                "[listener.limits]\nrate = 9\n[[listener]]\nname = 'b'",
                "listener `a`: limits",
            ),
            (
                "[[listener]]\nname = 'b'",
                "[[listener.route]]\nwhen = {}\ndeny = true\n[[listener]]\nname = 'b'",
                "listener `a`: route",
            ),
        ] {
            assert!(FILE.contains(old), "{old}");
            let next = FILE.replacen(old, new, 1);
            let endpoint = "127.0.0.1:2";
            let changes = between(&plan(FILE, endpoint), &plan(&next, endpoint)).join("; ");
            assert_eq!(changes, expected, "{new}");
        }
        let moved = FILE.replace(SECOND, "").replace("[[listener]]\nname = 'a'", &swapped);
        assert_eq!(between(&plan(FILE, "127.0.0.1:2"), &plan(&moved, "127.0.0.1:2")).len(), 0);
    }

    #[test]
    fn addresses_behind_a_name_are_a_change_and_so_is_which_upstream_an_index_means() {
        let named = FILE.replace("'127.0.0.1:2'", "'web.internal:2'");
        let changes = between(&plan(&named, "10.0.0.1:2"), &plan(&named, "10.0.0.2:2"));
        assert_eq!(changes, ["upstream `u`: addresses"]);
        let one = format!("{FILE}[upstream.v]\nendpoints = ['127.0.0.1:3']\n");
        let other = one.replacen("upstream = 'u'", "upstream = 'v'", 1);
        let changes = between(&plan(&one, "127.0.0.1:2"), &plan(&other, "127.0.0.1:2"));
        assert_eq!(changes, ["listener `a`: upstream"]);
    }

    #[test]
    fn a_line_is_bounded() {
        let more: String = (0..100)
            .map(|nth| {
                format!(
                    "[[listener]]\nname = 'n{nth}'\nbind = ['127.0.0.1:{}']\nupstream = 'u'\n",
                    100 + nth
                )
            })
            .collect();
        let changes =
            between(&plan(FILE, "127.0.0.1:2"), &plan(&format!("{FILE}{more}"), "127.0.0.1:2"));
        assert_eq!(changes.len(), NAMED_MAX + 1);
        assert_eq!(changes[NAMED_MAX], "68 more");
    }
}
