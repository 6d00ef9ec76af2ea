//! What TLVs say, for the access log.
//!
//! Invariant: what is written is printable US-ASCII and bounded, whatever the sender put in; text that is not,
//! and bytes, are hexadecimal behind `hex:`.

use ppcore::Header;
use ppcore::tlv::{Tlv, Tlvs, View};

use crate::config::LoggedTlv;
use crate::telemetry::hex;

/// Bytes of a value that are written: a host name of full length (RFC 1035 2.3.4).
const VALUE_BYTES_MAX: usize = 255;

/// TLVs with what they say.
pub type Told = Box<[(LoggedTlv, String)]>;

/// Returns what those `wanted` say that are in a header, each once: of several of a type the first counts.
/// `bytes` are those of the header.
pub fn tell(header: &Header, bytes: &[u8], wanted: &[LoggedTlv]) -> Told {
    let told = |tlv: &LoggedTlv| {
        let value = match *tlv {
            LoggedTlv::Type(kind) => find(header.tlvs(bytes), kind).map(|tlv| value(&tlv)),
            LoggedTlv::InSsl(kind) => header.tlvs(bytes).flatten().find_map(|outer| {
                let Ok(View::Ssl(ssl)) = outer.view() else { return None };
                find(ssl.tlvs(), kind).map(|tlv| text(tlv.value()))
            }),
        };
        value.map(|value| (*tlv, value))
    };
    wanted.iter().filter_map(told).collect()
}

fn find(tlvs: Tlvs<'_>, kind: u8) -> Option<Tlv<'_>> {
    tlvs.flatten().find(|tlv| tlv.kind() == kind)
}

fn value(tlv: &Tlv<'_>) -> String {
    match tlv.view() {
        Ok(View::Alpn(value)) => text(value),
        Ok(View::Authority(value) | View::Netns(value) | View::AwsVpcEndpoint(value)) => {
            text(value.as_bytes())
        }
        Ok(View::Gcp(id)) => id.to_string(),
        Ok(View::AzureLinkId(id)) => id.to_string(),
        // What breaks the rule of its type is bytes.
        Ok(_) | Err(_) => hexadecimal(tlv.value()),
    }
}

fn text(value: &[u8]) -> String {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    match std::str::from_utf8(value) {
        Ok(text) if value.len() <= VALUE_BYTES_MAX && value.iter().all(is_plain) => text.to_owned(),
        Ok(_) | Err(_) => hexadecimal(value),
    }
}

fn hexadecimal(value: &[u8]) -> String {
    format!("hex:{}", hex::first(value, VALUE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use ppcore::{Decoded, Decoder, Options};

    use super::*;

    /// What is told of a header with these TLVs.
    fn told(tlvs: &[u8], wanted: &[LoggedTlv]) -> Vec<(String, String)> {
        let len = u16::try_from(12 + tlvs.len()).unwrap().to_be_bytes();
        let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
        let bytes = [&fixed[..], &len, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2], tlvs].concat();
        let Decoded::Header(header) = Decoder::new(Options::new()).decode(&bytes).unwrap() else {
            panic!("it is whole")
        };
        let told = tell(&header, &bytes, wanted).into_vec();
        told.into_iter().map(|(tlv, value)| (tlv.to_string(), value)).collect()
    }

    fn named(name: &str) -> LoggedTlv {
        LoggedTlv::of_name(name).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_told_in_the_order_of_asking_and_the_rest_is_not() {
        let tlvs = b"\x02\0\x03a.b\x01\0\x02h2\xEA\0\x07\x01vpce-1\x02\0\x01z";
        let wanted = [named("aws_vpc_endpoint_id"), LoggedTlv::Type(0xE1), named("authority")];
        let expected = [("aws_vpc_endpoint_id", "vpce-1"), ("authority", "a.b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told(tlvs, &wanted), expected);
    }

    #[test]
    fn a_value_is_text_a_number_or_hexadecimal() {
        let ssl = b"\x20\0\x12\x01\0\0\0\0\x21\0\x03TLS\x22\0\x04a b\n";
        for (tlv, wanted, expected) in [
            (&b"\x01\0\x02h2"[..], named("alpn"), "h2"),
            (b"\x02\0\x02\xc3\xa9", named("authority"), "hex:c3a9"),
            (b"\x02\0\x02a\n", named("authority"), "hex:610a"),
            (b"\xE0\0\x08\0\0\0\0\0\0\x01\x02", named("gcp_psc_connection_id"), "258"),
            (b"\xEE\0\x05\x01\x02\0\0\0", named("azure_link_id"), "2"),
            (b"\xEE\0\x05\x02\x02\0\0\0", named("azure_link_id"), "hex:0202000000"),
            (b"\xE1\0\x01x", LoggedTlv::Type(0xE1), "hex:78"),
            (ssl, named("ssl_version"), "TLS"),
            (ssl, named("ssl_cn"), "hex:6120620a"),
        ] {
            assert_eq!(told(tlv, &[wanted])[0].1, expected, "{tlv:?}");
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let tlv = [&b"\x02\x01\x00"[..], &[b'a'; 256]].concat();
        let value = &told(&tlv, &[named("authority")])[0].1;
        assert_eq!(*value, format!("hex:{}...", "61".repeat(255)));
    }
}
