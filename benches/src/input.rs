//! The headers that are decoded, as bytes on the wire, and what they say.
//!
//! Invariant: each is whole, valid, and has the length its name says, which the compiler checks.

use std::net::SocketAddr;

/// A header and what is to be found in it.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The name in tables.
    pub name: &'static str,
    /// The header, and nothing behind it.
    pub bytes: &'static [u8],
    /// The client's address as text.
    source: &'static str,
    /// The address the client connected to as text.
    destination: &'static str,
    /// The TLVs at top level.
    pub tlvs: usize,
}

impl Input {
    /// Returns what a decoder must find: source and destination.
    ///
    /// # Panics
    /// If an address written in this file is none.
    pub fn answer(&self) -> (SocketAddr, SocketAddr) {
        let parse = |text: &str| text.parse().expect("an address is written in this file");
        (parse(self.source), parse(self.destination))
    }
}

/// The line the specification gives as its example (spec 2.1).
pub const V1_TCP4: Input = Input {
    name: "v1 TCP4 47 B",
    bytes: b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    source: "192.168.0.1:56324",
    destination: "192.168.0.11:443",
    tlvs: 0,
};

/// A long IPv6 line: groups with all their zeros, as some senders write them.
pub const V1_TCP6: Input = Input {
    name: "v1 TCP6 101 B",
    bytes: b"PROXY TCP6 2001:0db8:0000:042a:0000:8a2e:0370:7334 \
        2001:0db8:0000:042a:0000:8a2e:0370:7335 4124 443\r\n",
    source: "[2001:db8:0:42a:0:8a2e:370:7334]:4124",
    destination: "[2001:db8:0:42a:0:8a2e:370:7335]:443",
    tlvs: 0,
};

/// The shortest v2 header that carries addresses.
pub const V2_TCP4: Input = Input {
    name: "v2 TCP4 28 B",
    bytes: b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\
        \xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb",
    source: "192.168.0.1:56324",
    destination: "192.168.0.11:443",
    tlvs: 0,
};

/// The same for IPv6.
pub const V2_TCP6: Input = Input {
    name: "v2 TCP6 52 B",
    bytes: b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
        \x20\x01\x0d\xb8\0\0\x04\x2a\0\0\x8a\x2e\x03\x70\x73\x34\
        \x20\x01\x0d\xb8\0\0\x04\x2a\0\0\x8a\x2e\x03\x70\x73\x35\x10\x1c\x01\xbb",
    source: "[2001:db8:0:42a:0:8a2e:370:7334]:4124",
    destination: "[2001:db8:0:42a:0:8a2e:370:7335]:443",
    tlvs: 0,
};

/// What a TLS-terminating balancer sends: ALPN, host name, and the client's TLS in five parts.
pub const V2_SSL: Input = Input {
    name: "v2 SSL 150 B",
    bytes: b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x86\
        \xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb\
        \x01\0\x02h2\
        \x02\0\x0fwww.example.com\
        \x20\0\x60\x03\0\0\0\0\
        \x21\0\x07TLSv1.3\
        \x22\0\x1eclient-certificate.example.com\
        \x23\0\x16TLS_AES_256_GCM_SHA384\
        \x24\0\x0aRSA-SHA256\
        \x25\0\x07RSA2048",
    source: "192.168.0.1:56324",
    destination: "192.168.0.11:443",
    tlvs: 3,
};

/// The same with a checksum behind it.
pub const V2_SSL_CRC: Input = Input {
    name: "v2 SSL 157 B with CRC32C",
    bytes: b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x8d\
        \xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb\
        \x01\0\x02h2\
        \x02\0\x0fwww.example.com\
        \x20\0\x60\x03\0\0\0\0\
        \x21\0\x07TLSv1.3\
        \x22\0\x1eclient-certificate.example.com\
        \x23\0\x16TLS_AES_256_GCM_SHA384\
        \x24\0\x0aRSA-SHA256\
        \x25\0\x07RSA2048\
        \x03\0\x04\x2e\xdf\xa2\x0f",
    source: "192.168.0.1:56324",
    destination: "192.168.0.11:443",
    tlvs: 4,
};

const _: () = {
    assert!(V1_TCP4.bytes.len() == 47);
    assert!(V1_TCP6.bytes.len() == 101);
    assert!(V2_TCP4.bytes.len() == 28);
    assert!(V2_TCP6.bytes.len() == 52);
    assert!(V2_SSL.bytes.len() == 150);
    assert!(V2_SSL_CRC.bytes.len() == 157);
};
