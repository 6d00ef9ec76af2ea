//! What two processes say to each other over a handover: one word a message.
//!
//! ```text
//! who gives                     who takes
//!   Hello, Sockets..., Complete -->
//!                             <-- Sockets..., Ready or    Failed
//!
//! a supervisor                  who serves, later
//!                             <-- Sockets..., Held         it listens elsewhere
//!                             <-- Draining                 nobody is to take its place
//!                             <-- Upgrade                  another program is to
//!   Sockets..., Leave        -->                           it does, and serves these
//!   Refused                  -->                           it does not
//! ```
//!
//! A word that one side does not know ends the handover; a field that it does not know is ignored. Invariant: a
//! change that an older process would misunderstand is another [`PROTOCOL`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Name;

/// The version of this conversation.
pub(super) const PROTOCOL: u32 = 1;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::control) enum Word {
    /// The first: whoever takes is this generation.
    Hello {
        /// The version that the other one speaks.
        protocol: u32,
        /// 1 at a start, one more at each upgrade.
        generation: u32,
        /// Whether whoever gives goes on holding the sockets.
        #[serde(default)]
        is_supervised: bool,
    },
    /// Sockets of this name come with it; of one with many with several.
    Sockets(Name),
    /// Everything has been said.
    Complete,
    /// It serves, with the sockets that it has named before.
    Ready,
    /// It does not, and ends.
    Failed {
        /// In words for people.
        why: String,
    },
    /// The sockets named before are all that it has now.
    Held,
    /// It closes its ports, and ends with its last connection.
    Draining,
    /// A program is to take over.
    Upgrade {
        /// That which runs, if none is named.
        program: Option<PathBuf>,
    },
    /// Another process serves, with the sockets named before.
    Leave {
        /// Its number.
        pid: u32,
    },
    /// None does.
    Refused {
        /// In words for people.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_an_older_and_a_newer_process_read_too() {
        for (word, text) in [
            (
                Word::Hello { protocol: 1, generation: 2, is_supervised: true },
                r#"{"hello":{"protocol":1,"generation":2,"is_supervised":true}}"#,
            ),
            (
                Word::Sockets(Name::Port { listener: "a".to_owned(), asked: "[::]:1".to_owned() }),
                r#"{"sockets":{"port":{"listener":"a","asked":"[::]:1"}}}"#,
            ),
            (
                Word::Sockets(Name::Door { asked: "unix:/a".to_owned() }),
                r#"{"sockets":{"door":{"asked":"unix:/a"}}}"#,
            ),
            (
                Word::Sockets(Name::Activated { name: "web".to_owned() }),
                r#"{"sockets":{"activated":{"name":"web"}}}"#,
            ),
            (Word::Complete, r#""complete""#),
            (Word::Ready, r#""ready""#),
            (Word::Failed { why: "w".to_owned() }, r#"{"failed":{"why":"w"}}"#),
            (Word::Held, r#""held""#),
            (Word::Draining, r#""draining""#),
            (Word::Upgrade { program: None }, r#"{"upgrade":{"program":null}}"#),
            (Word::Leave { pid: 3 }, r#"{"leave":{"pid":3}}"#),
            (Word::Refused { why: "w".to_owned() }, r#"{"refused":{"why":"w"}}"#),
        ] {
            assert_eq!(serde_json::to_string(&word).unwrap(), text);
            assert_eq!(serde_json::from_str::<Word>(text).unwrap(), word);
        }
        let later = r#"{"hello":{"protocol":1,"generation":2,"more":true}}"#;
        let hello = Word::Hello { protocol: 1, generation: 2, is_supervised: false };
        assert_eq!(serde_json::from_str::<Word>(later).unwrap(), hello);
    }
}
