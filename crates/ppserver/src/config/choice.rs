//! The words of the file that stand for the variants of an enum, once for reading and printing; and
//! the enums that are `true` or `false` there.

use super::{
    AccessLogFormat, Balance, CheckHeader, ChecksumPolicy, ChecksumSent, Datagrams, Destination,
    DontFragment, LocalPolicy, LogFormat, LogLevel, OnDown, Presence, Probes, Protocol, Silent,
    SpliceMode, TlvSource, Toggle, Untrusted, V1Families, Version,
};

/// A choice with the word that stands for it in the file.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its value, in the order of the documentation.
    const WORDS: &'static [(&'static str, Self)];

    /// The word that stands for this value.
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map(|(word, _)| *word).expect("every value has its word, a test checks")
    }
}

macro_rules! choices {
    ($($type:ty: $($word:literal = $value:expr),+;)+) => {
        $(impl Choice for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        })+
    };
}

choices! {
    LogLevel: "error" = Self::Error, "warn" = Self::Warn, "info" = Self::Info,
        "debug" = Self::Debug, "trace" = Self::Trace;
    LogFormat: "auto" = Self::Auto, "text" = Self::Text, "json" = Self::Json;
    AccessLogFormat: "json" = Self::Json, "logfmt" = Self::Logfmt;
    SpliceMode: "auto" = Self::Auto, "always" = Self::Always, "off" = Self::Off;
    Option<Presence>: "off" = None, "require" = Some(Presence::Required),
        "optional" = Some(Presence::Optional);
    Protocol: "tcp" = Self::Tcp, "udp" = Self::Udp;
    DontFragment: "kernel" = Self::Kernel, "probe" = Self::Probe, "off" = Self::Off;
    Datagrams: "each" = Self::Each, "first" = Self::First;
    Version: "v1" = Self::V1, "v2" = Self::V2, "spp" = Self::Spp;
    Option<Version>: "off" = None, "v1" = Some(Version::V1), "v2" = Some(Version::V2),
        "spp" = Some(Version::Spp);
    Balance: "round_robin" = Self::RoundRobin, "least_conn" = Self::LeastConnections,
        "random2" = Self::RandomOfTwo, "source_hash" = Self::SourceHash, "first" = Self::First;
    TlvSource: "id" = Self::Id, "sni" = Self::Sni, "alpn" = Self::Alpn;
    Untrusted: "reject" = Self::Reject, "plain" = Self::Plain;
    LocalPolicy: "forward" = Self::Forward, "answer" = Self::Answer, "reject" = Self::Reject;
    V1Families: "strict" = Self::Strict, "mixed" = Self::Mixed;
    Silent: "refuse" = Self::Refuse, "plain" = Self::Plain;
    ChecksumPolicy: "verify" = Self::Verify, "ignore" = Self::Ignore,
        "require" = Self::Require;
    Destination: "original" = Self::Original, "local" = Self::Local;
    CheckHeader: "auto" = Self::Auto, "off" = Self::Off, "proxy" = Self::Proxy;
    OnDown: "keep" = Self::Keep, "reset" = Self::Reset;
    Option<CheckKind>: "off" = None, "tcp" = Some(CheckKind::Tcp),
        "exchange" = Some(CheckKind::Exchange);
}

/// The words of `check`; what a check is has more to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckKind {
    Tcp,
    Exchange,
}

macro_rules! switches {
    ($($type:ident: $off:ident, $on:ident;)+) => {
        $(impl From<Toggle> for $type {
            fn from(toggle: Toggle) -> Self {
                match toggle {
                    Toggle::Off => Self::$off,
                    Toggle::On => Self::$on,
                }
            }
        }

        impl From<$type> for Toggle {
            fn from(value: $type) -> Self {
                match value {
                    $type::$off => Self::Off,
                    $type::$on => Self::On,
                }
            }
        })+
    };
}

// `false` first.
switches! {
    Probes: Counted, Logged;
    ChecksumSent: WhenReceived, Always;
}
