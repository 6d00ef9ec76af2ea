//! What bytes look like that are no header, or a bad one: a hint for those who wonder why they were refused.
//!
//! Not a decision: nobody is let in, refused or told apart by it (spec 2).

use std::fmt;
use std::net::IpAddr;
use std::str;

use ppcore::spp;

/// In a request this long the version of HTTP stands somewhere.
const HTTP_LINE_MAX: usize = 1024;

/// What somebody sends instead of a good header. It is displayed as what follows "it looks like".
///
/// ```
/// use pptrust::{Lookalike, looks_like};
///
/// let like = looks_like(b"GET / HTTP/1.1\r\n").expect("it does");
/// assert_eq!((like, like.to_string()), (Lookalike::Http1, "HTTP".to_owned()));
/// assert_eq!(looks_like(b"\0\0"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lookalike {
    /// A PROXY header, where something else was expected.
    Header,
    /// A v1 line whose addresses are of two families, as nginx's stream module writes where
    /// `set_real_ip_from` has changed one of them.
    MixedLine,
    /// Cloudflare's Simple Proxy Protocol.
    Spp,
    /// A TLS record with a handshake.
    Tls,
    /// A request of HTTP/1.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// The version of an SSH client.
    Ssh,
    /// The greeting of an SMTP client.
    Smtp,
}

impl fmt::Display for Lookalike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "a PROXY protocol header",
            Self::MixedLine => "a v1 line that mixes families",
            Self::Spp => "Cloudflare's Simple Proxy Protocol",
            Self::Tls => "a TLS ClientHello",
            Self::Http1 => "HTTP",
            Self::Http2 => "HTTP/2",
            Self::Ssh => "SSH",
            Self::Smtp => "SMTP",
        })
    }
}

/// Says what the first bytes of a stream or a datagram look like, as far as they have come.
pub fn looks_like(received: &[u8]) -> Option<Lookalike> {
    let is_greeting = |word: &[u8]| {
        [b"EHLO ", b"HELO "].iter().any(|greeting| word.eq_ignore_ascii_case(*greeting))
    };
    if is_mixed_line(received) {
        Some(Lookalike::MixedLine)
    } else if received.starts_with(b"PROXY ") || received.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        Some(Lookalike::Header)
    } else if received.starts_with(&spp::MAGIC) {
        Some(Lookalike::Spp)
    } else if received.starts_with(b"\x16\x03") {
        Some(Lookalike::Tls)
    } else if received.starts_with(b"PRI * HTTP/2") {
        Some(Lookalike::Http2)
    } else if received.starts_with(b"SSH-") {
        Some(Lookalike::Ssh)
    } else if received.get(..5).is_some_and(is_greeting) {
        Some(Lookalike::Smtp)
    } else if received.windows(6).take(HTTP_LINE_MAX).any(|window| window == b"HTTP/1") {
        Some(Lookalike::Http1)
    } else {
        None
    }
}

fn is_mixed_line(received: &[u8]) -> bool {
    let Some(rest) =
        [b"PROXY TCP4 ", b"PROXY TCP6 "].iter().find_map(|p| received.strip_prefix(*p))
    else {
        return false;
    };
    let mut addrs = rest.split(|&byte| byte == b' ').map(|word| {
        let text = str::from_utf8(word).ok()?;
        text.parse::<IpAddr>().ok()
    });
    match (addrs.next().flatten(), addrs.next().flatten()) {
        (Some(source), Some(destination)) => source.is_ipv4() != destination.is_ipv4(),
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_send_instead_of_a_header_is_known_by_its_first_bytes() {
        for (received, expected) in [
            (&b"PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n"[..], Lookalike::MixedLine),
            (b"PROXY TCP4 192.0.2.7 ::1 51820 443\r\n", Lookalike::MixedLine),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 51820 443\r\n", Lookalike::Header),
            (b"\r\n\r\n\0\r\nQUIT\n\x31", Lookalike::Header),
            (b"\x56\xEC\0\0", Lookalike::Spp),
            (b"\x16\x03\x01\x02\0\x01", Lookalike::Tls),
            (b"POST /upload?x=1 HTTP/1.1\r\nHost: a\r\n", Lookalike::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Lookalike::Http2),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Lookalike::Ssh),
            (b"ehlo mail.example.org\r\n", Lookalike::Smtp),
        ] {
            assert_eq!(looks_like(received), Some(expected), "{}", received.escape_ascii());
        }
    }

    #[test]
    fn other_bytes_look_like_nothing() {
        for received in [
            &b""[..],
            b"\x16",
            b"EHL",
            b"EHLOW ",
            b"\x03\0\0\x13\x0e\xe0",
            b"HELP HTTP/0.9\r\n",
            b"PROXY",
        ] {
            assert_eq!(looks_like(received), None, "{}", received.escape_ascii());
        }
    }
}
