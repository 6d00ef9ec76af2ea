//! A worker that stands still: strace holds one in a system call, the others and the doors go on.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::life::server::{Server, file, wait_for};
use crate::life::session::Session;
use crate::support::http::Door;
use crate::torment::strace;

/// So many that one of them comes to each worker.
const CLIENTS: usize = 32;

/// Longer than a test takes.
const HELD: &str = "inject=accept4:delay_enter=600000000";

#[test]
fn a_worker_that_has_not_turned_for_5_s_makes_livez_503_and_is_named() {
    let (far_end, dir) = (FarEnd::start(), TempDir::new().unwrap());
    let socket = format!("admin.socket = '{}'", dir.path().join("admin.sock").display());
    let server = Server::start(&file(&[&socket, "server.workers = 2"], far_end.addr()));
    wait_for(&server.proc, "admin door opens", 0);
    let door = Door::Unix(dir.path().join("admin.sock"));
    let still = || Some(door.get("/livez")).filter(|answer| answer.status != 200);
    assert!(still().is_none());

    let strace = strace::attach(server.pid(), &["-e", "trace=accept4", "-e", HELD]);
    let clients = connect(server.addr());
    let answer = poll_for(PATIENCE, still).expect("it is told");
    assert_eq!(answer.status, 503);
    let seconds = answer.body.strip_prefix("worker 0 has not turned for ");
    let seconds = seconds.and_then(|text| text.strip_suffix(" s\n")).map(str::parse::<u64>);
    assert!(matches!(seconds, Some(Ok(5..))), "{answer:?}");
    assert_eq!(door.get("/readyz").status, 200, "whoever can be served is");
    let status = door.get("/api/v1/status").json(200);
    let accepted = status["accepted"].as_u64().unwrap();
    assert!(
        (1..u64::try_from(CLIENTS).unwrap()).contains(&accepted),
        "of the other worker: {status}"
    );

    strace::detach(strace);
    poll_for(PATIENCE, || still().is_none().then_some(())).expect("it turns again");
    for mut client in clients {
        client.echo(b"late");
        client.finish();
    }
}

fn connect(to: SocketAddr) -> Vec<Session> {
    (0..CLIENTS)
        .map(|_| {
            let mut session = Session::connect(to);
            session.send(crate::life::session::HEADER);
            session
        })
        .collect()
}
