//! What is counted for limits, as the control plane knows it: by a listener's name, through reloads and over all workers.
//!
//! Only keeps; who is too many is decided in `core`. Invariant: a listener that stays is counted where it was, on
//! whatever terms.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::config::{self, Config};
use crate::core::limits::{CLIENTS_MAX, Clients, Limits, PerClient, Terms, Total};

/// The counts of all listeners.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Of all listeners in one, since memory is limited; none until somebody limits his clients.
    clients: Option<Arc<Clients>>,
    totals: BTreeMap<String, Arc<Total>>,
    /// How many listeners there have been.
    numbered: u32,
}

impl Counts {
    /// Returns the limits of each listener of a configuration; `None` where nothing is limited.
    pub(super) fn follow(&mut self, config: &Config) -> Vec<Option<Limits>> {
        self.totals.retain(|name, _| config.listeners.iter().any(|it| it.name == *name));
        config.listeners.iter().map(|it| self.limits(&it.name, &it.limits)).collect()
    }

    fn limits(&mut self, name: &str, limits: &config::Limits) -> Option<Limits> {
        let config::Limits { connections, flows: _, rate, per_client } = *limits;
        let terms = Terms { connections, rate, burst: rate };
        let config::PerClient { connections, rate, burst, ipv6_prefix } = per_client;
        let burst = if burst == 0 { rate } else { burst };
        let of_client = Terms { connections, rate, burst };
        let per_client = (!of_client.are_none()).then(|| {
            let clients = self.clients.get_or_insert_with(|| Arc::new(clients()));
            PerClient { terms: of_client, ipv6_prefix, clients: Arc::clone(clients) }
        });
        if terms.are_none() && per_client.is_none() {
            return None;
        }
        let total = self.totals.entry(name.to_owned()).or_insert_with(|| {
            self.numbered += 1;
            Arc::new(Total::new(self.numbered))
        });
        Some(Limits { terms, total: Arc::clone(total), per_client })
    }
}

/// With keys that nobody else can know.
fn clients() -> Clients {
    let keys = RandomState::new();
    Clients::new(CLIENTS_MAX, [keys.hash_one(0), keys.hash_one(1)])
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::{Host, from_bytes};

    /// The limits of a listener `a` with these, and of one without.
    fn follow(counts: &mut Counts, limits: &str) -> Vec<Option<Limits>> {
        let text = format!(
            "config_version = 1\n[[listener]]\nname = 'b'\nbind = ['127.0.0.1:3']\nupstream = 'u'\n\
             [[listener]]\nname = 'a'\nbind = ['127.0.0.1:1']\nupstream = 'u'\n\
             [listener.limits]\n{limits}\n[upstream.u]\nendpoints = ['127.0.0.1:2']\n"
        );
        let loaded = from_bytes("f".into(), text.as_bytes(), Host::default());
        counts.follow(&loaded.expect("it has no error").config)
    }

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn counts_are_kept_while_terms_change() {
        let mut counts = Counts::default();
        let old = follow(&mut counts, "connections = 9\nper_client = { connections = 2 }");
        assert!(old[0].is_none(), "nothing is limited there");
        let old = old[1].clone().expect("it has limits");
        let held = [(); 2].map(|()| old.admit(CLIENT, 0).expect("he may have two"));
        let new = follow(&mut counts, "connections = 3\nper_client = { connections = 9 }");
        let new = new[1].clone().expect("it has limits");
        assert!(new.admit(CLIENT, 0).is_ok());
        assert!(new.admit(CLIENT, 0).is_err(), "there are three");
        held.into_iter().for_each(|held| old.release(held));
        assert!(new.admit(CLIENT, 0).is_ok());
    }

    #[test]
    fn memory_is_taken_once_somebody_limits_his_clients() {
        let mut counts = Counts::default();
        follow(&mut counts, "connections = 9\nrate = 9");
        assert!(counts.clients.is_none());
        follow(&mut counts, "per_client = { rate = 9 }");
        assert!(counts.clients.is_some());
    }

    #[test]
    fn workers_that_count_one_client_lose_nothing() {
        let mut counts = Counts::default();
        let limits = follow(&mut counts, "connections = 1000\nper_client = { connections = 5 }");
        let limits = limits[1].as_ref().expect("it has limits");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let held = limits.admit(CLIENT, 0).expect("there are four");
                        limits.release(held);
                    }
                });
            }
        });
        let admitted = (0..9).filter(|_| limits.admit(CLIENT, 0).is_ok());
        assert_eq!(admitted.count(), 5, "nothing is left of them");
    }
}
