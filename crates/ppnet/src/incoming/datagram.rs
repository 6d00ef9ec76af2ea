//! UDP: a header in front of every datagram's payload, read and written.
//!
//! Each datagram stands alone: header and payload share it (spec 2), so nothing is kept between two. For
//! senders that put it into a flow's first datagram alone there is [`read_v2_in_flow`].
//! Not a socket: these take what `recv_from` gave and make what `send_to` takes. v2 and Cloudflare's
//! Simple Proxy Protocol are told apart by configuration, never by guessing.
//!
//! ```no_run
//! use std::net::UdpSocket;
//! use ppnet::{Config, Trust, datagram};
//!
//! let socket = UdpSocket::bind("0.0.0.0:5353")?;
//! let config = Config::new(Trust::networks(["10.0.0.0/8"])?);
//! let mut buf = [0; 65_535];
//! let (len, peer) = socket.recv_from(&mut buf)?;
//! let datagram = datagram::read_v2(&config, peer, &buf[..len])?;
//! println!("{} says {:?}", datagram.peer_addr(), datagram.payload());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use pptrust::Refusal;
pub use pptrust::datagram::{Datagram, Flows, write_spp, write_v2};

use super::{Config, Reason, Refused};

/// Reads a datagram that begins with a v2 header, on the terms of a listener: the policy for `peer`
/// decides as it does for connections, where a datagram's end is the end of the stream. A
/// [`Trust::by_both`](crate::Trust::by_both) denies it: `recv_from` does not say which address it came to.
///
/// # Errors
/// When the policy or the header says so: drop the datagram.
pub fn read_v2<'a>(
    config: &Config,
    peer: SocketAddr,
    datagram: &'a [u8],
) -> Result<Datagram<'a>, Refused> {
    let policy = config.policy_for_datagrams(peer);
    validated(config, pptrust::datagram::read_v2(policy, config.options, peer, datagram), datagram)
}

/// Reads a datagram of a sender that puts the v2 header into a flow's first datagram alone, as Cloudflare Spectrum
/// does: `flows` knows who sends the later ones. Otherwise as [`read_v2`].
///
/// ```
/// use std::time::{Duration, Instant};
/// use ppnet::datagram::{self, Flows};
/// use ppnet::{Config, Trust};
///
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?);
/// let mut flows = Flows::new(65_536, Duration::from_secs(120));
/// let client = "203.0.113.7:53".parse()?;
/// let first = datagram::write_v2(client, "192.0.2.1:53".parse()?, b"one");
/// # #[expect(clippy::disallowed_methods, reason = "an example")]
/// let now = Instant::now();
/// for sent in [&first[..], b"two"] {
///     let read = datagram::read_v2_in_flow(&config, &mut flows, "10.0.0.1:9".parse()?, sent, now)?;
///     assert_eq!((read.peer_addr(), read.payload().len()), (client, 3));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`read_v2`], and for a first one where `flows` has no room. A flow whose header is not acceptable stays refused.
pub fn read_v2_in_flow<'a>(
    config: &Config,
    flows: &mut Flows,
    peer: SocketAddr,
    datagram: &'a [u8],
    now: Instant,
) -> Result<Datagram<'a>, Refused> {
    let policy = config.policy_for_datagrams(peer);
    let read = flows.read_v2(policy, config.options, peer, datagram, now);
    validated(config, read, datagram).inspect_err(|_| flows.deny(peer))
}

fn validated<'a>(
    config: &Config,
    read: Result<Datagram<'a>, Refusal>,
    datagram: &[u8],
) -> Result<Datagram<'a>, Refused> {
    let refuse = |reason: Reason| Refused::new(reason, datagram);
    let read = read.map_err(|refusal| refuse(refusal.into()))?;
    if let Some((validate, header)) = config.validator().zip(read.received()) {
        validate(&header).map_err(|why| refuse(Reason::Invalid(why)))?;
    }
    Ok(read)
}

/// Reads a datagram that begins with an SPP header; otherwise as [`read_v2`].
///
/// ```
/// use ppnet::{Config, Trust, datagram};
///
/// let client = "203.0.113.7:53".parse()?;
/// let sent = datagram::write_spp(client, "192.0.2.1:53".parse()?, b"query");
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?);
/// let read = datagram::read_spp(&config, "10.0.0.1:9".parse()?, &sent)?;
/// assert_eq!((read.peer_addr(), read.payload()), (client, &b"query"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`read_v2`].
pub fn read_spp<'a>(
    config: &Config,
    peer: SocketAddr,
    datagram: &'a [u8],
) -> Result<Datagram<'a>, Refused> {
    let read = pptrust::datagram::read_spp(config.policy_for_datagrams(peer), peer, datagram);
    read.map_err(|refusal| Refused::new(refusal, datagram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Trust};

    #[test]
    fn a_datagram_is_read_on_the_terms_of_its_peer() {
        let (client, service) = ("203.0.113.7:1".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
        let config = Config::new(Trust::rules([("10.0.0.1", Policy::Use)]).unwrap());
        let [balancer, stranger] = ["10.0.0.1:9", "10.0.0.2:9"].map(|addr| addr.parse().unwrap());
        let v2 = write_v2(client, service, b"query");
        assert_eq!(read_v2(&config, balancer, &v2).unwrap().peer_addr(), client);
        let denied = read_v2(&config, stranger, &v2).unwrap_err();
        assert!(matches!(denied.reason(), Reason::Denied), "{denied}");
        let spp = write_spp(client, service, b"query");
        assert_eq!(read_spp(&config, balancer, &spp).unwrap().peer_addr(), client);
        let denied = read_spp(&config, stranger, &spp).unwrap_err();
        assert!(matches!(denied.reason(), Reason::Denied), "{denied}");
    }

    #[test]
    fn a_header_that_is_not_acceptable_is_refused() {
        let (client, service) = ("203.0.113.7:1".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
        let config = Config::new(Trust::any()).validate(move |header| {
            if header.source() == Some(client) { Ok(()) } else { Err("another") }
        });
        let good = write_v2(client, service, b"query");
        assert_eq!(read_v2(&config, service, &good).unwrap().payload(), b"query");
        let refused = read_v2(&config, service, &write_v2(service, client, b"query")).unwrap_err();
        assert_eq!(refused.to_string(), "the header is not acceptable: another");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's epoch")]
    fn a_flow_whose_header_is_not_acceptable_stays_refused() {
        let [client, service] = ["203.0.113.7:1", "192.0.2.1:53"].map(|addr| addr.parse().unwrap());
        let config = Config::new(Trust::any()).validate(move |header| {
            if header.source() == Some(client) { Ok(()) } else { Err("another") }
        });
        let (mut flows, now) = (Flows::new(9, std::time::Duration::from_secs(9)), Instant::now());
        let mut read = |peer, sent: &[u8]| {
            let read = read_v2_in_flow(&config, &mut flows, peer, sent, now);
            read.map(|read| (read.peer_addr(), read.payload().to_vec()))
        };
        let (good, bad) = (write_v2(client, service, b"1"), write_v2(service, client, b"1"));
        assert_eq!(read(client, &good).unwrap(), (client, b"1".to_vec()));
        assert_eq!(read(client, &bad).unwrap(), (client, bad.clone()), "payload by now");
        let mut refused = |sent| read(service, sent).unwrap_err();
        assert!(matches!(refused(&bad).reason(), Reason::Invalid(_)));
        assert!(matches!(refused(&good).reason(), Reason::Denied));
    }

    #[test]
    fn a_header_longer_than_the_terms_allow_is_refused() {
        let config = Config::new(Trust::any()).options(|options| options.v2_len_max(11));
        let (client, service) = ("203.0.113.7:1".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
        let sent = write_v2(client, service, b"query");
        let refused = read_v2(&config, service, &sent).unwrap_err();
        assert!(matches!(refused.reason(), Reason::Header(_)), "{refused}");
        assert_eq!(refused.first_bytes(), sent);
    }
}
