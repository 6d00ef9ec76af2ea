//! The log: a reason for each refusal, and nothing a peer can flood or forge.

use std::fs;
use std::io::{BufRead, BufReader, Lines, PipeReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::process::{Proc, Stream};
use crate::common::socket::{Client, ReservedPort};
use crate::common::wire::SIGNATURE;
use crate::life::server::{Server, file, ppserver, raise_own_limit, run, written};
use crate::life::session::{HEADER, Session};
use crate::support::fresh_address;

const REFUSED: &str = "refused";

/// An upstream that no test here reaches.
fn nowhere() -> SocketAddr {
    "127.0.0.1:9".parse().expect("an address")
}

/// Sends bytes that must be refused.
#[track_caller]
fn refuse(to: SocketAddr, bytes: &[u8]) -> SocketAddr {
    let mut session = Session::connect(to);
    let from = session.addr();
    session.send(bytes);
    session.assert_reset();
    from
}

#[test]
fn a_refusal_says_who_why_where_and_shows_the_bytes() {
    let server = Server::start(&file(&[], nowhere()));
    let bad_version = [SIGNATURE, &[0x31, 0x11, 0, 12][..]].concat();
    let cases: [(&[u8], &str, u64, &str); 4] = [
        (b"GET / HTTP/1.0\r\n", "header_absent", 0, "474554202f20485454502f312e300d0a"),
        (b"PROXY TCP4 1.2.3.256", "header_invalid", 19, "50524f5859205443503420312e322e332e323536"),
        (&bad_version, "header_invalid", 12, "0d0a0d0a000d0a515549540a3111000c"),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 and so on\r\n",
            "header_invalid",
            30,
            "50524f5859205443503420312e322e332e3420312e322e332e34203120322061...",
        ),
    ];
    for (nth, (bytes, reason, offset, shown)) in cases.into_iter().enumerate() {
        let peer = refuse(server.addr(), bytes);
        let line = server.wait_for(REFUSED, nth);
        assert_eq!((&line["level"], &line["listener"]), (&"WARN".into(), &"edge".into()));
        assert_eq!(line["peer"], peer.to_string());
        assert_eq!((&line["reason"], &line["offset"]), (&reason.into(), &offset.into()), "{line}");
        assert_eq!((&line["bytes"], &line["suppressed"]), (&shown.into(), &0.into()));
    }
    let stranger = Client::connect(IpAddr::from([127, 0, 0, 2]), server.addr());
    stranger.ask(HEADER).assert_reset();
    let line = server.wait_for(REFUSED, cases.len());
    assert_eq!(line["reason"], "untrusted");
    assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.2:")), "{line}");
}

#[test]
fn a_refusal_says_what_it_looks_like_in_the_words_of_decode() {
    let server = Server::start(&file(&[], nowhere()));
    let cases: [(&[u8], &str); 7] = [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "a TLS ClientHello"),
        (b"GET / HTTP/1.0\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"EHLO mail.example.org\r\n", "SMTP"),
        (b"\x56\xec\0\0", "Cloudflare's Simple Proxy Protocol"),
        (b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n", "a v1 line that mixes families"),
    ];
    for (nth, (bytes, expected)) in cases.into_iter().enumerate() {
        refuse(server.addr(), bytes);
        assert_eq!(server.wait_for(REFUSED, nth)["looks_like"], expected);
        let mut shown = NamedTempFile::new().expect("a temporary file can be made");
        shown.write_all(bytes).expect("it can be written");
        let ran = run(ppserver().arg("decode").arg(shown.path()));
        assert!(ran.stdout.contains(&format!("it looks like {expected}:")), "{ran:?}");
    }
    // A bad header looks like one: that says nothing. Neither do a few bytes.
    for (nth, bytes) in [b"PROXY TCP4 1.2.3.256".as_slice(), b"GET"].into_iter().enumerate() {
        refuse(server.addr(), bytes);
        let line = server.wait_for(REFUSED, cases.len() + nth);
        assert_eq!(line.get("looks_like"), None, "{line}");
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_named() {
    let dead = ReservedPort::new();
    let server = Server::start(&file(&[], dead.addr()));
    refuse(server.addr(), HEADER);
    let line = server.wait_for("cannot connect", 0);
    assert_eq!((&line["level"], &line["listener"]), (&"WARN".into(), &"edge".into()));
    assert_eq!(line["endpoint"], dead.addr().to_string());
    assert_eq!((&line["upstream"], &line["suppressed"]), (&"edge".into(), &0.into()));
    let error = line["error"].as_str().expect("text");
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn a_header_that_stops_halfway_is_shown_too() {
    let server = Server::start(&file(&["timeouts.header = '200ms'"], nowhere()));
    let mut cut = Session::connect(server.addr());
    cut.send(b"PROXY T");
    cut.finish();
    cut.assert_reset();
    let line = server.wait_for(REFUSED, 0);
    assert_eq!(
        (&line["reason"], &line["bytes"]),
        (&"header_truncated".into(), &"50524f58592054".into())
    );
    refuse(server.addr(), b"PROXY U");
    let line = server.wait_for(REFUSED, 1);
    assert_eq!(
        (&line["reason"], &line["bytes"]),
        (&"header_timeout".into(), &"50524f58592055".into())
    );
}

/// Has so many connections refused, all there at once.
fn refuse_all(to: SocketAddr, count: usize, bytes: &[u8]) {
    let session = |_| {
        let mut session = Session::connect(to);
        session.send(bytes);
        session
    };
    let sessions: Vec<_> = (0..count).map(session).collect();
    sessions.into_iter().for_each(Session::assert_reset);
}

/// Has so many connections refused as they come, one behind the other.
fn turn_away(to: SocketAddr, count: usize, from: IpAddr) {
    for _ in 0..count {
        Client::connect(from, to).ask(b"").assert_reset();
    }
}

/// A kind of line that peers cause.
struct Kind {
    /// What the server is told to bring it about.
    settings: &'static [&'static str],
    message: &'static str,
    /// What these connections are counted as.
    end: &'static str,
    cause: fn(SocketAddr, usize),
}

const KINDS: [Kind; 5] = [
    Kind {
        settings: &[],
        message: REFUSED,
        end: "header_absent",
        cause: |to, count| refuse_all(to, count, b"GET"),
    },
    Kind {
        settings: &["timeouts.header = '200ms'"],
        message: REFUSED,
        end: "header_timeout",
        cause: |to, count| refuse_all(to, count, b""),
    },
    Kind {
        settings: &[],
        message: REFUSED,
        end: "untrusted",
        // Each of them another one, for who has been named is not named again.
        cause: |to, count| (0..count).for_each(|_| turn_away(to, 1, fresh_address())),
    },
    Kind {
        settings: &["server.max_connections = 1", "timeouts.header = '1h'"],
        message: REFUSED,
        end: "overload",
        cause: |to, count| turn_away(to, count, IpAddr::from([127, 0, 0, 1])),
    },
    Kind {
        settings: &[],
        message: "cannot connect",
        end: "connect_failed",
        cause: |to, count| refuse_all(to, count, HEADER),
    },
];

#[track_caller]
fn assert_flood_is_cut(Kind { settings, message, end, cause }: &Kind) {
    const FLOOD: usize = 500;
    let server = Server::start(&file(&[&["server.workers = 1"], *settings].concat(), nowhere()));
    let _holds_the_only_place = (*end == "overload").then(|| Session::connect(server.addr()));
    let mut caused = 0;
    let mut cause = |count| {
        cause(server.addr(), count);
        caused += count;
        server.wait_until("all are counted", |counters| counters["closed"][end] == caused);
        caused
    };
    cause(FLOOD);
    // The next line that is written tells how many were not; until then this adds to them.
    let caused = poll_for(PATIENCE, || {
        let lines = server.records(message).len();
        let caused = cause(1);
        (server.records(message).len() > lines).then_some(caused)
    });
    let caused = caused.unwrap_or_else(|| panic!("{end}: no line is written again"));
    let lines = server.records(message);
    let suppressed = lines.iter().map(|line| line["suppressed"].as_u64().expect("a count"));
    let suppressed = usize::try_from(suppressed.sum::<u64>()).expect("few");
    assert_eq!(lines.len() + suppressed, caused, "{end}");
    // Ten a second; that it took ten seconds is not to be believed, and still a fifth.
    assert!(lines.len() <= 100, "{} lines for {caused} of {end}", lines.len());
    assert!(suppressed > 0, "{end}");
}

#[test]
fn a_flood_of_refusals_is_cut_and_none_goes_uncounted() {
    raise_own_limit();
    // Side by side: each waits for a second to go by.
    thread::scope(|scope| {
        for kind in &KINDS {
            scope.spawn(|| assert_flood_is_cut(kind));
        }
    });
}

#[test]
fn a_peer_outside_trust_is_named_once_and_counted_each_time() {
    const EACH: usize = 20;
    // Whichever worker it comes to.
    let settings = ["server.workers = 4", "access_log.enabled = true"];
    let mut server = Server::start(&file(&settings, nowhere()));
    let peers = [fresh_address(), fresh_address()];
    for peer in peers {
        turn_away(server.addr(), EACH, peer);
    }
    let counters = server.stop();
    assert_eq!(counters["closed"]["untrusted"], 2 * EACH);
    assert_eq!(server.proc.lines(Stream::Stdout).len(), 2 * EACH, "the access log has each");
    let lines = server.records(REFUSED);
    let named = lines.iter().map(|line| line["peer"].as_str().expect("text"));
    let named: Vec<IpAddr> =
        named.map(|peer| peer.parse::<SocketAddr>().expect("an address").ip()).collect();
    assert_eq!(named, peers);
    assert!(lines.iter().all(|line| line["connections"] == 1), "{lines:?}");
}

#[test]
fn control_bytes_reach_the_log_as_hexadecimal_only() {
    for format in ["json", "text"] {
        let server =
            Server::start_ports(&file(&[&format!("log.format = '{format}'")], nowhere()), 0);
        let bind = |line: &str| {
            let at = line.find("127.0.0.1:")?;
            let end = line[at..].find(|c: char| c == '"' || c.is_whitespace())?;
            line.contains("listening").then(|| line[at..at + end].parse().ok())?
        };
        let addr: SocketAddr = server.proc.wait_for_line(Stream::Stderr, "a start line", bind);
        let lines = |server: &Server| server.proc.lines(Stream::Stderr);
        let forged = "{\"level\":\"ERROR\",\"message\":\"forged\"}";
        let inputs = [
            format!("PROXY TCP4 \x1b[31m1.2.3.4\n{forged}\r\n"),
            format!("PROXY TCP4 1.2.3.4 \n{forged}\n\r\n"),
            format!("\x1b]0;title\x07\n{forged}\n"),
            format!("PROXY UNKNOWN\x00\x7f\u{9b}31m\n{forged}"),
            "PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n".to_owned(),
        ];
        let before = lines(&server).len();
        for bytes in &inputs[..4] {
            refuse(addr, bytes.as_bytes());
        }
        refuse(addr, inputs[4].as_bytes());
        let logged = poll_for(PATIENCE, || {
            Some(lines(&server)[before..].to_vec()).filter(|lines| lines.len() >= inputs.len())
        });
        let logged = logged.expect("each is logged");
        assert_eq!(logged.len(), inputs.len(), "one line each: {logged:#?}");
        for line in logged {
            assert!(line.contains("refused"), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            for raw in ["forged", "[31m", "title"] {
                assert!(!line.contains(raw), "{line}");
            }
        }
    }
}

#[test]
fn health_checks_are_counted_and_not_logged() {
    let far_end = FarEnd::start();
    let text = file(&[], far_end.addr());
    let local = [SIGNATURE, &[0x20, 0, 0, 0][..]].concat();
    for (policy, reason) in [("answer", "local_answered"), ("forward", "done")] {
        let server = Server::start(&text.replace("accept", &format!("local = '{policy}'\naccept")));
        for _ in 0..20 {
            drop(Session::connect(server.addr()));
            let mut check = Session::connect(server.addr());
            check.send(&local);
            check.finish();
            assert_eq!(check.rest(), (Vec::new(), End::Fin));
        }
        let counters = server.wait_until("all are over", |counters| {
            counters["accepted"] == 40 && counters["active"] == 0
        });
        assert_eq!(
            (&counters["closed"]["probe"], &counters["closed"][reason]),
            (&20.into(), &20.into())
        );
        let mut lines = server.proc.lines(Stream::Stderr);
        lines.retain(|line| !line.contains("\"message\":\"counters\""));
        assert_eq!(lines.len(), 2, "the start's own alone: {lines:#?}");
        assert_eq!(server.records("descriptor budget").len(), 1);
        assert_eq!(server.records("listening").len(), 1);
    }
}

#[test]
fn one_that_resets_before_its_first_byte_is_no_error_either() {
    let server = Server::start(&file(&[], nowhere()));
    for _ in 0..20 {
        Session::connect(server.addr()).reset();
    }
    server.wait_until("all are over", |counters| counters["closed"]["probe"] == 20);
    assert_eq!(server.records(REFUSED), [Value::Null; 0]);
}

/// Ends a process that a failing test left.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It has mostly gone by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A server whose stderr is a full pipe.
struct Unread {
    server: Ends,
    addr: SocketAddr,
    file: PathBuf,
    /// What comes of its stderr once it is read: blanks go before the first line.
    log: Lines<BufReader<PipeReader>>,
    _dir: TempDir,
}

impl Unread {
    #[track_caller]
    fn start(text: &str) -> Unread {
        let (dir, file) = written(text);
        let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
        let stderr = writer.try_clone().expect("a descriptor can be doubled");
        let mut command = ppserver();
        command.args(["run", "-c"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let server = Ends(command.stderr(stderr).spawn().expect("it starts"));
        let mut log = BufReader::new(reader).lines();
        let addr = loop {
            let record = next_record(&mut log);
            if let Some(addr) = record["bind"].as_str() {
                break addr.parse().expect("`bind` is an address");
            }
        };
        // A pipe that polls writable has room for a page (pipe(7)).
        loop {
            let mut polled = [PollFd::from_borrowed_fd(writer.as_fd(), PollFlags::OUT)];
            if poll(&mut polled, Some(&Timespec::default())).expect("a pipe can be polled") == 0 {
                break;
            }
            writer.write_all(&[b' '; 4096]).expect("the reader is here");
        }
        Unread { server, addr, file, log, _dir: dir }
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.server.0), signal).expect("it is our child");
    }
}

#[track_caller]
fn next_record(log: &mut Lines<BufReader<PipeReader>>) -> Value {
    let line = log.next().expect("the server runs").expect("it is UTF-8");
    serde_json::from_str(&line).expect("the log is JSON")
}

#[test]
fn a_stderr_that_nobody_reads_holds_up_neither_connections_nor_the_end() {
    let far_end = FarEnd::start();
    let mut unread = Unread::start(&file(&["server.workers = 1"], far_end.addr()));
    for _ in 0..5 {
        refuse(unread.addr, b"GET / HTTP/1.0\r\n");
        Session::open(unread.addr).echo(b"unharmed");
    }
    unread.signal(Signal::USR1);
    Session::open(unread.addr).echo(b"unharmed");
    unread.signal(Signal::TERM);
    let status = poll_for(PATIENCE, || unread.server.0.try_wait().expect("it is our child"));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "it ends all the same");
}

#[test]
fn lines_that_nobody_read_are_counted() {
    /// A reload writes 200 warnings at most, and 1024 lines may wait.
    const RELOADS: usize = 6;
    let ends = [FarEnd::start(), FarEnd::start()];
    let networks: String = (0..200).map(|nth| format!(", '10.{nth}.2.3/16'")).collect();
    let trust = format!("['127.0.0.1'{networks}]\n");
    let mut unread = Unread::start(&file(&[], ends[0].addr()));
    for end in ends.iter().rev().cycle().take(RELOADS) {
        let before = end.accepted();
        let text = file(&[], end.addr()).replace("['127.0.0.1']\n", &trust);
        fs::write(&unread.file, text).expect("the file can be written");
        unread.signal(Signal::HUP);
        poll_for(PATIENCE, || {
            Session::open(unread.addr);
            (end.accepted() > before).then_some(())
        })
        .expect("the reload is over");
    }
    // Behind the second line that comes one of those that waited has gone: there is room for another.
    (0..2).for_each(|_| drop(next_record(&mut unread.log)));
    unread.signal(Signal::USR1);
    let counters = loop {
        let record = next_record(&mut unread.log);
        if record["message"] == "counters" {
            break record;
        }
    };
    assert_ne!(counters["log_lines_dropped"], 0, "{counters}");
}

/// The records about the connection from `peer` that are not above `debug`.
fn debug_records(server: &Server, peer: SocketAddr) -> Vec<Value> {
    let mut records = server.records("");
    records.retain(|record| record["level"] == "DEBUG" && record["peer"] == peer.to_string());
    records
}

#[test]
fn debug_tells_the_way_of_each_connection_and_trace_no_more() {
    let (far_end, dead) = (FarEnd::start(), ReservedPort::new());
    for level in ["debug", "trace"] {
        let text = file(&["server.workers = 1", &format!("log.level = '{level}'")], dead.addr());
        let both = format!("['{}', '{}']", dead.addr(), far_end.addr());
        let text = text.replace(&format!("['{}']", dead.addr()), &both);
        let mut server = Server::start(&text);
        let client = Client::connect(IpAddr::from([127, 0, 0, 1]), server.addr());
        let peer = client.addr();
        assert_eq!(client.exchange(&[HEADER, b"hello"].concat()).complete(), b"hello");
        let refused = refuse(server.addr(), b"GET");
        server.stop();
        let told: Vec<Value> = debug_records(&server, peer)
            .into_iter()
            .map(|mut record| {
                let fields = record.as_object_mut().expect("a record is an object");
                for key in ["timestamp", "level", "peer"] {
                    fields.remove(key).expect("a record of a connection has it");
                }
                let duration = fields.remove("duration_ms");
                let is_over = fields["message"] == "closed";
                assert_eq!(duration.is_some_and(|ms| ms.is_u64()), is_over, "{fields:?}");
                record
            })
            .collect();
        let [dead, alive] = [dead.addr(), far_end.addr()].map(|addr| addr.to_string());
        let client = "203.0.113.7:51820";
        assert_eq!(
            told,
            [
                json!({ "message": "accepted", "listener": "edge" }),
                json!({ "message": "header", "listener": "edge", "client": client, "version": "v1" }),
                json!({ "message": "connecting", "listener": "edge", "endpoint": dead, "attempt": 1 }),
                json!({ "message": "connecting", "listener": "edge", "endpoint": alive, "attempt": 2 }),
                json!({
                    "message": "closed", "listener": "edge", "client": client, "upstream": "edge",
                    "endpoint": alive, "reason": "done", "bytes_in": 5, "bytes_out": 5,
                }),
            ]
        );
        let told = debug_records(&server, refused);
        let told: Vec<_> = told.iter().map(|it| (&it["message"], &it["reason"])).collect();
        let reason = "header_absent".into();
        assert_eq!(told, [(&"accepted".into(), &Value::Null), (&"closed".into(), &reason)]);
        assert!(server.records("").iter().all(|record| record["level"] != "TRACE"));
    }
}

#[test]
fn the_level_decides_what_is_said_and_counters_are_said_at_all() {
    for (level, expected) in [
        ("error", &["counters"][..]),
        ("warn", &["counters", "refused"]),
        ("info", &["counters", "descriptor budget", "draining", "listening", "refused"]),
    ] {
        let port = ReservedPort::new();
        let text = file(&[&format!("log.level = '{level}'")], nowhere());
        let (_dir, path) = written(&text.replace("127.0.0.1:0", &port.addr().to_string()));
        let mut proc = Proc::spawn("ppserver", ppserver().args(["run", "-c"]).arg(&path));
        poll_for(PATIENCE, || TcpStream::connect(port.addr()).ok()).expect("it listens");
        refuse(port.addr(), b"GET");
        proc.signal(Signal::TERM);
        assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
        let lines = proc.lines(Stream::Stderr);
        let records = lines.iter().map(|line| serde_json::from_str(line).expect("it is JSON"));
        let mut said: Vec<String> = records
            .map(|record: Value| record["message"].as_str().expect("text").to_owned())
            .map(|message| message.split([':', ';']).next().expect("one at least").to_owned())
            .collect();
        // Who connects as soon as it can may be there before that is said.
        said.sort();
        assert_eq!(said, expected, "{level}");
    }
}
