//! `aws-nlb-fargate`: the two containers of its task, by the environment and the file that they are given; what
//! Terraform makes of the rest is `cargo xtask recipes`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use rustix::process::Signal;

use crate::common::process::{Proc, Stream};
use crate::common::wire::{SIGNATURE, v2};
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, connect, internet, ran, sh};

/// The balancer's address in its subnet.
const BALANCER: &str = "10.0.0.2";
const SUBNETS: &str = "10.0.0.0/24,10.0.1.0/24";
const PROXY: &str = "10.0.1.10:3128";
const ORIGIN: &str = "198.51.100.80";

#[test]
fn squid_serves_clients_by_the_address_that_the_balancer_saw() {
    in_a_namespace(|| {
        let recipe = Recipe::named("aws-nlb-fargate");
        internet(&[BALANCER, ORIGIN]);
        let task = Host::with("task", &["10.0.1.10"]);
        let origin = TcpListener::bind((ORIGIN, 80)).expect("it is free");
        thread::spawn(move || {
            while let Ok((mut stream, _)) = origin.accept() {
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nyes\n").ok();
            }
        });
        // As its user, to whom a container's runtime gives the log.
        sh(&format!("cp {} /run/squid.conf", recipe.file("squid.conf")));
        let lines = "chown proxy /dev/stdout /dev/stderr
            exec setpriv --reuid=proxy --regid=proxy --clear-groups squid -N -f /run/squid.conf";
        let squid = task.start(3129, "sh", &["-euc", lines]);

        let environment = fs::read_to_string(recipe.file("ppserver.env")).expect("it is text");
        let environment = environment.lines().map(|line| line.split_once('=').expect("NAME=VALUE"));
        let ours = |word: &str| {
            let mut command = task.command(env!("CARGO_BIN_EXE_ppserver"));
            command.arg(word).envs(environment.clone()).env("PPSERVER_TRUST", SUBNETS);
            command
        };
        let healthcheck = || ran(&mut ours("healthcheck"));
        assert!(!healthcheck().status.success(), "nobody runs");
        let mut ours = Proc::spawn("ppserver", &mut ours("run"));
        ours.wait_for_line(Stream::Stderr, "its port", |line| {
            line.contains("\"listening\"").then_some(())
        });

        let service = "192.0.2.1:3128".parse().expect("an address");
        for (client, status) in [("203.0.113.7:51820", "200"), ("198.51.100.66:51820", "403")] {
            let header = v2(client.parse().expect("an address"), service);
            let request = format!("GET http://{ORIGIN}/ HTTP/1.0\r\n\r\n");
            let answer = exchange(&[&header[..], request.as_bytes()].concat());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{client}: {answer}");
            let ip = client.split(':').next().expect("it has one");
            squid.wait_for_line(Stream::Stdout, ip, |line| {
                line.contains(&format!(" {ip} GET http://{ORIGIN}/ {status}")).then_some(())
            });
        }
        // A check of the balancer: LOCAL, answered with an end and not logged.
        let check = [SIGNATURE, &[0x20, 0x00, 0, 0][..]].concat();
        assert_eq!(exchange(&check), "");
        let healthy = healthcheck();
        assert!(healthy.status.success(), "{healthy:?}");
        ours.signal(Signal::TERM);
        assert!(ours.wait_for_exit().success());
        assert_eq!(ours.lines(Stream::Stdout).len(), 2, "the access log has clients alone");
    });
}

#[track_caller]
fn exchange(bytes: &[u8]) -> String {
    let mut stream = connect(BALANCER, PROXY);
    stream.write_all(bytes).expect("it stands");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends in order");
    answer
}
