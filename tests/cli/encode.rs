//! `encode`: each flag there and back through `decode`, and what it refuses to write.

use serde_json::{Value, json};

use crate::support::{Ran, run, unhex};

const IPV4: [&str; 4] = ["--src", "203.0.113.7:51820", "--dst", "192.0.2.1:443"];

fn encode(args: &[&str]) -> Ran {
    run(&[&["encode"], args].concat(), b"")
}

/// Encodes with and without `--hex`, and decodes what came out, which must be all of it.
fn there_and_back(args: &[&str]) -> Value {
    let ran = encode(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    let hex = encode(&[args, &["--hex"]].concat());
    assert_eq!(unhex(hex.text().strip_suffix('\n').unwrap()), ran.stdout);
    let got = run(&["decode", "--json", "--strict-tlv"], &ran.stdout).json();
    assert_eq!((&got["result"], &got["consumed"]), (&json!("ok"), &json!(ran.stdout.len())));
    got
}

fn assert_says(got: &Value, want: &Value) {
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(&got[key], value, "{key} of {got}");
    }
}

#[test]
fn the_default_is_a_v2_stream() {
    let want = json!({
        "version": 2, "command": "PROXY", "family": "INET", "transport": "STREAM",
        "src": "203.0.113.7:51820", "dst": "192.0.2.1:443", "consumed": 28, "tlvs": [],
        "crc": "absent",
    });
    assert_says(&there_and_back(&IPV4), &want);
    assert_eq!(encode(&[&IPV4[..], &["--v2"]].concat()), encode(&IPV4));
}

#[test]
fn v1_is_one_line_of_text() {
    let ran = encode(&[&IPV4[..], &["--v1"]].concat());
    assert_eq!(ran.text(), "PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n");
    let got = there_and_back(&["--v1", "--src", "[2001:db8::1]:1", "--dst", "[::2]:65535"]);
    let want = json!({
        "version": 1, "family": "INET6", "src": "[2001:db8::1]:1", "dst": "[::2]:65535",
    });
    assert_says(&got, &want);
}

#[test]
fn families_are_never_mixed() {
    for version in ["--v1", "--v2"] {
        let got = there_and_back(&[version, "--src", "[2001:db8::1]:1", "--dst", "192.0.2.1:2"]);
        assert_says(&got, &json!({ "family": "INET6", "dst": "[::ffff:192.0.2.1]:2" }));
        let mapped = ["--src", "[::ffff:192.0.2.9]:1", "--dst", "[::ffff:192.0.2.1]:2"];
        let got = there_and_back(&[&[version], &mapped[..]].concat());
        assert_says(&got, &json!({ "family": "INET", "src": "192.0.2.9:1" }));
    }
}

#[test]
fn udp_is_a_datagram() {
    assert_eq!(there_and_back(&[&IPV4[..], &["--udp"]].concat())["transport"], "DGRAM");
    let unix = ["--src", "unix:/a", "--dst", "unix:/b", "--udp"];
    assert_says(&there_and_back(&unix), &json!({ "family": "UNIX", "transport": "DGRAM" }));
}

#[test]
fn local_needs_no_addresses_and_writes_none() {
    let want = json!({
        "version": 2, "command": "LOCAL", "family": "UNSPEC", "transport": "UNSPEC", "src": null,
        "dst": null, "consumed": 16,
    });
    assert_says(&there_and_back(&["--local"]), &want);
    assert_says(&there_and_back(&[&IPV4[..], &["--local"]].concat()), &want);
    let got = there_and_back(&["--local", "--crc32c", "--tlv", "4="]);
    assert_says(&got, &json!({ "command": "LOCAL", "crc": "valid", "consumed": 26 }));
    assert_eq!(encode(&["--local", "--v1"]).text(), "PROXY UNKNOWN\r\n");
}

#[test]
fn tlvs_keep_their_order_and_the_checksum_comes_last() {
    let tlvs = ["--tlv", "0xEA=0176706365", "--tlv", "1=6832", "--crc32c", "--tlv", "234="];
    let got = there_and_back(&[&IPV4[..], &tlvs].concat());
    let kinds: Vec<&Value> =
        got["tlvs"].as_array().unwrap().iter().map(|tlv| &tlv["type"]).collect();
    assert_eq!(kinds, [234, 1, 234, 3]);
    assert_says(&got["tlvs"][0], &json!({ "type": 234, "name": "AWS", "value_hex": "0176706365" }));
    assert_eq!(got["tlvs"][2]["value_hex"], "");
    assert_eq!(got["crc"], "valid");
}

#[test]
fn tlvs_that_have_a_name_take_what_people_write() {
    for (given, kind, value) in [
        ("alpn=h2", 0x01, b"h2".as_slice()),
        ("authority=www.ex\u{e4}mple.com=x", 0x02, b"www.ex\xc3\xa4mple.com=x"),
        ("unique_id=0a-17", 0x05, b"0a-17"),
        ("netns=blue", 0x30, b"blue"),
        ("gcp_psc_connection_id=18446744072635879970", 0xE0, &[255, 255, 255, 255, 192, 1, 18, 34]),
        ("aws_vpc_endpoint_id=vpce-08d2", 0xEA, b"\x01vpce-08d2"),
        ("azure_link_id=553665985", 0xEE, b"\x01\xc1\x45\x00\x21"),
        ("alpn=", 0x01, b""),
        ("0XEA=", 0xEA, b""),
    ] {
        let got = there_and_back(&[&IPV4[..], &["--tlv", given]].concat());
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let got = &got["tlvs"][0];
        assert_eq!((&got["type"], &got["value_hex"]), (&json!(kind), &json!(hex)), "{given}");
    }
}

#[test]
fn ssl_says_whether_the_client_was_verified() {
    let ssl = |more: &[&str]| {
        let tlv = there_and_back(&[&IPV4[..], &["--tlv", "alpn=h2", "--ssl"], more].concat());
        let tlv = &tlv["tlvs"][1];
        assert_eq!(tlv["type"], 0x20);
        tlv["value_hex"].as_str().unwrap().to_owned()
    };
    let version = "210007544c5376312e33";
    assert_eq!(ssl(&["TLSv1.3"]), format!("0100000001{version}"));
    assert_eq!(ssl(&["TLSv1.3", "--ssl-verify", "0"]), format!("0100000000{version}"));
    let with_cn = format!("{version}220004 4ac3b667").replace(' ', "");
    assert_eq!(ssl(&["TLSv1.3", "--ssl-cn", "J\u{f6}g"]), format!("0700000000{with_cn}"));
    let expired = ssl(&["TLSv1.3", "--ssl-cn", "J\u{f6}g", "--ssl-verify", "10"]);
    assert_eq!(expired, format!("070000000a{with_cn}"));
}

#[test]
fn unix_names_come_back_as_they_were_given() {
    let got = there_and_back(&["--src", "unix:/run/a.sock", "--dst", "unix-abstract:6100ff"]);
    let want = json!({
        "family": "UNIX", "transport": "STREAM", "src": "unix:/run/a.sock",
        "dst": "unix-abstract:6100ff", "consumed": 232,
    });
    assert_says(&got, &want);
    let longest = format!("unix:/{}", "x".repeat(107));
    assert_says(
        &there_and_back(&["--src", &longest, "--dst", "unix:"]),
        &json!({ "src": longest, "dst": "unix:" }),
    );
}

#[test]
fn the_longest_header_fits_and_one_byte_more_does_not() {
    // An argument of Linux holds at most 128 KiB: two TLVs of 32,765 bytes and their frames.
    let value = "00".repeat(32_764);
    let half = format!("0xE1={value}");
    let exact = ["--local", "--tlv", &half, "--tlv", &format!("0xE1={value}00")];
    assert_eq!(there_and_back(&exact)["consumed"], 65_551);
    let above = ["--local", "--tlv", &format!("0xE1={value}00"), "--tlv", exact[4]];
    encode(&above).assert_refused(&["at most 65,551 bytes"]);
}

#[test]
fn refusals_say_what_to_do() {
    let with = |more: &[&str]| encode(&[&IPV4[..], more].concat());
    encode(&[]).assert_refused(&["--src", "--dst", "--local"]);
    encode(&IPV4[..2]).assert_refused(&["--dst is missing"]);
    encode(&IPV4[2..]).assert_refused(&["--src is missing"]);
    with(&["--v1", "--tlv", "1=00"]).assert_refused(&["v1 has no TLVs", "--tlv"]);
    with(&["--v1", "--ssl", "TLSv1.3"]).assert_refused(&["v1 has no TLVs", "--ssl"]);
    with(&["--ssl-cn", "alice"]).assert_refused(&["--ssl <VERSION>"]);
    with(&["--v1", "--crc32c"]).assert_refused(&["v1 has no TLVs", "--crc32c"]);
    with(&["--v1", "--udp"]).assert_refused(&["--udp"]);
    with(&["--v1", "--v2"]).assert_refused(&["--v1", "--v2"]);
    with(&["--crc32c", "--tlv", "0x03=00000000"]).assert_refused(&["one CRC32C"]);
    encode(&["--v1", "--src", "unix:/a", "--dst", "unix:/b"]).assert_refused(&["v1", "UNIX"]);
    encode(&["--src", "unix:/a", "--dst", "1.2.3.4:5"]).assert_refused(&["both"]);
    let long = format!("unix:/{}", "x".repeat(108));
    encode(&["--src", &long, "--dst", "unix:/b"]).assert_refused(&["108 bytes"]);
}

#[test]
fn bad_arguments_are_named() {
    let cases = [
        ("--src", "192.0.2.1", "IPV4:PORT"),
        ("--src", "::1:80", "[IPV6]:PORT"),
        ("--dst", "192.0.2.1:+80", "IPV4:PORT"),
        ("--dst", "192.0.2.1:65536", "IPV4:PORT"),
        ("--dst", "[fe80::1%3]:80", "drop `%3`"),
        ("--dst", "unix-abstract:6", "odd"),
        ("--tlv", "1", "TYPE=HEX"),
        ("--tlv", "host=a", "authority, unique_id"),
        ("--tlv", "ssl_cn=alice", "--ssl-cn"),
        ("--tlv", "gcp_psc_connection_id=-1", "invalid digit"),
        ("--tlv", "azure_link_id=4294967296", "too large"),
        ("--tlv", "aws_vpc_endpoint_id=vpce/1", "not the text"),
        ("--tlv", "netns=b\u{fc}ro", "not the text"),
        ("--ssl", "\u{fc}", "US-ASCII"),
        ("--tlv", "256=00", "0..255"),
        ("--tlv", "0x100=00", "0..255"),
        ("--tlv", "+1=00", "0..255"),
        ("--tlv", "0x=00", "0..255"),
        ("--tlv", "1=0g", "column 2"),
    ];
    let long = format!("unique_id={}", "x".repeat(129));
    for (flag, value, word) in [&cases[..], &[("--tlv", &long, "length")]].concat() {
        encode(&[flag, value]).assert_refused(&[flag, value, word]);
    }
}
