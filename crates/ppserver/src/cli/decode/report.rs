//! The `decode --json` contract: one object, always all of its keys.
//!
//! Scripts read it, so a name or a meaning never changes. Invariant: what does not apply is `null`
//! (`[]` for the TLVs), never left out.

use ppcore::tlv::{self, Tlv, View};
use ppcore::{
    Addresses, Command, Crc32cStatus, ErrorKind, Family, Header, Transport, UnixAddr, V2_FIXED_LEN,
    Version, spp,
};
use serde::Serialize;

use super::{Format, Outcome, Verdict, hint};
use crate::cli::hex;
use crate::config::LoggedTlv;

/// Where source and destination stand in a Simple Proxy Protocol header.
pub(super) const SPP_SOURCE_AT: usize = 2;
pub(super) const SPP_DESTINATION_AT: usize = 18;

/// Writes an object on a line of its own.
pub(super) fn line(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("strings, numbers and lists always serialise") + "\n"
}

/// What is said of an input.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    result: &'static str,
    version: Option<VersionField>,
    command: Option<&'static str>,
    family: Option<&'static str>,
    transport: Option<&'static str>,
    src: Option<String>,
    dst: Option<String>,
    consumed: Option<usize>,
    tlvs: Vec<TlvField>,
    tlv_error: Option<&'static str>,
    crc: Option<&'static str>,
    need: Option<usize>,
    error: Option<ErrorField>,
    src_offset: Option<usize>,
    dst_offset: Option<usize>,
    tlv_error_offset: Option<usize>,
    /// Bytes behind the header.
    payload: Option<usize>,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum VersionField {
    Number(u8),
    Name(&'static str),
}

#[derive(Debug, Serialize)]
struct TlvField {
    #[serde(rename = "type")]
    kind: u8,
    name: &'static str,
    value_hex: String,
    offset: usize,
    /// What the access log and `encode --tlv` call it.
    field: Option<&'static str>,
    /// What the value says, if that is text or a number.
    value: Option<String>,
    /// Why it does not say what its type demands.
    value_error: Option<String>,
    ssl: Option<SslField>,
}

#[derive(Debug, Serialize)]
struct SslField {
    client: u8,
    verify: u32,
    tls: bool,
    verified: bool,
    tlvs: Vec<TlvField>,
}

#[derive(Debug, Serialize)]
struct ErrorField {
    kind: &'static str,
    message: String,
    offset: usize,
    section: &'static str,
}

impl TlvField {
    fn new(tlv: &Tlv<'_>) -> Self {
        let (value, ssl, value_error) = match tlv.view() {
            Ok(View::Alpn(bytes)) => (text(bytes), None, None),
            Ok(View::Authority(text) | View::Netns(text) | View::AwsVpcEndpoint(text)) => {
                (Some(text.to_owned()), None, None)
            }
            Ok(View::Crc32c(number)) => (Some(format!("0x{number:08x}")), None, None),
            Ok(View::Gcp(id)) => (Some(id.to_string()), None, None),
            Ok(View::AzureLinkId(id)) => (Some(id.to_string()), None, None),
            Ok(View::Ssl(ssl)) => {
                let ssl = SslField {
                    client: ssl.client(),
                    verify: ssl.verify(),
                    tls: ssl.is_tls(),
                    verified: ssl.is_verified(),
                    tlvs: ssl.tlvs().flatten().map(|tlv| Self::inside_ssl(&tlv)).collect(),
                };
                (None, Some(ssl), None)
            }
            // Bytes.
            Ok(_) => (None, None, None),
            Err(error) => (None, None, Some(error.to_string())),
        };
        // A subtype that is not known has no name.
        let field = LoggedTlv::Type(tlv.kind()).name();
        let field = field.filter(|_| !matches!(tlv.view(), Ok(View::Other(_))));
        Self { value, value_error, ssl, ..Self::bytes(tlv, field) }
    }

    /// Text where the specification says so (spec 2.2.6).
    fn inside_ssl(tlv: &Tlv<'_>) -> Self {
        let field = LoggedTlv::InSsl(tlv.kind()).name();
        let value = match tlv.kind() {
            tlv::SSL_VERSION..=tlv::SSL_SIG_SCHEME => text(tlv.value()),
            _ => None,
        };
        Self { value, ..Self::bytes(tlv, field) }
    }

    fn bytes(tlv: &Tlv<'_>, field: Option<&'static str>) -> Self {
        Self {
            kind: tlv.kind(),
            name: tlv::name(tlv.kind()),
            value_hex: hex::format(tlv.value()),
            offset: tlv.offset(),
            field,
            value: None,
            value_error: None,
            ssl: None,
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().map(str::to_owned)
}

impl Report {
    pub(super) fn new(verdict: &Verdict, input: &[u8]) -> Self {
        let version = verdict.format.map(|format| match format {
            Format::V1 => VersionField::Number(1),
            Format::V2 => VersionField::Number(2),
            Format::Spp => VersionField::Name("spp"),
        });
        let empty = Self {
            result: verdict.outcome.name(),
            version,
            command: None,
            family: None,
            transport: None,
            src: None,
            dst: None,
            consumed: None,
            tlvs: Vec::new(),
            tlv_error: None,
            crc: None,
            need: None,
            error: None,
            src_offset: None,
            dst_offset: None,
            tlv_error_offset: None,
            payload: None,
            hint: None,
        };
        match &verdict.outcome {
            Outcome::Header(header) => empty.with_header(header, input),
            Outcome::Spp(addresses) => Self {
                command: Some(Command::Proxy.name()),
                family: Some(family_name(addresses.family())),
                transport: Some(transport_name(Transport::Dgram)),
                src: addresses.source().map(|addr| addr.to_string()),
                dst: addresses.destination().map(|addr| addr.to_string()),
                src_offset: Some(SPP_SOURCE_AT),
                dst_offset: Some(SPP_DESTINATION_AT),
                consumed: Some(spp::LEN),
                payload: Some(input.len() - spp::LEN),
                crc: Some(crc_name(Crc32cStatus::Absent)),
                ..empty
            },
            Outcome::Need(need) => Self { need: Some(*need), ..empty },
            Outcome::Refused(refused) => {
                let kind = refused.kind();
                let error = ErrorField {
                    kind: kind.name(),
                    message: kind.to_string(),
                    offset: refused.offset(),
                    section: kind.section(),
                };
                Self {
                    hint: hint(*refused, input),
                    crc: verdict.outcome.refused_crc().map(crc_name),
                    error: Some(error),
                    ..empty
                }
            }
        }
    }

    fn with_header(mut self, header: &Header, input: &[u8]) -> Self {
        self.command = Some(header.command().name());
        self.family = Some(family_name(header.family()));
        self.transport = Some(transport_name(header.transport()));
        (self.src, self.dst) = endpoints(header, input);
        (self.src_offset, self.dst_offset) = address_offsets(header);
        self.consumed = Some(header.len());
        self.payload = Some(input.len() - header.len());
        for tlv in header.tlvs(input) {
            match tlv {
                Ok(tlv) => self.tlvs.push(TlvField::new(&tlv)),
                Err(error) => {
                    self.tlv_error = Some(error.kind().name());
                    self.tlv_error_offset = Some(error.offset());
                }
            }
        }
        self.crc = Some(crc_name(header.crc32c(input)));
        self
    }
}

impl Outcome {
    /// Returns the contract's word for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Header(_) | Self::Spp(_) => "ok",
            Self::Need(_) => "incomplete",
            Self::Refused(error) if error.kind() == ErrorKind::NotProxy => "not_proxy",
            Self::Refused(_) => "error",
        }
    }

    /// Returns what the refusal says of the checksum, if it is about it.
    fn refused_crc(&self) -> Option<Crc32cStatus> {
        let Self::Refused(error) = self else { return None };
        let kind = error.kind();
        if kind == ErrorKind::CrcMismatch {
            Some(Crc32cStatus::Mismatch)
        } else if matches!(kind, ErrorKind::CrcBadLength | ErrorKind::CrcDuplicate) {
            Some(Crc32cStatus::Malformed)
        } else {
            None
        }
    }
}

/// Returns source and destination in the contract's notation.
fn endpoints(header: &Header, input: &[u8]) -> (Option<String>, Option<String>) {
    match header.addresses() {
        Addresses::None => (None, None),
        addresses @ (Addresses::Inet { .. } | Addresses::Inet6 { .. }) => (
            addresses.source().map(|addr| addr.to_string()),
            addresses.destination().map(|addr| addr.to_string()),
        ),
        Addresses::Unix => header.unix(input).map_or((None, None), |(source, destination)| {
            (Some(unix_name(&source)), Some(unix_name(&destination)))
        }),
    }
}

/// Returns where source and destination stand; in a line they are where the eye finds them.
pub(super) fn address_offsets(header: &Header) -> (Option<usize>, Option<usize>) {
    let destination = match header.addresses() {
        _ if header.version() == Version::V1 => return (None, None),
        Addresses::None => return (None, None),
        Addresses::Inet { .. } => 4,
        Addresses::Inet6 { .. } => 16,
        Addresses::Unix => 108,
    };
    (Some(V2_FIXED_LEN), Some(V2_FIXED_LEN + destination))
}

/// A path need not be UTF-8: each byte becomes the code point of its number, so that none is lost.
fn unix_name(addr: &UnixAddr<'_>) -> String {
    match addr {
        UnixAddr::Unnamed => "unix:".to_owned(),
        UnixAddr::Path(path) => {
            "unix:".chars().chain(path.iter().copied().map(char::from)).collect()
        }
        UnixAddr::Abstract(name) => format!("unix-abstract:{}", hex::format(name)),
    }
}

/// Returns the contract's word for a family.
pub(super) const fn family_name(family: Family) -> &'static str {
    match family {
        Family::Unspec => "UNSPEC",
        Family::Inet => "INET",
        Family::Inet6 => "INET6",
        Family::Unix => "UNIX",
    }
}

/// Returns the contract's word for a transport.
pub(super) const fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Unspec => "UNSPEC",
        Transport::Stream => "STREAM",
        Transport::Dgram => "DGRAM",
    }
}

/// Returns the contract's word for a checksum's state.
pub(super) const fn crc_name(status: Crc32cStatus) -> &'static str {
    match status {
        Crc32cStatus::Absent => "absent",
        Crc32cStatus::Valid => "valid",
        Crc32cStatus::Mismatch => "mismatch",
        Crc32cStatus::Malformed => "malformed",
    }
}
