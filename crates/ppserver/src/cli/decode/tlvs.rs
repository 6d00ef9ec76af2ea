//! The TLVs for a human: each with its place, its name and what its value says.
//!
//! Invariant: a sender's bytes reach the terminal escaped, and a long value is cut, aloud.

use std::fmt::{self, Write};

use ppcore::tlv::{
    CLIENT_CERT_CONN, CLIENT_CERT_SESS, CLIENT_SSL, CRC32C, SSL_SIG_SCHEME, SSL_VERSION, Ssl, Tlv,
    Tlvs, View, name,
};
use ppcore::{Crc32cStatus, Header};

use super::dump::dot;
use super::report::crc_name;
use crate::cli::hex;

/// Bytes of a value that are shown: a UNIQUE_ID of full length (spec 2.2.5).
const VALUE_BYTES_SHOWN: usize = 128;
/// Bytes a row of a value in hex.
const VALUE_ROW: usize = 16;

/// Where a TLV stands: those inside SSL have other types and an indent.
#[derive(Clone, Copy, Debug)]
enum Level {
    Top(Crc32cStatus),
    InsideSsl,
}

/// Writes a header's TLVs, up to where their framing breaks.
pub(super) fn write(f: &mut fmt::Formatter<'_>, header: &Header, input: &[u8]) -> fmt::Result {
    let level = Level::Top(header.crc32c(input));
    if header.tlvs(input).next().is_some() {
        writeln!(f, "\nTLVs")?;
    }
    for tlv in header.tlvs(input) {
        match tlv {
            Ok(tlv) => write_tlv(f, &tlv, level)?,
            Err(error) => {
                let (kind, at) = (error.kind(), error.offset());
                writeln!(f, "{at:>5}  broken: {kind}; spec {} ({})", kind.section(), kind.name())?;
            }
        }
    }
    Ok(())
}

fn write_tlv(f: &mut fmt::Formatter<'_>, tlv: &Tlv<'_>, level: Level) -> fmt::Result {
    let (indent, meaning) = match level {
        Level::Top(crc) => ("", meaning(tlv, crc)),
        Level::InsideSsl => ("  ", inner_meaning(tlv)),
    };
    let (at, kind, len) = (tlv.offset(), tlv.kind(), tlv.value().len());
    let name = format!("{indent}0x{kind:02x} {}", name(kind));
    for (line, said) in meaning.lines().enumerate() {
        match line {
            0 => writeln!(f, "{at:>5}  {name:<22} {len:>5} B  {said}")?,
            _ => writeln!(f, "{:39}{said}", "")?,
        }
    }
    match (level, tlv.view()) {
        (Level::Top(_), Ok(View::Ssl(ssl))) => write_inner(f, ssl.tlvs()),
        (Level::Top(_) | Level::InsideSsl, _) => Ok(()),
    }
}

fn write_inner(f: &mut fmt::Formatter<'_>, tlvs: Tlvs<'_>) -> fmt::Result {
    // The view was given, so the framing inside holds.
    for tlv in tlvs.flatten() {
        write_tlv(f, &tlv, Level::InsideSsl)?;
    }
    Ok(())
}

fn meaning(tlv: &Tlv<'_>, crc: Crc32cStatus) -> String {
    match tlv.view() {
        Ok(View::Alpn(value)) => quoted(value),
        Ok(View::Authority(text) | View::Netns(text)) => quoted_text(text),
        Ok(View::Crc32c(value)) => format!("0x{value:08x}, {}", crc_name(crc)),
        Ok(View::Noop(_)) => "padding".to_owned(),
        Ok(View::UniqueId(value) | View::Other(value)) => hex_and_printable(value),
        Ok(View::Ssl(ssl)) => ssl_meaning(&ssl),
        Ok(View::Gcp(id)) => format!("Private Service Connect connection id {id}"),
        Ok(View::AwsVpcEndpoint(id)) => format!("VPC endpoint {}", quoted_text(id)),
        Ok(View::AzureLinkId(id)) => format!("private endpoint LINKID {id} (0x{id:08x})"),
        // A view that ppcore learns later is shown as bytes until this list knows it.
        Ok(_) => hex_and_printable(tlv.value()),
        Err(_) if tlv.kind() == CRC32C => {
            format!("{}, {}", hex_and_printable(tlv.value()), crc_name(crc))
        }
        Err(error) => {
            format!("{}\nnot as its type demands: {error}", hex_and_printable(tlv.value()))
        }
    }
}

/// Those inside SSL have no typed views: text where the specification says so (spec 2.2.6).
fn inner_meaning(tlv: &Tlv<'_>) -> String {
    match tlv.kind() {
        SSL_VERSION..=SSL_SIG_SCHEME => quoted(tlv.value()),
        _ => hex_and_printable(tlv.value()),
    }
}

fn ssl_meaning(ssl: &Ssl<'_>) -> String {
    let flags = [
        (CLIENT_SSL, "TLS"),
        (CLIENT_CERT_CONN, "certificate given now"),
        (CLIENT_CERT_SESS, "certificate given in this session"),
    ];
    let mut said: Vec<&str> = flags
        .into_iter()
        .filter(|(bit, _)| ssl.client() & bit != 0)
        .map(|(_, meaning)| meaning)
        .collect();
    if said.is_empty() {
        said.push("no TLS");
    }
    let verified =
        if ssl.is_verified() { "certificate verified" } else { "no verified certificate" };
    let (client, verify) = (ssl.client(), ssl.verify());
    format!("client 0x{client:02x}: {}\nverify {verify}: {verified}", said.join(", "))
}

fn hex_and_printable(value: &[u8]) -> String {
    let shown = value.get(..VALUE_BYTES_SHOWN).unwrap_or(value);
    if shown.is_empty() {
        return "empty".to_owned();
    }
    let rows = shown.chunks(VALUE_ROW).map(|row| {
        let printable: String = row.iter().map(|&byte| dot(byte)).collect();
        format!("{} |{printable}|", hex::format(row))
    });
    rows.collect::<Vec<_>>().join("\n") + &cut(value.len() - shown.len())
}

/// Quotes bytes that should be text, whatever they are.
pub(super) fn quoted(value: &[u8]) -> String {
    let shown = value.get(..VALUE_BYTES_SHOWN).unwrap_or(value);
    let mut text = String::from("\"");
    for chunk in shown.utf8_chunks() {
        push_escaped(&mut text, chunk.valid());
        push_bytes(&mut text, chunk.invalid());
    }
    text + "\"" + &cut(value.len() - shown.len())
}

fn quoted_text(value: &str) -> String {
    quoted(value.as_bytes())
}

fn cut(bytes: usize) -> String {
    if bytes == 0 { String::new() } else { format!(" ... {bytes} B more, see --json") }
}

/// Letters and digits of every script stay; controls, marks that turn the writing direction and
/// other signs that a terminal may act on do not.
fn push_escaped(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            ' ' | '!'..='~' => text.push(char),
            _ if char.is_alphanumeric() => text.push(char),
            _ => push_bytes(text, char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("a String takes all that is written");
    }
}
