//! How the attempts are told: lines for people, an object for programs.

use std::time::Duration;

use serde::Serialize;

use super::exchange::{Attempt, Kind, Outcome};
use super::verdict::{Need, Verdict};
use crate::cli::hex;

/// Bytes of an answer that are shown.
const SHOWN_MAX: usize = 48;

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Probed {
    /// As an endpoint is written.
    pub(super) address: String,
    pub(super) kind: Kind,
    pub(super) attempts: Vec<Attempt>,
    pub(super) verdict: Verdict,
}

/// For people; `endpoint` is how the server was named.
pub(super) fn text(probed: &Probed, endpoint: &str) -> String {
    let mut text = format!("{}\n", probed.address);
    for Attempt { way, outcome, after } in &probed.attempts {
        let what = match outcome {
            Outcome::Answered(answer) => format!(": {}", shown(answer)),
            Outcome::Closed | Outcome::Reset | Outcome::Silent => String::new(),
        };
        let came_to = came_to(outcome, probed.kind, *after);
        text += &format!("  {:<18} {came_to}{what}\n", way.name());
    }
    for words in probed.verdict.words() {
        text += &format!("{words}\n");
    }
    if let Some(keys) = probed.verdict.keys() {
        text += &format!("  [upstream.NAME]\n  endpoints = [\"{endpoint}\"]\n  {keys}\n");
    }
    if probed.verdict.need == Need::SpeaksFirst {
        text +=
            "  source = \"client\"    # if it is to see who the clients are: docs/upstreams.md\n";
    }
    text
}

fn came_to(outcome: &Outcome, kind: Kind, after: Duration) -> String {
    let preposition = if *outcome == Outcome::Silent { "for" } else { "after" };
    let micros = after.as_micros();
    format!("{} {preposition} {}.{} ms", word(outcome, kind), micros / 1000, micros % 1000 / 100)
}

fn word(outcome: &Outcome, kind: Kind) -> &'static str {
    match outcome {
        Outcome::Answered(_) => "answered",
        Outcome::Closed => "closed",
        Outcome::Reset if kind == Kind::Datagrams => "refused",
        Outcome::Reset => "reset",
        Outcome::Silent => "silent",
    }
}

/// Of an exchange: what came of it, and all of the answer.
pub(super) fn exchanged(attempt: &Attempt, kind: Kind, address: &str) -> String {
    let Attempt { way, outcome, after } = attempt;
    let mut text = format!("{} to {address}: {}", way.name(), came_to(outcome, kind, *after));
    let answer = match outcome {
        Outcome::Answered(answer) => answer.as_slice(),
        Outcome::Closed | Outcome::Reset | Outcome::Silent => return text + "\n",
    };
    text += &format!(", {} bytes\n", answer.len());
    for line in answer.split_inclusive(|byte| *byte == b'\n') {
        // A stranger's bytes stay away from the terminal.
        text += &format!("{}\n", without_end(line).escape_ascii());
    }
    text
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The first line of text, or how long it is.
fn shown(answer: &[u8]) -> String {
    if !answer.first().is_some_and(|byte| byte.is_ascii_graphic()) {
        return format!("{} bytes", answer.len());
    }
    let line = answer.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = without_end(line);
    let cut = &line[..line.len().min(SHOWN_MAX)];
    let more = if cut.len() < line.len() { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_ascii())
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    target: String,
    takes: bool,
    addresses: Vec<Address>,
}

#[derive(Debug, Serialize)]
struct Address {
    address: String,
    transport: &'static str,
    /// `required` `optional` `unwanted` `speaks_first` `unclear`; null for one exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    need: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<String>>,
    attempts: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    way: &'static str,
    outcome: &'static str,
    seconds: f64,
    /// Of an answer.
    answer_hex: Option<String>,
}

impl Shown {
    fn new(attempt: &Attempt, kind: Kind) -> Self {
        let answer_hex = match &attempt.outcome {
            Outcome::Answered(answer) => Some(hex::format(answer)),
            Outcome::Closed | Outcome::Reset | Outcome::Silent => None,
        };
        let outcome = word(&attempt.outcome, kind);
        let seconds = attempt.after.as_secs_f64();
        Self { way: attempt.way.name(), outcome, seconds, answer_hex }
    }
}

impl Answer {
    pub(super) fn new(target: &str, takes: bool, probed: &[Probed]) -> Self {
        let address = |it: &Probed| Address {
            address: it.address.clone(),
            transport: transport(it.kind),
            need: Some(match it.verdict.need {
                Need::Required => "required",
                Need::Optional => "optional",
                Need::Unwanted => "unwanted",
                Need::SpeaksFirst => "speaks_first",
                Need::Unclear => "unclear",
            }),
            taken: Some(it.verdict.taken.iter().map(|way| way.name()).collect()),
            words: Some(it.verdict.words()),
            attempts: it.attempts.iter().map(|attempt| Shown::new(attempt, it.kind)).collect(),
        };
        let addresses = probed.iter().map(address).collect();
        Self { target: target.to_owned(), takes, addresses }
    }

    pub(super) fn of_exchange(
        target: &str,
        kind: Kind,
        address: String,
        attempt: &Attempt,
    ) -> Self {
        let takes = matches!(attempt.outcome, Outcome::Answered(_));
        let (transport, attempts) = (transport(kind), vec![Shown::new(attempt, kind)]);
        let address =
            Address { address, transport, need: None, taken: None, words: None, attempts };
        Self { target: target.to_owned(), takes, addresses: vec![address] }
    }
}

fn transport(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "STREAM",
        Kind::Datagrams => "DGRAM",
    }
}
