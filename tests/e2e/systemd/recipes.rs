//! The units and drop-ins of docs/recipes, as they stand there, in a network of their own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::manager::Systemd;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::socket::Client;
use crate::common::wire::v2;
use crate::support::namespace::in_a_namespace;

fn path(recipe: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes").join(recipe).join(file)
}

#[track_caller]
fn text(recipe: &str, file: &str) -> String {
    fs::read_to_string(path(recipe, file)).expect("it is there")
}

#[track_caller]
fn address(ip: &str) {
    let added = Command::new("ip").args(["addr", "add", ip, "dev", "lo"]).status();
    assert!(added.expect("it can be run").success(), "{ip}");
}

#[test]
fn the_ports_of_systemd_serve_the_balancer_through_restarts_and_connections_have_their_time() {
    in_a_namespace(|| {
        address("10.0.0.2");
        let balancer = IpAddr::from([10, 0, 0, 2]);
        let far_end = FarEnd::at(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let (ports, stop) = (text("systemd", "ports.conf"), text("systemd", "stop.conf"));
        let additions = [("ppserver.socket", ports.as_str()), ("ppserver.service", stop.as_str())];
        let systemd = Systemd::boot(&text("systemd", "ppserver.toml"), &additions);
        systemd.ask(&["systemctl", "start", "ppserver.socket"]);
        assert_eq!(systemd.property("TimeoutStopUSec"), "2min 10s");

        let [client, service] =
            ["203.0.113.7:51820", "192.0.2.1:80"].map(|addr| addr.parse().expect("an address"));
        let sent = [&v2(client, service)[..], b"ping"].concat();
        let edge = SocketAddr::from(([127, 0, 0, 1], 80));
        for nth in 0..3 {
            // The first one starts it, and the others come while it starts anew.
            let answer = Client::connect(balancer, edge).exchange(&sent).complete();
            assert_eq!((&far_end.ended(nth).received, &answer), (&sent, &sent));
            systemd.ask(&["systemctl", "restart", "--no-block", "ppserver"]);
        }
        Client::connect([127, 0, 0, 1].into(), edge).exchange(&sent).assert_reset();
        systemd.wait_for_record("refused", 0);
        let logged = poll_for(PATIENCE, || {
            let lines = systemd.ask(&["cat", "/var/log/ppserver/access.log"]);
            (lines.matches("\"client\":\"203.0.113.7:51820\"").count() == 3).then_some(())
        });
        assert!(logged.is_some(), "each of them has a line");
    });
}

#[test]
fn the_drop_in_for_ssh_brings_the_capability_and_the_routes() {
    in_a_namespace(|| {
        let lines = text("ssh", "transparent.conf");
        let config = text("ssh", "ppserver.toml");
        let systemd = Systemd::boot(&config, &[("ppserver.service", &lines)]);
        let routes = path("ssh", "routes.sh").canonicalize().expect("it is there");
        let routes = routes.to_str().expect("its path is UTF-8");
        systemd.ask(&["install", routes, "/usr/local/sbin/ppserver-routes"]);
        for _ in 0..2 {
            systemd.ask(&["systemctl", "restart", "ppserver"]);
            let rules = systemd.ask(&["ip", "rule", "show"]);
            assert_eq!(rules.matches("from 127.0.0.1 iif lo lookup 123").count(), 1, "{rules}");
        }
        let log = systemd.journal(&["--unit", "ppserver"]);
        assert!(!log.contains("answers to clients do not come back"), "{log}");
        let pid = systemd.main_pid().as_raw_nonzero();
        let status = systemd.ask(&["cat", &format!("/proc/{pid}/status")]);
        assert!(status.contains("CapEff:\t0000000000002400"), "{status}");
    });
}

#[test]
fn the_drop_in_for_ecmp_announces_the_address_for_as_long_as_it_is_served() {
    in_a_namespace(|| {
        address("192.0.2.1");
        let lines = text("ecmp", "drop-in.conf");
        let config = text("ecmp", "ppserver.toml");
        let systemd = Systemd::boot(&config, &[("ppserver.service", &lines)]);
        let bird = path("ecmp", "node-a.conf").canonicalize().expect("it is there");
        let bird = bird.to_str().expect("its path is UTF-8");
        systemd.ask(&["mkdir", "/run/bird"]);
        systemd.ask(&["bird", "-c", bird]);
        let is_announced = || systemd.ask(&["birdc", "show", "route"]).contains("192.0.2.1/32");
        assert!(!is_announced());
        systemd.ask(&["systemctl", "start", "ppserver"]);
        assert!(is_announced());
        systemd.signal_main("KILL");
        systemd.wait_for("NRestarts", "1");
        systemd.wait_for("ActiveState", "active");
        assert!(is_announced(), "it serves again");
        systemd.ask(&["systemctl", "stop", "--no-block", "ppserver"]);
        let gone = poll_for(PATIENCE, || (!is_announced()).then_some(()));
        assert!(gone.is_some(), "the route goes first");
        systemd.wait_for("ActiveState", "inactive");
        assert_eq!(systemd.property("Result"), "success", "{}", systemd.journal(&[]));
    });
}
