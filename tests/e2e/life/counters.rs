//! The counters line: every connection is in it, once.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::ppserver::assert_balanced;
use crate::common::process::{Proc, Stream};
use crate::common::socket::{Client, ReservedPort};
use crate::common::wire::SIGNATURE;
use crate::life::server::{Server, file, listener, ppserver, written};
use crate::life::session::{HEADER, Session};

/// Why connections end; monitoring is built on these names.
const REASONS: [&str; 26] = [
    "client_reset",
    "closed_by_admin",
    "connect_failed",
    "connect_timeout",
    "denied",
    "done",
    "drained",
    "endpoint_down",
    "endpoints_full",
    "half_closed_timeout",
    "header_absent",
    "header_invalid",
    "header_timeout",
    "header_too_long",
    "header_truncated",
    "idle_timeout",
    "limited",
    "local_answered",
    "local_rejected",
    "no_endpoint",
    "overload",
    "probe",
    "resources",
    "untrusted",
    "upstream_reset",
    "worker_failed",
];

/// The reasons that are not at 0.
fn reasons(counters: &Value) -> Value {
    let mut closed = counters["closed"].clone();
    closed.as_object_mut().expect("an object").retain(|_, count| *count != 0);
    closed
}

#[test]
fn sigusr1_prints_one_json_line_with_every_counter() {
    let to = "127.0.0.1:9".parse().expect("an address");
    // No terminal is there.
    for format in ["json", "auto"] {
        let settings = format!("log.format = '{format}'");
        let server = Server::start(&file(&[&settings], to));
        let counters = server.counters();
        assert_eq!((&counters["level"], &counters["accepted"]), (&"INFO".into(), &0.into()));
        assert!(counters["timestamp"].is_string(), "{counters}");
        let closed = counters["closed"].as_object().expect("an object of reasons");
        let mut reasons: Vec<_> = closed.keys().map(String::as_str).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, REASONS);
        assert!(closed.values().all(|count| *count == 0), "{counters}");
        for key in [
            "active",
            "bytes_up",
            "bytes_down",
            "connect_failures",
            "accept_pauses",
            "pipes_missing",
            "access_lines_dropped",
            "log_lines_dropped",
        ] {
            assert_eq!(counters[key], 0, "{key}");
        }
    }
}

#[test]
fn a_log_of_text_has_the_counters_as_text() {
    let settings = ["log.format = 'text'", "log.level = 'error'"];
    let port = ReservedPort::new();
    let text = file(&settings, "127.0.0.1:9".parse().expect("an address"));
    let (_dir, path) = written(&text.replace("127.0.0.1:0", &port.addr().to_string()));
    let mut proc = Proc::spawn("ppserver", ppserver().args(["run", "-c"]).arg(&path));
    poll_for(PATIENCE, || TcpStream::connect(port.addr()).ok()).expect("it listens");
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
    let lines = proc.lines(Stream::Stderr);
    let (first, others) = lines.split_first().expect("the counters are printed");
    assert!(first.ends_with("Z  INFO counters"), "{first}");
    assert_eq!(
        others,
        [
            "  connections  accepted 1, active 0",
            "  closed       probe 1",
            "  payload      bytes_up 0, bytes_down 0",
            "  trouble      none",
        ]
    );
}

#[test]
fn every_end_is_counted_under_its_reason_and_the_sum_is_right() {
    let echo = FarEnd::start();
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let addr = |listener: &TcpListener| listener.local_addr().expect("it is bound");
    // The kernel takes connections for one that never accepts, and bytes too.
    let (silent, rude, dead) = (listen(), listen(), ReservedPort::new());
    let short = "[listener.timeouts]\nidle = '200ms'\nhalf_closed = '200ms'\n[upstream.";
    let text = [
        file(&["server.workers = 2", "timeouts.header = '1s'"], echo.addr()),
        listener("dead", dead.addr()),
        listener("short", addr(&silent)).replace("[upstream.", short),
        listener("rude", addr(&rude)),
        listener("answer", echo.addr()).replace("accept", "local = 'answer'\naccept"),
        listener("reject", echo.addr()).replace("accept", "local = 'reject'\naccept"),
    ];
    let mut server = Server::start_ports(&text.concat(), 6);
    let addrs = server.addrs().to_vec();
    let [edge, dead, short, rude_port, answer, reject] = addrs[..] else { panic!("six ports") };
    let local = [SIGNATURE, &[0x20, 0, 0, 0][..]].concat();
    let talk = |to, bytes: &[u8]| {
        let mut session = Session::connect(to);
        session.send(bytes);
        session
    };

    // Ends that take their time are begun first.
    let header_timeout = talk(edge, &HEADER[..9]);
    let idle = talk(short, HEADER);
    let mut half_closed = talk(short, HEADER);
    half_closed.finish();
    let stays = Session::open(edge);

    for _ in 0..3 {
        let client = Client::connect(edge.ip(), edge);
        assert_eq!(client.exchange(&[HEADER, b"hello"].concat()).complete(), b"hello");
    }
    for _ in 0..2 {
        drop(Session::connect(edge));
    }
    talk(edge, b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n").assert_reset();
    talk(edge, b"GET / HTTP/1.0\r\n").assert_reset();
    let mut truncated = talk(edge, &HEADER[..9]);
    truncated.finish();
    truncated.assert_reset();
    let stranger = Client::connect("127.0.0.2".parse().expect("an address"), edge);
    stranger.ask(HEADER).assert_reset();
    talk(dead, &[HEADER, b"x"].concat()).assert_reset();
    Session::open(edge).reset();
    assert_eq!(talk(answer, &local).rest(), (Vec::new(), End::Fin));
    talk(reject, &local).assert_reset();
    let dropped = talk(rude_port, &[HEADER, b"x"].concat());
    let (upstream, _) = rude.accept().expect("it is connected");
    assert_eq!(upstream.peek(&mut [0]).expect("a byte comes"), 1);
    // Closing with unread bytes resets (tcp(7)).
    drop(upstream);
    dropped.assert_reset();
    header_timeout.assert_reset();
    idle.assert_reset();
    half_closed.assert_reset();

    let counters = server.wait_until("one is left", |counters| counters["active"] == 1);
    assert_balanced(&counters);
    let mut expected = json!({
        "done": 3, "probe": 2, "header_invalid": 1, "header_absent": 1, "header_truncated": 1,
        "header_timeout": 1, "untrusted": 1, "connect_failed": 1, "client_reset": 1,
        "upstream_reset": 1, "idle_timeout": 1, "half_closed_timeout": 1, "local_answered": 1,
        "local_rejected": 1,
    });
    assert_eq!(reasons(&counters), expected);
    assert_eq!(counters["connect_failures"], 1);

    server.proc.signal(Signal::TERM);
    server.wait_for("draining", 0);
    server.proc.signal(Signal::TERM);
    stays.assert_reset();
    let counters = server.ended();
    expected["drained"] = 1.into();
    assert_balanced(&counters);
    assert_eq!(reasons(&counters), expected);
    assert_eq!(counters["active"], 0);
    // Payload only: no header in, none out. 3 times `hello`, and `x` of three.
    assert_eq!(counters["bytes_down"], 3 * 5 + 2);
    assert_eq!(counters["bytes_up"], 3 * 5 + 3);
}
