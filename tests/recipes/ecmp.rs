//! `ecmp`: BIRD on a router and on two nodes that share an address.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use crate::common::process::Proc;
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Ppserver, Recipe, internet, require, sh, succeeded, wait_for};

/// Clients' connections in a round.
const MANY: usize = 400;
/// What each of two nodes has of them at least; of 400 coins fewer than 150 fall on one side once in 2 million rounds.
const SHARE_MIN: usize = 150;

struct Node {
    host: Host,
    name: &'static str,
    addr: &'static str,
    bird: Proc,
    _ours: Ppserver,
}

impl Node {
    /// A node at one end of a link; the router is at the other.
    #[track_caller]
    fn start(recipe: &Recipe, name: &'static str, router: &str, addr: &'static str) -> Node {
        let host = Host::with(name, &[]);
        sh(&format!("ip addr add {router}/31 dev {name}"));
        host.sh(&format!("ip addr add {addr}/31 dev uplink; ip addr add 192.0.2.1/32 dev lo"));
        let bird = bird(recipe, Some(&host), name);
        let ours = host.ppserver(&recipe.file("ppserver.toml"));
        let node = Node { host, name, addr, bird, _ours: ours };
        // As systemd does behind READY.
        node.announce("enable");
        node
    }

    #[track_caller]
    fn announce(&self, word: &str) {
        self.host.sh(&format!("birdc -s /run/{}.ctl {word} edge", self.name));
    }
}

/// BIRD on a host, or here.
#[track_caller]
fn bird(recipe: &Recipe, host: Option<&Host>, name: &str) -> Proc {
    let mut command = match host {
        Some(host) => host.command("bird"),
        None => Command::new(require("bird")),
    };
    let control = format!("/run/{name}.ctl");
    command.args(["-f", "-s", &control, "-P", &format!("/run/{name}.pid"), "-c"]);
    let proc = Proc::spawn(name, command.arg(recipe.file(&format!("{name}.conf"))));
    wait_for(&control, || Path::new(&control).exists().then_some(()));
    proc
}

#[test]
fn two_nodes_share_the_clients_of_an_address_and_one_goes_on_alone() {
    in_a_namespace(|| {
        let recipe = Recipe::named("ecmp");
        internet(&["10.0.0.20"]);
        let clients = Host::with("clients", &["203.0.113.7"]);
        succeeded(Command::new("sh").arg(recipe.file("router.sh")));
        let web = TcpListener::bind("10.0.0.20:8080").expect("it is free");
        thread::spawn(move || serve(&web));
        let a = Node::start(&recipe, "node-a", "10.0.1.0", "10.0.1.1");
        let b = Node::start(&recipe, "node-b", "10.0.2.0", "10.0.2.1");
        let _router = bird(&recipe, None, "router");

        wait_for_routes(&[&a, &b]);
        let (at_a, at_b) = served(&clients);
        assert!(at_a >= SHARE_MIN && at_b >= SHARE_MIN, "{at_a} and {at_b}");

        // One is to stop, and says so.
        a.announce("disable");
        wait_for_routes(&[&b]);
        assert_eq!(served(&clients), (0, MANY));
        a.announce("enable");
        wait_for_routes(&[&a, &b]);

        // One stands still, and says nothing any more: BFD is what tells.
        b.bird.signal(Signal::STOP);
        wait_for_routes(&[&a]);
        assert_eq!(served(&clients), (MANY, 0));
        b.bird.signal(Signal::CONT);
    });
}

/// Waits until the router's next hops are these.
#[track_caller]
fn wait_for_routes(nodes: &[&Node]) {
    let mut expected: Vec<_> = nodes.iter().map(|node| node.addr).collect();
    expected.sort_unstable();
    wait_for("the router's next hops", || {
        let routes = sh("ip route show 192.0.2.1");
        let words: Vec<_> = routes.split_whitespace().collect();
        let hops = words.windows(2).filter(|pair| pair[0] == "via").map(|pair| pair[1]);
        let mut hops: Vec<_> = hops.collect();
        hops.sort_unstable();
        (hops == expected).then_some(())
    });
}

/// How many of the connections of a round came through each node.
#[track_caller]
fn served(clients: &Host) -> (usize, usize) {
    let mut curl = clients.command("curl");
    curl.args(["-q", "-sS", "--fail", "--max-time", "60", "-H", "Connection: close"]);
    let told = succeeded(curl.arg(format!("http://192.0.2.1/[1-{MANY}]")));
    let of = |addr: &str| told.lines().filter(|line| *line == addr).count();
    (of("10.0.1.1"), of("10.0.2.1"))
}

/// A web server behind headers that tells which peer they came from.
fn serve(web: &TcpListener) {
    while let Ok((mut stream, peer)) = web.accept() {
        let head = BufReader::new(&stream).split(b'\n');
        // Our header is not text, and its signature has line ends of its own; so wait for the request, and its end.
        let mut asked = false;
        for line in head.map_while(Result::ok) {
            asked |= line.starts_with(b"Host:");
            if asked && line == b"\r" {
                break;
            }
        }
        let body = format!("{}\n", peer.ip());
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok();
    }
}
