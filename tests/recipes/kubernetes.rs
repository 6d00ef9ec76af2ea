//! `kubernetes`: the configuration of the pods, run and stopped as a kubelet would; what the API says of the manifests
//! is `cargo xtask recipes`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::common::wire::v2;
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, connect, internet, ran, refused, sh, wait_for};

/// In the subnet that is trusted.
const BALANCER: &str = "10.0.0.2";
const KUBELET: &str = "192.0.2.9";
const WEB: &str = "10.0.16.20";

/// The value behind the first `key` of a text.
#[track_caller]
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key}"));
    rest.split(['\n', ' ', '"', ']']).find(|word| !word.is_empty()).expect("it has a value")
}

#[track_caller]
fn seconds(text: &str, key: &str) -> u64 {
    value(text, key).trim_end_matches('s').parse().expect("seconds")
}

#[test]
fn the_manifests_and_the_configuration_agree_on_ports_trust_and_time() {
    let recipe = Recipe::named("kubernetes");
    let [config, deployment, policy] = ["ppserver.toml", "deployment.yaml", "networkpolicy.yaml"]
        .map(|name| fs::read_to_string(recipe.file(name)).expect("it is text"));
    assert_eq!(value(&config, "trust = [\""), value(&policy, "cidr:"));
    for (bind, port) in [("bind = [\"", "name: edge\n"), ("listen = \"", "name: admin\n")] {
        let bound = value(&config, bind).split(':').nth(1);
        let (_, behind) = deployment.split_once(port).expect("the port has a name");
        assert_eq!(bound, Some(value(behind, "containerPort:")));
    }
    let told = seconds(&config, "lame_duck = \"") + seconds(&config, "shutdown_grace = \"");
    assert!(seconds(&deployment, "terminationGracePeriodSeconds:") > told);
}

#[test]
fn a_pod_is_ready_once_its_name_is_known_and_serves_the_balancer_through_a_reload() {
    in_a_namespace(|| {
        let recipe = Recipe::named("kubernetes");
        internet(&[BALANCER, KUBELET, WEB]);
        // As the kubelet mounts it.
        sh(&format!(
            "mkdir /run/ppserver /run/config
             cp {} /run/config/ppserver.toml
             printf '127.0.0.1 localhost\\n' > /run/hosts
             mount --bind /run/hosts /etc/hosts",
            recipe.file("ppserver.toml")
        ));
        let pod = Host::with("pod", &["10.0.8.10"]);
        let web = TcpListener::bind((WEB, 8443)).expect("it is free");
        let ours = pod.ppserver("/run/config/ppserver.toml");
        assert_eq!(asked("/livez"), 200);
        assert_eq!(asked("/readyz"), 503, "nobody stands behind");
        assert_eq!(asked("/api/v1/status"), 403, "for probes and scrapers alone");

        sh(&format!("echo '{WEB} web-pods.default.svc.cluster.local' >> /run/hosts"));
        let exec = |words: &[&str]| ran(pod.command(env!("CARGO_BIN_EXE_ppserver")).args(words));
        wait_for("a pod that is ready", || (asked("/readyz") == 200).then_some(()));

        let [client, service] =
            ["203.0.113.7:51820", "192.0.2.1:443"].map(|addr| addr.parse().expect("an address"));
        let header = v2(client, service);
        let mut stream = connect(BALANCER, "10.0.8.10:8443");
        stream.write_all(&[&header[..], b"ping"].concat()).expect("it stands");
        let (mut served, _) = web.accept().expect("it comes");
        let mut bytes = vec![0; header.len() + 4];
        served.read_exact(&mut bytes).expect("it comes");
        assert_eq!(bytes, [&header[..], b"ping"].concat());

        let text = fs::read_to_string("/run/config/ppserver.toml").expect("it is there");
        let stricter = text.replace("10.0.0.0/20", "10.0.4.0/22");
        for (text, is_taken) in [("nonsense", false), (stricter.as_str(), true)] {
            fs::write("/run/config/ppserver.toml", text).expect("it is ours");
            let told = exec(&["reload"]);
            assert_eq!(told.status.success(), is_taken, "{told:?}");
        }
        refused(BALANCER, "10.0.8.10:8443", &header);
        ours.wait_for(&["refused", "untrusted", BALANCER]);
        // Who was there stays.
        served.write_all(b"pong").expect("it stands");
        let mut pong = [0; 4];
        stream.read_exact(&mut pong).expect("it comes");
        assert_eq!(&pong, b"pong");
    });
}

/// The status of the admin door's answer to a kubelet.
#[track_caller]
fn asked(path: &str) -> u16 {
    let mut curl = Command::new("curl");
    curl.args(["-q", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]);
    let told = ran(curl.args(["--interface", KUBELET, &format!("http://10.0.8.10:9464{path}")]));
    String::from_utf8_lossy(&told.stdout).parse().expect("a number")
}
