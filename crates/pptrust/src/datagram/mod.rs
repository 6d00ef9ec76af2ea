//! UDP: a header in front of every datagram's payload, read and written.
//!
//! Each datagram stands alone: header and payload share it (spec 2), so nothing is kept between two. Senders that
//! put a header into a flow's first datagram alone break that rule: for them there are [`Flows`].
//! Not a socket: these take what `recv_from` gave and make what `send_to` takes. v2 and Cloudflare's
//! Simple Proxy Protocol are told apart by configuration, never by guessing.
//!
//! ```no_run
//! use std::net::UdpSocket;
//! use pptrust::ppcore::Options;
//! use pptrust::{Trust, datagram};
//!
//! let socket = UdpSocket::bind("0.0.0.0:5353")?;
//! let trust = Trust::networks(["10.0.0.0/8"])?;
//! let mut buf = [0; 65_535];
//! let (len, peer) = socket.recv_from(&mut buf)?;
//! let datagram = datagram::read_v2(trust.policy(peer), Options::new(), peer, &buf[..len])?;
//! println!("{} says {:?}", datagram.peer_addr(), datagram.payload());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod flows;

use std::net::SocketAddr;

pub use flows::Flows;
use ppcore::encode::Encoder;
use ppcore::tlv::Tlvs;
use ppcore::{
    Addresses, Command, Decoded, Error, Header, Options, Transport, V2_FIXED_LEN, Versions,
    canonical, decode_datagram, spp,
};

use crate::policy::{Admission, Policy, Refusal};
use crate::received::Received;

/// The longest v2 header without TLVs, in bytes: that of an IPv6 pair.
const V2_LEN: usize = V2_FIXED_LEN + 36;

/// A datagram taken apart; it borrows the buffer.
///
/// ```
/// use pptrust::datagram::{self, Datagram};
/// use pptrust::{Policy, ppcore::Options};
///
/// let (client, service) = ("203.0.113.7:53".parse()?, "192.0.2.1:53".parse()?);
/// let balancer = "10.0.0.1:9".parse()?;
/// let sent = datagram::write_v2(client, service, b"query");
/// let read: Datagram = datagram::read_v2(Policy::Require, Options::new(), balancer, &sent)?;
/// assert_eq!((read.peer_addr(), read.local_addr()), (client, Some(service)));
/// assert_eq!((read.socket_peer_addr(), read.payload()), (balancer, &b"query"[..]));
/// assert!(read.header().is_some() && read.tlvs().next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    socket_peer: SocketAddr,
    /// What the header carries that counts for datagrams: the client and whom it sent to.
    carried: Option<(SocketAddr, SocketAddr)>,
    /// It is the balancer's own: its header, or that of its flow, is LOCAL.
    is_local: bool,
    header: Option<Header>,
    /// The whole datagram.
    bytes: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// One without a header, of a flow whose first datagram said who sends it: what that one carried, and
    /// whether it was LOCAL.
    ///
    /// ```
    /// use pptrust::datagram::Datagram;
    ///
    /// let (client, service) = ("203.0.113.7:53".parse()?, "192.0.2.1:53".parse()?);
    /// let balancer = "10.0.0.1:9".parse()?;
    /// let later = Datagram::continuing(balancer, Some((client, service)), false, b"more");
    /// assert_eq!((later.peer_addr(), later.payload()), (client, &b"more"[..]));
    /// assert!(later.header().is_none() && !later.is_local() && later.header_len() == 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn continuing(
        socket_peer: SocketAddr,
        carried: Option<(SocketAddr, SocketAddr)>,
        is_local: bool,
        payload: &'a [u8],
    ) -> Self {
        Self { socket_peer, carried, is_local, header: None, bytes: payload, payload }
    }

    /// Returns the client's address: that in the header, or the socket's peer if none counts, it is
    /// LOCAL, or it carries no IP address of datagrams. A v4-mapped address is the IPv4 one.
    pub fn peer_addr(&self) -> SocketAddr {
        self.carried.map_or_else(|| canonical(self.socket_peer), |(client, _)| client)
    }

    /// Returns the address the client sent to, if a header that counts says so for datagrams.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.carried.map(|(_, destination)| destination)
    }

    /// Returns the socket's peer: the balancer. The answer goes there.
    pub fn socket_peer_addr(&self) -> SocketAddr {
        self.socket_peer
    }

    /// Returns whether the balancer speaks for itself, by a LOCAL header that counts.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Returns the client and whom it sent to, if a header that counts says so for datagrams.
    pub(crate) fn carried(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.carried
    }

    /// Returns how many bytes the header takes, whether it counts or was only taken off.
    pub fn header_len(&self) -> usize {
        self.bytes.len() - self.payload.len()
    }

    /// Returns the v2 header, if one came and counts. SPP has nothing but addresses.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Returns the v2 header with its bytes, to be kept or judged.
    ///
    /// ```
    /// use pptrust::{Policy, datagram, ppcore::Options};
    ///
    /// let (client, service) = ("203.0.113.7:53".parse()?, "192.0.2.1:53".parse()?);
    /// let sent = datagram::write_v2(client, service, b"query");
    /// let read = datagram::read_v2(Policy::Use, Options::new(), service, &sent)?;
    /// assert!(sent.starts_with(read.received().expect("one came").as_bytes()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn received(&self) -> Option<Received> {
        let header = self.header?;
        Some(Received::new(header, self.bytes.get(..header.len())?.to_vec()))
    }

    /// Returns an iterator over the TLVs of the v2 header, if one came and counts.
    pub fn tlvs(&self) -> impl Iterator<Item = <Tlvs<'a> as Iterator>::Item> + use<'a> {
        let bytes = self.bytes;
        self.header.into_iter().flat_map(move |header| header.tlvs(bytes))
    }

    /// Returns what is behind the header.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Reads a datagram that begins with a v2 header: `policy` is that for `peer`, and decides as it does for
/// connections, where a datagram's end is the end of the stream.
///
/// # Errors
/// When the policy or the header says so: drop the datagram.
pub fn read_v2(
    policy: Policy,
    options: Options,
    peer: SocketAddr,
    datagram: &[u8],
) -> Result<Datagram<'_>, Refusal> {
    let options = policy.options(options).versions(Versions::V2);
    read(policy, peer, datagram, || match decode_datagram(options, datagram)? {
        Decoded::Header(header) => {
            Ok(Some((header.addresses_for(Transport::Dgram), Some(header), header.len())))
        }
        Decoded::Need(_) | Decoded::Absent => Ok(None),
    })
}

/// Reads a datagram that begins with an SPP header; otherwise as [`read_v2`].
///
/// ```
/// use pptrust::{Policy, datagram};
///
/// let client = "203.0.113.7:53".parse()?;
/// let sent = datagram::write_spp(client, "192.0.2.1:53".parse()?, b"query");
/// let read = datagram::read_spp(Policy::Require, "10.0.0.1:9".parse()?, &sent)?;
/// assert_eq!((read.peer_addr(), read.payload()), (client, &b"query"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`read_v2`].
pub fn read_spp(
    policy: Policy,
    peer: SocketAddr,
    datagram: &[u8],
) -> Result<Datagram<'_>, Refusal> {
    read(policy, peer, datagram, || match spp::decode(datagram) {
        Ok(addresses) => Ok(Some((addresses.canonical(), None, spp::LEN))),
        Err(_) if policy != Policy::Require && !datagram.starts_with(&spp::MAGIC) => Ok(None),
        Err(error) => Err(error),
    })
}

/// What a decoder found: the addresses that count, the header if it has more to say, and its length in
/// bytes.
type Found = (Option<(SocketAddr, SocketAddr)>, Option<Header>, usize);

fn read<'a>(
    policy: Policy,
    socket_peer: SocketAddr,
    bytes: &'a [u8],
    decode: impl FnOnce() -> Result<Option<Found>, Error>,
) -> Result<Datagram<'a>, Refusal> {
    let plain = Datagram::continuing(socket_peer, None, false, bytes);
    let found = match policy.admission() {
        Admission::Denied => return Err(Refusal::Denied),
        Admission::Plain => None,
        Admission::Header => decode()?,
    };
    let Some((carried, header, len)) = found else { return Ok(plain) };
    let (carried, header) = policy.credit((carried, header))?.unwrap_or_default();
    let is_local = header.is_some_and(|header| header.command() == Command::Local);
    let payload = bytes.get(len..).unwrap_or_default();
    Ok(Datagram { carried, is_local, header, payload, ..plain })
}

/// Makes a datagram of a v2 header and `payload`. For TLVs, put the bytes of a
/// [`Greeting::v2_datagram`](crate::Greeting::v2_datagram) in front of the payload.
pub fn write_v2(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; V2_LEN];
    let len = Encoder::datagram(&mut out, &Addresses::pair(source, destination)).finish();
    out.truncate(len.expect("an IPv6 pair is the longest"));
    out.extend_from_slice(payload);
    out
}

/// Makes a datagram of an SPP header and `payload`.
pub fn write_spp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; spp::LEN];
    let len = spp::encode(&mut out, &Addresses::pair(source, destination));
    out.truncate(len.expect("its length is fixed"));
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use ppcore::ErrorKind;

    use super::*;
    use crate::Greeting;

    const BALANCER: &str = "10.0.0.1:9";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    type Read = for<'a> fn(Policy, SocketAddr, &'a [u8]) -> Result<Datagram<'a>, Refusal>;
    type Write = fn(SocketAddr, SocketAddr, &[u8]) -> Vec<u8>;
    const BOTH: [(Read, Write); 2] = [(read_default, write_v2), (read_spp, write_spp)];

    fn read_default(
        policy: Policy,
        peer: SocketAddr,
        datagram: &[u8],
    ) -> Result<Datagram<'_>, Refusal> {
        read_v2(policy, Options::new(), peer, datagram)
    }

    #[test]
    fn every_policy_does_with_datagrams_what_it_does_with_connections() {
        let (client, server) = (addr("203.0.113.7:1"), addr("192.0.2.1:53"));
        for (read, write) in BOTH {
            let with = write(client, server, b"query");
            let balancer = addr(BALANCER);
            for policy in [Policy::Require, Policy::Use] {
                let read = read(policy, balancer, &with).unwrap();
                assert_eq!((read.peer_addr(), read.local_addr()), (client, Some(server)));
                assert_eq!((read.socket_peer_addr(), read.payload()), (balancer, &b"query"[..]));
            }
            let ignored = read(Policy::Ignore, balancer, &with).unwrap();
            assert_eq!((ignored.peer_addr(), ignored.local_addr()), (balancer, None));
            assert_eq!((ignored.header(), ignored.payload()), (None, &b"query"[..]));
            assert_eq!(read(Policy::Skip, balancer, &with).unwrap().payload(), with);
            assert_eq!(read(Policy::Reject, balancer, &with), Err(Refusal::Forbidden));
            assert_eq!(read(Policy::Deny, balancer, &with), Err(Refusal::Denied));
            for policy in [Policy::Use, Policy::Ignore, Policy::Reject, Policy::Skip] {
                let plain = read(policy, balancer, b"query").unwrap();
                assert_eq!((plain.peer_addr(), plain.payload()), (balancer, &b"query"[..]));
            }
            let without = read(Policy::Require, balancer, b"query");
            assert!(
                matches!(without, Err(Refusal::Header(error)) if error.kind() == ErrorKind::NotProxy)
            );
        }
    }

    #[test]
    fn a_line_of_v1_is_no_header_of_a_datagram() {
        let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 1 53\r\nquery";
        let refused = read_default(Policy::Require, addr(BALANCER), line);
        assert!(matches!(refused, Err(Refusal::Header(_))), "{refused:?}");
    }

    #[test]
    fn the_beginning_of_a_header_alone_is_payload_where_a_header_may_be_absent() {
        for (read, begin) in [(read_default as Read, &b"\r\n\r\n"[..]), (read_spp, b"V")] {
            for sent in [b"", begin] {
                for policy in [Policy::Use, Policy::Ignore, Policy::Reject, Policy::Skip] {
                    assert_eq!(read(policy, addr(BALANCER), sent).unwrap().payload(), sent);
                }
                let refused = read(Policy::Require, addr(BALANCER), sent);
                assert!(matches!(refused, Err(Refusal::Header(_))), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_datagram_that_ends_inside_its_header_is_refused() {
        let (client, server) = (addr("[2001:db8::7]:1"), addr("[2001:db8::1]:53"));
        for (read, write) in BOTH {
            let whole = write(client, server, b"");
            assert_eq!(read(Policy::Use, addr(BALANCER), &whole).unwrap().payload(), b"");
            let refused = read(Policy::Require, addr(BALANCER), &whole[..whole.len() - 1]);
            assert!(
                matches!(refused, Err(Refusal::Header(error)) if error.kind() == ErrorKind::Truncated)
            );
        }
    }

    #[test]
    fn the_addresses_of_a_byte_stream_are_no_datagrams() {
        let client = addr("1.2.3.4:5");
        let sent = Greeting::v2(client, addr("5.6.7.8:9")).to_bytes().unwrap();
        let read = read_default(Policy::Require, addr(BALANCER), &sent).unwrap();
        assert_eq!((read.peer_addr(), read.local_addr()), (addr(BALANCER), None));
        assert_eq!(read.header().unwrap().source(), Some(client));
    }

    #[test]
    fn a_v4_mapped_client_is_ipv4_whether_a_header_or_the_socket_tells_it() {
        let (client, service) = (addr("203.0.113.7:1"), addr("[2001:db8::1]:53"));
        for (read, write) in BOTH {
            let sent = write(client, service, b"query");
            let read = read(Policy::Require, addr(BALANCER), &sent).unwrap();
            assert_eq!(read.peer_addr(), client);
        }
        let mapped = addr("[::ffff:203.0.113.7]:1");
        let plain = read_default(Policy::Skip, mapped, b"query").unwrap();
        assert_eq!((plain.peer_addr(), plain.socket_peer_addr()), (client, mapped));
    }

    #[test]
    fn local_is_the_balancers_own_if_it_counts() {
        let mut sent = [0; V2_FIXED_LEN + 5];
        Encoder::local(&mut sent).finish().unwrap();
        let read = |policy| read_default(policy, addr(BALANCER), &sent).unwrap();
        for (policy, is_local) in
            [(Policy::Require, true), (Policy::Use, true), (Policy::Ignore, false)]
        {
            let local = read(policy);
            assert_eq!((local.is_local(), local.peer_addr()), (is_local, addr(BALANCER)));
            assert_eq!((local.header_len(), local.payload().len()), (V2_FIXED_LEN, 5));
        }
        let plain = read(Policy::Skip);
        assert_eq!((plain.is_local(), plain.header_len()), (false, 0));
    }

    #[test]
    fn tlvs_are_read_from_the_datagram() {
        let greeting = Greeting::v2_datagram(addr("1.2.3.4:5"), addr("5.6.7.8:9"));
        let mut sent = greeting.tlv(0xE0, b"x").to_bytes().unwrap();
        sent.extend_from_slice(b"payload");
        let read = read_default(Policy::Require, addr(BALANCER), &sent).unwrap();
        let tlvs: Vec<_> =
            read.tlvs().map(|tlv| tlv.map(|tlv| (tlv.kind(), tlv.value()))).collect();
        assert_eq!((tlvs, read.payload()), (vec![Ok((0xE0, &b"x"[..]))], &b"payload"[..]));
    }
}
