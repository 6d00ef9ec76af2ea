//! What only the end-to-end tests need: a server with one listener, its own account of each
//! connection, and peers that follow a script.
//!
//! Like `common` it knows nothing of the crates under test. Invariant: what it says of a connection
//! comes from the wire, from the kernel or from a line the server wrote, never from a pause.

mod clock;
mod crowd;
mod header;
pub(crate) mod http;
mod kernel;
mod load;
pub(crate) mod namespace;
mod peer;
#[path = "../../crates/ppserver/src/data/hello/written.rs"]
pub(crate) mod tls;
pub(crate) mod tmux;
mod usage;

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::common::ppserver::Ppserver;
use crate::common::process::Stream;

pub(crate) use clock::Stopwatch;
pub(crate) use crowd::{Crowd, raise_descriptor_limit};
pub(crate) use header::{local, sealed, with_tlvs};
pub(crate) use kernel::{
    all_segments_received, backlog, has_keepalive, is_connecting, queued, segments_received,
    unread, unsent, wait_until_taken,
};
pub(crate) use load::{CLIENTS, under_load};
pub(crate) use peer::{BlackHole, Listener, Peer, fresh_address, link};
pub(crate) use usage::{cpu_time, resident_bytes};

/// `splice.mode`: the three ways a relay can work.
pub(crate) const SPLICE_MODES: [&str; 3] = ["auto", "always", "off"];

/// Takes headers from everybody.
pub(crate) const REQUIRE: &str = "accept = \"require\"\ntrust = \"any\"";

/// Takes headers from everybody, and plain connections too.
pub(crate) const OPTIONAL: &str = "accept = \"optional\"\ntrust = \"any\"";

/// The configuration of a server under test; what is not said has its default, but for one worker,
/// so that the round over the endpoints is known, and an access log of every connection.
pub(crate) struct Setup {
    endpoints: Vec<SocketAddr>,
    workers: usize,
    bind: String,
    accept: String,
    send: String,
    timeouts: String,
    splice: String,
    retries: usize,
}

impl Setup {
    /// A listener on a free port of 127.0.0.1 in front of these endpoints, without any header.
    pub(crate) fn to(endpoints: &[SocketAddr]) -> Setup {
        Setup {
            endpoints: endpoints.to_vec(),
            workers: 1,
            bind: "127.0.0.1:0".to_owned(),
            accept: String::new(),
            send: String::new(),
            timeouts: String::new(),
            splice: String::new(),
            retries: 1,
        }
    }

    /// The lines of `[listener.proxy_protocol]`.
    pub(crate) fn accept(self, lines: &str) -> Setup {
        Setup { accept: lines.to_owned(), ..self }
    }

    /// The lines of `[upstream.NAME.proxy_protocol]`.
    pub(crate) fn send(self, lines: &str) -> Setup {
        Setup { send: lines.to_owned(), ..self }
    }

    /// The lines of `[timeouts]`.
    pub(crate) fn timeouts(self, lines: &str) -> Setup {
        Setup { timeouts: lines.to_owned(), ..self }
    }

    /// `splice.mode`.
    pub(crate) fn splice(self, mode: &str) -> Setup {
        Setup { splice: format!("mode = \"{mode}\""), ..self }
    }

    /// `listener.bind`.
    pub(crate) fn bind(self, addr: &str) -> Setup {
        Setup { bind: addr.to_owned(), ..self }
    }

    /// `upstream.NAME.retries`.
    pub(crate) fn retries(self, retries: usize) -> Setup {
        Setup { retries, ..self }
    }

    /// `server.workers`.
    pub(crate) fn workers(self, workers: usize) -> Setup {
        Setup { workers, ..self }
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        let Setup { workers, bind, accept, send, timeouts, splice, retries, .. } = self;
        let endpoints: Vec<_> = self.endpoints.iter().map(|addr| format!("\"{addr}\"")).collect();
        let endpoints = endpoints.join(", ");
        let text = format!(
            "config_version = 1\n\
             [server]\nworkers = {workers}\nshutdown_grace = \"100ms\"\n\
             [access_log]\nenabled = true\nlog_probes = true\n\
             [timeouts]\n{timeouts}\n\
             [splice]\n{splice}\n\
             [[listener]]\nname = \"edge\"\nbind = [\"{bind}\"]\nupstream = \"far\"\n\
             [listener.proxy_protocol]\n{accept}\n\
             [upstream.far]\nendpoints = [{endpoints}]\nretries = {retries}\n\
             [upstream.far.proxy_protocol]\n{send}\n"
        );
        Server { process: Ppserver::with_config(&text) }
    }
}

/// A running server.
pub(crate) struct Server {
    process: Ppserver,
}

/// The server's account of a connection that has ended: its line in the access log.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) reason: String,
    pub(crate) client: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration: Duration,
}

impl Server {
    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.process.addr()
    }

    /// Its process id.
    pub(crate) fn process_id(&mut self) -> Pid {
        self.process.proc().pid()
    }

    /// Its process id, as a number.
    pub(crate) fn pid(&mut self) -> i32 {
        self.process_id().as_raw_nonzero().get()
    }

    /// Waits for the end of the connection from `peer`.
    #[track_caller]
    pub(crate) fn account_of(&mut self, peer: SocketAddr) -> Account {
        let peer = peer.to_string();
        let what = format!("the end of the connection from {peer}");
        self.process.proc().wait_for_line(Stream::Stdout, &what, |line| {
            let line: Value = serde_json::from_str(line).expect("the access log is JSON");
            (line["peer"] == peer).then(|| Account {
                reason: text(&line["end"]),
                client: text(&line["client"]),
                endpoint: line["endpoint"].as_str().map(str::to_owned),
                bytes_in: number(&line["bytes_in"]),
                bytes_out: number(&line["bytes_out"]),
                duration: Duration::from_millis(number(&line["duration_ms"])),
            })
        })
    }

    /// Stops it and returns the counters of its last line.
    #[track_caller]
    pub(crate) fn stop(self) -> Value {
        self.stop_and_read().0
    }

    /// Stops it and returns the counters of its last line, and the lines about refused peers.
    #[track_caller]
    pub(crate) fn stop_and_read(mut self) -> (Value, Vec<Value>) {
        self.process.proc().signal(Signal::TERM);
        let status = self.process.proc().wait_for_exit();
        assert!(status.success(), "{status}");
        let lines = self.process.proc().lines(Stream::Stderr);
        let lines = lines.iter().map(|line| serde_json::from_str(line).expect("the log is JSON"));
        let mut lines: Vec<Value> = lines.collect();
        let counters = lines.pop().expect("the counters are the last line");
        assert_eq!(counters["message"], "counters");
        let is_refusal = |line: &Value| text(&line["message"]).starts_with("refused");
        lines.retain(is_refusal);
        (counters, lines)
    }
}

/// Fails unless these are the only ends that were counted, with these numbers.
#[track_caller]
pub(crate) fn assert_closed(counters: &Value, expected: &[(&str, usize)]) {
    let closed = counters["closed"].as_object().expect("`closed` is an object");
    let mut ends: Vec<(&str, usize)> = closed
        .iter()
        .map(|(reason, count)| (reason.as_str(), usize::try_from(number(count)).expect("few")))
        .filter(|(_, count)| *count > 0)
        .collect();
    let mut expected = expected.to_vec();
    ends.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ends, expected);
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().expect("it is a string").to_owned()
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().expect("it is a number")
}
