//! What follows from the attempts: whether the server takes headers, which, and what to write for it.
//!
//! Pure. A header is taken where what follows it is answered as it is where none is needed; or, where no plain data is
//! answered, if anything is. Invariant: nothing is said to be taken that was not answered.

use ppcore::spp;

use super::exchange::{Attempt, Outcome};
use super::way::Way;

/// Of text that is compared, no more than this.
const LINE_BYTES_MAX: usize = 128;
/// Of what is no text: an id and flags of DNS, the type and version of a TLS record.
const START_BYTES: usize = 4;

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It answers behind a header, and not without.
    Required,
    /// It answers behind a header, and without.
    Optional,
    /// It answers without a header, and takes one for data.
    Unwanted,
    /// It speaks before it has heard anything, so it waits for no header.
    SpeaksFirst,
    /// It answered nothing that says more.
    Unclear,
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) need: Need,
    /// The ways that it takes, but for those without a header.
    pub(super) taken: Vec<Way>,
}

impl Verdict {
    pub(super) fn of(attempts: &[Attempt]) -> Self {
        let outcome = |way| attempts.iter().find(|it| it.way == way).map(|it| &it.outcome);
        if matches!(outcome(Way::Nothing), Some(Outcome::Answered(_))) {
            return Self { need: Need::SpeaksFirst, taken: Vec::new() };
        }
        let plain = match outcome(Way::Plain) {
            Some(Outcome::Answered(answer)) => Some(answer.as_slice()),
            Some(Outcome::Closed | Outcome::Reset | Outcome::Silent) | None => None,
        };
        let is_taken = |attempt: &&Attempt| {
            let Outcome::Answered(answer) = &attempt.outcome else { return false };
            let answer = match attempt.way {
                Way::Nothing | Way::Plain => return false,
                // Answers have the header in front, too.
                Way::Spp if !answer.starts_with(&spp::MAGIC) => return false,
                Way::Spp => answer.get(spp::LEN..).unwrap_or_default(),
                Way::V1
                | Way::V2
                | Way::Local
                | Way::Pieces
                | Way::WrongChecksum
                | Way::Each
                | Way::First => answer.as_slice(),
            };
            match plain {
                Some(plain) if refuses(plain) => !refuses(answer),
                Some(plain) => start(plain) == start(answer),
                None => !is_error_reply(answer),
            }
        };
        let taken: Vec<_> = attempts.iter().filter(is_taken).map(|it| it.way).collect();
        let is_served = plain.is_some_and(|plain| !refuses(plain));
        let need = match (taken.is_empty(), is_served) {
            (false, false) => Need::Required,
            (false, true) => Need::Optional,
            (true, true) => Need::Unwanted,
            (true, false) => Need::Unclear,
        };
        Self { need, taken }
    }

    pub(super) fn takes(&self, way: Way) -> bool {
        self.taken.contains(&way)
    }

    /// Whether it takes what our upstreams send.
    pub(super) fn takes_any(&self) -> bool {
        [Way::V1, Way::V2, Way::Each, Way::First, Way::Spp].iter().any(|way| self.takes(*way))
    }

    /// What is sent to such a server, as `[upstream.NAME]` has it; `None` if that is not known.
    pub(super) fn keys(&self) -> Option<&'static str> {
        if matches!(self.need, Need::Unwanted | Need::SpeaksFirst) {
            Some("proxy_protocol.send = \"off\"")
        } else if self.takes(Way::V2) || self.takes(Way::Each) {
            Some("proxy_protocol.send = \"v2\"")
        } else if self.takes(Way::First) {
            Some("proxy_protocol = { send = \"v2\", datagrams = \"first\" }")
        } else if self.takes(Way::Spp) {
            Some("proxy_protocol.send = \"spp\"")
        } else if self.takes(Way::V1) {
            Some("proxy_protocol.send = \"v1\"")
        } else {
            None
        }
    }

    /// In words, a sentence a line.
    pub(super) fn words(&self) -> Vec<String> {
        let names = self.taken.iter().filter(|way| !VARIANTS.contains(way));
        let names: Vec<_> = names.map(|way| way.name()).collect();
        let names = names.join(", ");
        let mut words = vec![match self.need {
            Need::Required => format!("It requires a header, and takes {names}."),
            Need::Optional => format!(
                "It takes {names}, and answers without a header too: unless it believes some peers only, anybody who \
                 reaches it can say who he is."
            ),
            Need::Unwanted => {
                "It takes no header: it answers without one, and not as well behind one.".to_owned()
            }
            Need::SpeaksFirst => {
                "It takes no header: it speaks before it has heard anything.".to_owned()
            }
            Need::Unclear => "It answers nothing, with a header or without: it may believe some peers only, and not \
                              this host, or want other data (--data)."
                .to_owned(),
        }];
        if self.takes(Way::V2) {
            if !self.takes(Way::Local) {
                words.push(
                    "It refuses LOCAL: with checks of its health write proxy = \"proxy\" in [upstream.NAME.health]."
                        .to_owned(),
                );
            }
            if !self.takes(Way::Pieces) {
                words.push(
                    "It refuses a header in pieces. ppserver sends each in one; others may not."
                        .to_owned(),
                );
            }
            if self.takes(Way::WrongChecksum) {
                words.push("It does not verify CRC32C.".to_owned());
            }
        }
        words
    }
}

/// Ways that are another way, and something besides.
const VARIANTS: [Way; 3] = [Way::Local, Way::Pieces, Way::WrongChecksum];

/// Whether an answer says that it was not understood, or that there is no service.
fn refuses(answer: &[u8]) -> bool {
    let is_bad_request = answer.starts_with(b"HTTP/1.") && answer.get(8..12) == Some(b" 400");
    is_bad_request || is_error_reply(answer)
}

/// 4yz and 5yz of SMTP and those that speak like it (RFC 5321, 4.2.1).
fn is_error_reply(answer: &[u8]) -> bool {
    match answer {
        [b'4' | b'5', y, z, b' ' | b'-', ..] => y.is_ascii_digit() && z.is_ascii_digit(),
        _ => false,
    }
}

/// What is the same in each answer to the same data.
fn start(answer: &[u8]) -> &[u8] {
    let is_text = answer.first().is_some_and(|byte| byte.is_ascii_graphic());
    let len = if is_text {
        let line = answer.iter().position(|byte| *byte == b'\n');
        line.unwrap_or(answer.len()).min(LINE_BYTES_MAX)
    } else {
        START_BYTES.min(answer.len())
    };
    &answer[..len]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::way::{DATAGRAMS, STREAM};
    use super::*;

    fn answered(answer: &str) -> Outcome {
        Outcome::Answered(answer.as_bytes().to_vec())
    }

    /// What is known of a server that comes to this.
    fn verdict(ways: &[Way], outcome: impl Fn(Way) -> Outcome) -> Verdict {
        let attempts = [Way::Nothing].iter().chain(ways).map(|way| Attempt {
            way: *way,
            outcome: outcome(*way),
            after: Duration::from_millis(1),
        });
        Verdict::of(&attempts.collect::<Vec<_>>())
    }

    const SEND_V2: &str = "proxy_protocol.send = \"v2\"";

    #[test]
    fn who_answers_behind_headers_alone_requires_them() {
        let strict = verdict(&STREAM, |way| {
            if way == Way::Nothing {
                Outcome::Silent
            } else if way == Way::Plain {
                Outcome::Reset
            } else if [Way::Pieces, Way::WrongChecksum].contains(&way) {
                Outcome::Closed
            } else {
                answered("HTTP/1.1 200 OK\r\n")
            }
        });
        assert_eq!((strict.need, strict.keys()), (Need::Required, Some(SEND_V2)));
        assert!(strict.takes_any());
        assert_eq!(strict.words().len(), 2, "{:?}", strict.words());
        let words = strict.words().concat();
        assert!(words.contains("takes v1, v2.") && words.contains("in pieces"), "{words}");
    }

    #[test]
    fn who_takes_a_line_alone_is_sent_it() {
        let old =
            verdict(
                &STREAM,
                |way| {
                    if way == Way::V1 { answered("+OK\r\n") } else { Outcome::Closed }
                },
            );
        assert_eq!((old.need, old.keys()), (Need::Required, Some("proxy_protocol.send = \"v1\"")));
        assert_eq!(old.words(), ["It requires a header, and takes v1."]);
    }

    /// What is known of a server that waits for whoever connects, and answers data so, with a header and without.
    fn answering(plain: Outcome, behind: &Outcome) -> Verdict {
        verdict(&STREAM, |way| {
            if way == Way::Nothing {
                Outcome::Silent
            } else if way == Way::Plain {
                plain.clone()
            } else {
                behind.clone()
            }
        })
    }

    #[test]
    fn a_header_that_is_answered_otherwise_than_nothing_is_taken_for_data() {
        let wrong = answered("-ERR wrong number of arguments for 'get' command\r\n");
        let redis = answering(wrong, &answered("-ERR unknown command 'PROXY'\r\n"));
        assert_eq!((redis.need, redis.takes_any()), (Need::Unwanted, false));
        let echo = answering(answered("GET / HTTP/1.0\r\n"), &answered("PROXY TCP4 "));
        assert_eq!(echo.need, Need::Unwanted);
    }

    #[test]
    fn a_bad_request_is_no_service() {
        let good = answered("HTTP/1.1 200 OK\r\n");
        let bad = answered("HTTP/1.1 400 Bad Request\r\n");
        assert_eq!(answering(bad.clone(), &good).need, Need::Required);
        assert_eq!(answering(good.clone(), &good).need, Need::Optional);
        assert_eq!(answering(good, &bad).need, Need::Unwanted);
        assert_eq!(answering(bad.clone(), &bad).need, Need::Unclear);
        // TLS behind a header says that this was no TLS.
        assert_eq!(answering(Outcome::Closed, &bad).need, Need::Required);
    }

    #[test]
    fn an_error_of_smtp_is_no_service() {
        let (ready, gone) =
            (answered("220 mail ESMTP\r\n"), answered("421 4.3.2 No system resources\r\n"));
        assert_eq!(answering(gone.clone(), &ready).need, Need::Required);
        assert_eq!(answering(gone.clone(), &gone).need, Need::Unclear);
        assert_eq!(answering(Outcome::Closed, &gone).need, Need::Unclear);
    }

    #[test]
    fn who_speaks_first_waits_for_no_header() {
        let ssh = verdict(&STREAM, |_| answered("SSH-2.0-OpenSSH\r\n"));
        assert_eq!((ssh.need, ssh.takes_any()), (Need::SpeaksFirst, false));
        assert_eq!(ssh.keys(), Some("proxy_protocol.send = \"off\""));
    }

    #[test]
    fn who_is_mute_is_not_judged() {
        let mute = answering(Outcome::Silent, &Outcome::Silent);
        assert_eq!((mute.need, mute.keys()), (Need::Unclear, None));
        assert!(mute.words()[0].contains("--data"));
    }

    #[test]
    fn datagrams_are_told_apart_by_who_needs_a_header_when() {
        let of_spp = [&spp::MAGIC[..], &[0; spp::LEN - 2], b"\0\x01\x81\x80"].concat();
        for (taken, answer, keys) in [
            (Way::Each, b"\0\x01\x81\x80".to_vec(), SEND_V2),
            (
                Way::First,
                b"\0\x01\x81\x80".to_vec(),
                "proxy_protocol = { send = \"v2\", datagrams = \"first\" }",
            ),
            (Way::Spp, of_spp, "proxy_protocol.send = \"spp\""),
        ] {
            let answer = Outcome::Answered(answer);
            let server =
                verdict(
                    &DATAGRAMS,
                    |way| {
                        if way == taken { answer.clone() } else { Outcome::Silent }
                    },
                );
            assert_eq!((server.need, server.keys()), (Need::Required, Some(keys)), "{taken:?}");
        }
        // Behind a header, FORMERR about an id that is the header's.
        let plain = answering(
            Outcome::Answered(vec![0, 1, 0x81, 0x80, 0, 1]),
            &Outcome::Answered(vec![0x0D, 0x0A, 0x80, 0x01]),
        );
        assert_eq!(plain.need, Need::Unwanted);
    }
}
