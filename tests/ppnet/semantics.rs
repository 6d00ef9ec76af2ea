//! go-proxyproto's semantics, test by test, on both listeners. The name of its test is in the comment;
//! where ours differ, the comment says how.
//!
//! Not here: `Test_AllOptionsAreRecognized` (Go's options are functions). The whitelists' own tests are beside `Trust`, those of TLS in `tls.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use ppnet::ppcore::{Command, Crc32cPolicy, ErrorKind, Family, Options, UnixAddr, V1Families};
use ppnet::{Config, Greeting, Policy, Reason, Refused, Silence, Trust};

use crate::common::wire::{SIGNATURE, v1, v2};
use crate::rig::{
    CLIENT, PEER, Rig, assert_closed, both, both_at, connect, connect_from, echo, terms,
};

fn client() -> SocketAddr {
    "10.1.1.1:1000".parse().expect("an address")
}

fn server() -> SocketAddr {
    "20.2.2.2:2000".parse().expect("an address")
}

/// LOCAL with an address block that must be skipped (spec 2.2).
fn local() -> Vec<u8> {
    let mut header = v2(client(), server());
    header[12] = 0x20;
    header
}

#[track_caller]
fn assert_kind(refused: Refused, kind: ErrorKind) {
    let Reason::Header(error) = refused.reason() else { panic!("{kind:?}, not {refused:?}") };
    assert_eq!(error.kind(), kind);
}

/// Sends `header` and a payload; the addresses the server sees, and whether they are the socket's.
#[track_caller]
fn assert_addresses(rig: &Rig, header: &[u8], source: SocketAddr, destination: SocketAddr) {
    let mut stream = connect(rig.addr);
    echo(&mut stream, &[header, b"ping"].concat(), b"ping");
    let seen = rig.accepted();
    assert_eq!((seen.peer_addr(), seen.local_addr()), (source, destination), "{:?}", rig.kind);
    assert_eq!(seen.socket_peer_addr(), stream.local_addr().expect("it is connected"));
    assert_eq!(seen.socket_local_addr(), rig.addr);
}

/// The same, where the socket's own addresses count.
#[track_caller]
fn assert_socket_addresses(rig: &Rig, sent: &[u8], payload: &[u8]) -> ppnet::Endpoints {
    let mut stream = connect(rig.addr);
    echo(&mut stream, sent, payload);
    let seen = rig.accepted();
    let own = stream.local_addr().expect("it is connected");
    assert_eq!((seen.peer_addr(), seen.local_addr()), (own, rig.addr), "{:?}", rig.kind);
    seen
}

/// Sends `bytes` and expects to be closed; a good connection afterwards shows that the listener
/// goes on and that it is the only one that came through.
#[track_caller]
fn refuses(policy: Policy, bytes: &[u8]) -> Vec<Refused> {
    let refuse = |rig: Rig| {
        let mut stream = connect(rig.addr);
        stream.write_all(bytes).expect("the buffer takes it");
        // It may be refused already, and reset for what was not read.
        stream.shutdown(Shutdown::Write).ok();
        assert_closed(stream);
        let reason = rig.refused();
        let good = if policy == Policy::Reject { Vec::new() } else { v2(client(), server()) };
        echo(&mut connect(rig.addr), &[&good[..], b"ping"].concat(), b"ping");
        rig.accepted();
        assert!(!rig.has_more());
        reason
    };
    both(&terms(policy)).map(refuse).into()
}

// TestPassthrough
#[test]
fn under_use_a_connection_without_a_header_has_the_sockets_addresses() {
    for rig in both(&terms(Policy::Use)) {
        let seen = assert_socket_addresses(&rig, b"ping", b"ping");
        assert!(seen.header().is_none());
    }
}

// TestReadHeaderTimeout. Go goes on without a header where none is required; ours does if told to, below.
#[test]
fn a_silent_client_is_closed_at_the_deadline() {
    for policy in [Policy::Require, Policy::Use, Policy::Ignore, Policy::Reject] {
        for rig in both(&terms(policy).header_timeout(Duration::from_millis(1))) {
            assert_closed(connect(rig.addr));
            assert!(matches!(rig.refused().reason(), Reason::TimedOut));
            assert!(!rig.has_more());
        }
    }
}

// The same, of a server that speaks first: whoever may come without a header is let in with what it sends later.
#[test]
fn a_silent_client_of_a_server_that_speaks_first_comes_in_at_the_deadline() {
    let timeout = Duration::from_millis(1);
    for policy in [Policy::Use, Policy::Ignore, Policy::Reject] {
        for rig in both(&terms(policy).header_timeout(timeout).silence(Silence::Absent)) {
            let mut stream = connect(rig.addr);
            let seen = rig.accepted();
            assert_eq!(seen.peer_addr(), stream.local_addr().expect("it is connected"));
            echo(&mut stream, b"EHLO", b"EHLO");
        }
    }
    for rig in both(&terms(Policy::Require).header_timeout(timeout).silence(Silence::Absent)) {
        assert_closed(connect(rig.addr));
        assert!(matches!(rig.refused().reason(), Reason::TimedOut));
    }
}

// Not in go-proxyproto: what the decoder accepts is for its options to say.
#[test]
fn a_checksum_may_be_required_and_a_line_may_mix_families_where_the_options_say_so() {
    let mixed = b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n";
    let bare = v2(client(), server());
    let lenient = terms(Policy::Require)
        .options(|options| options.v1_families(V1Families::Mixed).crc32c(Crc32cPolicy::Require));
    for rig in both(&lenient) {
        let mut stream = connect(rig.addr);
        echo(&mut stream, &[&mixed[..], b"ping"].concat(), b"ping");
        let seen = rig.accepted();
        assert_eq!(seen.peer_addr(), "[2001:db8::7]:51820".parse().expect("an address"));
        assert_eq!(seen.local_addr(), "192.0.2.1:443".parse().expect("an address"));
        let mut stream = connect(rig.addr);
        stream.write_all(&bare).expect("it is open");
        assert_closed(stream);
        assert_kind(rig.refused(), ErrorKind::CrcMissing);
    }
}

// TestReadHeaderTimeout, with a byte at a time: no byte prolongs the deadline.
#[test]
fn a_client_that_stops_inside_its_header_is_closed_at_the_deadline() {
    for rig in both(&terms(Policy::Require).header_timeout(Duration::from_millis(50))) {
        let mut stream = connect(rig.addr);
        stream.write_all(b"PROXY TCP4 10.1").expect("it is open");
        assert_closed(stream);
        assert!(matches!(rig.refused().reason(), Reason::TimedOut));
    }
}

// TestParse_ipv4 and TestParse_ipv6
#[test]
fn the_carried_addresses_are_the_connections() {
    let v6 = ["[ffff::ffff]:1000", "[ffff::ffff]:2000"].map(|text| text.parse().expect("v6"));
    for policy in [Policy::Use, Policy::Require] {
        for rig in both(&terms(policy)) {
            assert_addresses(&rig, &v2(client(), server()), client(), server());
            assert_addresses(&rig, &v1(client(), server()), client(), server());
            assert_addresses(&rig, &v2(v6[0], v6[1]), v6[0], v6[1]);
            assert_addresses(&rig, &v1(v6[0], v6[1]), v6[0], v6[1]);
        }
    }
}

// TestParse_ipv4, its last line: `ProxyHeader()` equals what was sent.
#[test]
fn the_whole_header_is_there_with_its_tlvs() {
    let sent = Greeting::v2(client(), server()).tlv(0xEA, b"\x01vpce-1").crc32c();
    let sent = sent.to_bytes().expect("it fits");
    for rig in both(&terms(Policy::Require)) {
        let mut stream = connect(rig.addr);
        echo(&mut stream, &[&sent[..], b"ping"].concat(), b"ping");
        let seen = rig.accepted();
        let header = seen.header().expect("one came");
        assert_eq!(header.as_bytes(), sent);
        assert_eq!(header.tlv(0xEA), Some(&b"\x01vpce-1"[..]));
        assert_eq!(header.family(), Family::Inet);
    }
}

// TestAcceptReturnsErrorWhenPolicyFuncErrors. Go's accept returns the error, which ends most servers;
// ours closes that connection and waits for the next.
#[test]
fn a_peer_that_the_policy_denies_is_closed_and_the_listener_goes_on() {
    let trust = Trust::by(|peer| if peer.ip() == PEER { Policy::Require } else { Policy::Deny });
    for rig in both(&Config::new(trust)) {
        assert_closed(connect_from("127.0.0.3".parse().expect("an address"), rig.addr));
        assert!(matches!(rig.refused().reason(), Reason::Denied));
        assert_addresses(&rig, &v2(client(), server()), client(), server());
        assert!(!rig.has_more());
    }
}

// A socket of both families tells an IPv4 peer as `::ffff:127.0.0.1`, which is not loopback.
#[test]
fn a_function_is_asked_about_the_ipv4_peer_of_a_socket_of_both_families() {
    let trust =
        Trust::by(|peer| if peer.ip().is_loopback() { Policy::Require } else { Policy::Deny });
    for rig in both_at("[::]:0", &Config::new(trust)) {
        let mut stream = connect((PEER, rig.addr.port()).into());
        echo(&mut stream, &[&v2(client(), server())[..], b"ping"].concat(), b"ping");
        let seen = rig.accepted();
        assert_eq!(seen.socket_peer_addr(), stream.local_addr().expect("it is connected"));
        assert_eq!(seen.socket_local_addr(), stream.peer_addr().expect("it is connected"));
    }
}

// Test_ConnectionErrorsWhenHeaderValidationFails. In Go the first read fails; ours never sees the connection.
#[test]
fn a_header_that_does_not_validate_ends_the_connection() {
    let config = terms(Policy::Use).validate(|header| {
        if header.source() == Some(client()) { Ok(()) } else { Err("not one of ours") }
    });
    for rig in both(&config) {
        let mut stream = connect(rig.addr);
        stream.write_all(&v2(server(), client())).expect("it is open");
        assert_closed(stream);
        assert_eq!(rig.refused().to_string(), "the header is not acceptable: not one of ours");
        assert_addresses(&rig, &v2(client(), server()), client(), server());
        // Where none comes there is nothing to judge.
        assert_socket_addresses(&rig, b"ping", b"ping");
    }
}

// ConnPolicy, which is given both addresses.
#[test]
fn a_function_is_asked_about_both_addresses() {
    let here = |addr: SocketAddr| addr.ip() == PEER;
    let trust =
        Trust::by_both(
            move |peer, local| {
                if here(peer) && !here(local) { Policy::Require } else { Policy::Deny }
            },
        );
    for rig in both_at("0.0.0.0:0", &Config::new(trust)) {
        assert_closed(connect((PEER, rig.addr.port()).into()));
        assert!(matches!(rig.refused().reason(), Reason::Denied));
        let mut stream = connect_from(PEER, (CLIENT, rig.addr.port()).into());
        echo(&mut stream, &[&v2(client(), server())[..], b"ping"].concat(), b"ping");
        assert_eq!(rig.accepted().peer_addr(), client());
    }
}

// TestReadingIsRefusedWhenProxyHeaderRequiredButMissing, and ...OnErrorWhenRemoteAddrRequestedFirst,
// ...OnErrorWhenLocalAddrRequestedFirst: here no address can be asked for before the header is read.
#[test]
fn a_connection_without_a_required_header_never_comes_through() {
    for refused in refuses(Policy::Require, b"GET / HTTP/1.1\r\n") {
        assert_eq!(refused.first_bytes(), b"GET / HTTP/1.1\r\n");
        assert!(refused.to_string().contains("; it looks like HTTP: "), "{refused}");
        assert_kind(refused, ErrorKind::NotProxy);
    }
}

// TestReadingIsRefusedWhenProxyHeaderPresentButNotAllowed. In Go the second read succeeds; here there
// is no connection to read from.
#[test]
fn a_header_that_is_not_allowed_ends_the_connection() {
    for header in [v1(client(), server()), v2(client(), server()), local()] {
        for reason in refuses(Policy::Reject, &header) {
            assert!(matches!(reason.reason(), Reason::Forbidden), "{reason:?}");
        }
    }
}

#[test]
fn under_reject_a_connection_without_a_header_comes_through() {
    for rig in both(&terms(Policy::Reject)) {
        assert_socket_addresses(&rig, b"PROXIMITY", b"PROXIMITY");
    }
}

// TestIgnorePolicyIgnoresIpFromProxyHeader
#[test]
fn under_ignore_a_header_is_taken_off_and_does_not_count() {
    for rig in both(&terms(Policy::Ignore)) {
        for header in [v1(client(), server()), v2(client(), server())] {
            let sent = [&header[..], b"ping"].concat();
            assert!(assert_socket_addresses(&rig, &sent, b"ping").header().is_none());
        }
        assert_socket_addresses(&rig, b"ping", b"ping");
    }
}

// SKIP, of later versions of go-proxyproto.
#[test]
fn under_skip_a_header_is_payload_and_a_silent_client_comes_through() {
    for rig in both(&terms(Policy::Skip).header_timeout(Duration::from_millis(1))) {
        let sent = [&v2(client(), server())[..], b"ping"].concat();
        assert_socket_addresses(&rig, &sent, &sent);
        let _silent = connect(rig.addr);
        rig.accepted();
    }
}

// TestGetTCPConn and its siblings
#[test]
fn the_socket_is_there_to_set_options() {
    let listener = ppnet::Listener::bind("127.0.0.1:0", Trust::any()).expect("a free port");
    let mut stream = connect(listener.local_addr());
    stream.write_all(b"PROXY UNKNOWN\r\n").expect("it is open");
    let accepted = listener.accept().expect("it has its header");
    accepted.get_ref().set_nodelay(true).expect("it is a TCP socket");
    assert!(accepted.get_ref().nodelay().expect("it is a TCP socket"));
}

// `IsLocal`: LOCAL, in the forms that HAProxy and AWS send, and v1 UNKNOWN.
#[test]
fn local_and_unknown_have_the_sockets_addresses() {
    let bare = [SIGNATURE, &b"\x20\0\0\0"[..]].concat();
    let unknown = b"PROXY UNKNOWN ffff::1 anything 1 2\r\n".to_vec();
    let cases = [
        (local(), Command::Local),
        (bare, Command::Local),
        (unknown, Command::Unknown),
        (b"PROXY UNKNOWN\r\n".to_vec(), Command::Unknown),
    ];
    for rig in both(&terms(Policy::Require)) {
        for (header, command) in &cases {
            let sent = [&header[..], b"ping"].concat();
            let seen = assert_socket_addresses(&rig, &sent, b"ping");
            assert_eq!(seen.header().expect("one came").command(), *command);
        }
    }
}

// PROXY without IP addresses of a byte stream: Go's RemoteAddr is nil, a UNIX or a UDP address there.
#[test]
fn unspec_unix_and_datagrams_have_the_sockets_addresses() {
    let datagram = Greeting::v2_datagram(client(), server()).to_bytes().unwrap();
    let unspec = [SIGNATURE, &b"\x21\0\0\0"[..]].concat();
    let unix = [SIGNATURE, &b"\x21\x31\0\xD8/run/x"[..], &[0; 210][..]].concat();
    for rig in both(&terms(Policy::Require)) {
        assert_socket_addresses(&rig, &[&unspec[..], b"ping"].concat(), b"ping");
        let seen = assert_socket_addresses(&rig, &[&unix[..], b"ping"].concat(), b"ping");
        let (source, _) = seen.header().and_then(|header| header.unix()).expect("names");
        assert_eq!(source, UnixAddr::Path(b"/run/x"));
        let seen = assert_socket_addresses(&rig, &[&datagram[..], b"ping"].concat(), b"ping");
        assert_eq!(seen.header().expect("one came").source(), Some(client()));
    }
}

// A header and then nothing: an end at once, with the client known.
#[test]
fn a_header_and_then_nothing_is_a_connection_that_ends() {
    for header in [v1(client(), server()), v2(client(), server())] {
        for rig in both(&terms(Policy::Require)) {
            let mut stream = connect(rig.addr);
            stream.write_all(&header).expect("it is open");
            stream.shutdown(Shutdown::Write).expect("it is open");
            assert_eq!(rig.accepted().peer_addr(), client());
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("it ends in peace");
            assert_eq!(rest, b"");
        }
    }
}

// A connect and a close, as TCP health checks do: refused as `Empty`, and under USE an empty
// connection, as in Go.
#[test]
fn nothing_at_all_is_a_probe() {
    for reason in refuses(Policy::Require, b"") {
        assert_kind(reason, ErrorKind::Empty);
    }
    for rig in both(&terms(Policy::Use)) {
        let stream = connect(rig.addr);
        stream.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(rig.accepted().peer_addr(), stream.local_addr().expect("it is connected"));
        assert_closed(stream);
    }
}

#[test]
fn an_end_inside_the_header_is_refused_by_all_who_look() {
    for policy in [Policy::Require, Policy::Use, Policy::Ignore, Policy::Reject] {
        for reason in refuses(policy, &v2(client(), server())[..20]) {
            assert_kind(reason, ErrorKind::Truncated);
        }
    }
}

// The header in pieces: a write for each byte. Every cut of the bytes is a unit test of `Handshake`.
#[test]
fn a_header_in_pieces_is_the_same_header() {
    for header in [v1(client(), server()), v2(client(), server())] {
        for rig in both(&terms(Policy::Require)) {
            let mut stream = connect(rig.addr);
            for byte in &header {
                stream.write_all(&[*byte]).expect("it is open");
            }
            echo(&mut stream, b"ping", b"ping");
            assert_eq!(rig.accepted().peer_addr(), client());
        }
    }
}

// go-proxyproto#75: the deadline for the header stayed on the connection. A second, silent client
// shows that the time of the first is over; it was accepted later.
#[test]
fn the_deadline_is_not_left_on_the_connection() {
    for rig in both(&terms(Policy::Require).header_timeout(Duration::from_millis(50))) {
        let mut stream = connect(rig.addr);
        stream.write_all(&v2(client(), server())).expect("it is open");
        rig.accepted();
        assert_closed(connect(rig.addr));
        assert!(matches!(rig.refused().reason(), Reason::TimedOut));
        echo(&mut stream, b"ping", b"ping");
    }
}

#[test]
fn a_connection_of_the_blocking_listener_blocks_and_has_no_deadline() {
    let listener = ppnet::Listener::bind("127.0.0.1:0", Trust::any()).expect("a free port");
    let mut stream = connect(listener.local_addr());
    stream.write_all(b"PROXY UNKNOWN\r\n").expect("it is open");
    let mut accepted = listener.accept().expect("it has its header");
    assert_eq!(accepted.get_ref().read_timeout().expect("it is open"), None);
    // Would fail with `WouldBlock` were the socket not in blocking mode: nothing is there yet.
    let reader = std::thread::spawn(move || {
        let mut payload = [0; 4];
        accepted.read_exact(&mut payload).map(|()| payload)
    });
    stream.write_all(b"ping").expect("it is open");
    assert_eq!(reader.join().expect("it does not panic").expect("it is read"), *b"ping");
}

// Headers that break the protocol behind what commits them to it.
#[test]
fn a_broken_header_is_refused_by_all_who_look() {
    for policy in [Policy::Require, Policy::Use, Policy::Ignore, Policy::Reject] {
        for reason in refuses(policy, b"PROXY TCP4 256.1.1.1 1.1.1.1 1 2\r\n") {
            assert_kind(reason, ErrorKind::V1BadSourceAddress);
        }
        let mut unknown_command = v2(client(), server());
        unknown_command[12] = 0x2F;
        for reason in refuses(policy, &unknown_command) {
            assert_kind(reason, ErrorKind::V2BadCommand);
        }
    }
}

#[test]
fn a_header_above_the_limit_is_refused() {
    let long = Greeting::v2(client(), server()).tlv(0xE0, vec![0; 4096]);
    for reason in refuses(Policy::Require, &long.to_bytes().expect("it fits")) {
        assert_kind(reason, ErrorKind::V2TooLong);
    }
    // One that is longer than a read, within the limit that is set.
    let options = |options: Options| options.v2_len_max(u16::MAX);
    for rig in both(&terms(Policy::Require).options(options)) {
        let sent = Greeting::v2(client(), server()).tlv(0xE0, vec![7; 60_000]);
        let sent = sent.to_bytes().expect("it fits");
        assert_addresses(&rig, &sent, client(), server());
    }
}

#[test]
fn a_client_that_resets_ends_nothing_but_itself() {
    for rig in both(&terms(Policy::Require)) {
        for sent in [&b""[..], b"PROXY TC"] {
            let mut stream = connect(rig.addr);
            stream.write_all(sent).expect("it is open");
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(stream);
            assert!(matches!(rig.refused().reason(), Reason::Io(_)), "{:?}", rig.kind);
        }
        assert!(!rig.has_more());
        assert_addresses(&rig, &v2(client(), server()), client(), server());
    }
}
