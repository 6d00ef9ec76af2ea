//! The words of the file that stand for the variants of an enum, once for reading and printing.

use super::{
    ChecksumPolicy, Destination, LocalPolicy, LogFormat, LogLevel, Presence, SpliceMode, Untrusted,
    Version,
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
    SpliceMode: "auto" = Self::Auto, "always" = Self::Always, "off" = Self::Off;
    Option<Presence>: "off" = None, "require" = Some(Presence::Required),
        "optional" = Some(Presence::Optional);
    Version: "v1" = Self::V1, "v2" = Self::V2;
    Option<Version>: "off" = None, "v1" = Some(Version::V1), "v2" = Some(Version::V2);
    Untrusted: "reject" = Self::Reject, "plain" = Self::Plain;
    LocalPolicy: "forward" = Self::Forward, "answer" = Self::Answer, "reject" = Self::Reject;
    ChecksumPolicy: "verify" = Self::Verify, "ignore" = Self::Ignore;
    Destination: "original" = Self::Original, "local" = Self::Local;
}
