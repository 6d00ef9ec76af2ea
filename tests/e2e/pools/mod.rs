//! Pools: who of several endpoints is chosen, what becomes of those that fail, and what an operator says.

mod checks;
mod choice;
mod health;
mod life;
mod load;
mod operator;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::life::server::Server;
use crate::life::session::Session;
use crate::support::http::{Door, assert_gauges_at_rest};

/// A server with one worker, a door, and this pool behind it.
struct Pool {
    server: Server,
    door: Door,
    dir: TempDir,
}

impl Pool {
    #[track_caller]
    fn start(lines: &str) -> Pool {
        Pool::start_with("server.workers = 1", lines)
    }

    /// With lines for the top of the file, and some of `[upstream.web]`.
    #[track_caller]
    fn start_with(top: &str, lines: &str) -> Pool {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let server = Server::start(&text(&dir, top, lines));
        let door = Door::Unix(dir.path().join("admin.sock"));
        Pool { server, door, dir }
    }

    /// Reloads with other lines.
    #[track_caller]
    fn reload(&self, top: &str, lines: &str) {
        self.server.reload(&text(&self.dir, top, lines), "reloaded, for new connections");
    }

    /// What is shown of an endpoint.
    #[track_caller]
    fn endpoint(&self, addr: SocketAddr) -> Value {
        let answer = self.door.get("/api/v1/upstreams").json(200);
        let endpoints = answer["pools"][0]["endpoints"].as_array().expect("a list");
        let found = endpoints.iter().find(|it| it["address"] == addr.to_string());
        found.expect("it is an endpoint").clone()
    }

    /// How many checks of an endpoint came to this.
    #[track_caller]
    fn checks(&self, addr: SocketAddr, result: &str) -> u64 {
        let metrics = self.door.get("/metrics").body;
        let series = format!(
            "ppserver_checks_total{{upstream=\"web\",endpoint=\"{addr}\",result=\"{result}\"}} "
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.and_then(|count| count.parse().ok()).expect("a count")
    }

    /// Has a client served, and returns the endpoint that did.
    #[track_caller]
    fn served_by(&self) -> SocketAddr {
        let session = Session::open(self.server.addr());
        self.endpoint_of(&session)
    }

    /// Where a session's bytes go, or wait to go.
    #[track_caller]
    fn endpoint_of(&self, session: &Session) -> SocketAddr {
        let peer = session.addr().to_string();
        let found = poll_for(PATIENCE, || {
            let found = self.connections().into_iter().find(|it| it["peer"] == peer)?;
            found["endpoint"].as_str().and_then(|addr| addr.parse().ok())
        });
        found.expect("it runs and has an endpoint")
    }

    /// Those that run.
    #[track_caller]
    fn connections(&self) -> Vec<Value> {
        let answer = self.door.get("/api/v1/connections?limit=10000").json(200);
        answer["connections"].as_array().expect("a list").clone()
    }

    /// Fails unless every connection was counted once, and nobody is left at an endpoint.
    #[track_caller]
    fn end(mut self, endpoints: &[SocketAddr]) -> Value {
        let is_left = |addr: &SocketAddr| self.endpoint(*addr)["active"] != 0;
        let at_rest = || (!endpoints.iter().any(is_left)).then_some(());
        poll_for(PATIENCE, at_rest).expect("nobody is left");
        assert_gauges_at_rest(&self.door);
        self.server.stop()
    }
}

fn text(dir: &TempDir, top: &str, lines: &str) -> String {
    let socket = dir.path().join("admin.sock");
    format!(
        "config_version = 1\nadmin.socket = '{}'\n{top}\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0']\nupstream = 'web'\n\
         [listener.proxy_protocol]\naccept = 'require'\ntrust = ['127.0.0.1']\n\
         [upstream.web]\n{lines}\n",
        socket.display()
    )
}

/// A list of endpoints.
fn list(addrs: &[SocketAddr]) -> String {
    let addrs: Vec<_> = addrs.iter().map(|addr| format!("'{addr}'")).collect();
    format!("endpoints = [{}]", addrs.join(", "))
}

/// Listens at an address that is kept for it, and sends everything back; until the socket that is returned is shut down.
#[track_caller]
fn listen_at(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are descriptors");
    socket.set_reuse_address(true).expect("it shares the port with who keeps it");
    poll_for(PATIENCE, || socket.bind(&addr.into()).ok()).expect("the port is kept for it");
    socket.listen(64).expect("a bound socket can listen");
    let listener: TcpListener = socket.try_clone().expect("there are descriptors").into();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || echo(stream));
        }
    });
    socket
}

/// Until the client has ended, or is gone.
fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}
