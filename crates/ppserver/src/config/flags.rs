//! The other way in: a configuration of one listener and one upstream, from flags.
//!
//! Everything flags cannot say has the default of the file. Invariant: as with a file, nobody is
//! believed unless it is said who.

use std::str::FromStr;

use ipnet::IpNet;

use super::address::{self, TRUST_ANY, TRUST_UNIX};
use super::codes::Code;
use super::diagnostics::{Diagnostics, Place};
use super::parse::{At, Key, Written, ranged};
use super::read::{self, TIMEOUT};
use super::units::{format_duration, parse_duration, parse_tlv_type};
use super::validate::{self, AdminDraft, Draft, EntryDraft, ListenerDraft, UpstreamDraft};
use super::{
    Choice, CommonFlags, Config, HeaderMode, HeaderPolicy, Host, Loaded, LocalPolicy, Log,
    Overrides, Presence, Report, Sending, Tcp, Timeouts, TlvPass, Toggle, Untrusted, Version,
    Versions, defaults,
};
use pptrust::Peers;

const LISTEN: Place = Place::Flag("--listen");
const TO: Place = Place::Flag("--to");
const TRUST: Place = Place::Flag("--trust");
const HEADER_TIMEOUT: Place = Place::Flag("--header-timeout");
const TLV_PASS: Place = Place::Flag("--tlv-pass");

/// What the listener and the upstream are called when nobody named them.
const LISTENER_NAME: &str = "listener";
const UPSTREAM_NAME: &str = "upstream";
/// What passes every TLV.
const TLVS_ALL: &str = "all";

/// `run --listen A --to B ...`, as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// `--listen`, once or more.
    pub listen: Vec<String>,
    /// `--to`, once or more.
    pub to: Vec<String>,
    /// `--accept v1,v2`.
    pub accept: Option<Versions>,
    /// `--trust any` or `--trust CIDR,...`.
    pub trust: Option<String>,
    /// `--optional`.
    pub optional: bool,
    /// `--untrusted reject` or `--untrusted plain`.
    pub untrusted: Option<Untrusted>,
    /// `--local forward`, `--local answer` or `--local reject`.
    pub local: Option<LocalPolicy>,
    /// `--header-timeout`.
    pub header_timeout: Option<String>,
    /// `--send v1` or `--send v2`.
    pub send: Option<Version>,
    /// `--tlv-pass all` or `--tlv-pass 0xEA,0xEE`.
    pub tlv_pass: Option<String>,
    /// Those that go with a file too.
    pub common: CommonFlags,
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
        let endpoints = to
            .filter_map(|text| address::endpoint(text, &mut faults))
            .map(EntryDraft::plain)
            .collect();
        let trusted = trusted(&flags, &mut faults);
        let listener = ListenerDraft {
            name: Some(At::new(LISTENER_NAME.to_owned(), Place::Nowhere)),
            bind,
            protocol: At::new(defaults::PROTOCOL, Place::Nowhere),
            udp: Written::default(),
            upstream: Some(At::new(UPSTREAM_NAME.to_owned(), Place::Nowhere)),
            unix_mode: At::new(defaults::UNIX_MODE, Place::Nowhere),
            accept: Written::new(accept(&flags, &trusted, &mut faults), accept_keys(&flags)),
            trusted,
            timeouts: timeouts(&flags, &mut faults),
            limits: Written::default(),
            per_client: Written::default(),
            routes: Vec::new(),
        };
        let passed = passed(&flags, &mut faults);
        let upstream = UpstreamDraft {
            name: At::new(UPSTREAM_NAME.to_owned(), Place::Nowhere),
            endpoints,
            balance: defaults::BALANCE,
            retries: At::new(defaults::RETRIES, Place::Nowhere),
            source: At::new(defaults::SOURCE, Place::Nowhere),
            passive: Written::default(),
            dns: Written::default(),
            send: Written::new(send(&flags, &passed), Vec::new()),
            passed,
            health: Written::default(),
        };
        let overrides = Overrides::read(&flags.common, &mut faults);
        let draft = Draft {
            server: Written::default(),
            admin: AdminDraft::default(),
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
            Some(mut config) if !report.has_errors() => {
                overrides.apply(&mut config);
                Ok(Loaded { config, warnings: report })
            }
            Some(_) | None => Err(report),
        }
    }
}

/// The networks of `--trust` that can be read.
fn trusted(flags: &Flags, faults: &mut Diagnostics) -> Vec<At<IpNet>> {
    let text = flags.trust.as_deref().map(str::trim).filter(|text| *text != TRUST_ANY);
    let entries = text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    let networks = entries.filter(|entry| *entry != TRUST_UNIX);
    networks.filter_map(|entry| address::network(At::new(entry, TRUST), faults)).collect()
}

/// What the flags say of `[listener.proxy_protocol]`; without --accept they must not say anything.
fn accept_keys(flags: &Flags) -> Vec<Key> {
    let trust = flags.accept.and(flags.trust.as_ref());
    trust.map(|_| Key { name: "trust", place: TRUST, value: TRUST }).into_iter().collect()
}

/// `None` after a fault.
fn accept(flags: &Flags, trusted: &[At<IpNet>], faults: &mut Diagnostics) -> Option<HeaderMode> {
    match (flags.accept, flags.trust.as_deref()) {
        (Some(versions), Some(trust)) => {
            let has_unix = trust.split(',').any(|entry| entry.trim() == TRUST_UNIX);
            let unix = if has_unix { Toggle::On } else { Toggle::Off };
            let trust = match trust.trim() {
                TRUST_ANY => Peers::Any,
                _ => address::peers(trusted, unix)?,
            };
            let presence = if flags.optional { Presence::Optional } else { Presence::Required };
            let policy = HeaderPolicy::new(presence, trust);
            Some(HeaderMode::Headers(HeaderPolicy {
                versions,
                trust_unix: if has_unix { unix } else { policy.trust_unix },
                untrusted: flags.untrusted.unwrap_or(policy.untrusted),
                local: flags.local.unwrap_or(policy.local),
                ..policy
            }))
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
                ("--optional", flags.optional),
                ("--untrusted", flags.untrusted.is_some()),
                ("--local", flags.local.is_some()),
                ("--header-timeout", flags.header_timeout.is_some()),
            ];
            for (flag, _) in useless.into_iter().filter(|(_, is_given)| *is_given) {
                let message = format!("{flag} needs --accept: no header is taken without it");
                faults.add(Code::MissingKey, Place::Nowhere, message).with_help("--accept v1,v2");
            }
            Some(HeaderMode::Off)
        }
    }
}

fn timeouts(flags: &Flags, faults: &mut Diagnostics) -> Written<Timeouts> {
    let default = Timeouts::default();
    let Some(text) = &flags.header_timeout else { return Written::new(default, Vec::new()) };
    let (text, example) = (At::new(text.as_str(), HEADER_TIMEOUT), format_duration(default.header));
    let header =
        ranged("header", &text, parse_duration, TIMEOUT, format_duration, &example, faults);
    let timeouts = Timeouts { header: header.unwrap_or(default.header), ..default };
    let key = Key { name: "header", place: HEADER_TIMEOUT, value: HEADER_TIMEOUT };
    Written::new(timeouts, vec![key])
}

/// The types of `--tlv-pass` that can be read; none of `all`.
fn passed(flags: &Flags, faults: &mut Diagnostics) -> Vec<At<u8>> {
    let Some(text) = flags.tlv_pass.as_deref().map(str::trim) else { return Vec::new() };
    if flags.send != Some(Version::V2) {
        let message = "--tlv-pass needs --send v2: nothing else carries TLVs";
        faults.add(Code::MissingKey, Place::Nowhere, message).with_help("--send v2");
    }
    let words = text.split(',').map(str::trim).filter(|_| text != TLVS_ALL);
    let kind = |word: &str| {
        let kind = parse_tlv_type(word);
        if kind.is_none() {
            let message = format!("`{word}` is no type of a TLV");
            let help = "all, or numbers from 0x00 to 0xFF with commas between: 0xEA,0xEE";
            faults.add(Code::BadValue, TLV_PASS, message).with_help(help);
        }
        kind.map(|kind| At::new(kind, TLV_PASS))
    };
    words.filter_map(kind).collect()
}

fn send(flags: &Flags, passed: &[At<u8>]) -> Sending {
    let tlv_pass = match flags.tlv_pass.as_deref().map(str::trim) {
        Some(TLVS_ALL) => TlvPass::All,
        Some(_) | None => read::types_passed(passed),
    };
    Sending { tlv_pass, ..Sending::of(flags.send) }
}

/// A word that is no version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither v1 nor v2")]
pub struct VersionError(String);

/// `v1` or `v2`.
impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        // Flags are of connections.
        let mut words = Self::WORDS.iter().filter(|(_, version)| *version != Self::Spp);
        let found = words.find(|(word, _)| *word == text);
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
