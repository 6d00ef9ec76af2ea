//! What a reload cannot change: compared, so that the answer is one list for code and docs.

use super::Config;

impl Config {
    /// The keys whose change in `next` takes effect only when the process starts anew; the rest of
    /// `next` holds for new connections. The "on reload" column of docs/operations.md is this.
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let names = |config: &Self| -> Vec<_> {
            config.listeners.iter().map(|listener| listener.name.clone()).collect()
        };
        let binds = |config: &Self| -> Vec<_> {
            config.listeners.iter().map(|listener| listener.bind.clone()).collect()
        };
        let (old, new) = (&self.server, &next.server);
        [
            ("server.workers", old.workers != new.workers),
            ("server.max_connections", old.max_connections != new.max_connections),
            ("log", self.log != next.log),
            ("access_log", self.access_log != next.access_log),
            ("tcp", self.tcp != next.tcp),
            ("splice", self.splice != next.splice),
            ("listener.name", names(self) != names(next)),
            ("listener.bind", binds(self) != binds(next)),
        ]
        .into_iter()
        .filter_map(|(key, is_changed)| is_changed.then_some(key))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, from_bytes};

    const FILE: &str = "config_version = 1\n[server]\nworkers = 2\nshutdown_grace = '1s'\n\
        [timeouts]\nidle = '1s'\n[log]\nlevel = 'info'\n[access_log]\nenabled = false\n\
        [tcp]\nbacklog = 7\n[splice]\nmode = 'auto'\n[[listener]]\nname = 'a'\n\
        bind = ['127.0.0.1:1']\nupstream = 'u'\n[listener.proxy_protocol]\naccept = 'require'\n\
        trust = ['10.0.0.0/8']\n[upstream.u]\nendpoints = ['127.0.0.1:2']\n";

    fn after(old: &str, new: &str) -> Vec<&'static str> {
        assert!(FILE.contains(old), "{old}");
        let config =
            |text: &str| from_bytes("f".into(), text.as_bytes(), Host::default()).unwrap().config;
        let (before, next) = (config(FILE), config(&FILE.replacen(old, new, 1)));
        assert_ne!(before, next, "{old} -> {new}");
        before.needs_restart(&next)
    }

    #[test]
    fn what_new_connections_can_follow_needs_no_restart() {
        for (old, new) in [
            ("shutdown_grace = '1s'", "shutdown_grace = '2s'"),
            ("idle = '1s'", "idle = '2s'"),
            ("10.0.0.0/8", "10.0.0.0/9"),
            ("'require'", "'optional'"),
            ("127.0.0.1:2", "127.0.0.1:3"),
        ] {
            assert_eq!(after(old, new), Vec::<&str>::new(), "{old} -> {new}");
        }
    }

    #[test]
    fn what_was_set_up_at_start_is_named() {
        for (old, new, key) in [
            ("workers = 2", "workers = 3", "server.workers"),
            ("[server]\n", "[server]\nmax_connections = 9\n", "server.max_connections"),
            ("'info'", "'warn'", "log"),
            ("enabled = false", "enabled = true", "access_log"),
            ("backlog = 7", "backlog = 8", "tcp"),
            ("mode = 'auto'", "mode = 'off'", "splice"),
            ("name = 'a'", "name = 'b'", "listener.name"),
            ("127.0.0.1:1", "127.0.0.1:4", "listener.bind"),
        ] {
            assert_eq!(after(old, new), [key], "{old} -> {new}");
        }
    }
}
