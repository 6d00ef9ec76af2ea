//! SIGHUP: listeners and their addresses come, go and move, by name.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::common::far_end::FarEnd;
use crate::common::process::Stream;
use crate::common::socket::ReservedPort;
use crate::life::procfs;
use crate::life::server::{Server, file, listener, wildcard_port};
use crate::life::session::{Session, wait_until_refused};

const RELOADED: &str = "reloaded";
const REFUSED: &str = "reload refused";

/// The tables of a listener at this address.
fn listener_at(name: &str, addr: &str, to: SocketAddr) -> String {
    listener(name, to).replace("127.0.0.1:0", addr)
}

/// The sockets that a server has open, by their numbers in the kernel.
pub(crate) fn sockets(server: &Server) -> BTreeSet<String> {
    let descriptors = procfs::descriptors(server.pid()).into_values();
    descriptors.filter(|target| target.starts_with("socket")).collect()
}

/// Sees that each of them serves.
#[track_caller]
fn serves(addrs: &[SocketAddr]) {
    addrs.iter().for_each(|addr| drop(Session::open(*addr)));
}

#[test]
fn listeners_come_and_go_by_name_and_the_others_keep_their_sockets() {
    let ends = [(); 3].map(|()| FarEnd::start());
    let [a, b, c] =
        [("a", 0), ("b", 1), ("c", 2)].map(|(name, at)| listener(name, ends[at].addr()));
    let text = |listeners: [&String; 2]| {
        format!("config_version = 1\nserver.workers = 2\n{}{}", listeners[0], listeners[1])
    };
    let mut server = Server::start_ports(&text([&a, &b]), 2);
    let [at_a, at_b] = server.addrs()[..] else { panic!("two ports") };
    let before = sockets(&server);

    let line = server.reload(&text([&b, &a]), RELOADED);
    assert_eq!(line["changes"], "nothing", "they have changed places");
    assert_eq!(sockets(&server), before);

    let mut running = Session::open(at_a);
    let line = server.reload(&text([&c, &b]), RELOADED);
    let changes = "listener `c`: new; listener `a`: gone; upstream `c`: new; upstream `a`: gone";
    assert_eq!(line["changes"], changes);
    let line = server.wait_for("listening", 2);
    assert_eq!(line["listener"], "c");
    let at_c = line["bind"].as_str().and_then(|addr| addr.parse().ok()).expect("an address");
    wait_until_refused(at_a);
    Session::open(at_b);
    Session::open(at_c);
    running.echo(b"to the end");
    running.finish();
    running.rest();
    assert_eq!(ends.map(|end| end.accepted()), [1, 1, 1]);
    server.stop();
}

#[test]
fn a_listeners_addresses_come_and_go_and_the_others_keep_their_sockets() {
    let far_end = FarEnd::start();
    let [first, second] = [(); 2].map(|()| ReservedPort::new());
    let text = |binds: &str| file(&[], far_end.addr()).replace("'127.0.0.1:0'", binds);
    let server = Server::start(&text("'127.0.0.1:0'"));
    let before = sockets(&server);
    let (one, two) = (first.addr(), second.addr());
    let line = server.reload(&text(&format!("'{one}', '127.0.0.1:0', '{two}'")), RELOADED);
    assert_eq!(line["changes"], format!("listener `edge`: bind (+{one} +{two})"));
    assert!(sockets(&server).is_superset(&before));
    serves(&[server.addr(), one, two]);
    let line = server.reload(&text(&format!("'{two}', '127.0.0.1:0'")), RELOADED);
    assert_eq!(line["changes"], format!("listener `edge`: bind (-{one})"));
    wait_until_refused(one);
    serves(&[server.addr(), two]);
    // Its place is free at once.
    server.reload(&text(&format!("'{one}', '127.0.0.1:0'")), RELOADED);
    serves(&[server.addr(), one]);
    wait_until_refused(two);
}

#[test]
fn an_address_that_moves_to_another_listener_keeps_its_sockets() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let port = ReservedPort::new();
    let addr = port.addr().to_string();
    let text = |named: &str, at: usize| {
        "config_version = 1\n".to_owned() + &listener_at(named, &addr, ends[at].addr())
    };
    let server = Server::start(&text("old", 0));
    let before = sockets(&server);
    Session::open(port.addr());
    server.wait_until("it is over", |counters| counters["active"] == 0);
    server.reload(&text("new", 1), RELOADED);
    assert_eq!(sockets(&server), before);
    Session::open(port.addr());
    assert_eq!(ends.map(|end| end.accepted()), [1, 1]);
}

#[test]
fn a_port_that_is_not_to_be_had_refuses_the_whole_reload() {
    let (old, new) = (FarEnd::start(), FarEnd::start());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let server = Server::start_ports(&(file(&[], old.addr()) + &listener("b", old.addr())), 2);
    let before = sockets(&server);
    let settings = ["timeouts.idle = '200ms'", "log.level = 'error'", "access_log.enabled = true"];
    let text = file(&settings, new.addr())
        + &listener("c", new.addr())
        + &listener_at("d", &taken, new.addr());
    let why = server.reload(&text, REFUSED)["why"].to_string();
    for word in ["listener `d`", &taken, "Address already in use"] {
        assert!(why.contains(word), "`{word}` is missing: {why}");
    }
    assert_eq!(sockets(&server), before, "what was bound is closed");
    let mut session = Session::open(server.addr());
    session.finish();
    session.rest();
    assert_eq!((old.ended(0).received, new.accepted()), (b"x".to_vec(), 0));
    assert_eq!(server.proc.lines(Stream::Stdout), [""; 0]);
}

#[test]
fn a_wildcard_gives_way_to_one_of_its_addresses_and_the_other_way_round() {
    let ends = [(); 3].map(|()| FarEnd::start());
    let port = wildcard_port();
    let text = |ip: &str, at: usize| {
        "config_version = 1\nserver.workers = 2\n".to_owned()
            + &listener_at("edge", &format!("{ip}:{port}"), ends[at].addr())
    };
    let server = Server::start(&text("0.0.0.0", 0));
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    Session::open(addr);
    server.reload(&text("127.0.0.1", 1), RELOADED);
    serves(&[addr; 10]);
    wait_until_refused(([127, 0, 0, 2], port).into());
    server.reload(&text("0.0.0.0", 2), RELOADED);
    serves(&[addr; 10]);
    assert_eq!(ends.map(|end| end.accepted()), [1, 10, 10]);
}
