//! ClientHellos as tests write them, also those of tests/e2e: straight from RFC 8446 4.1.2, without rustls.

/// Extensions, by type.
pub(crate) const SERVER_NAME: u16 = 0;
pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
pub(crate) const ALPN: u16 = 16;
pub(crate) const PADDING: u16 = 21;

/// The extensions that ask for a name and offer protocols, with what every client sends.
pub(crate) fn extensions(sni: Option<&str>, alpn: &[&str]) -> Vec<(u16, Vec<u8>)> {
    let mut all = vec![(SIGNATURE_ALGORITHMS, vec![0, 4, 4, 3, 8, 4])];
    all.extend(
        sni.map(|name| (SERVER_NAME, with_len(&[&[0], &*with_len(name.as_bytes())].concat()))),
    );
    if !alpn.is_empty() {
        let short = |name: &&str| {
            let len = u8::try_from(name.len()).expect("a protocol has at most 255 bytes");
            [&[len], name.as_bytes()].concat()
        };
        all.push((ALPN, with_len(&alpn.iter().flat_map(short).collect::<Vec<_>>())));
    }
    all
}

/// A handshake message with these extensions.
pub(crate) fn client_hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let extension =
        |(kind, value): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &with_len(value)].concat();
    let extensions: Vec<u8> = extensions.iter().flat_map(extension).collect();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 4, 0x13, 0x01, 0xC0, 0x2F],
        &[1, 0],
        &with_len(&extensions),
    ]
    .concat();
    let len = u32::try_from(body.len()).expect("it is short").to_be_bytes();
    [&[1], &len[1..], &body[..]].concat()
}

/// The message in records of so many bytes at most (RFC 8446 5.1: 16 KiB).
pub(crate) fn records(message: &[u8], bytes_max: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1][..], &with_len(piece)].concat();
    message.chunks(bytes_max).flat_map(record).collect()
}

/// One that asks for a name and offers protocols, in one record.
pub(crate) fn hello(sni: &str, alpn: &[&str]) -> Vec<u8> {
    records(&client_hello(&extensions(Some(sni), alpn)), 1 << 14)
}

fn with_len(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
    [&len.to_be_bytes(), bytes].concat()
}
