//! Which route a connection takes: the first whose condition holds, or its listener's own upstream.
//!
//! Goes by who comes and by what the first bytes said; changes nothing of them. Invariant: a condition about
//! what was not read does not hold, and one without a word holds for everybody.

use std::net::IpAddr;

use ppcore::tlv::{self, Tlvs};
use pptrust::Networks;

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the upstream of this index in the configuration.
    To(usize),
    /// Nowhere: the client is reset.
    Deny,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who takes it: all of these must hold.
    pub when: When,
    /// Where it leads.
    pub way: Way,
}

/// A condition: each part that is there must hold, and holds if one of its list does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Networks of the client.
    pub client: Option<Networks>,
    /// Networks of the socket's peer.
    pub peer: Option<Networks>,
    /// TLVs of the header, each of which must hold.
    pub tlvs: Vec<(u8, Vec<Pattern>)>,
    /// Names that the client asks for in its ClientHello.
    pub sni: Vec<Name>,
    /// Protocols, one of which the client offers.
    pub alpn: Vec<String>,
}

/// What a TLV's value is compared with. Its id is the value without the subtype that Amazon puts in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Any value.
    Present,
    /// This id.
    Id(String),
    /// An id that begins so.
    IdPrefix(String),
    /// The number that the value is.
    Number(u64),
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes that begin with these.
    BytesPrefix(Vec<u8>),
}

/// A name of TLS, or all names below one; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// This one.
    Exact(String),
    /// Any depth below this one, and not itself.
    Below(String),
}

/// What is known of a connection before its route.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// Who comes, if he has an address.
    pub client: Option<IpAddr>,
    /// The socket's peer, if it has one.
    pub peer: Option<IpAddr>,
    /// Those of its header; `None` without one.
    pub tlvs: Option<Tlvs<'a>>,
    /// What its ClientHello says, if one was read.
    pub hello: Option<Hello<'a>>,
}

/// What of a ClientHello counts.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The name that is asked for.
    pub sni: Option<&'a str>,
    /// The protocols that are offered.
    pub alpn: &'a [Vec<u8>],
}

impl When {
    /// Whether it goes by the ClientHello.
    pub fn needs_hello(&self) -> bool {
        !self.sni.is_empty() || !self.alpn.is_empty()
    }

    /// Whether it holds.
    pub fn holds(&self, known: &Known<'_>) -> bool {
        let asks_for = |sni: &str| self.sni.iter().any(|name| name.covers(sni));
        let offers = |alpn: &[Vec<u8>]| {
            alpn.iter().any(|offered| self.alpn.iter().any(|it| it.as_bytes() == offered))
        };
        self.may_hold(known)
            && (self.sni.is_empty() || known.hello.and_then(|it| it.sni).is_some_and(asks_for))
            && (self.alpn.is_empty() || known.hello.is_some_and(|it| offers(it.alpn)))
    }

    /// Whether it holds but for what a ClientHello might still say.
    pub fn may_hold(&self, known: &Known<'_>) -> bool {
        let is_in = |networks: &Option<Networks>, addr: Option<IpAddr>| {
            let holds = |networks: &Networks| addr.is_some_and(|addr| networks.contains(addr));
            networks.as_ref().is_none_or(holds)
        };
        is_in(&self.client, known.client)
            && is_in(&self.peer, known.peer)
            && self.tlvs.iter().all(|(kind, patterns)| has(known.tlvs.as_ref(), *kind, patterns))
    }

    /// Whether this holds for everybody for whom `other` does, so that `other` behind it is never reached. What
    /// only both of two patterns or names cover together is not seen.
    pub fn covers(&self, other: &Self) -> bool {
        let holds_all = |networks: &Option<Networks>, others: &Option<Networks>| match networks {
            None => true,
            Some(networks) => others.as_ref().is_some_and(|others| networks.covers(others)),
        };
        let has_all = |(kind, patterns): &(u8, Vec<Pattern>)| {
            let is_covered = |other| patterns.iter().any(|pattern: &Pattern| pattern.covers(other));
            other
                .tlvs
                .iter()
                .any(|(other, of_other)| other == kind && of_other.iter().all(is_covered))
        };
        let is_asked = |other: &Name| self.sni.iter().any(|name| name.takes_in(other));
        holds_all(&self.client, &other.client)
            && holds_all(&self.peer, &other.peer)
            && self.tlvs.iter().all(has_all)
            && (self.sni.is_empty() || !other.sni.is_empty() && other.sni.iter().all(is_asked))
            && (self.alpn.is_empty()
                || !other.alpn.is_empty() && other.alpn.iter().all(|it| self.alpn.contains(it)))
    }
}

/// Whether a TLV of this kind is there that one of the patterns fits.
fn has(tlvs: Option<&Tlvs<'_>>, kind: u8, patterns: &[Pattern]) -> bool {
    let values = tlvs.cloned().into_iter().flatten().map_while(Result::ok);
    let mut values = values.filter(|tlv| tlv.kind() == kind).map(|tlv| tlv.value());
    values.any(|value| patterns.iter().any(|pattern| pattern.fits(kind, value)))
}

impl Pattern {
    /// Whether a TLV's value fits.
    pub fn fits(&self, kind: u8, value: &[u8]) -> bool {
        let id = match (kind, value) {
            (tlv::AWS, [1, id @ ..]) => id,
            _ => value,
        };
        match self {
            Self::Present => true,
            Self::Id(text) => id == text.as_bytes(),
            Self::IdPrefix(text) => id.starts_with(text.as_bytes()),
            Self::Number(number) => self::number(kind, value) == Some(*number),
            Self::Bytes(bytes) => value == bytes,
            Self::BytesPrefix(bytes) => value.starts_with(bytes),
        }
    }

    /// Whether every value that fits `other` fits this one too. One that is not seen to is not told.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, _) => true,
            (Self::IdPrefix(prefix), Self::Id(text) | Self::IdPrefix(text)) => {
                text.starts_with(prefix)
            }
            (Self::BytesPrefix(prefix), Self::Bytes(bytes) | Self::BytesPrefix(bytes)) => {
                bytes.starts_with(prefix)
            }
            _ => self == other,
        }
    }
}

/// The number that the value of a TLV is: Azure's LinkID is little-endian, Google's PSC id big-endian.
fn number(kind: u8, value: &[u8]) -> Option<u64> {
    match (kind, value) {
        (tlv::AZURE, [1, id @ ..]) => Some(u32::from_le_bytes(id.try_into().ok()?).into()),
        (tlv::GCP, id) => Some(u64::from_be_bytes(id.try_into().ok()?)),
        _ => None,
    }
}

impl Name {
    /// Whether a name is meant, in whatever case.
    pub fn covers(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact),
            Self::Below(apex) => {
                let Some(at) = name.len().checked_sub(apex.len()) else { return false };
                let (front, back) = name.as_bytes().split_at(at);
                front.len() > 1
                    && front.ends_with(b".")
                    && back.eq_ignore_ascii_case(apex.as_bytes())
            }
        }
    }

    /// Whether every name that is meant by `other` is meant by this one.
    fn takes_in(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.covers(name),
            Self::Below(apex) => match self {
                Self::Exact(_) => false,
                Self::Below(own) => own == apex || self.covers(apex),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Option<Networks> {
        Some(Networks::new([pptrust::parse_network(text).unwrap()]).unwrap())
    }

    fn known<'a>(tlvs: Option<&'a [u8]>, hello: Option<Hello<'a>>) -> Known<'a> {
        Known {
            client: Some([203, 0, 113, 7].into()),
            peer: Some([10, 0, 0, 1].into()),
            tlvs: tlvs.map(|bytes| Tlvs::new(bytes, 16)),
            hello,
        }
    }

    #[test]
    fn a_condition_without_a_word_holds_for_everybody() {
        assert!(When::default().holds(&known(None, None)));
    }

    #[test]
    fn no_network_holds_who_has_no_address() {
        let unix = Known { client: None, peer: None, ..known(None, None) };
        for network in ["0.0.0.0/0", "::/0"] {
            let client = When { client: networks(network), ..When::default() };
            let peer = When { peer: networks(network), ..When::default() };
            assert!(!client.holds(&unix) && !peer.holds(&unix));
        }
        assert!(When::default().holds(&unix));
    }

    #[test]
    fn every_part_of_a_condition_must_hold() {
        let both = |peer: &str| When {
            client: networks("203.0.113.0/24"),
            peer: networks(peer),
            ..When::default()
        };
        assert!(both("10.0.0.0/8").holds(&known(None, None)));
        assert!(!both("10.1.0.0/16").holds(&known(None, None)));
    }

    #[test]
    fn a_name_below_a_domain_is_of_any_depth_and_not_the_domain_itself() {
        let below = Name::Below("example.com".to_owned());
        for (name, is_covered) in [
            ("a.example.com", true),
            ("A.b.Example.COM", true),
            ("a.example.com.", true),
            ("example.com", false),
            (".example.com", false),
            ("badexample.com", false),
            ("example.com.evil", false),
            ("", false),
        ] {
            assert_eq!(below.covers(name), is_covered, "{name}");
        }
        let exact = Name::Exact("example.com".to_owned());
        assert!(exact.covers("EXAMPLE.com") && !exact.covers("a.example.com"));
    }

    #[test]
    fn what_was_not_read_holds_for_nobody_who_asks_for_it() {
        let alpn = [b"h2".to_vec(), b"http/1.1".to_vec()];
        let hello = |sni| Some(Hello { sni, alpn: &alpn });
        let when = When { sni: vec![Name::Exact("a.test".to_owned())], ..When::default() };
        assert!(when.holds(&known(None, hello(Some("a.test")))));
        for hello in [None, hello(None), hello(Some("b.test"))] {
            assert!(!when.holds(&known(None, hello)));
        }
        let when = |protocol: &str| When { alpn: vec![protocol.to_owned()], ..When::default() };
        assert!(when("http/1.1").holds(&known(None, hello(None))), "any that is offered");
        assert!(!when("h3").holds(&known(None, hello(None))));
        assert!(!when("h2").holds(&known(None, None)));
    }

    #[test]
    fn tlvs_are_compared_as_what_they_mean() {
        let aws = b"\xEA\x00\x0A\x01vpce-0123";
        let azure = b"\xEE\x00\x05\x01\x2A\x00\x00\x00";
        let gcp = b"\xE0\x00\x08\0\0\0\0\0\0\x01\x00";
        let text = |text: &str| Pattern::Id(text.to_owned());
        let prefix = |text: &str| Pattern::IdPrefix(text.to_owned());
        for (bytes, kind, pattern, fits) in [
            (&aws[..], 0xEA, text("vpce-0123"), true),
            (aws, 0xEA, prefix("vpce-"), true),
            (aws, 0xEA, text("vpce-012"), false),
            (aws, 0xEA, prefix("eni-"), false),
            (aws, 0xEA, Pattern::Present, true),
            (aws, 0xEB, Pattern::Present, false),
            (azure, 0xEE, Pattern::Number(42), true),
            (azure, 0xEE, Pattern::Number(43), false),
            (azure, 0xEE, Pattern::Bytes(vec![1, 42, 0, 0, 0]), true),
            (aws, 0xEA, Pattern::Bytes(b"\x01vpce-0123".to_vec()), true),
            (aws, 0xEA, Pattern::Bytes(b"vpce-0123".to_vec()), false),
            (aws, 0xEA, Pattern::BytesPrefix(b"\x01vpce-".to_vec()), true),
            (aws, 0xEA, Pattern::BytesPrefix(b"vpce-".to_vec()), false),
            (gcp, 0xE0, Pattern::Number(256), true),
            (b"\x02\x00\x03abc", 2, prefix(""), true),
        ] {
            let when = When { tlvs: vec![(kind, vec![pattern.clone()])], ..When::default() };
            assert_eq!(when.holds(&known(Some(bytes), None)), fits, "{kind:#x} {pattern:?}");
            assert!(!when.holds(&known(None, None)), "without a header there is none");
        }
    }

    #[test]
    fn of_several_tlvs_of_a_kind_and_of_several_patterns_one_is_enough() {
        let bytes = b"\xE1\x00\x01a\xE1\x00\x01b\xE2\x00\x00";
        let pattern = |text: &str| Pattern::Id(text.to_owned());
        let when = |tlvs| When { tlvs, ..When::default() };
        let known = known(Some(bytes), None);
        assert!(when(vec![(0xE1, vec![pattern("x"), pattern("b")])]).holds(&known));
        assert!(when(vec![(0xE1, vec![pattern("a")]), (0xE2, vec![pattern("")])]).holds(&known));
        assert!(
            !when(vec![(0xE1, vec![pattern("a")]), (0xE3, vec![Pattern::Present])]).holds(&known)
        );
    }

    #[test]
    fn a_condition_is_known_to_hold_wherever_another_does() {
        let client = |text| When { client: networks(text), ..When::default() };
        let sni = |names: &[Name]| When { sni: names.to_vec(), ..When::default() };
        let alpn = |name: &str| When { alpn: vec![name.to_owned()], ..When::default() };
        let tlv = |pattern| When { tlvs: vec![(0xEA, vec![pattern])], ..When::default() };
        let below = |apex: &str| Name::Below(apex.to_owned());
        let exact = |name: &str| Name::Exact(name.to_owned());
        let id = |text: &str| Pattern::Id(text.to_owned());
        let prefix = |text: &str| Pattern::IdPrefix(text.to_owned());
        for (wide, narrow) in [
            (When::default(), client("10.0.0.0/8")),
            (client("10.0.0.0/8"), client("10.1.0.0/16")),
            (client("10.0.0.0/8"), When { alpn: vec!["h2".to_owned()], ..client("10.1.0.0/16") }),
            (sni(&[below("test")]), sni(&[exact("a.test"), below("b.test")])),
            (tlv(prefix("vpce-")), tlv(id("vpce-1"))),
            (tlv(Pattern::Present), tlv(prefix("vpce-"))),
        ] {
            assert!(wide.covers(&narrow) && wide.covers(&wide), "{wide:?} {narrow:?}");
            assert!(!narrow.covers(&wide), "{narrow:?} {wide:?}");
        }
        for (one, other) in [
            (client("10.0.0.0/8"), client("192.0.2.0/24")),
            (sni(&[exact("a.test")]), sni(&[exact("b.test")])),
            (sni(&[below("a.test")]), sni(&[exact("a.test")])),
            (alpn("h2"), alpn("h3")),
            (tlv(id("a")), tlv(id("b"))),
            (tlv(id("a")), When { tlvs: vec![(0xEE, vec![id("a")])], ..When::default() }),
            (client("10.0.0.0/8"), alpn("h2")),
        ] {
            assert!(!one.covers(&other) && !other.covers(&one), "{one:?} {other:?}");
        }
    }
}
