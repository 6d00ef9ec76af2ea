//! A reload that takes a port away while nothing can be accepted.

use std::fs;

use rustix::process::Signal;

use super::{Calm, strace, wait_until_idle};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::ppserver::assert_balanced;
use crate::life::server::{Server, file, listener};
use crate::life::session::{HEADER, Session, wait_until_refused};
use crate::support::backlog;

#[test]
fn who_waits_at_a_port_that_goes_is_served_on_its_terms_and_then_it_is_closed() {
    /// More than a worker accepts at a time.
    const QUEUED: usize = 100;
    let ends = [FarEnd::start(), FarEnd::start()];
    let stays = listener("stays", ends[1].addr());
    let text = file(&["server.workers = 1"], ends[0].addr());
    let server = Server::start_ports(&(text.clone() + &stays), 2);
    let [goes, other] = server.addrs()[..] else { panic!("two ports") };
    let calm = Calm::of(server.pid());
    let trouble = ["-e", "trace=accept4", "-e", "inject=accept4:error=EMFILE"];
    let strace = strace::attach(server.pid(), &trouble);
    let mut clients: Vec<_> = (0..QUEUED).map(|_| Session::connect(goes)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(&[HEADER, index.to_string().as_bytes()].concat());
        client.finish();
    }
    server.wait_until("accepting pauses", |counters| counters["accept_pauses"] != 0);
    fs::write(server.file(), format!("config_version = 1\nserver.workers = 1\n{stays}"))
        .expect("it can be written");
    server.proc.signal(Signal::HUP);
    poll_for(PATIENCE, || (backlog(goes) == 0).then_some(())).expect("nobody more is queued");
    strace::detach(strace);
    let line = server.wait_for("reloaded", 0);
    assert_eq!(line["changes"], "listener `edge`: gone; upstream `edge`: gone");
    wait_until_refused(goes);
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.rest(), (index.to_string().into_bytes(), End::Fin), "client {index}");
    }
    Session::open(other);
    assert_eq!(ends.each_ref().map(FarEnd::accepted), [QUEUED, 1]);
    assert_balanced(&wait_until_idle(&server));
    // One socket less.
    Calm { descriptors: calm.descriptors - 1, ..calm }.assert_back("a port that goes");
}
