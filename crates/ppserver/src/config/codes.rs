//! The kinds of faults: what programs call them, and how grave each is. One line here is all that a
//! new one needs, and a row in docs/operations.md.

use serde::{Serialize, Serializer};

/// Whether a fault stops the configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $severity:ident $code:ident = $text:literal;)+) => {
        /// What kind of fault it is: stable, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $code,)+
        }

        impl Code {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// Each code has one severity.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$code => Severity::$severity,)+
                }
            }

            /// The code as it is printed, `unknown-key`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)+
                }
            }
        }
    };
}

codes! {
    /// The file cannot be read.
    Error Unreadable = "unreadable";
    /// It is not TOML.
    Error Syntax = "syntax";
    /// It is another proxy's.
    Error Foreign = "foreign";
    /// A key nobody knows.
    Error UnknownKey = "unknown-key";
    /// A key or value of a later version.
    Error NotSupported = "not-supported";
    /// A number where a text is due, and the like.
    Error WrongType = "wrong-type";
    /// A value out of its range or not among the choices.
    Error BadValue = "bad-value";
    /// A variable of the environment that is not set.
    Error UnsetVariable = "unset-variable";
    /// A required key is absent.
    Error MissingKey = "missing-key";
    /// A name or an address is used twice.
    Error Duplicate = "duplicate";
    /// The upstream of a listener or a route does not exist.
    Error UnknownUpstream = "unknown-upstream";
    /// A listener that takes no headers relays to itself.
    Error Loop = "loop";
    /// There are more faults than a report holds.
    Error More = "more";
    /// An upstream that no listener uses.
    Warning UnusedUpstream = "unused-upstream";
    /// An endpoint that gets no connection.
    Warning UnusedEndpoint = "unused-endpoint";
    /// A route behind one that takes all of its connections.
    Warning UnreachableRoute = "unreachable-route";
    /// A key that changes nothing as things stand.
    Warning NoEffect = "no-effect";
    /// A network with bits set behind its prefix.
    Warning HostBits = "host-bits";
    /// A header deadline below what the protocol asks for.
    Warning ShortHeaderTimeout = "short-header-timeout";
    /// Anybody can reach the listener and be any client.
    Warning OpenTrust = "open-trust";
    /// No peer can be among those who are trusted.
    Warning NobodyTrusted = "nobody-trusted";
    /// More connections allowed than descriptors.
    Warning FewDescriptors = "few-descriptors";
    /// The directory of a UNIX socket is not there.
    Warning NoDirectory = "no-directory";
    /// An endpoint leads back to one of the listeners.
    Warning OwnListener = "own-listener";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
