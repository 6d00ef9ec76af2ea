//! The conformance vectors of tests/vectors/proxy-protocol.json, typed.
//!
//! A field that this page does not know is an error, so that no expectation is passed over.

use serde::Deserialize;
use serde_json::Value;

use crate::naive::{Input, Options};

/// The whole file; it is part of the test binary, so it cannot be missing.
const FILE: &str = include_str!("../vectors/proxy-protocol.json");

/// One input and what is known about its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    hex: String,
    pub(crate) expect: Expect,
    #[serde(default)]
    options: Overrides,
    mode: Option<Mode>,
    protocol: Option<Protocol>,
    #[serde(default)]
    eof: bool,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Datagram,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Spp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Overrides {
    verify_crc: Option<bool>,
    strict_tlv: Option<bool>,
    max_v2_len: Option<usize>,
}

/// The expected fields of `decode --json`; a field that is not given is not judged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) result: Outcome,
    /// Informative: where two rules break at once, another name is as good.
    pub(crate) error_kind: Option<String>,
    /// An eager decoder fails here already.
    #[serde(default)]
    pub(crate) early: bool,
    /// A lower bound.
    pub(crate) need: Option<usize>,
    #[serde(default)]
    pub(crate) version: Value,
    pub(crate) command: Option<String>,
    pub(crate) family: Option<String>,
    pub(crate) transport: Option<String>,
    pub(crate) src: Option<String>,
    pub(crate) dst: Option<String>,
    pub(crate) consumed: Option<usize>,
    pub(crate) tlvs: Option<Vec<TlvExpect>>,
    pub(crate) tlv_error: Option<String>,
    pub(crate) crc: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    Incomplete,
    Error,
    NotProxy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlvExpect {
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    value_hex: String,
}

impl Vector {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        from_hex(&self.hex)
    }

    pub(crate) fn options(&self) -> Options {
        let defaults = Options::default();
        let input = match (&self.mode, &self.protocol, self.eof) {
            (Some(Mode::Datagram), Some(Protocol::Spp), false) => Input::Spp,
            (Some(Mode::Datagram), None, false) => Input::Datagram,
            (None, None, true) => Input::Closed,
            (None, None, false) => Input::Open,
            (mode, protocol, eof) => panic!("{}: {mode:?} {protocol:?} {eof}", self.name),
        };
        Options {
            input,
            verify_crc: self.options.verify_crc.unwrap_or(defaults.verify_crc),
            strict_tlv: self.options.strict_tlv.unwrap_or(defaults.strict_tlv),
            max_v2_len: self.options.max_v2_len.unwrap_or(defaults.max_v2_len),
            ..defaults
        }
    }
}

impl TlvExpect {
    pub(crate) fn value(&self) -> Vec<u8> {
        from_hex(&self.value_hex)
    }
}

/// All of them.
pub(crate) fn load() -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_str(FILE).expect("the vectors are well-formed");
    assert!(vectors.len() >= 226, "vectors went missing: {} left", vectors.len());
    vectors
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| {
        let digit = char::from(hex.as_bytes()[at]).to_digit(16).expect("a hex digit");
        u8::try_from(digit).expect("below 16")
    };
    assert_eq!(hex.len() % 2, 0, "half a byte in {hex}");
    (0..hex.len()).step_by(2).map(|at| digit(at) * 16 + digit(at + 1)).collect()
}
