//! What goes through: headers, payload in both ways, ends; and who is believed.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use serde_json::Value;

use super::{End, place};
use crate::common::far_end::FarEnd;
use crate::common::payload::{MIB, assert_same, random};
use crate::life::server::{Server, ppserver, run};
use crate::life::session::{HEADER, Session};

const UNSPEC: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
/// What `HEADER` is in version 2.
const SENT: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xca\x6c\x01\xbb";

/// A server at a UNIX socket and a port of 127.0.0.1, in front of an endpoint, with these lines for what is accepted.
#[track_caller]
fn start(bind: &str, endpoint: &str, accept: &str, more: &str) -> Server {
    Server::start(&text(bind, endpoint, accept, more))
}

fn text(bind: &str, endpoint: &str, accept: &str, more: &str) -> String {
    format!(
        "config_version = 1\nserver.workers = 2\n{more}\n\
         [access_log]\nenabled = true\nlog_probes = true\noutput = 'stderr'\n\
         [[listener]]\nname = 'edge'\nbind = ['127.0.0.1:0', '{bind}']\nupstream = 'far'\n\
         [listener.proxy_protocol]\n{accept}\n\
         [upstream.far]\nendpoints = ['{endpoint}']\nproxy_protocol.send = 'v2'\n"
    )
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// The line of the access log for connection number `nth`.
#[track_caller]
fn account(server: &Server, nth: usize) -> Value {
    let mut seen = 0;
    let what = format!("access log line {nth}");
    server.proc.wait_for_line(crate::common::process::Stream::Stderr, &what, |line| {
        let record: Value = serde_json::from_str(line).ok()?;
        record.get("end")?;
        seen += 1;
        (seen > nth).then_some(record)
    })
}

#[test]
fn a_unix_client_in_front_of_a_unix_endpoint_is_relayed_with_its_header() {
    let (_dir, here) = place();
    let (_far_dir, there) = place();
    let far = UnixListener::bind(&there).expect("the directory is ours");
    let mut server = start(&unix(&here), &unix(&there), "accept = 'require'\ntrust = ['unix']", "");
    let client = End::connect(&here);
    client.send(&[HEADER, b"request"].concat());
    let upstream = End::accept(&far);
    upstream.expect(&[SENT, b"request"].concat());
    client.fin();
    assert_eq!(upstream.rest(), (Vec::new(), false), "half-closed");
    upstream.send(b"answer");
    drop(upstream);
    assert_eq!(client.rest(), (b"answer".to_vec(), false));
    let line = account(&server, 0);
    let fields = ["client", "peer", "destination", "endpoint", "end"].map(|key| line[key].clone());
    let expected = ["203.0.113.7:51820", "unix:", "192.0.2.1:443", &unix(&there), "done"];
    assert_eq!(fields, expected.map(Value::from));
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&7.into(), &6.into()));
    server.stop();
}

#[test]
fn a_unix_client_without_a_header_has_no_address_to_be_told() {
    let (_dir, here) = place();
    let far = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let far_addr = far.local_addr().expect("it is bound").to_string();
    let mut server = start(&unix(&here), &far_addr, "", "");
    let client = End::connect(&here);
    client.send(b"request");
    client.fin();
    let (mut upstream, _) = far.accept().expect("we connect");
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut upstream, &mut received).expect("it ends");
    assert_eq!(received, [UNSPEC, b"request"].concat());
    drop(upstream);
    assert_eq!(client.rest(), (Vec::new(), false));
    let line = account(&server, 0);
    assert_eq!((&line["client"], &line["peer"]), (&"unix:".into(), &"unix:".into()));
    server.stop();
}

#[test]
fn only_those_who_are_trusted_by_name_are_believed_at_a_unix_socket() {
    let far = FarEnd::start();
    for (trust, is_believed) in [
        ("['0.0.0.0/0', '::/0']", false),
        ("['127.0.0.1']", false),
        ("['127.0.0.1', 'unix']", true),
        ("'any'", true),
    ] {
        let (_dir, here) = place();
        let accept = format!("accept = 'require'\ntrust = {trust}");
        let text = text(&unix(&here), &far.addr().to_string(), &accept, "");
        // The far end echoes, a header too.
        let mut server = Server::start(&text.replace("send = 'v2'", "send = 'off'"));
        let client = End::connect(&here);
        if is_believed {
            client.send(&[HEADER, b"x"].concat());
            client.expect(b"x");
            drop(client);
        } else {
            // Nothing was read of it.
            assert!(client.rest().0.is_empty());
            let refused = server.wait_for("refused", 0);
            assert_eq!(
                (&refused["peer"], &refused["reason"]),
                (&"unix:".into(), &"untrusted".into())
            );
        }
        // Whoever comes by TCP is judged by the address.
        drop(Session::open(server.addr()));
        server.stop();
    }
}

#[test]
fn bulk_goes_through_byte_for_byte_whatever_it_is_moved_by() {
    for mode in ["auto", "always", "off"] {
        let (_dir, here) = place();
        let (_far_dir, there) = place();
        let far = UnixListener::bind(&there).expect("the directory is ours");
        let mode = format!("splice.mode = '{mode}'");
        let mut server = start(&unix(&here), &unix(&there), "", &mode);
        let client = End::connect(&here);
        let upstream = End::accept(&far);
        upstream.expect(UNSPEC);
        let (up, down) = (random(1, 8 * MIB), random(2, 8 * MIB));
        let (received, answer) = std::thread::scope(|scope| {
            for (end, bytes) in [(&client, &up), (&upstream, &down)] {
                scope.spawn(|| {
                    end.send(bytes);
                    end.fin();
                });
            }
            let received = scope.spawn(|| upstream.rest().0);
            (
                received.join().expect("it ends"),
                scope.spawn(|| client.rest().0).join().expect("it ends"),
            )
        });
        assert_same(&received, &up);
        assert_same(&answer, &down);
        server.stop();
    }
}

#[test]
fn who_is_reset_on_tcp_ends_the_other_side() {
    let (_dir, there) = place();
    let far = UnixListener::bind(&there).expect("the directory is ours");
    let (_here_dir, here) = place();
    let mut server = start(&unix(&here), &unix(&there), "", "");
    let client = Session::connect(server.addr());
    let upstream = End::accept(&far);
    client.reset();
    let (bytes, _) = upstream.rest();
    assert!(bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"), "{bytes:?}");
    assert_eq!(account(&server, 0)["end"], "client_reset");
    // And the other way round: one that closes without reading what was sent resets (unix(7)).
    let mut client = Session::connect(server.addr());
    let upstream = End::accept(&far);
    client.send(b"unread");
    drop(upstream);
    client.assert_reset();
    assert_eq!(account(&server, 1)["end"], "upstream_reset");
    server.stop();
}

#[test]
fn a_stale_endpoint_is_refused_and_an_abstract_one_is_reached() {
    let (_dir, here) = place();
    let (_far_dir, there) = place();
    drop(UnixListener::bind(&there).expect("the directory is ours"));
    let mut server = start(&unix(&here), &unix(&there), "", "");
    assert_eq!(End::connect(&here).rest(), (Vec::new(), false));
    let line = account(&server, 0);
    assert_eq!((&line["end"], &line["endpoint"]), (&"connect_failed".into(), &unix(&there).into()));
    server.stop();
    let name = format!("ppserver-test-{}", std::process::id());
    let addr = SocketAddr::from_abstract_name(&name).expect("it is short");
    let far = UnixListener::bind_addr(&addr).expect("nobody has the name");
    let mut server = start(&unix(&here), &format!("unix:@{name}"), "", "");
    let client = End::connect(&here);
    client.send(b"x");
    End::accept(&far).expect(&[UNSPEC, b"x"].concat());
    drop(client);
    server.stop();
}

#[test]
fn an_operator_takes_a_unix_endpoint_out_and_back_in() {
    let (dir, here) = place();
    let (_far_dir, there) = place();
    let far = UnixListener::bind(&there).expect("the directory is ours");
    let door = unix(&dir.path().join("admin.sock"));
    let more = format!("admin.socket = '{}'", dir.path().join("admin.sock").display());
    let mut server = start(&unix(&here), &unix(&there), "", &more);
    for (state, is_served) in [("down", false), ("auto", true)] {
        let mut command = ppserver();
        command.args(["upstreams", "set", "far", &unix(&there), "--state", state]);
        let ran = run(command.args(["--admin", &door]));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let now = if is_served { "up" } else { "down" };
        assert_eq!(ran.stdout, format!("{} of far: {now}, weight 1", unix(&there)));
        let client = End::connect(&here);
        match is_served {
            true => End::accept(&far).expect(UNSPEC),
            false => assert_eq!(client.rest(), (Vec::new(), false)),
        }
    }
    let counters = server.stop();
    assert_eq!(counters["closed"]["no_endpoint"], 1);
}
