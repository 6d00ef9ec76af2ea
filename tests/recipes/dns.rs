//! `dns`: dnsdist in front and two unbounds behind, over UDP and TCP.

use std::process::Command;

use crate::common::process::{Proc, Stream};
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, internet, ran, sh, wait_for};

const CLIENTS: [(&str, &str); 2] =
    [("203.0.113.7", "192.0.2.53"), ("2001:db8:7::7", "2001:db8::53")];
const STRANGER: &str = "198.51.100.9";
const ANSWER: &str = "192.0.2.80";

#[test]
fn resolvers_know_the_clients_of_dnsdist_and_a_client_keeps_to_one_of_them() {
    in_a_namespace(|| {
        let recipe = Recipe::named("dns");
        internet(&["203.0.113.7", "2001:db8:7::7", STRANGER]);
        let balancer = Host::with("balancer", &["10.0.0.2", "192.0.2.53", "2001:db8::53"]);
        let proxy = Host::with("proxy", &["10.0.0.10"]);
        // What is there before: Debian's file that includes others, and a zone.
        sh(&format!(
            "cat > /run/unbound.conf <<END
include: \"{}\"
server:
    use-syslog: no
    logfile: \"\"
    do-daemonize: no
    username: \"\"
    chroot: \"\"
    pidfile: \"\"
    directory: \"/run\"
    module-config: \"iterator\"
    local-zone: \"example.com.\" static
    local-data: \"www.example.com. A {ANSWER}\"
END",
            recipe.file("unbound.conf")
        ));
        let resolvers =
            [("resolver-a", "10.0.0.20"), ("resolver-b", "10.0.0.21")].map(|(name, ip)| {
                Host::with(name, &[ip]).start(
                    53,
                    "unbound",
                    &["-d", "-p", "-c", "/run/unbound.conf"],
                )
            });
        let _ours = proxy.ppserver(&recipe.file("ppserver.toml"));
        let args = ["--supervised", "--disable-syslog", "-C", &recipe.file("dnsdist.conf")];
        let _dnsdist = balancer.start(53, "dnsdist", &args);

        for (client, service) in CLIENTS {
            for flag in ["+notcp", "+tcp", "+notcp", "+tcp"] {
                assert_eq!(ask(client, service, flag), ANSWER, "{client} {flag}");
            }
            wait_for("all of a client's questions at one resolver", || {
                let mut asked = resolvers.each_ref().map(|resolver| questions(resolver, client));
                asked.sort_unstable();
                (asked == [0, 4]).then_some(())
            });
        }
        // Refused by unbound, which is told who he is.
        assert_eq!(ask(STRANGER, "192.0.2.53", "+notcp"), "");
        // Nobody but the balancer says who a client is.
        assert_eq!(ask(CLIENTS[0].0, "10.0.0.10", "+timeout=1"), "");
    });
}

#[track_caller]
fn ask(client: &str, service: &str, flag: &str) -> String {
    let mut kdig = Command::new("kdig");
    kdig.args([&format!("@{service}"), "-b", client, "+short", "+retry=0", "+timeout=10", flag]);
    let output = ran(kdig.args(["www.example.com", "A"]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn questions(resolver: &Proc, client: &str) -> usize {
    let question = format!("info: {client} www.example.com. A IN");
    resolver.lines(Stream::Stderr).iter().filter(|line| line.ends_with(&question)).count()
}
