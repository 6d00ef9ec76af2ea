//! The access log: one line a closed connection, in which every number is exact.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::payload;
use crate::common::process::Stream;
use crate::common::socket::{Client, ReservedPort};
use crate::common::wire::{self, SIGNATURE};
use crate::life::server::{Server, file, listener, ppserver, run};
use crate::life::session::{HEADER, Session};

const ON: &str = "access_log.enabled = true";

/// The lines on stdout, once the server has ended.
#[track_caller]
fn stdout(server: &mut Server) -> Vec<Value> {
    server.stop();
    parse(server.proc.lines(Stream::Stdout).iter().map(String::as_str))
}

#[track_caller]
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    lines.map(line).collect()
}

/// Opens a connection and has it end in peace.
#[track_caller]
fn serve_one(server: &Server) {
    let mut session = Session::open(server.addr());
    session.finish();
    session.rest();
}

/// A server that writes its lines into a file.
#[track_caller]
fn logging_to(path: &Path, far_end: &FarEnd) -> Server {
    let output = format!("access_log.output = 'file:{}'", path.display());
    Server::start(&file(&[ON, &output], far_end.addr()))
}

/// An upstream that reads `asks` bytes, answers `answer` and ends.
fn server_of_one(asks: usize, answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it is connected");
        stream.read_exact(&mut vec![0; asks]).expect("they come");
        stream.write_all(answer).expect("the connection stands");
    });
    addr
}

#[test]
fn a_line_tells_the_carried_client_and_exact_payload_bytes() {
    let header = wire::v2(
        "198.51.100.9:40000".parse().expect("an address"),
        "192.0.2.1:443".parse().expect("an address"),
    );
    // 28 bytes of our own header go before the payload.
    let upstream = server_of_one(28 + 70_000, b"thanks");
    let text = file(&[ON], upstream) + "[upstream.edge.proxy_protocol]\nsend = 'v2'\n";
    let mut server = Server::start(&text);
    let client = Client::connect(IpAddr::from([127, 0, 0, 1]), server.addr());
    let peer = client.addr();
    let sent = [header, payload::random(7, 70_000)].concat();
    assert_eq!(client.exchange(&sent).complete(), b"thanks");
    let mut lines = stdout(&mut server);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].as_object_mut().expect("an object");
    // It is written as the log's own time is, and such text sorts as its moments do.
    let time = line.remove("time").expect("it is there").to_string();
    let [before, after] = ["listening", "counters"].map(|message| {
        let record = server.records(message).pop().expect("it has started and ended");
        record["timestamp"].to_string()
    });
    assert!(before <= time && time <= after, "{before} {time} {after}");
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "\"0000-00-00T00:00:00.000Z\"");
    assert_eq!([before.len(), after.len()], [time.len(); 2]);
    let duration = line.remove("duration_ms").and_then(|ms| ms.as_u64()).expect("a number");
    assert!(u128::from(duration) < PATIENCE.as_millis(), "{duration}");
    let id = line.remove("id").expect("it has a name").to_string();
    assert!(id.len() == 18 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '"'), "{id}");
    let expected = json!({
        "listener": "edge", "client": "198.51.100.9:40000", "peer": peer.to_string(),
        "destination": "192.0.2.1:443", "version": "v2", "upstream": "edge",
        "endpoint": upstream.to_string(), "bytes_in": 70_000, "bytes_out": 6, "end": "done",
    });
    assert_eq!(lines[0], expected);
}

/// A backend that logs the unique id as it comes has the text to search for here.
#[test]
fn the_id_of_a_line_is_the_one_that_upstream_is_told() {
    let far = FarEnd::start();
    let send = "[upstream.edge.proxy_protocol]\nsend = 'v2'\ntlv_pass = 'all'\n";
    let text = file(&[ON], far.addr()) + send + "tlv_set = [{ type = 0x05, from = 'id' }]\n";
    let mut server = Server::start(&text);
    let mut told = Vec::new();
    for index in 0..2 {
        let client = Client::connect(IpAddr::from([127, 0, 0, 1]), server.addr());
        client.exchange(&with_tlvs(b"\x05\0\x06theirs")).complete();
        let received = far.ended(index).received;
        let header = wire::V2::read(&received);
        assert_eq!(header.values(0x05).len(), 1, "theirs is replaced");
        told.push(String::from_utf8(header.values(0x05)[0].to_vec()).expect("digits"));
    }
    let lines = stdout(&mut server);
    let logged: Vec<_> = lines.iter().map(|line| line["id"].as_str().expect("a text")).collect();
    assert_eq!(told, logged);
    assert_ne!(told[0], told[1]);
}

/// A v2 header for `client` with these TLVs.
fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    let len = u16::try_from(12 + tlvs.len()).expect("it is short").to_be_bytes();
    let addresses = [198, 51, 100, 9, 192, 0, 2, 1, 0x9C, 0x40, 0x01, 0xBB];
    [SIGNATURE, &[0x21, 0x11][..], &len[..], &addresses[..], tlvs].concat()
}

#[test]
fn a_line_has_the_tlvs_that_are_asked_for_by_name_also_of_a_header_in_pieces() {
    let far_end = FarEnd::start();
    let names = "access_log.tlvs = ['aws_vpc_endpoint_id', 0x02, 0xE1, 'alpn']";
    let mut server = Server::start(&file(&[ON, names], far_end.addr()));
    let header = with_tlvs(b"\x02\0\x03a.b\xEA\0\x07\x01vpce-1\xE1\0\x01x\x05\0\x01y");
    for pieces in [vec![&header[..]], vec![&header[..20], &header[20..]]] {
        let mut session = Session::connect(server.addr());
        for piece in pieces {
            session.send(piece);
        }
        session.finish();
        session.rest();
    }
    let lines = stdout(&mut server);
    let expected = json!({ "aws_vpc_endpoint_id": "vpce-1", "authority": "a.b", "0xE1": "hex:78" });
    assert_eq!(lines.iter().map(|line| &line["tlvs"]).collect::<Vec<_>>(), [&expected; 2]);
    assert_ne!(lines[0]["id"], lines[1]["id"]);
}

#[test]
fn a_reload_turns_lines_into_logfmt() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&[ON], far_end.addr()));
    serve_one(&server);
    let settings = [ON, "access_log.format = 'logfmt'", "access_log.tlvs = ['authority']"];
    let line = server.reload(&file(&settings, far_end.addr()), "reloaded");
    assert_eq!(line["changes"], "access_log");
    let mut session = Session::connect(server.addr());
    session.send(&with_tlvs(b"\x02\0\x03a b"));
    session.finish();
    session.rest();
    server.stop();
    let lines = server.proc.lines(Stream::Stdout);
    assert_eq!(parse(lines[..1].iter().map(String::as_str))[0]["end"], "done");
    for word in
        [" client=198.51.100.9:40000 ", " version=v2 ", " end=done ", " tlv_authority=\"a b\""]
    {
        assert!(lines[1].contains(word), "{word}: {}", lines[1]);
    }
}

#[test]
fn a_v4_mapped_client_is_told_as_ipv4_whoever_is_told() {
    let far_end = FarEnd::start();
    let text = file(&[ON], far_end.addr()) + "[upstream.edge.proxy_protocol]\nsend = 'v1'\n";
    let mut server = Server::start(&text);
    let client = Client::connect(IpAddr::from([127, 0, 0, 1]), server.addr());
    let mapped = b"PROXY TCP6 ::ffff:198.51.100.9 ::ffff:192.0.2.1 40000 443\r\n";
    let answer = client.exchange(mapped).complete();
    assert_eq!(answer, b"PROXY TCP4 198.51.100.9 192.0.2.1 40000 443\r\n");
    let lines = stdout(&mut server);
    assert_eq!(lines[0]["client"], "198.51.100.9:40000");
}

#[test]
fn each_connection_has_one_line_with_its_end_and_probes_have_none() {
    let far_end = FarEnd::start();
    let dead = ReservedPort::new();
    let mut text = file(&[ON], far_end.addr()) + &listener("dead", dead.addr());
    for policy in ["answer", "reject"] {
        let local = format!("local = '{policy}'\naccept");
        text += &listener(policy, far_end.addr()).replace("accept", &local);
    }
    let mut server = Server::start_ports(&text, 4);
    let [edge, dead_port, answers, rejects] = server.addrs()[..] else { panic!("four ports") };
    let local = [SIGNATURE, &[0x20, 0, 0, 0][..]].concat();

    drop(Session::connect(edge));
    Session::connect(edge).reset();
    let mut session = Session::open(edge);
    let good = session.addr();
    session.finish();
    session.rest();
    let mut session = Session::connect(edge);
    let bad = session.addr();
    session.send(b"GET");
    session.assert_reset();
    let mut session = Session::connect(dead_port);
    let unconnected = session.addr();
    session.send(HEADER);
    session.assert_reset();
    let stranger = Client::connect(IpAddr::from([127, 0, 0, 2]), edge);
    stranger.ask(HEADER).assert_reset();
    for to in [edge, answers] {
        Client::connect(to.ip(), to).exchange(&local).complete();
    }
    Client::connect(rejects.ip(), rejects).exchange(&local).assert_reset();

    let mut seen: Vec<_> = stdout(&mut server)
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().map(str::to_owned);
            let is_endpoint_told = !line["endpoint"].is_null();
            (text("end"), text("client"), text("peer"), is_endpoint_told, line["bytes_in"].as_u64())
        })
        .collect();
    let strange = seen.iter().position(|line| line.0.as_deref() == Some("untrusted"));
    let strange = seen.remove(strange.expect("the stranger has a line"));
    assert!(strange.1.as_deref().is_some_and(|peer| peer.starts_with("127.0.0.2:")), "{strange:?}");
    assert_eq!((strange.1.as_ref(), strange.3), (strange.2.as_ref(), false));
    let carried = || Some("203.0.113.7:51820".to_owned());
    let some = |text: &str| Some(text.to_owned());
    let told = |addr: SocketAddr| Some(addr.to_string());
    let expected = [
        (some("done"), carried(), told(good), true, Some(1)),
        (some("header_absent"), told(bad), told(bad), false, Some(0)),
        (some("connect_failed"), carried(), told(unconnected), true, Some(0)),
    ];
    // Two workers may write in either order; LOCAL connections are probes, whatever becomes of them.
    seen.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn log_probes_adds_bare_connects_and_local_connections() {
    let far_end = FarEnd::start();
    let settings = [ON, "access_log.log_probes = true"];
    let local = [SIGNATURE, &[0x20, 0, 0, 0][..]].concat();
    for (policy, reason) in [("answer", "local_answered"), ("forward", "done")] {
        let text = file(&settings, far_end.addr());
        let mut server =
            Server::start(&text.replace("accept", &format!("local = '{policy}'\naccept")));
        drop(Session::connect(server.addr()));
        let mut check = Session::connect(server.addr());
        check.send(&local);
        check.finish();
        check.rest();
        server.wait_until("both are over", |counters| {
            counters["accepted"] == 2 && counters["active"] == 0
        });
        let lines = stdout(&mut server);
        let mut ends: Vec<_> = lines.iter().map(|line| line["end"].as_str()).collect();
        ends.sort_unstable();
        let mut expected = [Some("probe"), Some(reason)];
        expected.sort_unstable();
        assert_eq!(ends, expected);
    }
}

#[test]
fn a_file_is_appended_to() {
    let far_end = FarEnd::start();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("access.log");
    fs::write(&path, "{\"end\":\"of yesterday\"}\n").expect("a file in it can be written");
    let mut server = logging_to(&path, &far_end);
    (0..2).for_each(|_| serve_one(&server));
    server.stop();
    assert_eq!(server.proc.lines(Stream::Stdout), [""; 0]);
    let text = fs::read_to_string(&path).expect("it is there");
    let lines = parse(text.lines());
    let ends: Vec<_> = lines.iter().map(|line| line["end"].as_str()).collect();
    assert_eq!(ends, [Some("of yesterday"), Some("done"), Some("done")]);
}

#[test]
fn a_hangup_opens_the_file_anew_also_when_the_reload_is_refused() {
    let far_end = FarEnd::start();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let mut server = logging_to(&path, &far_end);
    let lines = |path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    serve_one(&server);
    poll_for(PATIENCE, || (lines(&path) == 1).then_some(())).expect("the line is written");
    fs::rename(&path, &old).expect("it can be renamed");
    server.reload("nonsense", "reload refused");
    poll_for(PATIENCE, || path.exists().then_some(())).expect("not only with the next line");
    serve_one(&server);
    server.stop();
    assert_eq!((lines(&old), lines(&path)), (1, 1));
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_told_at_the_hangup() {
    let far_end = FarEnd::start();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let mut server = logging_to(&path, &far_end);
    fs::rename(&path, &old).expect("it can be renamed");
    fs::create_dir(&path).expect("the name is free");
    server.hang_up("the access log stays as it was");
    serve_one(&server);
    server.stop();
    assert_eq!(fs::read_to_string(&old).expect("it is there").lines().count(), 1);
}

#[test]
fn a_reload_turns_it_on_and_off_and_sends_it_elsewhere_and_no_line_is_lost() {
    let far_end = FarEnd::start();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let paths = ["first", "second"].map(|name| dir.path().join(name));
    let text = |settings: &[&str]| file(settings, far_end.addr());
    let to = |path: &Path| text(&[ON, &format!("access_log.output = 'file:{}'", path.display())]);
    let mut server = Server::start(&text(&[]));
    serve_one(&server);
    for path in &paths {
        let line = server.reload(&to(path), "reloaded");
        assert_eq!(line["changes"], "access_log");
        (0..2).for_each(|_| serve_one(&server));
    }
    let probes = to(&paths[1]).replace(ON, &format!("{ON}\naccess_log.log_probes = true"));
    server.reload(&probes, "reloaded");
    drop(Session::connect(server.addr()));
    server.wait_until("all are over", |counters| counters["active"] == 0);
    server.reload(&text(&[]), "reloaded");
    serve_one(&server);
    let counters = server.stop();
    assert_eq!(counters["access_lines_dropped"], 0);
    let ends = paths.map(|path| {
        let text = fs::read_to_string(path).expect("it is there");
        parse(text.lines()).iter().map(|line| line["end"].to_string()).collect::<Vec<_>>()
    });
    assert_eq!(ends, [vec!["\"done\""; 2], vec!["\"done\"", "\"done\"", "\"probe\""]]);
    assert_eq!(server.proc.lines(Stream::Stdout), [""; 0]);
}

#[test]
fn an_output_that_cannot_be_opened_refuses_the_reload() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&[ON], far_end.addr()));
    let settings = [ON, "access_log.output = 'file:/nonexistent/access.log'"];
    let why = server.reload(&file(&settings, far_end.addr()), "reload refused")["why"].to_string();
    for word in ["access log", "/nonexistent/access.log", "No such file or directory"] {
        assert!(why.contains(word), "`{word}` is missing: {why}");
    }
    serve_one(&server);
    assert_eq!(stdout(&mut server).len(), 1);
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_said_once() {
    let far_end = FarEnd::start();
    let output = "access_log.output = 'file:/dev/full'";
    let mut server = Server::start(&file(&[ON, output], far_end.addr()));
    (0..3).for_each(|_| serve_one(&server));
    assert_eq!(server.stop()["access_lines_dropped"], 3);
    assert_eq!(server.records("the access log cannot be written").len(), 1);
}

#[test]
fn a_file_that_cannot_be_written_stops_the_start_and_is_named() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("missing/access.log");
    let output = format!("access_log.output = 'file:{}'", path.display());
    let config = dir.path().join("ppserver.toml");
    let to = "127.0.0.1:9".parse().expect("an address");
    fs::write(&config, file(&[ON, &output], to)).expect("a file in it can be written");
    let ran = run(ppserver().args(["run", "-c"]).arg(&config));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    for word in ["access log", path.to_str().expect("a UTF-8 name"), "No such file or directory"] {
        assert!(ran.stderr.contains(word), "`{word}` is missing:\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("listening"), "{}", ran.stderr);
}

#[test]
fn nothing_is_written_unless_it_is_enabled() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&[], far_end.addr()));
    serve_one(&server);
    assert_eq!(stdout(&mut server), [Value::Null; 0]);
}
