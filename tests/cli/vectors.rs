//! Every conformance vector through `decode --json`: whole, byte by byte, and in sevens.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{run, unhex};

const KEYS: [&str; 18] = [
    "result",
    "version",
    "command",
    "family",
    "transport",
    "src",
    "dst",
    "consumed",
    "tlvs",
    "tlv_error",
    "crc",
    "need",
    "error",
    "src_offset",
    "dst_offset",
    "tlv_error_offset",
    "payload",
    "hint",
];

fn vectors() -> Vec<Value> {
    let text = include_str!("../vectors/proxy-protocol.json");
    serde_json::from_str(text).unwrap()
}

fn flags(vector: &Value) -> Vec<String> {
    let options = &vector["options"];
    let mut flags = vec!["decode".to_owned(), "--json".to_owned()];
    let mut add = |is_set: bool, flag: &str| is_set.then(|| flags.push(flag.to_owned()));
    add(options["verify_crc"] == json!(false), "--no-verify-crc");
    add(options["strict_tlv"] == json!(true), "--strict-tlv");
    add(vector["eof"] == json!(true), "--eof");
    add(vector["mode"] == "datagram", "--datagram");
    add(vector["protocol"] == "spp", "--spp");
    if let Some(limit) = options["max_v2_len"].as_u64() {
        add(true, &format!("--max-v2-len={limit}"));
    }
    flags
}

/// What the vector wants; ours is eager, so that a prefix with no future is an error already.
fn wanted_result(vector: &Value) -> &str {
    let expect = &vector["expect"];
    if expect["early"] == json!(true) { "error" } else { expect["result"].as_str().unwrap() }
}

#[test]
fn every_vector_gives_the_wanted_object_and_exit_code() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 226);
    for vector in &vectors {
        let (name, expect) = (&vector["name"], &vector["expect"]);
        let hex = vector["hex"].as_str().unwrap();
        let flags = flags(vector);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let ran = run(&flags, &unhex(hex));
        let got = ran.json();

        assert_eq!(got.as_object().unwrap().len(), KEYS.len(), "{name}: {got}");
        assert!(KEYS.iter().all(|key| got.get(key).is_some()), "{name}: {got}");
        let result = wanted_result(vector);
        assert_eq!(got["result"], result, "{name}: {got}");
        let code = match result {
            "ok" => 0,
            "incomplete" => 3,
            _ => 1,
        };
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{name}");
        for key in ["version", "command", "family", "transport", "src", "dst", "consumed"] {
            if let Some(want) = expect.get(key) {
                assert_eq!(&got[key], want, "{name}: {key} of {got}");
            }
        }
        match result {
            "ok" => check_ok(vector, &got),
            "incomplete" => check_incomplete(vector, &got),
            _ => check_refused(vector, &got),
        }
    }
}

fn check_ok(vector: &Value, got: &Value) {
    let (name, expect) = (&vector["name"], &vector["expect"]);
    let tlvs = got["tlvs"].as_array().unwrap();
    let bare: Vec<Value> = tlvs
        .iter()
        .map(|tlv| json!({ "type": tlv["type"], "value_hex": tlv["value_hex"] }))
        .collect();
    assert_eq!(&Value::from(bare), &expect["tlvs"], "{name}");
    assert!(tlvs.iter().all(|tlv| tlv["name"].is_string()), "{name}: {got}");
    assert_eq!(got["tlv_error"], expect["tlv_error"], "{name}");
    let has_crc = tlvs.iter().any(|tlv| tlv["type"] == 3);
    let unchecked = vector["options"]["verify_crc"] == json!(false);
    match (has_crc, unchecked) {
        (false, _) => assert_eq!(got["crc"], "absent", "{name}"),
        (true, false) => assert_eq!(got["crc"], "valid", "{name}"),
        (true, true) => assert_eq!(got["crc"], "mismatch", "{name}"),
    }
    assert_eq!((&got["need"], &got["error"]), (&Value::Null, &Value::Null), "{name}");
}

fn check_incomplete(vector: &Value, got: &Value) {
    let (name, expect) = (&vector["name"], &vector["expect"]);
    let need = got["need"].as_u64().unwrap();
    assert!(need >= 1, "{name}");
    if let Some(want) = expect["need"].as_u64() {
        assert_eq!(need, want, "{name}");
    }
    assert_nothing_read(got);
    assert_eq!(got["error"], Value::Null, "{name}");
}

fn check_refused(vector: &Value, got: &Value) {
    let name = &vector["name"];
    let error = &got["error"];
    assert_eq!(error.as_object().unwrap().len(), 4, "{name}: {got}");
    assert!(error["kind"].is_string() && error["message"].is_string(), "{name}: {got}");
    let len = vector["hex"].as_str().unwrap().len() / 2;
    assert!(error["offset"].as_u64().unwrap() <= len.try_into().unwrap(), "{name}: {got}");
    assert_nothing_read(got);
    assert_eq!(got["need"], Value::Null, "{name}");
}

fn assert_nothing_read(got: &Value) {
    for key in ["command", "family", "transport", "src", "dst", "consumed", "tlv_error"] {
        assert_eq!(got[key], Value::Null, "{key} of {got}");
    }
    assert_eq!(got["tlvs"], json!([]));
}

#[test]
fn the_answer_does_not_depend_on_chunks_or_on_hex() {
    for vector in &vectors() {
        let hex = vector["hex"].as_str().unwrap();
        let flags = flags(vector);
        let with = |more: &[&str], stdin: &[u8]| {
            let flags: Vec<&str> =
                flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
            run(&flags, stdin)
        };
        let whole = with(&[], &unhex(hex));
        assert_eq!(with(&["--chunk", "1", "--hex"], hex.as_bytes()), whole, "{}", vector["name"]);
        assert_eq!(with(&["--chunk", "7"], &unhex(hex)), whole, "{}", vector["name"]);
    }
}

/// The kinds are informative in the vectors: where two rules are broken, either may be named.
#[test]
fn the_error_kind_differs_only_where_another_rule_breaks_first() {
    let mut differing = BTreeSet::new();
    for vector in &vectors() {
        let Some(want) = vector["expect"]["error_kind"].as_str() else { continue };
        let flags = flags(vector);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let got = run(&flags, &unhex(vector["hex"].as_str().unwrap())).json();
        let got = got["error"]["kind"].as_str().unwrap();
        if got != want {
            differing.insert(format!("{} {want} {got}", vector["name"].as_str().unwrap()));
        }
    }
    let known = [
        // Refused at the `:`, long before the missing field.
        "v1_address_with_port_glued v1_missing_field v1_bad_src_addr",
        // Refused at the digit and the blank, long before byte 107.
        "v1_tcp4_long_digits v1_too_long v1_bad_src_addr",
        "v1_tcp4_padded_out v1_too_long v1_extra_field",
    ];
    assert_eq!(differing, known.into_iter().map(str::to_owned).collect());
}
