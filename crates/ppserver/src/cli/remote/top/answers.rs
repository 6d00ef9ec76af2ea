//! What a server says of itself, read into values.
//!
//! docs/api.schema.json has the form. Invariant: a [`Text`] holds nothing that a terminal would obey, whoever has
//! answered.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};

/// All of it, as it was at one moment.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) status: Status,
    pub(super) pools: Vec<Pool>,
    /// By time, the newest first.
    pub(super) refusals: Vec<Refusal>,
    /// What `/livez` says of workers that stand still, a line each.
    pub(super) still: Vec<Text>,
}

impl Answers {
    /// The sum over all endpoints.
    pub(super) fn endpoints(&self, count: fn(&Endpoint) -> u64) -> u64 {
        self.pools.iter().map(|pool| pool.sum(count)).sum()
    }
}

/// `/api/v1/status`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) version: Text,
    pub(super) commit: Text,
    pub(super) pid: u32,
    pub(super) generation: u32,
    pub(super) started: Moment,
    uptime_seconds: f64,
    pub(super) workers: u64,
    pub(super) state: Text,
    pub(super) connections_max: u64,
    pub(super) active: u64,
    pub(super) accepted: u64,
    pub(super) closed: BTreeMap<Text, u64>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) accept_pauses: u64,
    pub(super) log_lines_dropped: u64,
    pub(super) listeners: Vec<Listener>,
}

impl Status {
    pub(super) fn uptime(&self) -> Duration {
        Duration::try_from_secs_f64(self.uptime_seconds).unwrap_or_default()
    }

    /// The server's clock when it answered.
    pub(super) fn time(&self) -> Moment {
        Moment(self.started.0.checked_add(self.uptime()).unwrap_or(self.started.0))
    }

    /// How long ago something was when it answered.
    pub(super) fn since(&self, moment: Moment) -> Duration {
        self.time().0.duration_since(moment.0).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listener {
    pub(super) name: Text,
    pub(super) bind: Vec<Text>,
    pub(super) upstream: Text,
    pub(super) accepted: u64,
    pub(super) active: u64,
    pub(super) closed: BTreeMap<Text, u64>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    #[serde(flatten)]
    pub(super) datagrams: Datagrams,
}

/// What it says of datagrams.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Datagrams {
    pub(super) flows: u64,
    pub(super) flows_begun: u64,
    pub(super) datagrams_up: u64,
    pub(super) datagrams_down: u64,
    pub(super) dropped: BTreeMap<Text, u64>,
}

/// `/api/v1/upstreams`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Upstreams {
    pub(super) pools: Vec<Pool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pool {
    pub(super) name: Text,
    pub(super) connect_buckets: Vec<Bucket>,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Pool {
    /// The sum over its endpoints.
    pub(super) fn sum(&self, count: fn(&Endpoint) -> u64) -> u64 {
        self.endpoints.iter().map(count).sum()
    }
}

/// So many connects took so long at most, and longer than those of the bucket before.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Bucket {
    /// The last one has no bound.
    seconds_max: Option<f64>,
    pub(super) count: u64,
}

impl Bucket {
    pub(super) fn bound(&self) -> f64 {
        self.seconds_max.unwrap_or(f64::INFINITY)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Endpoint {
    pub(super) address: Text,
    pub(super) name: Option<Text>,
    pub(super) weight: u64,
    pub(super) state: Text,
    pub(super) is_set: bool,
    pub(super) why: Option<Text>,
    pub(super) since: Moment,
    pub(super) active: u64,
    pub(super) connects: u64,
    pub(super) failures: u64,
    pub(super) check_latency_seconds: Option<f64>,
}

impl Endpoint {
    pub(super) fn is_up(&self) -> bool {
        self.state.as_str() == "up"
    }
}

/// `/api/v1/refusals`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusals {
    pub(super) refusals: Vec<Refusal>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) time: Moment,
    pub(super) listener: Text,
    pub(super) peer: Text,
    pub(super) reason: Text,
    pub(super) error: Option<Text>,
    pub(super) offset: Option<usize>,
    /// In hexadecimal.
    pub(super) bytes: Text,
    pub(super) why: Text,
}

/// What was read, with what would move a cursor or hide letters written as an escape.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn of(raw: &str) -> Self {
        let shown = |c: char| match c {
            // Those are escaped for Rust's sake, not for a terminal's.
            '\'' | '"' | '\\' => c.to_string(),
            _ => c.escape_debug().to_string(),
        };
        Self(raw.chars().map(shown).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|raw| Self::of(&raw))
    }
}

/// A time of the server's clock, shown to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(SystemTime);

impl Moment {
    /// The time of the day.
    pub(super) fn clock(self) -> String {
        let text = self.to_string();
        text.split(['T', 'Z']).nth(1).unwrap_or(&text).to_owned()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text: Text =
            serde_json::from_str(r#""\u001b]0;x\u0007 \u009b2J\u202eev\r\n'\"\\ é""#).unwrap();
        assert_eq!(text.as_str(), r#"\u{1b}]0;x\u{7} \u{9b}2J\u{202e}ev\r\n'"\ é"#);
        assert!(!text.as_str().chars().any(char::is_control));
    }

    #[test]
    fn a_moment_is_shown_to_the_second() {
        let moment: Moment = serde_json::from_str("\"2026-11-30T08:09:01.274Z\"").unwrap();
        assert_eq!(moment.to_string(), "2026-11-30T08:09:01Z");
        assert_eq!(moment.clock(), "08:09:01");
    }
}
