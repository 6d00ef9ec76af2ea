//! `cloudflare-spectrum`: v2 over TCP and SPP over UDP, from networks that are loaded while it runs.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use crate::common::deadline::PATIENCE;
use crate::common::wire::{SIGNATURE, v2};
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, connect, internet, ran, refused, sh};

const CLOUDFLARE: &str = "198.51.100.9";
const CLIENT: &str = "203.0.113.7:51820";
const SERVICE: &str = "192.0.2.1:443";

/// SPP: its magic, client and destination as IPv6 addresses, their ports; 38 bytes.
fn spp() -> Vec<u8> {
    let mut header = vec![0x56, 0xec];
    for last in [[203, 0, 113, 7], [192, 0, 2, 1]] {
        header.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        header.extend(last);
    }
    header.extend(51820u16.to_be_bytes());
    header.extend(443u16.to_be_bytes());
    header
}

/// The header over TCP that says so, and its twin of datagrams.
fn headers() -> [Vec<u8>; 2] {
    let [client, service] = [CLIENT, SERVICE].map(|addr| addr.parse().expect("an address"));
    let tcp = v2(client, service);
    let mut udp = tcp.clone();
    udp[SIGNATURE.len() + 1] = 0x12;
    [tcp, udp]
}

#[test]
fn spectrum_is_believed_over_tcp_and_udp_once_its_networks_are_loaded() {
    in_a_namespace(|| {
        let recipe = Recipe::named("cloudflare-spectrum");
        internet(&[CLOUDFLARE, "10.0.0.20"]);
        let proxy = Host::with("proxy", &["192.0.2.1"]);
        let tcp = TcpListener::bind("10.0.0.20:443").expect("it is free");
        let udp = UdpSocket::bind("10.0.0.20:9987").expect("it is free");
        udp.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        sh(&format!(
            "mkdir /run/ppserver /run/lists; cp {} /run/pp.toml",
            recipe.file("ppserver.toml")
        ));
        let file = "/run/pp.toml";
        let ours = proxy.ppserver(file);
        let [header, told] = headers();

        refused(CLOUDFLARE, SERVICE, &header);
        ours.wait_for(&["refused", "untrusted", CLOUDFLARE]);

        // An answer that is none changes nothing.
        let script = recipe.file("update-networks.sh");
        let before = fs::read(file).expect("it is there");
        fs::write("/run/lists/ips-v4", "198.51.100.0/24\n203.0.113.128/25").expect("it is ours");
        for broken in ["", "<html>busy</html>\n"] {
            fs::write("/run/lists/ips-v6", broken).expect("it is ours");
            let ran = update(&script);
            assert!(!ran.status.success(), "{ran:?}");
            assert_eq!(fs::read(file).expect("it is there"), before);
        }
        fs::write("/run/lists/ips-v6", "2001:db8:cf::/48\n").expect("it is ours");
        let ran = update(&script);
        assert!(ran.status.success(), "{ran:?}");
        let lists = fs::read_to_string(file).expect("it is there");
        for network in ["198.51.100.0/24", "203.0.113.128/25", "2001:db8:cf::/48"] {
            assert_eq!(lists.matches(&format!("    \"{network}\",\n")).count(), 2, "{lists}");
        }
        assert_eq!(lists.matches("173.245").count(), 0, "{lists}");

        let mut stream = connect(CLOUDFLARE, SERVICE);
        stream.write_all(&[&header[..], b"ping"].concat()).expect("it stands");
        let (mut served, _) = tcp.accept().expect("it comes");
        let mut bytes = vec![0; header.len() + 4];
        served.read_exact(&mut bytes).expect("it comes");
        assert_eq!(bytes, [&header[..], b"ping"].concat());

        let edge = UdpSocket::bind((CLOUDFLARE, 0)).expect("it is ours");
        edge.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        edge.connect("192.0.2.1:9987").expect("it is routed");
        edge.send(&[&spp()[..], b"ping"].concat()).expect("it is sent");
        let mut buf = [0; 256];
        let (len, peer) = udp.recv_from(&mut buf).expect("it comes");
        assert_eq!(buf[..len], [&told[..], b"ping"].concat());
        udp.send_to(b"pong", peer).expect("it is sent");
        let len = edge.recv(&mut buf).expect("it comes back");
        assert_eq!(buf[..len], [&spp()[..], b"pong"].concat());
    });
}

/// Runs the script, where `ppserver` is a program.
#[track_caller]
fn update(script: &str) -> Output {
    let ours = Path::new(env!("CARGO_BIN_EXE_ppserver")).parent().expect("it is in a directory");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([ours.to_owned()].into_iter().chain(env::split_paths(&path)));
    let mut command = Command::new("sh");
    command.arg(script).arg("/run/pp.toml").env("NETWORKS_FROM", "file:///run/lists");
    ran(command.env("PATH", path.expect("it is one")))
}
