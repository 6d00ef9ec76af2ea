//! `ssh`: a real sshd, which knows nothing of headers, and a client that it lets in by the address it comes from.

use std::process::{Command, Output};

use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, internet, ran, sh, succeeded};

const CLIENT: &str = "203.0.113.7";
const CLIENT_V6: &str = "2001:db8:7::7";
const OTHER: &str = "203.0.113.8";

#[test]
fn sshd_lets_in_by_the_address_that_the_balancer_saw_and_answers_come_back() {
    in_a_namespace(|| {
        let recipe = Recipe::named("ssh");
        internet(&[CLIENT, CLIENT_V6, OTHER]);
        let balancer = Host::with("balancer", &["10.0.0.2", "192.0.2.1", "2001:db8::1"]);
        let host = Host::with("host", &["10.0.0.10"]);
        // What is there before: Debian's first line, a key of the host, and one of a user who may come from there alone.
        sh(&format!(
            "mount -t tmpfs -o mode=755 tmpfs /etc/ssh
             mkdir /etc/ssh/sshd_config.d /run/sshd
             ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
             ssh-keygen -q -t ed25519 -N '' -f /run/key
             echo 'Include /etc/ssh/sshd_config.d/*.conf' > /etc/ssh/sshd_config
             echo 'AuthorizedKeysFile /etc/ssh/authorized_keys' >> /etc/ssh/sshd_config
             echo \"from=\\\"{CLIENT},{CLIENT_V6}\\\" $(cat /run/key.pub)\" > /etc/ssh/authorized_keys
             cp {} /etc/ssh/sshd_config.d/",
            recipe.file("sshd.conf")
        ));
        let _sshd = host.start(2222, "/usr/sbin/sshd", &["-D", "-e"]);
        succeeded(host.command("sh").arg(recipe.file("routes.sh")));
        let _ours = host.ppserver(&recipe.file("ppserver.toml"));
        let _haproxy = balancer.start(22, "haproxy", &["-db", "-f", &recipe.file("haproxy.cfg")]);

        for (client, to) in [(CLIENT, "192.0.2.1"), (CLIENT_V6, "2001:db8::1")] {
            let told = ssh(client, to);
            assert!(told.status.success(), "{told:?}");
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            // Client, his port, our endpoint.
            assert!(told.starts_with(&format!("{client} ")), "{told}");
            assert!(told.trim_end().ends_with(" 2222"), "{told}");
        }
        let refused = ssh(OTHER, "192.0.2.1");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("Permission denied"), "{said}");
    });
}

#[track_caller]
fn ssh(client: &str, to: &str) -> Output {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-i", "/run/key", "-b", client, "-o", "BatchMode=yes"]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ran(ssh.args([&format!("root@{to}"), "echo $SSH_CONNECTION"]))
}
