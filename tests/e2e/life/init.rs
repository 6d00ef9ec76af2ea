//! `init`: each configuration that it prints is clean, and serves who stands in that place, which takes root for the routes of one.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::common::far_end::FarEnd;
use crate::common::socket::Client;
use crate::common::wire::{SIGNATURE, v2};
use crate::life::server::{Server, ppserver, run};
use crate::support::namespace::in_a_namespace;

/// A configuration, with every address one of loopback and everybody there believed.
fn here(text: &str, far: SocketAddr) -> String {
    let mut rest = text;
    let mut here = String::new();
    // Lists may have several lines.
    while let Some((before, list)) = rest.split_once("trust = [") {
        let (_, after) = list.split_once(']').expect("the list ends");
        here += &format!("{before}trust = ['127.0.0.0/8']");
        rest = after;
    }
    here += rest;
    let lines = here.lines().map(|line| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        match key {
            "bind" => "bind = ['127.0.0.1:0']".to_owned(),
            "listen" => "listen = '127.0.0.1:0'".to_owned(),
            "endpoints" => format!("endpoints = ['{far}']"),
            _ => line.to_owned(),
        }
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn each_place_has_a_configuration_that_checks_clean_and_serves() {
    in_a_namespace(each_serves);
}

fn each_serves() {
    let client = SocketAddr::from(([203, 0, 113, 7], 51820));
    let header = v2(client, "127.0.0.1:443".parse().expect("an address"));
    let places = run(ppserver().args(["init", "--for"]));
    assert_eq!((places.code, places.stderr.as_str()), (Some(0), ""));
    let places: Vec<_> = places
        .stdout
        .lines()
        .map(|line| line.split_whitespace().nth(3).expect("a command that prints one").to_owned())
        .collect();
    assert_eq!(places, ["aws-nlb", "cloudflare", "kubernetes", "haproxy", "mail", "ssh"]);
    for place in places {
        let printed = run(ppserver().args(["init", "--for", &place]));
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{place}");
        let dir = tempfile::TempDir::new().expect("a directory can be made");
        let file = dir.path().join("ppserver.toml");
        fs::write(&file, &printed.stdout).expect("it can be written");
        let checked = run(ppserver().args(["check", "-c"]).arg(&file));
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{place}");

        for line in printed.stdout.lines().filter_map(|line| line.strip_prefix("#   ip ")) {
            let done = Command::new("ip").args(line.split_whitespace()).status();
            assert!(done.is_ok_and(|status| status.success()), "{place}: {line}");
        }
        let far = FarEnd::start();
        let text = here(&printed.stdout, far.addr());
        let ports = text.matches("\nbind = ").count();
        let mut server = Server::start_ports(&text, ports);
        let is_behind_headers = text.contains("\n  accept = ");
        let header = if is_behind_headers { &*header } else { b"" };
        let client = Client::connect(Ipv4Addr::LOCALHOST.into(), server.addr());
        // Who echoes sends back our header too.
        let answer = client.exchange(&[header, b"x"].concat()).complete();
        assert!(answer.ends_with(b"x"), "{place}");
        // Behind checks, which say a header alone.
        let said = (0..far.accepted()).map(|nth| far.ended(nth).received);
        let said = said.into_iter().find(|said| said.ends_with(b"x")).expect("it came through");
        let is_told = said.starts_with(SIGNATURE);
        assert_eq!(is_told, place != "ssh", "{place}: {said:?}");
        if is_told && is_behind_headers {
            assert_eq!(said, [header, b"x"].concat(), "{place}");
        }
        server.stop();
    }
}

#[test]
fn the_balancer_of_aws_is_given_time_for_its_clients_first_bytes() {
    let printed = run(ppserver().args(["init", "--for", "aws-nlb"]));
    let why = "# The balancer sends its header with the client's first bytes";
    let (_, behind) = printed.stdout.split_once(why).expect("it says why");
    let key = behind.lines().find(|line| !line.starts_with('#') && line.contains(" = "));
    assert_eq!(key, Some("header = \"10s\""));
}
