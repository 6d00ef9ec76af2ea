//! Whom to believe: from a peer's address to what its header is worth.
//!
//! Not an authentication: addresses are what the network says they are.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use pptrust::{NetworkError, Networks, parse_network};

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
/// that stays silent is closed at the deadline, except under `Skip`. A header that is begun and broken
/// is refused by all but `Skip`.
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

/// Who may set client addresses: a [`Policy`] for every peer. It has no default.
///
/// ```
/// use ppnet::{Policy, Trust};
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
    Any,
    /// The first match counts.
    Networks(Vec<(Networks, Policy)>),
    Function(Arc<dyn Fn(SocketAddr) -> Policy + Send + Sync>),
}

impl Trust {
    /// Requires a header of everybody and believes it: whoever can connect can be any client. Only
    /// where nobody but the balancer can reach the port.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// Requires a header of peers in these networks ("10.0.0.0/8") or at these addresses
    /// ("10.0.0.7"), and denies all others. v4-mapped peers (`::ffff:10.0.0.7`) match IPv4 networks.
    ///
    /// # Errors
    /// When an entry is neither, or there is none.
    pub fn networks<T: AsRef<str>>(
        networks: impl IntoIterator<Item = T>,
    ) -> Result<Self, NetworkError> {
        let networks = networks.into_iter().map(|text| parse_network(text.as_ref()));
        let networks = Networks::new(networks.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Self(Rule::Networks(vec![(networks, Policy::Require)])))
    }

    /// Gives each network its policy; the first match counts, and peers outside all are denied.
    ///
    /// ```
    /// use ppnet::{Policy, Trust};
    ///
    /// let trust = Trust::rules([
    ///     ("10.0.0.0/8", Policy::Require), // the balancers
    ///     ("127.0.0.1", Policy::Use),      // us, with curl --haproxy-protocol or without
    ///     ("192.168.0.0/16", Policy::Skip), // the office connects directly
    /// ])?;
    /// # Ok::<(), ppnet::NetworkError>(())
    /// ```
    ///
    /// # Errors
    /// When an entry is neither a network nor an address, or there is none.
    pub fn rules<T: AsRef<str>>(
        rules: impl IntoIterator<Item = (T, Policy)>,
    ) -> Result<Self, NetworkError> {
        let rules = rules
            .into_iter()
            .map(|(text, policy)| Ok((Networks::new([parse_network(text.as_ref())?])?, policy)));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() { Err(NetworkError::Empty) } else { Ok(Self(Rule::Networks(rules))) }
    }

    /// Asks a function, which runs while connections are accepted and so must not block.
    ///
    /// ```
    /// use ppnet::{Policy, Trust};
    ///
    /// let trust = Trust::by(|peer| {
    ///     if peer.ip().is_loopback() { Policy::Require } else { Policy::Deny }
    /// });
    /// ```
    pub fn by(policy: impl Fn(SocketAddr) -> Policy + Send + Sync + 'static) -> Self {
        Self(Rule::Function(Arc::new(policy)))
    }

    /// Returns the policy for `peer`.
    pub fn policy(&self, peer: SocketAddr) -> Policy {
        match &self.0 {
            Rule::Any => Policy::Require,
            Rule::Networks(rules) => rules
                .iter()
                .find(|(networks, _)| networks.contains(peer.ip()))
                .map_or(Policy::Deny, |(_, policy)| *policy),
            Rule::Function(policy) => policy(peer),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Any => f.write_str("Trust::any()"),
            Rule::Networks(rules) => f.debug_tuple("Trust::rules").field(rules).finish(),
            Rule::Function(_) => f.write_str("Trust::by(..)"),
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
