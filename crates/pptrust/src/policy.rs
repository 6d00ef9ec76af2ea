//! Whom to believe: from a peer's address to what its header is worth, and what no header means.
//!
//! Not an authentication: addresses are what the network says they are.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ppcore::{Options, Presence, canonical};

use crate::networks::{NetworkError, Networks, parse_network};
use crate::peers::Peers;

/// What a peer's header is worth. The names are those of go-proxyproto, which has no `Deny`: there,
/// the policy function returns an error.
///
/// | policy | a header comes | none comes |
/// |---|---|---|
/// | `Require` | its addresses count | refused |
/// | `Use` | its addresses count | the socket's addresses count |
/// | `Ignore` | it is read and dropped: the socket's addresses count | the socket's addresses count |
/// | `Reject` | refused | the socket's addresses count |
/// | `Skip` | it is payload: nothing is read | the socket's addresses count |
/// | `Deny` | refused, unread | refused, unread |
///
/// "Comes" is decided at the first byte that rules a header out, or by the end of the stream; a peer
/// that stays silent is closed at the deadline, except under `Skip` or where a listener takes silence for
/// none. A header that is begun and broken is refused by all but `Skip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// There must be a header, and it counts. For balancers; what the specification has in mind.
    Require,
    /// A header counts if there is one. The peer decides whether the address you see is its own.
    Use,
    /// A header is taken off and not believed.
    Ignore,
    /// There must be no header.
    Reject,
    /// Nothing is looked for: the connection is handed on at once.
    Skip,
    /// The connection is closed.
    Deny,
}

/// What is done with a peer before a byte of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// Its header is read, or its payload if it may speak plainly.
    Header,
    /// Whatever it sends is payload.
    Plain,
    /// Nothing is read: it is let go.
    Denied,
}

/// Why a header, or its absence, is refused; it is its peer's fault.
///
/// ```
/// use pptrust::ppcore::Options;
/// use pptrust::{Intro, Policy, Refusal};
///
/// let mut intro = Intro::new(Policy::Reject, Options::new());
/// assert_eq!(intro.push(b"PROXY UNKNOWN\r\n"), Err(Refusal::Forbidden));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The policy denies this peer: [`Policy::Deny`].
    #[error("the peer is not among those trusted")]
    Denied,
    /// The peer broke the PROXY protocol, or sent no header where one is required.
    #[error("the peer broke the PROXY protocol: {0}")]
    Header(ppcore::Error),
    /// The peer sent a header that its policy forbids: [`Policy::Reject`].
    #[error("the peer sent a header and may not send one")]
    Forbidden,
}

impl From<ppcore::Error> for Refusal {
    fn from(error: ppcore::Error) -> Self {
        Self::Header(error)
    }
}

impl Policy {
    /// Returns what is done with a peer before a byte of it is read.
    ///
    /// ```
    /// use pptrust::{Admission, Policy};
    ///
    /// assert_eq!(Policy::Use.admission(), Admission::Header);
    /// assert_eq!(Policy::Skip.admission(), Admission::Plain);
    /// ```
    pub const fn admission(self) -> Admission {
        match self {
            Self::Require | Self::Use | Self::Ignore | Self::Reject => Admission::Header,
            Self::Skip => Admission::Plain,
            Self::Deny => Admission::Denied,
        }
    }

    /// Returns what the decoder is told: `options`, and whether a header must be there.
    ///
    /// ```
    /// use pptrust::Policy;
    /// use pptrust::ppcore::{Decoded, Decoder, Options};
    ///
    /// let mut decoder = Decoder::new(Policy::Use.options(Options::new()));
    /// assert_eq!(decoder.decode(b"GET / HTTP/1.1"), Ok(Decoded::Absent));
    /// ```
    pub const fn options(self, options: Options) -> Options {
        options.presence(match self {
            Self::Use | Self::Ignore | Self::Reject | Self::Skip => Presence::Optional,
            Self::Require | Self::Deny => Presence::Required,
        })
    }

    /// Says what a header that came is worth: it counts, or it was only taken off.
    pub(crate) fn credit<T>(self, header: T) -> Result<Option<T>, Refusal> {
        match self {
            Self::Require | Self::Use => Ok(Some(header)),
            Self::Ignore | Self::Skip => Ok(None),
            Self::Reject => Err(Refusal::Forbidden),
            Self::Deny => Err(Refusal::Denied),
        }
    }
}

/// Who may set client addresses: a [`Policy`] for every peer. It has no default.
///
/// ```
/// use pptrust::{Policy, Trust};
///
/// let balancers = Trust::networks(["10.0.0.0/8", "fd00::/8"])?;
/// assert_eq!(balancers.policy("10.1.2.3:4711".parse()?), Policy::Require);
/// assert_eq!(balancers.policy("203.0.113.7:4711".parse()?), Policy::Deny);
/// assert_eq!(Trust::any().policy("203.0.113.7:4711".parse()?), Policy::Require);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Trust(Rule);

#[derive(Clone)]
enum Rule {
    /// The first match counts; the policy behind them is that of all others.
    Peers(Vec<(Peers, Policy)>, Policy),
    Peer(Arc<dyn Fn(SocketAddr) -> Policy + Send + Sync>),
    Both(Arc<dyn Fn(SocketAddr, SocketAddr) -> Policy + Send + Sync>),
    Unix(Policy),
}

impl Trust {
    /// Gives each set of peers its policy; the first match counts, and the others have `otherwise`.
    ///
    /// ```
    /// use pptrust::{Peers, Policy, Trust};
    ///
    /// let balancers = "10.0.0.0/8".parse::<Peers>()?;
    /// let trust = Trust::new([(balancers, Policy::Use)], Policy::Skip);
    /// assert_eq!(trust.policy("203.0.113.7:4711".parse().unwrap()), Policy::Skip);
    /// # Ok::<(), pptrust::NetworkError>(())
    /// ```
    pub fn new(rules: impl IntoIterator<Item = (Peers, Policy)>, otherwise: Policy) -> Self {
        Self(Rule::Peers(rules.into_iter().collect(), otherwise))
    }

    /// Requires a header of everybody and believes it: whoever can connect can be any client. Only
    /// where nobody but the balancer can reach the port.
    pub fn any() -> Self {
        Self::new([(Peers::Any, Policy::Require)], Policy::Deny)
    }

    /// Requires a header of peers in these networks ("10.0.0.0/8") or at these addresses
    /// ("10.0.0.7"), and denies all others. v4-mapped peers (`::ffff:10.0.0.7`) match IPv4 networks.
    ///
    /// Lists that others keep, as Cloudflare's, are read from where they were put, so that they can change:
    ///
    /// ```no_run
    /// let list = std::fs::read_to_string("/etc/app/ips-v4")?;
    /// let trust = pptrust::Trust::networks(list.lines().filter(|line| !line.is_empty()))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When an entry is neither, or there is none.
    pub fn networks<T: AsRef<str>>(
        networks: impl IntoIterator<Item = T>,
    ) -> Result<Self, NetworkError> {
        let networks = networks.into_iter().map(|text| parse_network(text.as_ref()));
        let networks = Networks::new(networks.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Self::new([(Peers::Networks(networks), Policy::Require)], Policy::Deny))
    }

    /// Gives each network its policy; the first match counts, and peers outside all are denied.
    ///
    /// ```
    /// use pptrust::{Policy, Trust};
    ///
    /// let trust = Trust::rules([
    ///     ("10.0.0.0/8", Policy::Require), // the balancers
    ///     ("127.0.0.1", Policy::Use),      // us, with curl --haproxy-protocol or without
    ///     ("192.168.0.0/16", Policy::Skip), // the office connects directly
    /// ])?;
    /// # Ok::<(), pptrust::NetworkError>(())
    /// ```
    ///
    /// # Errors
    /// When an entry is neither a network nor an address, or there is none.
    pub fn rules<T: AsRef<str>>(
        rules: impl IntoIterator<Item = (T, Policy)>,
    ) -> Result<Self, NetworkError> {
        let rules = rules.into_iter().map(|(text, policy)| {
            let networks = Networks::new([parse_network(text.as_ref())?])?;
            Ok((Peers::Networks(networks), policy))
        });
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() { Err(NetworkError::Empty) } else { Ok(Self::new(rules, Policy::Deny)) }
    }

    /// Asks a function, which runs while connections are accepted and so must not block. It is asked about
    /// the [`canonical`] address: an IPv4 peer is IPv4 on a socket of both families too.
    ///
    /// ```
    /// use pptrust::{Policy, Trust};
    ///
    /// let trust = Trust::by(|peer| {
    ///     if peer.ip().is_loopback() { Policy::Require } else { Policy::Deny }
    /// });
    /// ```
    pub fn by(policy: impl Fn(SocketAddr) -> Policy + Send + Sync + 'static) -> Self {
        Self(Rule::Peer(Arc::new(policy)))
    }

    /// Asks a function about the peer and the socket's own address, as [`by`](Self::by): for a listener on
    /// every address of which only one is the balancers'.
    ///
    /// ```
    /// use pptrust::{Policy, Trust};
    ///
    /// let trust = Trust::by_both(|_, local| {
    ///     if local.port() == 8443 { Policy::Require } else { Policy::Reject }
    /// });
    /// let [peer, local] = ["10.0.0.2:4711", "192.0.2.1:8443"].map(|addr| addr.parse().unwrap());
    /// assert_eq!(trust.policy_for_both(peer, local), Policy::Require);
    /// assert_eq!(trust.policy(peer), Policy::Deny);
    /// ```
    pub fn by_both(
        policy: impl Fn(SocketAddr, SocketAddr) -> Policy + Send + Sync + 'static,
    ) -> Self {
        Self(Rule::Both(Arc::new(policy)))
    }

    /// Gives peers on UNIX sockets this policy, and denies all others. They have no address to go by: who may
    /// connect is for the permissions of the path to say.
    ///
    /// ```
    /// use pptrust::{Policy, Trust};
    ///
    /// let trust = Trust::unix(Policy::Require);
    /// assert_eq!(trust.policy_for_unix(), Policy::Require);
    /// assert_eq!(trust.policy("127.0.0.1:4711".parse().unwrap()), Policy::Deny);
    /// ```
    pub fn unix(policy: Policy) -> Self {
        Self(Rule::Unix(policy))
    }

    /// Returns the policy for a peer on a UNIX socket. Unless [`unix`](Self::unix) says so it is that of
    /// everybody, and where a function is to be asked about an address it is [`Policy::Deny`].
    ///
    /// ```
    /// use pptrust::{Policy, Trust};
    ///
    /// assert_eq!(Trust::any().policy_for_unix(), Policy::Require);
    /// assert_eq!(Trust::networks(["10.0.0.0/8"])?.policy_for_unix(), Policy::Deny);
    /// # Ok::<(), pptrust::NetworkError>(())
    /// ```
    pub fn policy_for_unix(&self) -> Policy {
        match &self.0 {
            Rule::Unix(policy) => *policy,
            Rule::Peers(rules, otherwise) => rules
                .iter()
                .find(|(peers, _)| *peers == Peers::Any)
                .map_or(*otherwise, |(_, policy)| *policy),
            Rule::Peer(_) | Rule::Both(_) => Policy::Deny,
        }
    }

    /// Returns the policy for `peer`, v4-mapped or not, of a connection to `local`.
    pub fn policy_for_both(&self, peer: SocketAddr, local: SocketAddr) -> Policy {
        match &self.0 {
            Rule::Both(policy) => policy(canonical(peer), canonical(local)),
            Rule::Peers(..) | Rule::Peer(_) | Rule::Unix(_) => self.policy(peer),
        }
    }

    /// Returns the policy for `peer`, v4-mapped or not. Where it takes both addresses to know
    /// ([`by_both`](Self::by_both)) that is [`Policy::Deny`].
    pub fn policy(&self, peer: SocketAddr) -> Policy {
        let peer = canonical(peer);
        match &self.0 {
            Rule::Peers(rules, otherwise) => rules
                .iter()
                .find(|(peers, _)| peers.contains(peer.ip()))
                .map_or(*otherwise, |(_, policy)| *policy),
            Rule::Peer(policy) => policy(peer),
            Rule::Both(_) | Rule::Unix(_) => Policy::Deny,
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Peers(rules, otherwise) => {
                f.debug_tuple("Trust::new").field(rules).field(otherwise).finish()
            }
            Rule::Peer(_) => f.write_str("Trust::by(..)"),
            Rule::Both(_) => f.write_str("Trust::by_both(..)"),
            Rule::Unix(policy) => f.debug_tuple("Trust::unix").field(policy).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(trust: &Trust, peer: &str) -> Policy {
        trust.policy(peer.parse().unwrap())
    }

    // go-proxyproto: TestStrictWhitelistPolicyReturnsRejectWhenUpstreamIpAddrNotInWhitelist, and
    // TestWhitelistPolicyReturnsUseWhenUpstreamIpAddrInWhitelist and -Range. What it calls REJECT for
    // strangers lets them in without a header; ours closes.
    #[test]
    fn networks_require_inside_and_deny_outside() {
        let trust = Trust::networks(["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.8/29"]).unwrap();
        assert_eq!(policy(&trust, "10.0.0.3:45738"), Policy::Require);
        assert_eq!(policy(&trust, "10.0.0.15:45738"), Policy::Require);
        assert_eq!(policy(&trust, "10.0.0.5:45738"), Policy::Deny);
        assert_eq!(policy(&trust, "[::1]:45738"), Policy::Deny);
    }

    // go-proxyproto: TestLaxWhitelistPolicyReturnsIgnoreWhenUpstreamIpAddrNotInWhitelist.
    #[test]
    fn the_first_rule_that_matches_counts() {
        let trust = Trust::rules([
            ("10.0.0.2", Policy::Use),
            ("10.0.0.0/8", Policy::Require),
            ("0.0.0.0/0", Policy::Ignore),
        ])
        .unwrap();
        assert_eq!(policy(&trust, "10.0.0.2:1"), Policy::Use);
        assert_eq!(policy(&trust, "10.0.0.3:1"), Policy::Require);
        assert_eq!(policy(&trust, "11.0.0.3:1"), Policy::Ignore);
        assert_eq!(policy(&trust, "[2001:db8::1]:1"), Policy::Deny);
    }

    #[test]
    fn v4_mapped_peers_match_ipv4_networks() {
        let trust = Trust::networks(["10.0.0.0/8"]).unwrap();
        assert_eq!(policy(&trust, "[::ffff:10.1.2.3]:1"), Policy::Require);
    }

    #[test]
    fn a_function_is_asked_about_the_ipv4_address_of_a_v4_mapped_peer() {
        let strangers_only =
            Trust::by(|peer| if peer.ip().is_loopback() { Policy::Deny } else { Policy::Use });
        assert_eq!(policy(&strangers_only, "[::ffff:127.0.0.1]:1"), Policy::Deny);
        assert_eq!(policy(&strangers_only, "[2001:db8::1]:1"), Policy::Use);
    }

    #[test]
    fn a_function_of_both_addresses_is_asked_about_their_canonical_forms() {
        let trust = Trust::by_both(|peer, local| {
            if peer.is_ipv4() && local.is_ipv4() { Policy::Use } else { Policy::Deny }
        });
        let [mapped, v6] = ["[::ffff:10.0.0.1]:1", "[::1]:1"].map(|addr| addr.parse().unwrap());
        assert_eq!(trust.policy_for_both(mapped, mapped), Policy::Use);
        assert_eq!(trust.policy_for_both(mapped, v6), Policy::Deny);
        let networks = Trust::networks(["10.0.0.1"]).unwrap();
        assert_eq!(networks.policy_for_both(mapped, v6), Policy::Require);
    }

    #[test]
    fn a_peer_on_a_unix_socket_is_in_no_network_and_no_function_is_asked_about_it() {
        let others = Trust::rules([("0.0.0.0/0", Policy::Use), ("::/0", Policy::Use)]).unwrap();
        let networks = "10.0.0.0/8".parse::<Peers>().unwrap();
        for (trust, policy) in [
            (others, Policy::Deny),
            (Trust::new([(networks.clone(), Policy::Use)], Policy::Skip), Policy::Skip),
            (
                Trust::new([(networks, Policy::Use), (Peers::Any, Policy::Reject)], Policy::Use),
                Policy::Reject,
            ),
            (Trust::by(|_| Policy::Use), Policy::Deny),
            (Trust::by_both(|_, _| Policy::Use), Policy::Deny),
        ] {
            assert_eq!(trust.policy_for_unix(), policy, "{trust:?}");
        }
        let unix = Trust::unix(Policy::Use);
        let addr = "10.0.0.1:1".parse().unwrap();
        assert_eq!(
            (unix.policy(addr), unix.policy_for_both(addr, addr)),
            (Policy::Deny, Policy::Deny)
        );
    }

    // go-proxyproto: Test_CreateWhitelistPolicyWithInvalidCidrReturnsError and its siblings.
    #[test]
    fn what_is_no_network_is_an_error_that_names_it() {
        for bad in ["20/80", "855.222.233.11", ""] {
            let error = Trust::networks([bad]).unwrap_err();
            assert_eq!(error, NetworkError::Invalid(bad.into()));
            assert_eq!(Trust::rules([(bad, Policy::Use)]).unwrap_err(), error);
        }
        assert_eq!(Trust::networks([""; 0]).unwrap_err(), NetworkError::Empty);
        assert_eq!(Trust::rules([("", Policy::Use); 0]).unwrap_err(), NetworkError::Empty);
    }

    #[test]
    fn any_requires_a_header_of_everybody() {
        assert_eq!(policy(&Trust::any(), "203.0.113.7:1"), Policy::Require);
    }
}
