//! What a reload cannot change: compared, so that the answer is one list for code and docs.

use super::Config;

impl Config {
    /// The keys whose change in `next` takes effect only when the process starts anew; the rest of
    /// `next` holds for new connections. The "on reload" column of docs/operations.md is this.
    pub fn needs_restart(&self, next: &Self) -> Vec<String> {
        let (old, new) = (&self.server, &next.server);
        let mut keys: Vec<String> = [
            ("server.workers", old.workers != new.workers),
            ("server.max_connections", old.max_connections != new.max_connections),
            ("log", self.log != next.log),
            ("access_log", self.access_log != next.access_log),
            ("tcp", self.tcp != next.tcp),
            ("splice", self.splice != next.splice),
        ]
        .into_iter()
        .filter(|(_, is_changed)| *is_changed)
        .map(|(key, _)| key.to_owned())
        .collect();
        let names = |config: &Self| -> Vec<_> {
            config.listeners.iter().map(|listener| listener.name.clone()).collect()
        };
        let (old, new) = (names(self), names(next));
        if old != new {
            keys.push(format!("listener.name ({}, now {})", old.join(", "), new.join(", ")));
        }
        for listener in &self.listeners {
            let same = next.listeners.iter().find(|other| other.name == listener.name);
            if same.is_some_and(|other| other.bind != listener.bind) {
                keys.push(format!("listener.bind of `{}`", listener.name));
            }
        }
        keys
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

    fn after(old: &str, new: &str) -> Vec<String> {
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
            assert_eq!(after(old, new), [""; 0], "{old} -> {new}");
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
            ("name = 'a'", "name = 'b'", "listener.name (a, now b)"),
            ("127.0.0.1:1", "127.0.0.1:4", "listener.bind of `a`"),
        ] {
            assert_eq!(after(old, new), [key], "{old} -> {new}");
        }
    }
}
