//! The other way in: a configuration of one listener and one upstream, from flags.
//!
//! Everything flags cannot say has the default of the file. Invariant: as with a file, nobody is
//! believed unless it is said who.

use std::str::FromStr;

use ipnet::IpNet;
use pptrust::Networks;

use super::address::{self, TRUST_ANY};
use super::codes::Code;
use super::diagnostics::{Diagnostics, Place};
use super::parse::{At, Key, Written};
use super::validate::{self, Draft, ListenerDraft, UpstreamDraft};
use super::{
    Accept, Choice, Config, HeaderPolicy, Host, Loaded, Log, Outgoing, Presence, Report, Tcp,
    Version, Versions, defaults,
};
use crate::trust::Trust;

const LISTEN: Place = Place::Flag("--listen");
const TO: Place = Place::Flag("--to");
const TRUST: Place = Place::Flag("--trust");

/// What the listener and the upstream are called when nobody named them.
const LISTENER_NAME: &str = "listener";
const UPSTREAM_NAME: &str = "upstream";

/// `run --listen A --to B ...`, as they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, once or more.
    pub listen: Vec<String>,
    /// `--to`, once or more.
    pub to: Vec<String>,
    /// `--accept v1,v2`.
    pub accept: Option<Versions>,
    /// `--trust any` or `--trust CIDR,...`.
    pub trust: Option<String>,
    /// `--optional` is [`Presence::Optional`].
    pub presence: Presence,
    /// `--send v1` or `--send v2`.
    pub send: Option<Version>,
}

impl Config {
    /// Checks what the flags say by the rules of a file.
    ///
    /// # Errors
    ///
    /// The report of all errors (and warnings), without places.
    pub fn from_flags(flags: Flags, host: Host) -> Result<Loaded, Report> {
        let mut faults = Diagnostics::default();
        let mut missing = |flag: &str, help: &str| {
            faults
                .add(Code::MissingKey, Place::Nowhere, format!("{flag} is missing"))
                .with_help(help);
        };
        if flags.listen.is_empty() {
            missing("--listen", "say where to listen: --listen 0.0.0.0:443");
        }
        if flags.to.is_empty() {
            missing("--to", "say where connections go: --to 127.0.0.1:8080");
        }
        let listen = flags.listen.iter().map(|text| At::new(text.as_str(), LISTEN));
        let bind = listen.filter_map(|text| address::bind(text, &mut faults)).collect();
        let to = flags.to.iter().map(|text| At::new(text.as_str(), TO));
        let endpoints = to.filter_map(|text| address::endpoint(text, &mut faults)).collect();
        let trusted = trusted(&flags, &mut faults);
        let listener = ListenerDraft {
            name: Some(At::new(LISTENER_NAME.to_owned(), Place::Nowhere)),
            bind,
            upstream: Some(At::new(UPSTREAM_NAME.to_owned(), Place::Nowhere)),
            accept: Written::new(accept(&flags, &trusted, &mut faults), accept_keys(&flags)),
            trusted,
            timeouts: Written::default(),
        };
        let upstream = UpstreamDraft {
            name: At::new(UPSTREAM_NAME.to_owned(), Place::Nowhere),
            endpoints,
            retries: At::new(defaults::RETRIES, Place::Nowhere),
            send: Written::new(flags.send.map_or(Outgoing::Off, defaults::outgoing), Vec::new()),
            passed: Vec::new(),
        };
        let draft = Draft {
            server: Written::default(),
            log: Log::default(),
            access_log: Written::default(),
            timeouts: Written::default(),
            tcp: Tcp::default(),
            splice: Written::default(),
            listeners: vec![listener],
            upstreams: vec![upstream],
        };
        let config = validate::config(draft, host, &mut faults);
        let report = faults.into_report(None);
        match config {
            Some(config) if !report.has_errors() => Ok(Loaded { config, warnings: report }),
            Some(_) | None => Err(report),
        }
    }
}

/// The networks of `--trust` that can be read.
fn trusted(flags: &Flags, faults: &mut Diagnostics) -> Vec<At<IpNet>> {
    let text = flags.trust.as_deref().map(str::trim).filter(|text| *text != TRUST_ANY);
    let entries = text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    entries.filter_map(|entry| address::network(At::new(entry, TRUST), faults)).collect()
}

/// What the flags say of `[listener.proxy_protocol]`; without --accept they must not say anything.
fn accept_keys(flags: &Flags) -> Vec<Key> {
    let trust = flags.accept.and(flags.trust.as_ref());
    trust.map(|_| Key { name: "trust", place: TRUST, value: TRUST }).into_iter().collect()
}

/// `None` after a fault.
fn accept(flags: &Flags, trusted: &[At<IpNet>], faults: &mut Diagnostics) -> Option<Accept> {
    match (flags.accept, flags.trust.as_deref()) {
        (Some(versions), Some(trust)) => {
            let trust = match trust.trim() {
                TRUST_ANY => Trust::Any,
                _ => Trust::Networks(Networks::new(trusted.iter().map(|entry| entry.value)).ok()?),
            };
            let policy = HeaderPolicy::new(flags.presence, trust);
            Some(Accept::Headers(HeaderPolicy { versions, ..policy }))
        }
        (Some(_), None) => {
            let message = "--accept needs --trust: who may set client addresses?";
            faults.add(Code::MissingKey, Place::Nowhere, message).with_help(
                "--trust 10.0.0.0/8,fd00::/8 with the networks of your load balancers; \
                 --trust any believes everybody who can connect",
            );
            None
        }
        (None, trust) => {
            let useless = [
                ("--trust", trust.is_some()),
                ("--optional", flags.presence == Presence::Optional),
            ];
            for (flag, _) in useless.into_iter().filter(|(_, is_given)| *is_given) {
                let message = format!("{flag} needs --accept: no header is taken without it");
                faults.add(Code::MissingKey, Place::Nowhere, message).with_help("--accept v1,v2");
            }
            Some(Accept::Off)
        }
    }
}

/// A word that is no version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither v1 nor v2")]
pub struct VersionError(String);

/// `v1` or `v2`.
impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, version)| *version).ok_or_else(|| VersionError(text.to_owned()))
    }
}

/// `v1`, `v2` or both with a comma between them.
impl FromStr for Versions {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let versions = text.split(',').map(|word| word.trim().parse());
        let versions = versions.collect::<Result<Vec<Version>, _>>()?;
        Self::of(&versions).ok_or_else(|| VersionError(text.to_owned()))
    }
}
