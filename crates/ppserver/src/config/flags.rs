//! The other way in: a configuration of one listener and one upstream, from flags.
//!
//! Everything flags cannot say has the default of the file. Invariant: as with a file, nobody is
//! believed unless it is said who.

use std::net::SocketAddr;
use std::str::FromStr;

use super::codes::Code;
use super::diagnostics::Diagnostics;
use super::parse::At;
use super::validate::{self, Draft, ListenerDraft, UpstreamDraft};
use super::{
    Accept, AccessLog, Choice, Config, Endpoint, HeaderPolicy, Host, Loaded, Log, Presence, Report,
    SendHeader, Server, Splice, Tcp, Timeouts, Version, Versions, defaults,
};
use crate::trust::Trust;

/// What the listener and the upstream are called when nobody named them.
const LISTENER_NAME: &str = "listener";
const UPSTREAM_NAME: &str = "upstream";

/// `run --listen A --to B ...`, each flag as it was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, once or more.
    pub listen: Vec<SocketAddr>,
    /// `--to`, once or more.
    pub to: Vec<Endpoint>,
    /// `--accept v1,v2`.
    pub accept: Option<Versions>,
    /// `--trust any` or `--trust CIDR,...`.
    pub trust: Option<Trust>,
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
            faults.add(Code::MissingKey, None, format!("{flag} is missing")).with_help(help);
        };
        if flags.listen.is_empty() {
            missing("--listen", "say where to listen: --listen 0.0.0.0:443");
        }
        if flags.to.is_empty() {
            missing("--to", "say where connections go: --to 127.0.0.1:8080");
        }
        let listener = ListenerDraft {
            name: Some(At::new(LISTENER_NAME.to_owned(), None)),
            bind: flags.listen.iter().map(|addr| At::new(*addr, None)).collect(),
            upstream: Some(At::new(UPSTREAM_NAME.to_owned(), None)),
            accept: accept(&flags, &mut faults),
            trust_span: None,
            timeouts: Timeouts::default(),
        };
        let upstream = UpstreamDraft {
            name: At::new(UPSTREAM_NAME.to_owned(), None),
            endpoints: flags.to.into_iter().map(|endpoint| At::new(endpoint, None)).collect(),
            retries: At::new(defaults::RETRIES, None),
            send: flags.send.map_or(SendHeader::Off, SendHeader::new),
            tlv_pass_span: None,
        };
        let draft = Draft {
            server: Server::default(),
            max_connections_span: None,
            log: Log::default(),
            access_log: AccessLog::default(),
            tcp: Tcp::default(),
            splice: Splice::default(),
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

/// `None` after a fault.
fn accept(flags: &Flags, faults: &mut Diagnostics) -> Option<Accept> {
    match (flags.accept, &flags.trust) {
        (Some(versions), Some(trust)) => {
            let policy = HeaderPolicy::new(flags.presence, trust.clone());
            Some(Accept::Headers(HeaderPolicy { versions, ..policy }))
        }
        (Some(_), None) => {
            let message = "--accept needs --trust: who may set client addresses?";
            faults.add(Code::MissingKey, None, message).with_help(
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
                faults.add(Code::MissingKey, None, message).with_help("--accept v1,v2");
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
