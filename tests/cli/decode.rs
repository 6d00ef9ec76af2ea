//! `decode` beyond the vectors: where its input comes from, and what it says of bad input.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::{NamedTempFile, tempdir};

use crate::support::{Ran, ppserver, run};

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 5 6\r\n";

fn decode(args: &[&str], stdin: &[u8]) -> Ran {
    run(&[&["decode"], args].concat(), stdin)
}

fn json(args: &[&str], stdin: &[u8]) -> Value {
    decode(&[&["--json"], args].concat(), stdin).json()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", [command, family].as_slice(), &len, body].concat()
}

#[test]
fn the_object_has_its_keys_in_the_order_of_the_contract() {
    assert_eq!(
        decode(&["--json"], V1).text(),
        concat!(
            r#"{"result":"ok","version":1,"command":"PROXY","family":"INET","transport":"STREAM","#,
            r#""src":"192.0.2.1:5","dst":"198.51.100.2:6","consumed":39,"tlvs":[],"#,
            r#""tlv_error":null,"crc":"absent","need":null,"error":null,"src_offset":null,"#,
            r#""dst_offset":null,"tlv_error_offset":null,"payload":0,"hint":null}"#,
            "\n"
        )
    );
}

#[test]
fn file_dash_and_stdin_give_the_same_answer() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(V1).unwrap();
    let path = file.path().to_str().unwrap();
    let from_stdin = decode(&["--json"], V1);
    assert_eq!(decode(&["--json", path], b"PROXY never read"), from_stdin);
    assert_eq!(decode(&["--json", "-"], V1), from_stdin);
}

#[test]
fn an_unreadable_file_is_a_usage_error_that_names_it() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("no\u{1b}[31msuch.bin");
    let ran = decode(&["--json", missing.to_str().unwrap()], b"");
    ran.assert_refused(&["cannot read", "such.bin", "No such file"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    decode(&[dir.path().to_str().unwrap()], b"").assert_refused(&["Is a directory"]);
}

#[test]
fn hex_text_may_be_spaced_prefixed_and_of_either_case() {
    let text = b" 0x50524F58 5920\n554e4b4e4f574e\r\n\t0X0d0A ff\n";
    let got = json(&["--hex"], text);
    assert_eq!((&got["result"], &got["consumed"]), (&json!("ok"), &json!(15)));
}

#[test]
fn bad_hex_text_is_a_usage_error_with_its_place() {
    decode(&["--hex"], b"5052\n4f 5g").assert_refused(&["stdin", "`g`", "line 2, column 5"]);
    decode(&["--hex"], b"505").assert_refused(&["line 1, column 1", "odd"]);
    decode(&["--hex"], b"50 \x1b").assert_refused(&[r"`\x1b`", "line 1, column 4"]);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    decode(&["--chunk", "0"], V1).assert_refused(&["--chunk"]);
    decode(&["--max-v2-len", "65536"], V1).assert_refused(&["0..=65535"]);
    decode(&["--hexx"], V1).assert_refused(&["--hex"]);
    run(&[], b"").assert_refused(&["Usage", "decode", "encode"]);
}

#[test]
fn more_input_than_the_limit_is_refused() {
    let just_too_much = vec![0; (16 << 20) + 1];
    decode(&[], &just_too_much).assert_refused(&["more than 16 MiB"]);
    let ran = decode(&[], &just_too_much[1..]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}

#[test]
fn a_header_that_ends_early_depends_on_what_comes_behind_it() {
    let half = &V1[..20];
    assert_eq!(decode(&[], half).code, Some(3));
    for flags in [["--eof"], ["--datagram"]] {
        let ran = decode(&[&["--json"], flags.as_slice()].concat(), half);
        assert_eq!(ran.code, Some(1));
        let got = ran.json();
        assert_eq!((&got["result"], &got["version"]), (&json!("error"), &json!(1)), "{flags:?}");
        assert_eq!(got["error"]["kind"], "truncated", "{flags:?}");
        assert_eq!(got["error"]["offset"], 20, "{flags:?}");
    }
}

#[test]
fn nothing_at_all_is_incomplete_until_the_peer_closes() {
    let got = json(&[], b"");
    assert_eq!((&got["result"], &got["need"]), (&json!("incomplete"), &json!(15)));
    assert_eq!(json(&["--eof"], b"")["error"]["kind"], "empty");
    assert_eq!(json(&["--eof", "--chunk", "3"], b"")["error"]["kind"], "empty");
    assert_eq!(json(&["--datagram"], b"")["error"]["kind"], "truncated");
    assert_eq!(json(&["--spp"], b"")["error"]["kind"], "truncated");
}

#[test]
fn a_simple_proxy_header_is_told_by_the_flag_alone() {
    let spp = [b"\x56\xec".as_slice(), &[0x20; 36], b"payload"].concat();
    let got = json(&["--spp"], &spp);
    assert_eq!((&got["version"], &got["transport"]), (&json!("spp"), &json!("DGRAM")));
    assert_eq!((&got["consumed"], &got["crc"]), (&json!(38), &json!("absent")));
    assert_eq!(json(&[], &spp)["result"], "not_proxy");
    assert!(decode(&[], &spp).text().contains("try --spp"));
    assert_eq!(json(&["--spp"], V1)["result"], "not_proxy");
    assert!(decode(&["--spp"], V1).text().contains("drop --spp"));
    let short = json(&["--spp"], &spp[..37]);
    assert_eq!((&short["version"], &short["error"]["kind"]), (&json!("spp"), &json!("truncated")));
}

#[test]
fn the_object_says_what_the_text_says() {
    let tlvs = [
        &b"\x01\0\x02h2"[..],
        b"\x02\0\x03a.b",
        b"\x20\0\x16\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x04J\xc3\xb6g",
        b"\xea\0\x07\x01vpce-1",
        b"\xea\0\x02\x02?",
        b"\xee\0\x05\x01\xc1\x45\x00\x21",
        b"\xe0\0\x08\xff\xff\xff\xff\xc0\x01\x12\x22",
        b"\xe0\0\x01\0",
        b"\x02\0",
    ]
    .concat();
    let header = v2(0x21, 0x11, &[&[127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 0, 2][..], &tlvs].concat());
    let got = json(&[], &[&header[..], b"GET"].concat());
    assert_eq!((&got["src_offset"], &got["dst_offset"]), (&json!(16), &json!(20)));
    assert_eq!((&got["tlv_error_offset"], &got["payload"]), (&json!(102), &json!(3)));
    let short: Vec<Value> = got["tlvs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tlv| json!([tlv["offset"], tlv["field"], tlv["value"], tlv["value_error"]]))
        .collect();
    let length = "the value's length does not fit its type";
    let want = json!([
        [28, "alpn", "h2", null],
        [33, "authority", "a.b", null],
        [39, null, null, null],
        [64, "aws_vpc_endpoint_id", "vpce-1", null],
        [74, null, null, null],
        [79, "azure_link_id", "553665985", null],
        [87, "gcp_psc_connection_id", "18446744072635879970", null],
        [98, "gcp_psc_connection_id", null, length],
    ]);
    assert_eq!(Value::from(short), want);
    let ssl = &got["tlvs"][2]["ssl"];
    assert_eq!((&ssl["client"], &ssl["verify"]), (&json!(7), &json!(0)));
    assert_eq!((&ssl["tls"], &ssl["verified"]), (&json!(true), &json!(true)));
    let inner: Vec<Value> = ssl["tlvs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tlv| json!([tlv["offset"], tlv["name"], tlv["field"], tlv["value"]]))
        .collect();
    let want = json!([
        [47, "SSL_VERSION", "ssl_version", "TLSv1.3"],
        [57, "SSL_CN", "ssl_cn", "J\u{f6}g"],
    ]);
    assert_eq!(Value::from(inner), want);
    let refused = json(&[], b"GET / HTTP/1.1\r\n");
    assert_eq!(refused["hint"], "it looks like HTTP: the sender sends no header");
    assert_eq!(refused["error"]["section"], "2.2");
}

#[test]
fn a_dump_of_other_programs_is_hex_text() {
    let xxd = b"00000000: 5052 4f58 5920 554e 4b4e 4f57 4e0d 0a    PROXY UNKNOWN..\n";
    assert_eq!(json(&["--hex"], xxd)["consumed"], 15);
    let hexdump = b"0000000 5250 584f 2059 4e55 4e4b 574f 0d4e 000a\n";
    decode(&["--hex"], hexdump).assert_refused(&["stdin", "line 1, column 9", "hexdump -C"]);
}

#[test]
fn unix_names_lose_no_byte() {
    let names = |source: &[u8], destination: &[u8]| {
        let mut block = [0; 216];
        block[..source.len()].copy_from_slice(source);
        block[108..108 + destination.len()].copy_from_slice(destination);
        let got = json(&[], &v2(0x21, 0x31, &block));
        assert_eq!(got["family"], "UNIX");
        (got["src"].as_str().unwrap().to_owned(), got["dst"].as_str().unwrap().to_owned())
    };
    let (src, dst) = names(b"/a\xff\x1b\xc3\xa9", b"\0ab\0\xffc\0\0");
    assert_eq!(src, "unix:/a\u{ff}\u{1b}\u{c3}\u{a9}");
    assert_eq!(dst, "unix-abstract:616200ff63");
    assert_eq!(names(b"", b"/x\0/left from an older name").1, "unix:/x");
    assert_eq!(names(b"", b"/x").0, "unix:");
}

#[test]
fn a_checksum_is_judged_unless_told_otherwise() {
    let addresses = [127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 0, 2];
    let wrong = v2(0x21, 0x11, &[&addresses[..], &[3, 0, 4, 1, 2, 3, 4]].concat());
    let got = json(&[], &wrong);
    assert_eq!((&got["result"], &got["crc"]), (&json!("error"), &json!("mismatch")));
    assert_eq!(got["error"]["offset"], 31);
    let got = json(&["--no-verify-crc"], &wrong);
    assert_eq!((&got["result"], &got["crc"]), (&json!("ok"), &json!("mismatch")));

    let short = v2(0x21, 0x11, &[&addresses[..], &[3, 0, 1, 1]].concat());
    assert_eq!(json(&[], &short)["crc"], "malformed");
    assert_eq!(json(&["--no-verify-crc"], &short)["crc"], "malformed");
}

#[test]
fn a_v2_header_above_the_limit_is_refused() {
    let header = v2(0x20, 0, &[0; 100]);
    assert_eq!(json(&["--max-v2-len", "100"], &header)["result"], "ok");
    let got = json(&["--max-v2-len", "99"], &header);
    assert_eq!((&got["error"]["kind"], &got["version"]), (&json!("v2_too_long"), &json!(2)));
}

#[test]
fn no_byte_of_the_input_reaches_the_terminal_raw() {
    let nasty: Vec<u8> = (0..=255).filter(|byte| *byte != b'\r').collect();
    let tlv = |kind: u8, value: &[u8]| {
        [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
    };
    let ssl = [&[1, 0, 0, 0, 0][..], &tlv(0x21, b"\x1b[2J"), &tlv(0x22, &nasty)].concat();
    let separators = "a\u{202e}b\u{2028}c\u{9b}d\u{200b}";
    let tlvs = [
        tlv(1, &nasty),
        tlv(2, b"\x1b]0;title\x07\x7f\n"),
        tlv(2, separators.as_bytes()),
        tlv(5, &nasty[..128]),
        tlv(0x20, &ssl),
        tlv(0x30, b"\x1bc\n"),
        tlv(0xea, b"\x01\x1b[0m"),
        tlv(0xe1, &nasty),
    ];
    let mut block = [0; 216];
    block[..107].copy_from_slice(&nasty[1..108]);
    block[109..216].copy_from_slice(&nasty[148..]);
    let mut unix = v2(0x21, 0x31, &[&block[..], &tlvs.concat()].concat());
    let inputs = [
        [b"PROXY UNKNOWN ".as_slice(), &nasty[..80], b"\r\n"].concat(),
        [b"PROXY TCP4 ".as_slice(), &nasty].concat(),
        nasty.clone(),
        unix.clone(),
        {
            unix.pop();
            unix
        },
    ];
    for (input, code) in inputs.iter().zip([0, 1, 1, 0, 3]) {
        let ran = decode(&[], input);
        assert_eq!(ran.code, Some(code));
        let raw = ran.text().chars().find(|char| {
            *char != '\n' && !char.is_ascii_graphic() && *char != ' ' && !char.is_alphanumeric()
        });
        assert_eq!(raw, None, "{}", ran.text());
    }
    assert!(decode(&[], &inputs[3]).text().contains(r#""\x1b]0;title\x07\x7f\x0a""#));
    assert!(decode(&[], &inputs[3]).text().contains(r"a\xe2\x80\xaeb\xe2\x80\xa8c\xc2\x9bd\xe2"));
}

#[test]
fn a_line_of_two_families_is_taken_when_asked_for() {
    let line = b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\nx";
    assert_eq!(json(&[], line)["result"], "error");
    let taken = json(&["--mixed-v1"], line);
    assert_eq!(taken["src"], "[2001:db8::7]:51820");
    assert_eq!(taken["dst"], "[::ffff:192.0.2.1]:443");
}

#[test]
fn what_is_no_header_comes_with_a_hint() {
    let hint = |input: &[u8]| decode(&[], input).text().to_owned();
    assert!(hint(b"50524f58\n").contains("try --hex"));
    assert!(hint(b"\x16\x03\x01\x02\0").contains("TLS ClientHello"));
    assert!(hint(b"GET / HTTP/1.1\r\n").contains("HTTP"));
    assert!(hint(b"PRI * HTTP/2.0\r\n").contains("HTTP/2"));
    assert!(hint(b"SSH-2.0-x\r\n").contains("SSH"));
    assert!(hint(b"EHLO example.org\r\n").contains("SMTP"));
    assert!(hint(b"PROXY TCP6 2001:db8::7 192.0.2.1 1 2\r\n").contains("--mixed-v1 takes it"));
    assert!(!hint(b"PROXY TCP6 2001:db8::g").contains("hint"));
    assert!(!hint(b"\0\0").contains("hint"));
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let mut child = ppserver()
        .args(["decode", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(V1).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output =
        ppserver().args(["decode", "--json"]).stdin(Stdio::null()).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write to stdout"));
}

#[test]
fn help_shows_examples_and_exit_codes() {
    for (args, words) in [
        (["help", "decode"], ["Examples:", "tcpdump -X"]),
        (["help", "encode"], ["Examples:", "unix-abstract:HEX"]),
        (["decode", "-h"], ["Exit codes:", "--no-verify-crc"]),
    ] {
        let ran = run(&args, b"");
        assert_eq!(ran.code, Some(0));
        assert!(words.iter().all(|word| ran.text().contains(word)), "{}", ran.text());
        assert!(!ran.text().contains('\u{1b}'));
    }
    let version = concat!("ppserver ", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["-V"], b"").text(), format!("{version}\n"));
    let with_commit = format!("{version} ({})\n", env!("PPSERVER_COMMIT"));
    assert_eq!(run(&["--version"], b"").text(), with_commit);
}
