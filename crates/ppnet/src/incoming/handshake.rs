//! One connection's header, from what a socket gives; no socket and no clock.
//!
//! Bytes are taken in bulk, the payload behind the header with them, and what is not the header's is
//! handed back as [`Opening::leftover`]. Invariant: header and leftover, in this order, are the bytes
//! pushed.

use std::sync::Arc;

use pptrust::{Admission, Found, Intro, Received};

use super::config::Validate;
use super::{Address, Config, Reason, Refused, Silence};

/// Bytes asked for in one read: a header with its TLVs and a first request or a TLS hello with it.
pub(crate) const READ_LEN: usize = 4096;

/// A connection whose header is not complete.
pub(crate) struct Handshake {
    intro: Intro,
    silence: Silence,
    validate: Option<Arc<Validate>>,
}

/// How a connection begins.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// The header that counts.
    pub(crate) header: Option<Received>,
    /// Payload that was read with it.
    pub(crate) leftover: Vec<u8>,
}

impl Handshake {
    /// Begins with nothing read; `None` if there is nothing to read either, and the connection stands.
    pub(crate) fn begin<A: Address>(
        config: &Config,
        peer: &A,
        local: &A,
    ) -> Result<Option<Self>, Refused> {
        let policy = config.policy(peer, local);
        match policy.admission() {
            Admission::Denied => Err(Reason::Denied.into()),
            Admission::Plain => Ok(None),
            Admission::Header => {
                let intro = Intro::new(policy, config.options);
                let validate = config.validator().cloned();
                Ok(Some(Self { intro, silence: config.silence, validate }))
            }
        }
    }

    /// Takes what was read; `None` as long as more is needed.
    pub(crate) fn push(&mut self, read: &[u8]) -> Result<Option<Opening>, Refused> {
        match self.intro.push(read) {
            Ok(found) => found.map(|found| self.opening(found, read)).transpose(),
            Err(refusal) => Err(Refused::new(refusal, self.intro.bytes(read))),
        }
    }

    /// The peer has sent its FIN.
    pub(crate) fn end(&mut self) -> Result<Option<Opening>, Refused> {
        match self.intro.finish() {
            Ok(found) => found.map(|found| self.opening(found, &[])).transpose(),
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// Its time is up.
    pub(crate) fn time_out(&mut self) -> Result<Opening, Refused> {
        // Silence is as good as an end, where it is not an offence.
        let said = match self.silence {
            Silence::Absent if self.intro.held().is_empty() => self.end(),
            Silence::Absent | Silence::Refuse => Ok(None),
        };
        said.ok().flatten().ok_or_else(|| self.refuse(Reason::TimedOut))
    }

    /// It is over before its header is complete.
    pub(crate) fn refuse(&self, reason: impl Into<Reason>) -> Refused {
        Refused::new(reason, self.intro.held())
    }

    fn opening(&mut self, found: Found, read: &[u8]) -> Result<Opening, Refused> {
        let behind = |taken| read.get(taken..).unwrap_or_default();
        match found {
            Found::Header { header, taken } => {
                let header = self.intro.keep(header, read);
                if let Some(validate) = &self.validate {
                    validate(&header)
                        .map_err(|why| Refused::new(Reason::Invalid(why), header.as_bytes()))?;
                }
                Ok(Opening { header: Some(header), leftover: behind(taken).to_vec() })
            }
            Found::Plain { taken } => {
                Ok(Opening { header: None, leftover: [self.intro.held(), behind(taken)].concat() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{Greeting, Policy, Trust};

    fn begin(policy: Policy) -> Handshake {
        let config = Config::new(Trust::by(move |_| policy));
        begin_on(&config)
    }

    fn begin_on(config: &Config) -> Handshake {
        let addr = SocketAddr::from(([10, 0, 0, 1], 1));
        Handshake::begin(config, &addr, &addr).unwrap().unwrap()
    }

    #[test]
    fn a_header_and_its_payload_come_apart_whatever_the_cut() {
        let greeting = Greeting::v2("1.2.3.4:5".parse().unwrap(), "5.6.7.8:9".parse().unwrap());
        let header = greeting.tlv(0xE0, b"x").to_bytes().unwrap();
        let sent = [&header[..], b"payload"].concat();
        for cut in 0..header.len() {
            for policy in [Policy::Require, Policy::Ignore] {
                let mut handshake = begin(policy);
                assert!(handshake.push(&sent[..cut]).unwrap().is_none());
                let opening = handshake.push(&sent[cut..]).unwrap().unwrap();
                assert_eq!(opening.leftover, b"payload", "cut at {cut}");
                let kept = opening.header.map(|header| header.as_bytes().to_vec());
                assert_eq!(kept, (policy == Policy::Require).then(|| header.clone()));
            }
        }
    }

    #[test]
    fn silence_is_no_header_only_where_it_may_be_and_nothing_has_come() {
        let begin =
            |policy, silence| begin_on(&Config::new(Trust::by(move |_| policy)).silence(silence));
        for policy in [Policy::Use, Policy::Ignore, Policy::Reject] {
            let opening = begin(policy, Silence::Absent).time_out().unwrap();
            assert_eq!((opening.header, opening.leftover), (None, Vec::new()));
            let mut begun = begin(policy, Silence::Absent);
            assert!(begun.push(b"PRO").unwrap().is_none());
            assert_timed_out(begun.time_out(), b"PRO");
            assert_timed_out(begin(policy, Silence::Refuse).time_out(), b"");
        }
        assert_timed_out(begin(Policy::Require, Silence::Absent).time_out(), b"");
    }

    #[track_caller]
    fn assert_timed_out(ended: Result<Opening, Refused>, first_bytes: &[u8]) {
        let refused = ended.unwrap_err();
        assert!(matches!(refused.reason(), Reason::TimedOut), "{refused}");
        assert_eq!(refused.first_bytes(), first_bytes);
    }

    #[test]
    fn what_is_refused_is_shown_from_its_first_byte_whatever_the_cut() {
        let sent = b"PROXY TCP4 256.1.1.1 1.1.1.1 1 2\r\n";
        for cut in 0..11 {
            let mut handshake = begin(Policy::Require);
            assert!(handshake.push(&sent[..cut]).unwrap().is_none());
            let refused = handshake.push(&sent[cut..]).unwrap_err();
            assert!(matches!(refused.reason(), Reason::Header(error) if error.offset() == 13));
            assert_eq!(refused.first_bytes(), sent);
        }
    }

    #[test]
    fn a_plain_stream_is_all_leftover_whatever_its_cut() {
        let plain = b"PROXIES and more";
        for cut in 0..5 {
            let mut handshake = begin(Policy::Use);
            assert!(handshake.push(&plain[..cut]).unwrap().is_none());
            let opening = handshake.push(&plain[cut..]).unwrap().unwrap();
            assert_eq!((opening.header, opening.leftover), (None, plain.to_vec()));
            assert_eq!(begin(Policy::Use).end().unwrap().unwrap().leftover, b"");
        }
    }
}
