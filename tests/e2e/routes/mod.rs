//! Routes: who goes where, who is denied, and that nothing of a client's bytes changes by it.

mod limits;
mod reload;
mod taken;
mod tls;

use std::net::SocketAddr;

use serde_json::Value;

use crate::common::far_end::{End, FarEnd};
use crate::common::wire;
use crate::life::server::Server;
use crate::life::session::Session;
use crate::support::with_tlvs;

/// A server with one worker and these routes, two upstreams, and an access log.
struct Routed {
    server: Server,
    web: FarEnd,
    other: FarEnd,
}

impl Routed {
    #[track_caller]
    fn start(routes: &str) -> Routed {
        Routed::start_workers(routes, 1)
    }

    #[track_caller]
    fn start_workers(routes: &str, workers: usize) -> Routed {
        let (web, other) = (FarEnd::start(), FarEnd::start());
        let server = Server::start(&text(routes, workers, &web, &other));
        Routed { server, web, other }
    }

    #[track_caller]
    fn reload(&self, routes: &str) -> Value {
        self.reload_workers(routes, 1)
    }

    #[track_caller]
    fn reload_workers(&self, routes: &str, workers: usize) -> Value {
        let text = text(routes, workers, &self.web, &self.other);
        self.server.reload(&text, "reloaded, for new connections")
    }

    /// Whether a client that begins with these bytes is served to its end; else it is reset.
    #[track_caller]
    fn is_served(&self, header: &[u8]) -> bool {
        let mut session = Session::connect(self.server.addr());
        session.send(header);
        // A FIN that a reset has overtaken cannot be sent.
        session.try_finish();
        session.rest().1 == End::Fin
    }

    /// Has a client served that begins with these bytes, to its end.
    #[track_caller]
    fn serve(&self, header: &[u8]) {
        let mut session = Session::connect(self.server.addr());
        session.send(&[header, b"x"].concat());
        session.finish();
        let (answer, end) = session.rest();
        assert!(answer.ends_with(b"x") && end == End::Fin, "{end:?} behind {answer:?}");
    }

    /// Opens a session to where no header is sent, which would come back.
    #[track_caller]
    fn open(&self, header: &[u8]) -> Session {
        let mut session = Session::connect(self.server.addr());
        session.send(header);
        session.echo(b"x");
        session
    }

    /// Has a client reset that begins with these bytes.
    #[track_caller]
    fn deny(&self, header: &[u8]) {
        let mut session = Session::connect(self.server.addr());
        session.send(header);
        session.assert_reset();
    }

    /// How many each upstream has seen.
    fn seen(&self) -> [usize; 2] {
        [self.web.accepted(), self.other.accepted()]
    }

    /// Stops it, and returns its counters.
    #[track_caller]
    fn end(mut self) -> Value {
        self.server.stop()
    }
}

fn text(routes: &str, workers: usize, web: &FarEnd, other: &FarEnd) -> String {
    format!(
        "config_version = 1\nserver.workers = {workers}\nserver.shutdown_grace = '100ms'\n\
         access_log.enabled = true\naccess_log.log_probes = true\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0']\nupstream = 'web'\n\
         [listener.proxy_protocol]\naccept = 'optional'\ntrust = ['127.0.0.1']\n{routes}\n\
         [upstream.web]\nendpoints = ['{}']\n[upstream.web.proxy_protocol]\nsend = 'v2'\ntlv_pass = 'all'\n\
         [upstream.other]\nendpoints = ['{}']\n",
        web.addr(),
        other.addr()
    )
}

/// A v2 header of a client with these TLVs.
fn header(client: &str, tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let client: SocketAddr = client.parse().expect("an address");
    let destination = if client.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::f]:443" };
    with_tlvs(wire::v2(client, destination.parse().expect("an address")), tlvs)
}
